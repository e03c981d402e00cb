package profile

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Limits of custom secrets.
const (
	maxSecret     = 64 << 10
	maxSecretName = 200
	maxSecrets    = 1000
)

// Variables lists custom secrets without their values.
func (s *Service) Variables(ctx context.Context) ([]fleet.Variable, error) {
	return s.secrets.Variables(ctx)
}

// checkName refuses names that no variable can have.
func checkName(name string) error {
	if name == "" || len(name) > maxSecretName || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
		return fleet.FieldErrorf(fleet.KindInvalid, "name", "%.60q: a name has upper-case letters, digits and underscores only, as WIFI_PASSWORD", name)
	}
	return nil
}

// SetVariables stores custom secrets; those with the value they have already
// stay as they are. Items that use a changed one are sent again. It returns
// the names of those that change; with dry nothing does yet.
func (s *Service) SetVariables(ctx context.Context, actor fleet.Actor, values map[string]string, dry bool) ([]string, error) {
	if len(values) > maxSecrets {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "secrets", "%d secrets, at most %d are taken at once", len(values), maxSecrets)
	}
	var writes []fleet.SecretWrite
	changed := []string{}
	for name, value := range values {
		name = strings.TrimPrefix(name, "FLEET_SECRET_")
		if err := checkName(name); err != nil {
			return nil, err
		}
		if len(value) == 0 || len(value) > maxSecret {
			return nil, fleet.FieldErrorf(fleet.KindInvalid, "value", "the value of %s has %d bytes: it must have 1 to %d", name, len(value), maxSecret)
		}
		ref := fleet.SecretRef{Scope: fleet.ScopeVariable, Name: name}
		same, err := s.isSet(ctx, ref, value)
		if err != nil {
			return nil, err
		}
		if same {
			continue
		}
		sealed, err := s.sealer.Seal(ref, []byte(value))
		if err != nil {
			return nil, err
		}
		writes, changed = append(writes, fleet.SecretWrite{Ref: ref, Value: sealed}), append(changed, name)
	}
	slices.Sort(changed)
	if dry || len(writes) == 0 {
		return changed, nil
	}
	events := make([]fleet.Event, 0, len(writes))
	for _, w := range writes {
		events = append(events, fleet.Event{Kind: fleet.EventVariableSet, At: s.clock(), Actor: actor, Details: fmt.Appendf(nil, `{"name":%q}`, w.Ref.Name)})
	}
	err := s.secrets.PutVariables(ctx, writes, nil, events...)
	if err == nil {
		s.plan.Ring()
	}
	return changed, err
}

// isSet tells whether a secret has that value now.
func (s *Service) isSet(ctx context.Context, ref fleet.SecretRef, value string) (bool, error) {
	stored, err := s.secrets.Secret(ctx, ref)
	if err != nil || stored == nil {
		return false, err
	}
	now, err := s.sealer.Open(ref, stored.Value)
	if err != nil {
		return false, fmt.Errorf("open secret %s: %w", ref.Name, err)
	}
	return string(now) == value, nil
}

// DeleteVariable deletes a custom secret. KindConflict: an item uses it.
func (s *Service) DeleteVariable(ctx context.Context, actor fleet.Actor, name string) error {
	list, err := s.secrets.Variables(ctx)
	if err != nil {
		return err
	}
	known := false
	for _, v := range list {
		known = known || v.Name == name
	}
	if !known {
		return fleet.Errorf(fleet.KindNotFound, "there is no custom variable %.60q", name)
	}
	write := fleet.SecretWrite{Ref: fleet.SecretRef{Scope: fleet.ScopeVariable, Name: name}, Delete: true}
	inUse := func(name string, items []*fleet.Item) error {
		var names []string
		for _, i := range items[:min(len(items), maxNamed)] {
			names = append(names, fmt.Sprintf("%q", i.Name))
		}
		return fleet.Errorf(fleet.KindConflict, "the variable %s is used by %s: change those first", name, strings.Join(names, ", "))
	}
	return s.secrets.PutVariables(ctx, []fleet.SecretWrite{write}, inUse,
		fleet.Event{Kind: fleet.EventVariableDeleted, At: s.clock(), Actor: actor, Details: fmt.Appendf(nil, `{"name":%q}`, name)})
}

package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// maxQuery bounds a label's query.
const maxQuery = 64 << 10

// LabelStore keeps labels.
type LabelStore interface {
	List(ctx context.Context, page fleet.Page, withCounts bool) ([]fleet.Label, fleet.PageMeta, error)
	Label(ctx context.Context, id fleet.LabelID) (*fleet.Label, error)
	ByName(ctx context.Context, name string) (*fleet.Label, error)
	Create(ctx context.Context, l *fleet.Label, hosts []fleet.HostID, events ...fleet.Event) error
	Update(ctx context.Context, l *fleet.Label, hosts *[]fleet.HostID, events ...fleet.Event) error
	Delete(ctx context.Context, id fleet.LabelID, events ...fleet.Event) error
	AddHosts(ctx context.Context, id fleet.LabelID, hosts []fleet.HostID, events ...fleet.Event) error
	RemoveHosts(ctx context.Context, id fleet.LabelID, hosts []fleet.HostID, events ...fleet.Event) error
}

// Labels keeps labels and their members.
type Labels struct {
	store LabelStore
	hosts HostSelector
	clock func() time.Time
	bell  *wake.Bell
}

// NewLabels returns the labels over a store. The bell rings after changes.
func NewLabels(store LabelStore, hosts HostSelector, clock func() time.Time, bell *wake.Bell) *Labels {
	return &Labels{store: store, hosts: hosts, clock: clock, bell: bell}
}

func (l *Labels) ring(err error) error {
	if err == nil {
		l.bell.Ring()
	}
	return err
}

// List returns one page of labels.
func (l *Labels) List(ctx context.Context, page fleet.Page, withCounts bool) ([]fleet.Label, fleet.PageMeta, error) {
	return l.store.List(ctx, page, withCounts)
}

// Label returns a label. KindNotFound: there is none.
func (l *Labels) Label(ctx context.Context, id fleet.LabelID) (*fleet.Label, error) {
	label, err := l.store.Label(ctx, id)
	if err == nil && label == nil {
		err = fleet.Errorf(fleet.KindNotFound, "there is no label %d", id)
	}
	return label, err
}

// LabelByName returns a label. KindNotFound: there is none.
func (l *Labels) LabelByName(ctx context.Context, name string) (*fleet.Label, error) {
	label, err := l.store.ByName(ctx, name)
	if err == nil && label == nil {
		err = fleet.FieldErrorf(fleet.KindNotFound, "name", "there is no label named %.100q", name)
	}
	return label, err
}

// Create makes a label; members are the hosts of a manual one.
func (l *Labels) Create(ctx context.Context, actor fleet.Actor, label fleet.Label, members []fleet.HostID) (*fleet.Label, error) {
	if err := checkLabel(&label); err != nil {
		return nil, err
	}
	if label.Kind != fleet.LabelManual && len(members) > 0 {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "hosts", "only a label without query and criteria has hosts of its own")
	}
	if err := l.checkMembers(ctx, members); err != nil {
		return nil, err
	}
	if err := l.store.Create(ctx, &label, members, l.event(fleet.EventLabelCreated, actor, &label)); l.ring(err) != nil {
		return nil, err
	}
	return l.Label(ctx, label.ID)
}

// checkMembers refuses hosts that do not exist.
func (l *Labels) checkMembers(ctx context.Context, members []fleet.HostID) error {
	if len(members) == 0 {
		return nil
	}
	known, err := l.hosts.Exist(ctx, members)
	if err != nil {
		return err
	}
	if missing := without(members, known); len(missing) > 0 {
		return fleet.FieldErrorf(fleet.KindNotFound, "host_ids", "there are no hosts %v: nothing was changed", missing)
	}
	return nil
}

// Apply makes labels what the specs say: those that do not exist are created,
// no other is touched. What decides about membership cannot be changed.
// Everything is checked before the first is changed; with dry that is all.
func (l *Labels) Apply(ctx context.Context, actor fleet.Actor, specs []fleet.LabelSpec, dry bool) error {
	type step struct {
		id      fleet.LabelID
		label   fleet.Label
		members *[]fleet.HostID
	}
	steps := make([]step, 0, len(specs))
	seen := map[string]bool{}
	for _, spec := range specs {
		label := spec.Label
		if err := checkLabel(&label); err != nil {
			return err
		}
		if seen[label.Name] {
			return fleet.FieldErrorf(fleet.KindInvalid, "specs", "two specs are for the label %.100q: nothing was changed", label.Name)
		}
		seen[label.Name] = true
		old, err := l.store.ByName(ctx, label.Name)
		if err != nil {
			return err
		}
		next := step{label: label}
		if old != nil {
			if err := sameRule(old, &label); err != nil {
				return err
			}
			next.id = old.ID
		}
		if spec.Hosts != nil {
			if label.Kind != fleet.LabelManual {
				return fleet.FieldErrorf(fleet.KindInvalid, "hosts", "the members of %q follow from its query or criteria", label.Name)
			}
			hosts, err := l.Resolve(ctx, *spec.Hosts)
			if err != nil {
				return err
			}
			next.members = &hosts
		}
		steps = append(steps, next)
	}
	if dry {
		return nil
	}
	for _, s := range steps {
		var err error
		if s.id == 0 {
			var members []fleet.HostID
			if s.members != nil {
				members = *s.members
			}
			_, err = l.Create(ctx, actor, s.label, members)
		} else {
			_, err = l.Update(ctx, actor, s.id, func(label *fleet.Label) error { label.Description = s.label.Description; return nil }, s.members)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sameRule refuses to change what decides about a label's members.
func sameRule(old, next *fleet.Label) error {
	switch {
	case old.Builtin():
		return fleet.FieldErrorf(fleet.KindInvalid, "name", "the label %q is built in and cannot be changed", old.Name)
	case old.Kind != next.Kind || old.Query != next.Query || old.Platform != next.Platform || !sameCriteria(old.Criteria, next.Criteria):
		return fleet.FieldErrorf(fleet.KindInvalid, "specs", "the query, criteria and platform of the label %q cannot be changed: delete it and create it again", old.Name)
	}
	return nil
}

func sameCriteria(a, b *fleet.Criteria) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	for _, c := range []*fleet.Criteria{&x, &y} {
		if c.Operator == "" {
			c.Operator = "="
		}
	}
	return x == y
}

func checkLabel(label *fleet.Label) error {
	label.Name = strings.TrimSpace(label.Name)
	invalid := func(field, format string, args ...any) error {
		return fleet.FieldErrorf(fleet.KindInvalid, field, format, args...)
	}
	switch {
	case label.Name == "":
		return invalid("name", "may not be empty")
	case len(label.Name) > maxName:
		return invalid("name", "has %d bytes, at most %d are taken", len(label.Name), maxName)
	case len(label.Description) > maxDescription:
		return invalid("description", "has %d bytes, at most %d are taken", len(label.Description), maxDescription)
	case len(label.Query) > maxQuery:
		return invalid("query", "has %d bytes, at most %d are taken", len(label.Query), maxQuery)
	case label.Query != "" && label.Criteria != nil:
		return invalid("criteria", "give a query or criteria, not both")
	case label.Query != "":
		label.Kind = fleet.LabelDynamic
	case label.Criteria != nil:
		label.Kind = fleet.LabelVitals
		return checkCriteria(label.Criteria)
	default:
		label.Kind = fleet.LabelManual
	}
	return nil
}

func checkCriteria(c *fleet.Criteria) error {
	if !slices.Contains(fleet.VitalNames(), c.Vital) {
		return fleet.FieldErrorf(fleet.KindInvalid, "criteria.vital", "%.60q is none of %s", c.Vital, strings.Join(fleet.VitalNames(), ", "))
	}
	if c.Operator != "" && !slices.Contains(fleet.CriteriaOperators(), c.Operator) {
		return fleet.FieldErrorf(fleet.KindInvalid, "criteria.operator", "%.20q is none of %s", c.Operator, strings.Join(fleet.CriteriaOperators(), " "))
	}
	if c.Value == "" || len(c.Value) > maxName {
		return fleet.FieldErrorf(fleet.KindInvalid, "criteria.value", "must have 1 to %d bytes", maxName)
	}
	return nil
}

// Update changes name, description and, for a manual label, members (nil: as
// they are). What decides about membership cannot be changed.
func (l *Labels) Update(ctx context.Context, actor fleet.Actor, id fleet.LabelID, change func(*fleet.Label) error, members *[]fleet.HostID) (*fleet.Label, error) {
	label, err := l.Label(ctx, id)
	if err != nil {
		return nil, err
	}
	if label.Builtin() {
		return nil, fleet.Errorf(fleet.KindInvalid, "the label %q is built in and cannot be changed", label.Name)
	}
	if err := change(label); err != nil {
		return nil, err
	}
	if err := checkLabel(label); err != nil {
		return nil, err
	}
	if members != nil && label.Kind != fleet.LabelManual {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "hosts", "the members of %q follow from its query or criteria", label.Name)
	}
	if members != nil {
		if err := l.checkMembers(ctx, *members); err != nil {
			return nil, err
		}
	}
	if err := l.store.Update(ctx, label, members, l.event(fleet.EventLabelChanged, actor, label)); l.ring(err) != nil {
		return nil, err
	}
	return l.Label(ctx, id)
}

// Delete removes a label.
func (l *Labels) Delete(ctx context.Context, actor fleet.Actor, id fleet.LabelID) error {
	label, err := l.Label(ctx, id)
	if err != nil {
		return err
	}
	if label.Builtin() {
		return fleet.Errorf(fleet.KindInvalid, "the label %q is built in and cannot be deleted", label.Name)
	}
	return l.ring(l.store.Delete(ctx, id, l.event(fleet.EventLabelDeleted, actor, label)))
}

// SetHostLabels makes a host a member of manual labels, or ends that.
func (l *Labels) SetHostLabels(ctx context.Context, actor fleet.Actor, host fleet.HostID, names []string, member bool) error {
	labels := make([]*fleet.Label, 0, len(names))
	for _, name := range names {
		label, err := l.LabelByName(ctx, name)
		if err != nil {
			return err
		}
		if label.Kind != fleet.LabelManual {
			return fleet.FieldErrorf(fleet.KindInvalid, "labels", "the members of %q follow from its query or criteria", label.Name)
		}
		labels = append(labels, label)
	}
	for _, label := range labels {
		e := l.event(fleet.EventHostLabels, actor, label)
		e.HostID = host
		e.Details = fmt.Appendf(nil, `{"label":%q,"member":%t}`, label.Name, member)
		var err error
		if member {
			err = l.store.AddHosts(ctx, label.ID, []fleet.HostID{host}, e)
		} else {
			err = l.store.RemoveHosts(ctx, label.ID, []fleet.HostID{host}, e)
		}
		if err != nil {
			return err
		}
	}
	return l.ring(nil)
}

// maxLabelHosts bounds the hosts that one call may name.
const maxLabelHosts = 10_000

// Resolve finds hosts by serial, UUID or name; one that is unknown or
// ambiguous is an error.
func (l *Labels) Resolve(ctx context.Context, identifiers []string) ([]fleet.HostID, error) {
	if len(identifiers) > maxLabelHosts {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "hosts", "%d hosts, at most %d may be named: use host_ids", len(identifiers), maxLabelHosts)
	}
	out := make([]fleet.HostID, 0, len(identifiers))
	for _, identifier := range identifiers {
		refs, err := l.hosts.ByIdentifier(ctx, identifier)
		if err != nil {
			return nil, err
		}
		switch {
		case len(refs) == 0:
			return nil, fleet.FieldErrorf(fleet.KindNotFound, "hosts", "there is no host with UUID, serial or name %.100q", identifier)
		case len(refs) > 1:
			return nil, fleet.FieldErrorf(fleet.KindConflict, "hosts", "%.100q is the name of several hosts: use a serial, a UUID, or an id as id:%d", identifier, refs[0].ID)
		}
		out = append(out, refs[0].ID)
	}
	return out, nil
}

func (l *Labels) event(kind fleet.EventKind, actor fleet.Actor, label *fleet.Label) fleet.Event {
	b, err := json.Marshal(map[string]any{"label_id": int64(label.ID), "name": label.Name, "membership": label.Kind.String()})
	if err != nil {
		b = nil // texts and numbers always marshal
	}
	return fleet.Event{Kind: kind, At: l.clock(), Actor: actor, Details: b}
}

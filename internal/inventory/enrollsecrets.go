package inventory

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Limits of enroll secrets.
const (
	maxEnrollSecrets = 50 // of one scope
	maxEnrollSecret  = 255
)

// SecretStore keeps sealed values.
type SecretStore interface {
	Secret(ctx context.Context, ref fleet.SecretRef) (*fleet.StoredSecret, error)
	InScope(ctx context.Context, scope fleet.SecretScope) ([]fleet.StoredSecret, error)
	Write(ctx context.Context, writes []fleet.SecretWrite, events ...fleet.Event) error
}

// Sealer seals and opens secrets.
type Sealer interface {
	Seal(ref fleet.SecretRef, secret []byte) (fleet.Sealed, error)
	Open(ref fleet.SecretRef, sealed fleet.Sealed) ([]byte, error)
}

// EnrollSecrets are the secrets by which agents join a scope. They are sealed,
// and no event names one.
type EnrollSecrets struct {
	store  SecretStore
	sealer Sealer
	teams  TeamStore
	clock  func() time.Time
}

// NewEnrollSecrets returns the enroll secrets over a store.
func NewEnrollSecrets(store SecretStore, sealer Sealer, teams TeamStore, clock func() time.Time) *EnrollSecrets {
	return &EnrollSecrets{store: store, sealer: sealer, teams: teams, clock: clock}
}

// enrollSecretRow is the stored form. Fields are only ever added.
type enrollSecretRow struct {
	Secret    string    `json:"secret"`
	CreatedAt time.Time `json:"created_at"`
}

func enrollRef(team fleet.TeamID) fleet.SecretRef {
	return fleet.SecretRef{Scope: fleet.ScopeEnrollSecrets, Name: strconv.FormatInt(int64(team), 10)}
}

// Secrets lists the secrets of a scope. KindNotFound: there is no such team.
func (e *EnrollSecrets) Secrets(ctx context.Context, team fleet.TeamID) ([]fleet.EnrollSecret, error) {
	if err := e.checkTeam(ctx, team); err != nil {
		return nil, err
	}
	stored, err := e.store.Secret(ctx, enrollRef(team))
	if err != nil || stored == nil {
		return nil, err
	}
	return e.open(stored)
}

func (e *EnrollSecrets) checkTeam(ctx context.Context, team fleet.TeamID) error {
	if team == fleet.NoTeam {
		return nil
	}
	found, err := e.teams.Team(ctx, team)
	if err == nil && found == nil {
		err = fleet.Errorf(fleet.KindNotFound, "there is no team %d", team)
	}
	return err
}

func (e *EnrollSecrets) open(stored *fleet.StoredSecret) ([]fleet.EnrollSecret, error) {
	plain, err := e.sealer.Open(stored.Ref, stored.Value)
	if err != nil {
		return nil, fmt.Errorf("open enroll secrets of scope %s: %w", stored.Ref.Name, err)
	}
	var rows []enrollSecretRow
	if err := json.Unmarshal(plain, &rows); err != nil {
		return nil, fmt.Errorf("decode enroll secrets of scope %s: %w", stored.Ref.Name, err)
	}
	out := make([]fleet.EnrollSecret, 0, len(rows))
	for _, r := range rows {
		out = append(out, fleet.EnrollSecret{Secret: r.Secret, CreatedAt: r.CreatedAt})
	}
	return out, nil
}

// Check refuses secrets that a scope could not have: team is the scope's, or
// negative for a team that does not exist yet.
func (e *EnrollSecrets) Check(ctx context.Context, team fleet.TeamID, secrets []string) error {
	invalid := func(format string, args ...any) error {
		return fleet.FieldErrorf(fleet.KindInvalid, "secrets", format, args...)
	}
	if len(secrets) > maxEnrollSecrets {
		return invalid("%d secrets, at most %d are taken", len(secrets), maxEnrollSecrets)
	}
	for n, s := range secrets {
		switch {
		case strings.TrimSpace(s) == "":
			return invalid("secret %d is empty", n+1)
		case len(s) > maxEnrollSecret:
			return invalid("secret %d has %d bytes, at most %d are taken", n+1, len(s), maxEnrollSecret)
		case slices.Contains(secrets[:n], s):
			return invalid("secret %d is there twice", n+1)
		}
	}
	all, err := e.store.InScope(ctx, fleet.ScopeEnrollSecrets)
	if err != nil {
		return err
	}
	own := enrollRef(team).Name
	for i := range all {
		if all[i].Ref.Name == own {
			continue
		}
		others, err := e.open(&all[i])
		if err != nil {
			return err
		}
		for _, other := range others {
			for n, s := range secrets {
				if subtle.ConstantTimeCompare([]byte(other.Secret), []byte(s)) == 1 {
					return fleet.FieldErrorf(fleet.KindConflict, "secrets", "secret %d belongs to another team: a secret says which team a host joins", n+1)
				}
			}
		}
	}
	return nil
}

// TeamOf finds the scope that a secret belongs to. KindForbidden: none.
func (e *EnrollSecrets) TeamOf(ctx context.Context, secret string) (fleet.TeamID, error) {
	none := fleet.FieldErrorf(fleet.KindForbidden, "enroll_secret", "there is no such enroll secret: ask your administrator for a new link")
	if secret == "" || len(secret) > maxEnrollSecret {
		return 0, none
	}
	all, err := e.store.InScope(ctx, fleet.ScopeEnrollSecrets)
	if err != nil {
		return 0, err
	}
	for i := range all {
		list, err := e.open(&all[i])
		if err != nil {
			return 0, err
		}
		for _, one := range list {
			if subtle.ConstantTimeCompare([]byte(one.Secret), []byte(secret)) == 1 {
				team, err := strconv.ParseInt(all[i].Ref.Name, 10, 64)
				return fleet.TeamID(team), err
			}
		}
	}
	return 0, none
}

// Set replaces the secrets of a scope. One that was there keeps its age.
func (e *EnrollSecrets) Set(ctx context.Context, actor fleet.Actor, team fleet.TeamID, secrets []string) ([]fleet.EnrollSecret, error) {
	before, err := e.Secrets(ctx, team)
	if err != nil {
		return nil, err
	}
	if err := e.Check(ctx, team, secrets); err != nil {
		return nil, err
	}
	now := e.clock()
	rows := make([]enrollSecretRow, 0, len(secrets))
	out := make([]fleet.EnrollSecret, 0, len(secrets))
	for _, s := range secrets {
		at := now
		if i := slices.IndexFunc(before, func(old fleet.EnrollSecret) bool { return old.Secret == s }); i >= 0 {
			at = before[i].CreatedAt
		}
		rows = append(rows, enrollSecretRow{Secret: s, CreatedAt: at})
		out = append(out, fleet.EnrollSecret{Secret: s, CreatedAt: at})
	}
	plain, err := json.Marshal(rows)
	if err != nil {
		return nil, err
	}
	write := fleet.SecretWrite{Ref: enrollRef(team), Delete: len(rows) == 0}
	if !write.Delete {
		if write.Value, err = e.sealer.Seal(write.Ref, plain); err != nil {
			return nil, err
		}
	}
	event := fleet.Event{Kind: fleet.EventEnrollSecretsSet, At: now, Actor: actor,
		Details: fmt.Appendf(nil, `{"team_id":%d,"secrets":%d}`, team, len(rows))}
	return out, e.store.Write(ctx, []fleet.SecretWrite{write}, event)
}

package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// Limits of teams.
const (
	maxName        = 255
	maxDescription = 1000
	maxTransfer    = 500_000 // hosts of one call
	maxNamed       = 5       // things that an error names
)

// TeamStore keeps teams.
type TeamStore interface {
	List(ctx context.Context, page fleet.Page, query string) ([]fleet.Team, fleet.PageMeta, error)
	Team(ctx context.Context, id fleet.TeamID) (*fleet.Team, error)
	ByName(ctx context.Context, name string) (*fleet.Team, error)
	Names(ctx context.Context, ids []fleet.TeamID) (map[fleet.TeamID]string, error)
	Create(ctx context.Context, t *fleet.Team, events ...fleet.Event) error
	// Update carries change out in one transaction; with dryRun it only tries.
	Update(ctx context.Context, id fleet.TeamID, change func(*fleet.Team) ([]fleet.Event, error), dryRun bool) (*fleet.Team, error)
	Delete(ctx context.Context, id fleet.TeamID, events ...fleet.Event) error
	// Transfer moves hosts, many of them in batches after it returned.
	Transfer(ctx context.Context, move fleet.Transfer, events ...fleet.Event) (moved int, err error)
}

// HostSelector finds hosts by key, filter or name.
type HostSelector interface {
	IDs(ctx context.Context, f fleet.HostFilter, limit int) ([]fleet.HostID, error)
	Exist(ctx context.Context, ids []fleet.HostID) ([]fleet.HostID, error)
	ByIdentifier(ctx context.Context, identifier string) ([]fleet.HostRef, error)
}

// Teams keeps teams and who is in which.
type Teams struct {
	store TeamStore
	hosts HostSelector
	clock func() time.Time
	bells []*wake.Bell
}

// NewTeams returns the teams over a store. The bells ring after changes.
func NewTeams(store TeamStore, hosts HostSelector, clock func() time.Time, bells ...*wake.Bell) *Teams {
	return &Teams{store: store, hosts: hosts, clock: clock, bells: bells}
}

func (t *Teams) ring(err error) error {
	if err == nil {
		for _, b := range t.bells {
			b.Ring()
		}
	}
	return err
}

// List returns one page of teams.
func (t *Teams) List(ctx context.Context, page fleet.Page, query string) ([]fleet.Team, fleet.PageMeta, error) {
	return t.store.List(ctx, page, query)
}

// Team returns a team. KindNotFound: there is none.
func (t *Teams) Team(ctx context.Context, id fleet.TeamID) (*fleet.Team, error) {
	team, err := t.store.Team(ctx, id)
	if err == nil && team == nil {
		err = fleet.Errorf(fleet.KindNotFound, "there is no team %d", id)
	}
	return team, err
}

// TeamByName returns a team. KindNotFound: there is none.
func (t *Teams) TeamByName(ctx context.Context, name string) (*fleet.Team, error) {
	team, err := t.store.ByName(ctx, name)
	if err == nil && team == nil {
		err = fleet.FieldErrorf(fleet.KindNotFound, "team_name", "there is no team named %.100q", name)
	}
	return team, err
}

// Names returns the names of teams; those that do not exist are missing.
func (t *Teams) Names(ctx context.Context, ids []fleet.TeamID) (map[fleet.TeamID]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return t.store.Names(ctx, ids)
}

// Apply makes teams what the specs say: those that do not exist are created,
// no other is touched. Everything is checked before the first is changed; with
// dry that is all. A team that does not exist yet has no key then.
func (t *Teams) Apply(ctx context.Context, actor fleet.Actor, specs []fleet.TeamSpec, dry bool) (map[string]fleet.TeamID, error) {
	out := make(map[string]fleet.TeamID, len(specs))
	for i := range specs {
		spec := &specs[i]
		spec.Name = strings.TrimSpace(spec.Name)
		if _, twice := out[spec.Name]; twice {
			return nil, fleet.FieldErrorf(fleet.KindInvalid, "specs", "two specs are for the team %.100q: nothing was changed", spec.Name)
		}
		team, err := t.store.ByName(ctx, spec.Name)
		if err != nil {
			return nil, err
		}
		if team == nil {
			team = &fleet.Team{}
		}
		spec.Apply(team)
		if err := checkTeam(team); err != nil {
			return nil, err
		}
		out[spec.Name] = team.ID
	}
	if dry {
		return out, nil
	}
	for i := range specs {
		spec := &specs[i]
		id := out[spec.Name]
		if id == 0 {
			var team fleet.Team
			spec.Apply(&team)
			made, err := t.Create(ctx, actor, team)
			if err != nil {
				return nil, err
			}
			out[spec.Name] = made.ID
			continue
		}
		if _, err := t.Update(ctx, actor, id, func(team *fleet.Team) error { spec.Apply(team); return nil }, false); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Create makes a team. KindConflict: the name is taken.
func (t *Teams) Create(ctx context.Context, actor fleet.Actor, team fleet.Team) (*fleet.Team, error) {
	if err := checkTeam(&team); err != nil {
		return nil, err
	}
	err := t.store.Create(ctx, &team, t.event(fleet.EventTeamCreated, actor, map[string]any{"team_name": team.Name}))
	return &team, t.ring(err)
}

func checkTeam(team *fleet.Team) error {
	team.Name = strings.TrimSpace(team.Name)
	e := &fleet.Error{Kind: fleet.KindInvalid, Fields: team.Settings.Check("mdm.")}
	refuse := func(name, reason string) { e.Fields = append(e.Fields, fleet.FieldError{Name: name, Reason: reason}) }
	switch {
	case team.Name == "":
		refuse("name", "may not be empty")
	case len(team.Name) > maxName:
		refuse("name", fmt.Sprintf("has %d bytes, at most %d are taken", len(team.Name), maxName))
	case strings.EqualFold(team.Name, fleet.NoTeamName), strings.EqualFold(team.Name, "All teams"), strings.EqualFold(team.Name, "Unassigned"):
		refuse("name", fmt.Sprintf("%q is reserved", team.Name))
	}
	if len(team.Description) > maxDescription {
		refuse("description", fmt.Sprintf("has %d bytes, at most %d are taken", len(team.Description), maxDescription))
	}
	if len(e.Fields) > 0 {
		return e
	}
	return nil
}

// Update changes a team; with dry it only checks.
func (t *Teams) Update(ctx context.Context, actor fleet.Actor, id fleet.TeamID, change func(*fleet.Team) error, dry bool) (*fleet.Team, error) {
	team, err := t.store.Update(ctx, id, func(team *fleet.Team) ([]fleet.Event, error) {
		before := team.Settings
		if err := change(team); err != nil {
			return nil, err
		}
		if err := checkTeam(team); err != nil {
			return nil, err
		}
		return []fleet.Event{t.event(fleet.EventTeamChanged, actor, map[string]any{"team_id": int64(id), "team_name": team.Name,
			"before": before, "after": team.Settings})}, nil
	}, dry)
	if err != nil || dry {
		return team, err
	}
	return team, t.ring(nil)
}

// Delete removes a team with its items; its hosts are then without a team.
func (t *Teams) Delete(ctx context.Context, actor fleet.Actor, id fleet.TeamID) error {
	team, err := t.Team(ctx, id)
	if err != nil {
		return err
	}
	return t.ring(t.store.Delete(ctx, id, t.event(fleet.EventTeamDeleted, actor, map[string]any{"team_id": int64(id), "team_name": team.Name, "hosts": team.HostCount})))
}

// Transfer moves hosts into a scope; unknown ones are an error and nothing
// moves. expected, if not negative, must be their number.
func (t *Teams) Transfer(ctx context.Context, actor fleet.Actor, team fleet.TeamID, hosts []fleet.HostID, expected int) error {
	if len(hosts) == 0 {
		return fleet.FieldErrorf(fleet.KindInvalid, "hosts", "is empty: name the hosts to move")
	}
	if len(hosts) > maxTransfer {
		return fleet.FieldErrorf(fleet.KindInvalid, "hosts", "%d hosts, at most %d are taken at once", len(hosts), maxTransfer)
	}
	known, err := t.hosts.Exist(ctx, hosts)
	if err != nil {
		return err
	}
	if missing := without(hosts, known); len(missing) > 0 {
		return fleet.FieldErrorf(fleet.KindNotFound, "hosts", "there are no hosts %v: nothing was moved", missing)
	}
	if err := checkExpected(len(known), expected); err != nil {
		return err
	}
	details := map[string]any{"team_id": int64(team), "hosts": len(known)}
	_, err = t.store.Transfer(ctx, fleet.Transfer{TeamID: team, Hosts: known, Actor: actor}, t.event(fleet.EventHostsTransferred, actor, details))
	return t.ring(err)
}

// without lists up to maxNamed of a that are not in b.
func without(a, b []fleet.HostID) []fleet.HostID {
	in := make(map[fleet.HostID]bool, len(b))
	for _, id := range b {
		in[id] = true
	}
	var out []fleet.HostID
	for _, id := range a {
		if !in[id] && len(out) < maxNamed {
			out = append(out, id)
		}
	}
	return out
}

func checkExpected(have, expected int) error {
	if expected >= 0 && have != expected {
		return fleet.FieldErrorf(fleet.KindConflict, "expected_count", "%d hosts were expected and %d match: nothing was changed", expected, have)
	}
	return nil
}

// TransferByFilter moves all hosts of a filter and returns their number. A
// filter that selects by nothing is refused: it would mean every host.
func (t *Teams) TransferByFilter(ctx context.Context, actor fleet.Actor, team fleet.TeamID, f fleet.HostFilter, expected int) (int, error) {
	hosts, err := t.Select(ctx, f)
	if err != nil {
		return 0, err
	}
	if err := checkExpected(len(hosts), expected); err != nil || len(hosts) == 0 {
		return 0, err
	}
	return len(hosts), t.Transfer(ctx, actor, team, hosts, expected)
}

// Select lists the hosts of a filter that selects by something.
func (t *Teams) Select(ctx context.Context, f fleet.HostFilter) ([]fleet.HostID, error) {
	if f.Query == "" && f.TeamID == nil && f.LabelID == 0 && len(f.Platforms) == 0 && len(f.MDM) == 0 && f.SeenAfter.IsZero() && f.SeenBefore.IsZero() && f.CreatedAfter.IsZero() {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "filters", "is empty, which would mean every host: give a query, status, label_id or team_id")
	}
	hosts, err := t.hosts.IDs(ctx, f, maxTransfer+1)
	if err != nil {
		return nil, err
	}
	if len(hosts) > maxTransfer {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "filters", "more than %d hosts match", maxTransfer)
	}
	return hosts, nil
}

func (t *Teams) event(kind fleet.EventKind, actor fleet.Actor, details map[string]any) fleet.Event {
	b, err := json.Marshal(details)
	if err != nil {
		b = nil // texts and numbers always marshal
	}
	return fleet.Event{Kind: kind, At: t.clock(), Actor: actor, Details: b}
}

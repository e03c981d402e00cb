package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Plans is what planning hosts reads and writes.
type Plans struct{ db *DB }

// NewPlans returns the plans of db.
func NewPlans(db *DB) *Plans { return &Plans{db} }

// Catalog reads every item with all that decides who gets it, as of one
// moment.
func (p *Plans) Catalog(ctx context.Context) (*fleet.Catalog, error) {
	c, _, err := p.Current(ctx, -1, nil)
	return c, err
}

// Current reads all that plans of the hosts depend on, as of one moment: the
// catalog, which is nil if its stamp is still that one, and the hosts' facts.
// Hosts that are gone are left out.
func (p *Plans) Current(ctx context.Context, stamp int64, hosts []fleet.HostID) (c *fleet.Catalog, facts []fleet.HostFacts, err error) {
	err = p.db.snapshot(ctx, func(s *session) error {
		c, facts = nil, nil
		now, err := s.stamp()
		if err != nil {
			return fmt.Errorf("read the catalog's stamp: %w", err)
		}
		if now != stamp {
			if c, err = s.catalog(); err != nil {
				return fmt.Errorf("read catalog: %w", err)
			}
		}
		facts, err = s.factsOf(hosts)
		return err
	})
	return c, facts, err
}

// stamp grows whenever a scope's revision changes, or there is a new one:
// scopes are never deleted.
func (s *session) stamp() (int64, error) {
	var sum int64
	_, err := s.get("SELECT CAST(COALESCE(SUM(revision), 0) + COUNT(*) AS "+s.db.dialect.castInt()+") FROM scopes", nil, &sum)
	return sum, err
}

func (s *session) catalog() (*fleet.Catalog, error) {
	c := &fleet.Catalog{Revisions: map[fleet.TeamID]int64{}, Items: map[fleet.ItemID]*fleet.Item{},
		ByTeam: map[fleet.TeamID][]*fleet.Item{}, Labels: map[fleet.LabelID]*fleet.Label{}, Secrets: map[string]int64{}}
	var err error
	if c.Stamp, err = s.stamp(); err != nil {
		return nil, err
	}
	type scope struct {
		team     fleet.TeamID
		revision int64
	}
	scopes, err := collect(s, func(r *sql.Rows) (v scope, err error) { return v, r.Scan(&v.team, &v.revision) },
		"SELECT team_id, revision FROM scopes")
	if err != nil {
		return nil, err
	}
	for _, v := range scopes {
		c.Revisions[v.team] = v.revision
	}
	items, err := s.items(" ORDER BY i.id")
	if err != nil {
		return nil, err
	}
	for _, i := range items {
		c.Items[i.ID] = i
		if i.DeletedAt.IsZero() {
			c.ByTeam[i.TeamID] = append(c.ByTeam[i.TeamID], i)
		}
	}
	labels, err := collect(s, scanLabel, labelSelect+", 0"+labelFrom)
	if err != nil {
		return nil, err
	}
	for n := range labels {
		c.Labels[labels[n].ID] = &labels[n]
	}
	// The time of the last change of the value stands for its version: a new
	// server key wraps the value anew and leaves it as it is.
	type secret struct {
		name string
		at   int64
	}
	secrets, err := collect(s, func(r *sql.Rows) (v secret, err error) { return v, r.Scan(&v.name, &v.at) },
		"SELECT name, updated_at FROM secrets WHERE scope = ?", string(fleet.ScopeVariable))
	for _, v := range secrets {
		c.Secrets[v.name] = v.at
	}
	return c, err
}

// Variables lists custom secrets by name, without values.
func (p *Plans) Variables(ctx context.Context) ([]fleet.Variable, error) {
	return collect(p.db.view(ctx), func(r *sql.Rows) (v fleet.Variable, err error) {
		var at int64
		err = r.Scan(&v.Name, &v.Version, &at)
		v.UpdatedAt = timeOf(at)
		return v, err
	}, "SELECT name, version, updated_at FROM secrets WHERE scope = ? ORDER BY name", string(fleet.ScopeVariable))
}

// PutVariables stores or deletes custom secrets; the scopes whose items use
// one are planned again. inUse sees the items that name one to be deleted and
// may refuse.
func (p *Plans) PutVariables(ctx context.Context, writes []fleet.SecretWrite, inUse func(name string, items []*fleet.Item) error, events ...fleet.Event) error {
	return p.db.update(ctx, func(s *session) error {
		items, err := s.items(" WHERE i.deleted_at = 0")
		if err != nil {
			return err
		}
		teams := map[fleet.TeamID]bool{}
		for _, w := range writes {
			users := usersOf(items, w.Ref.Name)
			if w.Delete && len(users) > 0 {
				if err := inUse(w.Ref.Name, users); err != nil {
					return err
				}
			}
			for _, i := range users {
				teams[i.TeamID] = true
			}
		}
		if err := s.writeSecrets(writes); err != nil {
			return err
		}
		for team := range teams {
			if err := s.bump(team); err != nil {
				return err
			}
		}
		return s.appendEvents(events...)
	})
}

func usersOf(items []*fleet.Item, secret string) []*fleet.Item {
	var out []*fleet.Item
	for _, i := range items {
		for _, name := range i.Spec.Secrets {
			if name == secret {
				out = append(out, i)
				break
			}
		}
	}
	return out
}

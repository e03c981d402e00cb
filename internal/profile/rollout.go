package profile

import (
	"context"
	"fmt"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Limits and defaults of a rollout.
const (
	maxRings           = 20
	defaultMinVerified = 0.9
	defaultMaxFailed   = 0.05
)

// checkRollout fills in what was left out. Rings grow up to all hosts.
func checkRollout(r *fleet.Rollout) error {
	if r == nil {
		return nil
	}
	bad := func(format string, args ...any) error {
		return fleet.FieldErrorf(fleet.KindBadRequest, "rollout", format, args...)
	}
	if len(r.Rings) == 0 || len(r.Rings) > maxRings {
		return bad("%d rings: give 1 to %d, as [{\"percent\": 5}, {\"percent\": 100}]", len(r.Rings), maxRings)
	}
	last := 0.0
	for n, ring := range r.Rings {
		if ring.Percent <= last || ring.Percent > 100 {
			return bad("ring %d has %.4g percent: percentages grow from ring to ring, up to 100", n+1, ring.Percent)
		}
		if ring.Soak < 0 || ring.Soak > 90*24*time.Hour {
			return bad("ring %d: the soak time must be between 0 and 90 days", n+1)
		}
		last = ring.Percent
	}
	if last != 100 {
		r.Rings = append(r.Rings, fleet.Ring{Percent: 100})
	}
	if r.MinVerified == 0 {
		r.MinVerified = defaultMinVerified
	}
	if r.MaxFailed == 0 {
		r.MaxFailed = defaultMaxFailed
	}
	if r.MinVerified < 0 || r.MinVerified > 1 || r.MaxFailed < 0 || r.MaxFailed > 1 {
		return bad("min_verified and max_failed are shares between 0 and 1")
	}
	return nil
}

// Steer halts, resumes, completes or rolls back an item's rollout.
func (s *Service) Steer(ctx context.Context, actor fleet.Actor, uuid, action, why string) (*fleet.Item, error) {
	old, err := s.Item(ctx, uuid)
	if err != nil {
		return nil, err
	}
	err = s.items.Edit(ctx, old.TeamID, false, func(live []*fleet.Item) (fleet.ItemEdits, error) {
		for _, i := range live {
			if i.UUID == uuid {
				next, err := steer(i, action, why, s.clock())
				if err != nil {
					return fleet.ItemEdits{}, err
				}
				event := s.event(fleet.EventRolloutChanged, actor, next)
				event.Details = fmt.Appendf(nil, `{"profile_uuid":%q,"name":%q,"action":%q,"ring":%d}`, next.UUID, next.Name, action, next.Rollout.Ring+1)
				return fleet.ItemEdits{Edit: []fleet.ItemUpload{{Item: *next}}, Events: []fleet.Event{event}}, nil
			}
		}
		return fleet.ItemEdits{}, fleet.Errorf(fleet.KindNotFound, "the profile is gone")
	})
	if err != nil {
		return nil, err
	}
	s.plan.Ring()
	return s.Item(ctx, uuid)
}

// steer is the table of a rollout's states and what people may do in each.
func steer(i *fleet.Item, action, why string, now time.Time) (*fleet.Item, error) {
	if i.Rollout == nil {
		return nil, fleet.Errorf(fleet.KindConflict, "%q is not rolled out in rings", i.Name)
	}
	next, r := *i, *i.Rollout
	next.Rollout = &r
	switch {
	case action == "halt" && r.State == fleet.RolloutRunning:
		r.State, r.Why = fleet.RolloutHalted, orElse(why, "halted by a person")
	case action == "resume" && r.State == fleet.RolloutHalted:
		r.State, r.Why, r.OpenedAt = fleet.RolloutRunning, "", now
	case action == "complete" && (r.State == fleet.RolloutRunning || r.State == fleet.RolloutHalted):
		r.State, r.Ring, r.Why, next.Previous = fleet.RolloutDone, len(r.Rings)-1, orElse(why, "completed by a person"), nil
	case action == "rollback" && r.State != fleet.RolloutDone && r.State != fleet.RolloutRolledBack:
		r.State, r.Why = fleet.RolloutRolledBack, orElse(why, "rolled back by a person")
	case action == "halt", action == "resume", action == "complete", action == "rollback":
		return nil, fleet.Errorf(fleet.KindConflict, "the rollout of %q is %s: %s is not possible", i.Name, r.State, action)
	default:
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "action", "%.40q is none of halt, resume, complete, rollback", action)
	}
	return &next, nil
}

func orElse(v, fallback string) string {
	if v != "" {
		return v
	}
	return fallback
}

package reconcile

import (
	"context"
	"fmt"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// minSoak is the least time that a ring is open, so that its hosts are planned
// before anybody counts them.
const minSoak = 10 * time.Second

// Editor changes the items of a scope.
type Editor interface {
	Edit(ctx context.Context, team fleet.TeamID, dry bool, decide func([]*fleet.Item) (fleet.ItemEdits, error)) error
}

// Counter tells what came of a version.
type Counter interface {
	RolloutCounts(ctx context.Context, id fleet.ItemID, version int) (fleet.RolloutCounts, error)
}

// Rollouts opens ring after ring, or halts.
type Rollouts struct {
	reconciler *Reconciler
	items      Editor
	counts     Counter
	clock      func() time.Time
	plan       *wake.Bell
}

// NewRollouts returns the keeper of rollouts.
func NewRollouts(r *Reconciler, items Editor, counts Counter, clock func() time.Time, plan *wake.Bell) *Rollouts {
	return &Rollouts{reconciler: r, items: items, counts: counts, clock: clock, plan: plan}
}

// Round looks at every rollout that runs.
func (r *Rollouts) Round(ctx context.Context) error {
	if err := r.reconciler.Refresh(ctx); err != nil {
		return err
	}
	for _, i := range r.reconciler.Rules().catalog.Items {
		if i.Rollout == nil || i.Rollout.State != fleet.RolloutRunning || !i.DeletedAt.IsZero() {
			continue
		}
		if err := r.step(ctx, i); err != nil {
			return fmt.Errorf("rollout of item %d: %w", i.ID, err)
		}
	}
	return nil
}

func (r *Rollouts) step(ctx context.Context, i *fleet.Item) error {
	counts, err := r.counts.RolloutCounts(ctx, i.ID, i.Version)
	if err != nil {
		return err
	}
	next := Advance(*i.Rollout, counts, r.clock())
	if next == *stateOf(i.Rollout) {
		return nil
	}
	err = r.items.Edit(ctx, i.TeamID, false, func(live []*fleet.Item) (fleet.ItemEdits, error) {
		for _, now := range live {
			if now.ID != i.ID || now.Version != i.Version || now.Rollout == nil || *stateOf(now.Rollout) != *stateOf(i.Rollout) {
				continue
			}
			edited, roll := *now, *now.Rollout
			roll.State, roll.Ring, roll.OpenedAt, roll.Why = next.State, next.Ring, next.OpenedAt, next.Why
			edited.Rollout = &roll
			if roll.State == fleet.RolloutDone {
				edited.Previous = nil
			}
			details := fmt.Appendf(nil, `{"profile_uuid":%q,"name":%q,"state":%q,"ring":%d,"why":%q}`, now.UUID, now.Name, string(roll.State), roll.Ring+1, roll.Why)
			return fleet.ItemEdits{Edit: []fleet.ItemUpload{{Item: edited}},
				Events: []fleet.Event{{Kind: fleet.EventRolloutChanged, At: r.clock(), Details: details}}}, nil
		}
		return fleet.ItemEdits{}, nil // changed by somebody meanwhile
	})
	if err == nil {
		r.plan.Ring()
	}
	return err
}

// RolloutStep is the part of a rollout that moves.
type RolloutStep struct {
	State    fleet.RolloutState
	Ring     int
	OpenedAt time.Time
	Why      string
}

func stateOf(r *fleet.Rollout) *RolloutStep {
	return &RolloutStep{State: r.State, Ring: r.Ring, OpenedAt: r.OpenedAt, Why: r.Why}
}

// Advance decides what becomes of a running rollout: it halts when more than
// the error budget failed, opens the next ring when this one soaked and enough
// is verified, and waits otherwise, saying for what. It is pure.
func Advance(r fleet.Rollout, c fleet.RolloutCounts, now time.Time) RolloutStep {
	s := *stateOf(&r)
	if outcomes := c.Verified + c.Failed; c.Failed > 0 && float64(c.Failed) > r.MaxFailed*float64(outcomes) {
		s.State = fleet.RolloutHalted
		s.Why = fmt.Sprintf("failed on %d of %d hosts, and at most %.4g %% may fail", c.Failed, outcomes, r.MaxFailed*100)
		return s
	}
	soak := max(r.Rings[r.Ring].Soak, minSoak)
	last := r.Ring == len(r.Rings)-1
	if until := r.OpenedAt.Add(soak); now.Before(until) && !last {
		s.Why = fmt.Sprintf("ring %d soaks until %s", r.Ring+1, until.UTC().Format(time.RFC3339))
		return s
	}
	if hosts := c.Hosts(); hosts > 0 && float64(c.Verified) < r.MinVerified*float64(hosts) {
		s.Why = fmt.Sprintf("waits until %.4g %% of the hosts of ring %d have it verified", r.MinVerified*100, r.Ring+1)
		return s
	}
	if last {
		// The last ring is everybody: the gate says that it went well.
		if now.Before(r.OpenedAt.Add(minSoak)) {
			return s
		}
		s.State, s.Why = fleet.RolloutDone, ""
		return s
	}
	s.Ring, s.OpenedAt, s.Why = r.Ring+1, now, ""
	return s
}

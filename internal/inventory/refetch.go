package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// Limits and times of refetches.
const (
	refetchBatch      = 500 // hosts of one transaction
	maxRefetchBatches = 400 // of one round
	// refetchJitter is the share by which the pause between two refetches of a
	// host varies, so that hosts which enrolled together part.
	refetchJitter = 0.1
	// freshFor is how long vitals that just came are not asked for again: an
	// enrollment asks for the first ones itself.
	freshFor = 5 * time.Minute
)

// Refetches keeps when hosts are asked for their vitals.
type Refetches interface {
	Due(ctx context.Context, now time.Time, limit int) ([]fleet.RefetchFacts, error)
	// Of returns nil for an unknown host.
	Of(ctx context.Context, id fleet.HostID) (*fleet.RefetchFacts, error)
	// Ask queues the commands of refetches in the place of older ones, in one
	// transaction.
	Ask(ctx context.Context, asks []fleet.RefetchAsk, events ...fleet.Event) error
}

// Refetcher asks enrolled hosts for their vitals, hour by hour and when a
// person wants it.
type Refetcher struct {
	refetches Refetches
	every     time.Duration
	clock     func() time.Time
	pushes    *wake.Bell
}

// NewRefetcher returns a refetcher that asks each host after this pause.
// pushes is rung when something waits.
func NewRefetcher(refetches Refetches, every time.Duration, clock func() time.Time, pushes *wake.Bell) *Refetcher {
	return &Refetcher{refetches: refetches, every: every, clock: clock, pushes: pushes}
}

// Round asks the hosts that are due.
func (r *Refetcher) Round(ctx context.Context) error {
	for range maxRefetchBatches {
		due, err := r.refetches.Due(ctx, r.clock(), refetchBatch)
		if err != nil || len(due) == 0 {
			return err
		}
		asks, err := r.decide(due, false)
		if err != nil {
			return err
		}
		if err := r.refetches.Ask(ctx, asks); err != nil {
			return err
		}
		r.pushes.Ring()
		if len(due) < refetchBatch {
			return nil
		}
	}
	return nil
}

// Refetch asks one host at once for everything. Where it was asked already it
// is only woken. KindNotFound: no such host. KindConflict: it is not enrolled.
func (r *Refetcher) Refetch(ctx context.Context, actor fleet.Actor, id fleet.HostID) error {
	facts, err := r.refetches.Of(ctx, id)
	if err != nil {
		return err
	}
	if facts == nil {
		return fleet.Errorf(fleet.KindNotFound, "there is no host with id %d", id)
	}
	if facts.EnrollmentID == 0 {
		return fleet.Errorf(fleet.KindConflict, "host %d (serial %s) cannot be asked for its vitals: MDM is not on. Enroll it first", id, facts.Host.Serial)
	}
	asks, err := r.decide([]fleet.RefetchFacts{*facts}, true)
	if err != nil {
		return err
	}
	details, err := json.Marshal(map[string]bool{"asked_before": len(asks[0].Commands) == 0})
	if err != nil {
		return err
	}
	if err := r.refetches.Ask(ctx, asks, fleet.Event{Kind: fleet.EventHostRefetch, Actor: actor, HostID: id, Details: details}); err != nil {
		return err
	}
	r.pushes.Ring()
	return nil
}

// decide makes the decisions about hosts and the commands that carry them out,
// each once for all of them.
func (r *Refetcher) decide(hosts []fleet.RefetchFacts, asked bool) ([]fleet.RefetchAsk, error) {
	now := r.clock()
	shelf := refetchShelf{uuid: ids.UUID(), now: now, made: map[shelfKey]*fleet.Command{}}
	asks := make([]fleet.RefetchAsk, 0, len(hosts))
	for i := range hosts {
		a := fleet.RefetchAsk{Facts: hosts[i], Parts: refetchParts(&hosts[i], now, asked)}
		a.Period = time.Duration(float64(r.every) * (1 - refetchJitter + 2*refetchJitter*rand.Float64()))
		a.RetryAt = now.Add(fleet.SilentAfter)
		for _, part := range []fleet.RefetchParts{fleet.RefetchDevice, fleet.RefetchApps, fleet.RefetchCertificates, fleet.RefetchSecurity} {
			if a.Parts&part == 0 {
				continue
			}
			cmd, err := shelf.command(part, hosts[i].Personal)
			if err != nil {
				return nil, fmt.Errorf("make a refetch command: %w", err)
			}
			a.Commands = append(a.Commands, cmd)
		}
		asks = append(asks, a)
	}
	return asks, nil
}

// refetchParts decides what a host is asked for; nothing when it has yet to
// answer what it was asked. It is pure. asked: a person wants it now.
func refetchParts(f *fleet.RefetchFacts, now time.Time, asked bool) fleet.RefetchParts {
	if f.EnrollmentID == 0 {
		return 0
	}
	// Times that lie far ahead are a clock's that was wrong.
	if !f.AskedAt.IsZero() && now.Sub(f.AskedAt).Abs() < fleet.SilentAfter {
		return 0
	}
	parts := fleet.RefetchDevice | fleet.RefetchApps | fleet.RefetchCertificates
	if f.Host.Platform == fleet.PlatformDarwin {
		parts |= fleet.RefetchSecurity
	}
	fresh := now.Sub(f.DetailsAt).Abs() < freshFor || now.Sub(f.EnrolledAt).Abs() < freshFor
	if fresh && !asked {
		parts &^= fleet.RefetchDevice
	}
	return parts
}

// refetchShelf makes commands, each once.
type refetchShelf struct {
	uuid string
	now  time.Time
	made map[shelfKey]*fleet.Command
}

type shelfKey struct {
	part     fleet.RefetchParts
	personal bool
}

func (s *refetchShelf) command(part fleet.RefetchParts, personal bool) (*fleet.Command, error) {
	key := shelfKey{part, personal}
	if cmd := s.made[key]; cmd != nil {
		return cmd, nil
	}
	uuid := s.uuid
	if personal {
		uuid += "-P" // another command than that of the batch's other hosts
	}
	c, err := mdmcmd.NewRefetch(part, uuid, personal)
	if err != nil {
		return nil, err
	}
	cmd := &fleet.Command{UUID: c.UUID, RequestType: c.RequestType, Purpose: fleet.CommandVitals, Platform: fleet.PlatformDarwin, Body: c.Raw, CreatedAt: s.now}
	s.made[key] = cmd
	return cmd, nil
}

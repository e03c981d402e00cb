package command

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/backoff"
)

// Limits of a round of pushes.
const (
	pushBatch      = 500   // enrollments claimed at once
	fanoutBatch    = 2_000 // targets queued at once: some 10 ms for other writers
	maxPushBatches = 400   // batches of one round
)

// pushAgain is the pause before a device that did not come is pushed to
// again. APNs keeps only the last push, so repeating is safe.
var pushAgain = backoff.Policy{First: 2 * time.Minute, Max: 6 * time.Hour, Factor: 2, Jitter: 0.2}

// pushFault is the pause after APNs itself failed.
var pushFault = backoff.Policy{First: 15 * time.Second, Max: 15 * time.Minute, Factor: 2, Jitter: 0.3}

// Sender sends pushes.
type Sender interface {
	// Send pushes to all targets with bounded concurrency and returns a
	// result for each, in order.
	Send(ctx context.Context, targets []fleet.PushTarget) []fleet.PushResult
}

// Pushes keeps who is to be woken when.
type Pushes interface {
	Due(ctx context.Context, now time.Time, limit int) ([]fleet.PushTarget, error)
	// Targets returns those of the enrollments that can be pushed to.
	Targets(ctx context.Context, ids []fleet.EnrollmentID) ([]fleet.PushTarget, error)
	Record(ctx context.Context, outcomes []fleet.PushOutcome, events ...fleet.Event) error
}

// Fanouts queues commands with very many targets.
type Fanouts interface {
	// Fanout queues one batch and reports whether there may be more.
	Fanout(ctx context.Context, batch int) (queued fleet.FanoutBatch, more bool, err error)
	// FanoutPushed notes that a batch was pushed to. One that is not by the
	// next Fanout becomes due.
	FanoutPushed(ctx context.Context, b fleet.FanoutBatch) error
}

// Pusher wakes devices that have commands waiting. One replica at a time runs
// it, under a lease.
type Pusher struct {
	pushes  Pushes
	fanouts Fanouts
	sender  Sender
	clock   func() time.Time
	log     *slog.Logger
	mu      sync.Mutex
	stopped int       // rounds in a row that APNs as a whole refused
	until   time.Time // no pushes before
}

// NewPusher returns a pusher.
func NewPusher(pushes Pushes, fanouts Fanouts, sender Sender, clock func() time.Time, log *slog.Logger) *Pusher {
	return &Pusher{pushes: pushes, fanouts: fanouts, sender: sender, clock: clock, log: log}
}

// Round queues what is to be fanned out and pushes to whoever is due.
func (p *Pusher) Round(ctx context.Context) error {
	for range maxPushBatches {
		queued, more, err := p.fanouts.Fanout(ctx, fanoutBatch)
		if err != nil {
			return fmt.Errorf("fan out: %w", err)
		}
		if err := p.pushFanout(ctx, queued); err != nil {
			return err
		}
		again, err := p.pushDue(ctx)
		if err != nil {
			return err
		}
		if (!more && !again) || ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// pushFanout pushes to a batch that was just queued, of which no push was noted
// as due. If it does not come to its end, they become due.
func (p *Pusher) pushFanout(ctx context.Context, b fleet.FanoutBatch) error {
	if len(b.Enrollments) == 0 {
		return nil
	}
	for ids := range slices.Chunk(b.Enrollments, pushBatch) {
		now := p.clock()
		if p.paused(now) {
			return nil
		}
		targets, err := p.pushes.Targets(ctx, ids)
		if err != nil {
			return err
		}
		if works, err := p.push(ctx, now, targets); err != nil || !works {
			return err
		}
	}
	if err := p.fanouts.FanoutPushed(ctx, b); err != nil {
		return fmt.Errorf("fan out: %w", err)
	}
	return nil
}

// pushDue pushes to one batch of those that are due and reports whether more
// may be.
func (p *Pusher) pushDue(ctx context.Context) (bool, error) {
	now := p.clock()
	if p.paused(now) {
		return false, nil
	}
	due, err := p.pushes.Due(ctx, now, pushBatch)
	if err != nil || len(due) == 0 {
		return false, err
	}
	works, err := p.push(ctx, now, due)
	return works && len(due) == pushBatch, err
}

// push pushes to targets and records what became of it. It reports whether
// pushes work at all; those that did not, stay as they are.
func (p *Pusher) push(ctx context.Context, now time.Time, targets []fleet.PushTarget) (works bool, err error) {
	if len(targets) == 0 {
		return true, nil
	}
	results := p.sender.Send(ctx, targets)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	var outcomes []fleet.PushOutcome
	var events []fleet.Event
	works = true
	var reason string
	for i, r := range results {
		if r.Stop {
			works, reason = false, r.Reason
			continue
		}
		o, e := judge(targets[i], r, now)
		outcomes = append(outcomes, o)
		if e != nil {
			events = append(events, *e)
		}
	}
	p.note(works, reason, now)
	if len(outcomes) > 0 {
		err = p.pushes.Record(ctx, outcomes, events...)
	}
	return works, err
}

// paused reports whether APNs is left alone for now.
func (p *Pusher) paused(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.until) && p.until.Sub(now) <= 2*pushFault.Max // not of a clock that was ahead
}

// note pauses all pushes while APNs refuses them as a whole.
func (p *Pusher) note(works bool, reason string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if works {
		p.stopped = 0
		return
	}
	p.stopped++
	p.until = now.Add(pushFault.Wait(p.stopped))
	p.log.Error("pushes do not work", "reason", reason, "next_try", p.until.UTC().Format(time.RFC3339))
}

// judge decides what follows from one push. It is pure.
func judge(t fleet.PushTarget, r fleet.PushResult, now time.Time) (fleet.PushOutcome, *fleet.Event) {
	o := fleet.PushOutcome{EnrollmentID: t.EnrollmentID, HostID: t.HostID, DueAt: t.DueAt, At: now, Reason: r.Reason, Attempts: t.Attempts + 1}
	switch {
	case r.OK:
		o.Reason = ""
		o.NextAt = now.Add(pushAgain.Wait(o.Attempts))
	case r.Dead && (r.DeadAt.IsZero() || r.DeadAt.After(t.TokenAt)):
		o.Broken = true
		return o, &fleet.Event{Kind: fleet.EventPushBroken, At: now, HostID: t.HostID, EnrollmentID: t.EnrollmentID,
			Details: fmt.Appendf(nil, `{"reason":%q}`, r.Reason)}
	default:
		o.NextAt = now.Add(pushFault.Wait(o.Attempts))
	}
	return o, nil
}

package hostaction

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

const (
	dueBatch    = 50 // requests carried out in one round
	rotateBatch = 50 // recovery locks renewed in one round
	maxRounds   = 20 // of rotations in one run
	// lease is how long whoever carries a request out may say nothing until
	// another takes it up; it says so after leaseBeat, between two hosts.
	lease     = 2 * time.Minute
	leaseBeat = 30 * time.Second
	// requestLife is how long requests are kept that ended.
	requestLife = 90 * 24 * time.Hour
	// archiveLife is how long secrets are kept of devices whose host is gone.
	archiveLife = 180 * 24 * time.Hour
)

// Requests lists what waited or waits for a second person or its time.
func (s *Service) Requests(ctx context.Context, phases []fleet.ActionPhase, page fleet.Page) ([]fleet.ActionRequest, fleet.PageMeta, error) {
	return s.o.Store.Requests(ctx, phases, page)
}

// Decide approves (ActionDone), denies (ActionDenied) or takes back
// (ActionUndone) a request, and returns it. What is approved and has not to
// wait is carried out.
func (s *Service) Decide(ctx context.Context, v fleet.Viewer, uuid string, what fleet.ActionPhase) (fleet.ActionRequest, error) {
	org, err := s.o.Settings.Settings(ctx)
	if err != nil {
		return fleet.ActionRequest{}, err
	}
	now, approved := s.o.Clock(), false
	err = s.o.Store.Act(ctx, fleet.ActionLookup{RequestUUID: uuid}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
		if f.Request == nil {
			return fleet.ActionChange{}, unknownRequest(uuid)
		}
		r := *f.Request
		verdict, refusal := decideApproval(org.Brake, &r, what, v.Actor(), v.User.Role == fleet.RoleAdmin, now)
		if refusal != nil {
			return fleet.ActionChange{}, refusal
		}
		r.Phase, r.DueAt, r.DecidedBy, r.DecidedAt = verdict.phase, verdict.due, v.Actor(), now
		if approved = verdict.phase == fleet.ActionDone; approved {
			r.Phase = fleet.ActionDelayed // carried out next, or by the job
		}
		return fleet.ActionChange{Request: &r, Events: decisions(&r, v.Actor(), what.String(), now)}, nil
	})
	if err != nil {
		return fleet.ActionRequest{}, err
	}
	if approved {
		if err := s.execute(ctx, uuid); err != nil {
			return fleet.ActionRequest{}, err
		}
	}
	r, err := s.o.Store.Request(ctx, uuid)
	if err == nil && r == nil {
		err = unknownRequest(uuid)
	}
	if err != nil {
		return fleet.ActionRequest{}, err
	}
	return *r, nil
}

func unknownRequest(uuid string) error {
	return fleet.Errorf(fleet.KindNotFound, "there is no request %.64q", uuid)
}

// decisions tell the log of every host of a request what was decided.
func decisions(r *fleet.ActionRequest, by fleet.Actor, what string, at time.Time) []fleet.Event {
	out := make([]fleet.Event, 0, len(r.Targets))
	for _, t := range r.Targets {
		out = append(out, fleet.Event{Kind: fleet.EventActionDecided, At: at, Actor: by, HostID: t.ID, Details: details(map[string]any{
			"action": r.Kind.String(), "request_uuid": r.UUID, "decision": what, "asked_by": r.Actor.Email, "detail": r.Detail})})
	}
	return out
}

// execute carries a request out whose time came, for those hosts that still
// take it.
func (s *Service) execute(ctx context.Context, uuid string) error {
	request, err := s.o.Store.Request(ctx, uuid)
	if err != nil || request == nil {
		return err
	}
	ask := fleet.ActionAsk{Kind: request.Kind, Expected: -1}
	for _, t := range request.Targets {
		ask.Hosts = append(ask.Hosts, t.ID)
	}
	packed, err := s.open(ctx, actionRef(uuid))
	if err != nil {
		return err
	}
	if packed != nil {
		if err := json.Unmarshal(packed, &ask.Options); err != nil {
			return fmt.Errorf("read what request %s says: %w", uuid, err)
		}
	}
	o, err := s.order(ctx, request.Actor, ask)
	if err != nil {
		return err
	}
	var running *taken
	err = s.o.Store.Act(ctx, fleet.ActionLookup{Hosts: o.ask.Hosts, RequestUUID: uuid}, func(f fleet.ActionFacts) (c fleet.ActionChange, err error) {
		c, running, err = s.executeOn(o, f)
		return c, err
	})
	if err != nil {
		return err
	}
	s.o.Pushes.Ring()
	if running == nil {
		return nil
	}
	return s.doThere(ctx, running)
}

// taken is a request that the process carries out.
type taken struct {
	fleet.ActionRequest
	again bool // somebody began before and did not come to the end
}

// leased tells that somebody carries a request out. A lease that ends later than
// any does was given when the clock was wrong.
func leased(r *fleet.ActionRequest, now time.Time) bool {
	return now.Before(r.LeaseUntil) && r.LeaseUntil.Sub(now) <= lease
}

// executeOn carries a request out, or returns it when it is another package's
// to do.
func (s *Service) executeOn(o *order, f fleet.ActionFacts) (c fleet.ActionChange, running *taken, err error) {
	if f.Request == nil || f.Request.DueAt.After(o.now) {
		return c, nil, nil
	}
	r := *f.Request
	switch {
	case r.Phase == fleet.ActionRunning && leased(&r, o.now):
		return c, nil, nil
	case r.Phase == fleet.ActionRunning: // whoever began did not come to the end
		r.LeaseUntil = o.now.Add(lease)
		c.Request = &r
		return c, &taken{r, true}, nil
	case r.Phase != fleet.ActionDelayed:
		return c, nil, nil // undone meanwhile, or done by another replica
	case o.elsewhere():
		if o.ask.Kind == fleet.ActionDelete {
			if _, refusal := plan(o.ask, f.Hosts); refusal != nil {
				finished(&c, &r, false, []string{refusal.Error()}, o.now)
				return c, nil, nil
			}
		}
		r.Phase, r.LeaseUntil = fleet.ActionRunning, o.now.Add(lease)
		c.Request = &r
		return c, &taken{r, false}, nil
	}
	done := 0
	var faults []string
	if gone := len(o.ask.Hosts) - len(f.Hosts); gone > 0 {
		faults = append(faults, fmt.Sprintf("hosts that are gone: %d", gone))
	}
	for i := range f.Hosts {
		st, refusal := decide(o.ask.Kind, &f.Hosts[i])
		if refusal != nil {
			faults = append(faults, refusal.Fields[0].Reason)
			continue
		}
		done++
		if err := s.carry(&c, o, st, &f.Hosts[i]); err != nil {
			return c, nil, err
		}
	}
	finished(&c, &r, done > 0, faults, o.now)
	return c, nil, nil
}

// finished ends a request.
func finished(c *fleet.ActionChange, r *fleet.ActionRequest, done bool, faults []string, at time.Time) {
	r.Phase, r.Detail = fleet.ActionDone, strings.Join(faults[:min(len(faults), maxNamed)], "; ")
	if !done {
		r.Phase = fleet.ActionFailed
	}
	c.Request = r
	c.Events = append(c.Events, decisions(r, fleet.Actor{}, r.Phase.String(), at)...)
}

// doThere carries out what is another package's to do, host by host, and ends
// the request. When somebody began before, it is done again: what is so already
// is no fault then.
func (s *Service) doThere(ctx context.Context, r *taken) error {
	done := false
	var faults []string
	for _, t := range r.Targets {
		if mine, err := s.keep(ctx, r); err != nil || !mine {
			return err
		}
		err := s.o.Doers[r.Kind](ctx, r.Actor, t.ID)
		var shown *fleet.Error
		switch {
		case err == nil:
			done = true
		case !errors.As(err, &shown):
			_, given := s.moveLease(context.WithoutCancel(ctx), r, time.Time{}) // the next round goes on
			return errors.Join(fmt.Errorf("%s host %d: %w", r.Kind, t.ID, err), given)
		case shown.Kind == fleet.KindNotFound || shown.Kind == fleet.KindConflict:
			done = true
			if !r.again {
				faults = append(faults, t.Name+": "+shown.Error())
			}
		default:
			faults = append(faults, t.Name+": "+shown.Error())
		}
	}
	now := s.o.Clock()
	return s.o.Store.Act(ctx, fleet.ActionLookup{RequestUUID: r.UUID}, func(f fleet.ActionFacts) (c fleet.ActionChange, err error) {
		if !r.holds(f.Request) {
			return c, nil
		}
		end := *f.Request
		end.LeaseUntil = time.Time{}
		finished(&c, &end, done, faults, now)
		return c, nil
	})
}

// holds tells that nobody took the request away: each lease ends at a time of
// its own.
func (t *taken) holds(r *fleet.ActionRequest) bool {
	return r != nil && r.Phase == fleet.ActionRunning && r.LeaseUntil.Equal(t.LeaseUntil)
}

// keep moves the lease on before it ends; false: another took the request up.
func (s *Service) keep(ctx context.Context, t *taken) (mine bool, err error) {
	now := s.o.Clock()
	if left := t.LeaseUntil.Sub(now); left > lease-leaseBeat && left <= lease {
		return true, nil
	}
	return s.moveLease(ctx, t, now.Add(lease))
}

func (s *Service) moveLease(ctx context.Context, t *taken, until time.Time) (mine bool, err error) {
	err = s.o.Store.Act(ctx, fleet.ActionLookup{RequestUUID: t.UUID}, func(f fleet.ActionFacts) (c fleet.ActionChange, err error) {
		if mine = t.holds(f.Request); mine {
			r := *f.Request
			r.LeaseUntil = until
			c.Request = &r
		}
		return c, nil
	})
	if err != nil {
		return false, fmt.Errorf("keep request %s: %w", t.UUID, err)
	}
	if mine {
		t.LeaseUntil = until
	}
	return mine, nil
}

// Round does what time brings: requests come due or expire, recovery lock
// passwords that somebody saw are replaced.
func (s *Service) Round(ctx context.Context) error {
	now := s.o.Clock()
	var errs []error
	for _, phase := range []fleet.ActionPhase{fleet.ActionRunning, fleet.ActionDelayed} {
		due, err := s.o.Store.RequestsDue(ctx, phase, now, dueBatch)
		errs = append(errs, err)
		for _, r := range due {
			if !leased(&r, now) {
				errs = append(errs, s.execute(ctx, r.UUID))
			}
		}
	}
	expired, err := s.o.Store.RequestsDue(ctx, fleet.ActionWaiting, now, dueBatch)
	errs = append(errs, err)
	for _, r := range expired {
		errs = append(errs, s.expire(ctx, r.UUID, now))
	}
	return errors.Join(append(errs, s.rotate(ctx, now))...)
}

func (s *Service) expire(ctx context.Context, uuid string, now time.Time) error {
	return s.o.Store.Act(ctx, fleet.ActionLookup{RequestUUID: uuid}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
		if f.Request == nil || f.Request.Phase != fleet.ActionWaiting || f.Request.DueAt.After(now) {
			return fleet.ActionChange{}, nil
		}
		r := *f.Request
		r.Phase, r.DecidedAt, r.Detail = fleet.ActionExpired, now, "nobody approved it in time"
		return fleet.ActionChange{Request: &r, Events: decisions(&r, fleet.Actor{}, "expired", now)}, nil
	})
}

// rotate replaces recovery lock passwords that are due. A host that takes none
// now is put off.
func (s *Service) rotate(ctx context.Context, now time.Time) error {
	for range maxRounds {
		hosts, err := s.o.Store.RotationsDue(ctx, now, rotateBatch)
		if err != nil || len(hosts) == 0 {
			return err
		}
		o := &order{ask: fleet.ActionAsk{Kind: fleet.ActionRecoveryLock, Hosts: hosts, Expected: -1}, now: now}
		err = s.o.Store.Act(ctx, fleet.ActionLookup{Hosts: hosts}, func(f fleet.ActionFacts) (c fleet.ActionChange, err error) {
			for i := range f.Hosts {
				h := &f.Hosts[i]
				st, refusal := decide(fleet.ActionRecoveryLock, h)
				if refusal != nil {
					h.Action.RotateAt = now.Add(rotateAgain)
					c.States = append(c.States, h.Action)
					continue
				}
				if err := s.carry(&c, o, st, h); err != nil {
					return c, err
				}
			}
			return c, nil
		})
		if err != nil {
			return err
		}
		s.o.Pushes.Ring()
	}
	return nil
}

// Sweep drops requests that ended and secrets that were archived long before the
// time, and sealed fields of commands that nobody needs any more.
func (s *Service) Sweep(ctx context.Context, now time.Time) error {
	return errors.Join(s.o.Store.DeleteRequests(ctx, now.Add(-requestLife)), s.o.Store.DropArchived(ctx, now.Add(-archiveLife)), s.o.Store.Sweep(ctx))
}

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
	var todo []fleet.HostID
	err = s.o.Store.Act(ctx, fleet.ActionLookup{Hosts: o.ask.Hosts, RequestUUID: uuid}, func(f fleet.ActionFacts) (c fleet.ActionChange, err error) {
		c, todo, err = s.executeOn(o, f)
		return c, err
	})
	if err != nil {
		return err
	}
	s.o.Pushes.Ring()
	return s.doThere(ctx, request, todo)
}

func (s *Service) executeOn(o *order, f fleet.ActionFacts) (c fleet.ActionChange, todo []fleet.HostID, err error) {
	if f.Request == nil || f.Request.Phase != fleet.ActionDelayed || f.Request.DueAt.After(o.now) {
		return c, nil, nil // undone meanwhile, or done by another replica
	}
	r := *f.Request
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
		todo = append(todo, f.Hosts[i].Host.ID)
		if err := s.carry(&c, o, st, &f.Hosts[i]); err != nil {
			return c, nil, err
		}
	}
	r.Phase, r.Detail = fleet.ActionDone, strings.Join(faults[:min(len(faults), maxNamed)], "; ")
	if done == 0 {
		r.Phase = fleet.ActionFailed
	}
	c.Request = &r
	c.Events = append(c.Events, decisions(&r, fleet.Actor{}, r.Phase.String(), o.now)...)
	return c, todo, nil
}

// doThere carries out what is somebody else's to do, after it was noted as
// done: a crash in between is seen by the host not having changed.
func (s *Service) doThere(ctx context.Context, r *fleet.ActionRequest, hosts []fleet.HostID) error {
	do := s.o.Doers[r.Kind]
	if do == nil {
		return nil
	}
	var errs []error
	for _, id := range hosts {
		err := do(ctx, r.Actor, id)
		var shown *fleet.Error
		if err != nil && !errors.As(err, &shown) {
			errs = append(errs, fmt.Errorf("%s host %d: %w", r.Kind, id, err))
		}
	}
	return errors.Join(errs...)
}

// Round does what time brings: requests come due or expire, recovery lock
// passwords that somebody saw are replaced.
func (s *Service) Round(ctx context.Context) error {
	now := s.o.Clock()
	due, err := s.o.Store.RequestsDue(ctx, fleet.ActionDelayed, now, dueBatch)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range due {
		errs = append(errs, s.execute(ctx, r.UUID))
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

// Sweep drops sealed fields of commands that nobody needs any more.
func (s *Service) Sweep(ctx context.Context) error { return s.o.Store.Sweep(ctx) }

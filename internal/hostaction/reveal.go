package hostaction

import (
	"context"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// rotateAfter is how long a recovery lock password that somebody saw lasts.
const rotateAfter = time.Hour

// Reveal shows a secret of a host, after recording who asked. KindNotFound:
// there is none.
func (s *Service) Reveal(ctx context.Context, actor fleet.Actor, host fleet.HostID, kind fleet.RevealKind) (fleet.Revealed, error) {
	var out fleet.Revealed
	var ref fleet.SecretRef
	var key string
	now := s.o.Clock()
	err := s.o.Store.Act(ctx, fleet.ActionLookup{Hosts: []fleet.HostID{host}}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
		if len(f.Hosts) != 1 {
			return fleet.ActionChange{}, fleet.Errorf(fleet.KindNotFound, "there is no host with id %d", host)
		}
		h := &f.Hosts[0]
		c := fleet.ActionChange{}
		name := ""
		switch kind {
		case fleet.RevealPIN:
			name, ref, key = "pin", actionRef(h.Action.PINUUID), "PIN"
			out.UpdatedAt = h.Action.UpdatedAt
		case fleet.RevealRecoveryLock:
			name, ref, key = "recovery_lock_password", actionRef(h.Action.RecoveryUUID), "NewPassword"
			out.UpdatedAt = h.Action.RecoveryAt
			if ref.Name != "" && h.Action.RecoveryNext == "" && h.Action.RotateAt.IsZero() {
				state := h.Action
				state.RotateAt = now.Add(rotateAfter)
				c.States = []fleet.HostActionState{state}
			}
		case fleet.RevealBypassCode:
			name, ref = "activation_lock_bypass_code", bypassRef(h.EnrollmentKey)
		}
		if ref.Name == "" {
			return c, fault(h, fleet.KindNotFound, "has no such secret here: if its host was deleted before, look among the archived secrets of "+h.Host.Serial)
		}
		o := order{actor: actor, now: now}
		c.Events = []fleet.Event{o.event(fleet.EventHostSecretViewed, h, map[string]any{"secret": name})}
		return c, nil
	})
	if err != nil {
		return fleet.Revealed{}, err
	}
	if key != "" {
		out.Value, err = s.commandSecret(ctx, ref.Name, key)
		return out, err
	}
	out.Value, out.UpdatedAt, err = s.bypassCode(ctx, ref.Name)
	if fleet.KindOf(err) == fleet.KindNotFound {
		err = fleet.Errorf(fleet.KindNotFound, "host %d has told no bypass code: ask it for one first", host)
	}
	return out, err
}

// bypassCode opens the bypass code that a device told, by the key of its
// channel. KindNotFound: it told none.
func (s *Service) bypassCode(ctx context.Context, key string) (code string, at time.Time, err error) {
	stored, err := s.o.Secrets.Secret(ctx, bypassRef(key))
	if err == nil && stored == nil {
		err = fleet.Errorf(fleet.KindNotFound, "there is no bypass code of %s", key)
	}
	if err != nil {
		return "", at, err
	}
	value, err := s.o.Sealer.Open(stored.Ref, stored.Value)
	return string(value), stored.UpdatedAt, err
}

// Cancel takes back a command that a host has not fetched, or put off. The
// command stays in the history as cancelled.
func (s *Service) Cancel(ctx context.Context, actor fleet.Actor, host fleet.HostID, uuid string) error {
	look := fleet.ActionLookup{Hosts: []fleet.HostID{host}, CommandUUID: uuid}
	return s.o.Store.Act(ctx, look, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
		if len(f.Hosts) != 1 {
			return fleet.ActionChange{}, fleet.Errorf(fleet.KindNotFound, "there is no host with id %d", host)
		}
		h := &f.Hosts[0]
		if err := cancellable(h, f, uuid); err != nil {
			return fleet.ActionChange{}, err
		}
		o := order{actor: actor, now: s.o.Clock()}
		e := o.event(fleet.EventCommandCancelled, h, map[string]any{"command_uuid": uuid, "request_type": f.Command.RequestType})
		e.CommandID = f.Command.ID
		c := fleet.ActionChange{Cancel: true, Events: []fleet.Event{e}}
		if v, changed := cancelled(h.Action, uuid); changed {
			c.States = []fleet.HostActionState{v}
		}
		return c, nil
	})
}

func cancellable(h *fleet.ActionHost, f fleet.ActionFacts, uuid string) error {
	switch {
	case f.Command == nil && f.Answered == 0:
		return fault(h, fleet.KindNotFound, "has no command "+uuid)
	case f.Command == nil:
		return fault(h, fleet.KindConflict, "has ended command "+uuid+" already: "+f.Answered.String())
	case f.Command.Purpose != fleet.CommandAction && f.Command.Purpose != fleet.CommandCustom:
		return fault(h, fleet.KindInvalid, "has command "+uuid+" from Muster itself, which cannot be cancelled")
	case f.Command.Sends > f.Command.NotNow:
		// Whether it arrived is not known: it may be carrying it out.
		return fault(h, fleet.KindConflict, "has fetched command "+uuid+" already and may be carrying it out: it cannot be taken back")
	}
	return nil
}

// cancelled is what actions leave on a host without a command that was still
// to come.
func cancelled(v fleet.HostActionState, uuid string) (fleet.HostActionState, bool) {
	switch uuid {
	case v.CommandUUID:
		v.Pending, v.CommandUUID = fleet.PendingNone, ""
		if v.PINUUID == uuid {
			v.PINUUID = ""
		}
	case v.RecoveryNext:
		v.RecoveryNext = ""
	default:
		return v, false
	}
	return v, true
}

package httpapitest

import (
	"context"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Actions remembers what it was asked, and knows the one host of Host.
type Actions struct {
	Asked     fleet.ActionAsk
	Hold      *fleet.ActionRequest // what Do and Admit answer
	Cancelled string
	Decided   fleet.ActionPhase
	Viewer    fleet.Viewer // who decided
	Locked    bool         // host 7 is
	Fail      string       // why what is approved fails; empty: it does not
	Refuse    error        // of Decide
}

// Request is a wipe that waits for another admin.
func Request() fleet.ActionRequest {
	return fleet.ActionRequest{UUID: "request-1", Kind: fleet.ActionWipe, Phase: fleet.ActionWaiting, Hosts: 1, CreatedAt: Now(), DueAt: Now(),
		Targets: []fleet.ActionTarget{{ID: 7, Name: "Ada's Mac", Serial: "C02ABC"}}, Actor: fleet.Actor{Email: "grace@example.com"}}
}

func (f *Actions) Do(_ context.Context, _ fleet.Actor, ask fleet.ActionAsk) (fleet.ActionResult, error) {
	f.Asked = ask
	if len(ask.Hosts) == 0 || ask.Hosts[0] != 7 {
		return fleet.ActionResult{}, fleet.Errorf(fleet.KindNotFound, "there is no such host")
	}
	out := fleet.ActionResult{Hosts: len(ask.Hosts), Command: "cmd-3", Message: "Ada's Mac is woken and obeys when it connects.", Held: f.Hold}
	switch ask.Kind {
	case fleet.ActionLock:
		out.Pending = fleet.PendingLock
	case fleet.ActionUnlock:
		out.Status, out.Pending = fleet.DeviceLocked, fleet.PendingUnlock
	case fleet.ActionWipe:
		out.Pending = fleet.PendingWipe
	case fleet.ActionClearPasscode, fleet.ActionUnenroll, fleet.ActionDelete, fleet.ActionLocate, fleet.ActionPlaySound,
		fleet.ActionRecoveryLock, fleet.ActionBypassCode:
	}
	if ask.ViewPIN || ask.Kind == fleet.ActionUnlock {
		out.PIN = "123456"
	}
	return out, nil
}

func (f *Actions) Admit(context.Context, fleet.Actor, fleet.ActionKind, []fleet.HostID, bool) (*fleet.ActionRequest, error) {
	return f.Hold, nil
}

// AdmitDelete knows that C02ABC, host 7, is locked when Locked is set.
func (f *Actions) AdmitDelete(_ context.Context, _ fleet.Actor, _ []fleet.HostID, force bool) (*fleet.ActionRequest, error) {
	if f.Locked && !force {
		return nil, fleet.Errorf(fleet.KindConflict, "Ada's Mac is locked: unlock it first")
	}
	return f.Hold, nil
}

// Archived has a PIN of the serial number C02ABC.
func (f *Actions) Archived(_ context.Context, _ fleet.Actor, serial string) ([]fleet.ArchivedSecret, error) {
	if serial != "C02ABC" {
		return nil, nil
	}
	return []fleet.ArchivedSecret{{Kind: fleet.ArchivedPIN, CommandUUID: "cmd-3", DeviceUUID: "UDID", Serial: serial, ArchivedAt: Now(), Value: "123456"}}, nil
}

func (f *Actions) Reveal(_ context.Context, _ fleet.Actor, host fleet.HostID, _ fleet.RevealKind) (fleet.Revealed, error) {
	if host != 7 {
		return fleet.Revealed{}, fleet.Errorf(fleet.KindNotFound, "there is no such host")
	}
	return fleet.Revealed{Value: "the-secret", UpdatedAt: Now()}, nil
}

func (f *Actions) Cancel(_ context.Context, _ fleet.Actor, _ fleet.HostID, uuid string) error {
	f.Cancelled = uuid
	return nil
}

func (f *Actions) Requests(context.Context, []fleet.ActionPhase, fleet.Page) ([]fleet.ActionRequest, fleet.PageMeta, error) {
	return []fleet.ActionRequest{Request()}, fleet.PageMeta{}, nil
}

func (f *Actions) Decide(_ context.Context, v fleet.Viewer, uuid string, what fleet.ActionPhase) (fleet.ActionRequest, error) {
	f.Decided, f.Viewer = what, v
	if uuid != "request-1" {
		return fleet.ActionRequest{}, fleet.Errorf(fleet.KindNotFound, "there is no such request")
	}
	r := Request()
	r.Phase = what
	if f.Fail != "" {
		r.Phase, r.Detail = fleet.ActionFailed, f.Fail
	}
	return r, f.Refuse
}

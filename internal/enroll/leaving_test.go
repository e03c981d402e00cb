package enroll_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
)

func TestADeviceThatLeftAndWasDeletedIsToldToLeaveAgain(t *testing.T) {
	ctx, b := context.Background(), newBench(t)
	_, e := b.enroll()
	b.ok(b.TurnOff(ctx, fleet.Actor{}, e.HostID))
	if found, err := b.hosts.Delete(ctx, e.HostID, nil); err != nil || !found {
		t.Fatal(found, err)
	}
	b.ok(b.Revive(ctx, key))
	b.ok(b.Revive(ctx, key)) // it has a host by now
	if h := b.host(); h.MDM.Status != fleet.MDMOff || h.HardwareSerial != serial || b.enrollment(udid).State != fleet.EnrollmentLeaving {
		t.Errorf("%s, %s", h.MDM.Status, b.enrollment(udid).State)
	}
	cmd, err := b.commands.Exchange(ctx, e.ID, nil, 0, nil)
	if err != nil || cmd == nil || !bytes.Contains(cmd.Body, []byte("RemoveProfile")) {
		t.Fatalf("the device is handed %+v, %v", cmd, err)
	}
	b.answer(e.ID, cmd.UUID)
	if next := b.next(e.ID); next != "" {
		t.Errorf("and then %s", next)
	}
	b.ok(b.CheckOut(ctx, key))
	if s := b.enrollment(udid).State; s != fleet.EnrollmentOff {
		t.Error(s)
	}
}

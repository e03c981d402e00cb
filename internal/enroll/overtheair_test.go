package enroll_test

import (
	"context"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
)

func TestTheIdentityOfEnrollmentOverTheAirIsNotForMDM(t *testing.T) {
	b := newBench(t)
	id := b.issue(fleet.PurposeOTA, 0)
	if err := b.Authenticate(context.Background(), id, authenticate()); fleet.KindOf(err) != fleet.KindForbidden {
		t.Errorf("a new device: %v", err)
	}
	_, e := b.enroll()
	if err := b.Authenticate(context.Background(), id, authenticate()); fleet.KindOf(err) != fleet.KindForbidden {
		t.Errorf("a device that is enrolled: %v", err)
	}
	if now := b.enrollment(udid); now.Generation != e.Generation {
		t.Error("the enrollment began anew")
	}
}

package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func TestWhatOpensADeviceOutlivesItsHost(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, actions := context.Background(), store.NewHostActions(db)
		list := addDevices(t, db, 3)
		for i, d := range list[:2] {
			if err := actions.Act(ctx, fleet.ActionLookup{Hosts: []fleet.HostID{d.host.ID}}, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
				v := f.Hosts[0].Action
				v.Status, v.PINUUID, v.RecoveryUUID, v.RecoveryNext = fleet.DeviceLocked, fmt.Sprint("pin-", i), fmt.Sprint("recovery-", i), fmt.Sprint("next-", i)
				v.RecoveryAt = time.Now()
				return fleet.ActionChange{States: []fleet.HostActionState{v}}, nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		apply(t, db, list[0].enrollment.Key, func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			return fleet.EnrollmentChange{Host: f.Host, Enrollment: f.Enrollment, Reset: true, ForgetActions: f.Host.MDM.Acted}
		})
		if found, err := store.NewHosts(db).Delete(ctx, list[1].host.ID, nil); err != nil || !found {
			t.Fatal(found, err)
		}
		for i := range 2 {
			archived, err := actions.Archived(ctx, fmt.Sprint("S-", i), 10)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range archived {
				got = append(got, fmt.Sprint(v.Kind, " ", v.CommandUUID, " ", v.DeviceUUID))
			}
			slices.Sort(got)
			equal(t, "what is archived", got, fmt.Sprintf("recovery_lock_password recovery-%d U-%[1]d", i),
				fmt.Sprintf("unconfirmed_recovery_lock_password next-%d U-%[1]d", i), fmt.Sprintf("unlock_pin pin-%d U-%[1]d", i))
		}
		// The Mac may still have its recovery lock password.
		v := stateOf(t, db, list[0].host.ID)
		if v.RecoveryUUID != "recovery-0" || !v.RecoveryAt.IsZero() || v.Status != fleet.DeviceUnlocked || v.PINUUID != "" || v.RecoveryNext != "" {
			t.Errorf("after it enrolled anew: %+v", v)
		}
		back := fleet.Host{UUID: "U-1", HardwareSerial: "S-1"}
		apply(t, db, list[1].enrollment.Key, func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			return fleet.EnrollmentChange{Host: &back, Enrollment: f.Enrollment}
		})
		if v := stateOf(t, db, back.ID); v.RecoveryUUID != "recovery-1" || !v.RecoveryAt.IsZero() || v.PINUUID != "" {
			t.Errorf("after it came back: %+v", v)
		}
		if v := stateOf(t, db, list[2].host.ID); v.RecoveryUUID != "" {
			t.Errorf("of another device: %+v", v)
		}
	})
}

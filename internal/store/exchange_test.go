package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// Devices that talk at the same time share transactions, and each gets its
// own commands in its own order; some put theirs off, some repeat themselves.
func TestDevicesThatTalkAtOnceKeepApart(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const many = 24
		devices := make([]device, many)
		for i := range devices {
			devices[i] = addDevice(t, db, fleet.Host{UUID: fmt.Sprint("U-", i)})
		}
		for _, uuid := range []string{"shared-1", "shared-2"} {
			enqueue(t, db, uuid, fleet.CommandCustom, devices...)
		}
		for i, d := range devices {
			enqueue(t, db, fmt.Sprint("own-", i), fleet.CommandCustom, d)
			enqueue(t, db, fmt.Sprint("vitals-", i), fleet.CommandVitals, d)
		}
		vitals := fleet.ReportOutcome{Status: fleet.CommandAcknowledged, Inventory: &fleet.Inventory{Vitals: &fleet.Vitals{OSVersion: "26.0"}}}
		storetest.Parallel(many, func(i int) {
			d, own := devices[i], fmt.Sprint("own-", i)
			got := []string{poll(t, db, d), answer(t, db, d, "shared-1", stored(fleet.CommandAcknowledged))}
			if i%2 == 0 {
				got = append(got, answer(t, db, d, "shared-2", notNow))
			} else {
				got = append(got, answer(t, db, d, "shared-2", stored(fleet.CommandError)), answer(t, db, d, "shared-2", stored(fleet.CommandError)))
			}
			got = append(got, answer(t, db, d, own, stored(fleet.CommandAcknowledged)), answer(t, db, d, fmt.Sprint("vitals-", i), vitals), poll(t, db, d))
			want := []string{"shared-1", "shared-2", own, fmt.Sprint("vitals-", i), "", "shared-2"}
			if i%2 == 1 {
				want = []string{"shared-1", "shared-2", own, own, fmt.Sprint("vitals-", i), "", ""}
			}
			equal(t, fmt.Sprint("what device ", i, " was handed"), got, want...)
		})
		for i, d := range devices {
			own := fmt.Sprint("own-", i)
			want := []string{own + " Acknowledged", "shared-1 Acknowledged", "shared-2 Error"}
			if i%2 == 0 {
				want[2] = "shared-2 NotNow"
			}
			equal(t, fmt.Sprint("the list of device ", i), listed(t, db, fleet.CommandFilter{HostIDs: []fleet.HostID{d.host.ID}, Page: fleet.Page{OrderKey: "command_uuid"}}), want...)
			h, err := store.NewHosts(db).Host(context.Background(), d.host.ID)
			if err != nil || h.PendingCommands != 1-i%2 || h.OSVersion != h.Platform.Title()+" 26.0" {
				t.Errorf("device %d: %+v, %v", i, h, err)
			}
		}
		if kinds := eventKinds(t, db); len(kinds) != many*3+many/2 {
			t.Errorf("%d events", len(kinds))
		}
	})
}

package e2e

import (
	"context"
	"testing"

	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/sim/appledev"
)

func TestAFleetEnrollsAndPollsTwentyTimesWithoutAnError(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const workers, polls = 8, 20
		count := 60
		if w.dialect == store.SQLite {
			count = 200
		}
		ctx := context.Background()
		o := w.simulated()
		o.OnEvent = func(e appledev.Event) {
			if e.Kind == appledev.EventError {
				t.Errorf("%s: %v", e.Serial, e.Err)
			}
		}
		fleet := appledev.NewPopulation(7, count, appledev.Mix{}, o)
		if err := fleet.EnrollAll(ctx, func(*appledev.Device) string { return w.enrollURL }, workers, nil); err != nil {
			t.Fatal(err)
		}
		for range polls {
			if err := fleet.PollAll(ctx, workers); err != nil {
				t.Fatal(err)
			}
		}
		n, err := w.api.CountHosts(ctx, client.HostFilter{MDMEnrollmentStatus: "enrolled"})
		if err != nil || n != count {
			t.Errorf("%d hosts are enrolled, want %d (%v)", n, count, err)
		}
		if n := w.number(t, "SELECT COUNT(*) FROM commands"); n != 0 {
			t.Errorf("%d commands for first vitals are left", n)
		}
		for _, d := range fleet.Devices {
			h := w.host(t, d.Spec().Serial)
			if h.UUID != d.Spec().UDID || h.GigsTotalDiskSpace <= 0 || h.PendingCommands != 0 {
				t.Fatalf("host %s: %+v", d.Spec().Serial, h)
			}
		}
	})
}

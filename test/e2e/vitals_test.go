package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/sim/appledev"
)

// Devices without an agent tell their vitals, software and certificates, by
// the hour and when a person asks, and people never see the commands.
func TestVitalsOfDevicesWithoutAnAgent(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres, store.MySQL} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			w := unprepared(t, d, func(c *config.Config) { c.Refetch.Paused = false })
			w.run(t)
			w.openDatabase(t)
			w.prepare(t)
			ctx, stop := context.WithCancel(context.Background())
			devices := []*appledev.Device{w.device(31, appledev.Mac), w.device(32, appledev.IPhone)}
			done := make(chan error, len(devices))
			for _, dev := range devices {
				if err := dev.Enroll(ctx, w.enrollURL); err != nil {
					t.Fatal(err)
				}
				go func() { done <- dev.Run(ctx) }()
			}
			defer func() {
				stop()
				for range devices {
					<-done
				}
			}()
			for _, dev := range devices {
				w.toldAll(t, dev)
			}
			w.askedAgain(t, devices[1])
		})
	}
}

// toldAll waits until a host has everything, and looks at it.
func (w *world) toldAll(t *testing.T, dev *appledev.Device) {
	t.Helper()
	var h apiv1.HostDetail
	certificates := 0
	eventually(t, func() (bool, string) {
		h = w.host(t, dev.Spec().Serial)
		certificates = 0
		err := w.api.AllHostCertificates(context.Background(), h.ID, func(apiv1.HostCertificate) error {
			certificates++
			return nil
		})
		return err == nil && certificates > 0 && len(h.Software) > 2 && h.Vitals.TimeZone != "" && !h.RefetchRequested,
			fmt.Sprintf("%d titles, %d certificates, %+v, outstanding %v, %v", len(h.Software), certificates, h.Vitals, h.RefetchRequested, err)
	})
	mac := dev.Spec().Model.Family == appledev.Mac
	if h.GigsDiskSpaceAvailable <= 0 || h.PercentDiskSpaceAvailable <= 0 || h.PrimaryMAC != dev.Spec().WiFi || (h.Vitals.FileVault != nil) != mac ||
		(h.Vitals.LostMode != nil) == mac || (h.Vitals.IMEI != "") == mac {
		t.Errorf("%+v", h)
	}
	list, err := w.api.Commands(context.Background(), client.CommandFilter{}, 0, 100)
	if err != nil || len(list.Results) != 0 {
		t.Errorf("people see commands: %+v, %v", list.Results, err)
	}
	if n := w.number(t, "SELECT COUNT(*) FROM command_results"); n != 0 {
		t.Errorf("%d answers are kept", n)
	}
}

// askedAgain has a person ask, and then the clock.
func (w *world) askedAgain(t *testing.T, dev *appledev.Device) {
	t.Helper()
	before := w.host(t, dev.Spec().Serial)
	if err := w.api.RefetchHost(context.Background(), before.ID); err != nil {
		t.Fatal(err)
	}
	told := func() (bool, string) {
		h := w.host(t, dev.Spec().Serial)
		return h.DetailUpdatedAt.After(before.DetailUpdatedAt) && !h.RefetchRequested, fmt.Sprint("vitals of ", h.DetailUpdatedAt)
	}
	eventually(t, told)
	before = w.host(t, dev.Spec().Serial)
	w.clock.advance(70 * time.Minute)
	eventually(t, told)
	// A version that another one replaced, as after midnight, is on no host.
	titles := map[string]int{}
	if err := w.api.AllSoftware(context.Background(), "", func(s apiv1.SoftwareVersion) error {
		titles[s.Name] += s.HostsCount
		if s.HostsCount > 1 {
			t.Errorf("%s %s is on %d hosts", s.Name, s.Version, s.HostsCount)
		}
		return nil
	}); err != nil || titles["Safari"] == 0 {
		t.Errorf("%v, %v", titles, err)
	}
	for name, hosts := range titles {
		if hosts == 0 {
			t.Errorf("no host has %s", name)
		}
	}
}

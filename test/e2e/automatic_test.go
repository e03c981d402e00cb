package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/appleserver"
)

// business is a world with Apple's device enrollment service, and one server
// there whose token the world has.
type business struct {
	*world
	apple  *appleserver.Enrollment
	server string // at Apple
	token  apiv1.ServerToken
}

// eachBusiness runs a test on every database.
func eachBusiness(t *testing.T, test func(t *testing.T, b *business)) {
	t.Helper()
	for _, d := range []store.Dialect{store.SQLite, store.Postgres, store.MySQL} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			test(t, openBusiness(t, d))
		})
	}
}

func openBusiness(t *testing.T, d store.Dialect) *business {
	t.Helper()
	b, ticks := &business{}, &clock{}
	b.world = unprepared(t, d, func(c *config.Config) {
		apple, err := appleserver.StartEnrollment(context.Background(), appleserver.EnrollmentOptions{Clock: ticks.now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = apple.Close() })
		b.apple = apple
		authority := filepath.Join(c.DataDir, "devices.pem")
		if err := os.WriteFile(authority, apple.DeviceAuthority().PEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		c.Apple.DEPURL, c.Apple.DeviceCAFile, c.Apple.DEPSyncEvery = apple.URL(), authority, time.Second
	})
	b.clock = ticks
	b.run(t)
	b.openDatabase(t)
	b.prepare(t)
	key, err := b.api.ServerTokenKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var file []byte
	if b.server, file, err = b.apple.CreateServer("Muster", key); err != nil {
		t.Fatal(err)
	}
	if b.token, err = b.api.AddServerToken(t.Context(), client.ServerTokenUpload{Token: file}); err != nil {
		t.Fatal(err)
	}
	return b
}

// buy buys devices and returns them, still in their boxes.
func (b *business) buy(t *testing.T, model string, count int) []*appledev.Device {
	t.Helper()
	bought, err := b.apple.Buy(b.server, model, count)
	if err != nil {
		t.Fatal(err)
	}
	var list []*appledev.Device
	for _, one := range bought {
		list = append(list, b.unbox(t, one))
	}
	return list
}

func (b *business) unbox(t *testing.T, bought appleserver.Bought) *appledev.Device {
	t.Helper()
	spec, err := appledev.SpecOf(bought.Serial, bought.Product)
	if err != nil {
		t.Fatal(err)
	}
	o := b.simulated()
	o.Service = b.apple.DeviceURL()
	return appledev.New(spec, o)
}

// assigned waits until Apple has a profile for every device.
func (b *business) assigned(t *testing.T, devices ...*appledev.Device) {
	t.Helper()
	eventually(t, func() (bool, string) {
		for _, d := range devices {
			s, err := b.apple.Device(d.Spec().Serial)
			if err != nil || s.ProfileUUID == "" {
				return false, fmt.Sprintf("%s: %+v, %v", d.Spec().Serial, s, err)
			}
		}
		return true, ""
	})
}

func TestADeviceIsBoughtAndEnrollsByItself(t *testing.T) {
	t.Parallel()
	eachBusiness(t, func(t *testing.T, b *business) {
		ctx := t.Context()
		team, err := b.api.CreateTeam(ctx, apiv1.CreateTeamRequest{Name: "Classroom"})
		if err != nil {
			t.Fatal(err)
		}
		if b.token, err = b.api.SetServerTokenTeams(ctx, b.token.ID, apiv1.ServerTokenTeams{IPadOSTeamID: &team.ID}); err != nil || b.token.IPadOSTeam.Name != "Classroom" {
			t.Fatal(b.token, err)
		}
		pads, macs := b.buy(t, "ipad", 2), b.buy(t, "mac", 1)
		devices := slices.Concat(pads, macs)
		b.assigned(t, devices...)
		for _, d := range devices {
			h := b.host(t, d.Spec().Serial)
			if enrollmentStatus(h) != "Pending" {
				t.Errorf("%s is %q before it is switched on", d.Spec().Serial, enrollmentStatus(h))
			}
		}
		for _, d := range devices {
			if err := d.Boot(ctx); err != nil {
				t.Fatal(err)
			}
		}
		for i, d := range devices {
			h := b.host(t, d.Spec().Serial)
			if enrollmentStatus(h) != "On (automatic)" || h.UUID != d.Spec().UDID {
				t.Errorf("%s: %q, %s", d.Spec().Serial, enrollmentStatus(h), h.UUID)
			}
			if joined := h.TeamID != nil && *h.TeamID == team.ID; joined != (i < len(pads)) {
				t.Errorf("%s is in team %v", d.Spec().Serial, h.TeamID)
			}
		}
		if n := b.number(t, "SELECT COUNT(*) FROM hosts"); n != int64(len(devices)) {
			t.Errorf("%d hosts of %d devices", n, len(devices))
		}
		eventually(t, func() (bool, string) { // Apple says that they were pushed
			list, err := b.api.DEPDevices(ctx, client.DEPFilter{ServerTokenID: b.token.ID})
			if err != nil || len(list.Devices) != len(devices) {
				t.Fatal(list, err)
			}
			return list.Devices[0].HostID != nil && list.Devices[0].Assignment != "pending", fmt.Sprintf("%+v", list.Devices[0])
		})
	})
}

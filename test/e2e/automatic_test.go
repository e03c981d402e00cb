package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/app"
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

func TestServerTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	b := openBusiness(t, store.SQLite)
	ctx := t.Context()
	key, err := b.api.ServerTokenKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	before := b.snapshot(t)
	upload := func(file []byte) error {
		_, err := b.api.AddServerToken(ctx, client.ServerTokenUpload{Token: file})
		return err
	}
	foreign, _, err := app.NewServerTokenPair(b.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	_, forOther, err := b.apple.CreateServer("Other key", foreign)
	if err != nil {
		t.Fatal(err)
	}
	expired, late, err := b.apple.CreateServer("Expired", key)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.apple.ExpireToken(expired); err != nil {
		t.Fatal(err)
	}
	unsigned, waiting, err := b.apple.CreateServer("Terms", key)
	if err != nil || unsigned == "" {
		t.Fatal(err)
	}
	again, err := b.apple.RenewToken(b.server, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, says string
		file       []byte
	}{
		{"nonsense", "not a server token", []byte("hello")},
		{"another key's", "another key", forOther},
		{"a truncated one", "cut off", forOther[:len(forOther)-40]},
		{"one that Apple does not take", "has expired", late},
		{"one of the same server", "already", again},
	} {
		if err := upload(tt.file); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	unchanged := func() {
		t.Helper()
		// That syncing fails, and works again, is told by events of its own.
		if after := b.snapshot(t); strings.Split(after, "events")[0] != strings.Split(before, "events")[0] {
			t.Errorf("something changed:\n%s\n%s", before, after)
		}
	}
	unchanged()
	b.apple.SignTerms(false)
	if err := upload(waiting); err == nil || !strings.Contains(err.Error(), "terms") {
		t.Errorf("while the terms are not signed: %v", err)
	}
	b.apple.SignTerms(true)
	if _, err := b.api.RenewServerToken(ctx, b.token.ID, client.ServerTokenUpload{Token: waiting}, false); client.StatusOf(err) != http.StatusConflict {
		t.Errorf("renewing with the token of another server: %v", err)
	}
	unchanged()
	if _, err := b.api.RenewServerToken(ctx, b.token.ID, client.ServerTokenUpload{Token: again}, false); err != nil {
		t.Errorf("renewing: %v", err)
	}
	if strings.Contains(b.log.String(), "consumer_secret") {
		t.Error("the log tells what is in a token")
	}
}

func TestDevicesThatAreNotLetIn(t *testing.T) {
	t.Parallel()
	b := openBusiness(t, store.SQLite)
	ctx := t.Context()
	d := b.buy(t, "ipad", 1)[0]
	b.assigned(t, d)
	before := b.number(t, "SELECT COUNT(*) FROM challenges")
	for _, lie := range []appledev.MachineLie{appledev.Unsigned, appledev.ForeignSigner, appledev.Tampered, appledev.OtherSerial} {
		d.Faults().LieAboutMachine(lie, "STRANGER1")
		if err := d.Boot(ctx); err == nil {
			t.Errorf("lie %v: it is enrolled", lie)
		}
	}
	d.Faults().LieAboutMachine(appledev.Honest, "")
	if n := b.number(t, "SELECT COUNT(*) FROM challenges"); n != before {
		t.Errorf("%d challenges were minted", n-before)
	}
	for _, path := range []string{"", "?token=wrong", "?deviceinfo=%21"} {
		res, err := b.devices.Get(b.url + "/api/mdm/apple/enroll" + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		oneOf(t, "enroll"+path, res.StatusCode, http.StatusBadRequest)
	}
	res, err := b.devices.Post(b.url+"/api/mdm/apple/enroll", "application/pkcs7-signature", bytes.NewReader(make([]byte, 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	oneOf(t, "a large body", res.StatusCode, http.StatusRequestEntityTooLarge)
	d.Faults().ClockSkew(-10 * 365 * 24 * time.Hour)
	if err := d.Boot(ctx); err != nil {
		t.Errorf("a device whose clock is wrong: %v", err)
	}
	b.alive(t)
}

func TestAnOldDeviceUpdatesItselfFirst(t *testing.T) {
	t.Parallel()
	b := openBusiness(t, store.SQLite)
	ctx := t.Context()
	d := b.buy(t, "ipad", 1)[0]
	b.assigned(t, d)
	version, deadline := "99.1", "2030-01-01"
	if _, err := b.api.ModifyConfig(ctx, apiv1.ConfigPatch{MDM: &apiv1.MDMConfigPatch{IPadOSUpdates: &apiv1.OSUpdates{MinimumVersion: &version, Deadline: &deadline}}}, false); err != nil {
		t.Fatal(err)
	}
	d.Faults().FailUpdate(true)
	if err := d.Boot(ctx); !errors.Is(err, appledev.ErrUpdate) {
		t.Errorf("it cannot update: %v", err)
	}
	d.Faults().FailUpdate(false)
	if err := d.Boot(ctx); err != nil || d.OSVersion() != version {
		t.Errorf("%s, %v", d.OSVersion(), err)
	}
}

func TestAnAssignedHostComesBack(t *testing.T) {
	t.Parallel()
	eachBusiness(t, func(t *testing.T, b *business) {
		ctx := t.Context()
		d := b.buy(t, "iphone", 1)[0]
		b.assigned(t, d)
		if err := d.Boot(ctx); err != nil {
			t.Fatal(err)
		}
		first := b.host(t, d.Spec().Serial)
		// Erased by its user, it enrolls again and is the same host.
		d.Wipe()
		if err := d.Boot(ctx); err != nil {
			t.Fatal(err)
		}
		if again := b.host(t, d.Spec().Serial); again.ID != first.ID || enrollmentStatus(again) != "On (automatic)" {
			t.Errorf("after a wipe: host %d (%d), %s", again.ID, first.ID, enrollmentStatus(again))
		}
		// Deleted before it was switched on, it is pending again.
		boxed := b.buy(t, "mac", 1)[0]
		b.assigned(t, boxed)
		if err := b.api.DeleteHost(ctx, b.host(t, boxed.Spec().Serial).ID); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() (bool, string) {
			h, err := b.api.HostByIdentifier(ctx, boxed.Spec().Serial)
			return err == nil && enrollmentStatus(h) == "Pending", fmt.Sprint(err)
		})
		// Released by the company at Apple, it is pending no more.
		if err := b.apple.Release(boxed.Spec().Serial); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() (bool, string) {
			h := b.host(t, boxed.Spec().Serial)
			return enrollmentStatus(h) != "Pending", enrollmentStatus(h)
		})
	})
}

func TestTheProfileOfATeamIsDefinedAndAssigned(t *testing.T) {
	t.Parallel()
	b := openBusiness(t, store.SQLite)
	ctx := t.Context()
	d := b.buy(t, "ipad", 1)[0]
	b.assigned(t, d)
	before, err := b.apple.Device(d.Spec().Serial)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.api.SetSetupAssistant(ctx, 0, "", []byte(`{"profile_name":"Ours","is_mdm_removabel":false}`)); err == nil || !strings.Contains(err.Error(), "is_mdm_removable") {
		t.Errorf("a key that is spelled wrong: %v", err)
	}
	if _, err := b.api.SetSetupAssistant(ctx, 0, "", []byte(`{"profile_name":"Ours","is_supervised":true,"is_mdm_removable":false,"skip_setup_items":["Siri"]}`)); err != nil {
		t.Fatal(err)
	}
	changed := func() {
		t.Helper()
		eventually(t, func() (bool, string) {
			now, err := b.apple.Device(d.Spec().Serial)
			done := err == nil && now.ProfileUUID != "" && now.ProfileUUID != before.ProfileUUID
			if done {
				before = now
			}
			return done, fmt.Sprintf("%+v", now)
		})
	}
	changed()
	team, err := b.api.CreateTeam(ctx, apiv1.CreateTeamRequest{Name: "Own"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.api.SetSetupAssistant(ctx, team.ID, "", []byte(`{"profile_name":"The team's"}`)); err != nil {
		t.Fatal(err)
	}
	if err := b.api.TransferHosts(ctx, team.ID, []int64{b.host(t, d.Spec().Serial).ID}, -1); err != nil {
		t.Fatal(err)
	}
	changed()
}

// configured waits until a device is out of Setup Assistant.
func (b *business) configured(t *testing.T, d *appledev.Device) {
	t.Helper()
	eventually(t, func() (bool, string) {
		_, _ = d.Poll(t.Context())
		s, err := b.api.HostSetup(t.Context(), b.host(t, d.Spec().Serial).ID)
		return err == nil && s.Status == "done" && !d.AwaitingConfiguration(), fmt.Sprintf("%+v, %v", s, err)
	})
}

func TestADeviceLeavesSetupAssistant(t *testing.T) {
	t.Parallel()
	eachBusiness(t, func(t *testing.T, b *business) {
		ctx := t.Context()
		d := b.buy(t, "ipad", 1)[0]
		b.assigned(t, d)
		if err := d.Boot(ctx); err != nil || !d.AwaitingConfiguration() {
			t.Fatal(d.AwaitingConfiguration(), err)
		}
		b.configured(t, d)
		if n := b.number(t, "SELECT COUNT(*) FROM commands WHERE request_type = 'DeviceConfigured'"); n != 1 {
			t.Errorf("it was told %d times", n)
		}
		if err := b.api.ReleaseHost(ctx, b.host(t, d.Spec().Serial).ID); client.StatusOf(err) != http.StatusConflict {
			t.Errorf("releasing it again: %v", err)
		}
		// Erased, it waits again, this time for a person.
		yes := true
		if _, err := b.api.ModifyConfig(ctx, apiv1.ConfigPatch{MDM: &apiv1.MDMConfigPatch{MacOSSetup: &apiv1.SetupExperiencePatch{EnableReleaseDeviceManually: &yes}}}, false); err != nil {
			t.Fatal(err)
		}
		d.Wipe()
		if err := d.Boot(ctx); err != nil {
			t.Fatal(err)
		}
		id := b.host(t, d.Spec().Serial).ID
		eventually(t, func() (bool, string) {
			s, err := b.api.HostSetup(ctx, id)
			return err == nil && s.Status == "held", fmt.Sprintf("%+v, %v", s, err)
		})
		if err := b.api.ReleaseHost(ctx, id); err != nil {
			t.Fatal(err)
		}
		b.configured(t, d)
		s, err := b.api.HostSetup(ctx, id)
		if err != nil || s.Outcome != "manual" || s.EndedAt == nil {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

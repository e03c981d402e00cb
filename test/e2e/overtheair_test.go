package e2e

import (
	"bytes"
	"net/http"
	"net/url"
	"testing"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/appleserver"
)

// unassigned is a device that Apple made and nobody assigned to the server.
func (b *business) unassigned(t *testing.T, model string) *appledev.Device {
	t.Helper()
	other, _, err := b.apple.CreateServer("Somebody else's", b.publicKey(t))
	if err != nil {
		t.Fatal(err)
	}
	bought, err := b.apple.Buy(other, model, 1)
	if err != nil {
		t.Fatal(err)
	}
	return b.unbox(t, bought[0])
}

func (b *business) publicKey(t *testing.T) []byte {
	t.Helper()
	key, err := b.api.ServerTokenKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// secret gives a team an enroll secret; "" takes all away.
func (b *business) secret(t *testing.T, team int64, secret string) {
	t.Helper()
	var list []string
	if secret != "" {
		list = append(list, secret)
	}
	if err := b.api.SetEnrollSecrets(t.Context(), team, list); err != nil {
		t.Fatal(err)
	}
}

func (b *business) otaURL(secret string) string {
	return b.url + "/api/latest/fleet/enrollment_profiles/ota?enroll_secret=" + url.QueryEscape(secret)
}

// post posts what a device signed before.
func (b *business) post(t *testing.T, target string, signed []byte) int {
	t.Helper()
	resp, err := b.devices.Post(target, "application/pkcs7-signature", bytes.NewReader(signed))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestADeviceEnrollsOverTheAir(t *testing.T) {
	t.Parallel()
	eachBusiness(t, func(t *testing.T, b *business) {
		ctx := t.Context()
		team, err := b.api.CreateTeam(ctx, apiv1.CreateTeamRequest{Name: "Field"})
		if err != nil {
			t.Fatal(err)
		}
		b.secret(t, team.ID, "s3cret & more")
		d := b.unassigned(t, "iphone")
		pass, err := d.EnrollOverTheAir(ctx, b.otaURL("s3cret & more"))
		if err != nil {
			t.Fatal(err)
		}
		h := b.host(t, d.Spec().Serial)
		if enrollmentStatus(h) != "On (manual)" || h.TeamID == nil || *h.TeamID != team.ID || h.UUID != d.Spec().UDID {
			t.Errorf("%q in team %v, %s", enrollmentStatus(h), h.TeamID, h.UUID)
		}

		// What was recorded on the way is worth nothing, neither in the form of
		// the first phase nor of the second.
		before := b.number(t, "SELECT COUNT(*) FROM challenges")
		for name, signed := range map[string][]byte{"phase 1": pass.Phase1, "phase 2": pass.Phase2} {
			if status := b.post(t, pass.URL, signed); status != http.StatusForbidden {
				t.Errorf("%s again: %d", name, status)
			}
		}
		// The identity of phase 1 does not speak for the device.
		if status, err := d.CheckInWith(ctx, pass); err != nil || status != http.StatusForbidden {
			t.Errorf("Authenticate with the identity of phase 1: %d, %v", status, err)
		}
		if after := b.number(t, "SELECT COUNT(*) FROM challenges"); after != before {
			t.Errorf("%d challenges more", after-before)
		}
		if _, err := d.Poll(ctx); err != nil || enrollmentStatus(b.host(t, d.Spec().Serial)) != "On (manual)" {
			t.Errorf("the device itself: %v", err)
		}
	})
}

func TestWhatIsNotLetInOverTheAir(t *testing.T) {
	t.Parallel()
	eachBusiness(t, func(t *testing.T, b *business) {
		ctx := t.Context()
		b.secret(t, 0, "join")
		begin := func(d *appledev.Device) bool { _, err := d.EnrollOverTheAir(ctx, b.otaURL("join")); return err == nil }

		for name, secret := range map[string]string{"another secret": "nioj", "no secret": ""} {
			resp, err := b.devices.Get(b.otaURL(secret))
			if err != nil {
				t.Fatal(err)
			}
			if _ = resp.Body.Close(); resp.StatusCode == http.StatusOK {
				t.Errorf("%s: %d", name, resp.StatusCode)
			}
		}
		d := b.unassigned(t, "ipad")
		if !begin(d) {
			t.Fatal("a device did not get in")
		}
		stranger, err := appleserver.StartEnrollment(ctx, appleserver.EnrollmentOptions{Clock: b.clock.now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = stranger.Close() })
		spec := b.unassigned(t, "iphone").Spec()
		o := b.simulated()
		o.Service = stranger.DeviceURL()
		if begin(appledev.New(spec, o)) {
			t.Error("a device that Apple did not make got in")
		}

		// A secret that was taken away in between.
		victim := b.unassigned(t, "iphone")
		pass, err := victim.EnrollOverTheAir(ctx, b.otaURL("join"))
		if err != nil {
			t.Fatal(err)
		}
		b.secret(t, 0, "")
		for _, signed := range [][]byte{pass.Phase1, pass.Phase2} {
			if status := b.post(t, pass.URL, signed); status != http.StatusForbidden {
				t.Errorf("with a secret that was taken away: %d", status)
			}
		}
		if begin(b.unassigned(t, "iphone")) {
			t.Error("a device got in with a secret that was taken away")
		}
		if status := b.post(t, b.url+"/api/v1/fleet/ota_enrollment?enroll_secret=join", []byte("hello")); status != http.StatusForbidden && status != http.StatusBadRequest {
			t.Errorf("a text: %d", status)
		}
	})
}

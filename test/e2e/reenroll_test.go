package e2e

import (
	"bytes"
	"context"
	"net/http"
	"testing"

	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/scenario"
)

func TestAReenrollmentForgetsTheEarlierOneAndKeepsTheHost(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const user = "AAAAAAAA-0000-0000-0000-000000000002"
		d := w.wire(t, "UDID-K", "SERIALK")
		d.must(d.checkin("TokenUpdate", userFields(user)))
		d.must(d.checkin("SetBootstrapToken", fields{"BootstrapToken": []byte("bootstrap")}))
		before := w.host(t, d.udid)
		cmd := w.send(t, "ProfileList", d.udid)

		earlier := &wire{w: w, t: t, udid: d.udid, id: d.id}
		d.id = w.identity(t)
		d.enroll("SERIALK")

		if s := w.status(t, cmd); s != "Cancelled" {
			t.Errorf("what was queued is %s", s)
		}
		d.drain()
		after := w.host(t, d.udid)
		if after.ID != before.ID || enrollmentStatus(after) != "On (manual)" || after.PendingCommands != 0 {
			t.Errorf("the host is %d and was %d, %s, %d pending", after.ID, before.ID, enrollmentStatus(after), after.PendingCommands)
		}
		if len(after.Enrollments) != 2 || after.Enrollments[0].State != "on" || after.Enrollments[1].State != "off" {
			t.Errorf("the channels are %+v", after.Enrollments)
		}
		if after.MDM.BootstrapTokenEscrowed {
			t.Error("a bootstrap token is shown as escrowed")
		}
		m, err := plist.ReadDict(d.must(d.checkin("GetBootstrapToken", nil)))
		if err != nil || len(m["BootstrapToken"].Data()) > 0 {
			t.Errorf("the bootstrap token is still given: %q, %v", m["BootstrapToken"].Data(), err)
		}
		// The user comes back when it next checks in.
		d.must(d.report(fields{"Status": "Idle", "UserID": user}))
		d.must(d.checkin("TokenUpdate", userFields(user)))
		if h := w.host(t, d.udid); h.Enrollments[1].State != "on" {
			t.Errorf("the user channel is %s", h.Enrollments[1].State)
		}
		for name, send := range map[string]func() (int, []byte){
			"Idle":         func() (int, []byte) { return earlier.report(fields{"Status": "Idle"}) },
			"TokenUpdate":  func() (int, []byte) { return earlier.checkin("TokenUpdate", earlier.token()) },
			"Authenticate": func() (int, []byte) { return earlier.checkin("Authenticate", fields{"Topic": scenario.Topic}) },
			"CheckOut":     func() (int, []byte) { return earlier.checkin("CheckOut", fields{"Topic": scenario.Topic}) },
		} {
			status, _ := send()
			oneOf(t, name+" with the earlier identity", status, http.StatusForbidden)
		}
		if s := enrollmentStatus(w.host(t, d.udid)); s != "On (manual)" {
			t.Errorf("after that the host is %s", s)
		}
	})
}

// Neither has proved that it is the one: nothing of the first is handed to the
// second.
func TestTwoDevicesWithOneSerialAreTwoHosts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		first := w.wire(t, "UDID-L1", "SERIALL")
		second := w.wire(t, "UDID-L2", "SERIALL")
		hosts, err := w.api.CountHosts(context.Background(), client.HostFilter{})
		if err != nil || hosts != 2 {
			t.Fatalf("%d hosts, %v", hosts, err)
		}
		if n := w.number(t, "SELECT COUNT(*) FROM events WHERE kind = 'enrolled_with_known_serial'"); n != 1 {
			t.Errorf("%d events tell of it", n)
		}
		for _, d := range []*wire{first, second} {
			cmd := w.send(t, "ProfileList", d.udid)
			if got := d.idle(); got != cmd {
				t.Errorf("%s is handed %q", d.udid, got)
			}
			d.must(d.answer("Acknowledged", cmd))
		}
		first.must(first.checkin("CheckOut", fields{"Topic": scenario.Topic}))
		if a, b := enrollmentStatus(w.host(t, first.udid)), enrollmentStatus(w.host(t, second.udid)); a != "Off" || b != "On (manual)" {
			t.Errorf("after the first checked out they are %s and %s", a, b)
		}
		// Off, it is nobody's: the next device with its serial number is it.
		first.id = w.identity(t)
		first.enroll("SERIALL")
		first.drain()
		if h := w.host(t, first.udid); enrollmentStatus(h) != "On (manual)" {
			t.Errorf("after it enrolled again it is %s", enrollmentStatus(h))
		}
		h := w.host(t, first.udid)
		if err := w.api.UnenrollHost(context.Background(), h.ID); err != nil {
			t.Fatal(err)
		}
		if got := first.must(first.report(fields{"Status": "Idle"})); !bytes.Contains(got, []byte("RemoveProfile")) {
			t.Errorf("a host that is turned off is told %s", got)
		}
	})
}

func TestAWipedDeviceReturnsAsTheSameHost(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		for i, family := range []appledev.Family{appledev.IPhone, appledev.Mac} {
			d := w.device(uint64(40+i), family)
			if err := d.Enroll(ctx, w.enrollURL); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Poll(ctx); err != nil {
				t.Fatal(err)
			}
			before := w.host(t, d.Spec().Serial)
			erase := w.send(t, "EraseDevice", d.Spec().UDID)
			if _, err := d.Poll(ctx); err != nil || d.Enrolled() {
				t.Fatalf("after EraseDevice: enrolled %v, %v", d.Enrolled(), err)
			}
			if s := w.status(t, erase); s != "Acknowledged" {
				t.Errorf("EraseDevice is %s", s)
			}
			if err := d.Enroll(ctx, w.enrollURL); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Poll(ctx); err != nil {
				t.Fatal(err)
			}
			after := w.host(t, d.Spec().Serial)
			if after.ID != before.ID || enrollmentStatus(after) != "On (manual)" {
				t.Errorf("it is host %d and was %d, %s", after.ID, before.ID, enrollmentStatus(after))
			}
		}
		if n, err := w.api.CountHosts(ctx, client.HostFilter{}); err != nil || n != 2 {
			t.Errorf("%d hosts, %v", n, err)
		}
	})
}

func TestOneEnrollmentProfileEnrollsOneDevice(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		raw, err := w.api.EnrollmentProfile(ctx, 0, true)
		if err != nil {
			t.Fatal(err)
		}
		first, second := w.device(50, appledev.IPhone), w.device(51, appledev.IPad)
		if err := first.EnrollWith(ctx, raw); err != nil {
			t.Fatal(err)
		}
		if err := second.EnrollWith(ctx, raw); err == nil || second.Enrolled() {
			t.Errorf("a second device enrolled with the same profile: %v", err)
		}
		if n, err := w.api.CountHosts(ctx, client.HostFilter{}); err != nil || n != 1 {
			t.Errorf("%d hosts, %v", n, err)
		}
	})
}

func TestAnIdentityOfADeviceEnrollsNoOther(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d := w.wire(t, "UDID-M", "SERIALM")
		before := w.snapshot(t)
		thief := &wire{w: w, t: t, udid: "UDID-N", id: d.id}
		status, _ := thief.checkin("Authenticate", fields{"Topic": scenario.Topic, "SerialNumber": "SERIALN"})
		oneOf(t, "Authenticate as another device", status, http.StatusForbidden)
		status, _ = thief.checkin("TokenUpdate", thief.token())
		oneOf(t, "TokenUpdate as another device", status, http.StatusForbidden)
		if after := w.snapshot(t); after != before {
			t.Errorf("it changed something:\n%s\nbefore:\n%s", after, before)
		}
	})
}

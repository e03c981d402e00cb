package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/sim/scenario"
)

// The message matrix of contracts/apple.md 9, point 3.
func TestEveryMessageIsAnsweredAsTheProtocolSays(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d, other := w.wire(t, "UDID-A", "SERIALA"), w.wire(t, "UDID-B", "SERIALB")
		t.Run("a bootstrap token comes back until it is deleted", func(t *testing.T) { bootstrapToken(t, d) })
		t.Run("a command is handed out until it is answered", func(t *testing.T) { notNow(t, d) })
		t.Run("a command put off waits for the next connection, others do not", func(t *testing.T) { notNowAmongOthers(t, d) })
		t.Run("a report about an unknown command changes nothing", func(t *testing.T) { unknownReports(t, d, other) })
		t.Run("a repeated report is answered and changes nothing", func(t *testing.T) { repeatedReport(t, d) })
		t.Run("check-ins that need no state", func(t *testing.T) { otherCheckins(t, d) })
		t.Run("an identity speaks for its own device only", func(t *testing.T) { strangers(t, d, other) })
		t.Run("a user channel belongs below its own device", func(t *testing.T) { userChannels(t, d, other) })
		t.Run("nothing is handed out after CheckOut", func(t *testing.T) { checkOut(t, d) })
		t.Run("a device that returns begins anew", func(t *testing.T) {
			d.id = w.identity(t)
			d.enroll("SERIALA")
			d.drain()
		})
	})
}

func bootstrapToken(t *testing.T, d *wire) {
	token := []byte("\x00bootstrap\xff")
	d.must(d.checkin("SetBootstrapToken", fields{"BootstrapToken": token}))
	m, err := plist.ReadDict(d.must(d.checkin("GetBootstrapToken", nil)))
	if err != nil || !bytes.Equal(m["BootstrapToken"].Data(), token) {
		t.Errorf("it came back as %q, %v", m["BootstrapToken"].Data(), err)
	}
	if !d.w.host(t, "SERIALA").MDM.BootstrapTokenEscrowed {
		t.Error("the host does not show it as escrowed")
	}
	d.must(d.checkin("SetBootstrapToken", nil))
	m, err = plist.ReadDict(d.must(d.checkin("GetBootstrapToken", nil)))
	if err != nil || len(m["BootstrapToken"].Data()) > 0 {
		t.Errorf("after it was deleted: %q, %v", m["BootstrapToken"].Data(), err)
	}
	if d.w.host(t, "SERIALA").MDM.BootstrapTokenEscrowed {
		t.Error("the host still shows it as escrowed")
	}
}

func notNow(t *testing.T, d *wire) {
	if got := d.must(d.report(fields{"Status": "Idle"})); len(got) > 0 {
		t.Fatalf("an empty queue was answered with %s", got)
	}
	cmd := d.w.send(t, "ProfileList", d.udid)
	for range 2 { // at-least-once: what was not answered comes again
		if got := d.idle(); got != cmd {
			t.Fatalf("Idle was answered with %q, not the command", got)
		}
	}
	if got := d.must(d.answer("NotNow", cmd)); len(got) > 0 {
		t.Fatalf("NotNow was answered with %s", got)
	}
	if s := d.w.status(t, cmd); s != "NotNow" {
		t.Errorf("after NotNow the command is %s", s)
	}
	if got := d.idle(); got != cmd {
		t.Fatalf("the next Idle was answered with %q, not the same command", got)
	}
	if got := d.must(d.answer("Acknowledged", cmd)); len(got) > 0 {
		t.Fatalf("the last answer was answered with %s", got)
	}
	if s := d.w.status(t, cmd); s != "Acknowledged" {
		t.Errorf("in the end the command is %s", s)
	}
	if got := d.idle(); got != "" {
		t.Errorf("an answered command was handed out again, or another: %s", got)
	}
}

func notNowAmongOthers(t *testing.T, d *wire) {
	first := d.w.send(t, "ProfileList", d.udid)
	second := d.w.send(t, "CertificateList", d.udid)
	if got := d.idle(); got != first {
		t.Fatalf("first came %q", got)
	}
	if got := commandOf(t, d.must(d.answer("NotNow", first))); got != second {
		t.Fatalf("after NotNow came %q, not the second command", got)
	}
	if got := d.must(d.answer("Error", second)); len(got) > 0 {
		t.Fatalf("what was put off came again on the same connection: %s", got)
	}
	if got := d.idle(); got != first {
		t.Fatalf("the next connection begins with %q", got)
	}
	d.must(d.answer("CommandFormatError", first))
	for cmd, want := range map[string]string{first: "CommandFormatError", second: "Error"} {
		if s := d.w.status(t, cmd); s != want {
			t.Errorf("%s is %s, want %s", cmd, s, want)
		}
	}
}

func unknownReports(t *testing.T, d, other *wire) {
	cmd := d.w.send(t, "ProfileList", d.udid)
	before := d.w.snapshot(t)
	for _, status := range []string{"Acknowledged", "Error", "NotNow", "CommandFormatError"} {
		if got := other.must(other.answer(status, "no-such-command")); len(got) > 0 {
			t.Errorf("%s about an unknown command was answered with %s", status, got)
		}
		if got := other.must(other.answer(status, cmd)); len(got) > 0 {
			t.Errorf("%s about another device's command was answered with %s", status, got)
		}
	}
	if after := d.w.snapshot(t); after != before {
		t.Errorf("it changed something:\n%s\nbefore:\n%s", after, before)
	}
	if s := d.w.status(t, cmd); s != "Pending" {
		t.Errorf("the command is %s", s)
	}
	// It still belongs to the device it was for.
	if got := d.idle(); got != cmd {
		t.Errorf("it is not handed out any more, but %q", got)
	}
	d.must(d.answer("Acknowledged", cmd))
}

func repeatedReport(t *testing.T, d *wire) {
	cmd := d.w.send(t, "ProfileList", d.udid)
	d.idle()
	d.must(d.answer("Acknowledged", cmd))
	before := d.w.snapshot(t)
	d.must(d.answer("Acknowledged", cmd))
	d.must(d.answer("NotNow", cmd))
	if after := d.w.snapshot(t); after != before {
		t.Errorf("it changed something:\n%s\nbefore:\n%s", after, before)
	}
}

func otherCheckins(t *testing.T, d *wire) {
	before := d.w.snapshot(t)
	for _, c := range []struct {
		name, kind string
		fields     fields
		want       int
		inAnswer   string
	}{
		{"return to service", "ReturnToService", nil, 200, "ReturnToService"},
		{"a token of an unknown service", "GetToken", fields{"TokenServiceType": "com.example.unknown"}, 400, ""},
		{"declaration tokens", "DeclarativeManagement", fields{"Endpoint": "tokens"}, 200, "DeclarationsToken"},
		{"declaration items", "DeclarativeManagement", fields{"Endpoint": "declaration-items"}, 200, "Activations"},
		{"a declaration status", "DeclarativeManagement", fields{"Endpoint": "status", "Data": []byte(`{"StatusItems":{}}`)}, 200, ""},
		{"a declaration that does not exist", "DeclarativeManagement", fields{"Endpoint": "declaration/configuration/nothing"}, 404, ""},
		{"an endpoint that does not exist", "DeclarativeManagement", fields{"Endpoint": "elsewhere"}, 400, ""},
		{"a network user", "UserAuthenticate", fields{"UserID": "11111111-2222-3333-4444-555555555555"}, 410, ""},
		{"an unknown message type", "MakeCoffee", nil, 400, ""},
	} {
		status, body := d.checkin(c.kind, c.fields)
		oneOf(t, c.name, status, c.want)
		if !bytes.Contains(body, []byte(c.inAnswer)) {
			t.Errorf("%s: %q is not in %s", c.name, c.inAnswer, body)
		}
	}
	if after := d.w.snapshot(t); after != before {
		t.Errorf("they changed something:\n%s\nbefore:\n%s", after, before)
	}
}

// strangers checks that a bad sender is told 400 or 403, and never 401, after
// which devices would remove their management.
func strangers(t *testing.T, d, other *wire) {
	before := d.w.snapshot(t)
	idle, err := plist.Marshal(fields{"UDID": d.udid, "Status": "Idle"})
	if err != nil {
		t.Fatal(err)
	}
	update, err := plist.Marshal(fields{"MessageType": "TokenUpdate", "UDID": d.udid, "Topic": "t", "Token": []byte("t"), "PushMagic": "m"})
	if err != nil {
		t.Fatal(err)
	}
	authenticate, err := plist.Marshal(fields{"MessageType": "Authenticate", "UDID": d.udid, "Topic": "t"})
	if err != nil {
		t.Fatal(err)
	}
	foreign := selfMade(t, d.w.authority(t))
	for _, m := range []struct {
		name, kind string
		body       []byte
	}{{"Idle", typeCommand, idle}, {"TokenUpdate", typeCheckin, update}, {"Authenticate", typeCheckin, authenticate}} {
		for _, c := range []struct {
			name, signature string
			want            int
		}{
			{"without a signature", "", 400},
			{"with a signature that is no base64", "%%%", 400},
			{"with a signature that is no CMS", "AAAA", 400},
			{"with half a signature", d.id.sign(t, m.body)[:1000], 400},
			{"with the signature of something else", d.id.sign(t, []byte("something else")), 400},
			{"with a signature of a foreign authority", foreign.sign(t, m.body), 403},
			{"with the identity of another device", other.id.sign(t, m.body), 403},
		} {
			status, _ := d.w.put(t, m.kind, c.signature, m.body)
			oneOf(t, m.name+" "+c.name, status, c.want)
		}
	}
	// A certificate that was issued and never enrolled speaks for nobody.
	loose := &wire{w: d.w, t: t, udid: d.udid, id: d.w.identity(t)}
	status, _ := loose.report(fields{"Status": "Idle"})
	oneOf(t, "Idle with a certificate that no device claimed", status, 403)
	after := d.w.snapshot(t)
	if stripIssued(after) != stripIssued(before) {
		t.Errorf("they changed something:\n%s\nbefore:\n%s", after, before)
	}
}

// stripIssued leaves out what the issue of an identity changes.
func stripIssued(snapshot string) string {
	var kept []string
	for _, line := range strings.Split(snapshot, "\n") {
		issued := false
		for _, name := range []string{"challenges", "identities", "events"} {
			issued = issued || strings.Contains(line, name)
		}
		if !issued {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

func userChannels(t *testing.T, d, other *wire) {
	const user = "AAAAAAAA-0000-0000-0000-000000000001"
	before := d.w.snapshot(t)
	if got := d.must(d.report(fields{"Status": "Idle", "UserID": user})); len(got) > 0 {
		t.Errorf("a user that never checked in was handed %s", got)
	}
	if after := d.w.snapshot(t); after != before {
		t.Errorf("a user that never checked in changed something:\n%s\nbefore:\n%s", after, before)
	}
	status, _ := other.report(fields{"UDID": d.udid, "UserID": user, "Status": "Idle"})
	oneOf(t, "Idle of another device for a user that never checked in", status, http.StatusForbidden)
	if status, _ = other.checkin("TokenUpdate", fields{"UDID": d.udid, "UserID": user, "Topic": scenario.Topic, "Token": []byte("x"), "PushMagic": "x"}); status != http.StatusForbidden {
		t.Errorf("another device opened a user channel: HTTP %d", status)
	}
	d.must(d.checkin("TokenUpdate", userFields(user)))
	if status, _ = other.report(fields{"UDID": d.udid, "UserID": user, "Status": "Idle"}); status != http.StatusForbidden {
		t.Errorf("another device speaks for a user channel: HTTP %d", status)
	}
	d.must(d.report(fields{"Status": "Idle", "UserID": user}))
	h := d.w.host(t, d.udid)
	if len(h.Enrollments) != 2 || h.Enrollments[0].Channel != "device" || h.Enrollments[1].Channel != "user" || h.Enrollments[1].State != "on" {
		t.Errorf("the host's channels are %+v", h.Enrollments)
	}
	d.must(d.checkin("CheckOut", fields{"UserID": user, "Topic": scenario.Topic}))
	h = d.w.host(t, d.udid)
	if h.Enrollments[0].State != "on" || h.Enrollments[1].State != "off" || enrollmentStatus(h) != "On (manual)" {
		t.Errorf("after the user's CheckOut the channels are %+v, the host is %s", h.Enrollments, enrollmentStatus(h))
	}
}

func checkOut(t *testing.T, d *wire) {
	cmd := d.w.send(t, "ProfileList", d.udid)
	d.must(d.checkin("CheckOut", fields{"Topic": scenario.Topic}))
	if s := d.w.status(t, cmd); s != "Cancelled" {
		t.Errorf("what was queued is %s", s)
	}
	if got := d.must(d.report(fields{"Status": "Idle"})); len(got) > 0 {
		t.Errorf("Idle after CheckOut was answered with %s", got)
	}
	if got := d.must(d.answer("Acknowledged", cmd)); len(got) > 0 {
		t.Errorf("a late answer was answered with %s", got)
	}
	_, err := d.w.api.RunCommand(context.Background(), []byte(scenario.Command("ProfileList", "")), []string{d.udid})
	if client.StatusOf(err) != http.StatusPreconditionFailed {
		t.Errorf("a command for it: %v", err)
	}
	if s := enrollmentStatus(d.w.host(t, d.udid)); s != "Off" {
		t.Errorf("the host is %s", s)
	}
	d.must(d.checkin("CheckOut", fields{"Topic": scenario.Topic})) // once more
}

func TestADeletedHostComesBackWhenItsDeviceSpeaks(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d := w.wire(t, "UDID-D", "SERIALD")
		if err := w.api.DeleteHost(context.Background(), w.host(t, "SERIALD").ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.api.HostByIdentifier(context.Background(), "SERIALD"); client.StatusOf(err) != http.StatusNotFound {
			t.Fatalf("after it was deleted: %v", err)
		}
		d.drain()
		h := w.host(t, "SERIALD")
		if h.UUID != d.udid || h.Platform != "darwin" || enrollmentStatus(h) != "On (manual)" || h.PendingCommands != 0 {
			t.Errorf("it came back as %+v", h)
		}
	})
}

func TestAnExpiredIdentityIsHeardAndGetsNoCommands(t *testing.T) {
	w := start(t, "sqlite")
	d := w.wire(t, "UDID-E", "SERIALE")
	cmd := w.send(t, "ProfileList", d.udid)
	const year = 366 * 24 * time.Hour
	w.clock.advance(year)
	if got := d.must(d.report(fields{"Status": "Idle"})); len(got) > 0 {
		t.Errorf("it was handed %s", got)
	}
	status, _ := d.checkin("Authenticate", fields{"Topic": scenario.Topic, "SerialNumber": "SERIALE"})
	oneOf(t, "Authenticate with an expired identity", status, 403)
	w.clock.advance(-year)
	if got := d.idle(); got != cmd {
		t.Errorf("the command is gone: %q", got)
	}
}

func TestAPersonTurnsMDMOff(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d := w.wire(t, "UDID-F", "SERIALF")
		earlier := w.send(t, "ProfileList", d.udid)
		h := w.host(t, d.udid)
		if err := w.api.UnenrollHost(context.Background(), h.ID); err != nil {
			t.Fatal(err)
		}
		if s := enrollmentStatus(w.host(t, d.udid)); s != "Off" {
			t.Errorf("the host is %s", s)
		}
		if s := w.status(t, earlier); s != "Cancelled" {
			t.Errorf("what was queued is %s", s)
		}
		remove := d.must(d.report(fields{"Status": "Idle"}))
		if !bytes.Contains(remove, []byte("RemoveProfile")) {
			t.Fatalf("the device is told %s", remove)
		}
		if got := d.must(d.answer("Acknowledged", commandOf(t, remove))); len(got) > 0 {
			t.Errorf("after that it is told %s", got)
		}
		d.must(d.checkin("CheckOut", fields{"Topic": scenario.Topic}))
		if got := d.idle(); got != "" {
			t.Errorf("a device that left was handed %s", got)
		}
		if err := w.api.UnenrollHost(context.Background(), h.ID); client.StatusOf(err) != http.StatusConflict {
			t.Errorf("once more: %v", err)
		}
	})
}

func TestCommandsAreHandedOutInTheOrderOfTheirSending(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d := w.wire(t, "UDID-G", "SERIALG")
		var want []string
		for i := range 12 {
			want = append(want, w.send(t, fmt.Sprint("Command", i), d.udid))
		}
		cmd := d.idle()
		for i, uuid := range want {
			if cmd != uuid {
				t.Fatalf("command %d came as %q", i, cmd)
			}
			cmd = commandOf(t, d.must(d.answer("Acknowledged", cmd)))
		}
		if cmd != "" {
			t.Errorf("one more: %s", cmd)
		}
	})
}

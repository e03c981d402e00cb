package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/scenario"
)

// enrolled is a device that has enrolled and told about itself, and its host.
func (w *world) enrolled(t testing.TB, seed uint64, f appledev.Family) (*appledev.Device, int64) {
	t.Helper()
	spec := w.device(seed, f).Spec()
	spec.Supervised = true
	d := appledev.New(spec, w.simulated())
	if err := d.Enroll(context.Background(), w.enrollURL); err != nil {
		t.Fatal(err)
	}
	w.polled(t, d)
	return d, w.host(t, spec.Serial).ID
}

func (w *world) polled(t testing.TB, d *appledev.Device) {
	t.Helper()
	if _, err := d.Poll(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// automatic makes a host count as one that came by automated enrollment, which
// alone may be put into Lost Mode.
func (w *world) automatic(t testing.TB, serial string) {
	t.Helper()
	if _, err := w.db.Exec("UPDATE hosts SET mdm_status = 4 WHERE hardware_serial = '" + serial + "'"); err != nil {
		t.Fatal(err)
	}
}

// stands fails unless a host is in a state.
func (w *world) stands(t testing.TB, d *appledev.Device, status, pending string) {
	t.Helper()
	h := w.host(t, d.Spec().Serial)
	if h.MDM.DeviceStatus != status || h.MDM.PendingAction != pending {
		t.Errorf("%s is %q with %q pending (%s), want %q and %q", d.Spec().Serial, h.MDM.DeviceStatus, h.MDM.PendingAction, h.MDM.ActionError, status, pending)
	}
	page, err := w.api.HostsPage(context.Background(), client.HostFilter{Query: d.Spec().Serial}, 0, 10)
	if err != nil || len(page.Hosts) != 1 || page.Hosts[0].MDM.DeviceStatus != status || page.Hosts[0].MDM.PendingAction != pending {
		t.Errorf("the list says otherwise: %+v, %v", page.Hosts, err)
	}
}

// refusedWith fails unless an error has a status and says something.
func refusedWith(t testing.TB, what string, err error, status int, says string) {
	t.Helper()
	if client.StatusOf(err) != status || !strings.Contains(fmt.Sprint(err), says) {
		t.Errorf("%s: %v, want HTTP %d with %q", what, err, status, says)
	}
}

// eventsOf counts events of a kind.
func (w *world) eventsOf(t testing.TB, kind string) int64 {
	t.Helper()
	return w.number(t, "SELECT COUNT(*) FROM events WHERE kind = '"+kind+"'")
}

// as is the API as another user.
func (w *world) as(t testing.TB, role string) *client.Client {
	t.Helper()
	email := role + "-" + fmt.Sprint(time.Now().UnixNano()) + "@example.com"
	role = strings.TrimSuffix(role, "-2")
	res, err := w.api.CreateUser(context.Background(), apiv1.CreateUserRequest{Name: email, Email: email, GlobalRole: role, APIOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	c := newAPI(t, w.url)
	c.SetToken(*res.Token)
	return c
}

func (w *world) brake(t testing.TB, text string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPatch, w.url+"/api/v1/fleet/config", strings.NewReader(`{"mdm":{"brake":`+text+`}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("brake %s: %s", text, res.Status)
	}
}

func TestAMacIsLockedByAPINAndOpensAgain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		d, id := w.enrolled(t, 60, appledev.Mac)
		w.stands(t, d, "unlocked", "")
		_, err := w.api.UnlockHost(ctx, id)
		refusedWith(t, "unlocking what is open", err, http.StatusConflict, "not locked")

		first, err := w.api.LockHost(ctx, id, apiv1.LockRequest{Message: "Ours"}, true)
		if err != nil || len(first.UnlockPIN) != 6 || first.PendingAction != "lock" {
			t.Fatalf("%+v, %v", first, err)
		}
		w.stands(t, d, "unlocked", "lock")
		again, err := w.api.LockHost(ctx, id, apiv1.LockRequest{}, true)
		if err != nil || again.UnlockPIN != first.UnlockPIN || again.CommandUUID != first.CommandUUID {
			t.Errorf("again: %+v, %v", again, err)
		}
		_, err = w.api.WipeHost(ctx, id, apiv1.WipeRequest{})
		refusedWith(t, "a wipe meanwhile", err, http.StatusUnprocessableEntity, "pending lock")
		w.hides(t, first.CommandUUID, first.UnlockPIN)

		w.polled(t, d)
		if !d.Locked() {
			t.Fatal("the Mac is open")
		}
		w.stands(t, d, "locked", "")
		_, err = w.api.LockHost(ctx, id, apiv1.LockRequest{}, false)
		refusedWith(t, "a second lock", err, http.StatusConflict, "locked already")
		_, err = w.api.WipeHost(ctx, id, apiv1.WipeRequest{})
		refusedWith(t, "a wipe of a locked Mac", err, http.StatusUnprocessableEntity, "PIN")

		_, err = w.as(t, "observer").UnlockHost(ctx, id)
		refusedWith(t, "an observer", err, http.StatusForbidden, "actions:reveal")
		viewed := w.eventsOf(t, "viewed_host_secret")
		out, err := w.as(t, "maintainer").UnlockHost(ctx, id)
		if err != nil || out.UnlockPIN != first.UnlockPIN || out.PendingAction != "unlock" || out.DeviceStatus != "locked" {
			t.Fatalf("%+v, %v", out, err)
		}
		if w.eventsOf(t, "viewed_host_secret") != viewed+1 {
			t.Error("nobody noted who saw the PIN")
		}
		w.stands(t, d, "locked", "unlock")
		if !d.EnterPIN(out.UnlockPIN) {
			t.Fatal("the PIN does not open the Mac")
		}
		w.polled(t, d)
		w.stands(t, d, "unlocked", "")
		w.hides(t, first.CommandUUID, first.UnlockPIN)
	})
}

// hides fails if a secret is in what people can list, or in a plain column.
func (w *world) hides(t testing.TB, command, secret string) {
	t.Helper()
	list, err := w.api.CommandResults(context.Background(), command, "")
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, text := range []*string{list[0].Payload, list[0].Result} {
		raw, err := base64.StdEncoding.DecodeString(*text)
		if err != nil || bytes.Contains(raw, []byte(secret)) {
			t.Errorf("a list shows the secret: %s, %v", raw, err)
		}
	}
	for _, column := range []string{"SELECT body FROM commands", "SELECT result FROM command_results", "SELECT details FROM events", "SELECT value FROM secrets"} {
		rows, err := w.db.Query(column)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var raw []byte
			if err := rows.Scan(&raw); err != nil {
				t.Fatal(err)
			}
			for _, shape := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
				if bytes.Contains(raw, []byte(shape)) {
					t.Errorf("%s has the secret: %s", column, raw)
				}
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(w.log.String(), secret) {
		t.Error("the log has the secret")
	}
}

func TestAPhoneIsLostAndFoundAndWiped(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		d, id := w.enrolled(t, 61, appledev.IPhone)
		_, err := w.api.LockHost(ctx, id, apiv1.LockRequest{}, false)
		refusedWith(t, "a phone that was enrolled by hand", err, http.StatusBadRequest, "by hand")
		w.automatic(t, d.Spec().Serial)
		_, err = w.api.LocateHost(ctx, id)
		refusedWith(t, "a location without Lost Mode", err, http.StatusUnprocessableEntity, "lock it first")

		if _, err := w.api.LockHost(ctx, id, apiv1.LockRequest{PhoneNumber: "+49 30 1"}, false); err != nil {
			t.Fatal(err)
		}
		w.stands(t, d, "unlocked", "lock")
		w.polled(t, d)
		if lost := d.Lost(); lost == nil || !strings.Contains(lost.Message, "Example") || lost.PhoneNumber != "+49 30 1" {
			t.Fatalf("it shows %+v", lost)
		}
		w.stands(t, d, "locked", "")
		located, err := w.api.LocateHost(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		w.polled(t, d)
		if s := w.status(t, located.CommandUUID); s != "Acknowledged" {
			t.Errorf("the location is %s", s)
		}
		if out, err := w.api.UnlockHost(ctx, id); err != nil || out.UnlockPIN != "" {
			t.Fatalf("%+v, %v", out, err)
		}
		w.stands(t, d, "locked", "unlock")
		w.polled(t, d)
		w.stands(t, d, "unlocked", "")

		if _, err := w.api.LockHost(ctx, id, apiv1.LockRequest{}, false); err != nil {
			t.Fatal(err)
		}
		w.polled(t, d)
		// A lost phone obeys, also this.
		wifi := "the-wifi-password"
		network := `<plist version="1.0"><dict><key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
			<key>PayloadIdentifier</key><string>com.acme.wifi</string><key>PayloadUUID</key><string>U1</string><key>PayloadContent</key><array><dict>
			<key>PayloadType</key><string>com.apple.wifi.managed</string><key>PayloadVersion</key><integer>1</integer><key>PayloadIdentifier</key>
			<string>com.acme.wifi.1</string><key>PayloadUUID</key><string>U2</string><key>Password</key><string>` + wifi + `</string></dict></array></dict></plist>`
		out, err := w.api.WipeHost(ctx, id, apiv1.WipeRequest{Apple: &apiv1.AppleWipe{PreserveDataPlan: true,
			ReturnToService: &apiv1.ReturnToService{Enabled: true, WiFiProfile: base64.StdEncoding.EncodeToString([]byte(network))}}})
		if err != nil || out.PendingAction != "wipe" || !strings.Contains(out.Message, "is woken") {
			t.Fatalf("%+v, %v", out, err)
		}
		w.hides(t, out.CommandUUID, wifi)
		w.polled(t, d)
		if d.Enrolled() {
			t.Fatal("it was not erased")
		}
		w.stands(t, d, "wiped", "")
		_, err = w.api.WipeHost(ctx, id, apiv1.WipeRequest{})
		refusedWith(t, "a second wipe", err, http.StatusConflict, "wiped already")
		if err := d.Enroll(ctx, w.enrollURL); err != nil {
			t.Fatal(err)
		}
		w.polled(t, d)
		w.stands(t, d, "unlocked", "")
		if w.host(t, d.Spec().Serial).ID != id {
			t.Error("it is another host")
		}
	})
}

func TestAWipeOfAMacIsTakenBackWhileItHasNotFetchedIt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		d, id := w.enrolled(t, 62, appledev.Mac)
		out, err := w.api.WipeHost(ctx, id, apiv1.WipeRequest{})
		if err != nil {
			t.Fatal(err)
		}
		w.stands(t, d, "unlocked", "wipe")
		refusedWith(t, "an unknown command", w.api.CancelCommand(ctx, id, "nonsense"), http.StatusNotFound, "no command")
		if err := w.api.CancelCommand(ctx, id, out.CommandUUID); err != nil {
			t.Fatal(err)
		}
		w.stands(t, d, "unlocked", "")
		if s := w.status(t, out.CommandUUID); s != "Cancelled" {
			t.Errorf("the command is %s", s)
		}
		if w.eventsOf(t, "mdm_command_cancelled") != 1 {
			t.Error("nobody noted who took it back")
		}
		refusedWith(t, "a second time", w.api.CancelCommand(ctx, id, out.CommandUUID), http.StatusConflict, "Cancelled")
		w.polled(t, d)
		if !d.Enrolled() {
			t.Fatal("it was erased all the same")
		}

		// What the Mac put off may be taken back, what it has may not.
		out, err = w.api.WipeHost(ctx, id, apiv1.WipeRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.db.Exec("UPDATE command_queue SET sends = 1"); err != nil {
			t.Fatal(err)
		}
		refusedWith(t, "a fetched command", w.api.CancelCommand(ctx, id, out.CommandUUID), http.StatusConflict, "fetched")
		if _, err := w.db.Exec("UPDATE command_queue SET not_now_count = 1"); err != nil {
			t.Fatal(err)
		}
		if err := w.api.CancelCommand(ctx, id, out.CommandUUID); err != nil {
			t.Error(err)
		}

		out, err = w.api.WipeHost(ctx, id, apiv1.WipeRequest{})
		if err != nil {
			t.Fatal(err)
		}
		pin, err := w.api.UnlockPIN(ctx, id)
		if err != nil || len(pin.Password) != 6 {
			t.Errorf("the PIN of the wipe: %+v, %v", pin, err)
		}
		w.polled(t, d)
		w.stands(t, d, "wiped", "")
		w.hides(t, out.CommandUUID, pin.Password)
		if err := d.Enroll(ctx, w.enrollURL); err != nil {
			t.Fatal(err)
		}
		w.stands(t, d, "unlocked", "")
	})
}

func TestTurningMDMOffEndsWhatIsPending(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		d, id := w.enrolled(t, 63, appledev.Mac)
		if _, err := w.api.LockHost(ctx, id, apiv1.LockRequest{}, false); err != nil {
			t.Fatal(err)
		}
		if err := w.api.UnenrollHost(ctx, id); err != nil {
			t.Fatal(err)
		}
		w.stands(t, d, "unlocked", "")
		_, err := w.api.WipeHost(ctx, id, apiv1.WipeRequest{})
		refusedWith(t, "a wipe of what left", err, http.StatusPreconditionFailed, "not enrolled")
		_, err = w.api.WipeHost(ctx, 99999, apiv1.WipeRequest{})
		refusedWith(t, "a wipe of nobody", err, http.StatusNotFound, "no host")
	})
}

func TestSecretsThatOpenHosts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		phone, phoneID := w.enrolled(t, 64, appledev.IPhone)
		out, err := w.api.ClearPasscode(ctx, phoneID)
		if err != nil {
			t.Fatal(err)
		}
		w.polled(t, phone)
		if s := w.status(t, out.CommandUUID); s != "Acknowledged" || phone.HasPasscode() {
			t.Errorf("the passcode is there, the command %s", s)
		}
		mac, id := w.enrolled(t, 65, appledev.Mac)
		_, err = w.api.ClearPasscode(ctx, id)
		refusedWith(t, "a Mac's passcode", err, http.StatusBadRequest, "is a Mac")
		_, err = w.api.RecoveryLockPassword(ctx, id)
		refusedWith(t, "no recovery lock", err, http.StatusNotFound, "no such secret")

		if out, err = w.api.RotateRecoveryLock(ctx, id); err != nil {
			t.Fatal(err)
		}
		_, err = w.api.RotateRecoveryLock(ctx, id)
		refusedWith(t, "two at once", err, http.StatusConflict, "already")
		w.polled(t, mac)
		first, err := w.api.RecoveryLockPassword(ctx, id)
		if err != nil || first.Password == "" || first.Password != mac.RecoveryLock() {
			t.Fatalf("%+v, %v, the Mac has %q", first, err, mac.RecoveryLock())
		}
		w.hides(t, out.CommandUUID, first.Password)
		// Who saw it has it for an hour.
		w.clock.advance(2 * time.Hour)
		eventually(t, func() (bool, string) {
			w.polled(t, mac)
			return mac.RecoveryLock() != first.Password, "the password stays"
		})
		second, err := w.api.RecoveryLockPassword(ctx, id)
		if err != nil || second.Password != mac.RecoveryLock() {
			t.Errorf("%+v, %v, the Mac has %q", second, err, mac.RecoveryLock())
		}

		if out, err = w.api.FetchBypassCode(ctx, id); err != nil {
			t.Fatal(err)
		}
		w.polled(t, mac)
		code, err := w.api.BypassCode(ctx, id)
		if err != nil || code.Password != mac.BypassCode() {
			t.Errorf("%+v, %v", code, err)
		}
		w.hides(t, out.CommandUUID, mac.BypassCode())
		_, err = w.as(t, "technician").BypassCode(ctx, id)
		refusedWith(t, "a technician", err, http.StatusForbidden, "actions:reveal")
	})
}

func TestTheBrakeStopsOnePersonAndNotTheNext(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		var ids []int64
		var udids []string
		for i := range 4 {
			d, id := w.enrolled(t, uint64(70+i), appledev.Mac)
			ids, udids = append(ids, id), append(udids, d.Spec().UDID)
		}
		w.brake(t, `{"wipes_per_hour":2,"deletes_per_hour":1}`)
		_, err := w.api.WipeHosts(ctx, apiv1.BulkWipeRequest{Hosts: ids[:3], ExpectedCount: 3})
		refusedWith(t, "three at once", err, http.StatusTooManyRequests, "wipes_per_hour")
		_, err = w.api.WipeHosts(ctx, apiv1.BulkWipeRequest{Hosts: ids[:2], ExpectedCount: 3})
		refusedWith(t, "another count", err, http.StatusConflict, "expected")
		_, err = w.api.WipeHosts(ctx, apiv1.BulkWipeRequest{Hosts: nil, ExpectedCount: 1})
		refusedWith(t, "no hosts", err, http.StatusUnprocessableEntity, "")
		if n := w.number(t, "SELECT COUNT(*) FROM command_queue"); n != 0 {
			t.Fatalf("%d commands went out", n)
		}
		if _, err := w.api.WipeHost(ctx, ids[0], apiv1.WipeRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.api.RunCommand(ctx, []byte(scenario.Command("EraseDevice", "")), udids[1:2]); err != nil {
			t.Fatal(err)
		}
		_, err = w.api.RunCommand(ctx, []byte(scenario.Command("EraseDevice", "")), udids[2:3])
		refusedWith(t, "the third as a plain command", err, http.StatusTooManyRequests, "brake")
		_, err = w.api.WipeHost(ctx, ids[2], apiv1.WipeRequest{})
		refusedWith(t, "the third", err, http.StatusTooManyRequests, "brake")
		if w.eventsOf(t, "brake_refused") != 3 {
			t.Errorf("%d refusals were noted", w.eventsOf(t, "brake_refused"))
		}
		if _, err := w.as(t, "maintainer").WipeHost(ctx, ids[2], apiv1.WipeRequest{}); err != nil {
			t.Errorf("another person: %v", err)
		}
		w.clock.advance(61 * time.Minute)
		if _, err := w.api.WipeHost(ctx, ids[3], apiv1.WipeRequest{}); err != nil {
			t.Errorf("an hour later: %v", err)
		}
		refusedWith(t, "a deletion that takes a wipe back", w.api.DeleteHost(ctx, ids[0]), http.StatusConflict, "pending wipe")
		if err := w.api.ForceDeleteHost(ctx, ids[0]); err != nil {
			t.Fatal(err)
		}
		refusedWith(t, "a second deletion", w.api.DeleteHost(ctx, ids[1]), http.StatusTooManyRequests, "deletes_per_hour")
	})
}

func TestASecondAdminApproves(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		d, id := w.enrolled(t, 80, appledev.Mac)
		other, otherID := w.enrolled(t, 81, appledev.Mac)
		w.brake(t, `{"approval_for":["wipe","unenroll"],"delay_for":["delete"],"delay_minutes":10}`)
		maintainer, second := w.as(t, "maintainer"), w.as(t, "admin-2")

		out, err := w.api.WipeHost(ctx, id, apiv1.WipeRequest{})
		if err != nil || out.Approval == nil || out.Approval.Status != "waiting" || len(out.Approval.Hosts) != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		w.stands(t, d, "unlocked", "")
		_, err = w.api.RunCommand(ctx, []byte(scenario.Command("EraseDevice", "")), []string{d.Spec().UDID})
		refusedWith(t, "around the brake", err, http.StatusUnprocessableEntity, "approved")
		_, err = w.api.DecideApproval(ctx, out.Approval.UUID, "approve")
		refusedWith(t, "one's own request", err, http.StatusForbidden, "second person")
		_, err = maintainer.DecideApproval(ctx, out.Approval.UUID, "approve")
		refusedWith(t, "a maintainer", err, http.StatusForbidden, "approvals:write")
		list, err := maintainer.Approvals(ctx, false, 0)
		if err != nil || len(list.Approvals) != 1 || list.Approvals[0].RequestedBy != adminEmail {
			t.Errorf("%+v, %v", list, err)
		}
		done, err := second.DecideApproval(ctx, out.Approval.UUID, "approve")
		if err != nil || done.Status != "done" {
			t.Fatalf("%+v, %v", done, err)
		}
		w.stands(t, d, "unlocked", "wipe")
		_, err = second.DecideApproval(ctx, out.Approval.UUID, "deny")
		refusedWith(t, "too late", err, http.StatusConflict, "done")
		w.polled(t, d)
		w.stands(t, d, "wiped", "")

		var held *client.HeldError
		if err := maintainer.UnenrollHost(ctx, otherID); !errors.As(err, &held) {
			t.Fatalf("turning MDM off: %v", err)
		}
		if denied, err := second.DecideApproval(ctx, held.Approval.UUID, "deny"); err != nil || denied.Status != "denied" {
			t.Fatalf("%+v, %v", denied, err)
		}
		if err := maintainer.UnenrollHost(ctx, otherID); !errors.As(err, &held) {
			t.Fatalf("turning MDM off: %v", err)
		}
		if _, err := second.DecideApproval(ctx, held.Approval.UUID, "approve"); err != nil {
			t.Fatal(err)
		}
		w.polled(t, other)
		if other.Enrolled() {
			t.Error("it is enrolled")
		}

		if err := maintainer.DeleteHost(ctx, otherID); !errors.As(err, &held) || held.Approval.Status != "delayed" {
			t.Fatalf("a deletion: %v", err)
		}
		if _, err := maintainer.DecideApproval(ctx, held.Approval.UUID, "undo"); err != nil {
			t.Fatal(err)
		}
		if err := maintainer.DeleteHost(ctx, otherID); !errors.As(err, &held) {
			t.Fatalf("a deletion: %v", err)
		}
		w.clock.advance(11 * time.Minute)
		eventually(t, func() (bool, string) {
			_, err := w.api.Host(ctx, otherID)
			return client.StatusOf(err) == http.StatusNotFound, fmt.Sprint(err)
		})
		// The host is gone a moment before its request is done.
		eventually(t, func() (bool, string) {
			all, err := w.api.Approvals(ctx, true, 0)
			if err != nil {
				t.Fatal(err)
			}
			var phases []string
			for _, a := range all.Approvals {
				phases = append(phases, a.Action+" "+a.Status)
			}
			got := strings.Join(phases, ", ")
			return got == "delete done, delete undone, unenroll done, unenroll denied, wipe done", got
		})
	})
}

func TestOldSpellingsAnswerWithNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d, id := w.enrolled(t, 90, appledev.Mac)
		for what, status := range map[string]int{"lock": http.StatusNoContent, "nonsense": http.StatusNotFound} {
			req, err := http.NewRequest(http.MethodPost, fmt.Sprintf("%s/api/latest/fleet/mdm/hosts/%d/%s", w.url, id, what), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+w.token)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var body map[string]any
			_ = json.NewDecoder(res.Body).Decode(&body)
			_ = res.Body.Close()
			if res.StatusCode != status || (status == http.StatusNoContent && body != nil) {
				t.Errorf("%s: %s %v", what, res.Status, body)
			}
		}
		w.stands(t, d, "unlocked", "lock")
	})
}

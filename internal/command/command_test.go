package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// desk stands for everything around the service.
type desk struct {
	Commands
	sent     []fleet.HostID
	stored   *fleet.Command
	admitted []fleet.ActionKind
}

func (d *desk) Enqueue(_ context.Context, cmd *fleet.Command, targets []fleet.Target, _ ...fleet.Event) ([]fleet.Target, error) {
	d.stored = cmd
	for _, t := range targets {
		d.sent = append(d.sent, t.Host.ID)
	}
	return nil, nil
}

func (d *desk) Admit(_ context.Context, _ fleet.Actor, kind fleet.ActionKind, _ []fleet.HostID, _ bool) (*fleet.ActionRequest, error) {
	d.admitted = append(d.admitted, kind)
	return nil, nil
}

func (d *desk) hosts() []fleet.Target {
	target := func(id int, uuid string, mdm fleet.MDMStatus) fleet.Target {
		return fleet.Target{Host: fleet.HostRef{ID: fleet.HostID(id), UUID: uuid, Hostname: fmt.Sprint("host ", id), Platform: fleet.PlatformIOS, MDM: mdm},
			EnrollmentID: fleet.EnrollmentID(id), State: fleet.EnrollmentOn}
	}
	return []fleet.Target{target(1, "ours", fleet.MDMAutomatic), target(2, "person's", fleet.MDMPersonal), target(3, "", fleet.MDMPending)}
}

func (d *desk) Targets(_ context.Context, uuids []string) (out []fleet.Target, err error) {
	for _, t := range d.hosts() {
		for _, u := range uuids {
			if t.Host.UUID == u {
				out = append(out, t)
			}
		}
	}
	return out, nil
}

func (d *desk) TargetsByID(_ context.Context, ids []fleet.HostID) (out []fleet.Target, err error) {
	for _, t := range d.hosts() {
		for _, id := range ids {
			if t.Host.ID == id {
				out = append(out, t)
			}
		}
	}
	return out, nil
}

func plistOf(requestType, more string) []byte {
	return []byte(`<plist version="1.0"><dict><key>Command</key><dict><key>RequestType</key><string>` + requestType + `</string>` + more + `</dict></dict></plist>`)
}

// Commands that do what actions on hosts do are for those who may act, and not
// for devices that belong to a person.
func TestCommandsThatAreActionsAreTreatedAsSuch(t *testing.T) {
	const enrollment = `<key>Identifier</key><string>com.muster-mdm.enrollment</string>`
	for _, tt := range []struct {
		name    string
		command []byte
		mayAct  bool
		host    string
		want    fleet.Kind // KindInternal: it is sent
		braked  fleet.ActionKind
	}{
		{"a question", plistOf("DeviceInformation", ""), false, "ours", fleet.KindInternal, 0},
		{"a question to a person's device", plistOf("DeviceInformation", ""), false, "person's", fleet.KindInternal, 0},
		{"a wipe", plistOf("EraseDevice", ""), true, "ours", fleet.KindInternal, fleet.ActionWipe},
		{"a wipe by a repository", plistOf("EraseDevice", ""), false, "ours", fleet.KindForbidden, 0},
		{"a wipe of a person's device", plistOf("EraseDevice", ""), true, "person's", fleet.KindInvalid, 0},
		{"a lock by a repository", plistOf("DeviceLock", ""), false, "ours", fleet.KindForbidden, 0},
		{"a lock of a person's device", plistOf("DeviceLock", ""), true, "person's", fleet.KindInvalid, 0},
		{"Lost Mode of a person's device", plistOf("EnableLostMode", ""), true, "person's", fleet.KindInvalid, 0},
		{"a passcode cleared by a repository", plistOf("ClearPasscode", ""), false, "ours", fleet.KindForbidden, 0},
		{"a place told to a repository", plistOf("DeviceLocation", ""), false, "ours", fleet.KindForbidden, 0},
		{"the end of an enrollment by a repository", plistOf("RemoveProfile", enrollment), false, "ours", fleet.KindForbidden, 0},
		{"the end of a person's enrollment", plistOf("RemoveProfile", enrollment), true, "person's", fleet.KindInternal, fleet.ActionUnenroll},
		{"a profile removed", plistOf("RemoveProfile", `<key>Identifier</key><string>com.example</string>`), false, "ours", fleet.KindInternal, 0},
	} {
		d := &desk{}
		s := NewService(d, d, nil, d, NewEnvelope(nil, nil), time.Now)
		_, _, err := s.Run(t.Context(), fleet.Sender{MayAct: tt.mayAct}, []string{tt.host}, tt.command)
		sent := len(d.sent) == 1
		if (err == nil) != (tt.want == fleet.KindInternal) || err != nil && fleet.KindOf(err) != tt.want || sent != (err == nil) {
			t.Errorf("%s: %v, sent %v", tt.name, err, d.sent)
		}
		if braked := len(d.admitted) == 1 && d.admitted[0] == tt.braked; braked != (tt.braked != 0) {
			t.Errorf("%s: the brake is asked about %v", tt.name, d.admitted)
		}
	}
}

// Hosts that wait for their device have no UUID: an empty one names none of
// them.
func TestAnEmptyUUIDNamesNoHost(t *testing.T) {
	for _, uuids := range [][]string{{""}, {"ours", ""}, {"", ""}} {
		d := &desk{}
		s := NewService(d, d, nil, d, NewEnvelope(nil, nil), time.Now)
		_, _, err := s.Run(t.Context(), fleet.Sender{MayAct: true}, uuids, plistOf("EraseDevice", ""))
		if fleet.KindOf(err) != fleet.KindInvalid || !strings.Contains(err.Error(), "empty UUID") || len(d.sent) > 0 {
			t.Errorf("%q: %v, sent to %v", uuids, err, d.sent)
		}
	}
}

func (d *desk) Exists(context.Context, string) (bool, error) { return true, nil }

func (d *desk) List(context.Context, fleet.CommandFilter) ([]fleet.CommandResult, fleet.PageMeta, error) {
	return []fleet.CommandResult{{Payload: plistOf("DeviceLock", "<key>PIN</key><string>123456</string>"), Result: plistOf("", "<key>Latitude</key><real>52.5</real>")}},
		fleet.PageMeta{}, nil
}

func TestAnswersTellAPlaceOnlyToThoseWhoMayAct(t *testing.T) {
	for _, mayAct := range []bool{true, false} {
		d := &desk{}
		list, err := NewService(d, d, nil, d, nil, time.Now).Results(t.Context(), fleet.Sender{MayAct: mayAct}, "U", "")
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		if told := strings.Contains(string(list[0].Result), "52.5"); told != mayAct || strings.Contains(string(list[0].Payload), "123456") {
			t.Errorf("may act %v: %s %s", mayAct, list[0].Payload, list[0].Result)
		}
	}
}

// sealer stands for the vault.
type sealer struct{}

func (sealer) Seal(ref fleet.SecretRef, secret []byte) (fleet.Sealed, error) {
	return fleet.Sealed{KeyID: "k", Data: append([]byte(ref.Name), secret...)}, nil
}

func (sealer) Open(ref fleet.SecretRef, sealed fleet.Sealed) ([]byte, error) {
	secret, ours := bytes.CutPrefix(sealed.Data, []byte(ref.Name))
	if !ours {
		return nil, errors.New("sealed under another name")
	}
	return secret, nil
}

// Secret implements SecretReader with what was stored last.
func (d *desk) Secret(context.Context, fleet.SecretRef) (*fleet.StoredSecret, error) {
	if d.stored == nil || d.stored.Whole == nil {
		return nil, nil
	}
	return &fleet.StoredSecret{Ref: d.stored.Whole.Ref, Value: d.stored.Whole.Value}, nil
}

func TestWhatIsSecretInACommandIsSealedUntilItGoesOut(t *testing.T) {
	const secret = "c2VjcmV0" // base64 of "secret"
	for name, tt := range map[string]struct {
		command []byte
		sealed  bool
	}{
		"a password":           {plistOf("SetFirmwarePassword", "<key>NewPassword</key><string>"+secret+"</string>"), true},
		"a key export":         {plistOf("RotateFileVaultKey", "<key>FileVaultUnlock</key><dict><key>PrivateKeyExportPassword</key><string>"+secret+"</string></dict>"), true},
		"a profile":            {plistOf("InstallProfile", "<key>Payload</key><data>"+secret+"</data>"), true},
		"nothing of that kind": {plistOf("DeviceInformation", "<key>Queries</key><array><string>"+secret+"</string></array>"), false},
	} {
		d := &desk{}
		envelope := NewEnvelope(d, sealer{})
		cmd, _, err := NewService(d, d, nil, d, envelope, time.Now).Run(t.Context(), fleet.Sender{MayAct: true}, []string{"ours"}, tt.command)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d.stored.Expand != tt.sealed || bytes.Contains(d.stored.Body, []byte(secret)) == tt.sealed {
			t.Errorf("%s: stored as %s", name, d.stored.Body)
		}
		if !tt.sealed {
			continue
		}
		next := &fleet.NextCommand{UUID: cmd.UUID, Body: d.stored.Body}
		if body, err := envelope.Fill(t.Context(), next); err != nil || !bytes.Contains(body, []byte(secret)) {
			t.Errorf("%s: goes out as %s, %v", name, body, err)
		}
		d.stored = nil
		if _, err := envelope.Fill(t.Context(), next); fleet.KindOf(err) != fleet.KindPrecondition {
			t.Errorf("%s: when it is not kept any more: %v", name, err)
		}
	}
}

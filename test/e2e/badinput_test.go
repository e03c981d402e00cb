package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/muster-mdm/muster/sim/scenario"
)

// selfReferential is a binary property list whose one array contains itself:
// decoders that follow it without a bound kill the process.
func selfReferential(t testing.TB) []byte {
	t.Helper()
	trailer := "0000000000000101" + "0000000000000001" + "0000000000000000" + "000000000000000a"
	b, err := hex.DecodeString(hex.EncodeToString([]byte("bplist00")) + "a100" + "08" + trailer)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 50 {
		t.Fatalf("%d bytes", len(b))
	}
	return b
}

// deep is XML nested as deep as a message may be large.
func deep(levels int) []byte {
	return []byte(`<plist version="1.0">` + strings.Repeat("<array>", levels) + strings.Repeat("</array>", levels) + "</plist>")
}

func plistOf(inner string) []byte {
	return []byte(`<?xml version="1.0" encoding="UTF-8"?><plist version="1.0">` + inner + "</plist>")
}

func TestBadMessagesAreRefusedAndLeaveNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d := w.wire(t, "UDID-H", "SERIALH")
		cmd := w.send(t, "ProfileList", d.udid)
		before := w.snapshot(t)
		const million = 1_000_000
		huge := bytes.Repeat([]byte("<!-- 20 MB -->  "), 20<<20/16)
		bodies := map[string][]byte{
			"an empty body":               {},
			"rubbish":                     []byte("hello"),
			"a binary property list":      append([]byte("bplist00"), make([]byte, 64)...),
			"a self-referential binary":   selfReferential(t),
			"a million levels":            deep(million),
			"a million levels in a dict":  plistOf("<dict><key>UDID</key><string>UDID-H</string><key>X</key>" + string(deep(million)[21:21+14*million+1]) + "</dict>"),
			"a million opening tags":      []byte(`<plist version="1.0">` + strings.Repeat("<array>", million)),
			"half a message":              []byte(`<plist version="1.0"><dict><key>UDID</key><string>UDID-H`),
			"an array":                    plistOf("<array/>"),
			"no sender":                   plistOf("<dict><key>Status</key><string>Idle</string><key>MessageType</key><string>CheckOut</string></dict>"),
			"no status and no type":       plistOf("<dict><key>UDID</key><string>UDID-H</string></dict>"),
			"an unknown status and type":  plistOf("<dict><key>UDID</key><string>UDID-H</string><key>Status</key><string>Maybe</string><key>MessageType</key><string>Maybe</string></dict>"),
			"a result without a command":  plistOf("<dict><key>UDID</key><string>UDID-H</string><key>Status</key><string>Acknowledged</string></dict>"),
			"an identifier with a colon":  plistOf("<dict><key>UDID</key><string>UDID-H:X</string><key>Status</key><string>Idle</string><key>MessageType</key><string>CheckOut</string></dict>"),
			"an identifier without end":   plistOf("<dict><key>UDID</key><string>" + strings.Repeat("9", 1000) + "</string><key>Status</key><string>Idle</string><key>MessageType</key><string>CheckOut</string></dict>"),
			"an entity that expands":      []byte(`<!DOCTYPE plist [<!ENTITY a "b">]><plist version="1.0"><dict><key>UDID</key><string>&a;</string></dict></plist>`),
			"a token update without data": plistOf("<dict><key>MessageType</key><string>TokenUpdate</string><key>UDID</key><string>UDID-H</string></dict>"),
		}
		for name, body := range bodies {
			for _, kind := range []string{typeCheckin, typeCommand, ""} {
				what := fmt.Sprintf("%s as %q", name, kind)
				status, answer := d.signed(kind, body)
				oneOf(t, what, status, 400, 403)
				if status == http.StatusForbidden && !strings.HasPrefix(name, "an identifier") {
					t.Errorf("%s: %s", what, answer)
				}
				if status, _ := w.put(t, kind, "", body); status != http.StatusBadRequest {
					t.Errorf("%s, not signed: HTTP %d", what, status)
				}
			}
		}
		for _, signature := range []string{"", d.id.sign(t, huge[:100])} {
			status, _, err := w.request(http.MethodPut, "/mdm/apple/mdm", map[string]string{"Content-Type": typeCommand, "Mdm-Signature": signature}, huge)
			// The server may hang up before it has read everything.
			if err == nil && status != http.StatusRequestEntityTooLarge {
				t.Errorf("20 MB: HTTP %d", status)
			}
		}
		for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPatch} {
			status, _, err := w.request(method, "/mdm/apple/mdm", nil, nil)
			if err != nil || status != http.StatusMethodNotAllowed {
				t.Errorf("%s: HTTP %d, %v", method, status, err)
			}
		}
		if after := w.snapshot(t); after != before {
			t.Errorf("they changed something:\n%s\nbefore:\n%s", after, before)
		}
		w.alive(t)
		if got := d.idle(); got != cmd {
			t.Errorf("afterwards the device is handed %q", got)
		}
	})
}

func TestBadSignaturesAreRefusedAndLeaveNothing(t *testing.T) {
	w := start(t, "sqlite")
	d := w.wire(t, "UDID-I", "SERIALI")
	body := plistOf("<dict><key>UDID</key><string>UDID-I</string><key>Status</key><string>Idle</string></dict>")
	good, err := base64.StdEncoding.DecodeString(d.id.sign(t, body))
	if err != nil {
		t.Fatal(err)
	}
	before := w.snapshot(t)
	for cut := 0; cut < len(good); cut += 37 {
		half := base64.StdEncoding.EncodeToString(good[:cut])
		if status, _ := w.put(t, typeCommand, half, body); status != http.StatusBadRequest {
			t.Errorf("the first %d of %d bytes: HTTP %d", cut, len(good), status)
		}
		flipped := bytes.Clone(good)
		flipped[cut] ^= 0x5a
		status, _ := w.put(t, typeCommand, base64.StdEncoding.EncodeToString(flipped), body)
		oneOf(t, fmt.Sprintf("byte %d flipped", cut), status, 200, 400, 403)
	}
	for _, der := range []string{"3080", "30800000", "3084ffffffff", "30820005060102", strings.Repeat("3080", 5000), strings.Repeat("a0", 9000)} {
		raw, err := hex.DecodeString(der)
		if err != nil {
			t.Fatal(err)
		}
		if status, _ := w.put(t, typeCommand, base64.StdEncoding.EncodeToString(raw), body); status != http.StatusBadRequest && status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%.12s…: HTTP %d", der, status)
		}
		status, _, err := w.request(http.MethodPost, "/mdm/apple/scep?operation=PKIOperation", nil, raw)
		if err != nil || status != http.StatusBadRequest {
			t.Errorf("as a SCEP message, %.12s…: HTTP %d, %v", der, status, err)
		}
	}
	if after := w.snapshot(t); after != before {
		t.Errorf("they changed something:\n%s\nbefore:\n%s", after, before)
	}
	w.alive(t)
	d.drain()
}

func TestBadCommandsAreRefusedWithAReasonAndLeaveNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d := w.wire(t, "UDID-J", "SERIALJ")
		w.addWindowsHost(t, "WINDOWS-1")
		good := scenario.Command("ProfileList", "")
		taken := w.send(t, "ProfileList", d.udid)
		withUUID := strings.Replace(good, "<dict>", "<dict><key>CommandUUID</key><string>"+taken+"</string>", 1)
		before := w.snapshot(t)
		for _, c := range []struct {
			name    string
			command string // "" is sent as it is
			hosts   []string
			want    []int
		}{
			{"nothing", "", []string{d.udid}, []int{400, 415, 422}},
			{"no property list", "{}", []string{d.udid}, []int{400, 415, 422}},
			{"a property list that is no command", string(plistOf("<dict/>")), []string{d.udid}, []int{400, 415, 422}},
			{"a command without a request type", string(plistOf("<dict><key>Command</key><dict/></dict>")), []string{d.udid}, []int{400, 415, 422}},
			{"a binary property list", string(selfReferential(t)), []string{d.udid}, []int{400, 415, 422}},
			{"deep XML", string(deep(10_000)), []string{d.udid}, []int{400, 415, 422}},
			{"no hosts", good, []string{}, []int{422}},
			{"an unknown host", good, []string{"nobody"}, []int{404}},
			{"a known and an unknown host", good, []string{d.udid, "nobody"}, []int{404}},
			{"a Mac and a PC", good, []string{d.udid, "WINDOWS-1"}, []int{422}},
			{"a PC that is not enrolled", good, []string{"WINDOWS-1"}, []int{412, 422}},
			{"a CommandUUID that exists", withUUID, []string{d.udid}, []int{409}},
		} {
			t.Run(c.name, func(t *testing.T) {
				status, answer := w.post(t, "/api/v1/fleet/commands/run", fields{
					"command": base64.StdEncoding.EncodeToString([]byte(c.command)), "host_uuids": c.hosts})
				oneOf(t, c.name, status, c.want...)
				var body struct {
					Message string `json:"message"`
					Errors  []struct{ Name, Reason string }
				}
				if err := json.Unmarshal(answer, &body); err != nil || body.Message == "" || len(body.Errors) == 0 || body.Errors[0].Reason == "" {
					t.Errorf("it gives no reason: %s (%v)", answer, err)
				}
			})
		}
		for name, c := range map[string]struct {
			body string
			want int
		}{
			"a body of 20 MB": {`{"command":"` + strings.Repeat("A", 20<<20) + `","host_uuids":["UDID-J"]}`, 413},
			"no JSON":         {`{"command":`, 400},
			"not base64":      {`{"command":"%%%","host_uuids":["UDID-J"]}`, 400},
			"hosts not given": {`{"command":"` + base64.StdEncoding.EncodeToString([]byte(good)) + `"}`, 422},
		} {
			status, answer, err := w.request(http.MethodPost, "/api/v1/fleet/commands/run", w.admin(), []byte(c.body))
			if err != nil || status != c.want {
				t.Errorf("%s: HTTP %d, want %d: %.200s (%v)", name, status, c.want, answer, err)
			}
		}
		if after := w.snapshot(t); after != before {
			t.Errorf("they changed something:\n%s\nbefore:\n%s", after, before)
		}
		if _, err := w.api.CommandResults(context.Background(), "no-such-command", ""); err == nil {
			t.Error("results of an unknown command were given")
		}
		w.alive(t)
	})
}

// admin are the headers of an admin's request.
func (w *world) admin() map[string]string {
	return map[string]string{"Authorization": "Bearer " + w.token, "Content-Type": "application/json"}
}

func (w *world) post(t testing.TB, path string, body any) (int, []byte) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	status, answer, err := w.request(http.MethodPost, path, w.admin(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return status, answer
}

// addWindowsHost puts a host into the database that no device stands behind.
func (w *world) addWindowsHost(t testing.TB, uuid string) {
	t.Helper()
	text := []string{"hostname", "computer_name", "hardware_model", "hardware_vendor", "os_version", "build", "primary_mac", "mdm_server_url"}
	numbers := []string{"team_id", "disk_total_gb", "disk_available_gb", "supervised", "mdm_status", "mdm_enrolled_at", "mdm_unenrolled_at",
		"created_at", "updated_at", "detail_updated_at", "label_updated_at", "last_enrolled_at", "refetch_at"}
	columns := "id, uuid, hardware_serial, platform, bootstrap_held, " + strings.Join(text, ", ") + ", " + strings.Join(numbers, ", ")
	values := fmt.Sprintf("900000, '%s', 'PC-%s', 'windows', FALSE%s%s", uuid, uuid, strings.Repeat(", ''", len(text)), strings.Repeat(", 0", len(numbers)))
	if _, err := w.db.Exec("INSERT INTO hosts (" + columns + ") VALUES (" + values + ")"); err != nil {
		t.Fatal(err)
	}
}

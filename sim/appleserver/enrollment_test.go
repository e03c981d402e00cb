package appleserver_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-mdm/muster/sim/appleserver"
)

// keyPair is what an MDM server uploads and keeps.
var keyPair = sync.OnceValue(func() (pair struct{ cert, key []byte }) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		panic(err)
	}
	pair.cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pair.key = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return pair
})

// token is what is in a .p7m.
type serverToken struct {
	ConsumerKey    string    `json:"consumer_key"`
	ConsumerSecret string    `json:"consumer_secret"`
	AccessToken    string    `json:"access_token"`
	AccessSecret   string    `json:"access_secret"`
	Expiry         time.Time `json:"access_token_expiry"`
}

// decrypt opens a .p7m with openssl, which knows MIME and CMS from elsewhere.
func decrypt(t *testing.T, p7m []byte) serverToken {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string][]byte{"cert": keyPair().cert, "key": keyPair().key, "p7m": p7m} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "openssl", "smime", "-decrypt", "-in", "p7m", "-recip", "cert", "-inkey", "key")
	cmd.Dir = dir
	plain, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl: %v", err)
	}
	head, rest, ok := strings.Cut(string(plain), "\r\n\r\n-----BEGIN MESSAGE-----\r\n")
	text, _, ended := strings.Cut(rest, "-----END MESSAGE-----")
	if !ok || !ended || !strings.Contains(head, "Content-Type: text/plain") {
		t.Fatalf("the plaintext is %q", plain)
	}
	if strings.Count(text, "\r\n") < 2 {
		t.Fatalf("the message is not broken into lines: %q", text)
	}
	var token serverToken
	if err := json.Unmarshal([]byte(strings.ReplaceAll(text, "\r\n", "")), &token); err != nil {
		t.Fatal(err)
	}
	return token
}

// world is a service with one MDM server, under a clock that stands still.
type world struct {
	*appleserver.Enrollment
	uuid    string
	token   serverToken
	mu      sync.Mutex
	now     time.Time
	session string
	version string
}

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) pass(d time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.now = w.now.Add(d) }

var deviceCA = sync.OnceValue(func() *appleserver.DeviceAuthority {
	ca, err := appleserver.NewDeviceAuthority(appleserver.DeviceAuthorityOptions{})
	if err != nil {
		panic(err)
	}
	return ca
})

func enrollment(t *testing.T) *world {
	t.Helper()
	w := &world{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), version: "10"}
	e, err := appleserver.StartEnrollment(t.Context(), appleserver.EnrollmentOptions{Clock: w.clock, Devices: deviceCA()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	w.Enrollment = e
	id, p7m, err := e.CreateServer("Muster", keyPair().cert)
	if err != nil {
		t.Fatal(err)
	}
	w.uuid, w.token = id, decrypt(t, p7m)
	return w
}

// send does one exchange; header values of "-" remove the header.
func (w *world) send(t *testing.T, method, path, body string, header map[string]string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-ADM-Auth-Session", w.session)
	req.Header.Set("X-Server-Protocol-Version", w.version)
	if body != "" {
		req.Header.Set("Content-Type", "application/json;charset=UTF8")
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// oauth makes an Authorization header as RFC 5849 says.
func (w *world) oauth(nonce string, at time.Time, change func(map[string]string)) string {
	f := map[string]string{
		"oauth_consumer_key": w.token.ConsumerKey, "oauth_token": w.token.AccessToken, "oauth_signature_method": "HMAC-SHA1",
		"oauth_timestamp": fmt.Sprint(at.Unix()), "oauth_nonce": nonce, "oauth_version": "1.0",
	}
	secret := w.token.AccessSecret
	if change != nil {
		change(f)
	}
	esc := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	var names []string
	for k := range f {
		names = append(names, k)
	}
	slices.Sort(names)
	var pairs, fields []string
	for _, k := range names {
		pairs = append(pairs, esc(k)+"="+esc(f[k]))
		fields = append(fields, k+`="`+esc(f[k])+`"`)
	}
	base := "GET&" + esc(w.URL()+"/session") + "&" + esc(strings.Join(pairs, "&"))
	mac := hmac.New(sha1.New, []byte(w.token.ConsumerSecret+"&"+secret))
	mac.Write([]byte(base))
	signature := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return `OAuth realm="ADM", ` + strings.Join(fields, ", ") + `, oauth_signature="` + esc(signature) + `"`
}

var nonces int

// login opens a session.
func (w *world) login(t *testing.T) {
	t.Helper()
	nonces++
	resp, text := w.send(t, "GET", "/session", "", map[string]string{"Authorization": w.oauth(fmt.Sprintf("n-%d %%+", nonces), w.clock(), nil)})
	if resp.StatusCode != 200 {
		t.Fatalf("session: %d %s", resp.StatusCode, text)
	}
	var out map[string]string
	if err := json.Unmarshal([]byte(text), &out); err != nil || out["auth_session_token"] == "" {
		t.Fatalf("session: %q, %v", text, err)
	}
	w.session = out["auth_session_token"]
}

// loggedIn is enrollment with a session.
func loggedIn(t *testing.T) *world {
	t.Helper()
	w := enrollment(t)
	w.login(t)
	return w
}

// must sends and wants 200, and decodes the answer.
func (w *world) must(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	text := ""
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		text = string(raw)
	}
	resp, answer := w.send(t, method, path, text, nil)
	if resp.StatusCode != 200 {
		t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(answer), &out); err != nil {
		t.Fatalf("%s %s: %q: %v", method, path, answer, err)
	}
	return out
}

// refused sends and wants this status and code.
func (w *world) refused(t *testing.T, method, path, body string, status int, code string) {
	t.Helper()
	resp, answer := w.send(t, method, path, body, nil)
	if resp.StatusCode != status || answer != code {
		t.Fatalf("%s %s %s: %d %q, want %d %q", method, path, body, resp.StatusCode, answer, status, code)
	}
}

func (w *world) list(t *testing.T, path, cursor string, limit int) (cursorOut string, more bool, devices []map[string]any) {
	t.Helper()
	out := w.must(t, "POST", path, map[string]any{"cursor": cursor, "limit": limit})
	for _, d := range out["devices"].([]any) {
		devices = append(devices, d.(map[string]any))
	}
	return out["cursor"].(string), out["more_to_follow"].(bool), devices
}

// all fetches everything and returns the last cursor.
func (w *world) all(t *testing.T) (cursor string, devices []map[string]any) {
	t.Helper()
	for {
		next, more, page := w.list(t, "/server/devices", cursor, 1000)
		cursor, devices = next, append(devices, page...)
		if !more {
			return cursor, devices
		}
	}
}

func (w *world) buy(t *testing.T, model string, n int) []string {
	t.Helper()
	bought, err := w.Buy("", model, n)
	if err != nil {
		t.Fatal(err)
	}
	var serials []string
	for _, b := range bought {
		serials = append(serials, b.Serial)
	}
	return serials
}

// profile defines a profile and returns its UUID.
func (w *world) profile(t *testing.T) string {
	t.Helper()
	return w.must(t, "POST", "/profile", map[string]any{"profile_name": "Muster", "url": "https://mdm.example/enroll"})["profile_uuid"].(string)
}

func TestASessionTakesAValidSignature(t *testing.T) {
	w := enrollment(t)
	now := w.clock()
	for name, c := range map[string]struct {
		header string
		status int
		code   string
	}{
		"nothing signed":       {"Bearer x", 401, "parameter_absent"},
		"a field missing":      {w.oauth("a", now, func(f map[string]string) { f["oauth_token"] = "" }), 400, "parameter_absent"},
		"another method":       {w.oauth("b", now, func(f map[string]string) { f["oauth_signature_method"] = "PLAINTEXT" }), 400, "signature_method_rejected"},
		"another consumer":     {w.oauth("c", now, func(f map[string]string) { f["oauth_consumer_key"] = "CK_x" }), 401, "consumer_key_unknown"},
		"another token":        {w.oauth("d", now, func(f map[string]string) { f["oauth_token"] = "AT_x" }), 401, "token_rejected"},
		"an old timestamp":     {w.oauth("e", now.Add(-6*time.Minute), nil), 401, "timestamp_refused"},
		"a future timestamp":   {w.oauth("f", now.Add(6*time.Minute), nil), 401, "timestamp_refused"},
		"a changed nonce":      {strings.Replace(w.oauth("gg", now, nil), `oauth_nonce="gg"`, `oauth_nonce="gh"`, 1), 401, "signature_invalid"},
		"a version of its own": {w.oauth("i", now, func(f map[string]string) { f["oauth_version"] = "2.0" }), 400, "parameter_rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, code := w.send(t, "GET", "/session", "", map[string]string{"Authorization": c.header})
			if resp.StatusCode != c.status || code != c.code {
				t.Fatalf("%d %q", resp.StatusCode, code)
			}
		})
	}
	header := map[string]string{"Authorization": w.oauth("once", now, nil)}
	if resp, text := w.send(t, "GET", "/session", "", header); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	if resp, text := w.send(t, "GET", "/session", "", header); resp.StatusCode != 401 || text != "nonce_used" {
		t.Fatalf("replayed: %d %s", resp.StatusCode, text)
	}
}

func TestAUserAgentIsMandatory(t *testing.T) {
	w := loggedIn(t)
	resp, code := w.send(t, "GET", "/account", "", map[string]string{"User-Agent": ""})
	if resp.StatusCode != 400 || code != "USER_AGENT_MISSING" {
		t.Fatalf("%d %q", resp.StatusCode, code)
	}
}

func TestSessionsRollAndExpire(t *testing.T) {
	w := enrollment(t)
	w.session = "made up"
	w.refused(t, "GET", "/account", "", 403, "FORBIDDEN")
	w.login(t)
	first := w.session
	if resp, _ := w.send(t, "GET", "/account", "", nil); resp.Header.Get("X-ADM-Auth-Session") != "" {
		t.Fatal("a fresh session rolled")
	}
	w.pass(2 * time.Minute)
	resp, _ := w.send(t, "GET", "/account", "", nil)
	second := resp.Header.Get("X-ADM-Auth-Session")
	if second == "" || second == first {
		t.Fatalf("after two of three minutes the session is %q, before %q", second, first)
	}
	w.pass(90 * time.Second)
	w.refused(t, "GET", "/account", "", 401, "UNAUTHORIZED")
	w.session = second
	w.must(t, "GET", "/account", nil)
	w.ExpireSessions()
	w.refused(t, "GET", "/account", "", 401, "UNAUTHORIZED")
	w.login(t)
	w.must(t, "GET", "/account", nil)
}

func TestATokenExpiresAndIsRenewed(t *testing.T) {
	w := loggedIn(t)
	if year := w.clock().Add(365 * 24 * time.Hour); !w.token.Expiry.Equal(year) {
		t.Fatalf("the token expires %v, want %v", w.token.Expiry, year)
	}
	if err := w.ExpireToken(w.uuid); err != nil {
		t.Fatal(err)
	}
	w.refused(t, "GET", "/account", "", 401, "UNAUTHORIZED")
	resp, code := w.send(t, "GET", "/session", "", map[string]string{"Authorization": w.oauth("x", w.clock(), nil)})
	if resp.StatusCode != 401 || code != "token_expired" {
		t.Fatalf("%d %s", resp.StatusCode, code)
	}
	p7m, err := w.RenewToken(w.uuid, keyPair().cert)
	if err != nil {
		t.Fatal(err)
	}
	w.token = decrypt(t, p7m)
	w.login(t)
	if got := w.must(t, "GET", "/account", nil)["server_uuid"]; got != w.uuid {
		t.Fatalf("after renewal the server is %v, want %v", got, w.uuid)
	}
}

func TestUnsignedTermsStopEverything(t *testing.T) {
	w := loggedIn(t)
	w.SignTerms(false)
	w.refused(t, "GET", "/account", "", 403, "T_C_NOT_SIGNED")
	resp, code := w.send(t, "GET", "/session", "", map[string]string{"Authorization": w.oauth("x", w.clock(), nil)})
	if resp.StatusCode != 403 || code != "T_C_NOT_SIGNED" {
		t.Fatalf("%d %s", resp.StatusCode, code)
	}
	w.SignTerms(true)
	w.must(t, "GET", "/account", nil)
}

func TestProtocolVersionsSayMore(t *testing.T) {
	w := loggedIn(t)
	w.buy(t, "iphone", 1)
	ipad := w.buy(t, "ipad", 1)[0]
	if err := w.Migrate(w.clock().Add(time.Hour), ipad); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string][]string{
		"": {}, "2": {"device_family", "os"}, "7": {"device_family", "os"}, "8": {"device_family", "os", "mdm_migration_deadline"},
		"10": {"device_family", "os", "mdm_migration_deadline", "wifi_mac_address", "imei"},
	} {
		w.version = version
		_, devices := w.all(t)
		has := make(map[string]bool)
		for _, d := range devices {
			for k := range d {
				has[k] = true
			}
		}
		for _, key := range []string{"device_family", "os", "mdm_migration_deadline", "wifi_mac_address", "imei"} {
			if has[key] != slices.Contains(want, key) {
				t.Errorf("version %q: %s is %v", version, key, has[key])
			}
		}
		os := map[string]any{"": nil, "2": "iOS"}[version]
		if version != "" && version != "2" {
			os = "iPadOS"
		}
		if devices[1]["os"] != os {
			t.Errorf("version %q: an iPad's os is %v", version, devices[1]["os"])
		}
		account := w.must(t, "GET", "/account", nil)
		if (account["urls"] != nil) != (version != "" && version != "2") {
			t.Errorf("version %q: urls %v", version, account["urls"])
		}
	}
	w.version = "x"
	w.refused(t, "GET", "/account", "", 400, "INVALID_PROTOCOL_VERSION")
}

func TestAFetchListsEveryDeviceOnceWhateverHappensMeanwhile(t *testing.T) {
	w := loggedIn(t)
	serials := w.buy(t, "ipad", 2500)
	cursor, more, devices := w.list(t, "/server/devices", "", 1000)
	if !more || len(devices) != 1000 || devices[0]["op_type"] != nil {
		t.Fatalf("%d devices, more %v, first %v", len(devices), more, devices[0])
	}
	w.refused(t, "POST", "/devices/sync", `{"cursor":"`+cursor+`"}`, 400, "INVALID_CURSOR")
	// Of what was listed much goes, which must not hide the others, and of what
	// was not yet some.
	w.pass(time.Second)
	gone := serials[:900]
	if err := w.Unassign(gone...); err != nil {
		t.Fatal(err)
	}
	missed := serials[2000:2100]
	if err := w.Unassign(missed...); err != nil {
		t.Fatal(err)
	}
	late := w.buy(t, "ipad", 1)[0]
	for more {
		var page []map[string]any
		cursor, more, page = w.list(t, "/server/devices", cursor, 1000)
		devices = append(devices, page...)
	}
	seen := map[any]int{}
	for _, d := range devices {
		seen[d["serial_number"]]++
	}
	for _, s := range append(serials, late) {
		want := 1
		if slices.Contains(missed, s) {
			want = 0
		}
		if seen[s] != want {
			t.Fatalf("%s was listed %d times, want %d", s, seen[s], want)
		}
	}
	w.refused(t, "POST", "/server/devices", `{"cursor":"`+cursor+`"}`, 400, "EXHAUSTED_CURSOR")
	next, more, ops := w.list(t, "/devices/sync", cursor, 1000)
	if !more || len(ops) != 1000 || ops[0]["op_type"] != "deleted" || ops[0]["serial_number"] != gone[0] {
		t.Fatalf("%d operations, more %v, first %v", len(ops), more, ops[0])
	}
	next, more, ops = w.list(t, "/devices/sync", next, 1000)
	if more || len(ops) != 1 || ops[0]["op_type"] != "added" || ops[0]["serial_number"] != late {
		t.Fatalf("more %v, %v", more, ops)
	}
	if _, more, ops = w.list(t, "/devices/sync", next, 1000); more || len(ops) != 0 {
		t.Fatalf("nothing new is %v", ops)
	}
}

func TestCursorsAreRefusedForWhatTheyAre(t *testing.T) {
	w := loggedIn(t)
	w.buy(t, "mac", 3)
	cursor, _ := w.all(t)
	w.refused(t, "POST", "/devices/sync", `{}`, 400, "CURSOR_REQUIRED")
	w.refused(t, "POST", "/devices/sync", `{"cursor":"nonsense"}`, 400, "INVALID_CURSOR")
	w.refused(t, "POST", "/server/devices", `{"cursor":"nonsense"}`, 400, "INVALID_CURSOR")
	w.refused(t, "POST", "/server/devices", `{"limit":1001}`, 400, "MALFORMED_REQUEST_BODY")
	w.refused(t, "POST", "/server/devices", `{"limit":`, 400, "MALFORMED_REQUEST_BODY")
	next, _, _ := w.list(t, "/devices/sync", cursor, 10)
	w.refused(t, "POST", "/server/devices", `{"cursor":"`+next+`"}`, 400, "INVALID_CURSOR")
	w.pass(7*24*time.Hour + time.Second)
	w.login(t)
	w.refused(t, "POST", "/devices/sync", `{"cursor":"`+next+`"}`, 400, "EXPIRED_CURSOR")
	other, p7m, err := w.CreateServer("Other", keyPair().cert)
	if err != nil {
		t.Fatal(err)
	}
	fresh, _ := w.all(t)
	w.uuid, w.token = other, decrypt(t, p7m)
	w.login(t)
	w.refused(t, "POST", "/devices/sync", `{"cursor":"`+fresh+`"}`, 400, "INVALID_CURSOR")
}

func TestOnePageHoldsTheWholeStoryOfADevice(t *testing.T) {
	w := loggedIn(t)
	cursor, _ := w.all(t)
	serial := w.buy(t, "ipad", 1)[0]
	w.pass(time.Second)
	if err := w.Modify("desk 4", serial); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	if err := w.Replace(serial, "NEWSERIAL001"); err != nil {
		t.Fatal(err)
	}
	_, _, ops := w.list(t, "/devices/sync", cursor, 0)
	var got []string
	for _, d := range ops {
		got = append(got, fmt.Sprint(d["serial_number"] == serial, " ", d["op_type"], " ", d["op_date"], " ", d["released_by_replacement"], " ", d["is_replacement_device"]))
	}
	want := []string{
		"true added 2026-03-01T12:00:00Z true <nil>", "true modified 2026-03-01T12:00:01Z true <nil>",
		"true deleted 2026-03-01T12:00:02Z true <nil>", "false added 2026-03-01T12:00:02Z <nil> true",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%q", got)
	}
	if _, err := w.Device(serial); err == nil {
		t.Fatal("a replaced device is still there")
	}
}

func TestProfilesAreAssignedPushedAndRemoved(t *testing.T) {
	w := loggedIn(t)
	serials := w.buy(t, "ipad", 2)
	cursor, _ := w.all(t)
	profile := w.profile(t)
	if again := w.profile(t); again == profile {
		t.Fatal("the same content has the same UUID")
	}
	if got := w.must(t, "GET", "/profile?profile_uuid="+profile, nil); got["profile_name"] != "Muster" || got["url"] != "https://mdm.example/enroll" || got["profile_uuid"] != profile {
		t.Fatalf("%v", got)
	}
	activate := func(serial string) (int, string) {
		resp, err := http.Post(w.DeviceURL()+"/device/activate", "application/json", strings.NewReader(`{"serial_number":"`+serial+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	if status, _ := activate(serials[0]); status != 404 {
		t.Fatalf("without a profile a device gets %d", status)
	}
	for i, method := range []string{"POST", "PUT"} {
		out := w.must(t, method, "/profile/devices", map[string]any{"profile_uuid": profile, "devices": []string{serials[i], "UNKNOWN"}})
		got := out["devices"].(map[string]any)
		if out["profile_uuid"] != profile || got[serials[i]] != "SUCCESS" || got["UNKNOWN"] != "NOT_ACCESSIBLE" {
			t.Fatalf("%s: %v", method, out)
		}
	}
	if status, text := activate(serials[0]); status != 200 || !strings.Contains(text, `"https://mdm.example/enroll"`) {
		t.Fatalf("%d %s", status, text)
	}
	details := w.must(t, "POST", "/devices", map[string]any{"devices": []string{serials[0], serials[1], "UNKNOWN"}})["devices"].(map[string]any)
	for serial, want := range map[string][2]any{serials[0]: {"SUCCESS", "pushed"}, serials[1]: {"SUCCESS", "assigned"}, "UNKNOWN": {"NOT_ACCESSIBLE", nil}} {
		d := details[serial].(map[string]any)
		if d["response_status"] != want[0] || d["profile_status"] != want[1] {
			t.Errorf("%s: %v", serial, d)
		}
	}
	w.must(t, "DELETE", "/profile/devices", map[string]any{"devices": serials[:1]})
	state, err := w.Device(serials[0])
	if err != nil || state.ProfileStatus != "removed" || state.ProfileUUID != "" {
		t.Fatalf("%+v, %v", state, err)
	}
	_, _, ops := w.list(t, "/devices/sync", cursor, 100)
	if len(ops) != 4 || ops[1]["profile_uuid"] != profile || ops[1]["op_type"] != "modified" {
		t.Fatalf("%v", ops)
	}
	w.refused(t, "POST", "/profile/devices", `{"profile_uuid":"nobody","devices":["a"]}`, 404, "NOT_FOUND")
	w.refused(t, "POST", "/profile/devices", `{"devices":["a"]}`, 400, "PROFILE_UUID_REQUIRED")
	w.refused(t, "POST", "/profile/devices", `{"profile_uuid":"`+profile+`"}`, 400, "DEVICE_ID_REQUIRED")
	many, _ := json.Marshal(map[string]any{"profile_uuid": profile, "devices": make([]string, 1001)})
	w.refused(t, "POST", "/profile/devices", string(many), 400, "MALFORMED_REQUEST_BODY")
	w.refused(t, "GET", "/profile", "", 400, "PROFILE_UUID_REQUIRED")
	w.refused(t, "GET", "/profile?profile_uuid=nobody", "", 404, "NOT_FOUND")
}

func TestProfilesAreJudged(t *testing.T) {
	w := loggedIn(t)
	for body, code := range map[string]string{
		`{"url":"https://a.example"}`:                                                            "CONFIG_NAME_REQUIRED",
		`{"profile_name":"a"}`:                                                                   "CONFIG_URL_REQUIRED",
		`{"profile_name":"a","url":"nowhere"}`:                                                   "CONFIG_URL_INVALID",
		`{"profile_name":7,"url":"https://a.example"}`:                                           "CONFIG_NAME_INVALID",
		`{"profile_name":"a","url":"https://a","is_multi_user":"no"}`:                            "FLAGS_INVALID",
		`{"profile_name":"a","url":"https://a","is_supervised":false,"is_mdm_removable":false}`:  "FLAGS_INVALID",
		`{"profile_name":"a","url":"https://a","department":"` + strings.Repeat("x", 126) + `"}`: "DEPARTMENT_INVALID",
	} {
		w.refused(t, "POST", "/profile", body, 400, code)
	}
}

func TestDevicesAreLockedAndDisowned(t *testing.T) {
	w := loggedIn(t)
	serials := w.buy(t, "iphone", 2)
	key := strings.Repeat("ab", 32)
	lock := map[string]any{"device": serials[0], "escrow_key": key, "lost_message": "call us"}
	for _, want := range []string{"SUCCESS", "DEVICE_ALREADY_LOCKED"} {
		if got := w.must(t, "POST", "/device/activationlock", lock); got["response_status"] != want || got["serial_number"] != serials[0] {
			t.Fatalf("%v, want %s", got, want)
		}
	}
	if s, _ := w.Device(serials[0]); !s.ActivationLocked || s.EscrowKey != key || s.LostMessage != "call us" {
		t.Fatalf("%+v", s)
	}
	w.refused(t, "POST", "/device/activationlock", `{"device":"`+serials[1]+`","escrow_key":"abcd"}`, 400, "MALFORMED_REQUEST_BODY")
	out := w.must(t, "POST", "/devices/disown", map[string]any{"devices": []string{serials[1], "UNKNOWN"}})["devices"].(map[string]any)
	if out[serials[1]] != "SUCCESS" || out["UNKNOWN"] != "NOT_ACCESSIBLE" {
		t.Fatalf("%v", out)
	}
	if err := w.Assign("", serials[1]); err == nil {
		t.Fatal("a disowned device came back")
	}
}

func TestThePortalMovesDevices(t *testing.T) {
	w := loggedIn(t)
	serials := w.buy(t, "ipad", 2)
	w.must(t, "POST", "/profile/devices", map[string]any{"profile_uuid": w.profile(t), "devices": serials})
	cursor, _ := w.all(t)
	other, _, err := w.CreateServer("Other", keyPair().cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Assign(other, serials[0]); err != nil {
		t.Fatal(err)
	}
	if s, _ := w.Device(serials[0]); s.Server != other || s.ProfileUUID != "" {
		t.Fatalf("%+v", s)
	}
	if err := w.Release(serials[1]); err != nil {
		t.Fatal(err)
	}
	_, _, ops := w.list(t, "/devices/sync", cursor, 100)
	if len(ops) != 2 || ops[0]["op_type"] != "deleted" || ops[1]["op_type"] != "deleted" || ops[0]["profile_uuid"] != nil {
		t.Fatalf("%v", ops)
	}
	if err := w.Assign(w.uuid, serials[0]); err != nil {
		t.Fatal(err)
	}
	if _, devices := w.all(t); len(devices) != 1 || devices[0]["serial_number"] != serials[0] {
		t.Fatalf("%v", devices)
	}
	servers := w.Servers()
	if len(servers) != 2 || servers[0].Devices != 1 || servers[1].Devices != 0 {
		t.Fatalf("%+v", servers)
	}
}

func TestEnrollmentFaultsHappenAsPlanned(t *testing.T) {
	w := loggedIn(t)
	serials := w.buy(t, "ipad", 5)
	profile := w.profile(t)
	assign := map[string]any{"profile_uuid": profile, "devices": serials}
	results := func(out map[string]any) map[any]int {
		n := map[any]int{}
		for _, v := range out["devices"].(map[string]any) {
			n[v]++
		}
		return n
	}
	t.Run("throttled", func(t *testing.T) {
		w.Throttle(2, time.Minute)
		out := w.must(t, "POST", "/profile/devices", assign)
		if n := results(out); n["THROTTLED"] != 2 || n["SUCCESS"] != 3 || out["retry_after_seconds"] != 60.0 {
			t.Fatalf("%v", out)
		}
		if out = w.must(t, "POST", "/profile/devices", assign); results(out)["SUCCESS"] != 5 || out["retry_after_seconds"] != nil {
			t.Fatalf("%v", out)
		}
	})
	t.Run("failed, and throttled for an old server", func(t *testing.T) {
		w.version = "8"
		defer func() { w.version = "10" }()
		w.FailAssignments(1)
		w.Throttle(1, time.Minute)
		if out := w.must(t, "POST", "/profile/devices", assign); results(out)["FAILED"] != 2 || out["retry_after_seconds"] != nil {
			t.Fatalf("%v", out)
		}
	})
	t.Run("the same cursor again", func(t *testing.T) {
		cursor, _ := w.all(t)
		w.RepeatCursor(1)
		if next, more, _ := w.list(t, "/devices/sync", cursor, 10); next != cursor || !more {
			t.Fatal("the cursor moved")
		}
		if next, more, _ := w.list(t, "/devices/sync", cursor, 10); next == cursor || more {
			t.Fatal("the cursor stays")
		}
	})
	t.Run("a cursor error without a cursor", func(t *testing.T) {
		w.FailCursors("EXPIRED_CURSOR", 1)
		w.refused(t, "POST", "/server/devices", `{}`, 400, "EXPIRED_CURSOR")
		w.must(t, "POST", "/server/devices", map[string]any{})
	})
	t.Run("devices twice in a page", func(t *testing.T) {
		w.ListTwice(2)
		if _, devices := w.all(t); len(devices) != 7 || devices[5]["serial_number"] != serials[0] {
			t.Fatalf("%d devices", len(devices))
		}
	})
	t.Run("devices again on a later page, as they were", func(t *testing.T) {
		cursor, _ := w.all(t)
		if err := w.Modify("old", serials[0]); err != nil {
			t.Fatal(err)
		}
		w.ListLater(1)
		cursor, _, _ = w.list(t, "/devices/sync", cursor, 10)
		w.pass(time.Second)
		if err := w.Modify("new", serials[0]); err != nil {
			t.Fatal(err)
		}
		cursor, _, ops := w.list(t, "/devices/sync", cursor, 10)
		if len(ops) != 2 || ops[0]["asset_tag"] != "new" || ops[1]["asset_tag"] != "old" || ops[0]["op_date"].(string) <= ops[1]["op_date"].(string) {
			t.Fatalf("%v", ops)
		}
		if _, _, ops = w.list(t, "/devices/sync", cursor, 10); len(ops) != 0 {
			t.Fatalf("for ever: %v", ops)
		}
	})
	t.Run("fields of the future", func(t *testing.T) {
		w.Surprise(true)
		defer w.Surprise(false)
		out := w.must(t, "POST", "/server/devices", map[string]any{})
		if out["simulated_future_field"] == nil || out["devices"].([]any)[0].(map[string]any)["simulated_future_field"] == nil {
			t.Fatalf("%v", out)
		}
	})
	t.Run("half an answer", func(t *testing.T) {
		w.Fail(appleserver.EnrollmentFault{Path: "/account", Truncate: true}, 1)
		if resp, text := w.send(t, "GET", "/account", "", nil); resp.StatusCode != 200 || json.Valid([]byte(text)) {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
		w.must(t, "GET", "/account", nil)
	})
	t.Run("an outage of one path", func(t *testing.T) {
		w.Fail(appleserver.EnrollmentFault{Path: "/account", Status: 500}, -1)
		for range 2 {
			w.refused(t, "GET", "/account", "", 500, "Internal Server Error")
		}
		w.must(t, "POST", "/server/devices", map[string]any{})
		w.Fail(appleserver.EnrollmentFault{Path: "/account"}, 0)
		w.must(t, "GET", "/account", nil)
	})
	t.Run("slowness", func(t *testing.T) {
		const delay = 50 * time.Millisecond
		w.Fail(appleserver.EnrollmentFault{Delay: delay}, 1)
		start := time.Now()
		w.must(t, "GET", "/account", nil)
		if time.Since(start) < delay {
			t.Fatal("the answer was quick")
		}
	})
	if n := w.Calls("GET /account"); n != 6 {
		t.Fatalf("%d calls of /account", n)
	}
}

func TestAnotherProcessBuys(t *testing.T) {
	var told []string
	e, err := appleserver.StartEnrollment(t.Context(), appleserver.EnrollmentOptions{
		Devices: deviceCA(), OnBuy: func(server string, bought []appleserver.Bought) {
			for _, b := range bought {
				told = append(told, server+" "+b.Serial)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	a := appleserver.EnrollmentAdmin{URL: e.AdminURL()}
	id, p7m, err := a.CreateServer(t.Context(), "Muster", keyPair().cert)
	if err != nil {
		t.Fatal(err)
	}
	decrypt(t, p7m)
	bought, err := a.Buy(t.Context(), id, "ipad", 3)
	if err != nil || len(bought) != 3 || bought[0].Family != "iPad" || len(bought[0].Serial) != 12 {
		t.Fatalf("%+v, %v", bought, err)
	}
	if len(told) != 3 || told[2] != id+" "+bought[2].Serial {
		t.Fatalf("told of %q", told)
	}
	if err := a.Unassign(t.Context(), bought[0].Serial); err != nil {
		t.Fatal(err)
	}
	if err := a.Modify(t.Context(), "desk", bought[1].Serial); err != nil {
		t.Fatal(err)
	}
	state, err := a.Device(t.Context(), bought[1].Serial)
	if err != nil || state.AssetTag != "desk" || state.Server != id {
		t.Fatalf("%+v, %v", state, err)
	}
	servers, err := a.Servers(t.Context())
	if err != nil || len(servers) != 1 || servers[0].Devices != 2 {
		t.Fatalf("%+v, %v", servers, err)
	}
	for name, err := range map[string]error{
		"no such server": a.Assign(t.Context(), "nobody", bought[0].Serial),
		"no such device": a.Assign(t.Context(), id, "nobody"),
	} {
		if err == nil || !strings.Contains(err.Error(), "no such") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.Buy(t.Context(), id, "newton", 1); err == nil {
		t.Error("a Newton was sold")
	}
	resp, err := http.Post(e.AdminURL()+"/sim/sign-terms", "text/plain", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("a plain form was obeyed: %d", resp.StatusCode)
	}
}

func TestTheDeviceAuthorityIssuesThoughExpired(t *testing.T) {
	for name, o := range map[string]appleserver.DeviceAuthorityOptions{
		"expired, SHA-256": {}, "expired, SHA-1": {SHA1: true}, "valid": {Valid: true},
	} {
		t.Run(name, func(t *testing.T) {
			ca, err := appleserver.NewDeviceAuthority(o)
			if err != nil {
				t.Fatal(err)
			}
			if expired := time.Now().After(ca.Certificate().NotAfter); expired == o.Valid {
				t.Fatalf("the authority's certificate ends %v", ca.Certificate().NotAfter)
			}
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := ca.Issue("00008110-00", key.Public())
			if err != nil {
				t.Fatal(err)
			}
			if leaf.Subject.CommonName != "00008110-00" || !bytes.Equal(leaf.RawIssuer, ca.Certificate().RawSubject) || time.Now().After(leaf.NotAfter) {
				t.Fatalf("%+v", leaf.Subject)
			}
			want := x509.SHA256WithRSA
			if o.SHA1 {
				want = x509.SHA1WithRSA
			}
			if leaf.SignatureAlgorithm != want {
				t.Fatalf("signed with %v", leaf.SignatureAlgorithm)
			}
			if !o.SHA1 && leaf.CheckSignatureFrom(ca.Certificate()) != nil {
				t.Fatal("the signature does not verify")
			}
		})
	}
}

func TestOperationsOfTheLastSevenDaysAreKept(t *testing.T) {
	w := loggedIn(t)
	serial := w.buy(t, "ipad", 1)[0]
	modify := func(n int) {
		t.Helper()
		for i := range n {
			if err := w.Modify(fmt.Sprint(i), serial); err != nil {
				t.Fatal(err)
			}
		}
	}
	modify(50)
	w.pass(4 * 24 * time.Hour)
	w.login(t)
	cursor, _ := w.all(t)
	modify(30)
	w.pass(4 * 24 * time.Hour)
	modify(10)
	w.login(t)
	if _, _, ops := w.list(t, "/devices/sync", cursor, 1000); len(ops) != 40 {
		t.Fatalf("%d operations since the cursor, want 40", len(ops))
	}
}

func TestBuyingIsForAllOrForNone(t *testing.T) {
	w := loggedIn(t)
	known := w.buy(t, "ipad", 1)[0]
	if err := w.Add("", appleserver.Bought{Serial: "NEW000000001"}, appleserver.Bought{Serial: known}); err == nil {
		t.Fatal("a serial number was sold twice")
	}
	if _, err := w.Device("NEW000000001"); err == nil {
		t.Fatal("half of a purchase was made")
	}
}

func TestAHundredThousandDevicesAreServed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	w := loggedIn(t)
	const n = 100_000
	w.buy(t, "ipad", n)
	cursor := ""
	for listed, more := 0, true; more; {
		var page []map[string]any
		cursor, more, page = w.list(t, "/server/devices", cursor, 1000)
		listed += len(page)
		if !more && listed != n {
			t.Fatalf("%d devices", listed)
		}
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	// With what the test binary holds besides.
	const mostBytes = 150 << 20
	if m.HeapAlloc > mostBytes {
		t.Fatalf("%d MB for %d devices", m.HeapAlloc>>20, n)
	}
	t.Logf("%d MB for %d devices", m.HeapAlloc>>20, n)
}

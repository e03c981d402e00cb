package applenet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-mdm/muster/internal/fleet"
)

var depNow = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

var depCreds = fleet.DEPCredentials{ConsumerKey: "CK_1", ConsumerSecret: "CS_secret+/=", AccessToken: "AT_1", AccessSecret: "AS_secret&%", Expiry: depNow.AddDate(1, 0, 0)}

// depKeys holds the credentials of tokens.
type depKeys struct {
	mu      sync.Mutex
	creds   fleet.DEPCredentials
	version int64
}

func (k *depKeys) DEPCredentials(context.Context, fleet.ServerTokenID) (fleet.DEPCredentials, int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.creds, k.version, nil
}

// depStand is a small stand-in for Apple's service: it checks what every
// request must have, opens sessions, and answers what the test says.
type depStand struct {
	*DEP
	t    *testing.T
	keys *depKeys

	mu       sync.Mutex
	valid    string // the session value that is taken now
	sessions int
	nonces   map[string]bool
	requests []string // method, path and body
	answer   func(w http.ResponseWriter, r *http.Request, body string)
	opening  func(w http.ResponseWriter) bool
	roll     bool
}

func newDEPStand(t *testing.T) *depStand {
	s := &depStand{t: t, nonces: map[string]bool{}, keys: &depKeys{creds: depCreds, version: 1}}
	server := httptest.NewServer(s)
	s.DEP = NewDEP(server.URL+"/", nil, "Muster/test", s.keys, func() time.Time { return depNow })
	t.Cleanup(func() { s.DEP.Close(); server.Close() })
	return s
}

func (s *depStand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.UserAgent() != "Muster/test" || r.Header.Get("X-Server-Protocol-Version") != "10" || r.Header.Get("Content-Type") != "application/json;charset=UTF8" {
		http.Error(w, "USER_AGENT_MISSING", http.StatusBadRequest)
		return
	}
	if r.URL.Path == "/session" {
		s.open(w, r)
		return
	}
	raw, _ := io.ReadAll(r.Body)
	if r.Header.Get("Authorization") != "" {
		s.t.Error("the OAuth header goes with calls that have a session")
	}
	if r.Header.Get("X-ADM-Auth-Session") != s.valid || s.valid == "" {
		s.requests = append(s.requests, "stale "+r.URL.Path)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if s.roll {
		s.valid += "+"
		w.Header().Set("X-ADM-Auth-Session", s.valid)
	}
	s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(raw)))
	s.answer(w, r, string(raw))
}

// open checks the OAuth header by its own reading of RFC 5849.
func (s *depStand) open(w http.ResponseWriter, r *http.Request) {
	s.sessions++
	if s.opening != nil && s.opening(w) {
		return
	}
	header, ok := strings.CutPrefix(r.Header.Get("Authorization"), `OAuth realm="ADM", `)
	if !ok || r.Method != http.MethodGet {
		s.t.Errorf("%s, header %q", r.Method, header)
	}
	got := map[string]string{}
	for _, part := range strings.Split(header, ", ") {
		name, value, _ := strings.Cut(part, "=")
		got[name], _ = url.PathUnescape(strings.Trim(value, `"`))
	}
	base := fmt.Sprintf("GET&http%%3A%%2F%%2F%s%%2Fsession&oauth_consumer_key%%3DCK_1%%26oauth_nonce%%3D%s%%26oauth_signature_method%%3DHMAC-SHA1%%26oauth_timestamp%%3D%d%%26oauth_token%%3D%s%%26oauth_version%%3D1.0",
		strings.ReplaceAll(r.Host, ":", "%3A"), got["oauth_nonce"], depNow.Unix(), got["oauth_token"])
	want := hmacSHA1("CS_secret%2B%2F%3D&AS_secret%26%25", base)
	if got["oauth_signature"] != want || s.nonces[got["oauth_nonce"]] || len(got["oauth_nonce"]) < 16 {
		http.Error(w, "oauth_problem_adviser signature_invalid", http.StatusUnauthorized)
		return
	}
	s.nonces[got["oauth_nonce"]] = true
	s.valid = fmt.Sprint("session-", s.sessions)
	fmt.Fprintf(w, `{"auth_session_token":%q}`, s.valid)
}

// text answers the same to every call.
func (s *depStand) text(status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func depError(t *testing.T, err error) *fleet.DEPError {
	t.Helper()
	var e *fleet.DEPError
	if !errors.As(err, &e) {
		t.Fatalf("%v is no error of the service", err)
	}
	for _, secret := range []string{"CS_secret", "AS_secret", "session-"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
	return e
}

// The example of OAuth Core 1.0a, appendix A.5.
func TestASignatureIsThatOfTheSpecification(t *testing.T) {
	c := fleet.DEPCredentials{ConsumerSecret: "kd94hf93k423kf44", AccessSecret: "pfkkdhi9sl3r4s00"}
	got := signature(c, "GET", "http://photos.example.net/photos", [][2]string{{"oauth_consumer_key", "dpf43f3p2l4k3l03"}, {"oauth_token", "nnch734d00sl2jdk"},
		{"oauth_signature_method", "HMAC-SHA1"}, {"oauth_timestamp", "1191242096"}, {"oauth_nonce", "kllo9940pd9333jh"}, {"oauth_version", "1.0"},
		{"file", "vacation.jpg"}, {"size", "original"}})
	if got != "tR3+Ty81lMeYAr/Fid0kMTYa/WM=" {
		t.Errorf("got %s", got)
	}
	if got := baseURI("HTTPS://Example.COM:443/Session"); got != "https://example.com/Session" {
		t.Errorf("got %s", got)
	}
}

func TestAnAccountIsRead(t *testing.T) {
	s := newDEPStand(t)
	s.text(200, `{"server_name":"IPS","server_uuid":"677cab70fe18418e8b0b5e6e6a1d1a3d","facilitator_id":"f@example.com","org_name":"Sample Inc","org_email":"o@example.com",
		"org_phone":"111","org_address":"12 Infinite Loop","org_id":"9","org_id_hash":"h","org_type":"org","org_version":"v2","new_field":{"a":[1]},
		"urls":[{"uri":"/server/devices","http_method":["POST"],"limit":{"default":100,"maximum":1000}},{"uri":"/account"}]}`)
	want := fleet.DEPAccount{ServerName: "IPS", ServerUUID: "677cab70fe18418e8b0b5e6e6a1d1a3d", AdminID: "f@example.com", OrgName: "Sample Inc", OrgEmail: "o@example.com",
		OrgPhone: "111", OrgAddress: "12 Infinite Loop", OrgID: "9", OrgIDHash: "h", OrgType: "org", OrgVersion: "v2",
		Limits: map[string]fleet.DEPLimit{"/server/devices": {Default: 100, Maximum: 1000}, "/account": {}}}
	for name, call := range map[string]func() (fleet.DEPAccount, error){
		"stored": func() (fleet.DEPAccount, error) { return s.Account(t.Context(), 1) },
		"tried":  func() (fleet.DEPAccount, error) { return s.Try(t.Context(), depCreds) },
	} {
		got, err := call()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestAPageOfDevicesIsRead(t *testing.T) {
	s := newDEPStand(t)
	s.text(200, `{"cursor":"c1","fetched_until":"2026-04-30T10:00:00Z","more_to_follow":true,"devices":[
		{"serial_number":"C8TJ500QF1MN","model":"IPAD","description":"IPAD WI-FI","color":"black","asset_tag":"304214","profile_status":"assigned","profile_uuid":"88fc4e378fea4021a86b2d7268fbf767",
		 "profile_assign_time":"2026-01-01T00:00:00Z","device_assigned_date":"2026-01-15T00:00:00Z","device_assigned_by":"a@example.com","os":"iPadOS","device_family":"iPad","op_type":"modified",
		 "op_date":"2026-02-01T10:00:00.123Z","imei":["35"],"wifi_mac_address":"aa","is_replacement_device":true,"brand_new":[{}]},
		{"serial_number":"ODD","profile_push_time":null,"op_date":"","mdm_migration_deadline":"soon","imei":"36"}]}`)
	want := fleet.DEPPage{Cursor: "c1", More: true, FetchedUntil: time.Date(2026, 4, 30, 10, 0, 0, 0, time.UTC), Devices: []fleet.DEPDevice{
		{Serial: "C8TJ500QF1MN", Model: "IPAD", Description: "IPAD WI-FI", Color: "black", AssetTag: "304214", ProfileStatus: "assigned", ProfileUUID: "88fc4e378fea4021a86b2d7268fbf767",
			ProfileAssignTime: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), AssignedDate: time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC), AssignedBy: "a@example.com",
			OS: "iPadOS", Family: "iPad", Op: fleet.DEPModified, OpDate: time.Date(2026, 2, 1, 10, 0, 0, 123e6, time.UTC), IMEI: []string{"35"}, WiFiMAC: "aa", Replacement: true},
		{Serial: "ODD", IMEI: []string{"36"}},
	}}
	for path, call := range map[string]func(context.Context, fleet.ServerTokenID, string, int) (fleet.DEPPage, error){"/server/devices": s.FetchDevices, "/devices/sync": s.SyncDevices} {
		got, err := call(t.Context(), 1, "c0", 5000)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if last := s.requests[len(s.requests)-1]; last != "POST "+path+` {"cursor":"c0","limit":1000}` {
			t.Errorf("asked %s", last)
		}
	}
	if _, err := s.FetchDevices(t.Context(), 1, "", 100); err != nil || s.requests[len(s.requests)-1] != `POST /server/devices {"limit":100}` {
		t.Errorf("%v, %s", err, s.requests[len(s.requests)-1])
	}
}

func TestTheOtherCallsSayWhatAppleAsksFor(t *testing.T) {
	s := newDEPStand(t)
	ctx := t.Context()
	for _, c := range []struct {
		name, answer, request string
		call                  func() (any, error)
		want                  any
	}{
		{"define", `{"profile_uuid":"P1","devices":{}}`, `POST /profile {"profile_name":"x"}`, func() (any, error) { return s.DefineProfile(ctx, 1, []byte(`{"profile_name":"x"}`)) }, "P1"},
		{"assign", `{"profile_uuid":"P1","devices":{"A":"SUCCESS","B":"NOT_ACCESSIBLE","C":"FAILED","D":"THROTTLED","E":"BLUE"},"retry_after_seconds":90}`,
			`POST /profile/devices {"profile_uuid":"P1","devices":["A","B","C","D","E"]}`,
			func() (any, error) { return s.AssignProfile(ctx, 1, "P1", []string{"A", "B", "C", "D", "E"}) },
			fleet.DEPResults{ProfileUUID: "P1", RetryAfter: 90 * time.Second, Devices: map[string]fleet.DEPResult{"A": fleet.DEPSuccess, "B": fleet.DEPNotAccessible, "C": fleet.DEPFailed, "D": fleet.DEPThrottled, "E": fleet.DEPFailed}}},
		{"unassign", `{"devices":{"A":"SUCCESS"}}`, `DELETE /profile/devices {"devices":["A"]}`, func() (any, error) { return s.UnassignProfile(ctx, 1, []string{"A"}) },
			fleet.DEPResults{Devices: map[string]fleet.DEPResult{"A": fleet.DEPSuccess}}},
		{"details", `{"devices":{"A":{"response_status":"SUCCESS","model":"IPAD"},"B":{"response_status":"NOT_ACCESSIBLE"}}}`, `POST /devices {"devices":["A","B"]}`,
			func() (any, error) { return s.DeviceDetails(ctx, 1, []string{"A", "B"}) }, map[string]fleet.DEPDevice{"A": {Serial: "A", Model: "IPAD"}}},
		{"activation lock", `{"serial_number":"A","response_status":"SUCCESS"}`, `POST /device/activationlock {"device":"A","escrow_key":"e0","lost_message":"hi"}`,
			func() (any, error) { return s.ActivationLock(ctx, 1, "A", "e0", "hi") }, fleet.DEPSuccess},
	} {
		s.text(200, c.answer)
		got, err := c.call()
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
		if last := s.requests[len(s.requests)-1]; last != c.request {
			t.Errorf("%s asked %s", c.name, last)
		}
	}
	if s.sessions != 1 {
		t.Errorf("%d sessions", s.sessions)
	}
	for _, n := range []int{0, MaxDEPDevices + 1} {
		if _, err := s.AssignProfile(ctx, 1, "P1", make([]string, n)); err == nil {
			t.Errorf("%d devices went out in one call", n)
		}
	}
}

func TestASessionIsRenewedOnce(t *testing.T) {
	for name, refuse := range map[string]struct {
		status int
		body   string
	}{"401": {401, ""}, "403 FORBIDDEN": {403, `"FORBIDDEN"`}} {
		t.Run(name, func(t *testing.T) {
			s := newDEPStand(t)
			refused := 0
			s.answer = func(w http.ResponseWriter, _ *http.Request, _ string) {
				if s.valid == "session-1" {
					refused++
					w.WriteHeader(refuse.status)
					_, _ = io.WriteString(w, refuse.body)
					return
				}
				_, _ = io.WriteString(w, `{"profile_uuid":"P1"}`)
			}
			if got, err := s.DefineProfile(t.Context(), 1, []byte(`{}`)); err != nil || got != "P1" || s.sessions != 2 || refused != 1 {
				t.Errorf("%s, %v, %d sessions, %d refused", got, err, s.sessions, refused)
			}
			s.text(refuse.status, refuse.body)
			_, err := s.DefineProfile(t.Context(), 1, []byte(`{}`))
			if e := depError(t, err); e.Kind != fleet.DEPTokenRejected || s.sessions != 3 {
				t.Errorf("%+v, %d sessions", e, s.sessions)
			}
		})
	}
}

func TestARolledSessionIsUsedNext(t *testing.T) {
	s := newDEPStand(t)
	s.roll = true
	s.text(200, `{"profile_uuid":"P1"}`)
	for range 3 {
		if _, err := s.DefineProfile(t.Context(), 1, []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	if s.sessions != 1 || s.valid != "session-1+++" {
		t.Errorf("%d sessions, the last is %s", s.sessions, s.valid)
	}
}

func TestANewTokenGetsANewSession(t *testing.T) {
	s := newDEPStand(t)
	s.text(200, `{"profile_uuid":"P1"}`)
	for _, version := range []int64{1, 1, 2, 2} {
		s.keys.version = version
		if _, err := s.DefineProfile(t.Context(), 1, []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	if s.sessions != 2 {
		t.Errorf("%d sessions", s.sessions)
	}
}

func TestCallsAtTheSameTimeOpenOneSession(t *testing.T) {
	s := newDEPStand(t)
	s.text(200, `{"profile_uuid":"P1"}`)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := s.DefineProfile(t.Context(), 1, []byte(`{}`)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s.sessions != 1 {
		t.Errorf("%d sessions", s.sessions)
	}
}

func TestEachErrorOfTheServiceIsUnderstood(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		header string
		want   fleet.DEPError
	}{
		{"terms", 403, `"T_C_NOT_SIGNED"`, "", fleet.DEPError{Kind: fleet.DEPTerms, Code: "T_C_NOT_SIGNED"}},
		{"access", 403, `ACCESS_DENIED`, "", fleet.DEPError{Kind: fleet.DEPTokenRejected, Code: "ACCESS_DENIED"}},
		{"expired", 401, `oauth_problem=token_expired`, "", fleet.DEPError{Kind: fleet.DEPTokenExpired, Code: "oauth_problem=token_expired"}},
		{"exhausted", 400, `"EXHAUSTED_CURSOR"`, "", fleet.DEPError{Kind: fleet.DEPCursorExhausted, Code: "EXHAUSTED_CURSOR"}},
		{"expired cursor", 400, `EXPIRED_CURSOR`, "", fleet.DEPError{Kind: fleet.DEPCursorExpired, Code: "EXPIRED_CURSOR"}},
		{"invalid cursor", 400, `{"code":"INVALID_CURSOR","message":"m"}`, "", fleet.DEPError{Kind: fleet.DEPCursorInvalid, Code: "INVALID_CURSOR"}},
		{"required cursor", 400, "CURSOR_REQUIRED\n", "", fleet.DEPError{Kind: fleet.DEPCursorRequired, Code: "CURSOR_REQUIRED"}},
		{"throttled", 429, ``, "120", fleet.DEPError{Kind: fleet.DEPTooMany, RetryAfter: 2 * time.Minute}},
		{"throttled until", 429, ``, "Fri, 01 May 2026 12:05:00 GMT", fleet.DEPError{Kind: fleet.DEPTooMany, RetryAfter: 5 * time.Minute}},
		{"throttled for ever", 429, ``, "999999999", fleet.DEPError{Kind: fleet.DEPTooMany, RetryAfter: 24 * time.Hour}},
		{"away", 503, `<html>`, "10", fleet.DEPError{Kind: fleet.DEPTemporary, Code: "<html>", RetryAfter: 10 * time.Second}},
		{"broken", 500, ``, "x", fleet.DEPError{Kind: fleet.DEPTemporary}},
		{"refused", 400, `PROFILE_NAME_REQUIRED`, "", fleet.DEPError{Kind: fleet.DEPRefused, Code: "PROFILE_NAME_REQUIRED"}},
		{"moved", 302, ``, "", fleet.DEPError{Kind: fleet.DEPRefused}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Status = c.status
			answer := func(w http.ResponseWriter) {
				w.Header().Set("Retry-After", c.header)
				w.Header().Set("Location", "/session")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}
			s := newDEPStand(t)
			s.answer = func(w http.ResponseWriter, _ *http.Request, _ string) { answer(w) }
			_, err := s.SyncDevices(t.Context(), 1, "c", 100)
			if e := depError(t, err); !reflect.DeepEqual(*e, c.want) {
				t.Errorf("%+v, want %+v", *e, c.want)
			}
			if c.status != 401 && s.sessions != 1 {
				t.Errorf("%d sessions", s.sessions)
			}
			s.valid, s.opening = "gone", func(w http.ResponseWriter) bool { answer(w); return true }
			_, err = s.SyncDevices(t.Context(), 1, "c", 100)
			if e := depError(t, err); e.Kind != c.want.Kind {
				t.Errorf("when opening a session: %+v", *e)
			}
		})
	}
}

func TestAnAnswerThatCannotBeReadIsNoAnswer(t *testing.T) {
	s := newDEPStand(t)
	page := func() error { _, err := s.FetchDevices(t.Context(), 1, "", 100); return err }
	define := func() error { _, err := s.DefineProfile(t.Context(), 1, []byte(`{}`)); return err }
	assign := func() error { _, err := s.AssignProfile(t.Context(), 1, "P", []string{"A"}); return err }
	account := func() error { _, err := s.Account(t.Context(), 1); return err }
	details := func() error { _, err := s.DeviceDetails(t.Context(), 1, []string{"A"}); return err }
	for _, c := range []struct {
		name, body string
		call       func() error
	}{
		{"a cut page", `{"cursor":"c","more_to_follow":false,"devices":[{"serial_number":"A"}`, page},
		{"no more_to_follow", `{"cursor":"c","devices":[]}`, page},
		{"no cursor", `{"more_to_follow":false,"devices":[]}`, page},
		{"a device without serial", `{"cursor":"c","more_to_follow":false,"devices":[{"model":"A"}]}`, page},
		{"a number for the cursor", `{"cursor":7,"more_to_follow":false}`, page},
		{"nothing", ``, page},
		{"HTML", `<html>`, page},
		{"no UUID", `{}`, define},
		{"no results", `{"profile_uuid":"P"}`, assign},
		{"no server", `{"server_name":"x"}`, account},
		{"no details", `{}`, details},
	} {
		s.text(200, c.body)
		if e := depError(t, c.call()); e.Kind != fleet.DEPTemporary {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
	s.answer = func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"cursor":"c","more_to_follow":false}`)
	}
	if e := depError(t, page()); e.Kind != fleet.DEPTemporary || !strings.Contains(e.Error(), "cut off") {
		t.Errorf("a connection that ends early: %+v", e)
	}
	s.answer = func(w http.ResponseWriter, _ *http.Request, _ string) {
		_, _ = io.WriteString(w, `{"cursor":"`)
		chunk := strings.Repeat("x", 1<<20)
		for range maxDEPReply>>20 + 1 {
			_, _ = io.WriteString(w, chunk)
		}
	}
	if e := depError(t, page()); e.Kind != fleet.DEPTemporary || !strings.Contains(e.Error(), "more than") {
		t.Errorf("an answer without end: %+v", e)
	}
}

func TestAnExpiredTokenIsNotSent(t *testing.T) {
	s := newDEPStand(t)
	s.keys.creds.Expiry = depNow
	_, err := s.Account(t.Context(), 1)
	if e := depError(t, err); e.Kind != fleet.DEPTokenExpired || s.sessions != 0 {
		t.Errorf("%+v, %d sessions", e, s.sessions)
	}
}

func TestAServiceThatIsAwayIsTemporary(t *testing.T) {
	keys := &depKeys{creds: depCreds, version: 1}
	d := NewDEP("http://127.0.0.1:1", nil, "Muster/test", keys, func() time.Time { return depNow })
	defer d.Close()
	_, err := d.Account(t.Context(), 1)
	if e := depError(t, err); e.Kind != fleet.DEPTemporary || e.Status != 0 {
		t.Errorf("%+v", e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Account(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func FuzzDEPPage(f *testing.F) {
	f.Add([]byte(`{"cursor":"c","more_to_follow":false,"devices":[{"serial_number":"A","imei":"1","op_date":7}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decodePage(body)
		if err == nil && (p.Cursor == "" || !json.Valid(body)) {
			t.Error("a page that does not say how to go on")
		}
		for _, d := range p.Devices {
			if d.Serial == "" {
				t.Error("a device without serial")
			}
		}
	})
}

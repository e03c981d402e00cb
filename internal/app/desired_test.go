package app_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/codec/scepmsg"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/appleserver"
	"github.com/muster-mdm/muster/sim/scenario"
)

// org is a server that is set up, with its Macs.
type org struct {
	*running
	t    *testing.T
	api  *client.Client
	auth string
	dir  string
	macs []*appledev.Device
}

const patience = 60 * time.Second

func newOrg(t *testing.T, macs int) *org {
	t.Helper()
	ctx := t.Context()
	push, err := appleserver.StartPush(context.Background(), appleserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = push.Close() })
	o := &org{t: t, dir: t.TempDir()}
	root := filepath.Join(o.dir, "apns.pem")
	if err := os.WriteFile(root, push.RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config.Config{DataDir: filepath.Join(o.dir, "data")}.WithDefaults()
	c.Apple.APNSURL, c.Apple.APNSRootCAFile = push.URL(), root
	o.running = start(t, c)
	if o.api, err = client.New(client.Options{Address: o.url}); err != nil {
		t.Fatal(err)
	}
	res, err := o.api.Setup(ctx, apiv1.SetupRequest{Admin: apiv1.SetupAdmin{Email: "a@b.example", Name: "A", Password: "Test-password-1"}, ServerURL: o.url})
	if err != nil {
		t.Fatal(err)
	}
	o.auth = res.Token
	o.api.SetToken(res.Token)
	if macs > 0 {
		o.enroll(push, macs)
	}
	return o
}

func (o *org) enroll(push *appleserver.Push, macs int) {
	o.t.Helper()
	cert, key, err := push.NewPushCertificate(scenario.Topic)
	if err != nil {
		o.t.Fatal(err)
	}
	if _, err := o.api.UploadPushCertificate(o.t.Context(), client.PushUpload{Certificate: cert, PrivateKey: key}); err != nil {
		o.t.Fatal(err)
	}
	enrollment, err := o.api.CreateEnrollment(o.t.Context(), "Macs", "manual")
	if err != nil {
		o.t.Fatal(err)
	}
	devices := appledev.NewClient(nil, 2)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, macs)
	for _, spec := range appledev.NewSpecs(1, macs, appledev.Mix{Mac: 1}) {
		mac := appledev.New(spec, appledev.Options{Client: devices, Wakes: push, RetryAfter: 50 * time.Millisecond})
		if err := mac.Enroll(o.t.Context(), enrollment.EnrollURL); err != nil {
			o.t.Fatal(err)
		}
		o.macs = append(o.macs, mac)
		go func() { done <- mac.Run(ctx) }()
	}
	o.t.Cleanup(func() {
		stop()
		for range macs {
			<-done
		}
		devices.CloseIdleConnections()
	})
}

func (o *org) host(n int) apiv1.HostDetail {
	o.t.Helper()
	return must(o.api.HostByIdentifier(o.t.Context(), o.macs[n].Spec().Serial))(o.t)
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// until waits for what devices and jobs do.
func (o *org) until(what string, check func() bool) {
	o.t.Helper()
	for deadline := time.Now().Add(patience); !check(); {
		if time.Now().After(deadline) {
			o.t.Fatalf("still not: %s", what)
		}
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // a real server in real time
	}
}

// call sends JSON as it is and returns the status with the whole answer.
func (o *org) call(token, method, path, body string) (int, string) {
	o.t.Helper()
	return o.send(token, method, path, "application/json", []byte(body))
}

func (o *org) send(token, method, path, kind string, body []byte) (int, string) {
	o.t.Helper()
	r, err := http.NewRequestWithContext(o.t.Context(), method, o.url+"/api/latest/fleet"+path, bytes.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", kind)
	res, err := o.http.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

// form uploads a file with other fields.
func (o *org) form(method, path string, file []byte, fields ...string) (int, string) {
	o.t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	if file != nil {
		part, err := w.CreateFormFile("profile", "x.mobileconfig")
		if err != nil {
			o.t.Fatal(err)
		}
		_, _ = part.Write(file)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		_ = w.WriteField(fields[i], fields[i+1])
	}
	_ = w.Close()
	return o.send(o.auth, method, path, w.FormDataContentType(), buf.Bytes())
}

// program makes an API-only user and returns its token.
func (o *org) program(role string) string {
	o.t.Helper()
	out := must(o.api.CreateUser(o.t.Context(), apiv1.CreateUserRequest{Name: role, Email: role + "@b.example", GlobalRole: role, APIOnly: true}))(o.t)
	return *out.Token
}

// wifi is a profile with a payload of a type, and more keys in it.
func wifi(identifier, name, payloadType, more string) []byte {
	return []byte(fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict><key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>%[1]s</string><key>PayloadUUID</key><string>%[1]s-uuid</string><key>PayloadDisplayName</key><string>%[2]s</string>
<key>PayloadContent</key><array><dict><key>PayloadType</key><string>%[3]s</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>%[1]s.1</string><key>PayloadUUID</key><string>%[1]s-1</string>%[4]s</dict></array></dict></plist>`,
		identifier, name, payloadType, more))
}

func simple(n int) []byte {
	return wifi(fmt.Sprintf("com.example.p%d", n), fmt.Sprintf("Profile %d", n), "com.apple.dock", "<key>tilesize</key><integer>48</integer>")
}

func (o *org) names(team int64) []string {
	o.t.Helper()
	names := []string{}
	for _, p := range must(o.api.Profiles(o.t.Context(), team))(o.t) {
		names = append(names, p.Name)
	}
	return names
}

func TestABadProfileIsRefusedWithTheReasonAndNothingLands(t *testing.T) {
	o := newOrg(t, 0)
	if status, body := o.form("POST", "/configuration_profiles", simple(1)); status != http.StatusOK || !strings.Contains(body, `"profile_uuid":"a`) {
		t.Fatalf("a good one: %d %s", status, body)
	}
	for _, tt := range []struct {
		name   string
		file   []byte
		fields []string
		status int
		words  string
	}{
		{"the same identifier again", wifi("com.example.p1", "Other", "com.apple.dock", ""), nil, 409, "has the same identifier"},
		{"the same name again", wifi("com.example.other", "Profile 1", "com.apple.dock", ""), nil, 409, "has the same name"},
		{"no file", nil, nil, 400, "the form's field profile"},
		{"an empty file", []byte{}, nil, 400, "empty"},
		{"no property list", []byte("hello"), nil, 400, "not a configuration profile"},
		{"half a property list", simple(2)[:300], nil, 400, "not a configuration profile"},
		{"a binary property list", []byte("bplist00\x00"), nil, 400, "plutil -convert xml1"},
		{"a broken signature", []byte{0x30, 0x82, 0x01, 0x00, 1, 2, 3}, nil, 400, "signature cannot be read"},
		{"a profile over the limit", wifi("com.example.big", "Big", "com.apple.dock", "<key>x</key><string>"+strings.Repeat("y", 1<<20)+"</string>"), nil, 400, "at most 1048576"},
		{"an upload over the limit", bytes.Repeat([]byte("y"), 3<<20), nil, 413, "larger than"},
		{"a reserved identifier", wifi("com.fleetdm.fleetd.config", "X", "com.apple.dock", ""), nil, 400, "reserved"},
		{"one of Muster's own", wifi("com.muster-mdm.ca", "X", "com.apple.dock", ""), nil, 400, "reserved"},
		{"an MDM payload", wifi("com.example.mdm", "X", "com.apple.mdm", ""), nil, 400, "com.apple.mdm is not taken"},
		{"a secret that is not set", wifi("com.example.s", "S", "com.apple.wifi.managed", "<key>Password</key><string>$FLEET_SECRET_WIFI</string>"), nil, 400, "FLEET_SECRET_WIFI is not set"},
		{"an unknown variable", wifi("com.example.v", "V", "com.apple.dock", "<key>x</key><string>$FLEET_VAR_NOTHING</string>"), nil, 400, "FLEET_VAR_NOTHING"},
		{"an unknown label", simple(2), []string{"labels_include_any", "Nowhere"}, 400, `no label named`},
		{"two ways of including", simple(2), []string{"labels_include_any", "macOS", "labels_include_all", "iOS"}, 400, "not both"},
		{"an unknown field", simple(2), []string{"label_include_any", "macOS"}, 422, "did you mean labels_include_any?"},
		{"an unknown team", simple(2), []string{"team_id", "99"}, 404, "no team 99"},
		{"a team that is no number", simple(2), []string{"team_id", "Sales"}, 400, "team_id"},
		{"two teams", simple(2), []string{"team_id", "1", "fleet_id", "2"}, 422, "another name"},
		{"rings that shrink", simple(2), []string{"rollout", `{"rings":[{"percent":50},{"percent":5}]}`}, 400, "grow"},
		{"a misspelled ring", simple(2), []string{"rollout", `{"rings":[{"percent":5,"soaks":"1h"}]}`}, 422, "did you mean soak?"},
		{"a soak time in words", simple(2), []string{"rollout", `{"rings":[{"percent":5,"soak":"a day"}]}`}, 400, "24h or 3d"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body := o.form("POST", "/configuration_profiles", tt.file, tt.fields...)
			if status != tt.status || !strings.Contains(body, tt.words) {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
	if got := o.names(0); !slices.Equal(got, []string{"Profile 1"}) {
		t.Errorf("there are %v", got)
	}
}

func TestASignedProfileIsReadAndItsContentKept(t *testing.T) {
	o := newOrg(t, 0)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := scepmsg.SelfSigned(key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := cms.Sign(simple(1), cert, nil, key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := o.api.CreateProfile(t.Context(), client.ProfileUpload{FileName: "signed.mobileconfig", Content: signed})
	if err != nil || len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "signature") {
		t.Fatalf("%+v %v", out, err)
	}
	if got := must(o.api.ProfileContent(t.Context(), out.ProfileUUID))(t); !bytes.Equal(got, simple(1)) {
		t.Errorf("content:\n%s", got)
	}
	// Bytes stay as they are: what is hashed is what is delivered.
	plain := wifi("com.example.odd", "Odd   Name", "com.apple.dock", "<!-- kept --><key>x</key><string>&#228;</string>")
	out = must(o.api.CreateProfile(t.Context(), client.ProfileUpload{FileName: "odd.mobileconfig", Content: plain}))(t)
	if got := must(o.api.ProfileContent(t.Context(), out.ProfileUUID))(t); !bytes.Equal(got, plain) {
		t.Errorf("content:\n%s", got)
	}
	id := must(o.api.Profile(t.Context(), out.ProfileUUID))(t).ProfileID
	if status, body := o.call(o.auth, "GET", fmt.Sprintf("/mdm/apple/profiles/%d", id), ""); status != 200 || body != string(plain) {
		t.Errorf("by number: %d %s", status, body)
	}
	if status, _ := o.call(o.auth, "DELETE", fmt.Sprintf("/mdm/apple/profiles/%d", id), ""); status != 200 || len(o.names(0)) != 1 {
		t.Errorf("deleting by number: %d, left %v", status, o.names(0))
	}
}

func batch(files ...[]byte) []apiv1.ProfileBatchItem {
	items := []apiv1.ProfileBatchItem{}
	for _, f := range files {
		items = append(items, apiv1.ProfileBatchItem{Profile: base64.StdEncoding.EncodeToString(f)})
	}
	return items
}

func TestABatchLandsAsAWholeOrNotAtAll(t *testing.T) {
	o, ctx := newOrg(t, 0), t.Context()
	team := must(o.api.CreateTeam(ctx, apiv1.CreateTeamRequest{Name: "Sales"}))(t)
	declaration := []byte(`{"Type":"com.apple.configuration.passcode.settings","Identifier":"com.example.passcode","Payload":{"MinimumLength":8}}`)
	first := batch(simple(1), simple(2), declaration)
	first[2].DisplayName = "Passcode"
	plan := must(o.api.PlanProfiles(ctx, team.ID, first, nil))(t)
	for _, c := range plan {
		if c.Change != "add" || c.ProfileUUID != "" {
			t.Errorf("plan: %+v", c)
		}
	}
	if len(plan) != 3 || len(o.names(team.ID)) != 0 {
		t.Fatalf("a dry run: %d changes, then %v", len(plan), o.names(team.ID))
	}
	if err := o.api.SetProfiles(ctx, team.ID, first); err != nil {
		t.Fatal(err)
	}
	before := o.names(team.ID)
	if !slices.Equal(before, []string{"Passcode", "Profile 1", "Profile 2"}) {
		t.Fatalf("there are %v", before)
	}
	second := batch(simple(1), wifi("com.example.p2", "Profile 2", "com.apple.dock", "<key>tilesize</key><integer>12</integer>"), simple(3))
	second[0].LabelsExcludeAny = []string{"macOS"}
	got := map[string]string{}
	for _, c := range must(o.api.PlanProfiles(ctx, team.ID, second, nil))(t) {
		got[c.Name] = c.Change
	}
	if want := "map[Passcode:remove Profile 1:rescope Profile 2:change Profile 3:add]"; fmt.Sprint(got) != want {
		t.Errorf("plan: %v, want %s", got, want)
	}
	encoded := base64.StdEncoding.EncodeToString(simple(9))
	for name, tt := range map[string]struct {
		query, body string
		status      int
		words       string
	}{
		"two of one identifier": {"", `{"configuration_profiles":[{"profile":"` + encoded + `","display_name":"a"},{"profile":"` + encoded + `","display_name":"b"}]}`, 422, "a and b have the same identifier"},
		"one that is bad":       {"", `{"configuration_profiles":[{"profile":"` + encoded + `"},{"profile":"aGVsbG8=","display_name":"bad"}]}`, 400, "bad: "},
		"one that is no base64": {"", `{"configuration_profiles":[{"profile":"` + encoded + `"},{"profile":"###"}]}`, 400, "profile 2 is not base64"},
		"an unknown key":        {"", `{"configuration_profiles":[{"profile":"` + encoded + `","label_include_all":["x"]}]}`, 422, "did you mean labels_include_all?"},
		"an unknown label":      {"", `{"configuration_profiles":[{"profile":"` + encoded + `","labels_include_all":["x"]}]}`, 400, "no label named"},
		"an unknown team":       {"team_name=Nobody", `{"configuration_profiles":[]}`, 404, "no team named"},
		"a dry run for nobody":  {"team_id=99&dry_run=true", `{"configuration_profiles":[]}`, 404, "no team 99"},
		"assumed, and for real": {"", `{"configuration_profiles":[],"assume_secrets":["X"]}`, 400, "dry run"},
	} {
		query := tt.query
		if query == "" {
			query = fmt.Sprintf("team_id=%d", team.ID)
		}
		if status, body := o.call(o.auth, "POST", "/configuration_profiles/batch?"+query, tt.body); status != tt.status || !strings.Contains(body, tt.words) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if after := o.names(team.ID); !slices.Equal(after, before) {
		t.Errorf("there are %v, and were %v", after, before)
	}
	if status, body := o.call(o.auth, "POST", "/mdm/profiles/batch?team_name=Sales&no_cache=1&assume_enabled=true", `{"profiles":{"one":"`+encoded+`"}}`); status != 204 || body != "" {
		t.Errorf("the oldest form: %d %s", status, body)
	}
	if status, body := o.call(o.auth, "POST", "/mdm/profiles/batch?fleet_name=Sales", `{"profiles":[{"name":"one","contents":"`+encoded+`","labels":["macOS"]}]}`); status != 204 {
		t.Errorf("the older form: %d %s", status, body)
	}
	list := must(o.api.Profiles(ctx, team.ID))(t)
	if len(list) != 1 || list[0].Name != "Profile 9" || len(list[0].LabelsIncludeAll) != 1 || list[0].TeamID != team.ID {
		t.Errorf("then %+v", list)
	}
	unset := wifi("com.example.s", "S", "com.apple.wifi.managed", "<key>Password</key><string>$FLEET_SECRET_WIFI</string>")
	if _, err := o.api.PlanProfiles(ctx, 0, batch(unset), nil); client.StatusOf(err) != 400 {
		t.Errorf("a secret that is not set: %v", err)
	}
	if _, err := o.api.PlanProfiles(ctx, 0, batch(unset), []string{"FLEET_SECRET_WIFI"}); err != nil {
		t.Errorf("a secret that will be set: %v", err)
	}
}

func TestOnlyWhoMayChangesTheFleet(t *testing.T) {
	o := newOrg(t, 0)
	uuid := must(o.api.CreateProfile(t.Context(), client.ProfileUpload{FileName: "x", Content: simple(1)}))(t).ProfileUUID
	may := map[string]string{"maintainer": o.program("maintainer"), "observer": o.program("observer"), "technician": o.program("technician"), "gitops": o.program("gitops")}
	for _, tt := range []struct{ method, path, body, roles string }{
		{"GET", "/configuration_profiles", "", "maintainer observer technician gitops"},
		{"GET", "/custom_variables", "", "maintainer observer technician gitops"},
		{"GET", "/labels", "", "maintainer observer technician gitops"},
		{"GET", "/teams", "", "maintainer observer technician gitops"},
		{"GET", "/spec/enroll_secret", "", "maintainer gitops"},
		{"POST", "/configuration_profiles/batch", `{"configuration_profiles":[]}`, "maintainer gitops"},
		{"POST", "/configuration_profiles/resend/batch", `{"profile_uuid":"` + uuid + `","filters":{"profile_status":"failed"}}`, "maintainer technician"},
		{"POST", "/hosts/1/configuration_profiles/" + uuid + "/resend", "", "maintainer technician"},
		{"POST", "/hosts/1/configuration_profiles/resend/" + uuid, "", "maintainer technician"},
		{"PUT", "/spec/secret_variables", `{"secrets":[]}`, "maintainer gitops"},
		{"POST", "/spec/labels", `{"specs":[]}`, "maintainer gitops"},
		{"POST", "/spec/teams", `{"specs":[]}`, "maintainer gitops"},
		{"POST", "/hosts/transfer", `{"team_id":null,"hosts":[1]}`, "maintainer"},
		{"POST", "/hosts/delete", `{"ids":[1]}`, "maintainer"},
		// Where devices find the server: a repository may say what is so.
		{"PATCH", "/config", `{"server_settings":{"server_url":"https://elsewhere.example.com"}}`, ""},
		{"PATCH", "/config", `{"mdm":{"apple_server_url":"https://elsewhere.example.com"}}`, ""},
		{"PATCH", "/config", `{"org_info":{"org_name":"Org"},"mdm":{"apple_server_url":""}}`, "gitops"},
	} {
		for role, token := range may {
			status, body := o.call(token, tt.method, tt.path, tt.body)
			if allowed := strings.Contains(tt.roles, role); allowed == (status == http.StatusForbidden) {
				t.Errorf("%s %s as %s: %d %s", tt.method, tt.path, role, status, body)
			}
		}
	}
}

func TestTeamsAndTheirSecrets(t *testing.T) {
	o, ctx := newOrg(t, 0), t.Context()
	const secret = "hunter2-enroll"
	team := must(o.api.CreateTeam(ctx, apiv1.CreateTeamRequest{Name: "Sales", Secrets: []apiv1.EnrollSecret{{Secret: secret}}}))(t)
	if len(team.Secrets) != 1 {
		t.Errorf("created with %+v", team.Secrets)
	}
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
		words              string
	}{
		"a name twice":                 {"POST", "/teams", `{"name":"Sales"}`, 409, "exists already"},
		"a reserved name":              {"POST", "/fleets", `{"name":"no team"}`, 422, "reserved"},
		"a misspelled key":             {"POST", "/teams", `{"name":"X","descriptoin":"x"}`, 422, "did you mean description?"},
		"a key at the wrong place":     {"POST", "/spec/teams", `{"specs":[{"name":"X","macos_updates":{}}]}`, 422, "did you mean mdm.macos_updates?"},
		"a misspelled setting":         {"POST", "/spec/teams?dry_run=true", `{"specs":[{"name":"X","mdm":{"macos_update":{}}}]}`, 422, "specs[0].mdm.macos_update"},
		"half a setting":               {"POST", "/spec/teams", `{"specs":[{"name":"X","mdm":{"macos_updates":{"minimum_version":"15"}}}]}`, 422, "mdm.macos_updates.deadline"},
		"a bad spec after a good one":  {"POST", "/spec/teams", `{"specs":[{"name":"Good"},{"name":""}]}`, 422, "may not be empty"},
		"one team in two specs":        {"POST", "/spec/teams", `{"specs":[{"name":"Good"},{"name":"Good"}]}`, 422, "two specs"},
		"another team's secret":        {"POST", "/spec/teams", `{"specs":[{"name":"Good","secrets":[{"secret":"` + secret + `"}]}]}`, 409, "another team"},
		"another team's secret, alone": {"POST", "/spec/enroll_secret", `{"spec":{"secrets":[{"secret":"` + secret + `"}]}}`, 409, "another team"},
		"an empty secret":              {"PATCH", fmt.Sprintf("/teams/%d/secrets", team.ID), `{"secrets":[{"secret":" "}]}`, 422, "secret 1 is empty"},
		"secrets of nobody":            {"GET", "/teams/99/secrets", ``, 404, "no team 99"},
		"a team that is not there":     {"PATCH", "/fleets/99", `{"name":"x"}`, 404, "no team 99"},
	} {
		status, body := o.call(o.auth, tt.method, tt.path, tt.body)
		if status != tt.status || !strings.Contains(body, tt.words) || strings.Contains(body, secret) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if teams := must(o.api.Teams(ctx, ""))(t); len(teams) != 1 {
		t.Errorf("there are %+v", teams)
	}
	ids, err := o.api.ApplyTeamSpecs(ctx, []apiv1.TeamSpec{{Name: "Sales"}, {Name: "Lab"}}, true, false)
	if err != nil || ids["Sales"] != team.ID || ids["Lab"] != 0 {
		t.Errorf("a dry run: %v %v", ids, err)
	}
	if status, body := o.call(o.auth, "POST", "/spec/fleets?force=true", `{"specs":[{"name":"Lab","webhooks":{},"mdm":{"ios_updates":{"minimum_version":"18.1","deadline":"2026-12-31"}}}]}`); status != 200 {
		t.Errorf("forced: %d %s", status, body)
	}
	lab := must(o.api.Teams(ctx, "lab"))(t)[0]
	if lab.MDM.IOSUpdates.MinimumVersion == nil || *lab.MDM.IOSUpdates.MinimumVersion != "18.1" || lab.MDM.MacOSUpdates.MinimumVersion != nil {
		t.Errorf("%+v", lab.MDM)
	}
	if status, body := o.call(o.auth, "PATCH", fmt.Sprintf("/teams/%d", lab.ID), `{"description":"d","mdm":{"ios_updates":{"minimum_version":null,"deadline":null}}}`); status != 200 ||
		!strings.Contains(body, `"ios_updates":{"minimum_version":null,"deadline":null}`) || !strings.Contains(body, `"description":"d"`) {
		t.Errorf("cleared: %d %s", status, body)
	}
	if got := must(o.api.EnrollSecrets(ctx, team.ID))(t); len(got) != 1 || got[0].Secret != secret {
		t.Errorf("secrets: %+v", got)
	}
	if err := o.api.SetEnrollSecrets(ctx, 0, []string{"another-one"}); err != nil {
		t.Error(err)
	}
	if got := must(o.api.EnrollSecrets(ctx, 0))(t); len(got) != 1 || got[0].Secret != "another-one" {
		t.Errorf("without a team: %+v", got)
	}
	for _, name := range []string{"muster.db", "muster.db-wal"} {
		if data, err := os.ReadFile(filepath.Join(o.dir, "data", name)); err == nil && bytes.Contains(data, []byte(secret)) {
			t.Errorf("%s holds the secret in clear", name)
		}
	}
	files, _ := filepath.Glob(filepath.Join(o.dir, "data", "*"))
	found := 0
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		found++
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("%s holds the secret in clear", path)
		}
	}
	if found == 0 {
		t.Error("no file was looked at")
	}
	if err := o.api.DeleteTeam(ctx, team.ID); err != nil {
		t.Error(err)
	}
	if err := o.api.SetEnrollSecrets(ctx, 0, []string{secret}); err != nil {
		t.Errorf("the secret of a team that is gone: %v", err)
	}
}

func TestCustomVariablesAreNeverShown(t *testing.T) {
	o, ctx := newOrg(t, 0), t.Context()
	const value = "hunter2-variable"
	if err := o.api.SetCustomVariables(ctx, []apiv1.SetVariable{{Name: "FLEET_SECRET_WIFI", Value: value}}, true); err != nil || len(must(o.api.CustomVariables(ctx))(t)) != 0 {
		t.Errorf("a dry run: %v", err)
	}
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
		words              string
	}{
		"a new one":             {"POST", "/custom_variables", `{"name":"WIFI","value":"` + value + `"}`, 200, `"name":"WIFI"`},
		"a bad name":            {"POST", "/custom_variables", `{"name":"wifi","value":"` + value + `"}`, 422, "upper-case"},
		"no value":              {"PUT", "/spec/secret_variables", `{"secrets":[{"name":"X","value":""}]}`, 422, "must have 1"},
		"one twice":             {"PUT", "/spec/secret_variables", `{"secrets":[{"name":"X","value":"a"},{"name":"FLEET_SECRET_X","value":"b"}]}`, 422, "twice"},
		"a misspelled key":      {"PUT", "/spec/secret_variables", `{"secrets":[{"name":"X","value":"a","vaule":"b"}]}`, 422, "did you mean value?"},
		"one that is not there": {"DELETE", "/custom_variables/NOTHING", ``, 404, "no custom variable"},
	} {
		status, body := o.call(o.auth, tt.method, tt.path, tt.body)
		if status != tt.status || !strings.Contains(body, tt.words) || strings.Contains(body, value) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, body := o.call(o.auth, "POST", "/custom_variables", `{"name":"WIFI","value":"x"}`); status != 409 {
		t.Errorf("again: %d %s", status, body)
	}
	profile := wifi("com.example.wifi", "Wi-Fi", "com.apple.wifi.managed", "<key>Password</key><string>$FLEET_SECRET_WIFI</string>")
	uuid := must(o.api.CreateProfile(ctx, client.ProfileUpload{FileName: "w", Content: profile}))(t).ProfileUUID
	if got := must(o.api.ProfileContent(ctx, uuid))(t); !bytes.Equal(got, profile) {
		t.Errorf("content: %s", got)
	}
	if err := o.api.DeleteCustomVariable(ctx, "WIFI"); client.StatusOf(err) != 409 || !strings.Contains(err.Error(), "Wi-Fi") {
		t.Errorf("one in use: %v", err)
	}
	if status, body := o.call(o.auth, "GET", "/custom_variables", ""); status != 200 || strings.Contains(body, value) || !strings.Contains(body, `"count":1`) {
		t.Errorf("list: %d %s", status, body)
	}
}

func TestAProfileReachesMacsAndTheAPITellsHow(t *testing.T) {
	o := newOrg(t, 2)
	ctx := t.Context()
	team := must(o.api.CreateTeam(ctx, apiv1.CreateTeamRequest{Name: "Sales"}))(t)
	uuid := must(o.api.CreateProfile(ctx, client.ProfileUpload{FileName: "x.mobileconfig", Content: simple(1), TeamID: team.ID}))(t).ProfileUUID
	first, second := o.host(0), o.host(1)

	for name, tt := range map[string]struct {
		path, body string
		status     int
		words      string
	}{
		"without a team":          {"/hosts/transfer", fmt.Sprintf(`{"hosts":[%d]}`, first.ID), 422, "team_id"},
		"a misspelled team":       {"/hosts/transfer", fmt.Sprintf(`{"team":1,"hosts":[%d]}`, first.ID), 422, "did you mean"},
		"no hosts":                {"/hosts/transfer", fmt.Sprintf(`{"team_id":%d,"hosts":[]}`, team.ID), 422, "empty"},
		"an unknown host":         {"/hosts/transfer", fmt.Sprintf(`{"team_id":%d,"hosts":[%d,99]}`, team.ID, first.ID), 404, "99"},
		"another number":          {"/hosts/transfer", fmt.Sprintf(`{"team_id":%d,"hosts":[%d],"expected_count":2}`, team.ID, first.ID), 409, "nothing was changed"},
		"an empty filter":         {"/hosts/transfer/filter", fmt.Sprintf(`{"team_id":%d,"filters":{}}`, team.ID), 422, "every host"},
		"an unknown filter":       {"/hosts/transfer/filter", fmt.Sprintf(`{"team_id":%d,"filters":{"quary":"x"}}`, team.ID), 422, "did you mean filters.query?"},
		"another number found":    {"/hosts/transfer/filter", fmt.Sprintf(`{"team_id":%d,"filters":{"team_id":0},"expected_count":1}`, team.ID), 409, "2 match"},
		"an unknown status":       {"/hosts/transfer/filter", fmt.Sprintf(`{"team_id":%d,"filters":{"status":"asleep"}}`, team.ID), 422, "status"},
		"ids and filters":         {"/hosts/delete", `{"ids":[1],"filters":{"query":"x"}}`, 422, "not both"},
		"all hosts":               {"/hosts/delete", `{"filters":{}}`, 422, "every host"},
		"deleting another number": {"/hosts/delete", fmt.Sprintf(`{"ids":[%d],"expected_count":2}`, first.ID), 409, "nothing was deleted"},
	} {
		if status, body := o.call(o.auth, "POST", tt.path, tt.body); status != tt.status || !strings.Contains(body, tt.words) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if n := must(o.api.CountHosts(ctx, client.HostFilter{TeamID: &team.ID}))(t); n != 0 {
		t.Fatalf("%d hosts moved", n)
	}
	if err := o.api.TransferHosts(ctx, team.ID, []int64{first.ID}, 1); err != nil {
		t.Fatal(err)
	}
	if h := o.host(0); h.TeamID == nil || *h.TeamID != team.ID || h.TeamName == nil || *h.TeamName != "Sales" {
		t.Errorf("team %v", h.TeamID)
	}
	page := must(o.api.HostsPage(ctx, client.HostFilter{}, 0, 0))(t)
	for _, h := range page.Hosts {
		if (h.ID == first.ID) != (h.TeamName != nil && *h.TeamName == "Sales") {
			t.Errorf("host %d is in %v", h.ID, h.TeamName)
		}
	}

	profileOf := func(n int) apiv1.HostProfile {
		for _, p := range o.host(n).MDM.Profiles {
			if p.ProfileUUID == uuid {
				return p
			}
		}
		return apiv1.HostProfile{}
	}
	o.until("the profile is verified", func() bool { return profileOf(0).Status == "verified" })
	if p := profileOf(0); p.Platform != "darwin" || p.Scope != "device" || p.OperationType != "install" || p.Name != "Profile 1" {
		t.Errorf("on the host: %+v", p)
	}
	if p := profileOf(1); p.Status != "" {
		t.Errorf("on another team's host: %+v", p)
	}
	o.until("everything is verified", func() bool {
		return must(o.api.ProfilesSummary(ctx, team.ID))(t).Verified == 1 && must(o.api.ProfilesSummary(ctx, 0))(t).Verified == 1
	})
	for name, tt := range map[string]struct {
		filter client.HostFilter
		want   []int64
	}{
		"verified in the team":    {client.HostFilter{OSSettings: "verified", TeamID: &team.ID}, []int64{first.ID}},
		"verified without a team": {client.HostFilter{OSSettings: "verified"}, []int64{second.ID}},
		"failed in the team":      {client.HostFilter{OSSettings: "failed", TeamID: &team.ID}, nil},
		"with the profile":        {client.HostFilter{ProfileUUID: uuid}, []int64{first.ID}},
		"with the profile failed": {client.HostFilter{ProfileUUID: uuid, ProfileStatus: "failed"}, nil},
		"with the profile well":   {client.HostFilter{ProfileUUID: uuid, ProfileStatus: "verified"}, []int64{first.ID}},
		"with an unknown profile": {client.HostFilter{ProfileUUID: "a-none"}, nil},
	} {
		var got []int64
		for _, h := range must(o.api.HostsPage(ctx, tt.filter, 0, 0))(t).Hosts {
			got = append(got, h.ID)
		}
		if n := must(o.api.CountHosts(ctx, tt.filter))(t); !slices.Equal(got, tt.want) || n != len(tt.want) {
			t.Errorf("%s: %v, counted %d, want %v", name, got, n, tt.want)
		}
	}
	if c := must(o.api.ProfileStatus(ctx, uuid))(t); c != (apiv1.ProfileStatusCounts{Verified: 1}) {
		t.Errorf("status: %+v", c)
	}
	hosts := must(o.api.ProfileHosts(ctx, uuid, "verified", "", 0, 0))(t).Hosts
	if len(hosts) != 1 || hosts[0].HostID != first.ID || hosts[0].HardwareSerial != first.HardwareSerial {
		t.Errorf("hosts: %+v", hosts)
	}
	// A resend is taken in every state, by either path.
	for range 2 {
		if err := o.api.ResendProfile(ctx, first.ID, uuid); err != nil {
			t.Errorf("resend: %v", err)
		}
	}
	if status, body := o.call(o.auth, "POST", fmt.Sprintf("/hosts/%d/configuration_profiles/resend/%s", first.ID, uuid), ""); status != 202 {
		t.Errorf("the old path: %d %s", status, body)
	}
	if err := o.api.ResendProfile(ctx, second.ID, uuid); client.StatusOf(err) != 404 {
		t.Errorf("to a host that does not have it: %v", err)
	}
	if err := o.api.ResendFailedProfile(ctx, uuid, "x"); err != nil {
		t.Errorf("resend where it failed: %v", err)
	}
	if status, body := o.call(o.auth, "POST", "/configuration_profiles/resend/batch", `{"profile_uuid":"`+uuid+`","filters":{"profile_status":"pending"}}`); status != 422 {
		t.Errorf("resend where it is pending: %d %s", status, body)
	}
	o.until("it is verified again", func() bool { return profileOf(0).Status == "verified" })

	// What follows from settings is on hosts, and in no list.
	if status, body := o.call(o.auth, "PATCH", "/config", `{"mdm":{"macos_updates":{"minimum_version":"15.1","deadline":"2026-12-31"}}}`); status != 200 || !strings.Contains(body, `"minimum_version":"15.1"`) {
		t.Fatalf("config: %d %s", status, body)
	}
	own := func(host int64, identifier string) *apiv1.HostProfile {
		for _, p := range must(o.api.HostProfiles(ctx, host))(t) {
			if p.Identifier == identifier {
				return &p
			}
		}
		return nil
	}
	const updates, authority = "com.muster-mdm.updates.darwin", "com.muster-mdm.ca"
	o.until("the update is on the Mac without a team", func() bool { return own(second.ID, updates) != nil })
	if own(first.ID, updates) != nil {
		t.Error("the update of Macs without a team is on that of a team")
	}
	version, deadline := "15.2", "2026-12-31"
	if _, err := o.api.ModifyTeam(ctx, team.ID, apiv1.ModifyTeamRequest{MDM: &apiv1.TeamMDMPatch{MacOSUpdates: &apiv1.OSUpdates{MinimumVersion: &version, Deadline: &deadline}}}, false); err != nil {
		t.Fatal(err)
	}
	o.until("the team's update is on its Mac", func() bool { return own(first.ID, updates) != nil })
	if a, b := own(first.ID, updates).ProfileUUID, own(second.ID, updates).ProfileUUID; a == b {
		t.Error("both Macs have one update")
	}
	if own(first.ID, authority) == nil || own(second.ID, authority) == nil {
		t.Error("not every Mac has the certificate authority")
	}
	if names := o.names(0); len(names) != 0 {
		t.Errorf("lists hold %v", names)
	}
	if err := o.api.DeleteProfile(ctx, own(second.ID, updates).ProfileUUID); client.StatusOf(err) != 400 {
		t.Errorf("deleting it: %v", err)
	}
	if status, body := o.call(o.auth, "PATCH", "/config", `{"mdm":{"macos_updates":{"minimum_version":"15.1"}}}`); status != 422 {
		t.Errorf("half a setting: %d %s", status, body)
	}
	if status, body := o.call(o.auth, "PATCH", "/config", `{"mdm":{"macos_updatse":{}}}`); status != 422 || !strings.Contains(body, "did you mean mdm.macos_updates?") {
		t.Errorf("a misspelled setting: %d %s", status, body)
	}
	if err := o.api.DeleteTeam(ctx, team.ID); err != nil {
		t.Fatal(err)
	}
	o.until("the Mac has lost the team's profile", func() bool { h := o.host(0); return h.TeamID == nil && profileOf(0).ProfileUUID == "" })
}

func TestLabelsOfEveryKind(t *testing.T) {
	o := newOrg(t, 2)
	ctx := t.Context()
	a, b := o.host(0), o.host(1)
	lab := must(o.api.CreateLabel(ctx, apiv1.CreateLabelRequest{Name: "Lab", Hosts: []string{a.HardwareSerial}}))(t)
	if lab.Count != 1 || lab.LabelMembershipType != "manual" {
		t.Errorf("%+v", lab)
	}
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
		words              string
	}{
		"a name twice":                 {"POST", "/labels", `{"name":"Lab"}`, 409, "exists already"},
		"query and criteria":           {"POST", "/labels", `{"name":"X","query":"SELECT 1","criteria":{"vital":"platform","value":"ios"}}`, 422, "not both"},
		"an unknown vital":             {"POST", "/labels", `{"name":"X","criteria":{"vital":"mood","value":"good"}}`, 422, "os_version"},
		"an unknown operator":          {"POST", "/labels", `{"name":"X","criteria":{"vital":"platform","operator":"~","value":"ios"}}`, 422, "contains"},
		"a misspelled key":             {"POST", "/labels", `{"name":"X","critera":{}}`, 422, "did you mean criteria?"},
		"an unknown platform":          {"POST", "/labels", `{"name":"X","query":"SELECT 1","platform":"amiga"}`, 422, "darwin"},
		"an unknown host":              {"POST", "/labels", `{"name":"X","hosts":["nobody"]}`, 404, "nobody"},
		"an unknown id":                {"POST", "/labels", `{"name":"X","host_ids":[99]}`, 404, "99"},
		"hosts of a rule":              {"POST", "/labels", `{"name":"X","query":"SELECT 1","host_ids":[1]}`, 422, "of its own"},
		"changing a built-in one":      {"PATCH", "/labels/1", `{"name":"X"}`, 422, "built in"},
		"deleting a built-in one":      {"DELETE", "/labels/id/1", ``, 422, "built in"},
		"deleting none":                {"DELETE", "/labels/Nothing", ``, 404, "no label named"},
		"another rule by spec":         {"POST", "/spec/labels", `{"specs":[{"name":"Lab","query":"SELECT 1"}]}`, 422, "delete it and create it again"},
		"a forgotten query":            {"POST", "/spec/labels", `{"specs":[{"name":"X","label_membership_type":"dynamic"}]}`, 422, "have a query"},
		"a bad spec after a good one":  {"POST", "/spec/labels", `{"specs":[{"name":"Good"},{"name":""}]}`, 422, "may not be empty"},
		"one label in two specs":       {"POST", "/spec/labels", `{"specs":[{"name":"Good"},{"name":"Good"}]}`, 422, "two specs"},
		"hosts of a label that is not": {"GET", "/labels/99/hosts", ``, 404, "no label 99"},
		"an unknown filter":            {"GET", fmt.Sprintf("/labels/%d/hosts?polcy=1", lab.ID), ``, 400, "polcy"},
		"a label by hand that is not":  {"POST", fmt.Sprintf("/hosts/%d/labels", a.ID), `{"labels":["macOS"]}`, 422, "follow from"},
	} {
		if status, body := o.call(o.auth, tt.method, tt.path, tt.body); status != tt.status || !strings.Contains(body, tt.words) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	members := func(id int64) []int64 {
		ids := []int64{}
		_ = o.api.LabelHosts(ctx, id, func(h apiv1.Host) error { ids = append(ids, h.ID); return nil })
		slices.Sort(ids)
		return ids
	}
	if got := members(lab.ID); !slices.Equal(got, []int64{a.ID}) {
		t.Errorf("members: %v", got)
	}
	if err := o.api.AddHostLabels(ctx, b.ID, []string{"Lab"}); err != nil || len(members(lab.ID)) != 2 {
		t.Errorf("then %v, %v", members(lab.ID), err)
	}
	if err := o.api.RemoveHostLabels(ctx, a.ID, []string{"Lab"}); err != nil || !slices.Equal(members(lab.ID), []int64{b.ID}) {
		t.Errorf("then %v, %v", members(lab.ID), err)
	}
	spec := must(o.api.LabelSpec(ctx, "Lab"))(t)
	if spec.Hosts == nil || !slices.Equal(*spec.Hosts, []string{b.HardwareSerial}) {
		t.Errorf("spec: %+v", spec)
	}
	*spec.Hosts = append(*spec.Hosts, a.HardwareSerial)
	spec.Description = "both"
	if err := o.api.ApplyLabelSpecs(ctx, append(must(o.api.LabelSpecs(ctx))(t)[:1], spec)); err != nil || len(members(lab.ID)) != 2 || must(o.api.Label(ctx, lab.ID))(t).Description != "both" {
		t.Errorf("applied: %v, %v", members(lab.ID), err)
	}
	vitals := must(o.api.CreateLabel(ctx, apiv1.CreateLabelRequest{Name: "Serial", Criteria: &apiv1.Criteria{Vital: "hardware_serial", Operator: "=", Value: a.HardwareSerial}}))(t)
	o.until("the vitals decide", func() bool { return slices.Equal(members(vitals.ID), []int64{a.ID}) })

	uuid := must(o.api.CreateProfile(ctx, client.ProfileUpload{FileName: "x", Content: simple(1), LabelsIncludeAny: []string{"Lab"}}))(t).ProfileUUID
	if err := o.api.DeleteLabel(ctx, "Lab"); err != nil {
		t.Fatal(err)
	}
	if p := must(o.api.Profile(ctx, uuid))(t); len(p.LabelsIncludeAny) != 1 || !p.LabelsIncludeAny[0].Broken || p.LabelsIncludeAny[0].Name != "Lab" {
		t.Errorf("a profile of a label that is gone: %+v", p.LabelsIncludeAny)
	}
	if _, err := o.api.ModifyProfile(ctx, uuid, client.ProfileUpload{LabelsExcludeAny: []string{"iOS"}}); err != nil {
		t.Error(err)
	}
	if p := must(o.api.Profile(ctx, uuid))(t); len(p.LabelsIncludeAny) != 0 || len(p.LabelsExcludeAny) != 1 || p.Version != 1 {
		t.Errorf("rescoped: %+v", p)
	}
}

func TestARolloutIsShownAndSteered(t *testing.T) {
	o, ctx := newOrg(t, 0), t.Context()
	plan := &apiv1.RolloutPlan{Rings: []apiv1.Ring{{Percent: 5, Soak: "1d"}, {Percent: 25}}}
	uuid := must(o.api.CreateProfile(ctx, client.ProfileUpload{FileName: "x", Content: simple(1), Rollout: plan}))(t).ProfileUUID
	r := must(o.api.Profile(ctx, uuid))(t).Rollout
	if r == nil || r.State != "running" || r.Ring != 1 || r.PercentOpen != 5 || len(r.Rings) != 3 || r.Rings[0].Soak != "24h0m0s" || r.MinVerified != 0.9 {
		t.Fatalf("%+v", r)
	}
	for _, step := range []struct{ action, state string }{{"halt", "halted"}, {"resume", "running"}, {"complete", "done"}} {
		p, err := o.api.SteerRollout(ctx, uuid, step.action, "because")
		if err != nil || p.Rollout.State != step.state {
			t.Errorf("%s: %+v %v", step.action, p.Rollout, err)
		}
	}
	if _, err := o.api.SteerRollout(ctx, uuid, "rollback", ""); client.StatusOf(err) != 409 {
		t.Errorf("after its end: %v", err)
	}
	if status, _ := o.call(o.auth, "POST", "/configuration_profiles/"+uuid+"/rollout", `{"action":"explode"}`); status != 422 {
		t.Errorf("an unknown action: %d", status)
	}
	if status, body := o.call(o.auth, "POST", "/configuration_profiles/"+uuid+"/rollout", `{"action":"halt","reasn":"x"}`); status != 422 || !strings.Contains(body, "reason") {
		t.Errorf("a misspelled key: %d %s", status, body)
	}
	var list struct {
		Profiles []map[string]any
		Meta     map[string]any
	}
	_, body := o.call(o.auth, "GET", "/mdm/profiles?fleet_id=0&per_page=1", "")
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Profiles) != 1 || list.Meta["has_next_results"] != false {
		t.Fatalf("%s %v", body, err)
	}
	for _, key := range strings.Fields("profile_uuid team_id name platform identifier scope checksum created_at updated_at rollout") {
		if _, ok := list.Profiles[0][key]; !ok {
			t.Errorf("%s is missing", key)
		}
	}
}

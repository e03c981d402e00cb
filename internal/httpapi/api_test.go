package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/access"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/httpapi/httpapitest"
)

var update = flag.Bool("update", false, "write docs/openapi.json anew")

// bench is the API over fakes.
type bench struct {
	*API
	access      *httpapitest.Access
	users       *httpapitest.Users
	hosts       *httpapitest.Hosts
	inventories *httpapitest.Inventories
	guardian    *httpapitest.Guardian
	commands    *httpapitest.Commands
	enrollments *httpapitest.Enrollments
	push        *httpapitest.Push
	teams       *httpapitest.Teams
	secrets     *httpapitest.EnrollSecrets
	labels      *httpapitest.Labels
	profiles    *httpapitest.Profiles
	settings    *httpapitest.Settings
	tokens      *httpapitest.ServerTokens
	assistants  *httpapitest.Assistants
	setups      *httpapitest.Setups
	renewer     *httpapitest.Renewer
	packages    *httpapitest.Packages
	actions     *httpapitest.Actions
}

func newBench(t *testing.T) *bench {
	t.Helper()
	can := func(role fleet.Role, permission string) bool { return access.Can(role, access.Permission(permission)) }
	b := &bench{actions: &httpapitest.Actions{}, access: &httpapitest.Access{Allow: can}, users: &httpapitest.Users{}, hosts: &httpapitest.Hosts{}, inventories: &httpapitest.Inventories{}, guardian: &httpapitest.Guardian{}, commands: &httpapitest.Commands{},
		enrollments: &httpapitest.Enrollments{}, push: &httpapitest.Push{}, teams: &httpapitest.Teams{}, secrets: &httpapitest.EnrollSecrets{}, labels: &httpapitest.Labels{}, profiles: &httpapitest.Profiles{}, settings: &httpapitest.Settings{Current: fleet.Settings{OrgName: "Acme", ServerURL: "https://old.example.com"}}}
	b.tokens, b.assistants = &httpapitest.ServerTokens{Tokens: []fleet.ServerToken{httpapitest.ServerToken()}}, &httpapitest.Assistants{}
	b.setups, b.renewer, b.packages = &httpapitest.Setups{}, &httpapitest.Renewer{}, &httpapitest.Packages{}
	explainer := &httpapitest.Explainer{}
	api, err := New(Options{Explainer: explainer, Planner: explainer, Histories: explainer, ServerTokens: b.tokens, Assistants: b.assistants, Setups: b.setups, Renewer: b.renewer, Packages: b.packages, OverTheAir: &httpapitest.OverTheAir{}, Accounts: &httpapitest.OverTheAir{},
		Access: b.access, Users: b.users, Sessions: httpapitest.Sessions{}, Hosts: b.hosts, Inventories: b.inventories, Guardian: b.guardian, Commands: b.commands, Actions: b.actions, Enrollments: b.enrollments,
		Push: b.push, Teams: b.teams, Secrets: b.secrets, Labels: b.labels, Profiles: b.profiles, Settings: b.settings, Version: apiv1.Version{Version: "1.2.3"}, Now: httpapitest.Now,
		PageSize: 500, CommandTargets: 3, EnrollmentsPerHour: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.API = api
	return b
}

// call sends JSON as an admin and decodes the answer.
func (b *bench) call(t *testing.T, method, path, body string) (int, map[string]any, http.Header) {
	t.Helper()
	return b.as(t, "token-admin", method, path, body)
}

func (b *bench) as(t *testing.T, token, method, path, body string) (int, map[string]any, http.Header) {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, path, reader)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	out := map[string]any{}
	if strings.Contains(w.Header().Get("Content-Type"), "json") {
		_ = json.Unmarshal(w.Body.Bytes(), &out) // null stays an empty map
	}
	return w.Code, out, w.Header()
}

var pathVariable = regexp.MustCompile(`\{[^}]+\}`)

func TestEveryRouteIsGuarded(t *testing.T) {
	b := newBench(t)
	roles := append(fleet.Roles(), "nobody")
	seen := map[string]bool{}
	for _, rt := range (&api{}).routes() {
		if rt.permission == "" || rt.id == "" || rt.summary == "" || rt.tag == "" {
			t.Errorf("%s %s: permission, id, summary or tag is missing", rt.method, rt.path)
		}
		if seen[rt.id] {
			t.Errorf("the operation id %s is used twice", rt.id)
		}
		seen[rt.id] = true
		if rt.permission != Open && !access.Can(fleet.RoleAdmin, access.Permission(rt.permission)) {
			t.Errorf("%s: nobody may do %s", rt.id, rt.permission)
		}
		for _, path := range rt.paths() {
			path = pathVariable.ReplaceAllString(path, "7")
			status, body, header := b.as(t, "", rt.method, path, "")
			if rt.permission == Open {
				if status == http.StatusUnauthorized {
					t.Errorf("%s %s: an open route asks for a login", rt.method, path)
				}
				continue
			}
			if status != http.StatusUnauthorized || body["message"] != "Authentication required" || header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s without a token: %d %v", rt.method, path, status, body)
			}
			if status, _, _ := b.as(t, "wrong", rt.method, path, ""); status != http.StatusUnauthorized {
				t.Errorf("%s %s with a wrong token: %d", rt.method, path, status)
			}
			for _, role := range roles {
				status, _, _ := b.as(t, "token-"+string(role), rt.method, path, "")
				if may := access.Can(role, access.Permission(rt.permission)); may == (status == http.StatusForbidden) {
					t.Errorf("%s %s as %s: status %d, allowed %v", rt.method, path, role, status, may)
				}
				if status == http.StatusNotFound && strings.Contains(path, "~") {
					t.Errorf("%s %s is not served", rt.method, path)
				}
			}
		}
	}
}

func TestEveryOpenRouteIsMeantToBe(t *testing.T) {
	want := map[string]bool{"setup": true, "login": true, "enroll": true, "version": true, "downloadBootstrapPackage": true, "getBootstrapPackageManifest": true,
		"downloadOTAProfile": true, "enrollOverTheAir": true}
	for _, rt := range (&api{}).routes() {
		if (rt.permission == Open) != want[rt.id] {
			t.Errorf("%s: open is %v", rt.id, rt.permission == Open)
		}
	}
}

func TestTheOpenAPIDocumentIsCommitted(t *testing.T) {
	const path = "../../docs/openapi.json"
	got, err := newBench(t).OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.MkdirAll("../../docs", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/openapi.json is stale: run go generate ./internal/httpapi")
	}
	if b := newBench(t); true {
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest("GET", "/api/openapi.json", nil))
		if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), got) {
			t.Errorf("the served document differs: %d", w.Code)
		}
	}
}

func TestTheDocsPageNeedsNothingFromOutside(t *testing.T) {
	b := newBench(t)
	for path, kind := range map[string]string{"/api/docs": "text/html", "/api/docs/app.js": "text/javascript", "/api/docs/style.css": "text/css"} {
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		if strings.Contains(w.Body.String(), "://") {
			t.Errorf("%s refers to another site", path)
		}
		if !strings.Contains(w.Header().Get("Content-Security-Policy"), "script-src 'self'") {
			t.Errorf("%s: no policy", path)
		}
	}
}

func TestErrorsHaveFleetsShapeAndNeverRepeatTheValue(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		message, field           string
	}{
		{"an id that is no number", "GET", "/api/v1/fleet/hosts/hunter2", "", 400, "Bad request", "id"},
		{"an id below one", "GET", "/api/v1/fleet/hosts/0", "", 400, "Bad request", "id"},
		{"an unknown id", "GET", "/api/v1/fleet/hosts/9", "", 404, "Resource Not Found", "base"},
		{"a page size that is no number", "GET", "/api/v1/fleet/hosts?per_page=hunter2", "", 400, "Bad request", "per_page"},
		{"a page size over the limit", "GET", "/api/v1/fleet/hosts?per_page=501", "", 400, "Bad request", "per_page"},
		{"an unknown filter of hosts", "GET", "/api/v1/fleet/hosts?policy_id=hunter2", "", 400, "Bad request", "policy_id"},
		{"an unknown status", "GET", "/api/v1/fleet/hosts?status=hunter2", "", 400, "Bad request", "status"},
		{"a body that is no JSON", "POST", "/api/v1/fleet/login", `{"hunter2`, 400, "Bad request", "base"},
		{"a missing field", "POST", "/api/v1/fleet/login", `{"email":"hunter2"}`, 422, "Validation Failed", "base"},
		{"a field of the wrong type", "POST", "/api/v1/fleet/login", `{"email":"a","password":["hunter2"]}`, 422, "Validation Failed", "password"},
		{"a body over the limit", "POST", "/api/v1/fleet/login", `{"email":"` + strings.Repeat("x", loginBytes) + `"}`, 413, "Payload Too Large", "base"},
		{"no body", "POST", "/api/v1/fleet/login", "", 400, "Bad request", "base"},
		{"an unknown path", "GET", "/api/v1/fleet/hunter2", "", 404, "Resource Not Found", "base"},
		{"another method", "PUT", "/api/v1/fleet/hosts", "", 405, "Method Not Allowed", "base"},
		{"another method by identifier", "POST", "/api/v1/fleet/hosts/identifier/x", "", 405, "Method Not Allowed", "base"},
		{"a command that is not base64", "POST", "/api/v1/fleet/commands/run", `{"command":"hunter2!","host_uuids":["a"]}`, 400, "Bad request", "command"},
		{"a wrong password", "POST", "/api/v1/fleet/login", `{"email":"a","password":"hunter2"}`, 401, "Authentication required", "base"},
		{"an upload that is none", "POST", "/api/v1/fleet/mdm/apple/apns_certificate", "hunter2", 415, "Unsupported Media Type", "base"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body, header := b.call(t, tt.method, tt.path, tt.body)
			raw, _ := json.Marshal(body)
			if status != tt.status || body["message"] != tt.message {
				t.Fatalf("got %d %s", status, raw)
			}
			if strings.Contains(string(raw), "hunter2") {
				t.Errorf("the value is repeated: %s", raw)
			}
			faults, _ := body["errors"].([]any)
			if len(faults) == 0 || faults[0].(map[string]any)["name"] != tt.field || faults[0].(map[string]any)["reason"] == "" {
				t.Errorf("errors: %s, want one about %s", raw, tt.field)
			}
			if !strings.HasPrefix(header.Get("Content-Type"), "application/json") {
				t.Errorf("content type %s", header.Get("Content-Type"))
			}
		})
	}
}

func TestTooManyAttemptsSayWhenToComeBack(t *testing.T) {
	status, _, header := newBench(t).call(t, "POST", "/api/v1/fleet/login", `{"email":"a","password":"often"}`)
	if status != http.StatusTooManyRequests || header.Get("Retry-After") != "2" {
		t.Errorf("got %d, Retry-After %q", status, header.Get("Retry-After"))
	}
}

func TestInternalErrorsStayInside(t *testing.T) {
	answer := answerOf(t.Context(), errors.New("connect to postgres://user:hunter2@db"))
	text, err := json.Marshal(answer)
	if err != nil || answer.status != http.StatusInternalServerError || strings.Contains(string(text), "hunter2") {
		t.Errorf("got %d %s %v", answer.status, text, err)
	}
}

func TestAllFaultsOfABodyAreListed(t *testing.T) {
	_, body, _ := newBench(t).call(t, "POST", "/api/v1/fleet/users/admin", `{"name":1,"email":2,"password":3}`)
	if faults := body["errors"].([]any); len(faults) != 3 {
		t.Errorf("got %v", faults)
	}
}

func TestSetupKeepsWhatTheServerWasStartedWith(t *testing.T) {
	b := newBench(t)
	status, body, _ := b.as(t, "", "POST", "/api/setup",
		`{"admin":{"admin":true,"email":"a@b.c","name":"A","password":"p","password_confirmation":"p"},"org_info":{"org_name":"New"},"server_url":"https://mdm.example.com/"}`)
	if status != 200 || body["token"] != "token-admin" || body["server_url"] != "https://mdm.example.com" || b.access.Applied.OrgName != "New" {
		t.Errorf("got %d %v", status, body)
	}
	if _, ok := body["osquery_enroll_secret"]; !ok {
		t.Error("a key that clients expect is missing")
	}
	status, _, _ = b.as(t, "", "POST", "/api/v1/setup", `{"admin":{"email":"a@b.c","name":"A","password":"p"}}`)
	if status != http.StatusConflict {
		t.Errorf("a second setup: %d", status)
	}
	status, body, _ = newBench(t).as(t, "", "POST", "/api/v1/setup", `{"admin":{"email":"a@b.c","name":"A","password":"p","password_confirmation":"q"}}`)
	if status != 422 {
		t.Errorf("passwords that differ: %d %v", status, body)
	}
}

func TestAUserWhoMustResetThePasswordMayDoOnlyThat(t *testing.T) {
	b := newBench(t)
	status, body, _ := b.as(t, "token-reset", "GET", "/api/v1/fleet/hosts", "")
	if raw, _ := json.Marshal(body); status != http.StatusForbidden || !strings.Contains(string(raw), "Password reset required") {
		t.Errorf("got %d %s", status, raw)
	}
	if status, _, _ := b.as(t, "token-reset", "POST", "/api/v1/fleet/perform_required_password_reset", `{"new_password":"x"}`); status != 200 {
		t.Errorf("the way out: %d", status)
	}
}

func TestUsersNeverShowTheirHash(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/api/v1/fleet/users", "/api/v1/fleet/users/1", "/api/v1/fleet/me"} {
		status, body, _ := b.call(t, "GET", path, "")
		if raw, _ := json.Marshal(body); status != 200 || strings.Contains(string(raw), "secret-hash") {
			t.Errorf("%s: %d %s", path, status, raw)
		}
	}
	status, body, _ := b.call(t, "POST", "/api/v1/fleet/users/admin", `{"name":"CI","email":"ci@b.c","global_role":"gitops","api_only":true,"sso_enabled":false,"teams":[]}`)
	if status != 200 || body["token"] != "api-token" || b.users.Created.Role != fleet.RoleGitOps {
		t.Errorf("got %d %v", status, body)
	}
}

func TestHostJSONHasTheKeysClientsExpect(t *testing.T) {
	_, body, _ := newBench(t).call(t, "GET", "/api/latest/fleet/hosts/7", "")
	host := body["host"].(map[string]any)
	for _, key := range strings.Fields(`id created_at updated_at detail_updated_at label_updated_at policy_updated_at last_enrolled_at seen_time last_restarted_at
		refetch_requested refetch_critical_queries_until hostname computer_name display_name display_text uuid platform platform_like os_version build code_name
		osquery_version orbit_version fleet_desktop_version scripts_enabled uptime memory cpu_type cpu_subtype cpu_brand cpu_physical_cores cpu_logical_cores
		hardware_vendor hardware_model hardware_version hardware_serial public_ip primary_ip primary_mac distributed_interval config_tls_refresh logger_tls_period
		team_id team_name gigs_disk_space_available percent_disk_space_available gigs_total_disk_space gigs_all_disk_space disk_encryption_enabled
		dep_assigned_to_fleet status issues device_mapping mdm labels packs policies software users batteries end_users last_mdm_enrolled_at
		last_mdm_checked_in_at maintenance_window geolocation`) {
		if _, ok := host[key]; !ok {
			t.Errorf("%s is missing", key)
		}
	}
	mdm := host["mdm"].(map[string]any)
	for _, key := range strings.Fields(`enrollment_status server_url name connected_to_fleet encryption_key_available encryption_key_archived dep_profile_error
		device_status pending_action macos_settings macos_setup os_settings profiles`) {
		if _, ok := mdm[key]; !ok {
			t.Errorf("mdm.%s is missing", key)
		}
	}
	if host["status"] != "online" || host["display_name"] != "Ada's Mac" || host["percent_disk_space_available"] != 25.0 ||
		mdm["enrollment_status"] != "On (manual)" || mdm["name"] != "Fleet" || host["policy_updated_at"] != "2000-01-01T00:00:00Z" {
		t.Errorf("values: %v", host)
	}
	if raw, _ := json.Marshal(body); strings.Contains(string(raw), "secret-") {
		t.Error("a push secret is shown")
	}
}

func TestHostFilters(t *testing.T) {
	team := fleet.TeamID(0)
	on := []fleet.MDMStatus{fleet.MDMManual, fleet.MDMAutomatic, fleet.MDMPersonal}
	page := fleet.Page{Size: 500}
	for _, tt := range []struct {
		query string
		want  fleet.HostFilter
	}{
		{"", fleet.HostFilter{Page: page}},
		{"page=2&per_page=10&order_key=hostname&order_direction=desc&after=x", fleet.HostFilter{Page: fleet.Page{Number: 2, Size: 10, OrderKey: "hostname", Desc: true, After: "x"}}},
		{"query=mac&platform=ios,ipados&populate_labels=true", fleet.HostFilter{Page: page, Query: "mac", Platforms: []fleet.Platform{fleet.PlatformIOS, fleet.PlatformIPadOS}}},
		{"team_id=0", fleet.HostFilter{Page: page, TeamID: &team}},
		{"connected_to_fleet=true", fleet.HostFilter{Page: page, MDM: on}},
		{"mdm_name=Fleet&mdm_enrollment_status=pending", fleet.HostFilter{Page: page, MDM: []fleet.MDMStatus{fleet.MDMPending}}},
		{"mdm_enrollment_status=manual&connected_to_fleet=true", fleet.HostFilter{Page: page, MDM: []fleet.MDMStatus{fleet.MDMManual}}},
		{"status=online", fleet.HostFilter{Page: page, SeenAfter: httpapitest.Now().Add(-onlineWithin)}},
		{"status=mia", fleet.HostFilter{Page: page, SeenBefore: httpapitest.Now().Add(-missingAfter)}},
		{"status=new", fleet.HostFilter{Page: page, CreatedAfter: httpapitest.Now().Add(-newWithin)}},
	} {
		t.Run(tt.query, func(t *testing.T) {
			b := newBench(t)
			status, body, _ := b.call(t, "GET", "/api/v1/fleet/hosts?"+tt.query, "")
			if status != 200 {
				t.Fatalf("%d %v", status, body)
			}
			got, _ := json.Marshal(b.hosts.Filter)
			want, _ := json.Marshal(tt.want)
			if string(got) != string(want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if body["meta"].(map[string]any)["has_next_results"] != (tt.want.Page.Number == 0) {
				t.Errorf("meta: %v", body["meta"])
			}
		})
	}
	for _, nothing := range []string{"mdm_name=Jamf", "mdm_enrollment_status=pending&connected_to_fleet=true"} {
		b := newBench(t)
		status, body, _ := b.call(t, "GET", "/api/v1/fleet/hosts?"+nothing, "")
		if status != 200 || b.hosts.Asked != 0 || len(body["hosts"].([]any)) != 0 {
			t.Errorf("%s: %d %v", nothing, status, body)
		}
	}
}

func TestTheStatusOfAHost(t *testing.T) {
	for _, tt := range []struct {
		name    string
		created time.Duration // ago
		seen    time.Duration // ago; negative: never
		want    string
	}{
		{"heard of a minute ago", 0, time.Minute, "online"},
		{"heard of yesterday", 0, 24 * time.Hour, "offline"},
		{"silent for a month", 0, 31 * 24 * time.Hour, "mia"},
		{"announced today and not heard of", time.Hour, -1, "new"},
		{"announced long ago and not heard of", 48 * time.Hour, -1, "offline"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := fleet.Host{CreatedAt: httpapitest.Now().Add(-tt.created)}
			if tt.seen >= 0 {
				h.SeenAt = httpapitest.Now().Add(-tt.seen)
			}
			if got := hostStatus(&h, httpapitest.Now()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestHostsByIdentifierAndTheirMDM(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/api/v1/fleet/hosts/identifier/C02ABC", "/api/v1/fleet/hosts/identifier/mdm", "/api/v1/fleet/hosts/identifier/a%2Fb?exclude_software=true"} {
		if status, body, _ := b.call(t, "GET", path, ""); status != 200 || body["host"] == nil {
			t.Errorf("%s: %d %v", path, status, body)
		}
	}
	status, body, _ := b.call(t, "GET", "/api/v1/fleet/hosts/7/mdm", "")
	if status != 200 || body["enrollment_status"] != "On (manual)" {
		t.Errorf("mdm: %d %v", status, body)
	}
	for _, call := range [][2]string{{"DELETE", "/api/v1/fleet/hosts/7/mdm"}, {"PATCH", "/api/latest/fleet/mdm/hosts/7/unenroll"}} {
		b.enrollments.TurnedOff = 0
		if status, _, _ := b.call(t, call[0], call[1], ""); status != http.StatusNoContent || b.enrollments.TurnedOff != 7 {
			t.Errorf("%v: %d", call, status)
		}
	}
}

func TestCommandsAreTakenInEverySpelling(t *testing.T) {
	plist := []byte("<plist>??>>~~</plist>!")
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding} {
		for _, path := range []string{"/api/v1/fleet/commands/run", "/api/latest/fleet/mdm/commands/run"} {
			b := newBench(t)
			status, body, _ := b.call(t, "POST", path, `{"command":"`+encoding.EncodeToString(plist)+`","host_uuids":["UDID-7"]}`)
			if status != 200 || body["command_uuid"] != "cmd-1" || body["platform"] != "darwin" || !bytes.Equal(b.commands.Raw, plist) {
				t.Errorf("%s: %d %v %q", path, status, body, b.commands.Raw)
			}
		}
	}
	b := newBench(t)
	command := base64.StdEncoding.EncodeToString(plist)
	status, body, _ := b.call(t, "POST", "/api/v1/fleet/commands/run", `{"command":"`+command+`","host_ids":[7,8]}`)
	if status != 200 || len(b.commands.IDs) != 2 || body["failed_uuids"].([]any)[0] != "UDID-8" {
		t.Errorf("by id: %d %v", status, body)
	}
	for _, targets := range []string{`"host_uuids":[]`, `"host_uuids":["a","b","c","d"]`, `"host_uuids":["a"],"host_ids":[1]`} {
		if status, body, _ := b.call(t, "POST", "/api/v1/fleet/commands/run", `{"command":"`+command+`",`+targets+`}`); status != 422 {
			t.Errorf("%s: %d %v", targets, status, body)
		}
	}
	status, body, _ = b.call(t, "POST", "/api/v1/fleet/mdm/apple/enqueue", `{"command":"`+command+`","device_ids":["UDID-7"]}`)
	if status != 200 || body["command_uuid"] != "cmd-1" {
		t.Errorf("enqueue: %d %v", status, body)
	}
}

func TestCommandResults(t *testing.T) {
	b := newBench(t)
	status, body, _ := b.call(t, "GET", "/api/v1/fleet/commands/results?command_uuid=cmd-1", "")
	if status != 200 {
		t.Fatalf("%d %v", status, body)
	}
	row := body["results"].([]any)[0].(map[string]any)
	if row["status"] != "Acknowledged" || row["result"] != "PHIvPg==" || row["payload"] != "PGMvPg==" || row["hostname"] != "adas-mac" {
		t.Errorf("got %v", row)
	}
	if status, _, _ := b.call(t, "GET", "/api/v1/fleet/mdm/commandresults?command_uuid=unknown", ""); status != 404 {
		t.Errorf("an unknown command: %d", status)
	}
	if status, _, _ := b.call(t, "GET", "/api/v1/fleet/commands/results", ""); status != 400 {
		t.Errorf("no command: %d", status)
	}
	_, body, _ = b.call(t, "GET", "/api/v1/fleet/mdm/apple/commandresults?command_uuid=cmd-1", "")
	if body["results"].(map[string]any)["UDID-7"] == nil {
		t.Errorf("by device: %v", body)
	}
	status, _, _ = b.call(t, "GET", "/api/v1/fleet/commands?command_status=pending,Error&request_type=DeviceLock", "")
	if status != 200 || len(b.commands.Filter.Statuses) != 2 || b.commands.Filter.RequestType != "DeviceLock" {
		t.Errorf("list: %d %+v", status, b.commands.Filter)
	}
}

func TestEnrollmentProfilesAreFilesForAppleDevices(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/api/v1/fleet/enrollment_profiles/manual", "/api/latest/fleet/mdm/manual_enrollment_profile", "/api/v1/fleet/enrollments/3/profile"} {
		for suffix, signed := range map[string]bool{"": true, "?signed=false": false} {
			status, _, header := b.call(t, "GET", path+suffix, "")
			if status != 200 || header.Get("Content-Type") != mobileconfigType || header.Get("Cache-Control") != "no-store" || b.enrollments.Signed != signed {
				t.Errorf("%s%s: %d %v signed=%v", path, suffix, status, header, b.enrollments.Signed)
			}
		}
	}
	if status, _, header := b.as(t, "", "GET", "/mdm/apple/enroll/tok?signed=false", ""); status != 200 || header.Get("Content-Type") != mobileconfigType {
		t.Errorf("by token: %d %v", status, header)
	}
	if status, _, _ := b.as(t, "", "GET", "/mdm/apple/enroll/unknown", ""); status != 404 {
		t.Errorf("an unknown token: %d", status)
	}
	status, _, header := b.as(t, "", "GET", "/mdm/apple/enroll/tok", "")
	if status != http.StatusTooManyRequests || header.Get("Retry-After") == "" {
		t.Errorf("too many downloads: %d", status)
	}
	status, body, _ := b.call(t, "POST", "/api/v1/fleet/enrollments", `{"name":"Lab"}`)
	if status != 200 || body["enrollment"].(map[string]any)["enroll_url"] != "https://mdm.example.com/mdm/apple/enroll/tok" {
		t.Errorf("create: %d %v", status, body)
	}
}

func upload(t *testing.T, b *bench, path string, files, values map[string]string) (int, map[string]any) {
	t.Helper()
	var buf bytes.Buffer
	form := multipart.NewWriter(&buf)
	for name, content := range files {
		part, err := form.CreateFormFile(name, name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(part, content); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range values {
		if err := form.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", path, &buf)
	r.Header.Set("Authorization", "bearer token-admin")
	r.Header.Set("Content-Type", form.FormDataContentType())
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	body := map[string]any{}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return w.Code, body
}

func TestPushCertificateUploads(t *testing.T) {
	const path = "/api/v1/fleet/mdm/apple/apns_certificate"
	b := newBench(t)
	status, body := upload(t, b, path, map[string]string{"certificate": "PEM"}, nil)
	if status != http.StatusAccepted || string(b.push.Cert) != "PEM" || b.push.Key != nil || b.push.Force || body["topic"] == nil {
		t.Errorf("certificate alone: %d %v %+v", status, body, b.push)
	}
	status, _ = upload(t, b, path, map[string]string{"certificate": "PEM", "private_key": "KEY"}, map[string]string{"force": "true"})
	if status != http.StatusAccepted || string(b.push.Key) != "KEY" || !b.push.Force {
		t.Errorf("with a key: %d %+v", status, b.push)
	}
	status, body = upload(t, b, path, map[string]string{"pkcs12": "rubbish"}, map[string]string{"password": "hunter2"})
	if raw, _ := json.Marshal(body); status != 422 || strings.Contains(string(raw), "hunter2") {
		t.Errorf("a bad .p12: %d %s", status, raw)
	}
	p12, err := os.ReadFile("testdata/push.p12")
	if err != nil {
		t.Fatal(err)
	}
	status, body = upload(t, b, path, map[string]string{"pkcs12": string(p12)}, map[string]string{"password": "test"})
	if status != http.StatusAccepted || !bytes.HasPrefix(b.push.Cert, []byte("-----BEGIN CERTIFICATE")) || !bytes.HasPrefix(b.push.Key, []byte("-----BEGIN PRIVATE KEY")) {
		t.Errorf("a .p12: %d %v", status, body)
	}
	if status, body = upload(t, b, path, nil, map[string]string{"force": "true"}); status != 422 {
		t.Errorf("nothing: %d %v", status, body)
	}
	if status, body = upload(t, b, path, map[string]string{"certificate": strings.Repeat("x", uploadBytes)}, nil); status != 413 {
		t.Errorf("too much: %d %v", status, body)
	}
	status, body, _ = b.call(t, "GET", "/api/latest/fleet/mdm/apple", "")
	if status != 200 || body["common_name"] != "APSP:x" || body["renew_date"] == nil {
		t.Errorf("show: %d %v", status, body)
	}
	if _, body, _ = b.call(t, "GET", "/api/v1/fleet/mdm/apple/request_csr", ""); body["csr"] != "Y3Ny" {
		t.Errorf("csr: %v", body)
	}
}

func TestTheLogIsKeptAsLongAsTheConfigurationSays(t *testing.T) {
	b := newBench(t)
	shown := func(body map[string]any) string {
		v, _ := body["activity_expiry_settings"].(map[string]any)
		return fmt.Sprint(v["activity_expiry_enabled"], " ", v["activity_expiry_window"])
	}
	for _, c := range []struct {
		send string
		want string // what is shown then, or the refusal
	}{
		{`{}`, "true 400"},
		{`{"activity_expiry_window":90}`, "true 90"},
		{`{"activity_expiry_enabled":false,"activity_expiry_window":0}`, "false 90"},
		{`{"activity_expiry_enabled":true,"activity_expiry_window":0}`, "must be a number of days from 30 to 36500"},
		{`{"activity_expiry_window":-1}`, "must be a number of days from 30 to 36500"},
		{`{"activity_expiry_enabled":true}`, "true 90"},
	} {
		status, body, _ := b.call(t, "PATCH", "/api/v1/fleet/config", `{"activity_expiry_settings":`+c.send+`}`)
		if status == http.StatusOK {
			if got := shown(body); got != c.want {
				t.Errorf("%s: shows %s, want %s", c.send, got, c.want)
			}
			continue
		}
		fault := body["errors"].([]any)[0].(map[string]any)
		if status != http.StatusUnprocessableEntity || fault["reason"] != c.want || fault["name"] != "activity_expiry_settings.activity_expiry_window" {
			t.Errorf("%s: %d %v", c.send, status, body)
		}
	}
}

func TestConfigIsMerged(t *testing.T) {
	const path = "/api/v1/fleet/config"
	b := newBench(t)
	status, body, _ := b.call(t, "PATCH", path, `{"org_info":{"org_name":"New"},"mdm":{"apple_server_url":"https://apple.example.com/","enabled_and_configured":false},"license":{"tier":"free"}}`)
	if status != 200 || b.settings.Current.OrgName != "New" || b.settings.Current.ServerURL != "https://old.example.com" || b.settings.Current.AppleServerURL != "https://apple.example.com" {
		t.Errorf("got %d %v %+v", status, body, b.settings.Current)
	}
	if status, _, _ := b.call(t, "PATCH", path+"?dry_run=true", `{"org_info":{"org_name":"Never"}}`); status != 200 || b.settings.Current.OrgName != "New" {
		t.Errorf("a dry run: %d %+v", status, b.settings.Current)
	}
	status, body, _ = b.call(t, "PATCH", path, `{"org_info":{"org_nme":"x","contact_url":"y"},"agent_options":{}}`)
	faults := body["errors"].([]any)
	if status != 422 || len(faults) != 2 || faults[0].(map[string]any)["name"] != "agent_options" || faults[1].(map[string]any)["name"] != "org_info.org_nme" {
		t.Errorf("unknown keys: %d %v", status, body)
	}
	if status, _, _ := b.call(t, "PATCH", path+"?force=true", `{"agent_options":{},"org_info":{"contact_url":"y"}}`); status != 200 || b.settings.Current.ContactURL != "y" {
		t.Errorf("forced: %d %+v", status, b.settings.Current)
	}
	if status, _, _ := b.call(t, "PATCH", path, `{"server_settings":{"server_url":"nonsense"}}`); status != 422 {
		t.Errorf("a bad URL: %d", status)
	}
	_, body, _ = b.call(t, "GET", path, "")
	if body["license"].(map[string]any)["tier"] != "premium" || body["mdm"].(map[string]any)["enabled_and_configured"] != true {
		t.Errorf("show: %v", body)
	}
}

func TestTheVersionIsOpenAndClosed(t *testing.T) {
	b := newBench(t)
	if status, body, _ := b.as(t, "", "GET", "/version", ""); status != 200 || body["version"] != "1.2.3" {
		t.Errorf("open: %d %v", status, body)
	}
	if status, _, _ := b.call(t, "GET", "/api/v1/fleet/version", ""); status != 200 {
		t.Errorf("with a token: %d", status)
	}
}

func TestListsRefuseParametersThatTheyDoNotHave(t *testing.T) {
	// Fleet's clients may send these more than there is: a team, above all.
	lenient := []string{"listLabels", "listLabelNames", "listUserSessions", "listDeviceCommands", "listAppleProfiles"}
	b := newBench(t)
	for _, rt := range (&api{}).routes() {
		if rt.method != http.MethodGet || !strings.HasPrefix(rt.id, "list") || slices.Contains(lenient, rt.id) {
			continue
		}
		path := strings.NewReplacer("~", "/api/v1/fleet", "{id}", "7", "{profile_uuid}", "a1").Replace(rt.path)
		status, body, _ := b.call(t, http.MethodGet, path+"?nonsense=1", "")
		if text := fmt.Sprint(body); status != http.StatusBadRequest || !strings.Contains(text, "nonsense") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	// Its order is always the same.
	for _, parameter := range []string{"order_key=evil", "order_direction=desc", "after=F9FDP0ABQ1G1", "token_id=99"} {
		if status, body, _ := b.call(t, http.MethodGet, "/api/v1/fleet/mdm/apple/dep/devices?"+parameter, ""); status != http.StatusBadRequest {
			t.Errorf("%s: %d %v", parameter, status, body)
		}
	}
	if status, body, _ := b.call(t, http.MethodGet, "/api/v1/fleet/mdm/apple/dep/devices?page=1&per_page=2", ""); status != http.StatusOK {
		t.Errorf("%d %v", status, body)
	}
}

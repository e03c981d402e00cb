package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/httpapi/httpapitest"
)

// uploadTo sends a form with files and values as an admin.
func (b *bench) uploadTo(t *testing.T, method, path string, files, values map[string]string) (int, map[string]any) {
	t.Helper()
	var buf bytes.Buffer
	form := multipart.NewWriter(&buf)
	for name, content := range files {
		part, err := form.CreateFormFile(name, name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write([]byte(content))
	}
	for name, value := range values {
		_ = form.WriteField(name, value)
	}
	_ = form.Close()
	r := httptest.NewRequest(method, path, &buf)
	r.Header.Set("Authorization", "Bearer token-admin")
	r.Header.Set("Content-Type", form.FormDataContentType())
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	out := map[string]any{}
	_ = json.Unmarshal(w.Body.Bytes(), &out)
	return w.Code, out
}

func TestServerTokensAreListedUnderBothNames(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/api/v1/fleet/abm_tokens", "/api/latest/fleet/ab_tokens"} {
		status, body, _ := b.call(t, "GET", path, "")
		list, _ := body["abm_tokens"].([]any)
		if status != 200 || len(list) != 1 || len(body["ab_tokens"].([]any)) != 1 {
			t.Fatal(status, body)
		}
		one := list[0].(map[string]any)
		if one["apple_id"] != "it@acme.example" || one["org_name"] != "Acme" || one["mdm_server_url"] != "https://old.example.com" || one["terms_expired"] != false ||
			one["renew_date"] != "2027-01-02T03:04:05Z" || one["ipados_team"].(map[string]any)["name"] != httpapitest.Team().Name ||
			one["macos_team"].(map[string]any)["name"] != "No team" {
			t.Errorf("%v", one)
		}
	}
	if status, body, _ := b.call(t, "GET", "/api/v1/fleet/abm_tokens/count", ""); status != 200 || body["count"] != 1.0 {
		t.Error(status, body)
	}
}

func TestTheOnlyServerTokenForOlderClients(t *testing.T) {
	b := newBench(t)
	if status, body, _ := b.call(t, "GET", "/api/v1/fleet/mdm/apple_bm", ""); status != 200 || body["org_name"] != "Acme" {
		t.Error(status, body)
	}
	b.tokens.Tokens = append(b.tokens.Tokens, httpapitest.ServerToken())
	if status, _, _ := b.call(t, "GET", "/api/v1/fleet/abm", ""); status != 400 {
		t.Error("two tokens:", status)
	}
	b.tokens.Tokens = nil
	if status, _, _ := b.call(t, "GET", "/api/v1/fleet/abm", ""); status != 404 {
		t.Error("no token:", status)
	}
}

func TestTheConfigurationTellsOfServerTokens(t *testing.T) {
	b := newBench(t)
	b.tokens.Tokens[0].Sync.Error = fleet.DEPTerms
	_, body, _ := b.call(t, "GET", "/api/v1/fleet/config", "")
	mdm := body["mdm"].(map[string]any)
	list := mdm["apple_business_manager"].([]any)
	if mdm["apple_bm_enabled_and_configured"] != true || mdm["apple_bm_terms_expired"] != true || list[0].(map[string]any)["ipados_team"] != httpapitest.Team().Name {
		t.Error(mdm)
	}
	b.tokens.Tokens = nil
	_, body, _ = b.call(t, "GET", "/api/v1/fleet/config", "")
	if mdm := body["mdm"].(map[string]any); mdm["apple_bm_enabled_and_configured"] != false || mdm["apple_bm_terms_expired"] != false {
		t.Error(mdm)
	}
}

func TestServerTokensAreUploaded(t *testing.T) {
	b := newBench(t)
	if status, body := b.uploadTo(t, "POST", "/api/v1/fleet/abm_tokens", map[string]string{"token": "p7m", "certificate": "c", "private_key": "k"},
		map[string]string{"enrollment_id": "7"}); status != 200 || body["abm_token"] == nil {
		t.Fatal(status, body)
	}
	if u := b.tokens.Uploaded; string(u.File) != "p7m" || string(u.CertPEM) != "c" || string(u.KeyPEM) != "k" || b.tokens.Enrollment != 7 {
		t.Errorf("%v", b.tokens)
	}
	if status, body := b.uploadTo(t, "POST", "/api/v1/fleet/abm_tokens", map[string]string{}, map[string]string{"enrollment_id": "7"}); status != 422 {
		t.Error("without a file:", status, body)
	}
	if status, _ := b.uploadTo(t, "PATCH", "/api/v1/fleet/abm_tokens/1/renew?force=true", map[string]string{"token": "new"}, nil); status != 200 || !b.tokens.Forced {
		t.Error("renew:", status)
	}
	if status, _ := b.uploadTo(t, "PATCH", "/api/v1/fleet/abm_tokens/9/renew", map[string]string{"token": "new"}, nil); status != 404 {
		t.Error("renew one that is not there:", status)
	}
}

func TestTeamsOfServerTokensTakeBothSpellings(t *testing.T) {
	b := newBench(t)
	if status, _, _ := b.call(t, "PATCH", "/api/v1/fleet/abm_tokens/1/teams", `{"macos_team_id":3,"ipados_fleet_id":3,"ios_team_id":null}`); status != 200 {
		t.Fatal(status)
	}
	if got := b.tokens.Teams; got[fleet.PlatformDarwin] != 3 || got[fleet.PlatformIPadOS] != 3 || got[fleet.PlatformIOS] != 0 {
		t.Error(got)
	}
	if status, answer, _ := b.call(t, "PATCH", "/api/v1/fleet/abm_tokens/1/teams", `{"macos_team":3}`); status != 422 || !strings.Contains(fmt.Sprint(answer), "did you mean macos_team_id") {
		t.Errorf("a key that nobody knows: %d %v", status, answer)
	}
	if status, _, _ := b.call(t, "PATCH", "/api/v1/fleet/abm_tokens/1/teams", `{"macos_team_id":3,"macos_fleet_id":4}`); status != 422 {
		t.Error("two teams:", status)
	}
}

func TestAssignmentsAreTold(t *testing.T) {
	now := httpapitest.Now()
	for _, tt := range []struct {
		want string
		r    fleet.DEPRecord
	}{
		{"removed", fleet.DEPRecord{DeletedAt: now, Device: fleet.DEPDevice{Family: "iPad"}}},
		{"not_managed", fleet.DEPRecord{Device: fleet.DEPDevice{Family: "AppleTV"}}},
		{"pushed", fleet.DEPRecord{Want: "P", Device: fleet.DEPDevice{Family: "iPad", ProfileUUID: "P", ProfileStatus: "pushed"}}},
		{"assigned", fleet.DEPRecord{Want: "P", Device: fleet.DEPDevice{Family: "iPad", ProfileUUID: "P", ProfileStatus: "assigned"}}},
		{"pending", fleet.DEPRecord{Want: "P", Device: fleet.DEPDevice{Family: "iPad", ProfileUUID: "O", ProfileStatus: "assigned"}}},
		{"pending", fleet.DEPRecord{Device: fleet.DEPDevice{Family: "Mac"}}},
		{"not_accessible", fleet.DEPRecord{Want: "P", Device: fleet.DEPDevice{Family: "iPad"}, Assign: fleet.DEPAssignment{Tried: "P", Held: true}}},
		{"throttled", fleet.DEPRecord{Want: "P", Device: fleet.DEPDevice{Family: "iPad"}, Assign: fleet.DEPAssignment{Tried: "O", Result: fleet.DEPThrottled, NextAt: now.Add(time.Hour)}}},
		{"failed", fleet.DEPRecord{Want: "P", Device: fleet.DEPDevice{Family: "iPad"}, Assign: fleet.DEPAssignment{Tried: "P", Result: fleet.DEPFailed, NextAt: now.Add(time.Hour)}}},
	} {
		got := toDEPDevice(&tt.r)
		if got.Assignment != tt.want || (got.NextTryAt != nil) != !tt.r.Assign.NextAt.IsZero() {
			t.Errorf("%s: %+v", tt.want, got)
		}
	}
}

func TestDevicesOfAnEnrollment(t *testing.T) {
	b := newBench(t)
	for path, want := range map[string]int{"?abm_token_id=1&serial_number=A,%20B": 200, "?enrollment_id=99": 404, "?enrollment_id=3": 422} {
		if status, body, _ := b.call(t, "GET", "/api/v1/fleet/mdm/apple/dep/devices"+path, ""); status != want {
			t.Errorf("%s: %d %v", path, status, body)
		}
	}
	if f := b.tokens.Filter; f.Token != 1 || len(f.Serials) != 2 || f.Serials[1] != "B" {
		t.Errorf("%+v", f)
	}
}

func TestSetupAssistants(t *testing.T) {
	b := newBench(t)
	path := "/api/v1/fleet/enrollment_profiles/automatic"
	if status, _, _ := b.call(t, "GET", path+"?team_id=3", ""); status != 404 {
		t.Error("before it is set:", status)
	}
	status, body, _ := b.call(t, "POST", path, `{"team_id":3,"name":"Pads","enrollment_profile":{"profile_name":"X"}}`)
	if status != 200 || body["team_id"] != 3.0 || body["name"] != "Pads" || len(body["warnings"].([]any)) != 1 {
		t.Error(status, body)
	}
	if status, body, _ := b.call(t, "GET", path+"?fleet_id=3", ""); status != 200 || body["enrollment_profile"].(map[string]any)["profile_name"] != "X" {
		t.Error(status, body)
	}
	if status, _, _ := b.call(t, "DELETE", path+"?team_id=3", ""); status != 204 || b.assistants.Current != nil {
		t.Error(status)
	}
	if status, body, _ := b.call(t, "GET", path+"/default", ""); status != 200 || body["name"] != "Default" {
		t.Error(status, body)
	}
}

func TestHowFarASetupIs(t *testing.T) {
	b := newBench(t)
	status, body, _ := b.call(t, "GET", "/api/v1/fleet/hosts/7/setup", "")
	steps, _ := body["steps"].([]any)
	if status != 200 || body["status"] != "waiting" || body["deadline"] != "2026-01-02T03:19:05Z" || len(steps) != 1 || steps[0].(map[string]any)["detail"] != "2 on their way" {
		t.Error(status, body)
	}
	for _, path := range []string{"GET /api/v1/fleet/hosts/8/setup", "POST /api/v1/fleet/hosts/8/renew_identity"} {
		method, path, _ := strings.Cut(path, " ")
		if status, answer, _ := b.call(t, method, path, ""); status != 404 || !strings.Contains(fmt.Sprint(answer), "Host 8 was not found") {
			t.Errorf("%s: %d %v", path, status, answer)
		}
	}
	b.setups.None = true
	if status, answer, _ := b.call(t, "GET", "/api/v1/fleet/hosts/7/setup", ""); status != 404 || !strings.Contains(fmt.Sprint(answer), "C02ABC did not wait") {
		t.Errorf("it never waited: %d %v", status, answer)
	}
	b.hosts.Status = fleet.MDMPending
	if status, answer, _ := b.call(t, "GET", "/api/v1/fleet/hosts/7/setup", ""); status != 404 || !strings.Contains(fmt.Sprint(answer), "C02ABC has not enrolled yet") {
		t.Errorf("it is pending: %d %v", status, answer)
	}
	b.setups.None = false
	if status, _, _ := b.call(t, "GET", "/api/v1/fleet/hosts/8/setup", ""); status != 404 {
		t.Error("a host that never waited:", status)
	}
	if status, _, _ := b.call(t, "POST", "/api/v1/fleet/hosts/7/setup/release", ""); status != 202 || b.setups.Released != 7 {
		t.Error(status, b.setups.Released)
	}
	if status, answer, _ := b.call(t, "PATCH", "/api/v1/fleet/setup_experience", `{"release_timeout_minute":30}`); status != 422 || !strings.Contains(fmt.Sprint(answer), "did you mean release_timeout_minutes") {
		t.Errorf("a key that nobody knows: %d %v", status, answer)
	}
	if status, _, _ := b.call(t, "PATCH", "/api/v1/fleet/setup_experience", `{"release_timeout_minutes":30,"hold_on_timeout":true}`); status != 204 {
		t.Error(status)
	}
	_, body, _ = b.call(t, "GET", "/api/v1/fleet/config", "")
	if s := body["mdm"].(map[string]any)["macos_setup"].(map[string]any); s["release_timeout_minutes"] != 30.0 || s["hold_on_timeout"] != true {
		t.Error(s)
	}
	if status, _, _ := b.call(t, "PATCH", "/api/v1/fleet/mdm/apple/setup", `{"team_id":3,"enable_release_device_manually":true}`); status != 204 {
		t.Error(status)
	}
}

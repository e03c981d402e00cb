package httpapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestDevicesEnrollOverTheAirWithoutALogin(t *testing.T) {
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{http.MethodGet, "/api/v1/fleet/enrollment_profiles/ota?enroll_secret=join", "", http.StatusOK, "begin"},
		{http.MethodPost, "/api/latest/fleet/ota_enrollment?enroll_secret=join&idp_uuid=", "signed", http.StatusOK, "answer"},
		{http.MethodGet, "/api/v1/fleet/enrollment_profiles/ota?enroll_secret=other", "", http.StatusForbidden, "Permission Denied"},
		{http.MethodPost, "/api/v1/fleet/ota_enrollment?enroll_secret=other", "signed", http.StatusForbidden, "Permission Denied"},
		{http.MethodGet, "/api/v1/fleet/enrollment_profiles/ota", "", http.StatusBadRequest, "enroll_secret"},
		{http.MethodPost, "/api/v1/fleet/ota_enrollment?enroll_secret=join", "", http.StatusBadRequest, "request body is required"},
		{http.MethodPost, "/api/v1/fleet/ota_enrollment?enroll_secret=join", strings.Repeat("x", otaBytes+1), http.StatusRequestEntityTooLarge, ""},
	} {
		b := newBench(t)
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/pkcs7-signature")
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
		if w.Code == http.StatusOK && w.Header().Get("Content-Type") != mobileconfigType {
			t.Errorf("%s: %s", c.path, w.Header().Get("Content-Type"))
		}
	}
	b := newBench(t) // which lets an address have two profiles
	var status int
	for range 3 {
		status, _, _ = b.as(t, "", http.MethodGet, "/api/v1/fleet/enrollment_profiles/ota?enroll_secret=guess", "")
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("guessing on and on: %d", status)
	}
}

func TestPeopleAreInvitedWithTheirAccounts(t *testing.T) {
	b := newBench(t)
	status, body, _ := b.call(t, http.MethodPost, "/api/v1/fleet/account_driven_enrollments", `{"managed_apple_id":"ada@example.com","team_id":3}`)
	if status != http.StatusOK || body["token"] != "secret-account-token" || body["expires_at"] == nil {
		t.Errorf("%d %v", status, body)
	}
	if status, _, _ = b.call(t, http.MethodPost, "/api/v1/fleet/account_driven_enrollments", `{"managed_apple_id":"ada"}`); status != http.StatusUnprocessableEntity {
		t.Errorf("no account: %d", status)
	}
	if status, _, _ = b.as(t, "token-observer", http.MethodPost, "/api/v1/fleet/account_driven_enrollments", `{"managed_apple_id":"ada@example.com"}`); status != http.StatusForbidden {
		t.Errorf("an observer: %d", status)
	}
}

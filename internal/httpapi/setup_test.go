package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestSetupRefusesWhatTheConfigurationWouldRefuseLater(t *testing.T) {
	for _, tt := range []struct {
		name, org, logo, field string
	}{
		{"a script for a logo", "Acme", "javascript:alert(1)", "org_info.org_logo_url"},
		{"a logo with a password", "Acme", "https://u:p@example.com/logo.png", "org_info.org_logo_url"},
		{"a logo without a host", "Acme", "https:///logo.png", "org_info.org_logo_url"},
		{"a very long logo URL", "Acme", "https://example.com/" + strings.Repeat("x", maxText), "org_info.org_logo_url"},
		{"a very long name", strings.Repeat("x", maxText+1), "", "org_info.org_name"},
		{"a logo with a version", "Acme", "https://example.com/logo.png?v=2", ""},
		{"no logo", "Acme", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			status, body, _ := b.as(t, "", "POST", "/api/v1/setup", fmt.Sprintf(
				`{"admin":{"email":"a@b.c","name":"A","password":"p"},"org_info":{"org_name":%q,"org_logo_url":%q},"server_url":"https://mdm.example.com"}`, tt.org, tt.logo))
			if tt.field == "" {
				if status != http.StatusOK || b.access.Applied.OrgLogoURL != tt.logo {
					t.Errorf("got %d %v", status, body)
				}
				return
			}
			faults, _ := body["errors"].([]any)
			if status != http.StatusUnprocessableEntity || len(faults) != 1 || faults[0].(map[string]any)["name"] != tt.field || b.access.Applied.OrgName != "" {
				t.Errorf("got %d %v", status, body)
			}
		})
	}
}

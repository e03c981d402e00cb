package mdmcmd

import "testing"

func TestEveryErrorHasACauseAndAFix(t *testing.T) {
	for domain, codes := range errorCodes {
		for code, m := range codes {
			if m.Cause == "" || m.Fix == "" {
				t.Errorf("%s %d: %+v", domain, code, m)
			}
		}
	}
	for domain, m := range errorDomains {
		if m.Cause == "" || m.Fix == "" {
			t.Errorf("%s: %+v", domain, m)
		}
	}
}

func TestAnUnknownCodeIsThatOfItsDomain(t *testing.T) {
	for _, tt := range []struct {
		domain string
		code   int64
		want   string
	}{
		{"MCInstallationErrorDomain", 4025, "the device must be supervised for a payload of the profile"},
		{"MCInstallationErrorDomain", 4999, "the device could not install the profile"},
		{"MCFontErrorDomain", 1, ""},
		{"NoSuchDomain", 1, ""},
	} {
		if m, ok := Explain(tt.domain, tt.code); m.Cause != tt.want || ok != (tt.want != "") {
			t.Errorf("%s %d: %q, %t", tt.domain, tt.code, m.Cause, ok)
		}
	}
}

package mobileconfig

import (
	"crypto/x509"
	"testing"

	"github.com/muster-mdm/muster/internal/codec/plist"
)

func built(t *testing.T, profile []byte, err error) map[string]any {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	v, err := plist.Read(profile)
	if err != nil {
		t.Fatal(err)
	}
	return v.(map[string]any)
}

func TestAPersonalDeviceGivesNoAccessRights(t *testing.T) {
	for account, personal := range map[string]bool{"": false, "ada@example.com": true} {
		profile, err := Enrollment{Topic: "t", ServerURL: "https://x", AccessRights: AllRights, ManagedAppleID: account, CA: &x509.Certificate{Raw: []byte("ca")}}.Build()
		top := built(t, profile, err)
		payloads := top["PayloadContent"].([]any)
		mdm := payloads[len(payloads)-1].(map[string]any)
		_, rights := mdm["AccessRights"]
		_, mode := mdm["EnrollmentMode"]
		if rights == personal || mode != personal || (top["PayloadScope"] == "User") != personal {
			t.Errorf("%q: %v, scope %v", account, mdm, top["PayloadScope"])
		}
		if personal && (mdm["EnrollmentMode"] != "BYOD" || mdm["AssignedManagedAppleID"] != account) {
			t.Errorf("%v", mdm)
		}
	}
}

func TestTheProfilesOverTheAirAskAndIdentify(t *testing.T) {
	ask, err := ProfileService{Organization: "Acme", URL: "https://x/ota?enroll_secret=s", Challenge: "once"}.Build()
	top := built(t, ask, err)
	asked := top["PayloadContent"].(map[string]any)
	if top["PayloadType"] != "Profile Service" || asked["URL"] != "https://x/ota?enroll_secret=s" || asked["Challenge"] != "once" || len(asked["DeviceAttributes"].([]any)) != 4 {
		t.Errorf("%v", top)
	}
	identity, err := OTAIdentity{Organization: "Acme", SCEPURL: "https://x/scep", Challenge: "twice"}.Build()
	top = built(t, identity, err)
	payloads := top["PayloadContent"].([]any)
	scep := payloads[0].(map[string]any)
	if top["PayloadType"] != "Configuration" || len(payloads) != 1 || scep["PayloadType"] != "com.apple.security.scep" {
		t.Errorf("%v", top)
	}
	if c := scep["PayloadContent"].(map[string]any); c["Challenge"] != "twice" || c["URL"] != "https://x/scep" {
		t.Errorf("%v", c)
	}
}

package mobileconfig

import (
	"bytes"
	"crypto/x509"
	"reflect"
	"strings"
	"testing"

	"github.com/muster-mdm/muster/internal/codec/plist"
)

const secret = "one-time-secret"

func sample() Enrollment {
	return Enrollment{Organization: "Acme & Söhne", Topic: "com.apple.mgmt.External.1", ServerURL: "https://mdm.example.com/mdm/apple/mdm",
		AccessRights: AllRights, SCEPURL: "https://mdm.example.com/mdm/apple/scep", Challenge: secret, CA: &x509.Certificate{Raw: []byte("CA in DER")}}
}

// build returns the profile, decoded, and its payloads by type.
func build(t *testing.T, e Enrollment) (profile map[string]any, payloads map[string]map[string]any) {
	t.Helper()
	raw, err := e.Build()
	if err != nil {
		t.Fatal(err)
	}
	v, err := plist.Read(raw)
	if err != nil {
		t.Fatal(err)
	}
	profile = v.(map[string]any)
	payloads = map[string]map[string]any{}
	for _, p := range profile["PayloadContent"].([]any) {
		payloads[p.(map[string]any)["PayloadType"].(string)] = p.(map[string]any)
	}
	return profile, payloads
}

// The UUIDs are written down: a changed one makes devices see another profile.
func TestTheProfileIsExactlyWhatDevicesKnow(t *testing.T) {
	got, _ := build(t, sample())
	want := map[string]any{
		"PayloadType": "Configuration", "PayloadVersion": int64(1), "PayloadIdentifier": "com.muster-mdm.enrollment",
		"PayloadUUID": "a61c29fa-c20f-839d-8245-ccb01795ef37", "PayloadDisplayName": "Acme & Söhne enrollment", "PayloadOrganization": "Acme & Söhne",
		"PayloadDescription": "Lets Acme & Söhne manage this device.", "PayloadScope": "System",
		"PayloadContent": []any{
			map[string]any{
				"PayloadType": "com.apple.security.root", "PayloadVersion": int64(1), "PayloadIdentifier": "com.muster-mdm.enrollment.ca",
				"PayloadUUID": "40bc42d1-6bb3-8fad-ae76-606148f05f58", "PayloadDisplayName": "Muster certificate authority", "PayloadContent": []byte("CA in DER"),
			},
			map[string]any{
				"PayloadType": "com.apple.security.scep", "PayloadVersion": int64(1), "PayloadIdentifier": "com.muster-mdm.enrollment.scep",
				"PayloadUUID": "b79a1620-10b8-8cfe-af4c-18356cefcac5", "PayloadDisplayName": "SCEP",
				"PayloadContent": map[string]any{
					"URL": "https://mdm.example.com/mdm/apple/scep", "Name": "Muster", "Challenge": secret, "Keysize": int64(2048), "Key Type": "RSA",
					"Key Usage": int64(5), "KeyIsExtractable": false,
					"Subject": []any{[]any{[]any{"O", "Muster"}}, []any{[]any{"CN", "Muster device identity"}}},
				},
			},
			map[string]any{
				"PayloadType": "com.apple.mdm", "PayloadVersion": int64(1), "PayloadIdentifier": "com.muster-mdm.enrollment.mdm",
				"PayloadUUID": "4899c5da-09b2-8f57-8237-a7a5ce33307d", "PayloadDisplayName": "MDM", "Topic": "com.apple.mgmt.External.1",
				"ServerURL": "https://mdm.example.com/mdm/apple/mdm", "IdentityCertificateUUID": "b79a1620-10b8-8cfe-af4c-18356cefcac5", "AccessRights": int64(8191),
				"SignMessage": true, "CheckOutWhenRemoved": true,
				"ServerCapabilities": []any{"com.apple.mdm.per-user-connections", "com.apple.mdm.bootstraptoken", "com.apple.mdm.token"},
			},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
}

func TestTheMDMPayloadUsesTheIdentityOfTheSCEPPayload(t *testing.T) {
	_, payloads := build(t, sample())
	if got, want := payloads["com.apple.mdm"]["IdentityCertificateUUID"], payloads["com.apple.security.scep"]["PayloadUUID"]; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// identifiersOf lists identifiers and UUIDs of the profile and its payloads.
func identifiersOf(t *testing.T, e Enrollment) []string {
	profile, payloads := build(t, e)
	var out []string
	for _, p := range []map[string]any{profile, payloads["com.apple.security.root"], payloads["com.apple.security.scep"], payloads["com.apple.mdm"]} {
		out = append(out, p["PayloadIdentifier"].(string), p["PayloadUUID"].(string))
	}
	return out
}

func TestUUIDsAreTheSameForTheSameServerAndDifferOtherwise(t *testing.T) {
	first := identifiersOf(t, sample())
	other := sample()
	other.Organization, other.Challenge, other.Topic, other.AccessRights = "Renamed", "another", "other", 1
	if again := identifiersOf(t, other); !reflect.DeepEqual(first, again) {
		t.Errorf("the same server: %v and %v", first, again)
	}
	other.ServerURL = "https://other.example.com/mdm"
	elsewhere := identifiersOf(t, other)
	seen := map[string]bool{}
	for i := 0; i < len(first); i += 2 {
		if first[i] != elsewhere[i] {
			t.Errorf("identifiers differ: %s and %s", first[i], elsewhere[i])
		}
		for _, uuid := range []string{first[i+1], elsewhere[i+1]} {
			if seen[uuid] {
				t.Errorf("the UUID %s occurs twice", uuid)
			}
			seen[uuid] = true
		}
	}
}

func TestTheChallengeIsTheOnlySecretAndOccursOnce(t *testing.T) {
	raw, err := sample().Build()
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(raw, []byte(secret)); n != 1 {
		t.Errorf("the challenge occurs %d times", n)
	}
	for _, word := range []string{"PRIVATE", "Password", "PayloadCertificateUUID"} {
		if bytes.Contains(raw, []byte(word)) {
			t.Errorf("%s is in the profile", word)
		}
	}
}

func TestWhatIsLeftOutIsLeftOut(t *testing.T) {
	e := sample()
	e.Organization = ""
	profile, payloads := build(t, e)
	if profile["PayloadDisplayName"] != "Device enrollment" || !strings.Contains(profile["PayloadDescription"].(string), "your organization") {
		t.Errorf("without an organization: %v", profile)
	}
	if _, ok := payloads["com.apple.mdm"]["CheckInURL"]; ok {
		t.Error("an empty CheckInURL is in the profile")
	}
	e.CheckInURL = "https://mdm.example.com/checkin"
	_, payloads = build(t, e)
	if payloads["com.apple.mdm"]["CheckInURL"] != e.CheckInURL {
		t.Errorf("CheckInURL: %v", payloads["com.apple.mdm"])
	}
}

// Package mobileconfig builds configuration profiles. It is pure: what goes
// in decides every byte that comes out. Facts: contracts/apple.md 1.7, 3.1,
// 3.3 and 3.4.
package mobileconfig

import (
	"crypto/sha256"
	"crypto/x509"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/kit/ids"
)

// ContentType is the MIME type of a profile.
const ContentType = "application/x-apple-aspen-config"

// Identifiers of the enrollment profile and its payloads. They must never
// change: a renewal replaces the profile with the same outer identifier.
const (
	EnrollmentIdentifier = "com.muster-mdm.enrollment"
	scepIdentifier       = EnrollmentIdentifier + ".scep"
	mdmIdentifier        = EnrollmentIdentifier + ".mdm"
	rootIdentifier       = EnrollmentIdentifier + ".ca"
)

// AllRights is every access right of the MDM payload.
const AllRights = 8191

// scepKeyUsage lets the identity sign and decrypt.
const scepKeyUsage = 5

// scepKeyBits is asked for explicitly: Apple's default is 1024.
const scepKeyBits = 2048

// Enrollment is what an enrollment profile says.
type Enrollment struct {
	Organization string
	Topic        string
	ServerURL    string
	CheckInURL   string // empty: check-ins go to ServerURL as well
	AccessRights int
	// ManagedAppleID is the account of a person who enrolls a device of their
	// own; "": the device is the organization's. Then AccessRights do not count.
	ManagedAppleID string
	SCEPURL        string
	Challenge      string // the one-time secret
	CA             *x509.Certificate
}

// Build returns the profile as an unsigned XML property list.
func (e Enrollment) Build() ([]byte, error) {
	scepUUID := e.uuid(scepIdentifier)
	scep := scepPayload(scepIdentifier, scepUUID, e.SCEPURL, e.Challenge)
	mdm := map[string]any{
		"Topic":                   e.Topic,
		"ServerURL":               e.ServerURL,
		"IdentityCertificateUUID": scepUUID,
		"AccessRights":            e.AccessRights,
		"SignMessage":             true,
		"CheckOutWhenRemoved":     true,
		"ServerCapabilities":      []any{"com.apple.mdm.per-user-connections", "com.apple.mdm.bootstraptoken", "com.apple.mdm.token"},
	}
	if e.CheckInURL != "" {
		mdm["CheckInURL"] = e.CheckInURL
	}
	scope := "System"
	if e.ManagedAppleID != "" {
		// contracts/apple.md 1.7 and 4.7
		scope = "User"
		mdm["EnrollmentMode"], mdm["AssignedManagedAppleID"] = "BYOD", e.ManagedAppleID
		mdm["ServerCapabilities"] = []any{"com.apple.mdm.per-user-connections", "com.apple.mdm.token"}
		delete(mdm, "AccessRights")
	}
	root := payload("com.apple.security.root", rootIdentifier, e.uuid(rootIdentifier), "Muster certificate authority",
		map[string]any{"PayloadContent": e.CA.Raw})
	profile := payload("Configuration", EnrollmentIdentifier, e.uuid(EnrollmentIdentifier), e.name(), map[string]any{
		"PayloadContent":      []any{root, scep, payload("com.apple.mdm", mdmIdentifier, e.uuid(mdmIdentifier), "MDM", mdm)},
		"PayloadScope":        scope,
		"PayloadOrganization": e.Organization,
		"PayloadDescription":  "Lets " + e.orgName() + " manage this device.",
	})
	return plist.Marshal(profile)
}

// scepPayload has a device ask for an identity.
func scepPayload(identifier, uuid, url, challenge string) map[string]any {
	return payload("com.apple.security.scep", identifier, uuid, "SCEP", map[string]any{
		"PayloadContent": map[string]any{
			"URL":              url,
			"Name":             "Muster",
			"Subject":          []any{[]any{[]any{"O", "Muster"}}, []any{[]any{"CN", "Muster device identity"}}},
			"Challenge":        challenge,
			"Keysize":          scepKeyBits,
			"Key Type":         "RSA",
			"Key Usage":        scepKeyUsage,
			"KeyIsExtractable": false,
		},
	})
}

func (e Enrollment) orgName() string {
	if e.Organization == "" {
		return "your organization"
	}
	return e.Organization
}

func (e Enrollment) name() string {
	if e.Organization == "" {
		return "Device enrollment"
	}
	return e.Organization + " enrollment"
}

// uuid is the same for the same server, so that profiles stay recognizable.
func (e Enrollment) uuid(identifier string) string {
	sum := sha256.Sum256([]byte(identifier + "\x00" + e.ServerURL))
	return ids.DerivedUUID([16]byte(sum[:16]))
}

func payload(kind, identifier, uuid, name string, content map[string]any) map[string]any {
	content["PayloadType"] = kind
	content["PayloadIdentifier"] = identifier
	content["PayloadUUID"] = uuid
	content["PayloadDisplayName"] = name
	content["PayloadVersion"] = 1
	return content
}

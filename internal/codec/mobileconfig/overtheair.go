package mobileconfig

import (
	"github.com/muster-mdm/muster/internal/codec/plist"
)

// Identifiers of the profiles of enrollment over the air.
const (
	otaIdentifier         = "com.muster-mdm.ota"
	otaIdentityIdentifier = otaIdentifier + ".identity"
	otaSCEPIdentifier     = otaIdentityIdentifier + ".scep"
)

// ProfileService has a device tell a URL what it is, signed with the
// certificate that it left the factory with (Apple, "Over-the-Air Profile
// Delivery and Configuration", phase 1).
type ProfileService struct {
	Organization string
	URL          string
	// Challenge comes back as CHALLENGE of what the device signs.
	Challenge string
}

// Build returns the profile as an unsigned XML property list.
func (p ProfileService) Build() ([]byte, error) {
	e := Enrollment{Organization: p.Organization, ServerURL: p.URL}
	return plist.Marshal(payload("Profile Service", otaIdentifier, e.uuid(otaIdentifier), e.name(), map[string]any{
		"PayloadOrganization": e.Organization,
		"PayloadDescription":  "Install this profile to let " + e.orgName() + " manage this device.",
		"PayloadContent": map[string]any{
			"URL":              p.URL,
			"Challenge":        p.Challenge,
			"DeviceAttributes": []any{"UDID", "VERSION", "PRODUCT", "SERIAL"},
		},
	}))
}

// OTAIdentity has a device get the identity that it signs with when it comes
// back for its enrollment profile (phase 2).
type OTAIdentity struct {
	Organization string
	SCEPURL      string
	Challenge    string
}

// Build returns the profile as an unsigned XML property list.
func (p OTAIdentity) Build() ([]byte, error) {
	e := Enrollment{Organization: p.Organization, ServerURL: p.SCEPURL}
	return plist.Marshal(payload("Configuration", otaIdentityIdentifier, e.uuid(otaIdentityIdentifier), e.name(), map[string]any{
		"PayloadOrganization": e.Organization,
		"PayloadContent":      []any{scepPayload(otaSCEPIdentifier, e.uuid(otaSCEPIdentifier), p.SCEPURL, p.Challenge)},
	}))
}

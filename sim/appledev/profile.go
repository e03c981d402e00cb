package appledev

import (
	"errors"
	"fmt"
	"slices"

	"github.com/muster-mdm/muster/internal/codec/cms"
)

// capability names of the MDM payload's ServerCapabilities.
const (
	capabilityUsers     = "com.apple.mdm.per-user-connections"
	capabilityBootstrap = "com.apple.mdm.bootstraptoken"
)

// profile is a configuration profile as a device understands it. Devices share
// it, so it never changes.
type profile struct {
	raw          []byte // as it came
	identifier   string
	uuid         string
	name         string
	scope        string // PayloadScope; "" when it says nothing
	payloads     []payloadHead
	certificates [][]byte // DER of its certificate payloads
	signers      [][]byte // DER of the certificates that came with its signature
	encrypted    bool
	removable    bool
	mdm          *mdmPayload  // nil: not an enrollment profile
	scep         *scepPayload // the identity of mdm, or the first one
}

// mdmPayload is com.apple.mdm (contracts/apple.md 1.7).
type mdmPayload struct {
	topic        string
	serverURL    string
	checkInURL   string
	rights       int
	checkOut     bool
	signMessage  bool
	capabilities []string
	identityUUID string
	account      string // the owner's, of a personal device; "": the organization's
}

// scepPayload is com.apple.security.scep (contracts/apple.md 3.1).
type scepPayload struct {
	url         string
	name        string
	challenge   string
	subject     []any // RDNs, each a list of pairs
	keySize     int
	fingerprint []byte
}

// parseProfile reads a configuration profile, signed or plain. Whose signature
// it is, is not asked. Its errors are objections that every device has.
func parseProfile(raw []byte) (*profile, error) {
	content, signers, err := unsigned(raw)
	if err != nil {
		return nil, err
	}
	d, err := parseDict(content)
	if err != nil {
		return nil, invalid(codeProfileInvalid, fmt.Sprintf("profile: %v", err))
	}
	p := &profile{
		raw: raw, signers: signers, identifier: d.text("PayloadIdentifier"), uuid: d.text("PayloadUUID"), name: d.text("PayloadDisplayName"),
		scope: d.text("PayloadScope"), removable: !d.flag("PayloadRemovalDisallowed"), encrypted: d["EncryptedPayloadContent"] != nil,
	}
	if d.text("PayloadType") != "Configuration" {
		return nil, invalid(codeFieldInvalid, "profile: not of the type Configuration")
	}
	if p.identifier == "" || p.uuid == "" {
		return nil, invalid(codeFieldMissing, "profile: without PayloadIdentifier or PayloadUUID")
	}
	err = checkVersion(d, p.identifier)
	if err != nil {
		return nil, err
	}
	payloads := d.dicts("PayloadContent")
	if len(payloads) != len(d.list("PayloadContent")) || d["PayloadContent"] != nil && d.list("PayloadContent") == nil {
		return nil, invalid(codeFieldInvalid, "profile: PayloadContent is no array of dictionaries")
	}
	err = p.readPayloads(payloads)
	if err != nil {
		return nil, err
	}
	return p, p.readIdentity(payloads)
}

// unsigned takes a signature off and returns the certificates that came with it.
func unsigned(raw []byte) (content []byte, signers [][]byte, err error) {
	const derSequence = 0x30
	if len(raw) == 0 || raw[0] != derSequence {
		return raw, nil, nil
	}
	signed, err := cms.Open(raw)
	if err != nil {
		return nil, nil, invalid(codeProfileInvalid, fmt.Sprintf("signed profile: %v", err))
	}
	for _, cert := range signed.Certificates {
		signers = append(signers, cert.Raw)
	}
	return signed.Content, signers, nil
}

// readPayloads checks every payload and finds the MDM one.
func (p *profile) readPayloads(payloads []dict) error {
	seen := make(map[string]bool)
	for _, payload := range payloads {
		head, err := readHead(payload)
		if err != nil {
			return err
		}
		if seen[head.uuid] {
			return invalid(codeDuplicate, fmt.Sprintf("profile: two payloads with UUID %s", head.uuid))
		}
		seen[head.uuid] = true
		p.payloads = append(p.payloads, head)
		der, err := readCertificate(payload)
		if err != nil {
			return err
		}
		if der != nil {
			p.certificates = append(p.certificates, der)
		}
		switch head.kind {
		case typePasscode:
			err = checkPasscode(payload)
		case typeMDM:
			err = p.readMDM(payload)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readMDM keeps the MDM payload.
func (p *profile) readMDM(payload dict) error {
	if p.mdm != nil {
		return invalid(codeDuplicate, "profile: two MDM payloads")
	}
	mdm, err := parseMDM(payload)
	p.mdm = mdm
	return err
}

// readIdentity finds the SCEP payload that the MDM payload points at, or the
// first one.
func (p *profile) readIdentity(payloads []dict) error {
	for _, payload := range payloads {
		if payload.text("PayloadType") != typeSCEP {
			continue
		}
		if p.mdm != nil && payload.text("PayloadUUID") != p.mdm.identityUUID {
			continue
		}
		scep, err := parseSCEP(payload.dict("PayloadContent"))
		if err != nil {
			return err
		}
		p.scep = scep
		break
	}
	if p.mdm != nil && p.scep == nil {
		return errors.New("profile: IdentityCertificateUUID names no SCEP payload")
	}
	return nil
}

// holds reports a payload of one of these types.
func (p *profile) holds(types []string) bool {
	return slices.ContainsFunc(p.payloads, func(h payloadHead) bool { return slices.Contains(types, h.kind) })
}

// parseMDM checks what Apple requires of the payload.
func parseMDM(d dict) (*mdmPayload, error) {
	m := &mdmPayload{
		topic: d.text("Topic"), serverURL: d.text("ServerURL"), checkInURL: d.text("CheckInURL"),
		rights: d.number("AccessRights"), checkOut: d.flag("CheckOutWhenRemoved"), signMessage: d.flag("SignMessage"),
		capabilities: d.texts("ServerCapabilities"), identityUUID: d.text("IdentityCertificateUUID"), account: d.text("AssignedManagedAppleID"),
	}
	_, hasRights := d["AccessRights"]
	if m.checkInURL == "" {
		m.checkInURL = m.serverURL
	}
	switch {
	case m.topic == "" || m.serverURL == "" || m.identityUUID == "":
		return nil, errors.New("MDM payload: without Topic, ServerURL or IdentityCertificateUUID")
	case !m.signMessage:
		return nil, errors.New("MDM payload: without SignMessage, which is the only way modeled")
	case (m.account != "") != (d.text("EnrollmentMode") == "BYOD"), m.account != "" && hasRights:
		return nil, errors.New("MDM payload: EnrollmentMode BYOD wants AssignedManagedAppleID and no AccessRights")
	case m.rights&2 != 0 && m.rights&1 == 0, m.rights&128 != 0 && m.rights&64 == 0:
		return nil, fmt.Errorf("MDM payload: access rights %d contradict themselves", m.rights)
	}
	return m, nil
}

// parseSCEP reads the PayloadContent of a SCEP payload.
func parseSCEP(d dict) (*scepPayload, error) {
	const defaultKeySize = 1024 // Apple's, when Keysize is omitted
	s := &scepPayload{
		url: d.text("URL"), name: d.text("Name"), challenge: d.text("Challenge"),
		subject: d.list("Subject"), keySize: d.number("Keysize"), fingerprint: d.data("CAFingerprint"),
	}
	if s.url == "" {
		return nil, errors.New("SCEP payload: without URL")
	}
	if s.keySize == 0 {
		s.keySize = defaultKeySize
	}
	if kind := d.text("Key Type"); kind != "" && kind != "RSA" {
		return nil, fmt.Errorf("SCEP payload: key type %q", kind)
	}
	return s, nil
}

// has reports a server capability.
func (m *mdmPayload) has(capability string) bool { return slices.Contains(m.capabilities, capability) }

// renews says whether a newer enrollment profile may replace an older one
// (contracts/apple.md 3.4).
func (p *profile) renews(old *profile) error {
	switch {
	case p.identifier != old.identifier:
		return errors.New("another PayloadIdentifier than the enrollment profile")
	case p.mdm.topic != old.mdm.topic:
		return errors.New("the Topic must not change")
	case p.mdm.serverURL != old.mdm.serverURL, p.mdm.checkInURL != old.mdm.checkInURL:
		return errors.New("ServerURL and CheckInURL must not change")
	case p.mdm.rights&^old.mdm.rights != 0:
		return errors.New("AccessRights must not grow")
	case p.mdm.has(capabilityUsers) != old.mdm.has(capabilityUsers):
		return errors.New("per-user-connections must not change")
	}
	return nil
}

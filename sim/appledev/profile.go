package appledev

import (
	"errors"
	"fmt"
	"slices"

	"github.com/muster-mdm/muster/internal/codec/cms"
)

// Payload types that a device acts on here.
const (
	typeMDM  = "com.apple.mdm"
	typeSCEP = "com.apple.security.scep"
)

// capability names of the MDM payload's ServerCapabilities.
const (
	capabilityUsers     = "com.apple.mdm.per-user-connections"
	capabilityBootstrap = "com.apple.mdm.bootstraptoken"
)

// profile is a configuration profile as a device understands it.
type profile struct {
	identifier string
	uuid       string
	name       string
	payloads   []dict
	encrypted  bool
	removable  bool
	mdm        *mdmPayload  // nil: not an enrollment profile
	scep       *scepPayload // the identity of mdm, or the first one
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
// it is, is not asked.
func parseProfile(raw []byte) (*profile, error) {
	const derSequence = 0x30
	if len(raw) > 0 && raw[0] == derSequence {
		signed, err := cms.Open(raw)
		if err != nil {
			return nil, fmt.Errorf("signed profile: %w", err)
		}
		raw = signed.Content
	}
	d, err := parseDict(raw)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	p := &profile{
		identifier: d.text("PayloadIdentifier"), uuid: d.text("PayloadUUID"), name: d.text("PayloadDisplayName"),
		payloads: d.dicts("PayloadContent"), removable: !d.flag("PayloadRemovalDisallowed"),
		encrypted: d["EncryptedPayloadContent"] != nil,
	}
	if d.text("PayloadType") != "Configuration" || d.number("PayloadVersion") != 1 {
		return nil, errors.New("profile: not a Configuration of version 1")
	}
	if p.identifier == "" || p.uuid == "" {
		return nil, errors.New("profile: without PayloadIdentifier or PayloadUUID")
	}
	return p, p.readPayloads()
}

// readPayloads finds the MDM payload and the identity it points at.
func (p *profile) readPayloads() error {
	seen := make(map[string]bool)
	for _, payload := range p.payloads {
		id := payload.text("PayloadUUID")
		if payload.text("PayloadType") == "" || payload.text("PayloadIdentifier") == "" || id == "" || payload.number("PayloadVersion") != 1 {
			return fmt.Errorf("profile: payload %q is incomplete", id)
		}
		if seen[id] {
			return fmt.Errorf("profile: two payloads with UUID %s", id)
		}
		seen[id] = true
		if payload.text("PayloadType") == typeMDM {
			if p.mdm != nil {
				return errors.New("profile: two MDM payloads")
			}
			mdm, err := parseMDM(payload)
			if err != nil {
				return err
			}
			p.mdm = mdm
		}
	}
	for _, payload := range p.payloads {
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

// parseMDM checks what Apple requires of the payload.
func parseMDM(d dict) (*mdmPayload, error) {
	m := &mdmPayload{
		topic: d.text("Topic"), serverURL: d.text("ServerURL"), checkInURL: d.text("CheckInURL"),
		rights: d.number("AccessRights"), checkOut: d.flag("CheckOutWhenRemoved"), signMessage: d.flag("SignMessage"),
		capabilities: d.texts("ServerCapabilities"), identityUUID: d.text("IdentityCertificateUUID"),
	}
	if m.checkInURL == "" {
		m.checkInURL = m.serverURL
	}
	switch {
	case m.topic == "" || m.serverURL == "" || m.identityUUID == "":
		return nil, errors.New("MDM payload: without Topic, ServerURL or IdentityCertificateUUID")
	case !m.signMessage:
		return nil, errors.New("MDM payload: without SignMessage, which is the only way modeled")
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

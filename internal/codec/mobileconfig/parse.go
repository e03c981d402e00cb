package mobileconfig

import (
	"errors"
	"fmt"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/codec/plist"
)

// MaxProfile bounds a profile that somebody uploads.
const MaxProfile = 1 << 20

// maxPayloads bounds the payloads of one profile.
const maxPayloads = 500

// Profile is a configuration profile that somebody wrote.
type Profile struct {
	Identifier string
	UUID       string
	Name       string // PayloadDisplayName
	Scope      string // PayloadScope: "", "System" or "User"
	Payloads   []Payload
	// Encrypted: the payloads can be read by the device only.
	Encrypted bool
	// Signed: the profile came inside a CMS signature, which nobody verified.
	Signed bool
	// Content is the XML property list, without the signature.
	Content []byte
}

// Payload is one payload of a profile.
type Payload struct {
	Type       string
	Identifier string
	UUID       string
	Name       string
	Content    map[string]any
}

const derSequence = 0x30

// Parse reads a profile, signed or plain. Errors say what a person has to
// change.
func Parse(data []byte) (*Profile, error) {
	p := &Profile{Content: data}
	if len(data) > MaxProfile {
		return nil, fmt.Errorf("the profile has %d bytes, at most %d are taken", len(data), MaxProfile)
	}
	if len(data) > 0 && data[0] == derSequence {
		signed, err := cms.Open(data)
		if err != nil {
			return nil, fmt.Errorf("the file looks like a signed profile, but its signature cannot be read: %w", err)
		}
		p.Signed, p.Content = true, signed.Content
	}
	if err := plist.Guard(p.Content, MaxProfile); errors.Is(err, plist.ErrBinary) {
		return nil, errors.New("a binary property list: convert it with `plutil -convert xml1`")
	} else if err != nil {
		return nil, err
	}
	v, err := plist.Read(p.Content)
	if err != nil {
		return nil, err
	}
	root, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("the root of a profile is a dictionary")
	}
	return p, p.read(root)
}

func (p *Profile) read(root map[string]any) error {
	text := func(d map[string]any, key string) string { t, _ := d[key].(string); return t }
	p.Identifier, p.UUID, p.Name, p.Scope = text(root, "PayloadIdentifier"), text(root, "PayloadUUID"), text(root, "PayloadDisplayName"), text(root, "PayloadScope")
	if kind := text(root, "PayloadType"); kind != "Configuration" {
		return fmt.Errorf("PayloadType is %.60q: a profile has %q", kind, "Configuration")
	}
	if version, ok := root["PayloadVersion"].(int64); !ok || version != 1 {
		return errors.New("PayloadVersion must be the integer 1")
	}
	if p.Identifier == "" {
		return errors.New("PayloadIdentifier is missing: devices tell profiles apart by it")
	}
	if p.UUID == "" {
		return errors.New("PayloadUUID is missing")
	}
	if _, p.Encrypted = root["EncryptedPayloadContent"]; p.Encrypted {
		return nil
	}
	content, has := root["PayloadContent"]
	if !has {
		return errors.New("PayloadContent is missing")
	}
	list, ok := content.([]any)
	if !ok {
		return errors.New("PayloadContent must be an array of payloads")
	}
	if len(list) > maxPayloads {
		return fmt.Errorf("%d payloads, at most %d are taken", len(list), maxPayloads)
	}
	for i, e := range list {
		d, ok := e.(map[string]any)
		if !ok {
			return fmt.Errorf("payload %d is not a dictionary", i+1)
		}
		payload := Payload{Type: text(d, "PayloadType"), Identifier: text(d, "PayloadIdentifier"), UUID: text(d, "PayloadUUID"),
			Name: text(d, "PayloadDisplayName"), Content: d}
		if payload.Type == "" || payload.Identifier == "" || payload.UUID == "" {
			return fmt.Errorf("payload %d (%.60q) lacks PayloadType, PayloadIdentifier or PayloadUUID", i+1, payload.Type)
		}
		if version, ok := d["PayloadVersion"].(int64); !ok || version != 1 {
			return fmt.Errorf("payload %d (%.60q): PayloadVersion must be the integer 1", i+1, payload.Type)
		}
		p.Payloads = append(p.Payloads, payload)
	}
	return nil
}

// RootCertificates builds a profile that makes a device trust the certificate
// authority. Its bytes are the same for the same certificate.
func RootCertificates(identifier, name string, der []byte) ([]byte, error) {
	e := Enrollment{ServerURL: string(der)}
	return plist.Marshal(payload("Configuration", identifier, e.uuid(identifier), name, map[string]any{
		"PayloadScope": "System",
		"PayloadContent": []any{payload("com.apple.security.root", identifier+".root", e.uuid(identifier+".root"), name,
			map[string]any{"PayloadContent": der})},
	}))
}

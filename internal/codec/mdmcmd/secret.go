package mdmcmd

import (
	"bytes"
	"errors"
	"maps"

	"github.com/muster-mdm/muster/internal/codec/plist"
)

// Hidden stands where a secret was.
const Hidden = "******"

// secretKeys are fields of commands (contracts/apple.md 6) and of answers that
// open a device.
var secretKeys = []string{"PIN", "UnlockToken", "NewPassword", "CurrentPassword", "Password", "ActivationLockBypassCode"}

// Redacted returns a command or an answer without what opens a device. One
// without such fields comes back as it is, byte by byte.
func Redacted(raw []byte) []byte {
	if !mentions(raw) {
		return raw
	}
	v, err := plist.Read(raw)
	if err != nil {
		return nil
	}
	root, _ := v.(map[string]any)
	inner, _ := root["Command"].(map[string]any)
	found := hide(root)
	if hide(inner) || found {
		if raw, err = plist.Marshal(root); err != nil {
			return nil
		}
	}
	return raw
}

func mentions(raw []byte) bool {
	for _, key := range secretKeys {
		if bytes.Contains(raw, []byte(key)) {
			return true
		}
	}
	return false
}

func hide(fields map[string]any) bool {
	found := false
	for _, key := range secretKeys {
		switch fields[key].(type) {
		case nil:
			continue
		case []byte:
			fields[key] = []byte(Hidden)
		default:
			fields[key] = Hidden
		}
		found = true
	}
	return found
}

// WithFields puts fields into the Command dictionary of a command.
func WithFields(body []byte, fields map[string]any) ([]byte, error) {
	v, err := plist.Read(body)
	if err != nil {
		return nil, err
	}
	root, _ := v.(map[string]any)
	inner, ok := root["Command"].(map[string]any)
	if !ok {
		return nil, errors.New("there is no Command dictionary")
	}
	maps.Copy(inner, fields)
	return plist.Marshal(root)
}

// Field returns a text field of the Command dictionary; empty when there is
// none.
func Field(body []byte, key string) string {
	v, err := plist.Read(body)
	if err != nil {
		return ""
	}
	root, _ := v.(map[string]any)
	inner, _ := root["Command"].(map[string]any)
	text, _ := inner[key].(string)
	return text
}

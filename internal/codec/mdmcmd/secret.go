package mdmcmd

import (
	"bytes"
	"errors"
	"maps"
	"slices"

	"github.com/muster-mdm/muster/internal/codec/plist"
)

// Hidden stands where a secret was.
const Hidden = "******"

// secretKeys are fields of commands (contracts/apple.md 6) and of answers that
// open a device, or hold passwords; they may stand at any depth.
var secretKeys = []string{"PIN", "UnlockToken", "NewPassword", "CurrentPassword", "Password", "passwordHash", "ActivationLockBypassCode",
	"BootstrapToken", "WiFiProfileData", "MDMProfileData", "PrivateKeyExport", "PrivateKeyExportPassword"}

// Redacted returns a command or an answer without what opens a device. One
// without such fields comes back as it is, byte by byte.
func Redacted(raw []byte) []byte { return without(raw, secretKeys) }

// placeKeys are the fields of answers that tell where a device is.
var placeKeys = []string{"Latitude", "Longitude", "Altitude"}

// Placeless returns an answer without where the device is, as Redacted does.
func Placeless(raw []byte) []byte { return without(raw, placeKeys) }

func without(raw []byte, keys []string) []byte {
	if !mentions(raw, keys) {
		return raw
	}
	v, err := plist.Read(raw)
	if err != nil {
		return nil
	}
	if hide(v, keys) {
		if raw, err = plist.Marshal(v); err != nil {
			return nil
		}
	}
	return raw
}

// mentions tells, in one pass, whether one of the keys may stand in a property
// list: where a key is not written plainly, it may be any.
func mentions(raw []byte, keys []string) bool {
	if !bytes.Contains(raw, []byte("<plist")) {
		return true
	}
	for {
		_, after, found := bytes.Cut(raw, []byte("<key"))
		if !found {
			return false
		}
		_, after, _ = bytes.Cut(after, []byte(">"))
		end := bytes.IndexByte(after, '<')
		if end < 0 {
			return true
		}
		name := after[:end]
		raw = after[end:]
		plain := bytes.HasPrefix(raw, []byte("</key")) && bytes.IndexByte(name, '&') < 0
		if !plain || slices.Contains(keys, string(bytes.TrimSpace(name))) {
			return true
		}
	}
}

// hide replaces what stands under keys in a value, whose depth plist bounds.
func hide(value any, keys []string) bool {
	found := false
	switch v := value.(type) {
	case []any:
		for _, inner := range v {
			found = hide(inner, keys) || found
		}
	case map[string]any:
		for key, inner := range v {
			if !slices.Contains(keys, key) {
				found = hide(inner, keys) || found
				continue
			}
			found = true
			v[key] = Hidden
			if _, data := inner.([]byte); data {
				v[key] = []byte(Hidden)
			}
		}
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

package profile

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/muster-mdm/muster/internal/codec/ddm"
	"github.com/muster-mdm/muster/internal/codec/mobileconfig"
	"github.com/muster-mdm/muster/internal/codec/variables"
	"github.com/muster-mdm/muster/internal/fleet"
)

// musterPrefix begins the identifiers of what Muster itself installs.
const musterPrefix = "com.muster-mdm."

// reservedIdentifiers are those of other servers' own profiles: a migrated
// device may have them.
var reservedIdentifiers = []string{"com.fleetdm.fleetd.config", "com.fleetdm.fleet.mdm.filevault", "com.fleetdm.caroot", "com.fleetdm.fleet.mdm.apple"}

// reservedNames are those of items that follow from settings.
var reservedNames = []string{"Fleetd configuration", "Disk encryption", "Fleet root certificate authority (CA)", "Windows OS Updates",
	"Fleet macOS OS Updates", "Fleet iOS OS Updates", "Fleet iPadOS OS Updates", nameCA, nameUpdates(fleet.PlatformDarwin),
	nameUpdates(fleet.PlatformIOS), nameUpdates(fleet.PlatformIPadOS)}

// reservedPayloads are payload types that nobody may upload, with the reason.
var reservedPayloads = map[string]string{
	"com.apple.mdm":                           "an MDM payload would replace this server's enrollment, and removing the profile would unenroll the device",
	"com.apple.MCX.FileVault2":                "disk encryption is a setting of the team (enable_disk_encryption)",
	"com.apple.security.FDERecoveryKeyEscrow": "disk encryption is a setting of the team (enable_disk_encryption)",
}

// supervisedPayloads want a supervised iPhone or iPad.
var supervisedPayloads = []string{"com.apple.app.lock", "com.apple.homescreenlayout", "com.apple.notificationsettings", "com.apple.proxy.http.global",
	"com.apple.webcontent-filter", "com.apple.shareddeviceconfiguration"}

// exclusivePayloads: a device takes one of each type only.
var exclusivePayloads = []string{"com.apple.app.lock", "com.apple.homescreenlayout", "com.apple.proxy.http.global", "com.apple.mobiledevice.passwordpolicy",
	"com.apple.shareddeviceconfiguration", "com.apple.MCX.FileVault2"}

// reservedDeclarations are types that follow from settings.
var reservedDeclarations = map[string]string{
	ddm.TypeSoftwareUpdate: "the enforced version is a setting of the team (macos_updates, ios_updates, ipados_updates)",
	ddm.TypeSubscriptions:  "Muster subscribes to status items by itself",
}

// invalid is an error about an upload.
func invalid(format string, args ...any) *fleet.Error {
	return fleet.FieldErrorf(fleet.KindBadRequest, "profile", format, args...)
}

// Read makes an item of a file: a configuration profile, or a declaration
// when it is JSON. The name of a declaration is that of its file. Errors say
// what is to be changed.
func Read(fileName string, content []byte) (fleet.ItemUpload, error) {
	trimmed := bytes.TrimLeft(content, " \t\r\n\xef\xbb\xbf")
	switch {
	case len(trimmed) == 0:
		return fleet.ItemUpload{}, invalid("the file is empty")
	case trimmed[0] == '{':
		return readDeclaration(fileName, content)
	case bytes.Contains(trimmed[:min(len(trimmed), 200)], []byte("<Replace")) || bytes.Contains(trimmed[:min(len(trimmed), 200)], []byte("<Add")):
		return fleet.ItemUpload{}, invalid("this looks like a Windows profile (SyncML): this server takes Apple profiles (.mobileconfig) and declarations (.json)")
	}
	return readProfile(content)
}

func readProfile(content []byte) (fleet.ItemUpload, error) {
	p, err := mobileconfig.Parse(content)
	if err != nil {
		return fleet.ItemUpload{}, invalid("not a configuration profile: %v", err)
	}
	i := fleet.Item{Kind: fleet.ItemProfile, Identifier: p.Identifier, Name: p.Name, Platforms: fleet.OnApple}
	switch p.Scope {
	case "", "System":
	case "User":
		i.Scope = fleet.ScopeUser
	default:
		return fleet.ItemUpload{}, invalid("PayloadScope is %.60q: it must be System or User", p.Scope)
	}
	if p.Name == "" {
		return fleet.ItemUpload{}, invalid("PayloadDisplayName is missing: people tell profiles apart by it")
	}
	i.Spec = fleet.ItemSpec{PayloadUUID: p.UUID, Size: len(p.Content)}
	if err := checkIdentity(&i); err != nil {
		return fleet.ItemUpload{}, err
	}
	if err := lint(&i, p); err != nil {
		return fleet.ItemUpload{}, err
	}
	if p.Encrypted {
		i.Spec.Warnings = append(i.Spec.Warnings, "the payloads are encrypted: only the device can tell whether they are right")
	}
	if p.Signed {
		i.Spec.Warnings = append(i.Spec.Warnings, "the profile's signature is not kept: MDM delivers profiles over an authenticated channel")
	}
	return finish(i, p.Content)
}

// checkIdentity refuses names and identifiers that are taken or unusable.
func checkIdentity(i *fleet.Item) error {
	switch {
	case strings.HasPrefix(i.Identifier, musterPrefix), slices.Contains(reservedIdentifiers, i.Identifier):
		return invalid("the identifier %s is reserved: removing such a profile could unenroll the device. Choose one of your own, as com.example.wifi", i.Identifier)
	case len(i.Identifier) > 255:
		return invalid("the identifier has %d bytes, at most 255 are taken", len(i.Identifier))
	case slices.Contains(reservedNames, i.Name):
		return invalid("the name %q is reserved for what follows from settings", i.Name)
	case len(i.Name) > 255:
		return invalid("the name has %d bytes, at most 255 are taken", len(i.Name))
	}
	for what, text := range map[string]string{"the identifier": i.Identifier, "the name": i.Name, "PayloadUUID": i.Spec.PayloadUUID} {
		found, err := variables.Scan([]byte(text))
		if err != nil || len(found.Variables)+len(found.Secrets) > 0 {
			return invalid("%s may not contain variables: it must be the same on every host", what)
		}
	}
	return nil
}

// lint checks the payloads and notes what they need.
func lint(i *fleet.Item, p *mobileconfig.Profile) error {
	uuids := map[string]string{}
	for _, payload := range p.Payloads {
		if strings.Contains(payload.Type+payload.Identifier, "$FLEET_") || strings.Contains(payload.Type+payload.Identifier, "${FLEET_") {
			return invalid("the type and identifier of a payload (%.60q) may not contain variables", payload.Type)
		}
		if why := reservedPayloads[payload.Type]; why != "" {
			return invalid("the payload %s is not taken: %s", payload.Type, why)
		}
		if payload.Type == "com.apple.MCX" && payload.Content["dontAllowFDEDisable"] != nil {
			return invalid("the payload com.apple.MCX sets FileVault options: disk encryption is a setting of the team (enable_disk_encryption)")
		}
		if other, twice := uuids[payload.UUID]; twice {
			return invalid("two payloads (%s and %s) have the PayloadUUID %s: devices refuse that", other, payload.Type, payload.UUID)
		}
		uuids[payload.UUID] = payload.Type
		add(&i.Spec.PayloadTypes, payload.Type)
		if slices.Contains(supervisedPayloads, payload.Type) {
			add(&i.Spec.NeedsSupervision, payload.Type)
		}
		if slices.Contains(exclusivePayloads, payload.Type) {
			add(&i.Spec.Exclusive, payload.Type)
		}
		for _, key := range secretsInClear(payload.Content) {
			i.Spec.Warnings = append(i.Spec.Warnings, fmt.Sprintf("%s: %s stands in clear: put it into a custom secret and write $FLEET_SECRET_NAME instead", payload.Type, key))
		}
	}
	return nil
}

func add(list *[]string, v string) {
	if !slices.Contains(*list, v) {
		*list = append(*list, v)
	}
}

// secretKeys are keys of payloads whose values are secret.
var secretKeys = []string{"password", "secret", "challenge", "passphrase", "sharedsecret", "privatekey", "token"}

// secretsInClear lists the keys whose values look like secrets and are no
// variables.
func secretsInClear(v any) []string {
	var out []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, e := range v {
				if text, ok := e.(string); ok && text != "" && !strings.HasPrefix(text, "$") && secretKey(key) {
					add(&out, key)
				}
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(v)
	slices.Sort(out)
	return out
}

func secretKey(key string) bool {
	key = strings.ToLower(key)
	return slices.ContainsFunc(secretKeys, func(s string) bool { return strings.HasSuffix(key, s) })
}

func readDeclaration(fileName string, content []byte) (fleet.ItemUpload, error) {
	d, err := ddm.Parse(content)
	if err != nil {
		return fleet.ItemUpload{}, invalid("not a declaration: %v", err)
	}
	name := strings.TrimSuffix(path.Base(strings.ReplaceAll(fileName, `\`, "/")), path.Ext(fileName))
	if name == "" || name == "." || name == "/" {
		name = d.Identifier
	}
	i := fleet.Item{Kind: fleet.ItemDeclaration, Identifier: d.Identifier, Name: name, Platforms: fleet.OnApple}
	i.Spec = fleet.ItemSpec{DeclarationType: d.Type, References: d.References, Size: len(content)}
	if why := reservedDeclarations[d.Type]; why != "" {
		return fleet.ItemUpload{}, invalid("declarations of type %s are not taken: %s", d.Type, why)
	}
	if err := checkIdentity(&i); err != nil {
		return fleet.ItemUpload{}, err
	}
	return finish(i, content)
}

// finish finds the variables and hashes the content.
func finish(i fleet.Item, content []byte) (fleet.ItemUpload, error) {
	found, err := variables.Scan(content)
	if err != nil {
		return fleet.ItemUpload{}, invalid("the profile: %v", err)
	}
	for _, name := range found.Variables {
		if !fleet.KnownVariable(name) {
			return fleet.ItemUpload{}, invalid("there is no variable $FLEET_VAR_%s; there are: %s", name, strings.Join(fleet.VariableNames(), ", "))
		}
	}
	i.Spec.Variables, i.Spec.Secrets = found.Variables, found.Secrets
	i.SHA256 = sha256.Sum256(content)
	i.Version = 1
	return fleet.ItemUpload{Item: i, Content: content}, nil
}

package profile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/muster-mdm/muster/internal/codec/mobileconfig"
	"github.com/muster-mdm/muster/internal/fleet"
)

// payload is one payload in XML.
func payload(kind, n, more string) string {
	return fmt.Sprintf(`<dict><key>PayloadType</key><string>%s</string><key>PayloadVersion</key><integer>1</integer>`+
		`<key>PayloadIdentifier</key><string>com.example.p%s</string><key>PayloadUUID</key><string>P-%s</string>%s</dict>`, kind, n, n, more)
}

// profileXML is a profile with those payloads; top is more at its top.
func profileXML(identifier, name, top string, payloads ...string) []byte {
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict><key>PayloadType</key><string>Configuration</string>`+
		`<key>PayloadVersion</key><integer>1</integer><key>PayloadIdentifier</key><string>%s</string><key>PayloadUUID</key><string>U-%s</string>`+
		`<key>PayloadDisplayName</key><string>%s</string>%s<key>PayloadContent</key><array>%s</array></dict></plist>`,
		identifier, identifier, name, top, strings.Join(payloads, ""))
}

func reason(err error) string {
	var e *fleet.Error
	if !errors.As(err, &e) {
		return fmt.Sprint(err)
	}
	var parts []string
	for _, f := range e.Fields {
		parts = append(parts, f.Reason)
	}
	return e.Error() + " " + strings.Join(parts, " ")
}

func TestReadRefuses(t *testing.T) {
	wifi := payload("com.apple.wifi.managed", "1", "")
	for _, tt := range []struct {
		name    string
		file    string
		content string
		want    string
	}{
		{"nothing", "a.mobileconfig", " \n", "empty"},
		{"no property list", "a.mobileconfig", "hello", "not a configuration profile"},
		{"a binary property list", "a.mobileconfig", "bplist00abc", "plutil"},
		{"a broken signature", "a.mobileconfig", "\x30\x82\x01", "signature cannot be read"},
		{"a Windows profile", "a.xml", "<Replace><Item/></Replace>", "Windows profile"},
		{"a profile cut short", "a.mobileconfig", string(profileXML("a", "A", "", wifi)[:200]), "not a configuration profile"},
		{"no name", "a.mobileconfig", string(profileXML("a", "", "", wifi)), "PayloadDisplayName"},
		{"a scope of its own", "a.mobileconfig", string(profileXML("a", "A", "<key>PayloadScope</key><string>Planet</string>", wifi)), "System or User"},
		{"an MDM payload", "a.mobileconfig", string(profileXML("a", "A", "", payload("com.apple.mdm", "1", ""))), "unenroll"},
		{"disk encryption", "a.mobileconfig", string(profileXML("a", "A", "", payload("com.apple.MCX.FileVault2", "1", ""))), "enable_disk_encryption"},
		{"disk encryption by another door", "a.mobileconfig", string(profileXML("a", "A", "", payload("com.apple.MCX", "1", "<key>dontAllowFDEDisable</key><true/>"))), "enable_disk_encryption"},
		{"Muster's own identifier", "a.mobileconfig", string(profileXML("com.muster-mdm.enrollment", "A", "", wifi)), "reserved"},
		{"another server's identifier", "a.mobileconfig", string(profileXML("com.fleetdm.caroot", "A", "", wifi)), "reserved"},
		{"a reserved name", "a.mobileconfig", string(profileXML("a", "Disk encryption", "", wifi)), "reserved"},
		{"a long identifier", "a.mobileconfig", string(profileXML(strings.Repeat("a", 256), "A", "", wifi)), "at most 255"},
		{"a variable in the identifier", "a.mobileconfig", string(profileXML("a.$FLEET_VAR_HOST_UUID", "A", "", wifi)), "may not contain variables"},
		{"a secret as the name", "a.mobileconfig", string(profileXML("a", "$FLEET_SECRET_A", "", wifi)), "may not contain variables"},
		{"a payload's type by variable", "a.mobileconfig", string(profileXML("a", "A", "", payload("$FLEET_SECRET_TYPE", "1", ""))), "may not contain variables"},
		{"two payloads of one UUID", "a.mobileconfig", string(profileXML("a", "A", "", wifi, wifi)), "devices refuse that"},
		{"a variable that does not exist", "a.mobileconfig", string(profileXML("a", "A", "", payload("com.apple.x", "1", "<key>a</key><string>$FLEET_VAR_NONE</string>"))), "there is no variable $FLEET_VAR_NONE"},
		{"a payload without a UUID", "a.mobileconfig", string(profileXML("a", "A", "", "<dict><key>PayloadType</key><string>x</string></dict>")), "lacks PayloadType"},
		{"an unknown kind of declaration", "a.json", `{"Type":"com.example.x","Identifier":"a","Payload":{}}`, "is none of"},
		{"JSON with a key of nobody's", "a.json", `{"Type":"com.apple.configuration.x","Identifier":"a","Payload":{},"Extra":1}`, "Extra"},
		{"JSON cut short", "a.json", `{"Type":"com.apple.configuration.x"`, "not a declaration"},
		{"updates as a declaration", "a.json", `{"Type":"com.apple.configuration.softwareupdate.enforcement.specific","Identifier":"a","Payload":{}}`, "macos_updates"},
		{"subscriptions as a declaration", "a.json", `{"Type":"com.apple.configuration.management.status-subscriptions","Identifier":"a","Payload":{}}`, "by itself"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read(tt.file, []byte(tt.content))
			var e *fleet.Error
			if !errors.As(err, &e) || e.Kind != fleet.KindBadRequest || !strings.Contains(reason(err), tt.want) {
				t.Errorf("got %q, want something about %q", reason(err), tt.want)
			}
		})
	}
}

func TestReadRefusesWhatIsTooBig(t *testing.T) {
	big := profileXML("a", "A", "", payload("com.apple.x", "1", "<key>a</key><string>"+strings.Repeat("x", mobileconfig.MaxProfile)+"</string>"))
	if _, err := Read("a.mobileconfig", big); !strings.Contains(reason(err), "at most") {
		t.Error(err)
	}
}

func TestReadNotesWhatAProfileNeeds(t *testing.T) {
	u, err := Read("a.mobileconfig", profileXML("com.example.a", "A", "<key>PayloadScope</key><string>User</string>",
		payload("com.apple.app.lock", "1", ""),
		payload("com.apple.wifi.managed", "2", "<key>SSID</key><string>$FLEET_VAR_HOST_HARDWARE_SERIAL</string><key>Password</key><string>hunter2</string>"),
		payload("com.apple.vpn.managed", "3", "<key>SharedSecret</key><string>${FLEET_SECRET_VPN}</string>")))
	if err != nil {
		t.Fatal(reason(err))
	}
	i, spec := u.Item, u.Item.Spec
	if i.Kind != fleet.ItemProfile || i.Identifier != "com.example.a" || i.Name != "A" || i.Scope != fleet.ScopeUser || i.Version != 1 || spec.PayloadUUID != "U-com.example.a" {
		t.Errorf("read as %+v", i)
	}
	for what, got := range map[string][2][]string{
		"types":       {spec.PayloadTypes, {"com.apple.app.lock", "com.apple.wifi.managed", "com.apple.vpn.managed"}},
		"supervision": {spec.NeedsSupervision, {"com.apple.app.lock"}},
		"exclusive":   {spec.Exclusive, {"com.apple.app.lock"}},
		"variables":   {spec.Variables, {"HOST_HARDWARE_SERIAL"}},
		"secrets":     {spec.Secrets, {"VPN"}},
	} {
		if !slices.Equal(got[0], got[1]) {
			t.Errorf("%s: %v, want %v", what, got[0], got[1])
		}
	}
	if len(spec.Warnings) != 1 || !strings.Contains(spec.Warnings[0], "Password stands in clear") || strings.Contains(spec.Warnings[0], "hunter2") {
		t.Errorf("warnings: %q", spec.Warnings)
	}
}

func TestADeclarationIsNamedLikeItsFile(t *testing.T) {
	u, err := Read(`lib\\passcode.json`, []byte(`{"Type":"com.apple.configuration.passcode.settings","Identifier":"com.example.passcode","Payload":{"X":{"UserIdentityAssetReference":"com.example.asset"}}}`))
	if err != nil {
		t.Fatal(reason(err))
	}
	if u.Item.Kind != fleet.ItemDeclaration || u.Item.Name != "passcode" || !slices.Equal(u.Item.Spec.References, []string{"com.example.asset"}) {
		t.Errorf("read as %+v", u.Item)
	}
}

// Whatever is taken has what the rest of the server relies on.
func FuzzRead(f *testing.F) {
	f.Add("a.mobileconfig", profileXML("a", "A", "", payload("com.apple.wifi.managed", "1", "<key>a</key><string>$FLEET_VAR_HOST_UUID</string>")))
	f.Add("a.json", []byte(`{"Type":"com.apple.activation.simple","Identifier":"a","Payload":{"StandardConfigurations":["b"],"Predicate":"@status(a) == 1"}}`))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		u, err := Read(name, content)
		if err != nil {
			var e *fleet.Error
			if !errors.As(err, &e) {
				t.Fatalf("an error that nobody can be shown: %v", err)
			}
			return
		}
		if u.Item.Identifier == "" || u.Item.Name == "" || u.Item.Version != 1 || len(u.Content) == 0 {
			t.Fatalf("taken: %+v", u.Item)
		}
		again, err := Read(name, u.Content)
		if err != nil || again.Item.SHA256 != u.Item.SHA256 || !bytes.Equal(again.Content, u.Content) {
			t.Fatalf("what was taken is not taken again: %v", err)
		}
	})
}

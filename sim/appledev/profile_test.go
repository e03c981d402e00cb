package appledev_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/sim/appledev"
)

type fields = map[string]any

// payload is one of a profile; name becomes its identifier and UUID.
func payload(kind, name string, more fields) fields {
	p := fields{"PayloadType": kind, "PayloadIdentifier": name, "PayloadUUID": "uuid-" + name, "PayloadVersion": 1}
	for k, v := range more {
		p[k] = v
	}
	return p
}

// configuration is a profile with a name and payloads.
func configuration(name string, more fields, payloads ...any) []byte {
	p := fields{
		"PayloadType": "Configuration", "PayloadIdentifier": name, "PayloadUUID": "uuid-" + name, "PayloadVersion": 1,
		"PayloadContent": append([]any{}, payloads...),
	}
	for k, v := range more {
		if p[k] = v; v == nil {
			delete(p, k)
		}
	}
	return encode(p)
}

// links are the "domain code" of an answer's ErrorChain.
func links(answer fields) []string {
	var out []string
	chain, _ := answer["ErrorChain"].([]any)
	for _, l := range chain {
		link, _ := l.(fields)
		domain, _ := link["ErrorDomain"].(string)
		out = append(out, domain)
		if link["ErrorCode"] == nil || link["LocalizedDescription"] == "" {
			out = append(out, "incomplete")
		}
	}
	return out
}

func TestADeviceRefusesTheProfilesItCannotUse(t *testing.T) {
	const iphone, ipad, mac = appledev.IPhone, appledev.IPad, appledev.Mac
	supervised := []string{"MCInstallationErrorDomain", "MCInstallationErrorDomain"}
	text := []string{"MCInstallationErrorDomain", "MCProfileErrorDomain"}
	onMac := []string{"CPDomain"}
	lengths := func(n int) any {
		return payload("com.apple.mobiledevice.passwordpolicy", "p", fields{"minLength": n})
	}
	for name, c := range map[string]struct {
		family  appledev.Family
		profile []byte
		free    bool // not supervised
		want    []string
	}{
		"no property list":             {iphone, []byte("hello"), false, text},
		"no property list on a Mac":    {mac, []byte("hello"), false, onMac},
		"a broken signature":           {iphone, []byte{0x30, 0x03, 1, 2, 3}, false, text},
		"another type":                 {ipad, configuration("a", fields{"PayloadType": "com.apple.wifi.managed"}), false, text},
		"no version":                   {ipad, configuration("a", fields{"PayloadVersion": nil}), false, text},
		"an unknown version":           {ipad, configuration("a", fields{"PayloadVersion": 2}), false, text},
		"no UUID":                      {mac, configuration("a", fields{"PayloadUUID": nil}), false, onMac},
		"content that is no array":     {ipad, configuration("a", fields{"PayloadContent": "x"}), false, text},
		"content of no dictionaries":   {ipad, configuration("a", nil, "x"), false, text},
		"a payload without type":       {ipad, configuration("a", nil, payload("", "p", nil)), false, text},
		"a payload without version":    {ipad, configuration("a", nil, payload("x", "p", fields{"PayloadVersion": 0})), false, text},
		"twice the same UUID":          {ipad, configuration("a", nil, payload("x", "p", nil), payload("x", "q", fields{"PayloadUUID": "uuid-p"})), false, text},
		"a second Wi-Fi":               {ipad, configuration("a", nil, payload("com.apple.wifi.managed", "p", nil), payload("com.apple.wifi.managed", "q", nil)), false, nil},
		"no payloads":                  {iphone, configuration("a", nil), false, nil},
		"unexpanded variables":         {iphone, configuration("a", nil, payload("x", "p", fields{"Name": "$FLEET_VAR_HOST_UUID"})), false, nil},
		"FileVault on an iPhone":       {iphone, configuration("a", nil, payload("com.apple.MCX.FileVault2", "p", nil)), false, text},
		"FileVault on a Mac":           {mac, configuration("a", nil, payload("com.apple.MCX.FileVault2", "p", nil)), false, nil},
		"an app lock on a Mac":         {mac, configuration("a", nil, payload("com.apple.app.lock", "p", nil)), false, onMac},
		"an app lock":                  {ipad, configuration("a", nil, payload("com.apple.app.lock", "p", nil)), false, nil},
		"an app lock unsupervised":     {ipad, configuration("a", nil, payload("com.apple.app.lock", "p", nil)), true, supervised},
		"a content filter on a Mac":    {mac, configuration("a", nil, payload("com.apple.webcontent-filter", "p", nil)), true, nil},
		"supervised restrictions":      {ipad, configuration("a", nil, payload("com.apple.applicationaccess", "p", fields{"allowAppInstallation": false})), true, nil},
		"a preference domain":          {mac, configuration("a", nil, payload("org.example.editor", "p", nil)), false, nil},
		"a passcode of 16":             {iphone, configuration("a", nil, lengths(16)), false, nil},
		"a passcode of 17":             {iphone, configuration("a", nil, lengths(17)), false, text},
		"a passcode of -1":             {iphone, configuration("a", nil, lengths(-1)), false, text},
		"a root without certificate":   {mac, configuration("a", nil, payload("com.apple.security.root", "p", fields{"PayloadContent": []byte("x")})), false, onMac},
		"a user's on the device":       {mac, configuration("a", fields{"PayloadScope": "User"}), false, []string{"NSPOSIXErrorDomain"}},
		"a user's on an iPad":          {ipad, configuration("a", fields{"PayloadScope": "User"}), false, nil},
		"a payload of another profile": {ipad, configuration("a", nil, payload("x", "taken", fields{"PayloadUUID": "new"})), false, text},
		"a UUID of another profile":    {ipad, configuration("a", nil, payload("x", "new", fields{"PayloadUUID": "uuid-taken"})), false, text},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			model := spec(c.family)
			model.Supervised = model.Supervised && !c.free
			d := s.deviceOf(t, model, appledev.Options{})
			first := s.ask(t, d, 0, "InstallProfile", fields{"Payload": configuration("first", nil, payload("x", "taken", nil))})
			if first["Status"] != "Acknowledged" {
				t.Fatalf("%v", first)
			}
			answer := s.ask(t, d, 0, "InstallProfile", fields{"Payload": c.profile})
			installed := slices.Contains(d.Profiles(), "a")
			if installed != (c.want == nil) || (answer["Status"] == "Acknowledged") != installed {
				t.Fatalf("installed: %v, answered %v", installed, answer)
			}
			if got := links(answer); !slices.Equal(got, c.want) {
				t.Fatalf("error chain %v, want %v", got, c.want)
			}
		})
	}
}

func TestAProfileReplacesTheOneWithItsIdentifier(t *testing.T) {
	s := start(t)
	now := time.Now()
	d := s.device(t, appledev.IPad, appledev.Options{Clock: func() time.Time { return now }})
	old := configuration("a", fields{"PayloadDisplayName": "Old"}, payload("x", "p", nil))
	signed, err := cms.Sign(configuration("a", fields{"PayloadUUID": "new", "PayloadRemovalDisallowed": true}, payload("y", "p", nil)), s.ca, nil, s.key)
	if err != nil {
		t.Fatal(err)
	}
	for i, raw := range [][]byte{old, old, signed} {
		s.ask(t, d, 0, "InstallProfile", fields{"Payload": raw})
		profiles := d.InstalledProfiles(appledev.DeviceChannel)
		p := profiles[len(profiles)-1]
		if len(profiles) != 2 || !bytes.Equal(p.Raw, raw) || p.Times != i+1 || !p.InstalledAt.Equal(now) || !p.Managed || p.Identifier != "a" {
			t.Fatalf("after %d: %+v", i+1, profiles)
		}
		now = now.Add(time.Second)
	}
	list, _ := s.ask(t, d, 0, "ProfileList", fields{"ManagedOnly": true})["ProfileList"].([]any)
	if signers, _ := list[0].(fields)["SignerCertificates"].([]any); len(signers) != 1 || !bytes.Equal(signers[0].([]byte), s.ca.Raw) {
		t.Fatalf("%v", list)
	}
	broken := configuration("a", nil, payload("", "p", nil))
	s.ask(t, d, 0, "InstallProfile", fields{"Payload": broken})
	if p := d.InstalledProfiles(appledev.DeviceChannel)[1]; p.UUID != "new" || p.Times != 3 {
		t.Fatalf("a refused profile changed the store: %+v", p)
	}
	if a := s.ask(t, d, 0, "RemoveProfile", fields{"Identifier": "a"}); a["Status"] != "Acknowledged" || len(d.Profiles()) != 1 {
		t.Fatalf("PayloadRemovalDisallowed hindered the server: %v", a)
	}
}

func TestAMacKeepsTwoStores(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.Mac, appledev.Options{})
	if a := s.ask(t, d, appledev.UserChannel, "InstallProfile", fields{"Payload": configuration("a", fields{"PayloadScope": "User"})}); a["Status"] != "Acknowledged" {
		t.Fatal(a)
	}
	if a := s.ask(t, d, appledev.UserChannel, "InstallProfile", fields{"Payload": configuration("b", fields{"PayloadScope": "System"})}); !slices.Equal(links(a), []string{"NSPOSIXErrorDomain"}) {
		t.Fatal(a)
	}
	count := func(c appledev.Channel) int {
		list, _ := s.ask(t, d, c, "ProfileList", fields{"ManagedOnly": true})["ProfileList"].([]any)
		return len(list)
	}
	if count(appledev.DeviceChannel) != 0 || count(appledev.UserChannel) != 1 || len(d.InstalledProfiles(appledev.UserChannel)) != 1 {
		t.Fatal("the user's profile is not in the user's store alone")
	}
	if a := s.ask(t, d, appledev.DeviceChannel, "RemoveProfile", fields{"Identifier": "a"}); !slices.Equal(links(a), []string{"MDMClientError"}) {
		t.Fatal(a)
	}
	s.ask(t, d, appledev.UserChannel, "RemoveProfile", fields{"Identifier": "a"})
	if count(appledev.UserChannel) != 0 {
		t.Fatal("still there")
	}
}

func TestCertificatesOfProfilesAreListed(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPhone, appledev.Options{})
	list := func() []any {
		l, _ := s.ask(t, d, 0, "CertificateList", nil)["CertificateList"].([]any)
		return l
	}
	s.ask(t, d, 0, "InstallProfile", fields{"Payload": configuration("a", nil, payload("com.apple.security.root", "p", fields{"PayloadContent": s.ca.Raw}))})
	if l := list(); len(l) != 2 || l[1].(fields)["IsIdentity"] != false || l[1].(fields)["CommonName"] != s.ca.Subject.CommonName {
		t.Fatalf("%v", l)
	}
	s.ask(t, d, 0, "RemoveProfile", fields{"Identifier": "a"})
	if len(list()) != 1 {
		t.Fatal("the certificate outlived its profile")
	}
}

func TestDriftByHand(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPhone, appledev.Options{})
	mine := configuration("mine", nil, payload("x", "p", nil))
	s.ask(t, d, 0, "InstallProfile", fields{"Payload": configuration("theirs", nil)})
	s.take()
	if err := d.InstallByHand(mine); err != nil {
		t.Fatal(err)
	}
	if d.InstallByHand(configuration("theirs", nil)) == nil || d.RemoveByHand("mine") || d.RemoveByHand("test.enrollment") || !d.RemoveByHand("theirs") {
		t.Fatal("the hand reached what it must not, or not what it can")
	}
	if len(s.take()) != 0 || !slices.Equal(d.Profiles(), []string{"test.enrollment", "mine"}) {
		t.Fatalf("%v", d.Profiles())
	}
	for _, c := range []struct{ command, field string }{{"InstallProfile", "Payload"}, {"RemoveProfile", "Identifier"}} {
		value := map[string]any{"Payload": mine, "Identifier": "mine"}[c.field]
		if a := s.ask(t, d, 0, c.command, fields{c.field: value}); a["Status"] != "Error" {
			t.Fatalf("%s of a foreign profile: %v", c.command, a)
		}
	}
	list, _ := s.ask(t, d, 0, "ProfileList", nil)["ProfileList"].([]any)
	if len(list) != 2 || list[1].(fields)["IsManaged"] != false {
		t.Fatalf("%v", list)
	}
}

func TestProfilesAreRejectedAndLiedAboutAsPlanned(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.Mac, appledev.Options{})
	wifi := fields{"Payload": configuration("wifi", nil, payload("com.apple.wifi.managed", "p", nil))}
	d.Faults().RejectPayload("com.apple.wifi.managed")
	if a := s.ask(t, d, 0, "InstallProfile", wifi); len(links(a)) == 0 || len(d.Profiles()) != 1 {
		t.Fatalf("%v, holds %v", a, d.Profiles())
	}
	d.Faults().RejectPayload()
	d.Faults().LieAboutInstall("com.apple.wifi.managed")
	if a := s.ask(t, d, 0, "InstallProfile", wifi); a["Status"] != "Acknowledged" || len(d.Profiles()) != 1 {
		t.Fatalf("%v, holds %v", a, d.Profiles())
	}
	d.Faults().LieAboutInstall()
	if a := s.ask(t, d, 0, "InstallProfile", wifi); a["Status"] != "Acknowledged" || len(d.Profiles()) != 2 {
		t.Fatalf("%v, holds %v", a, d.Profiles())
	}
}

func TestAnotherEnrollmentStartsWithoutTheProfilesOfTheFirst(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPad, appledev.Options{})
	s.ask(t, d, 0, "InstallProfile", fields{"Payload": configuration("theirs", nil)})
	if err := d.InstallByHand(configuration("mine", nil)); err != nil {
		t.Fatal(err)
	}
	if err := d.Enroll(t.Context(), s.url+"/enroll"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"mine", "test.enrollment"}; !slices.Equal(d.Profiles(), want) {
		t.Fatalf("%v, want %v", d.Profiles(), want)
	}
}

func TestDevicesShareEqualProfiles(t *testing.T) {
	s := start(t)
	o := appledev.Options{Library: new(appledev.Library)}
	var raws [][]byte
	for _, f := range []appledev.Family{appledev.IPhone, appledev.IPad} {
		d := s.device(t, f, o)
		s.ask(t, d, 0, "InstallProfile", fields{"Payload": configuration("a", nil)})
		raws = append(raws, d.InstalledProfiles(0)[1].Raw)
	}
	if &raws[0][0] != &raws[1][0] {
		t.Fatal("two devices hold two copies of one profile")
	}
}

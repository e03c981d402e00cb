package appledev_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/muster-mdm/muster/sim/appledev"
)

func wantEndpoints(t *testing.T, got exchange, want ...string) {
	t.Helper()
	if !slices.Equal(got.endpoints, want) {
		t.Fatalf("the device asked for %q, want %q", got.endpoints, want)
	}
}

var test1 = declaration{"com.apple.configuration.management.test", "c1", "1", fields{"Echo": "x"}}

func TestDeclarativeManagementBeginsWithACommandAndEndsWithTheEnrollment(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPad, appledev.Options{})
	s.publish(0, "t1", []declaration{activation("a1", "c1"), test1}, nil)
	s.take()
	poll(t, d)
	wantEndpoints(t, s.heard(t))
	got := s.synchronize(t, d, 0)
	wantEndpoints(t, got, "tokens", "declaration-items", "declaration/activation/a1", "declaration/configuration/c1", "status")
	if r := got.reports[0]; !*r.FullReport || r.row("c1") != "true valid" || r.row("a1") != "true valid" {
		t.Fatalf("%+v", r)
	}
	if held := d.Declarations(appledev.DeviceChannel); len(held) != 2 || held[1].ServerToken != "1" || !held[1].Active || held[1].Kind != "configuration" {
		t.Fatalf("%+v", held)
	}
	poll(t, d)
	wantEndpoints(t, s.heard(t))
	if err := d.Enroll(t.Context(), s.url+"/enroll"); err != nil {
		t.Fatal(err)
	}
	poll(t, d)
	if got := s.heard(t); len(got.endpoints) > 0 || d.Declarations(0) != nil {
		t.Fatalf("on again without a command: %v", got.endpoints)
	}
}

func TestOnlyWhatChangedIsFetched(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPad, appledev.Options{})
	other := declaration{"com.apple.configuration.management.test", "c2", "1", fields{"Echo": "x"}}
	s.publish(0, "t1", []declaration{activation("a1", "c1", "c2"), test1, other}, nil)
	s.synchronize(t, d, 0)

	wantEndpoints(t, s.synchronize(t, d, 0), "tokens")
	hint := func(token string) exchange {
		s.take()
		s.enqueue("DeclarativeManagement", fields{"Data": []byte(toJSON(fields{"SyncTokens": fields{"DeclarationsToken": token}}))})
		poll(t, d)
		return s.heard(t)
	}
	wantEndpoints(t, hint("t1"))
	wantEndpoints(t, hint("t2"), "tokens")

	newer := test1
	newer.token = "2"
	s.publish(0, "t2", []declaration{activation("a1", "c1", "c2"), newer, other}, nil)
	got := hint("t2")
	wantEndpoints(t, got, "tokens", "declaration-items", "declaration/configuration/c1", "status")
	if *got.reports[0].FullReport || len(got.reports[0].StatusItems) != 1 {
		t.Fatalf("more than what changed: %+v", got.reports[0])
	}

	gone := func(ddm map[string]string) { delete(ddm, "declaration/configuration/c1") }
	newer.token = "3"
	s.publish(0, "t3", []declaration{activation("a1", "c1"), newer}, gone)
	if r := s.synchronize(t, d, 0).reports[0]; r.row("c1") != "absent" || r.row("c2") != "absent" || d.ProtocolErrors() != 0 {
		t.Fatalf("%+v", r)
	}
}

func TestASynchronizationThatFailsGoesOnLater(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPad, appledev.Options{})
	s.publish(0, "t1", []declaration{activation("a1", "c1"), test1}, nil)
	failing := func(endpoint string) exchange {
		t.Helper()
		s.mu.Lock()
		s.ddmFailing = endpoint
		s.mu.Unlock()
		s.take()
		if _, err := d.Poll(t.Context()); (err != nil) != (endpoint != "") {
			t.Fatalf("while %q fails: %v", endpoint, err)
		}
		return s.heard(t)
	}
	s.enqueue("DeclarativeManagement", nil)
	wantEndpoints(t, failing("tokens"), "tokens")
	wantEndpoints(t, failing("declaration/configuration/c1"), "tokens", "declaration-items", "declaration/activation/a1", "declaration/configuration/c1")
	wantEndpoints(t, failing("status"), "tokens", "declaration-items", "declaration/configuration/c1", "status")
	got := failing("")
	wantEndpoints(t, got, "status")
	if !*got.reports[0].FullReport {
		t.Fatal("the first report that arrives is not a full one")
	}
}

func TestAServerThatOffersNoDeclarationsIsLeftAlone(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPad, appledev.Options{})
	wantEndpoints(t, s.synchronize(t, d, 0), "tokens")
	poll(t, d)
	wantEndpoints(t, s.heard(t))
}

func TestDefectsOfTheServerAreCounted(t *testing.T) {
	long := strings.Repeat("x", 65)
	replace := func(key, old, fresh string) func(map[string]string) {
		return func(ddm map[string]string) {
			if !strings.Contains(ddm[key], old) {
				t.Errorf("%s is not in %s", old, ddm[key])
			}
			ddm[key] = strings.Replace(ddm[key], old, fresh, 1)
		}
	}
	const items, body = "declaration-items", "declaration/configuration/c1"
	for name, edit := range map[string]func(map[string]string){
		"an array is missing":  replace(items, `"Assets":[],`, ``),
		"an array is null":     replace(items, `"Assets":[]`, `"Assets":null`),
		"an array is none":     replace(items, `"Assets":[]`, `"Assets":{}`),
		"no token":             replace(items, `"DeclarationsToken":"t1"`, `"DeclarationsToken":""`),
		"no JSON":              replace(items, `{`, ``),
		"tokens without token": replace("tokens", `"t1"`, `""`),
		"too long a token":     replace("tokens", `t1`, strings.Repeat("x", 257)),
		"a long server token": func(ddm map[string]string) {
			replace(items, `"Identifier":"c1","ServerToken":"1"`, `"Identifier":"c1","ServerToken":"`+long+`"`)(ddm)
			replace(body, `"ServerToken":"1"`, `"ServerToken":"`+long+`"`)(ddm)
		},
		"a long identifier":      replace(items, `"Identifier":"c1"`, `"Identifier":"`+long+`"`),
		"twice":                  replace(items, `{"Identifier":"c1","ServerToken":"1"}`, `{"Identifier":"c1","ServerToken":"1"},{"Identifier":"c1","ServerToken":"1"}`),
		"another identifier":     replace(body, `"Identifier":"c1"`, `"Identifier":"c2"`),
		"another server token":   replace(body, `"ServerToken":"1"`, `"ServerToken":"2"`),
		"another kind":           replace(body, `com.apple.configuration`, `com.apple.asset`),
		"no payload":             replace(body, `"Payload"`, `"Load"`),
		"a body that is no JSON": replace(body, `{`, ``),
	} {
		t.Run(name, func(t *testing.T) {
			var events []error
			s := start(t)
			d := s.device(t, appledev.IPhone, appledev.Options{OnEvent: func(e appledev.Event) {
				if e.Kind == appledev.EventError {
					events = append(events, e.Err)
				}
			}})
			s.publish(0, "t1", []declaration{test1}, edit)
			s.synchronize(t, d, 0)
			if d.ProtocolErrors() != 1 || len(events) != 1 || !errors.Is(events[0], appledev.ErrProtocol) {
				t.Fatalf("%d, %v", d.ProtocolErrors(), events)
			}
		})
	}
}

func TestVerdictsOfDeclarations(t *testing.T) {
	when := func(predicate string) declaration {
		a := activation("a1", "c1")
		a.payload["Predicate"] = predicate
		return a
	}
	typed := func(declType, id string, payload fields) declaration { return declaration{declType, id, "1", payload} }
	passcode := func(length int) declaration {
		return typed("com.apple.configuration.passcode.settings", "c1", fields{"MinimumLength": length})
	}
	refers := typed("com.apple.configuration.security.certificate", "c1", fields{"CredentialAssetReference": "s1"})
	const held, predicate, missing = "true valid", "false valid Info.Predicate", "false unknown Info.NotReferencedByActivation"
	type rows map[string]string
	for name, c := range map[string]struct {
		family appledev.Family
		list   []declaration
		want   rows
	}{
		"activated":                  {appledev.IPad, []declaration{activation("a1", "c1"), test1}, rows{"a1": held, "c1": held}},
		"not activated":              {appledev.IPad, []declaration{test1}, rows{"c1": missing}},
		"an unknown configuration":   {appledev.IPad, []declaration{activation("a1", "c1", "c2"), test1}, rows{"a1": "false invalid Error.MissingConfigurations", "c1": "false unknown Error.ActivationFailed"}},
		"saved by another":           {appledev.IPad, []declaration{activation("a1", "c1"), activation("a2", "c1", "c2"), test1}, rows{"c1": held}},
		"nothing to activate":        {appledev.IPad, []declaration{{"com.apple.activation.simple", "a1", "1", fields{}}}, rows{"a1": "false invalid Error.InvalidPayload"}},
		"an unknown type":            {appledev.IPad, []declaration{activation("a1", "c1"), typed("com.apple.configuration.coffee", "c1", fields{})}, rows{"a1": held, "c1": "false invalid Error.UnknownDeclarationType"}},
		"a type of Macs":             {appledev.IPad, []declaration{activation("a1", "c1"), typed("com.apple.configuration.screensharing.connection", "c1", fields{})}, rows{"c1": "false invalid Error.UnknownDeclarationType"}},
		"a type of tomorrow":         {appledev.Mac, []declaration{activation("a1", "c1"), typed("com.apple.configuration.package", "c1", fields{})}, rows{"c1": "false invalid Error.UnknownDeclarationType"}},
		"a passcode of 16":           {appledev.IPad, []declaration{activation("a1", "c1"), passcode(16)}, rows{"c1": held}},
		"a passcode of 17":           {appledev.IPad, []declaration{activation("a1", "c1"), passcode(17)}, rows{"c1": "false invalid Error.ConfigurationCannotBeApplied"}},
		"a passcode of -1":           {appledev.IPad, []declaration{activation("a1", "c1"), passcode(-1)}, rows{"c1": "false invalid Error.ConfigurationCannotBeApplied"}},
		"an absent asset":            {appledev.IPad, []declaration{activation("a1", "c1"), refers}, rows{"c1": "false invalid Error.MissingAssets"}},
		"an asset":                   {appledev.IPad, []declaration{activation("a1", "c1"), refers, typed("com.apple.asset.credential.certificate", "s1", fields{})}, rows{"c1": held, "s1": held}},
		"an asset for nobody":        {appledev.IPad, []declaration{typed("com.apple.asset.data", "s1", fields{})}, rows{"s1": "false unknown Info.NotReferencedByConfiguration"}},
		"management":                 {appledev.IPad, []declaration{typed("com.apple.management.organization-info", "m1", fields{"Name": "x"})}, rows{"m1": held}},
		"true for a Mac":             {appledev.Mac, []declaration{when(`@status(device.model.family) == "Mac"`), test1}, rows{"a1": held, "c1": held}},
		"false for an iPad":          {appledev.IPad, []declaration{when(`@status(device.model.family) == "Mac"`), test1}, rows{"a1": predicate, "c1": missing}},
		"not a Mac":                  {appledev.IPad, []declaration{when(`@status(device.model.family) != 'Mac'`), test1}, rows{"a1": held}},
		"new enough":                 {appledev.IPad, []declaration{when(`(@status(device.operating-system.version) >= "17")`), test1}, rows{"a1": held}},
		"not new enough":             {appledev.IPad, []declaration{when(`@status(device.operating-system.version) >= "27"`), test1}, rows{"a1": predicate}},
		"and":                        {appledev.IPad, []declaration{when(`TRUEPREDICATE AND FALSEPREDICATE`), test1}, rows{"a1": predicate}},
		"or binds less":              {appledev.IPad, []declaration{when(`TRUEPREDICATE OR FALSEPREDICATE AND FALSEPREDICATE`), test1}, rows{"a1": held}},
		"parentheses bind more":      {appledev.IPad, []declaration{when(`(TRUEPREDICATE || FALSEPREDICATE) && FALSEPREDICATE`), test1}, rows{"a1": predicate}},
		"not":                        {appledev.IPad, []declaration{when(`NOT (@status(passcode.is-present) == FALSE)`), test1}, rows{"a1": held}},
		"a property":                 {appledev.IPad, []declaration{when(`@property(floor) > 2`), test1, typed("com.apple.management.properties", "m1", fields{"floor": 2})}, rows{"a1": predicate}},
		"a predicate not understood": {appledev.IPad, []declaration{when(`ANY @status(mdm.app) LIKE "x*"`), test1}, rows{"a1": held, "c1": held}},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			d := s.device(t, c.family, appledev.Options{})
			s.publish(0, "t1", c.list, nil)
			report := s.synchronize(t, d, 0).reports[0]
			for id, want := range c.want {
				if got := report.row(id); got != want {
					t.Errorf("%s is %q, want %q", id, got, want)
				}
			}
		})
	}
}

func TestDeclarationsAreRejectedAsPlanned(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPad, appledev.Options{})
	d.Faults().RejectDeclaration(test1.declType)
	s.publish(0, "t1", []declaration{activation("a1", "c1"), test1}, nil)
	if r := s.synchronize(t, d, 0).reports[0]; r.row("c1") != "false invalid Error.ConfigurationCannotBeApplied" {
		t.Fatalf("%+v", r)
	}
	d.Faults().RejectDeclaration()
	poll(t, d)
	if r := s.heard(t).reports[0]; r.row("c1") != "true valid" {
		t.Fatalf("%+v", r)
	}
}

func TestAssetsAreDownloadedAndVerified(t *testing.T) {
	hash := func(b string) string { h := sha256.Sum256([]byte(b)); return hex.EncodeToString(h[:]) }
	const good = "true valid"
	for name, c := range map[string]struct {
		reference fields
		auth      string
		file      file
		want      string
	}{
		"as it should be":     {fields{"ContentType": "text/plain", "Size": 5, "Hash-SHA-256": hash("hello")}, "MDM", file{"text/plain; charset=utf-8", []byte("hello"), true}, good},
		"without a signature": {fields{}, "None", file{"text/plain", []byte("hello"), false}, good},
		"another type":        {fields{"ContentType": "text/html"}, "MDM", file{"text/plain", []byte("hello"), true}, "false invalid Error.AssetCannotBeVerified"},
		"another size":        {fields{"Size": 4}, "MDM", file{"text/plain", []byte("hello"), true}, "false invalid Error.AssetCannotBeVerified"},
		"another hash":        {fields{"Hash-SHA-256": hash("hallo")}, "MDM", file{"text/plain", []byte("hello"), true}, "false invalid Error.AssetCannotBeVerified"},
		"a size of zero":      {fields{"Size": 0, "Hash-SHA-256": "x"}, "MDM", file{"text/plain", []byte("hello"), true}, good},
		"more than 10 MB":     {fields{}, "MDM", file{"text/plain", make([]byte, 10<<20+1), true}, "false invalid Error.AssetCannotBeDownloaded"},
		"refused":             {fields{}, "None", file{"text/plain", nil, true}, "false invalid Error.AssetCannotBeDownloaded"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			d := s.device(t, appledev.Mac, appledev.Options{})
			s.files = map[string]file{"f": c.file}
			c.reference["DataURL"] = s.url + "/files/f"
			s.publish(0, "t1", []declaration{
				activation("a1", "c1"),
				{"com.apple.configuration.services.configuration-files", "c1", "1", fields{"ServiceType": "com.apple.sudo", "DataAssetReference": "s1"}},
				{"com.apple.asset.data", "s1", "1", fields{"Reference": c.reference, "Authentication": fields{"Type": c.auth}}},
			}, nil)
			report := s.synchronize(t, d, 0).reports[0]
			if got := report.row("s1"); got != c.want {
				t.Fatalf("%q, want %q", got, c.want)
			}
			want := good
			if c.want != good {
				want = "false invalid Error.ConfigurationCannotBeApplied"
			}
			if got := report.row("c1"); got != want {
				t.Fatalf("its configuration is %q, want %q", got, want)
			}
		})
	}
}

func TestLegacyProfilesComeAndGoWithTheirDeclaration(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPad, appledev.Options{})
	legacy := func(token string) []declaration {
		return []declaration{activation("a1", "c1"), {"com.apple.configuration.legacy", "c1", token, fields{"ProfileURL": s.url + "/files/" + token}}}
	}
	s.files = map[string]file{
		"1": {"application/x-apple-aspen-config", configuration("one", nil, payload("x", "p", nil)), true},
		"2": {"application/x-apple-aspen-config", configuration("two", nil, payload("x", "q", nil)), true},
		"3": {"application/x-apple-aspen-config", []byte("no profile"), true},
	}
	s.ask(t, d, 0, "InstallProfile", fields{"Payload": configuration("one", nil)})
	s.publish(0, "t1", legacy("1"), nil)
	if r := s.synchronize(t, d, 0).reports[0]; r.row("c1") != "true valid" {
		t.Fatalf("%+v", r)
	}
	p := d.InstalledProfiles(0)[1]
	list, _ := s.ask(t, d, 0, "ProfileList", fields{"ManagedOnly": true})["ProfileList"].([]any)
	if p.Declaration != "c1" || p.Identifier != "one" || len(list) != 1 || list[0].(fields)["Source"] != "Declarative Device Management" {
		t.Fatalf("%+v, %v", p, list)
	}
	if a := s.ask(t, d, 0, "RemoveProfile", fields{"Identifier": "one"}); a["Status"] != "Error" {
		t.Fatalf("a command removed what is declared: %v", a)
	}
	if a := s.ask(t, d, 0, "InstallProfile", fields{"Payload": configuration("one", nil)}); a["Status"] != "Error" {
		t.Fatalf("a command replaced what is declared: %v", a)
	}

	s.files["1b"] = file{"application/x-apple-aspen-config", configuration("one", fields{"PayloadUUID": "newer"}), true}
	s.publish(0, "t1b", legacy("1b"), nil)
	s.synchronize(t, d, 0)
	if p := d.InstalledProfiles(0)[1]; p.UUID != "newer" || p.Times != 3 {
		t.Fatalf("a newer version did not replace the profile: %+v", p)
	}
	s.publish(0, "t2", legacy("2"), nil)
	s.synchronize(t, d, 0)
	if want := []string{"test.enrollment", "two"}; !slices.Equal(d.Profiles(), want) {
		t.Fatalf("%v, want %v", d.Profiles(), want)
	}
	s.publish(0, "t3", legacy("absent"), nil)
	if r := s.synchronize(t, d, 0).reports[0]; r.row("c1") != "false invalid Error.ConfigurationCannotBeApplied" || len(d.Profiles()) != 2 {
		t.Fatalf("%+v, %v", r, d.Profiles())
	}
	s.files["absent"] = s.files["1"]
	poll(t, d)
	if want := []string{"test.enrollment", "one"}; !slices.Equal(d.Profiles(), want) {
		t.Fatalf("it was not tried again: %v, want %v", d.Profiles(), want)
	}
	s.publish(0, "t4", legacy("3"), nil)
	if r := s.synchronize(t, d, 0).reports[0]; r.row("c1") != "false invalid Error.ConfigurationCannotBeApplied" || len(d.Profiles()) != 1 {
		t.Fatalf("%+v, %v", r, d.Profiles())
	}
}

func TestLegacyProfilesAreThereWhileTheirDeclarationIsActive(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPad, appledev.Options{})
	s.files = map[string]file{
		"1": {"application/x-apple-aspen-config", configuration("one", nil), true},
		"2": {"application/x-apple-aspen-config", configuration("one", nil), true},
	}
	for i, c := range []struct {
		token     string
		active    bool
		downloads int // so far
	}{
		{"1", false, 0}, {"1", true, 1}, {"1", false, 1}, {"1", true, 2}, {"2", false, 2}, {"2", true, 3},
	} {
		list := []declaration{{"com.apple.configuration.legacy", "c1", c.token, fields{"ProfileURL": s.url + "/files/" + c.token}}}
		if c.active {
			list = append(list, activation("a1", "c1"))
		}
		s.publish(0, fmt.Sprint("t", i), list, nil)
		s.synchronize(t, d, 0)
		if installed := len(d.Profiles()) == 2; installed != c.active || s.downloads != c.downloads {
			t.Fatalf("step %d: installed %v after %d downloads, want %+v", i, installed, s.downloads, c)
		}
	}
}

func TestAMacsUserHasDeclarationsOfItsOwn(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.Mac, appledev.Options{})
	s.files = map[string]file{"1": {"application/x-apple-aspen-config", configuration("one", nil), true}}
	s.publish(appledev.UserChannel, "u1", []declaration{
		activation("a1", "c1", "c2"), {"com.apple.configuration.legacy", "c1", "1", fields{"ProfileURL": s.url + "/files/1"}},
		{"com.apple.configuration.passcode.settings", "c2", "1", fields{}},
	}, nil)
	got := s.synchronize(t, d, appledev.UserChannel)
	wantEndpoints(t, got, "user tokens", "user declaration-items", "user declaration/activation/a1",
		"user declaration/configuration/c1", "user declaration/configuration/c2", "user status")
	if r := got.reports[0]; r.row("c1") != "true valid" || r.row("c2") != "false invalid Error.ConfigurationNotSupported" {
		t.Fatalf("%+v", r)
	}
	if len(d.InstalledProfiles(appledev.UserChannel)) != 1 || len(d.Profiles()) != 1 || d.Declarations(appledev.DeviceChannel) != nil {
		t.Fatal("the user's declarations reached the device channel")
	}
}

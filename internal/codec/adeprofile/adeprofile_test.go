package adeprofile

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/muster-mdm/muster/internal/fleet"
)

var cert = base64.StdEncoding.EncodeToString([]byte{0x30, 0x03, 0x02, 0x01, 0x07})

func TestAProfileWithEveryKeyIsTaken(t *testing.T) {
	p, warnings, err := Parse([]byte(`{"profile_name":"Café <1>","org_magic":"m","department":"IT","support_phone_number":"1","support_email_address":"a@b",
		"is_supervised":true,"is_mandatory":true,"is_mdm_removable":false,"is_multi_user":true,"language":"en","region":"US","allow_pairing":false,
		"configuration_web_url":"https://sso.example.com","supervising_host_certs":["`+cert+`"],"anchor_certs":["`+cert+`"],"skip_setup_items":["Siri","TOS","Siri"],
		"is_return_to_service":false,"do_not_use_profile_from_backup":true,"auto_advance_setup":false}`), Options{})
	if err != nil || len(warnings) != 0 {
		t.Fatalf("%v, %v", warnings, err)
	}
	got, err := p.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"allow_pairing":false,"anchor_certs":["` + cert + `"],"auto_advance_setup":false,"configuration_web_url":"https://sso.example.com","department":"IT","do_not_use_profile_from_backup":true,` +
		`"is_mandatory":true,"is_mdm_removable":false,"is_multi_user":true,"is_return_to_service":false,"is_supervised":true,"language":"en","org_magic":"m","profile_name":"Café <1>","region":"US",` +
		`"skip_setup_items":["Siri","TOS"],"supervising_host_certs":["` + cert + `"],"support_email_address":"a@b","support_phone_number":"1"}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
	if p.Name() != "Café <1>" {
		t.Errorf("the name is %q", p.Name())
	}
}

func TestFaultsAreNamedByTheirKey(t *testing.T) {
	for _, c := range []struct{ name, rest, key, reason string }{
		{"a typo", `"skip_setup_item":[]`, "skip_setup_item", "did you mean skip_setup_items?"},
		{"another case", `"Department":"x"`, "Department", "did you mean department?"},
		{"nothing near", `"completely_different_thing":1`, "completely_different_thing", "is not a key"},
		{"the server's URL", `"url":"https://x"`, "url", "set by the server"},
		{"the server's devices", `"devices":["A"]`, "devices", "set by the server"},
		{"the server's waiting", `"await_device_configured":true`, "await_device_configured", "set by the server"},
		{"a number for a text", `"department":7`, "department", "must be a string"},
		{"a text for a truth", `"allow_pairing":"yes"`, "allow_pairing", "true or false"},
		{"null", `"allow_pairing":null`, "allow_pairing", "true or false"},
		{"null in a list", `"skip_setup_items":["Siri",null]`, "skip_setup_items", "list of strings"},
		{"a text for a list", `"skip_setup_items":"Siri"`, "skip_setup_items", "list of strings"},
		{"a long list", `"skip_setup_items":[` + strings.TrimSuffix(strings.Repeat(`"Siri",`, maxItems+1), ",") + `]`, "skip_setup_items", "at most 200"},
		{"a long text", `"support_phone_number":"` + strings.Repeat("é", 51) + `"`, "support_phone_number", "51 characters, at most 50"},
		{"PEM for DER", `"anchor_certs":["LS0tLS1CRUdJTg=="]`, "anchor_certs", "entry 1"},
		{"no base64", `"anchor_certs":["` + cert + `","*"]`, "anchor_certs", "entry 2"},
		{"not removable and not supervised", `"is_mdm_removable":false`, "is_mdm_removable", "is_supervised"},
		{"not removable and supervised false", `"is_mdm_removable":false,"is_supervised":false`, "is_mdm_removable", "is_supervised"},
		{"auto advance without a language", `"auto_advance_setup":true,"region":"US"`, "language", "auto_advance_setup needs"},
		{"auto advance without a region", `"auto_advance_setup":true,"language":"en","region":""`, "region", "auto_advance_setup needs"},
		{"a shared iPad that is not supervised", `"is_multi_user":true,"is_supervised":false`, "is_multi_user", "supervised"},
		{"a shared iPad that advances", `"is_multi_user":true,"auto_advance_setup":true,"language":"en","region":"US"`, "is_multi_user", "two profiles"},
		{"a shared iPad that returns to service", `"is_multi_user":true,"is_return_to_service":true`, "is_multi_user", "is_return_to_service"},
		{"a page without TLS", `"configuration_web_url":"http://x"`, "configuration_web_url", "https"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Parse([]byte(`{"profile_name":"x",`+c.rest+`}`), Options{})
			var e *fleet.Error
			if !errors.As(err, &e) || e.Kind != fleet.KindInvalid || len(e.Fields) != 1 {
				t.Fatalf("%v", err)
			}
			if e.Fields[0].Name != c.key || !strings.Contains(e.Fields[0].Reason, c.reason) {
				t.Errorf("%+v", e.Fields[0])
			}
		})
	}
	_, _, err := Parse([]byte(`{"url":"x","nonsense":1,"is_mdm_removable":false}`), Options{})
	var e *fleet.Error
	if !errors.As(err, &e) || len(e.Fields) != 4 {
		t.Errorf("not all faults at once: %v", err)
	}
	if _, _, err := Parse([]byte(`{"profile_name":"x","configuration_web_url":"https://x"}`), Options{SignIn: true}); err == nil || !strings.Contains(err.Error(), "sign in") {
		t.Errorf("a page of one's own while people sign in: %v", err)
	}
}

func TestWhatIsNoObjectIsRefused(t *testing.T) {
	for name, data := range map[string]string{"nothing": "", "a list": "[]", "cut": `{"profile_name":"x"`, "two": `{"profile_name":"x"}{}`, "null": "null",
		"a key twice": `{"profile_name":"x","profile_name":"y"}`, "deep": strings.Repeat("[", 100_000)} {
		if _, _, err := Parse([]byte(data), Options{}); fleet.KindOf(err) != fleet.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := Parse(make([]byte, MaxSize+1), Options{}); fleet.KindOf(err) != fleet.KindTooLarge {
		t.Errorf("%v", err)
	}
}

func TestWhatIsOddIsWarnedOf(t *testing.T) {
	_, warnings, err := Parse([]byte(`{"profile_name":"x","is_mandatory":false,"is_supervised":false,"supervising_host_certs":["`+cert+`"],"skip_setup_items":["Siry","HologramSetup","Zoom"]}`), Options{})
	if err != nil || len(warnings) != 5 {
		t.Fatalf("%q, %v", warnings, err)
	}
	for _, word := range []string{`"Siry"`, "(Siri is known)", `"HologramSetup"`, "is_mandatory", "is_supervised", "supervising_host_certs"} {
		if !slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, word) }) {
			t.Errorf("no warning says %s: %q", word, warnings)
		}
	}
}

func TestTheServerSetsItsKeys(t *testing.T) {
	p, _, err := Parse([]byte(`{"profile_name":"x"}`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	own, _, err := Parse([]byte(`{"profile_name":"x","configuration_web_url":"https://own"}`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		profile Profile
		server  Server
		want    string
	}{
		{p, Server{URL: "https://m/e", Await: true}, `{"await_device_configured":true,"configuration_web_url":"https://m/e","profile_name":"x","url":"https://m/e"}`},
		{p, Server{URL: "https://m/e", WebURL: "https://m/sso"}, `{"await_device_configured":false,"configuration_web_url":"https://m/sso","profile_name":"x","url":"https://m/e"}`},
		{own, Server{URL: "https://m/e"}, `{"await_device_configured":false,"configuration_web_url":"https://own","profile_name":"x","url":"https://m/e"}`},
	} {
		got, hash, err := c.profile.Definition(c.server)
		if err != nil || string(got) != c.want {
			t.Errorf("%s, %v", got, err)
		}
		again, same, _ := c.profile.Definition(c.server)
		if string(again) != string(got) || same != hash {
			t.Error("it differs from time to time")
		}
	}
	if len(p.values) != 1 {
		t.Errorf("the profile was changed: %v", p.values)
	}
}

func TestTheDefaultProfilePassesItsOwnCheck(t *testing.T) {
	canonical, err := Default("Muster").Canonical()
	if err != nil {
		t.Fatal(err)
	}
	p, warnings, err := Parse(canonical, Options{})
	if err != nil || len(warnings) != 0 {
		t.Fatalf("%v, %v", warnings, err)
	}
	again, err := p.Canonical()
	if err != nil || string(again) != string(canonical) {
		t.Errorf("%s\n%s, %v", canonical, again, err)
	}
}

func TestOrderAndSpaceDoNotChangeTheHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		skip := rapid.SliceOfN(rapid.SampledFrom(skipItems), 0, 8).Draw(t, "skip")
		mixed := rapid.Permutation(skip).Draw(t, "mixed")
		hash := func(order []string, list []string, indent string) [32]byte {
			var b strings.Builder
			for i, key := range order {
				value := map[string]any{"profile_name": "x", "department": "IT & more", "allow_pairing": true, "skip_setup_items": list}[key]
				raw, _ := json.MarshalIndent(value, "", indent)
				b.WriteString(map[bool]string{true: "{", false: ","}[i == 0] + indent + `"` + key + `":` + string(raw))
			}
			p, _, err := Parse([]byte(b.String()+"}"), Options{})
			if err != nil {
				t.Fatal(err)
			}
			h, err := p.Hash()
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		keys := []string{"profile_name", "department", "allow_pairing", "skip_setup_items"}
		if hash(keys, append([]string{}, skip...), "") != hash(rapid.Permutation(keys).Draw(t, "keys"), append([]string{}, mixed...), "  ") {
			t.Error("the hash differs")
		}
		if hash(keys, append([]string{"New"}, skip...), "") == hash(keys, append([]string{}, skip...), "") {
			t.Error("the hash is the same")
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"profile_name":"x","skip_setup_items":["Siri"],"anchor_certs":["MAMCAQc="]}`))
	f.Add([]byte(`{"profile_name":"\ud800","profile_name":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, _, err := Parse(data, Options{})
		if err != nil {
			return
		}
		canonical, err := p.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		q, _, err := Parse(canonical, Options{})
		if err != nil {
			t.Fatalf("the canonical form is refused: %v\n%s", err, canonical)
		}
		if again, _ := q.Canonical(); string(again) != string(canonical) {
			t.Errorf("%s\n%s", canonical, again)
		}
	})
}

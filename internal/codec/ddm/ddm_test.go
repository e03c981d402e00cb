package ddm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-mdm/muster/internal/fleet"
)

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"an array", `[]`, "not a declaration"},
		{"no type", `{"Identifier":"a","Payload":{}}`, "Type is missing"},
		{"no identifier", `{"Type":"com.apple.asset.data","Payload":{}}`, "Identifier is missing"},
		{"no payload", `{"Type":"com.apple.asset.data","Identifier":"a"}`, "Payload is missing"},
		{"a long identifier", `{"Type":"com.apple.asset.data","Identifier":"` + strings.Repeat("a", 65) + `","Payload":{}}`, "at most 64"},
		{"an identifier that is no path", `{"Type":"com.apple.asset.data","Identifier":"a/b","Payload":{}}`, "part of a path"},
		{"a type of nobody's", `{"Type":"com.apple.thing.data","Identifier":"a","Payload":{}}`, "none of"},
		{"a prefix as a type", `{"Type":"com.apple.asset.","Identifier":"a","Payload":{}}`, "none of"},
		{"an unknown key", `{"Type":"com.apple.asset.data","Identifier":"a","Payload":{},"Paylod":{}}`, "Paylod"},
		{"text behind it", `{"Type":"com.apple.asset.data","Identifier":"a","Payload":{}} x`, "after the declaration"},
		{"deep nesting", strings.Repeat("[", 100), "nested deeper"},
		{"too big", `{"Type":"com.apple.asset.data","Identifier":"a","Payload":{"a":"` + strings.Repeat("x", MaxDeclaration) + `"}}`, "at most"},
		{"an activation of nothing", `{"Type":"com.apple.activation.simple","Identifier":"a","Payload":{"StandardConfigurations":[]}}`, "needs StandardConfigurations"},
		{"an activation of a number", `{"Type":"com.apple.activation.simple","Identifier":"a","Payload":{"StandardConfigurations":[1]}}`, "must hold identifiers"},
		{"a predicate that is none", `{"Type":"com.apple.activation.simple","Identifier":"a","Payload":{"StandardConfigurations":["b"],"Predicate":"@x"}}`, "the Predicate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want something about %q", err, tt.want)
			}
		})
	}
}

func TestParseFindsEveryReferenceOnce(t *testing.T) {
	d, err := Parse([]byte(`{"Type":"com.apple.activation.simple","Identifier":"a","ServerToken":"theirs","Payload":{"StandardConfigurations":["c","b","c"],
		"Predicate":"@status(device.model.family) == 'iPad'","Deep":[{"CredentialAssetReference":"x"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(d.References, []string{"b", "c", "x"}) || d.Predicate == "" || KindOf(d.Type) != KindActivation {
		t.Errorf("read as %+v", d)
	}
}

func TestCheckPredicate(t *testing.T) {
	for text, ok := range map[string]bool{
		`@status(device.model.family) == "iPad"`:         true,
		`(@property(a) > 1) AND {1, 2} CONTAINS @key(b)`: true,
		`SUBQUERY(a, $x, $x.b == '(').@count > 0`:        true,
		`a == "say \"(\" twice"`:                         true,
		`a == ")"`:                                       true,
		`a == "\"`:                                       false,
		`b @count`:                                       false,
		`@foo(a)`:                                        false,
		`"a`:                                             false,
		`)(`:                                             false,
		`(`:                                              false,
		` `:                                              false,
		``:                                               false,
	} {
		if err := CheckPredicate(text); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func entries(n int) []fleet.DDMEntry {
	var out []fleet.DDMEntry
	for i := range n {
		kinds := []string{KindConfiguration, KindAsset, KindActivation, KindManagement}
		out = append(out, fleet.DDMEntry{Kind: kinds[i%4], Identifier: fmt.Sprint("d", i), ServerToken: fmt.Sprint("t", i)})
	}
	return out
}

// The token depends on what is in a manifest, whatever its order, and on all of it.
func TestTheManifestsToken(t *testing.T) {
	list := entries(9)
	m := NewManifest(list)
	turned := slices.Clone(list)
	slices.Reverse(turned)
	if NewManifest(turned).Token != m.Token {
		t.Error("the order changes the token")
	}
	seen := map[string]string{m.Token: "the manifest", NewManifest(nil).Token: "an empty one", NewManifest(list[1:]).Token: "one less"}
	for what, change := range map[string]func(*fleet.DDMEntry){"token": func(e *fleet.DDMEntry) { e.ServerToken += "x" },
		"kind": func(e *fleet.DDMEntry) { e.Kind = KindManagement }, "identifier": func(e *fleet.DDMEntry) { e.Identifier += "x" }} {
		other := slices.Clone(list)
		change(&other[0])
		token := NewManifest(other).Token
		if old, twice := seen[token]; twice {
			t.Errorf("another %s has the token of %s", what, old)
		}
		seen[token] = what
	}
	if len(seen) != 6 || len(m.Token) != MaxIdentifier {
		t.Errorf("%d tokens, of %d characters", len(seen), len(m.Token))
	}
	if Token([]byte("ab"), []byte("c")) == Token([]byte("a"), []byte("bc")) {
		t.Error("parts run together")
	}
}

func TestItemsNamesAllFourLists(t *testing.T) {
	raw, err := Items(NewManifest(nil))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"Declarations":{"Activations":[],"Assets":[],"Configurations":[],"Management":[]},"DeclarationsToken":"` + NewManifest(nil).Token + `"}`; string(raw) != want {
		t.Errorf("got %s", raw)
	}
	raw, err = Items(fleet.DDMManifest{Token: "T", Entries: entries(4)})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"Declarations":{"Activations":[{"Identifier":"d2","ServerToken":"t2"}],"Assets":[{"Identifier":"d1","ServerToken":"t1"}],` +
		`"Configurations":[{"Identifier":"d0","ServerToken":"t0"}],"Management":[{"Identifier":"d3","ServerToken":"t3"}]},"DeclarationsToken":"T"}`; string(raw) != want {
		t.Errorf("got %s", raw)
	}
	raw, err = Tokens("T", time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)))
	if want := `{"SyncTokens":{"DeclarationsToken":"T","Timestamp":"2026-01-02T02:04:05Z"}}`; err != nil || string(raw) != want {
		t.Errorf("got %s, %v", raw, err)
	}
}

// A device gets the payload byte for byte, with the server's token in place of
// the author's.
func TestServeReplacesTheToken(t *testing.T) {
	raw, err := Serve([]byte(`{"ServerToken":"theirs","Identifier":"a","Type":"com.apple.asset.data","Payload":{"n":12345678901234567890.10}}`), "ours")
	if want := `{"Type":"com.apple.asset.data","Identifier":"a","ServerToken":"ours","Payload":{"n":12345678901234567890.10}}`; err != nil || string(raw) != want {
		t.Errorf("got %s, %v", raw, err)
	}
}

func object(t testing.TB, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMerge(t *testing.T) {
	for _, tt := range []struct{ name, held, report, want string }{
		{"the first report", `null`, `{"StatusItems":{"a":{"b":1}}}`, `{"a":{"b":1}}`},
		{"values replace, others stay", `{"a":{"b":1,"c":2}}`, `{"StatusItems":{"a":{"b":3}}}`, `{"a":{"b":3,"c":2}}`},
		{"a full report forgets the rest", `{"a":{"b":1,"c":2}}`, `{"FullReport":true,"StatusItems":{"a":{"b":3}}}`, `{"a":{"b":3}}`},
		{"elements are replaced, added and removed", `{"l":[{"identifier":"a","v":1},{"identifier":"b"},{"identifier":"c"}]}`,
			`{"StatusItems":{"l":[{"identifier":"b","_removed":true},{"identifier":"a","v":2},{"identifier":"d"},{"identifier":"e","_removed":true}]}}`,
			`{"l":[{"identifier":"a","v":2},{"identifier":"c"},{"identifier":"d"}]}`},
		{"other lists replace", `{"l":[1,2]}`, `{"StatusItems":{"l":[3]}}`, `{"l":[3]}`},
		{"an element named twice is there once", `{}`, `{"StatusItems":{"l":[{"identifier":"a","v":1},{"identifier":"a","v":2}]}}`, `{"l":[{"identifier":"a","v":2}]}`},
		{"errors alone change nothing", `{"a":{"b":1}}`, `{"Errors":[{}]}`, `{"a":{"b":1}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := DecodeReport([]byte(tt.report))
			if err != nil {
				t.Fatal(err)
			}
			held := object(t, tt.held)
			got := Merge(held, r)
			if diff := cmp.Diff(object(t, tt.want), got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(object(t, tt.held), held); diff != "" {
				t.Errorf("what was held has changed: %s", diff)
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	status := object(t, `{"management":{"declarations":{"configurations":[
		{"identifier":"c","server-token":"t","active":true,"valid":"valid"},
		{"identifier":"d","server-token":"u","active":false,"valid":"invalid","reasons":[{"code":"Error.MissingAssets"},{"code":"Error.New","description":"said so"},{"code":"Error.Odd"}]},
		"nonsense"]}}}`)
	got := Verdicts(status)
	if len(got) != 2 || !got[0].Active || got[0].Valid != "valid" || got[0].Kind != KindConfiguration || got[0].ServerToken != "t" || got[0].Words() != "" {
		t.Fatalf("got %+v", got)
	}
	if want := "an asset that it needs is missing on the device; said so; Error.Odd"; got[1].Active || got[1].Words() != want {
		t.Errorf("got %q", got[1].Words())
	}
}

func TestVitals(t *testing.T) {
	v := Vitals(object(t, `{"device":{"operating-system":{"version":"18.1","build-version":"22B83"},"model":{"identifier":"iPad14,1"},"identifier":{"serial-number":7}}}`))
	if v.OSVersion != "18.1" || v.Build != "22B83" || v.Model != "iPad14,1" || v.Serial != "" {
		t.Errorf("got %+v", v)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"Type":"com.apple.activation.simple","Identifier":"a","Payload":{"StandardConfigurations":["b"],"Predicate":"@status(a) == 1"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse(data)
		if err != nil {
			return
		}
		served, err := Serve(d.Content, "T")
		if err != nil {
			t.Fatalf("taken and not to be served: %v", err)
		}
		again, err := Parse(served)
		if err != nil || again.Type != d.Type || again.Identifier != d.Identifier || !slices.Equal(again.References, d.References) {
			t.Fatalf("a device would read something else: %v, %+v", err, again)
		}
	})
}

// Merging a report again changes nothing more.
func FuzzStatus(f *testing.F) {
	f.Add([]byte(`{"StatusItems":{"l":[{"identifier":"a"}]}}`), []byte(`{"StatusItems":{"l":[{"identifier":"a","_removed":true},{"identifier":"b"}]},"FullReport":false}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a, err := DecodeReport(first)
		if err != nil {
			return
		}
		b, err := DecodeReport(second)
		if err != nil {
			return
		}
		once := Merge(Merge(nil, a), b)
		Verdicts(once)
		Vitals(once)
		if diff := cmp.Diff(once, Merge(once, b)); diff != "" {
			t.Errorf("a second time: %s", diff)
		}
	})
}

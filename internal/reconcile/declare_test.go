package reconcile

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"crypto/sha256"

	"github.com/muster-mdm/muster/internal/codec/ddm"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/store"
)

func declaration(identifier, kind, value string, references ...string) fleet.ItemUpload {
	body, err := ddm.Make(kind, identifier, map[string]any{"Value": value})
	if err != nil {
		panic(err)
	}
	return fleet.ItemUpload{Content: body, Item: fleet.Item{Kind: fleet.ItemDeclaration, UUID: "d" + ids.UUID(), Identifier: identifier, Name: identifier,
		Platforms: fleet.OnApple, ItemVersion: fleet.ItemVersion{Version: 1, SHA256: sha256.Sum256(body),
			Spec: fleet.ItemSpec{DeclarationType: kind, References: references}}}}
}

const testType = "com.apple.configuration.test"

// manifest is what the device would be given now.
func (d *device) manifest() fleet.DDMManifest {
	d.w.Helper()
	c, err := store.NewDDM(d.w.db).Channel(ctx, d.channel)
	d.w.must(err)
	if c == nil {
		return fleet.DDMManifest{}
	}
	return c.Manifest
}

// synchronize fetches the manifest and reports that every declaration is as
// says; those it has no word about are active and valid.
func (d *device) synchronize(says map[string]map[string]any) {
	d.w.Helper()
	m := store.NewDDM(d.w.db)
	d.w.must(m.Apply(ctx, d.channel, func(f fleet.DDMFacts) (fleet.DDMOutcome, error) { return d.w.r.Rules().Fetched(f, d.w.now) }))
	d.report(says)
}

func (d *device) report(says map[string]map[string]any) {
	d.w.Helper()
	lists := map[string][]any{"activations": {}, "assets": {}, "configurations": {}, "management": {}}
	for _, e := range d.manifest().Entries {
		v := map[string]any{"identifier": e.Identifier, "server-token": e.ServerToken, "active": true, "valid": "valid"}
		for key, value := range says[e.Identifier] {
			v[key] = value
		}
		list := e.Kind + "s"
		if e.Kind == ddm.KindManagement {
			list = e.Kind
		}
		lists[list] = append(lists[list], v)
	}
	raw, err := json.Marshal(map[string]any{"FullReport": true, "StatusItems": map[string]any{"management": map[string]any{"declarations": lists},
		"device": map[string]any{"operating-system": map[string]any{"version": "17.2"}}}})
	d.w.must(err)
	d.w.must(store.NewDDM(d.w.db).Apply(ctx, d.channel, func(f fleet.DDMFacts) (fleet.DDMOutcome, error) { return d.w.r.Rules().Reported(f, raw, d.w.now) }))
}

func identifiers(m fleet.DDMManifest) []string {
	var out []string
	for _, e := range m.Entries {
		if e.Identifier != subscriptionsID && e.Identifier != subscriptionsAct {
			out = append(out, e.Identifier)
		}
	}
	return out
}

func TestADeclarationIsFetchedReportedAndLeavesAgain(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		w.add(fleet.NoTeam, declaration("passcode", testType, "1"))
		w.settle(d)
		d.expect("announced", "passcode install pending")
		if got := identifiers(d.manifest()); !slices.Equal(got, []string{"passcode.activation", "passcode"}) {
			w.Errorf("the manifest has %v", got)
		}
		token := d.manifest().Token
		w.settle(d)
		if d.manifest().Token != token {
			w.Error("the token changed without a change")
		}
		d.synchronize(map[string]map[string]any{"passcode": {"active": false, "valid": "unknown"}})
		d.expect("not judged yet", "passcode install verifying")
		d.report(nil)
		d.expect("active and valid", "passcode install verified")
		h, err := store.NewHosts(w.db).Host(ctx, d.host)
		w.must(err)
		if h.OSVersion != "iOS 17.2" {
			w.Errorf("the status did not become vitals: %q", h.OSVersion)
		}
		w.edit(fleet.NoTeam, func(live []*fleet.Item) fleet.ItemEdits { return fleet.ItemEdits{Remove: []fleet.ItemID{live[0].ID}} })
		w.settle(d)
		d.expect("deleted", "passcode remove pending")
		if d.manifest().Token == token {
			w.Error("the token is still that of the old set")
		}
		d.synchronize(nil)
		d.expect("reported without it", "")
	})
}

func TestAnInvalidDeclarationFailsInPlainWordsAndANewVersionIsTried(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		w.add(fleet.NoTeam, declaration("passcode", testType, "1"))
		w.settle(d)
		d.synchronize(map[string]map[string]any{"passcode": {"valid": "invalid", "active": false,
			"reasons": []any{map[string]any{"code": "Error.ConfigurationCannotBeApplied", "description": "MinimumLength"}}}})
		d.expect("invalid", "passcode install failed")
		list, err := store.NewItemStatuses(w.db).HostItems(ctx, d.host)
		w.must(err)
		if want := "the device cannot apply the configuration (MinimumLength)"; list[0].Detail != want {
			w.Errorf("the reason is %q, want %q", list[0].Detail, want)
		}
		w.edit(fleet.NoTeam, func(live []*fleet.Item) fleet.ItemEdits {
			next := declaration("passcode", testType, "2")
			next.Item.ID, next.Item.UUID, next.Item.Version = live[0].ID, live[0].UUID, 2
			return fleet.ItemEdits{Edit: []fleet.ItemUpload{next}}
		})
		w.settle(d)
		d.expect("changed", "passcode install pending")
		d.synchronize(nil)
		d.expect("the new one is fine", "passcode install verified")
	})
}

func TestAnOldSystemGetsNoDeclarationsUntilItIsUpdated(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 14.8")
		w.add(fleet.NoTeam, declaration("passcode", testType, "1"))
		w.settle(d)
		d.expect("too old", "passcode install failed")
		if len(d.manifest().Entries) != 0 {
			w.Error("there is a manifest")
		}
		w.vitals(d, &fleet.Vitals{OSVersion: "17.0"})
		w.settle(d)
		d.expect("updated", "passcode install pending")
		d.synchronize(nil)
		d.expect("reported", "passcode install verified")
	})
}

func TestADeviceThatNeverReportsIsAskedAgainAndFailsInTheEnd(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		w.add(fleet.NoTeam, declaration("passcode", testType, "1"))
		w.settle(d)
		fetch := func() {
			w.must(store.NewDDM(w.db).Apply(ctx, d.channel, func(f fleet.DDMFacts) (fleet.DDMOutcome, error) { return w.r.Rules().Fetched(f, w.now) }))
		}
		fetch()
		tokens := map[string]bool{}
		for range 60 {
			w.now = w.now.Add(30 * time.Minute)
			w.settle(d)
			tokens[d.manifest().Token] = true
			fetch()
		}
		d.expect("silent for more than a day", "passcode install failed")
		if len(tokens) < MaxTries-1 {
			w.Errorf("it was asked with %d different tokens", len(tokens))
		}
	})
}

func TestAnActivationOfThePeoplesOwnReplacesTheGeneratedOne(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		w.add(fleet.NoTeam, declaration("a", testType, "1"))
		w.add(fleet.NoTeam, declaration("b", testType, "1"))
		w.add(fleet.NoTeam, declaration("mine", ddm.TypeActivation, "1", "a"))
		w.settle(d)
		if got := identifiers(d.manifest()); !slices.Equal(got, []string{"b.activation", "mine", "a", "b"}) {
			w.Errorf("the manifest has %v", got)
		}
	})
}

func TestAFalsePredicateMeansThatADeclarationDoesNotApply(t *testing.T) {
	each(t, func(w *world) {
		d := w.device(1, "iOS 17.1")
		w.add(fleet.NoTeam, declaration("a", testType, "1"))
		w.add(fleet.NoTeam, declaration("macs", ddm.TypeActivation, "1", "a"))
		w.settle(d)
		reason := func(code string) map[string]any {
			return map[string]any{"active": false, "valid": "valid", "reasons": []any{map[string]any{"code": code}}}
		}
		off := reason("Info.NotReferencedByActivation")
		off["valid"] = "unknown"
		d.synchronize(map[string]map[string]any{"macs": reason("Info.Predicate"), "a": off})
		d.expect("predicate not met", "a install verified, macs install verified")
		d.report(map[string]map[string]any{"macs": nil, "a": off})
		d.expect("activation met, configuration not on", "a install verifying, macs install verified")
	})
}

// The token stands for the set, whatever the order in which it is put together
// (contracts/apple.md 5.1).
func TestTheTokenStandsForTheSet(t *testing.T) {
	var entries []fleet.DDMEntry
	for n := range 20 {
		entries = append(entries, fleet.DDMEntry{Kind: ddm.KindConfiguration, Identifier: fmt.Sprint("c", n), ServerToken: fmt.Sprint(n)})
	}
	token := ddm.NewManifest(entries).Token
	if len(token) > ddm.MaxIdentifier {
		t.Errorf("the token has %d characters", len(token))
	}
	slices.Reverse(entries)
	for range 100 {
		if ddm.NewManifest(entries).Token != token {
			t.Fatal("the token depends on the order")
		}
	}
	for n := range entries {
		changed := slices.Clone(entries)
		changed[n].ServerToken += "x"
		if ddm.NewManifest(changed).Token == token {
			t.Errorf("a change of %s left the token as it was", entries[n].Identifier)
		}
		if ddm.NewManifest(slices.Delete(slices.Clone(entries), n, n+1)).Token == token {
			t.Errorf("the token is the same without %s", entries[n].Identifier)
		}
	}
}

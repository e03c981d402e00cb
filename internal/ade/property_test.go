package ade

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Whatever happens at Apple, at people's hands and to the process: in the end
// every device of the server is known, has a host and the profile of its team;
// nothing else is; no device was assigned what it had; and no round asks again
// and again.
func TestNoDeviceIsLostWhateverHappens(t *testing.T) {
	kinds := []fleet.DEPErrorKind{fleet.DEPTemporary, fleet.DEPTerms, fleet.DEPTokenRejected, fleet.DEPCursorExhausted, fleet.DEPCursorExpired,
		fleet.DEPCursorInvalid, fleet.DEPCursorRequired, fleet.DEPTooMany}
	rapid.Check(t, func(t *rapid.T) {
		w := &watch{at: start}
		apple := newApple(w)
		store := newMemory(apple)
		serial := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("S%02d", rapid.IntRange(0, 6).Draw(t, "serial")) })
		syncer := NewSyncer(apple, store, defined{}, w.now)
		faults := 0
		round := func() {
			apple.calls, apple.errors, apple.assigns = 0, 0, 0
			log := len(apple.log)
			err := syncer.Round(context.Background(), token)
			if err != nil && !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			// Twice an end that was none, and a cursor that is refused for it.
			if apple.errors > 4 {
				t.Fatalf("%d errors in one round", apple.errors)
			}
			if most := 2*(len(apple.devices)/apple.page+1) + log/apple.page + 6; apple.calls-apple.assigns > most {
				t.Fatalf("%d pages in one round, there are at most %d", apple.calls-apple.assigns, most)
			}
			if len(apple.needless) > 0 {
				t.Fatalf("assigned what they had: %v", apple.needless)
			}
			// A process that died is started again with no memory.
			syncer = NewSyncer(apple, store, defined{}, w.now)
		}
		actions := map[string]func(*rapid.T){
			"add":    func(t *rapid.T) { apple.add(serial.Draw(t, "add")) },
			"remove": func(t *rapid.T) { apple.remove(serial.Draw(t, "remove")) },
			"edit at Apple": func(t *rapid.T) {
				apple.edit(serial.Draw(t, "edit"), rapid.SampledFrom([]string{"", "other", "P1"}).Draw(t, "to"))
			},
			"move team": func(t *rapid.T) {
				s := serial.Draw(t, "move")
				if h, ok := store.hosts[s]; ok {
					h.TeamID = fleet.TeamID(rapid.Int64Range(0, 2).Draw(t, "team"))
					store.hosts[s] = h
				}
			},
			"change profile": func(t *rapid.T) {
				team := fleet.TeamID(rapid.Int64Range(0, 2).Draw(t, "team"))
				store.want[team] = fmt.Sprintf("P%d.%d", team, rapid.IntRange(0, 3).Draw(t, "version"))
			},
			"delete host": func(t *rapid.T) { delete(store.hosts, serial.Draw(t, "host")) },
			"fault": func(t *rapid.T) {
				faults++
				apple.faults = append(apple.faults, make([]error, rapid.IntRange(0, 3).Draw(t, "after"))...)
				apple.faults = append(apple.faults, &fleet.DEPError{Kind: rapid.SampledFrom(kinds).Draw(t, "kind")})
			},
			"bad result": func(t *rapid.T) {
				apple.results = append(apple.results, rapid.SampledFrom([]fleet.DEPResult{fleet.DEPSuccess, fleet.DEPFailed, fleet.DEPThrottled}).Draw(t, "result"))
			},
			"crash":  func(t *rapid.T) { store.crash = rapid.IntRange(1, 4).Draw(t, "write") },
			"resync": func(*rapid.T) { store.moved = true },
			"wait": func(t *rapid.T) {
				w.at = w.at.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "minutes")) * time.Minute)
			},
			"round":  func(*rapid.T) { round() },
			"rounds": func(*rapid.T) { round(); w.at = w.at.Add(6 * time.Minute); round() },
		}
		// Rounds come often, as they do; stories are long.
		names := append(slices.Sorted(maps.Keys(actions)), "add", "round", "rounds", "rounds")
		for range rapid.IntRange(25, 100).Draw(t, "length") {
			actions[rapid.SampledFrom(names).Draw(t, "action")](t)
		}
		apple.faults, apple.results, store.crash, store.moved = nil, nil, 0, false
		// Shorter than fullEvery, so that the daily fetch heals nothing here;
		// longer than any pause that so few failures lead to.
		store.sync.FullAt = w.at
		for range 23 {
			w.at = w.at.Add(time.Hour)
			round()
		}
		for s, d := range apple.devices {
			r, known := store.records[s]
			h, housed := store.hosts[s]
			switch {
			case d.here && (!known || !r.DeletedAt.IsZero()):
				t.Fatalf("%s is lost: %+v", s, r)
			case d.here && (!housed || h.MDM.Status != fleet.MDMPending):
				t.Fatalf("%s has no pending host: %+v", s, h)
			case d.here && d.profile != store.want[h.TeamID] && r.Assign.Failures < 5:
				t.Fatalf("%s has profile %q, its team asks for %q: %+v", s, d.profile, store.want[h.TeamID], r)
			case !d.here && known && r.DeletedAt.IsZero():
				t.Fatalf("%s was kept", s)
			}
		}
		if store.sync.Phase != fleet.DEPFollow && faults < 5 {
			t.Fatalf("it ends in %+v", store.sync)
		}
		round()
		if apple.assigns != 0 {
			t.Fatal("it goes on assigning")
		}
		for s := range store.records {
			if _, ok := apple.devices[s]; !ok {
				t.Fatalf("%s was made up", s)
			}
		}
	})
}

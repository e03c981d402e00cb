package ade

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-mdm/muster/internal/fleet"
)

func TestWhoNeedsAProfile(t *testing.T) {
	now := at(100)
	for _, tt := range []struct {
		name   string
		change func(*fleet.DEPRecord)
		want   bool
	}{
		{"a new device", func(*fleet.DEPRecord) {}, true},
		{"one that has it", func(r *fleet.DEPRecord) { r.Device.ProfileUUID, r.Device.ProfileStatus = "P", "pushed" }, false},
		{"one from which it was removed", func(r *fleet.DEPRecord) { r.Device.ProfileUUID, r.Device.ProfileStatus = "P", "removed" }, true},
		{"one that has another", func(r *fleet.DEPRecord) { r.Device.ProfileUUID, r.Device.ProfileStatus = "O", "assigned" }, true},
		{"one whose team has none", func(r *fleet.DEPRecord) { r.Want = "" }, false},
		{"a deleted one", func(r *fleet.DEPRecord) { r.DeletedAt = at(1) }, false},
		{"an Apple TV", func(r *fleet.DEPRecord) { r.Device.Family = "AppleTV" }, false},
		{"one that failed lately", func(r *fleet.DEPRecord) {
			r.Assign = fleet.DEPAssignment{Tried: "P", Result: fleet.DEPFailed, NextAt: at(101)}
		}, false},
		{"one that failed long ago", func(r *fleet.DEPRecord) {
			r.Assign = fleet.DEPAssignment{Tried: "P", Result: fleet.DEPFailed, NextAt: now}
		}, true},
		{"one that failed with another profile", func(r *fleet.DEPRecord) {
			r.Assign = fleet.DEPAssignment{Tried: "O", Result: fleet.DEPFailed, NextAt: at(101)}
		}, true},
		{"one throttled", func(r *fleet.DEPRecord) {
			r.Assign = fleet.DEPAssignment{Tried: "P", Result: fleet.DEPThrottled, NextAt: at(101)}
		}, false},
		{"one throttled with another profile", func(r *fleet.DEPRecord) {
			r.Assign = fleet.DEPAssignment{Tried: "O", Result: fleet.DEPThrottled, NextAt: at(101)}
		}, false},
		{"one throttled until now", func(r *fleet.DEPRecord) {
			r.Assign = fleet.DEPAssignment{Tried: "O", Result: fleet.DEPThrottled, NextAt: now}
		}, true},
		{"one throttled by a clock that was ahead", func(r *fleet.DEPRecord) {
			r.Assign = fleet.DEPAssignment{Tried: "P", Result: fleet.DEPThrottled, NextAt: now.Add(pauseLongest + time.Second)}
		}, true},
		{"one held", func(r *fleet.DEPRecord) {
			r.Assign = fleet.DEPAssignment{Tried: "O", Result: fleet.DEPNotAccessible, Held: true}
		}, false},
		{"one that just succeeded, says Apple's record to the contrary", func(r *fleet.DEPRecord) {
			r.Assign = fleet.DEPAssignment{Tried: "P", Result: fleet.DEPSuccess, NextAt: at(101)}
		}, false},
	} {
		r := fleet.DEPRecord{Device: ipad("A", fleet.DEPAdded, at(1)), Want: "P"}
		tt.change(&r)
		if got := NeedsProfile(r, now); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestCallsHaveOneProfileAndAThousandDevices(t *testing.T) {
	var records []fleet.DEPRecord
	for i := range 2*MaxChunk + 500 {
		r := fleet.DEPRecord{Device: ipad(fmt.Sprint("S", i), "", time.Time{}), Want: "B"}
		if i%5 == 0 {
			r.Want = "A"
		}
		if i%5 == 1 {
			r.Device.ProfileUUID, r.Device.ProfileStatus = "B", "assigned"
		}
		records = append(records, r)
	}
	var got []string
	seen := map[string]bool{}
	for _, c := range callsFor(records, at(1)) {
		got = append(got, fmt.Sprint(c.profile, len(c.devices)))
		for _, s := range c.serials() {
			seen[s] = true
		}
	}
	if d := cmp.Diff([]string{"A500", "B1000", "B500"}, got); d != "" || len(seen) != 2000 {
		t.Errorf("%s, %d devices", d, len(seen))
	}
}

func TestWhatIsRememberedOfATry(t *testing.T) {
	now := at(100)
	device := func(a fleet.DEPAssignment) fleet.DEPRecord {
		return fleet.DEPRecord{Device: ipad("A", "", time.Time{}), Want: "P", Assign: a}
	}
	fresh := device(fleet.DEPAssignment{})
	for _, tt := range []struct {
		name   string
		record fleet.DEPRecord
		result fleet.DEPResult
		retry  time.Duration
		want   fleet.DEPOutcome
	}{
		{"a success", fresh, fleet.DEPSuccess, 0, fleet.DEPOutcome{ProfileUUID: "P", ProfileStatus: "assigned",
			Assign: fleet.DEPAssignment{NextAt: now.Add(pauseSettle)}}},
		{"not accessible", fresh, fleet.DEPNotAccessible, 0, fleet.DEPOutcome{Assign: fleet.DEPAssignment{Held: true}}},
		{"the first failure", fresh, fleet.DEPFailed, 0, fleet.DEPOutcome{Assign: fleet.DEPAssignment{Failures: 1, NextAt: now.Add(time.Hour)}}},
		{"the third failure", device(fleet.DEPAssignment{Tried: "P", Failures: 2}), fleet.DEPFailed, 0, fleet.DEPOutcome{Assign: fleet.DEPAssignment{Failures: 3, NextAt: now.Add(4 * time.Hour)}}},
		{"the ninetieth failure", device(fleet.DEPAssignment{Tried: "P", Failures: 89}), fleet.DEPFailed, 0, fleet.DEPOutcome{Assign: fleet.DEPAssignment{Failures: 90, NextAt: now.Add(24 * time.Hour)}}},
		{"the first failure of a new profile", device(fleet.DEPAssignment{Tried: "O", Failures: 5}), fleet.DEPFailed, 0, fleet.DEPOutcome{Assign: fleet.DEPAssignment{Failures: 1, NextAt: now.Add(time.Hour)}}},
		{"throttled", device(fleet.DEPAssignment{Tried: "P", Failures: 2}), fleet.DEPThrottled, 90 * time.Second, fleet.DEPOutcome{Assign: fleet.DEPAssignment{Failures: 2, NextAt: now.Add(90 * time.Second)}}},
		{"throttled without a time", fresh, fleet.DEPThrottled, 0, fleet.DEPOutcome{Assign: fleet.DEPAssignment{NextAt: now.Add(time.Minute)}}},
		{"throttled for ever", fresh, fleet.DEPThrottled, 1000 * time.Hour, fleet.DEPOutcome{Assign: fleet.DEPAssignment{NextAt: now.Add(24 * time.Hour)}}},
	} {
		tt.want.Serial, tt.want.Assign.Tried, tt.want.Assign.Result, tt.want.Assign.At = "A", "P", tt.result, now
		if d := cmp.Diff(tt.want, outcome(tt.record, tt.result, tt.retry, now)); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
	silent := outcomes(call{"P", []fleet.DEPRecord{fresh}}, fleet.DEPResults{}, now)
	if len(silent) != 1 || silent[0].Assign.Result != fleet.DEPFailed || !silent[0].Assign.NextAt.After(now) {
		t.Errorf("no answer for a device: %+v", silent)
	}
}

func TestTokens(t *testing.T) {
	now := at(0)
	for days, want := range map[int]TokenState{-1: TokenExpired, 0: TokenExpired, 1: TokenExpiring, 30: TokenExpiring, 31: TokenGood} {
		if got := StateOf(now.AddDate(0, 0, days), now); got != want {
			t.Errorf("%d days: %d", days, got)
		}
	}
	s := fleet.DEPSync{Phase: fleet.DEPFollow, Cursor: "c", Round: 3, Failures: 4, Restarts: 2, Error: fleet.DEPTokenExpired, Reason: "r", NextAt: at(500)}
	expiry := at(9000)
	got, err := Replaced(s, "U1", fleet.DEPAccount{ServerUUID: "U1"}, expiry, false)
	if d := cmp.Diff(fleet.DEPSync{Phase: fleet.DEPFollow, Cursor: "c", Round: 3, Restarts: 2, Expiry: expiry}, got); err != nil || d != "" {
		t.Errorf("the same server: %v, %s", err, d)
	}
	if _, err := Replaced(s, "U1", fleet.DEPAccount{ServerUUID: "U2", ServerName: "other"}, expiry, false); fleet.KindOf(err) != fleet.KindConflict {
		t.Errorf("another server: %v", err)
	}
	got, err = Replaced(s, "U1", fleet.DEPAccount{ServerUUID: "U2"}, expiry, true)
	if d := cmp.Diff(fleet.DEPSync{Phase: fleet.DEPFetch, Round: 4, Expiry: expiry}, got); err != nil || d != "" {
		t.Errorf("another server, forced: %v, %s", err, d)
	}
	if Duplicate(fleet.DEPAccount{ServerUUID: "U1"}, []string{"U2"}) != nil || fleet.KindOf(Duplicate(fleet.DEPAccount{ServerUUID: "U1"}, []string{"U2", "U1"})) != fleet.KindConflict {
		t.Error("a second token of a server")
	}
}

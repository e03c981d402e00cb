package enroll

import (
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Short names for the table.
const (
	none    = fleet.EnrollmentNone
	pending = fleet.EnrollmentPending
	on      = fleet.EnrollmentOn
	off     = fleet.EnrollmentOff
	leaving = fleet.EnrollmentLeaving
)

var states = []fleet.EnrollmentState{none, pending, on, off, leaving}

// The whole life cycle: every state, every event.
func TestEveryEventInEveryState(t *testing.T) {
	begin := Verdict{Next: pending, Reset: true}
	refuse := func(s fleet.EnrollmentState) Verdict { return Verdict{Next: s, Refuse: true} }
	stay := func(s fleet.EnrollmentState) Verdict { return Verdict{Next: s} }
	renewed := func(s fleet.EnrollmentState) Verdict { return Verdict{Next: s, Supersede: true} }
	table := map[Event]map[fleet.EnrollmentState]Verdict{
		Authenticated:   {none: begin, pending: begin, on: begin, off: begin, leaving: begin},
		Reauthenticated: {none: refuse(none), pending: renewed(pending), on: renewed(on), off: renewed(off), leaving: renewed(leaving)},
		Renewed:         {none: refuse(none), pending: renewed(pending), on: renewed(on), off: renewed(off), leaving: renewed(leaving)},
		TokenUpdated: {none: refuse(none), pending: {Next: on, TurnOn: true, StoreToken: true}, on: {Next: on, StoreToken: true},
			off: stay(off), leaving: {Next: leaving, StoreToken: true}},
		CheckedOut: {none: stay(none), pending: {Next: off, TurnOff: true}, on: {Next: off, TurnOff: true}, off: stay(off), leaving: stay(off)},
		TurnedOff: {none: refuse(none), pending: {Next: off, TurnOff: true}, on: {Next: leaving, TurnOff: true, RemoveProfile: true},
			off: refuse(off), leaving: refuse(leaving)},
		HostGone: {none: stay(none), pending: stay(pending), on: {Next: on, Revive: true}, off: stay(off), leaving: {Next: leaving, Revive: true}},
	}
	for event := range eventCount {
		for _, state := range states {
			want, ok := table[event][state]
			if !ok {
				t.Errorf("%s while %s is not in the table", event, state)
				continue
			}
			if got := next(state, event); got != want {
				t.Errorf("%s while %s: %+v, want %+v", event, state, got, want)
			}
		}
	}
}

func TestEveryEventOfAUserChannelInEveryState(t *testing.T) {
	for event := range eventCount {
		for _, state := range states {
			for _, device := range states {
				var want Verdict
				switch {
				case event == TokenUpdated && (device == on || device == pending):
					want = Verdict{Next: on, TurnOn: state != on, StoreToken: true}
				case event == CheckedOut && state == on:
					want = Verdict{Next: off, TurnOff: true}
				case event == TokenUpdated || event == CheckedOut:
					want = Verdict{Next: state}
				default:
					want = Verdict{Next: state, Refuse: true}
				}
				if got := nextUser(state, device, event); got != want {
					t.Errorf("%s while %s below a device that is %s: %+v, want %+v", event, state, device, got, want)
				}
			}
		}
	}
}

func TestWhatHoldsForEveryVerdict(t *testing.T) {
	check := func(what string, event Event, state fleet.EnrollmentState, v Verdict) {
		t.Helper()
		if v.Refuse && v != (Verdict{Next: state, Refuse: true}) {
			t.Errorf("%s is refused and changes something: %+v", what, v)
		}
		if v.Reset && event != Authenticated {
			t.Errorf("%s resets", what)
		}
		if v.TurnOn && (v.Next != on || state == on) || v.TurnOn && v.TurnOff {
			t.Errorf("%s turns on: %+v", what, v)
		}
		if v.TurnOff && state != on && state != pending {
			t.Errorf("%s turns off what is not on: %+v", what, v)
		}
		if v.TurnOff && v.Next == on {
			t.Errorf("%s turns off and stays on: %+v", what, v)
		}
		if v.RemoveProfile && v.Next != leaving {
			t.Errorf("%s removes the profile of a device that is not leaving: %+v", what, v)
		}
		if v.Next == none && state != none {
			t.Errorf("%s forgets the enrollment", what)
		}
	}
	for event := range eventCount {
		for _, state := range states {
			check(event.String()+" while "+state.String(), event, state, next(state, event))
			for _, device := range states {
				check("a user's "+event.String()+" while "+state.String(), event, state, nextUser(state, device, event))
			}
		}
	}
	if v := next(on, eventCount); !v.Refuse {
		t.Errorf("an event that does not exist: %+v", v)
	}
}

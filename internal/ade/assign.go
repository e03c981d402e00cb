package ade

import (
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/backoff"
)

// MaxChunk is how many devices one call assigns a profile to.
const MaxChunk = 1000

// pauseFailed is the pause of a device for which assigning failed.
var pauseFailed = backoff.Policy{First: time.Hour, Max: pauseLongest, Factor: 2}

// pauseSettle is the pause after a success: should Apple go on to report
// another profile, we do not fight it at every round.
const pauseSettle = 5 * time.Minute

// NeedsProfile reports whether a profile is to be assigned now: Apple has
// another than the team asks for, and nothing says to wait. Store.Due selects
// by the same rule.
func NeedsProfile(r fleet.DEPRecord, now time.Time) bool {
	_, managed := r.Device.Platform()
	waiting := waits(now, r.Assign.NextAt)
	switch {
	case !r.DeletedAt.IsZero() || !managed || r.Want == "" || r.Device.Profile() == r.Want:
		return false
	case r.Assign.Held:
		return false
	case r.Assign.Result == fleet.DEPThrottled:
		return !waiting // the device is throttled, whatever the profile
	case r.Assign.Tried != r.Want:
		return true // a pause is for the profile that was tried
	}
	return !waiting
}

// call is one call that assigns a profile.
type call struct {
	profile string
	devices []fleet.DEPRecord
}

func (c call) serials() []string {
	list := make([]string, 0, len(c.devices))
	for i := range c.devices {
		list = append(list, c.devices[i].Device.Serial)
	}
	return list
}

// callsFor groups who needs a profile into calls.
func callsFor(records []fleet.DEPRecord, now time.Time) []call {
	by := map[string][]fleet.DEPRecord{}
	for _, r := range records {
		if NeedsProfile(r, now) {
			by[r.Want] = append(by[r.Want], r)
		}
	}
	var calls []call
	for profile, list := range by {
		for chunk := range slices.Chunk(list, MaxChunk) {
			calls = append(calls, call{profile, chunk})
		}
	}
	slices.SortStableFunc(calls, func(a, b call) int { return strings.Compare(a.profile, b.profile) })
	return calls
}

// outcomes says what to remember of the devices of a call. A device that
// Apple did not answer for counts as failed.
func outcomes(c call, r fleet.DEPResults, now time.Time) []fleet.DEPOutcome {
	list := make([]fleet.DEPOutcome, 0, len(c.devices))
	for i := range c.devices {
		result := r.Devices[c.devices[i].Device.Serial]
		if result == fleet.DEPNotTried {
			result = fleet.DEPFailed
		}
		list = append(list, outcome(c.devices[i], result, r.RetryAfter, now))
	}
	return list
}

func outcome(r fleet.DEPRecord, result fleet.DEPResult, retry time.Duration, now time.Time) fleet.DEPOutcome {
	a := fleet.DEPAssignment{Tried: r.Want, Result: result, At: now}
	o := fleet.DEPOutcome{Serial: r.Device.Serial}
	failures := 0
	if r.Assign.Tried == r.Want {
		failures = r.Assign.Failures
	}
	switch result {
	case fleet.DEPSuccess:
		a.NextAt = now.Add(pauseSettle)
		o.ProfileUUID, o.ProfileStatus = r.Want, "assigned"
	case fleet.DEPNotAccessible:
		a.Held = true
	case fleet.DEPThrottled:
		a.Failures = failures
		if retry <= 0 {
			retry = pauseDefault
		}
		a.NextAt = now.Add(min(retry, pauseLongest))
	case fleet.DEPFailed, fleet.DEPNotTried:
		a.Failures = failures + 1
		a.NextAt = now.Add(pauseFailed.Wait(a.Failures))
	}
	o.Assign = a
	return o
}

// countEvent counts the results of a call, and names some of those that have
// no profile now.
func countEvent(c call, list []fleet.DEPOutcome, now time.Time) fleet.Event {
	const maxNamed = 20
	counts, named := map[string]int{}, map[string]string{}
	for _, o := range list {
		counts[o.Assign.Result.String()]++
		if o.Assign.Result != fleet.DEPSuccess && len(named) < maxNamed {
			named[o.Serial] = o.Assign.Result.String()
		}
	}
	return fleet.Event{Kind: fleet.EventDEPAssigned, At: now, Details: details(map[string]any{"profile_uuid": c.profile, "results": counts, "without": named})}
}

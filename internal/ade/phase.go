package ade

import (
	"errors"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/backoff"
)

// Pauses after errors. The n-th of failures in a row waits the n-th pause.
var (
	pauseFault   = backoff.Policy{First: 30 * time.Second, Max: 30 * time.Minute, Factor: 2}
	pauseTerms   = backoff.Policy{First: 5 * time.Minute, Max: time.Hour, Factor: 2}
	pauseToken   = backoff.Policy{First: 10 * time.Minute, Max: 6 * time.Hour, Factor: 2}
	pauseRestart = backoff.Policy{First: 5 * time.Minute, Max: 6 * time.Hour, Factor: 2}
)

const (
	// fullEvery is how often the whole list is read anew, whatever the cursor
	// says: what was lost comes back within it.
	fullEvery = 24 * time.Hour
	// pauseDefault is for an answer that asks to wait and says not how long.
	pauseDefault = time.Minute
	pauseLongest = fleet.DEPLongestPause
)

// waits tells that a pause is not over. One that ends further ahead than any
// pause lasts was begun when the clock was wrong.
func waits(now, until time.Time) bool {
	return now.Before(until) && until.Sub(now) <= pauseLongest
}

// stuck is the error of a page that gives the cursor that was sent, and says
// that there is more.
const stuck = "Apple gave the same cursor again"

// prepare begins a full fetch when one is due.
func prepare(s fleet.DEPSync, now time.Time) fleet.DEPSync {
	if s.Phase == fleet.DEPFollow && now.Sub(s.FullAt).Abs() >= fullEvery {
		return Restarted(s)
	}
	return s
}

// Restarted is the state at the beginning of a full fetch: after the first
// upload of a token, for another server, and when people ask for it.
func Restarted(s fleet.DEPSync) fleet.DEPSync {
	s.Phase, s.Cursor, s.Round, s.NextAt = fleet.DEPFetch, "", s.Round+1, time.Time{}
	return s
}

// afterPage says where to go on after a page, and whether at once.
func afterPage(s fleet.DEPSync, page fleet.DEPPage, now time.Time) (fleet.DEPSync, bool) {
	if page.More && page.Cursor == s.Cursor {
		return restart(s, stuck, now)
	}
	s.Cursor = page.Cursor
	s = working(s)
	if page.More {
		if s.Phase == fleet.DEPFollow {
			s.Restarts = 0
		}
		return s, len(page.Devices) > 0 // an empty page that has a next one can wait
	}
	if s.Phase == fleet.DEPFetch {
		s.Phase = fleet.DEPSweep
		return s, true
	}
	s.Restarts, s.OKAt = 0, now
	return s, false
}

// afterSweep follows the changes from now on.
func afterSweep(s fleet.DEPSync, now time.Time) fleet.DEPSync {
	s.Phase, s.FullAt = fleet.DEPFollow, now
	return s
}

func working(s fleet.DEPSync) fleet.DEPSync {
	s.Failures, s.Error, s.Reason, s.NextAt = 0, fleet.DEPOK, "", time.Time{}
	return s
}

// afterError says where to go on after an error, and whether at once.
func afterError(s fleet.DEPSync, e *fleet.DEPError, now time.Time) (fleet.DEPSync, bool) {
	switch e.Kind {
	case fleet.DEPCursorExhausted:
		switch {
		case s.Phase == fleet.DEPFollow: // nothing new
			s = working(s)
			s.Restarts, s.OKAt = 0, now
			return s, false
		case s.Phase == fleet.DEPFetch && s.Cursor != "":
			s = working(s)
			s.Phase = fleet.DEPSweep
			return s, true
		}
	case fleet.DEPCursorExpired, fleet.DEPCursorInvalid, fleet.DEPCursorRequired:
		if s.Phase == fleet.DEPFollow || s.Cursor != "" {
			return restart(s, e.Error(), now)
		}
	case fleet.DEPOK, fleet.DEPTemporary, fleet.DEPTerms, fleet.DEPTokenExpired, fleet.DEPTokenRejected, fleet.DEPTooMany, fleet.DEPRefused:
	}
	return pause(s, e, now), false
}

// restart begins the full fetch anew: the first time at once, then after
// growing pauses until changes could be read again.
func restart(s fleet.DEPSync, reason string, now time.Time) (fleet.DEPSync, bool) {
	s = Restarted(s)
	s.Restarts++
	if s.Restarts == 1 {
		return s, true
	}
	s.Error, s.Reason, s.NextAt = fleet.DEPCursorInvalid, reason, now.Add(pauseRestart.Wait(s.Restarts-1))
	return s, false
}

// pause waits where it stands.
func pause(s fleet.DEPSync, e *fleet.DEPError, now time.Time) fleet.DEPSync {
	s.Failures++
	s.Error, s.Reason = e.Kind, e.Error()
	wait := pauseFault.Wait(s.Failures)
	switch e.Kind {
	case fleet.DEPTerms:
		wait = pauseTerms.Wait(s.Failures)
	case fleet.DEPTokenExpired, fleet.DEPTokenRejected, fleet.DEPRefused:
		wait = pauseToken.Wait(s.Failures)
	case fleet.DEPTooMany:
		wait = pauseDefault
	case fleet.DEPOK, fleet.DEPTemporary, fleet.DEPCursorExhausted, fleet.DEPCursorExpired, fleet.DEPCursorInvalid, fleet.DEPCursorRequired:
	}
	if e.Kind == fleet.DEPTooMany && e.RetryAfter > 0 {
		wait = e.RetryAfter
	}
	s.NextAt = now.Add(min(max(wait, e.RetryAfter), pauseLongest))
	return s
}

// told says people that syncing began to fail, fails otherwise, or works
// again; nothing when nothing changed.
func told(before, after fleet.DEPSync, now time.Time) []fleet.Event {
	if before.Error == after.Error {
		return nil
	}
	return []fleet.Event{{Kind: fleet.EventDEPSync, At: now, Details: details(map[string]any{
		"server_token": before.TokenID, "working": after.Error == fleet.DEPOK, "error": after.Reason})}}
}

// depError finds the error of Apple's service; nil: it is none.
func depError(err error) *fleet.DEPError {
	var e *fleet.DEPError
	if errors.As(err, &e) {
		return e
	}
	return nil
}

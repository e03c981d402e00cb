package ade

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-mdm/muster/internal/fleet"
)

func TestWhereToGoOnAfterAnError(t *testing.T) {
	now := at(0)
	fetching := fleet.DEPSync{Phase: fleet.DEPFetch, Cursor: "c", Round: 2, Failures: 1}
	first := fleet.DEPSync{Phase: fleet.DEPFetch, Round: 2}
	following := fleet.DEPSync{Phase: fleet.DEPFollow, Cursor: "c", Round: 2, Failures: 1, Error: fleet.DEPTemporary, Reason: "r"}
	again := fleet.DEPSync{Phase: fleet.DEPFollow, Cursor: "c", Round: 2, Restarts: 2}
	paused := func(s fleet.DEPSync, kind fleet.DEPErrorKind, wait time.Duration) fleet.DEPSync {
		s.Failures, s.Error, s.NextAt = s.Failures+1, kind, now.Add(wait)
		return s
	}
	type e = fleet.DEPError
	for _, tt := range []struct {
		name  string
		state fleet.DEPSync
		err   e
		want  fleet.DEPSync
		again bool
	}{
		{"the list ends", fetching, e{Kind: fleet.DEPCursorExhausted}, fleet.DEPSync{Phase: fleet.DEPSweep, Cursor: "c", Round: 2}, true},
		{"the list ends before it began", first, e{Kind: fleet.DEPCursorExhausted}, paused(first, fleet.DEPCursorExhausted, 30*time.Second), false},
		{"nothing new", following, e{Kind: fleet.DEPCursorExhausted}, fleet.DEPSync{Phase: fleet.DEPFollow, Cursor: "c", Round: 2, OKAt: now}, false},
		{"a cursor expires", following, e{Kind: fleet.DEPCursorExpired},
			fleet.DEPSync{Phase: fleet.DEPFetch, Round: 3, Failures: 1, Restarts: 1, Error: fleet.DEPTemporary, Reason: "r"}, true},
		{"a cursor is invalid in the list", fetching, e{Kind: fleet.DEPCursorInvalid}, fleet.DEPSync{Phase: fleet.DEPFetch, Round: 3, Failures: 1, Restarts: 1}, true},
		{"a cursor is refused for the third time", again, e{Kind: fleet.DEPCursorInvalid},
			fleet.DEPSync{Phase: fleet.DEPFetch, Round: 3, Restarts: 3, Error: fleet.DEPCursorInvalid, NextAt: now.Add(10 * time.Minute)}, false},
		{"no cursor is refused", first, e{Kind: fleet.DEPCursorInvalid}, paused(first, fleet.DEPCursorInvalid, 30*time.Second), false},
		{"no cursor is required", first, e{Kind: fleet.DEPCursorRequired}, paused(first, fleet.DEPCursorRequired, 30*time.Second), false},
		{"terms", following, e{Kind: fleet.DEPTerms}, paused(following, fleet.DEPTerms, 10*time.Minute), false},
		{"an expired token", first, e{Kind: fleet.DEPTokenExpired}, paused(first, fleet.DEPTokenExpired, 10*time.Minute), false},
		{"a rejected token", first, e{Kind: fleet.DEPTokenRejected}, paused(first, fleet.DEPTokenRejected, 10*time.Minute), false},
		{"throttled", following, e{Kind: fleet.DEPTooMany, RetryAfter: 7 * time.Second}, paused(following, fleet.DEPTooMany, 7*time.Second), false},
		{"throttled without a time", following, e{Kind: fleet.DEPTooMany}, paused(following, fleet.DEPTooMany, time.Minute), false},
		{"temporary", following, e{Kind: fleet.DEPTemporary}, paused(following, fleet.DEPTemporary, time.Minute), false},
		{"temporary with a time", following, e{Kind: fleet.DEPTemporary, RetryAfter: time.Hour}, paused(following, fleet.DEPTemporary, time.Hour), false},
		{"refused", first, e{Kind: fleet.DEPRefused}, paused(first, fleet.DEPRefused, 10*time.Minute), false},
	} {
		got, again := afterError(tt.state, &tt.err, now)
		if got.Error != fleet.DEPOK && got.Reason == "" {
			t.Errorf("%s: no reason", tt.name)
		}
		got.Reason, tt.want.Reason = "", ""
		if d := cmp.Diff(tt.want, got); d != "" || again != tt.again {
			t.Errorf("%s: again %v, %s", tt.name, again, d)
		}
	}
}

func TestWhereToGoOnAfterAPage(t *testing.T) {
	now := at(0)
	device := []fleet.DEPDevice{ipad("A", "", now)}
	for _, tt := range []struct {
		name  string
		state fleet.DEPSync
		page  fleet.DEPPage
		want  fleet.DEPSync
		again bool
	}{
		{"more of the list", fleet.DEPSync{Cursor: "c", Restarts: 1, Failures: 2, Error: fleet.DEPTerms, Reason: "r"}, fleet.DEPPage{Cursor: "d", More: true, Devices: device}, fleet.DEPSync{Cursor: "d", Restarts: 1}, true},
		{"the end of the list", fleet.DEPSync{Cursor: "c"}, fleet.DEPPage{Cursor: "d"}, fleet.DEPSync{Phase: fleet.DEPSweep, Cursor: "d"}, true},
		{"an empty page with more", fleet.DEPSync{Cursor: "c"}, fleet.DEPPage{Cursor: "d", More: true}, fleet.DEPSync{Cursor: "d"}, false},
		{"the same cursor", fleet.DEPSync{Cursor: "c", Round: 2, Restarts: 1}, fleet.DEPPage{Cursor: "c", More: true, Devices: device},
			fleet.DEPSync{Round: 3, Restarts: 2, Error: fleet.DEPCursorInvalid, Reason: stuck, NextAt: now.Add(5 * time.Minute)}, false},
		{"more changes", fleet.DEPSync{Phase: fleet.DEPFollow, Cursor: "c", Restarts: 2}, fleet.DEPPage{Cursor: "d", More: true, Devices: device}, fleet.DEPSync{Phase: fleet.DEPFollow, Cursor: "d"}, true},
		{"no changes", fleet.DEPSync{Phase: fleet.DEPFollow, Cursor: "c", Restarts: 2}, fleet.DEPPage{Cursor: "c"}, fleet.DEPSync{Phase: fleet.DEPFollow, Cursor: "c", OKAt: now}, false},
	} {
		got, again := afterPage(tt.state, tt.page, now)
		if d := cmp.Diff(tt.want, got); d != "" || again != tt.again {
			t.Errorf("%s: again %v, %s", tt.name, again, d)
		}
	}
}

type stand struct {
	*Syncer
	t     *testing.T
	clock *watch
	apple *appleModel
	store *memory
}

func newStand(t *testing.T, devices int) *stand {
	w := &watch{at: start}
	a := newApple(w)
	a.page = 1000
	for i := range devices {
		a.add(fmt.Sprintf("S%05d", i))
	}
	m := newMemory(a)
	return &stand{Syncer: NewSyncer(a, m, defined{}, w.now), t: t, clock: w, apple: a, store: m}
}

func (s *stand) round() {
	s.t.Helper()
	s.apple.calls, s.apple.assigns = 0, 0
	if err := s.Round(context.Background(), token); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) events(kind fleet.EventKind) (list []string) {
	for _, e := range s.store.events {
		if e.Kind == kind {
			list = append(list, string(e.Details))
		}
	}
	return list
}

func TestTwoAndAHalfThousandDevicesAreReadAndAssigned(t *testing.T) {
	s := newStand(t, 2500)
	s.round()
	if len(s.store.hosts) != 2500 || s.apple.assigns != 3 || s.apple.calls != 3+1+3 {
		t.Errorf("%d hosts, %d assigning of %d calls", len(s.store.hosts), s.apple.assigns, s.apple.calls)
	}
	if got := s.events(fleet.EventDEPAssigned); len(got) != 3 || !strings.Contains(got[0], `{"SUCCESS":1000}`) {
		t.Errorf("%v", got)
	}
	s.clock.at = s.clock.at.Add(time.Minute)
	s.round() // reads our own changes
	s.clock.at = s.clock.at.Add(time.Minute)
	s.round()
	if s.apple.calls != 1 || s.apple.assigns != 0 {
		t.Errorf("a quiet round has %d calls", s.apple.calls)
	}
	s.store.want[1] = "P1.new"
	s.round()
	if s.apple.assigns != 3 || s.apple.devices["S02499"].profile != "P1.new" {
		t.Errorf("a new profile took %d calls", s.apple.assigns)
	}
}

func TestTheWholeListIsReadOnceADay(t *testing.T) {
	s := newStand(t, 5)
	s.round()
	s.apple.devices["S00001"].here = false // and the log does not say so
	s.round()
	if !s.store.records["S00001"].DeletedAt.IsZero() {
		t.Fatal("how does it know?")
	}
	s.clock.at = s.clock.at.Add(fullEvery)
	s.round()
	if s.store.records["S00001"].DeletedAt.IsZero() || !s.store.records["S00002"].DeletedAt.IsZero() || s.store.sync.Round != 1 {
		t.Errorf("%+v", s.store.sync)
	}
}

func TestAnErrorIsToldOnceAndItsEndToo(t *testing.T) {
	s := newStand(t, 3)
	for range 3 {
		s.apple.faults = []error{&fleet.DEPError{Kind: fleet.DEPTerms, Code: "T_C_NOT_SIGNED"}}
		s.round()
		if s.apple.calls != 1 || s.store.sync.Error != fleet.DEPTerms || !strings.Contains(s.store.sync.Reason, "terms") {
			t.Fatalf("%d calls, %+v", s.apple.calls, s.store.sync)
		}
		s.round()
		if s.apple.calls != 0 {
			t.Fatal("it did not wait")
		}
		s.clock.at = s.clock.at.Add(2 * time.Hour)
	}
	s.round()
	if got := s.events(fleet.EventDEPSync); len(got) != 2 || !strings.Contains(got[0], `"working":false`) || !strings.Contains(got[1], `"working":true`) || !strings.Contains(got[0], "T_C_NOT_SIGNED") {
		t.Errorf("%v", got)
	}
	if len(s.store.hosts) != 3 || s.store.sync.Error != fleet.DEPOK {
		t.Errorf("%d hosts, %+v", len(s.store.hosts), s.store.sync)
	}
}

func TestAnErrorOfOursIsReturnedAndChangesNothing(t *testing.T) {
	s := newStand(t, 3)
	before := s.store.sync
	s.apple.faults = []error{context.Canceled}
	if err := s.Round(context.Background(), token); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if d := cmp.Diff(before, s.store.sync); d != "" {
		t.Error(d)
	}
}

func TestAProfileThatAppleRefusesDoesNotStopOthers(t *testing.T) {
	s := newStand(t, 4)
	s.round()
	h := s.store.hosts["S00000"]
	h.TeamID = 2
	s.store.hosts["S00000"] = h
	s.store.want[1], s.store.want[2] = "A gone", "B good"
	s.apple.faults = []error{nil, &fleet.DEPError{Kind: fleet.DEPRefused, Code: "PROFILE_NOT_FOUND"}}
	s.round()
	if s.apple.assigns != 2 || s.apple.devices["S00000"].profile != "B good" || s.store.records["S00001"].Assign.Result != fleet.DEPFailed {
		t.Errorf("%d calls, %+v", s.apple.assigns, s.store.records["S00001"].Assign)
	}
	s.clock.at = s.clock.at.Add(10 * time.Minute)
	s.round()
	if s.apple.assigns != 0 {
		t.Error("it did not wait")
	}
}

func TestAssigningWaitsWhenTheTokenMust(t *testing.T) {
	s := newStand(t, 4)
	s.apple.faults = []error{nil, nil, &fleet.DEPError{Kind: fleet.DEPTooMany, RetryAfter: 3 * time.Minute}}
	s.round()
	if s.apple.assigns != 1 || s.store.sync.Error != fleet.DEPTooMany || s.store.records["S00001"].Assign != (fleet.DEPAssignment{}) {
		t.Fatalf("%d calls, %+v", s.apple.calls, s.store.sync)
	}
	s.clock.at = s.clock.at.Add(time.Minute)
	s.round()
	if s.apple.calls != 0 {
		t.Error("it did not wait")
	}
	s.clock.at = s.clock.at.Add(2 * time.Minute)
	s.round()
	if s.apple.devices["S00003"].profile != "P1" {
		t.Error("it did not go on")
	}
}

func TestAClockThatWasAheadStopsNoSync(t *testing.T) {
	s := newStand(t, 4)
	right := s.clock.at
	s.clock.at = right.Add(400 * 24 * time.Hour)
	s.round() // reads the whole list
	s.apple.faults = []error{&fleet.DEPError{Kind: fleet.DEPTooMany, RetryAfter: 3 * time.Minute}}
	s.round()
	s.clock.at = right
	s.apple.devices["S00001"].here = false // and the log does not say so
	s.round()
	if s.apple.calls == 0 || s.store.records["S00001"].DeletedAt.IsZero() {
		t.Errorf("%d calls, %+v", s.apple.calls, s.store.sync)
	}
}

func TestWhoeverMovedTheCursorFirstWins(t *testing.T) {
	for name, change := range map[string]func(*fleet.DEPSync){
		"cursor": func(s *fleet.DEPSync) { s.Cursor = "elsewhere" },
		"phase":  func(s *fleet.DEPSync) { s.Phase = fleet.DEPSweep },
		"round":  func(s *fleet.DEPSync) { s.Round++ },
	} {
		s := newStand(t, 0)
		from := s.store.sync
		change(&s.store.sync)
		_, _, err := s.move(context.Background(), from, start, nil, func(f fleet.DEPFacts) (fleet.DEPSync, bool, []fleet.DEPRecordChange) {
			t.Errorf("%s: it was decided upon", name)
			return f.Sync, false, nil
		})
		if !errors.Is(err, errMoved) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneOfTwoReplicasGivesWay(t *testing.T) {
	s := newStand(t, 3)
	s.store.moved = true
	s.round()
	if s.apple.calls != 1 || len(s.store.records) != 0 || s.store.sync.Cursor != "" {
		t.Errorf("%d calls, %+v", s.apple.calls, s.store.sync)
	}
}

func TestAHostThatAnAdminDeletedComesBackInAQuietRound(t *testing.T) {
	s := newStand(t, 3)
	s.round()
	s.round()
	delete(s.store.hosts, "S00001")
	s.round()
	if h := s.store.hosts["S00001"]; h.MDM.Status != fleet.MDMPending || h.TeamID != 1 || s.store.records["S00001"].HostID != h.ID || s.apple.calls != 1 {
		t.Errorf("%+v, %d calls", h, s.apple.calls)
	}
}

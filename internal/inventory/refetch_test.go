package inventory

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

func TestWhatAHostIsAsked(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	long := now.Add(-2 * time.Hour)
	const phone = fleet.RefetchDevice | fleet.RefetchApps | fleet.RefetchCertificates
	for name, c := range map[string]struct {
		facts fleet.RefetchFacts
		asked bool
		want  fleet.RefetchParts
	}{
		"an iPhone":                {fleet.RefetchFacts{EnrollmentID: 1, DetailsAt: long, EnrolledAt: long}, false, phone},
		"a Mac":                    {fleet.RefetchFacts{EnrollmentID: 1, Host: fleet.HostRef{Platform: fleet.PlatformDarwin}, DetailsAt: long, EnrolledAt: long}, false, phone | fleet.RefetchSecurity},
		"one that is not enrolled": {fleet.RefetchFacts{DetailsAt: long, EnrolledAt: long}, true, 0},
		"one that has just enrolled and is being asked": {fleet.RefetchFacts{EnrollmentID: 1, EnrolledAt: now.Add(-time.Second)}, false, phone &^ fleet.RefetchDevice},
		"one that has just told":                        {fleet.RefetchFacts{EnrollmentID: 1, EnrolledAt: long, DetailsAt: now.Add(-time.Minute)}, false, phone &^ fleet.RefetchDevice},
		"one that has just told, but a person asks":     {fleet.RefetchFacts{EnrollmentID: 1, EnrolledAt: long, DetailsAt: now.Add(-time.Minute)}, true, phone},
		"one that was asked and has yet to answer":      {fleet.RefetchFacts{EnrollmentID: 1, EnrolledAt: long, DetailsAt: long, AskedAt: now.Add(-fleet.SilentAfter + 1)}, true, 0},
		"one that was asked by a clock that was ahead":  {fleet.RefetchFacts{EnrollmentID: 1, EnrolledAt: long, DetailsAt: now.Add(1000 * time.Hour), AskedAt: now.Add(1000 * time.Hour)}, false, phone},
		"one that has been silent for long":             {fleet.RefetchFacts{EnrollmentID: 1, EnrolledAt: long, DetailsAt: long, AskedAt: now.Add(-fleet.SilentAfter)}, false, phone},
	} {
		if got := refetchParts(&c.facts, now, c.asked); got != c.want {
			t.Errorf("%s: %b, want %b", name, got, c.want)
		}
	}
}

// asked notes what it is given.
type asked struct {
	due   []fleet.RefetchFacts
	of    *fleet.RefetchFacts
	asks  []fleet.RefetchAsk
	event []fleet.Event
}

func (a *asked) Due(context.Context, time.Time, int) ([]fleet.RefetchFacts, error) { return a.due, nil }
func (a *asked) Of(context.Context, fleet.HostID) (*fleet.RefetchFacts, error)     { return a.of, nil }
func (a *asked) Ask(_ context.Context, asks []fleet.RefetchAsk, events ...fleet.Event) error {
	a.asks, a.event = asks, events
	return nil
}

func TestACommandIsMadeOnceForAllHostsOfItsKind(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a := &asked{}
	for id := range 6 {
		a.due = append(a.due, fleet.RefetchFacts{Host: fleet.HostRef{ID: fleet.HostID(id + 1), Platform: fleet.PlatformIOS}, EnrollmentID: 1, Personal: id%2 == 1})
	}
	bell := wake.NewBell()
	if err := NewRefetcher(a, time.Hour, func() time.Time { return now }, bell).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	distinct := map[*fleet.Command]bool{}
	var uuids []string
	for _, ask := range a.asks {
		if ask.Period < 54*time.Minute || ask.Period > 66*time.Minute || !ask.RetryAt.Equal(now.Add(fleet.SilentAfter)) {
			t.Errorf("%+v", ask)
		}
		for _, c := range ask.Commands {
			if !distinct[c] {
				uuids = append(uuids, c.UUID)
			}
			distinct[c] = true
			if c.Purpose != fleet.CommandVitals {
				t.Errorf("purpose %d", c.Purpose)
			}
		}
	}
	slices.Sort(uuids)
	if len(a.asks) != 6 || len(uuids) != 6 || len(slices.Compact(uuids)) != 6 {
		t.Errorf("%d asks with the commands %v", len(a.asks), uuids)
	}
	select {
	case <-bell.C():
	default:
		t.Error("nobody is woken")
	}
}

func TestOnlyEnrolledHostsCanBeAsked(t *testing.T) {
	a := &asked{}
	r := NewRefetcher(a, time.Hour, time.Now, nil)
	if err := r.Refetch(t.Context(), fleet.Actor{}, 1); fleet.KindOf(err) != fleet.KindNotFound {
		t.Errorf("an unknown host: %v", err)
	}
	a.of = &fleet.RefetchFacts{Host: fleet.HostRef{ID: 1}}
	if err := r.Refetch(t.Context(), fleet.Actor{}, 1); fleet.KindOf(err) != fleet.KindConflict || a.asks != nil {
		t.Errorf("one without MDM: %v", err)
	}
	a.of.EnrollmentID = 5
	if err := r.Refetch(t.Context(), fleet.Actor{Name: "Ada"}, 1); err != nil || len(a.asks) != 1 || len(a.event) != 1 || a.event[0].Actor.Name != "Ada" {
		t.Errorf("%v, %+v, %+v", err, a.asks, a.event)
	}
}

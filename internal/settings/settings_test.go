package settings

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func TestURLsAreCheckedAndBroughtIntoForm(t *testing.T) {
	v := fleet.Settings{ServerURL: " https://mdm.example.com/ "}
	if err := Check(&v); err != nil || v.ServerURL != "https://mdm.example.com" {
		t.Fatalf("%q, %v", v.ServerURL, err)
	}
	long := "https://" + strings.Repeat("x", maxText)
	for _, bad := range []string{"mdm.example.com", "ftp://x", "https://", "https://u:p@x", "javascript:alert(1)", long} {
		v := fleet.Settings{ServerURL: bad, OrgLogoURL: bad}
		err := Check(&v)
		var e *fleet.Error
		if !errors.As(err, &e) || e.Kind != fleet.KindInvalid || len(e.Fields) != 2 {
			t.Errorf("%.40s: %v", bad, err)
		}
	}
	if err := Check(&fleet.Settings{OrgName: strings.Repeat("x", maxText+1)}); fleet.KindOf(err) != fleet.KindInvalid {
		t.Errorf("a very long name: %v", err)
	}
}

// bench is the service over a real database.
type bench struct {
	*Service
	t      *testing.T
	events *store.Events
}

func newBench(t *testing.T, fallback string) bench {
	db := storetest.Open(t, store.SQLite)
	return bench{New(store.NewSettings(db), fallback), t, store.NewEvents(db)}
}

func (b bench) current() fleet.Settings {
	b.t.Helper()
	v, err := b.Settings(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func (b bench) log() []fleet.Event {
	b.t.Helper()
	list, err := b.events.Since(context.Background(), 0, 0, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

var ada = fleet.Actor{Kind: fleet.ActorUser, UserID: 7, Name: "Ada"}

// rename is a change of the organization's name.
func rename(to string) func(*fleet.Settings) error {
	return func(v *fleet.Settings) error { v.OrgName = to; return nil }
}

func TestAChangeIsStoredWithAnEventThatTellsBeforeAndAfter(t *testing.T) {
	b := newBench(t, "")
	for _, name := range []string{"Acme", "Acme Corp"} {
		out, err := b.Update(context.Background(), ada, rename(name), false)
		if err != nil || out.OrgName != name {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	if got := b.current(); got.OrgName != "Acme Corp" || got.UpdatedAt.IsZero() {
		t.Errorf("stored: %+v", got)
	}
	log := b.log()
	if len(log) != 2 || log[1].Kind != fleet.EventConfigChanged || log[1].Actor.UserID != ada.UserID {
		t.Fatalf("events: %+v", log)
	}
	var details struct{ Before, After map[string]any }
	if err := json.Unmarshal(log[1].Details, &details); err != nil {
		t.Fatal(err)
	}
	if details.Before["org_name"] != "Acme" || details.After["org_name"] != "Acme Corp" {
		t.Errorf("details: %s", log[1].Details)
	}
}

func TestTheLogNamesWhatTheBrakeWatches(t *testing.T) {
	b := newBench(t, "")
	_, err := b.Update(context.Background(), ada, func(v *fleet.Settings) error {
		v.Brake.ApprovalFor = []fleet.ActionKind{fleet.ActionWipe, fleet.ActionDelete}
		return nil
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	if details := string(b.log()[0].Details); !strings.Contains(details, `"approval_for":["wipe","delete"]`) {
		t.Errorf("details: %s", details)
	}
}

func TestADryRunAnswersWhatWouldBeAndStoresNothing(t *testing.T) {
	b := newBench(t, "")
	if _, err := b.Update(context.Background(), ada, rename("Acme"), false); err != nil {
		t.Fatal(err)
	}
	out, err := b.Update(context.Background(), ada, rename("Other"), true)
	if err != nil || out.OrgName != "Other" {
		t.Errorf("%+v, %v", out, err)
	}
	if got := b.current(); got.OrgName != "Acme" {
		t.Errorf("stored: %+v", got)
	}
	if log := b.log(); len(log) != 1 {
		t.Errorf("events: %+v", log)
	}
}

func TestARefusedChangeStoresNothing(t *testing.T) {
	refusal := errors.New("no")
	for _, tt := range []struct {
		name   string
		change func(*fleet.Settings) error
		is     func(error) bool
	}{
		{"by the caller", func(v *fleet.Settings) error { v.OrgName = "x"; return refusal }, func(err error) bool { return errors.Is(err, refusal) }},
		{"by the check", func(v *fleet.Settings) error { v.OrgName, v.ServerURL = "x", "nonsense"; return nil },
			func(err error) bool { return fleet.KindOf(err) == fleet.KindInvalid }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, "")
			if _, err := b.Update(context.Background(), ada, tt.change, false); !tt.is(err) {
				t.Errorf("got %v", err)
			}
			if got := b.current(); got.OrgName != "" || len(b.log()) != 0 {
				t.Errorf("stored: %+v, %v", got, b.log())
			}
		})
	}
}

func TestTheConfiguredURLCountsUntilOneIsSetAndIsNeverStored(t *testing.T) {
	b := newBench(t, "https://flag.example.com/")
	if got := b.current().ServerURL; got != "https://flag.example.com" {
		t.Errorf("before: %q", got)
	}
	out, err := b.Update(context.Background(), ada, rename("Acme"), false)
	if err != nil || out.ServerURL != "https://flag.example.com" {
		t.Errorf("another change: %+v, %v", out, err)
	}
	if raw, err := b.store.Settings(context.Background()); err != nil || raw.ServerURL != "" {
		t.Errorf("stored: %+v, %v", raw, err)
	}
	set := func(v *fleet.Settings) error { v.ServerURL = "https://mdm.example.com/"; return nil }
	if _, err := b.Update(context.Background(), ada, set, false); err != nil {
		t.Fatal(err)
	}
	if got := b.current().ServerURL; got != "https://mdm.example.com" {
		t.Errorf("after: %q", got)
	}
}

func TestTheLogIsKeptLongEnough(t *testing.T) {
	b := newBench(t, "")
	for days, ok := range map[int]bool{0: true, 30: true, 36_500: true, 29: false, -1: false, 36_501: false} {
		want := fleet.LogPolicy{Forever: days == 30, Days: days}
		_, err := b.Update(context.Background(), fleet.Actor{}, func(s *fleet.Settings) error { s.Log = want; return nil }, false)
		if ok != (err == nil) || ok && b.current().Log != want {
			t.Errorf("%d days: %+v, %v", days, b.current().Log, err)
		}
		if !ok && fleet.KindOf(err) != fleet.KindInvalid {
			t.Errorf("%d days: %v", days, err)
		}
	}
	now := time.Date(2027, time.March, 1, 0, 0, 0, 0, time.UTC)
	if at, ends := (fleet.LogPolicy{}).Begin(now); !ends || !at.Equal(now.Add(-400*24*time.Hour)) {
		t.Errorf("the log begins at %v, %v", at, ends)
	}
	if _, ends := (fleet.LogPolicy{Forever: true, Days: 30}).Begin(now); ends {
		t.Error("a log that is kept for ever ends")
	}
}

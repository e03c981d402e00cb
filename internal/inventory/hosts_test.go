package inventory

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// bench is the inventory over a real database.
type bench struct {
	*Service
	t     *testing.T
	db    *store.DB
	seen  *Seen
	clock *hands
}

func newBench(t *testing.T) *bench {
	db := storetest.Open(t, store.SQLite)
	clock := &hands{at: storetest.Clock()()}
	hosts := store.NewHosts(db)
	seen := NewSeen(hosts, clock.now)
	return &bench{NewService(hosts, seen), t, db, seen, clock}
}

// host enrolls a host with that name, as a check-in would.
func (b *bench) host(n int, name string) fleet.HostID {
	b.t.Helper()
	key := fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: fmt.Sprintf("UDID-%d", n)}
	h := fleet.Host{UUID: key.ID, HardwareSerial: fmt.Sprintf("SERIAL%d", n), Hostname: name, ComputerName: name, Platform: fleet.PlatformDarwin}
	e := fleet.Enrollment{Key: key.ID, Channel: key.Channel, State: fleet.EnrollmentOn}
	_, err := store.NewEnrollments(b.db).Apply(context.Background(), fleet.CheckinLookup{Key: key}, func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
		return fleet.EnrollmentChange{Host: &h, Enrollment: &e}, nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return h.ID
}

func TestAHostIsFoundByUUIDSerialOrName(t *testing.T) {
	b := newBench(t)
	ada := b.host(1, "ada-mac")
	b.host(2, "shared")
	b.host(3, "shared")
	for _, tt := range []struct {
		name, identifier string
		want             fleet.HostID
		kind             fleet.Kind
	}{
		{"by UUID", "UDID-1", ada, 0},
		{"by serial", "SERIAL1", ada, 0},
		{"by name", "ada-mac", ada, 0},
		{"a name that nobody has", "nobody", 0, fleet.KindNotFound},
		{"a name that two have", "shared", 0, fleet.KindConflict},
		{"nothing", "", 0, fleet.KindNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := b.HostByIdentifier(context.Background(), tt.identifier)
			if tt.want != 0 {
				if err != nil || h.ID != tt.want {
					t.Fatalf("%+v, %v", h, err)
				}
				return
			}
			if h != nil || fleet.KindOf(err) != tt.kind {
				t.Errorf("%+v, %v", h, err)
			}
		})
	}
	_, err := b.HostByIdentifier(context.Background(), "shared")
	for _, want := range []string{"SERIAL2", "SERIAL3", "UDID-2", "UDID-3"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
}

func TestTheLastContactIsShownBeforeItIsWritten(t *testing.T) {
	b := newBench(t)
	id := b.host(1, "ada-mac")
	at := b.clock.advance(time.Hour)
	b.seen.Note(id)
	check := func(when string) {
		t.Helper()
		h, err := b.Host(context.Background(), id)
		if err != nil || !h.SeenAt.Equal(at) || !h.MDM.CheckedInAt.Equal(at) {
			t.Errorf("%s: seen %v, checked in %v, want %v (%v)", when, h.SeenAt, h.MDM.CheckedInAt, at, err)
		}
		list, _, err := b.List(context.Background(), fleet.HostFilter{Page: fleet.Page{Size: 10}})
		if err != nil || len(list) != 1 || !list[0].SeenAt.Equal(at) {
			t.Errorf("%s: list %+v, %v", when, list, err)
		}
	}
	check("in memory")
	if err := b.seen.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	check("written")
}

func TestADeletedHostIsGoneAndTheLogKeepsItsName(t *testing.T) {
	b := newBench(t)
	id := b.host(1, "ada-mac")
	actor := fleet.Actor{Kind: fleet.ActorUser, UserID: 7}
	if err := b.Delete(context.Background(), actor, id); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Host(context.Background(), id); fleet.KindOf(err) != fleet.KindNotFound {
		t.Errorf("still there: %v", err)
	}
	if err := b.Delete(context.Background(), actor, id); fleet.KindOf(err) != fleet.KindNotFound {
		t.Errorf("a second deletion: %v", err)
	}
	log, err := store.NewEvents(b.db).Since(context.Background(), 0, 0, 0)
	if err != nil || len(log) != 1 || log[0].Kind != fleet.EventHostDeleted || log[0].Actor.UserID != 7 || !strings.Contains(string(log[0].Details), "SERIAL1") {
		t.Errorf("events: %+v, %v", log, err)
	}
}

package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func TestFiveReplicasThatMigrateAtOnceAllComeUp(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres, store.MySQL} {
		t.Run(string(d), func(t *testing.T) {
			url := storetest.URL(t, d)
			var errs [5]error
			var applied atomic.Int64
			storetest.Parallel(len(errs), func(i int) {
				db, err := store.Open(context.Background(), store.Options{URL: url})
				if err != nil {
					errs[i] = err
					return
				}
				names, err := db.Migrate(context.Background())
				applied.Add(int64(len(names)))
				errs[i] = errors.Join(err, db.Close())
			})
			if err := errors.Join(errs[:]...); err != nil {
				t.Fatal(err)
			}
			if applied.Load() < 1 {
				t.Fatal("nobody migrated")
			}
			db, err := store.Open(context.Background(), store.Options{URL: url})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			list, err := db.Migrations(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range list {
				if m.AppliedAt.IsZero() {
					t.Errorf("migration %s is still pending", m.Name)
				}
			}
		})
	}
}

func TestTheThreeSchemasAreAlike(t *testing.T) {
	describe := func(d store.Dialect) string {
		lines, err := storetest.Open(t, d).DescribeSchema(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n")
	}
	want := describe(store.SQLite)
	if !strings.Contains(want, "hosts.hardware_serial") || !strings.Contains(want, "index hosts.hosts_serial") {
		t.Fatalf("description looks wrong:\n%s", want)
	}
	for _, d := range []store.Dialect{store.Postgres, store.MySQL} {
		if got := describe(d); got != want {
			t.Errorf("schema of %s differs from SQLite's:\n%s", d, diffLines(want, got))
		}
	}
}

func diffLines(want, got string) string {
	in := func(s string) map[string]bool {
		m := map[string]bool{}
		for _, l := range strings.Split(s, "\n") {
			m[l] = true
		}
		return m
	}
	w, g := in(want), in(got)
	var b strings.Builder
	for l := range w {
		if !g[l] {
			fmt.Fprintln(&b, "-", l)
		}
	}
	for l := range g {
		if !w[l] {
			fmt.Fprintln(&b, "+", l)
		}
	}
	return b.String()
}

func TestALeaseHasOneHolderAndAnEpochThatGrows(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		leases := store.NewLeases(db)
		e1, held, err := leases.Acquire(ctx, "job", "a", time.Minute)
		if err != nil || !held {
			t.Fatalf("first: held=%v err=%v", held, err)
		}
		if _, held, err := leases.Acquire(ctx, "job", "b", time.Minute); err != nil || held {
			t.Fatalf("b took a's lease: held=%v err=%v", held, err)
		}
		if e, held, err := leases.Acquire(ctx, "job", "a", time.Minute); err != nil || !held || e != e1 {
			t.Fatalf("prolong: epoch=%d held=%v err=%v", e, held, err)
		}
		if err := leases.Release(ctx, "job", "a"); err != nil {
			t.Fatal(err)
		}
		e2, held, err := leases.Acquire(ctx, "job", "b", time.Millisecond)
		if err != nil || !held || e2 <= e1 {
			t.Fatalf("after release: epoch %d then %d, held=%v err=%v", e1, e2, held, err)
		}
		deadline := time.Now().Add(5 * time.Second)
		for {
			e3, held, err := leases.Acquire(ctx, "job", "c", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if held {
				if e3 <= e2 {
					t.Fatalf("epoch did not grow: %d then %d", e2, e3)
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("an expired lease was never free")
			}
		}
		var holders atomic.Int64
		storetest.Parallel(8, func(i int) {
			_, held, err := leases.Acquire(ctx, "race", fmt.Sprint("r", i), time.Minute)
			if err != nil {
				t.Error(err)
			}
			if held {
				holders.Add(1)
			}
		})
		if holders.Load() != 1 {
			t.Fatalf("%d holders of one lease", holders.Load())
		}
	})
}

func TestEventsAreWrittenWithTheChangeOrNotAtAll(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		settings := store.NewSettings(db)
		boom := errors.New("boom")
		event := fleet.Event{Kind: fleet.EventConfigChanged, Actor: fleet.Actor{Kind: fleet.ActorUser, Name: "Ada"}}
		if _, err := settings.Update(ctx, func(s *fleet.Settings) ([]fleet.Event, error) {
			s.OrgName = "lost"
			return []fleet.Event{event}, boom
		}, false); !errors.Is(err, boom) {
			t.Fatalf("err = %v", err)
		}
		if _, err := settings.Update(ctx, func(s *fleet.Settings) ([]fleet.Event, error) {
			s.OrgName = "Zürich 中"
			return []fleet.Event{event}, nil
		}, false); err != nil {
			t.Fatal(err)
		}
		got, err := settings.Settings(ctx)
		if err != nil || got.OrgName != "Zürich 中" {
			t.Fatalf("settings = %+v, %v", got, err)
		}
		events, err := store.NewEvents(db).Since(ctx, 0, 0, 10)
		if err != nil || len(events) != 1 || events[0].Actor.Name != "Ada" || events[0].At.IsZero() {
			t.Fatalf("events = %+v, %v", events, err)
		}
	})
}

func TestKeysAreUniqueUnderConcurrency(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		profiles := store.NewEnrollmentProfiles(db)
		storetest.Parallel(40, func(i int) {
			p := fleet.EnrollmentProfile{Name: fmt.Sprint("p", i), Kind: fleet.EnrollmentManual, Token: fmt.Sprint("t", i)}
			if err := profiles.Create(ctx, &p); err != nil {
				t.Error(err)
			}
		})
		list, err := profiles.List(ctx)
		if err != nil || len(list) != 40 {
			t.Fatalf("%d profiles, %v", len(list), err)
		}
		dup := fleet.EnrollmentProfile{Name: "p1", Token: "other"}
		if err := profiles.Create(ctx, &dup); fleet.KindOf(err) != fleet.KindConflict {
			t.Fatalf("a taken name: %v", err)
		}
	})
}

func TestOneFailingTransactionOfAGroupLeavesTheOthers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		profiles := store.NewEnrollmentProfiles(db)
		var failed atomic.Int64
		storetest.Parallel(60, func(i int) {
			name := fmt.Sprint("p", i)
			if i%2 == 1 {
				name = "same"
			}
			p := fleet.EnrollmentProfile{Name: name, Token: fmt.Sprint("t", i)}
			if err := profiles.Create(ctx, &p); err != nil {
				failed.Add(1)
			}
		})
		list, err := profiles.List(ctx)
		if err != nil || len(list) != 31 || failed.Load() != 29 {
			t.Fatalf("%d stored and %d failed, want 31 and 29 (%v)", len(list), failed.Load(), err)
		}
	})
}

func TestTheLogIsShortenedFromItsBeginning(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, log := context.Background(), store.NewEvents(db)
		now := storetest.Clock()()
		const old = 1200 // more than one step deletes
		var events []fleet.Event
		for i := range old {
			at := now.Add(-time.Hour)
			if i%100 == 7 {
				at = now.AddDate(10, 0, 0) // of a clock that was wrong
			}
			events = append(events, fleet.Event{Kind: fleet.EventConfigChanged, At: at})
		}
		events = append(events, fleet.Event{Kind: fleet.EventHostDeleted, At: now})
		if err := log.Append(ctx, events...); err != nil {
			t.Fatal(err)
		}
		if n, err := log.DeleteOld(ctx, now); err != nil || n != old-old/100 {
			t.Errorf("deleted %d of %d (%v)", n, old, err)
		}
		list, err := log.Since(ctx, 0, 0, 0)
		if err != nil || len(list) != 1+old/100 || list[len(list)-1].Kind != fleet.EventHostDeleted {
			t.Errorf("%d entries are left (%v)", len(list), err)
		}
		if n, err := log.DeleteOld(ctx, now); err != nil || n != 0 {
			t.Errorf("once more: %d, %v", n, err)
		}
	})
}

// Texts come from devices and people. What a database cannot hold of one fails
// neither the statement nor those that share it.
func TestTextsThatADatabaseCannotHoldAreStoredAllTheSame(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		for bad, want := range map[string]string{"a\x00b": "a\uFFFDb", "c\xffd": "c\uFFFDd", "é🙂": "é🙂"} {
			team := &fleet.Team{Name: bad}
			if err := store.NewTeams(db).Create(ctx, team); err != nil {
				t.Errorf("%q: %v", bad, err)
				continue
			}
			got, err := store.NewTeams(db).Team(ctx, team.ID)
			if err != nil || got == nil || got.Name != want {
				t.Errorf("%q is stored as %+v, %v", bad, got, err)
			}
			d := addDevice(t, db, fleet.Host{UUID: "U-" + want, ComputerName: bad})
			for what, err := range map[string]error{
				"searched": func() error {
					list, _, err := store.NewHosts(db).List(ctx, fleet.HostFilter{Query: bad})
					if err == nil && (len(list) != 1 || list[0].ID != d.host.ID) {
						err = fmt.Errorf("%d hosts", len(list))
					}
					return err
				}(),
				"looked up": func() error { _, err := store.NewHosts(db).ByIdentifier(ctx, bad); return err }(),
			} {
				if err != nil {
					t.Errorf("%q, %s: %v", bad, what, err)
				}
			}
		}
	})
}

package app_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/app"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/kit/wake"
	"github.com/muster-mdm/muster/internal/reconcile"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// Sizes of the desired state's benchmarks.
const (
	manyHosts   = 100_000
	manyTeams   = 20
	itemsATeam  = 50
	fewerHosts  = 10_000 // where every host has every item
	benchLabels = 10
)

// estate is a fleet in a database, without devices or a network.
type estate struct {
	b     *testing.B
	db    *store.DB
	plans *store.Plans
	items *store.Items
	r     *reconcile.Reconciler
	teams []fleet.TeamID
	hosts []fleet.HostID
}

// newEstate has that many enrolled hosts, spread over the teams, everything
// planned.
func newEstate(b *testing.B, d store.Dialect, hosts int) *estate {
	b.Helper()
	ctx := context.Background()
	c := config.Config{DataDir: b.TempDir()}.WithDefaults()
	if d != store.SQLite {
		c.Database.URL = config.Secret(storetest.URL(b, d))
	}
	seedHosts(b, c, hosts)
	db, err := app.OpenStore(ctx, c, storetest.Clock())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	e := &estate{b: b, db: db, plans: store.NewPlans(db), items: store.NewItems(db)}
	e.r, err = reconcile.New(ctx, e.plans, e.items, store.NewTeams(db), time.Now, slog.New(slog.DiscardHandler), wake.NewBell())
	if err != nil {
		b.Fatal(err)
	}
	if e.hosts, err = store.NewHosts(db).IDs(ctx, fleet.HostFilter{}, hosts); err != nil {
		b.Fatal(err)
	}
	teams := store.NewTeams(db)
	for n := range manyTeams {
		team := &fleet.Team{Name: fmt.Sprint("Team ", n)}
		if err := teams.Create(ctx, team); err != nil {
			b.Fatal(err)
		}
		e.teams = append(e.teams, team.ID)
		share := e.hosts[n*len(e.hosts)/manyTeams : (n+1)*len(e.hosts)/manyTeams]
		if _, err := teams.Transfer(ctx, fleet.Transfer{TeamID: team.ID, Hosts: share}); err != nil {
			b.Fatal(err)
		}
	}
	e.plan()
	return e
}

func (e *estate) plan() {
	e.b.Helper()
	if err := e.r.Round(context.Background()); err != nil {
		e.b.Fatal(err)
	}
}

// upload adds profiles to a team, the way the API does.
func (e *estate) upload(team fleet.TeamID, n int, name string) {
	e.b.Helper()
	err := e.items.Edit(context.Background(), team, false, func([]*fleet.Item) (fleet.ItemEdits, error) {
		var edits fleet.ItemEdits
		for i := range n {
			id := fmt.Sprintf("%s.%d", name, i)
			body := []byte("<plist><dict><key>PayloadIdentifier</key><string>" + id + "</string></dict></plist>")
			edits.Add = append(edits.Add, fleet.ItemUpload{Content: body, Item: fleet.Item{UUID: "a" + ids.UUID(), TeamID: team, Kind: fleet.ItemProfile,
				Identifier: id, Name: id, Platforms: fleet.OnApple, ItemVersion: fleet.ItemVersion{Version: 1, SHA256: sha256.Sum256(body)}}})
		}
		return edits, nil
	})
	if err != nil {
		e.b.Fatal(err)
	}
}

func (e *estate) drop(team fleet.TeamID, name string) {
	e.b.Helper()
	err := e.items.Edit(context.Background(), team, false, func(live []*fleet.Item) (fleet.ItemEdits, error) {
		for _, i := range live {
			if i.Name == name+".0" {
				return fleet.ItemEdits{Remove: []fleet.ItemID{i.ID}}, nil
			}
		}
		return fleet.ItemEdits{}, nil
	})
	if err != nil {
		e.b.Fatal(err)
	}
}

// cpu is the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// An upload and a deletion are one insert and one revision each, at 100,000
// hosts as at none.
func BenchmarkUploadAndDelete(b *testing.B) {
	for _, hosts := range []int{manyTeams, manyHosts} {
		b.Run(fmt.Sprint(hosts, " hosts"), func(b *testing.B) {
			e := newEstate(b, store.SQLite, hosts)
			for b.Loop() {
				e.upload(e.teams[0], 1, "new")
				e.drop(e.teams[0], "new")
			}
		})
	}
}

// A new item for every host of 20 teams: until the last one is planned and its
// command queued.
func BenchmarkNewItemForAllHosts(b *testing.B) {
	eachDatabase(b, func(b *testing.B, d store.Dialect) {
		hosts := manyHosts
		if d != store.SQLite {
			hosts = fewerHosts
		}
		e := newEstate(b, d, hosts)
		begun := cpu()
		for n := 0; b.Loop(); n++ {
			for _, team := range e.teams {
				e.upload(team, 1, fmt.Sprint("new", n))
			}
			e.plan()
		}
		b.ReportMetric(float64((cpu()-begun).Microseconds())/float64(b.N*hosts), "cpu-us/host")
		b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/all")
	})
}

// The first convergence of a fleet with 50 items a host.
func BenchmarkFirstConvergence(b *testing.B) {
	eachDatabase(b, func(b *testing.B, d store.Dialect) {
		hosts := fewerHosts
		if d != store.SQLite {
			hosts /= 5
		}
		for b.Loop() {
			b.StopTimer()
			e := newEstate(b, d, hosts)
			for _, team := range e.teams {
				e.upload(team, itemsATeam, "item")
			}
			begun := cpu()
			b.StartTimer()
			e.plan()
			b.ReportMetric(float64((cpu()-begun).Microseconds())/float64(hosts*itemsATeam), "cpu-us/row")
			b.ReportMetric(b.Elapsed().Seconds(), "s/all")
		}
	})
}

// What 100,000 hosts should have of 50 items with labels, in memory.
func BenchmarkDesired(b *testing.B) {
	c := &fleet.Catalog{Revisions: map[fleet.TeamID]int64{}, Items: map[fleet.ItemID]*fleet.Item{}, ByTeam: map[fleet.TeamID][]*fleet.Item{},
		Labels: map[fleet.LabelID]*fleet.Label{}, Secrets: map[string]int64{}}
	for n := range benchLabels {
		id := fleet.LabelID(n + 1)
		c.Labels[id] = &fleet.Label{ID: id, Name: fmt.Sprint("label", n), Kind: fleet.LabelManual}
	}
	for n := range itemsATeam {
		i := &fleet.Item{ID: fleet.ItemID(n + 1), UUID: fmt.Sprint("a", n), Kind: fleet.ItemProfile, Platforms: fleet.OnApple}
		if n%3 == 0 {
			i.Labels = []fleet.ItemLabel{{LabelID: fleet.LabelID(n%benchLabels + 1), Mode: fleet.LabelMode(n/3%3 + 1)}}
		}
		c.Items[i.ID] = i
		c.ByTeam[0] = append(c.ByTeam[0], i)
	}
	rules := reconcile.NewRules(c)
	f := fleet.HostFacts{Host: fleet.Host{ID: 1, UUID: "HOST", Platform: fleet.PlatformIOS}, Labels: []fleet.Membership{{LabelID: 1, Member: fleet.Yes}, {LabelID: 4, Member: fleet.Yes}}}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for range rules.Desired(&f) {
			n++
		}
		if n != itemsATeam {
			b.Fatal("an item is missing")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)*manyHosts/1e9, "s/100k-hosts")
}

// Summaries and lists among 100,000 hosts that have an item each.
func BenchmarkItemSummaries(b *testing.B) {
	e := newEstate(b, store.SQLite, manyHosts)
	for _, team := range e.teams {
		e.upload(team, 1, "item")
	}
	e.plan()
	ctx := context.Background()
	statuses := store.NewItemStatuses(e.db)
	list, _, err := e.items.List(ctx, fleet.ItemFilter{TeamID: e.teams[0]})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("summary of a team", func(b *testing.B) {
		for b.Loop() {
			if c, err := statuses.Summary(ctx, e.teams[0]); err != nil || c.Pending != manyHosts/manyTeams {
				b.Fatal(c, err)
			}
		}
	})
	b.Run("counts of an item", func(b *testing.B) {
		for b.Loop() {
			if _, err := statuses.ItemCounts(ctx, list[0].ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("page of an item's hosts", func(b *testing.B) {
		for b.Loop() {
			if rows, _, err := statuses.HostsOf(ctx, fleet.ItemHostFilter{ItemID: list[0].ID, Page: fleet.Page{Size: 50}}); err != nil || len(rows) != 50 {
				b.Fatal(len(rows), err)
			}
		}
	})
	b.Run("items of a host", func(b *testing.B) {
		for b.Loop() {
			if rows, err := statuses.HostItems(ctx, e.hosts[0]); err != nil || len(rows) != 1 {
				b.Fatal(len(rows), err)
			}
		}
	})
}

// One command for all hosts: what its fan-out costs after the call, and the
// store's part of the pushes that follow.
func BenchmarkFanout(b *testing.B) {
	eachDatabase(b, func(b *testing.B, d store.Dialect) {
		hosts := manyHosts
		if d != store.SQLite {
			hosts = fewerHosts
		}
		e := newEstate(b, d, hosts)
		ctx := context.Background()
		commands, pushes := store.NewCommands(e.db), store.NewPushes(e.db)
		targets, err := store.NewEnrollments(e.db).TargetsByID(ctx, e.hosts)
		if err != nil || len(targets) != hosts {
			b.Fatal(len(targets), err)
		}
		var queueing, pushing time.Duration
		for n := 0; b.Loop(); n++ {
			at, begun := time.Now(), cpu()
			cmd := &fleet.Command{UUID: fmt.Sprint("fanout-", n), RequestType: "ProfileList", Purpose: fleet.CommandCustom, Body: []byte("command")}
			if _, err := commands.Enqueue(ctx, cmd, targets); err != nil {
				b.Fatal(err)
			}
			for more := true; more; {
				var queued fleet.FanoutBatch
				if queued, more, err = commands.Fanout(ctx, fanoutBatch); err != nil {
					b.Fatal(err)
				}
				before := cpu()
				for ids := range slices.Chunk(queued.Enrollments, pushBatch) {
					list, err := pushes.Targets(ctx, ids)
					if err != nil || len(list) != len(ids) {
						b.Fatal(len(list), err)
					}
					outcomes := make([]fleet.PushOutcome, len(list))
					for i, p := range list {
						outcomes[i] = fleet.PushOutcome{EnrollmentID: p.EnrollmentID, DueAt: p.DueAt, At: at, NextAt: at.Add(time.Minute), Attempts: 1}
					}
					if err := pushes.Record(ctx, outcomes); err != nil {
						b.Fatal(err)
					}
				}
				pushing += cpu() - before
				if err := commands.FanoutPushed(ctx, queued); err != nil {
					b.Fatal(err)
				}
			}
			queueing += cpu() - begun
		}
		b.ReportMetric(float64((queueing-pushing).Microseconds())/float64(b.N*hosts), "cpu-us/host")
		b.ReportMetric(float64(pushing.Microseconds())/float64(b.N*hosts), "cpu-us/push")
		b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/all")
	})
}

// As the pusher does it.
const (
	fanoutBatch = 2000
	pushBatch   = 500
)

package reconcile

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/wake"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// model is a fleet under random changes.
type model struct {
	*world
	devices []*device
	teams   []fleet.TeamID
	labels  []*fleet.Label
	uploads int
}

// Whatever people change, in whatever order: after planning every host has
// exactly what the rules say, planning again changes nothing, and a change of
// members makes exactly those hosts due.
func TestEveryChangeReachesExactlyTheHostsThatItConcerns(t *testing.T) {
	db := storetest.Open(t, store.SQLite)
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t, rt, db)
		for range rapid.IntRange(3, 12).Draw(rt, "steps") {
			due := m.change(rt)
			if due != nil {
				m.exactly(rt, due)
			}
			if rapid.Bool().Draw(rt, "plan now") {
				m.pass(time.Second)
				m.check(rt)
			}
		}
		m.pass(time.Second)
		m.check(rt)
		again, err := store.NewPlans(m.db).Claim(ctx, m.now, 1000)
		m.must(err)
		if len(again) != 0 {
			rt.Fatalf("hosts %v are to be planned again at once", again)
		}
	})
}

// newModel has hosts and teams of its own in a database that cases share.
func newModel(t *testing.T, rt *rapid.T, db *store.DB) *model {
	m := &model{world: &world{T: t, db: db, now: time.Now().UTC().Truncate(time.Microsecond)}}
	var err error
	m.r, err = New(ctx, store.NewPlans(db), store.NewItems(db), store.NewTeams(db), func() time.Time { return m.now.Add(time.Hour) }, slog.New(slog.DiscardHandler), wake.NewBell())
	m.must(err)
	seed := rapid.Uint64().Draw(rt, "seed")
	for n := range 2 {
		team := &fleet.Team{Name: fmt.Sprintf("T%d-%d-%d", n, seed, time.Now().UnixNano())}
		m.must(store.NewTeams(db).Create(ctx, team))
		m.teams = append(m.teams, team.ID)
	}
	for range rapid.IntRange(1, 5).Draw(rt, "hosts") {
		d := m.device(int(time.Now().UnixNano()), "iOS 17.1")
		_, err := store.NewTeams(db).Transfer(ctx, fleet.Transfer{TeamID: m.teams[0], Hosts: []fleet.HostID{d.host}})
		m.must(err)
		m.devices = append(m.devices, d)
	}
	m.pass(0)
	return m
}

// change makes one random change. For a change of members it returns the
// hosts that must be due then, and only they.
func (m *model) change(rt *rapid.T) []fleet.HostID {
	d := rapid.SampledFrom(m.devices).Draw(rt, "host")
	team := rapid.SampledFrom(m.teams).Draw(rt, "team")
	switch rapid.IntRange(0, 8).Draw(rt, "change") {
	case 0, 1:
		label := &fleet.Label{Name: fmt.Sprint("L", time.Now().UnixNano()), Kind: fleet.LabelManual}
		if rapid.Bool().Draw(rt, "vitals") {
			label.Kind, label.Criteria = fleet.LabelVitals, &fleet.Criteria{Vital: rapid.SampledFrom([]string{"os_version", "end_user_idp_group"}).Draw(rt, "vital"), Operator: ">=", Value: "18"}
		}
		m.must(store.NewLabels(m.db).Create(ctx, label, nil))
		m.labels = append(m.labels, label)
	case 2, 3:
		m.uploads++
		m.add(team, upload(fmt.Sprintf("p%d-%d", m.uploads, time.Now().UnixNano()), "1", m.scope(rt)...))
	case 4:
		m.edit(team, func(live []*fleet.Item) fleet.ItemEdits {
			if len(live) == 0 {
				return fleet.ItemEdits{}
			}
			return fleet.ItemEdits{Remove: []fleet.ItemID{rapid.SampledFrom(live).Draw(rt, "item").ID}}
		})
	case 5:
		_, err := store.NewTeams(m.db).Transfer(ctx, fleet.Transfer{TeamID: team, Hosts: []fleet.HostID{d.host}})
		m.must(err)
	case 6:
		return m.members(rt, d)
	case 7:
		m.vitals(d, &fleet.Vitals{OSVersion: rapid.SampledFrom([]string{"17.1", "18.0"}).Draw(rt, "os")})
	case 8:
		if n := len(m.labels); n > 0 {
			i := rapid.IntRange(0, n-1).Draw(rt, "label")
			m.must(store.NewLabels(m.db).Delete(ctx, m.labels[i].ID))
			m.labels = slices.Delete(m.labels, i, i+1)
		}
	}
	return nil
}

func (m *model) scope(rt *rapid.T) []fleet.ItemLabel {
	if len(m.labels) == 0 || rapid.Bool().Draw(rt, "for all") {
		return nil
	}
	l := rapid.SampledFrom(m.labels).Draw(rt, "scope")
	return []fleet.ItemLabel{{LabelID: l.ID, Name: l.Name, Mode: fleet.LabelMode(rapid.IntRange(1, 3).Draw(rt, "mode"))}}
}

func (m *model) members(rt *rapid.T, d *device) []fleet.HostID {
	for _, l := range m.labels {
		if l.Kind != fleet.LabelManual {
			continue
		}
		m.pass(time.Second)
		if rapid.Bool().Draw(rt, "join") {
			m.must(store.NewLabels(m.db).AddHosts(ctx, l.ID, []fleet.HostID{d.host}))
		} else {
			m.must(store.NewLabels(m.db).RemoveHosts(ctx, l.ID, []fleet.HostID{d.host}))
		}
		return []fleet.HostID{d.host}
	}
	return nil
}

// exactly checks who is to be planned now.
func (m *model) exactly(rt *rapid.T, want []fleet.HostID) {
	got, err := store.NewPlans(m.db).Claim(ctx, time.Now().Add(time.Second), 1000)
	m.must(err)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		rt.Fatalf("hosts %v are due, want %v", got, want)
	}
}

// check compares each host's rows with what the rules say of it now.
func (m *model) check(rt *rapid.T) {
	c, err := store.NewPlans(m.db).Catalog(ctx)
	m.must(err)
	rules := NewRules(c)
	for _, d := range m.devices {
		list, err := store.NewPlans(m.db).Facts(ctx, []fleet.HostID{d.host})
		m.must(err)
		f := list[0]
		rows := map[fleet.ItemID]fleet.HostItem{}
		for _, row := range f.Items {
			rows[row.ItemID] = row
		}
		for w := range rules.Desired(&f) {
			row, has := rows[w.Item.ID]
			installs := has && row.Op == fleet.OpInstall
			switch {
			case w.Decision == fleet.Yes && (!installs || row.Version != w.Version.Version):
				rt.Fatalf("host %d should have item %d and has %+v", d.host, w.Item.ID, row)
			case w.Decision == fleet.No && installs:
				rt.Fatalf("host %d should not have item %d and has %+v", d.host, w.Item.ID, row)
			}
			delete(rows, w.Item.ID)
		}
		for id, row := range rows {
			if row.Op == fleet.OpInstall {
				rt.Fatalf("host %d keeps item %d, which its scope does not have", d.host, id)
			}
		}
	}
}

package reconcile

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/wake"
	"github.com/muster-mdm/muster/internal/store"
)

func TestAdvance(t *testing.T) {
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := fleet.Rollout{Rings: []fleet.Ring{{Percent: 10, Soak: time.Hour}, {Percent: 100}}, MinVerified: 0.9, MaxFailed: 0.1, State: fleet.RolloutRunning, OpenedAt: begun}
	for _, tt := range []struct {
		name   string
		ring   int
		counts fleet.RolloutCounts
		after  time.Duration
		state  fleet.RolloutState
		want   int
		why    string
	}{
		{"it soaks though all is well", 0, fleet.RolloutCounts{Verified: 10}, 59 * time.Minute, fleet.RolloutRunning, 0, "soaks until"},
		{"soaked and verified opens the next ring", 0, fleet.RolloutCounts{Verified: 9, Pending: 1}, time.Hour, fleet.RolloutRunning, 1, ""},
		{"too few verified waits", 0, fleet.RolloutCounts{Verified: 8, Pending: 2}, time.Hour, fleet.RolloutRunning, 0, "waits until 90 %"},
		{"too many failed halts at once", 0, fleet.RolloutCounts{Verified: 8, Failed: 2}, time.Minute, fleet.RolloutHalted, 0, "failed on 2 of 10"},
		{"within the budget goes on", 0, fleet.RolloutCounts{Verified: 9, Failed: 1}, time.Hour, fleet.RolloutRunning, 1, ""},
		{"a ring without hosts opens the next", 0, fleet.RolloutCounts{}, time.Hour, fleet.RolloutRunning, 1, ""},
		{"the last ring ends it", 1, fleet.RolloutCounts{Verified: 95, Pending: 5}, time.Minute, fleet.RolloutDone, 1, ""},
		{"the last ring halts as well", 1, fleet.RolloutCounts{Verified: 50, Failed: 50}, time.Minute, fleet.RolloutHalted, 1, "failed on 50 of 100"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := r
			now.Ring = tt.ring
			got := Advance(now, tt.counts, begun.Add(tt.after))
			if got.State != tt.state || got.Ring != tt.want || !strings.Contains(got.Why, tt.why) || (tt.why == "" && got.Why != "") {
				t.Errorf("got %s, ring %d, %q", got.State, got.Ring, got.Why)
			}
		})
	}
}

func TestShardsAreStableAndSpread(t *testing.T) {
	const hosts = 20_000
	open := 0
	for n := range hosts {
		host := fmt.Sprintf("HOST-%d", n)
		if n == 0 && fleet.Shard("item", host) != 480 {
			t.Fatalf("the shard of the first host is %d: hosts would change their rings", fleet.Shard("item", host))
		}
		if fleet.Shard("item", host) < fleet.ShardBits/10 {
			open++
		}
	}
	if share := float64(open) / hosts; math.Abs(share-0.1) > 0.01 {
		t.Errorf("the first tenth of shards has %.3f of the hosts", share)
	}
	same := 0
	for n := range hosts {
		host := fmt.Sprintf("HOST-%d", n)
		if fleet.Shard("item", host) < fleet.ShardBits/10 && fleet.Shard("other", host) < fleet.ShardBits/10 {
			same++
		}
	}
	if share := float64(same) / hosts; share > 0.02 {
		t.Errorf("%.3f of the hosts come first for two items", share)
	}
}

// rolled has ten hosts and an item with two rings.
func rolled(w *world) []*device {
	var devices []*device
	for n := range 10 {
		devices = append(devices, w.device(n, "iOS 17.1"))
	}
	wifi := upload("wifi", "1")
	wifi.Item.UUID = "a8b8e9a0-0c5e-4c55-9e0e-000000000001" // which hosts come first follows from it
	w.add(fleet.NoTeam, wifi)
	w.settle(devices...)
	w.edit(fleet.NoTeam, func(live []*fleet.Item) fleet.ItemEdits {
		next := upload("wifi", "2")
		old := live[0].ItemVersion
		next.Item.ID, next.Item.UUID, next.Item.Version, next.Item.Previous = live[0].ID, live[0].UUID, 2, &old
		next.Item.Rollout = &fleet.Rollout{Rings: []fleet.Ring{{Percent: 40}, {Percent: 100}}, MinVerified: 0.9, MaxFailed: 0.2, State: fleet.RolloutRunning, OpenedAt: w.now}
		return fleet.ItemEdits{Edit: []fleet.ItemUpload{next}}
	})
	return devices
}

func (w *world) rollouts() *Rollouts {
	return NewRollouts(w.r, store.NewItems(w.db), store.NewItemStatuses(w.db), func() time.Time { return w.now }, wake.NewBell())
}

// installed counts installations beyond the first.
func updated(devices []*device) int {
	n := 0
	for _, d := range devices {
		n += d.installs - 1
	}
	return n
}

func TestARolloutGoesRingByRingToItsEnd(t *testing.T) {
	each(t, func(w *world) {
		devices := rolled(w)
		w.settle(devices...)
		first := updated(devices)
		if first == 0 || first == len(devices) {
			w.Fatalf("%d of %d hosts are in the first ring", first, len(devices))
		}
		for range 5 {
			w.now = w.now.Add(minSoak)
			w.must(w.rollouts().Round(ctx))
			w.settle(devices...)
		}
		if got := updated(devices); got != len(devices) {
			w.Errorf("%d of %d hosts have it in the end", got, len(devices))
		}
		c, err := store.NewPlans(w.db).Catalog(ctx)
		w.must(err)
		if i := c.ByTeam[fleet.NoTeam][0]; i.Rollout.State != fleet.RolloutDone || i.Previous != nil {
			w.Errorf("it is %s", i.Rollout.State)
		}
	})
}

func TestARolloutThatFailsHaltsAndGoesBack(t *testing.T) {
	each(t, func(w *world) {
		devices := rolled(w)
		for _, d := range devices {
			d.refuse["wifi"] = "The payload is not valid."
		}
		for range 40 {
			w.now = w.now.Add(time.Hour)
			w.settle(devices...)
			w.must(w.rollouts().Round(ctx))
		}
		touched := 0
		for _, d := range devices {
			if d.installs > 1 {
				touched++
			}
		}
		c, err := store.NewPlans(w.db).Catalog(ctx)
		w.must(err)
		i := c.ByTeam[fleet.NoTeam][0]
		if i.Rollout.State != fleet.RolloutHalted || touched == 0 || touched == len(devices) {
			w.Fatalf("it is %s, and %d of %d hosts were touched", i.Rollout.State, touched, len(devices))
		}
		for _, d := range devices {
			delete(d.refuse, "wifi")
		}
		w.edit(fleet.NoTeam, func(live []*fleet.Item) fleet.ItemEdits {
			next, roll := *live[0], *live[0].Rollout
			roll.State = fleet.RolloutRolledBack
			next.Rollout = &roll
			return fleet.ItemEdits{Edit: []fleet.ItemUpload{{Item: next}}}
		})
		w.settle(devices...)
		for _, d := range devices {
			d.expect("rolled back", "wifi install verified")
		}
		n, err := store.NewItemStatuses(w.db).RolloutCounts(ctx, i.ID, 1)
		w.must(err)
		if n.Verified != len(devices) {
			w.Errorf("%d hosts have the first version", n.Verified)
		}
	})
}

package store_test

import (
	"context"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func TestHostsAreListedByWhatBecameOfItems(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		teams, items, hosts, plans := store.NewTeams(db), store.NewItems(db), store.NewHosts(db), store.NewPlans(db)
		team := &fleet.Team{Name: "Sales"}
		if err := teams.Create(ctx, team); err != nil {
			t.Fatal(err)
		}
		upload := fleet.ItemUpload{Item: fleet.Item{UUID: "a-1", TeamID: team.ID, Kind: fleet.ItemProfile, Identifier: "com.example.1", Name: "One",
			Platforms: fleet.OnApple, ItemVersion: fleet.ItemVersion{Version: 1, SHA256: [32]byte{1}}}, Content: []byte("x")}
		err := items.Edit(ctx, team.ID, false, func([]*fleet.Item) (fleet.ItemEdits, error) {
			return fleet.ItemEdits{Add: []fleet.ItemUpload{upload}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		item, err := items.Item(ctx, "a-1")
		if err != nil || item == nil {
			t.Fatal(item, err)
		}
		if again, err := items.ItemByID(ctx, item.ID); err != nil || again == nil || again.UUID != "a-1" {
			t.Errorf("by its key: %+v, %v", again, err)
		}
		catalog, err := plans.Catalog(ctx)
		if err != nil {
			t.Fatal(err)
		}
		revision := catalog.Revisions[team.ID]
		place := func(name string, behind bool, status fleet.ItemStatus) fleet.HostID {
			h := addDevice(t, db, fleet.Host{UUID: name, Hostname: name, TeamID: team.ID}).host
			facts, err := plans.Facts(ctx, []fleet.HostID{h.ID})
			if err != nil || len(facts) != 1 {
				t.Fatal(facts, err)
			}
			state := facts[0].State
			state.Revision = revision
			if behind {
				state.Revision--
			}
			state.Counts = fleet.ItemCounts{}
			state.Counts.Add(status, 1)
			plan := fleet.HostPlan{HostID: h.ID, Seq: facts[0].State.Seq, State: state,
				Put: []fleet.HostItem{{HostID: h.ID, ItemID: item.ID, Version: 1, Op: fleet.OpInstall, Status: status}}}
			if _, err := plans.Apply(ctx, []fleet.HostPlan{plan}); err != nil {
				t.Fatal(err)
			}
			return h.ID
		}
		well := place("well", false, fleet.ItemVerified)
		behind := place("behind", true, fleet.ItemVerified)
		failed := place("failed", true, fleet.ItemFailed)
		addDevice(t, db, fleet.Host{UUID: "elsewhere", Hostname: "elsewhere"})
		for name, tt := range map[string]struct {
			filter fleet.HostFilter
			want   []fleet.HostID
		}{
			"verified":                    {fleet.HostFilter{Items: fleet.ItemVerified}, []fleet.HostID{well}},
			"pending, as it is behind":    {fleet.HostFilter{Items: fleet.ItemPending, TeamID: &team.ID}, []fleet.HostID{behind}},
			"failed, though it is behind": {fleet.HostFilter{Items: fleet.ItemFailed}, []fleet.HostID{failed}},
			"verifying":                   {fleet.HostFilter{Items: fleet.ItemVerifying}, nil},
			"with the item":               {fleet.HostFilter{ItemUUID: "a-1"}, []fleet.HostID{well, behind, failed}},
			"with the item verified":      {fleet.HostFilter{ItemUUID: "a-1", ItemStatus: fleet.ItemVerified}, []fleet.HostID{well, behind}},
			"with another item":           {fleet.HostFilter{ItemUUID: "a-2"}, nil},
		} {
			ids, err := hosts.IDs(ctx, tt.filter, 10)
			if err != nil {
				t.Fatal(name, err)
			}
			equal(t, name, ids, tt.want...)
			if n, err := hosts.Count(ctx, tt.filter); err != nil || n != len(tt.want) {
				t.Errorf("%s: counted %d, %v", name, n, err)
			}
		}
		counts, err := store.NewItemStatuses(db).Summary(ctx, team.ID)
		if want := (fleet.ItemStatusCounts{Verified: 1, Pending: 1, Failed: 1}); err != nil || counts != want {
			t.Errorf("the summary says %+v, %v", counts, err)
		}
		names, err := teams.Names(ctx, []fleet.TeamID{team.ID, 99})
		if err != nil || len(names) != 1 || names[team.ID] != "Sales" {
			t.Errorf("names: %v, %v", names, err)
		}
	})
}

func TestSecretsAreListedByTheirScope(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		secrets := store.NewSecrets(db)
		var writes []fleet.SecretWrite
		for _, ref := range []fleet.SecretRef{{Scope: fleet.ScopeEnrollSecrets, Name: "3"}, {Scope: fleet.ScopeVariable, Name: "X"}, {Scope: fleet.ScopeEnrollSecrets, Name: "0"}} {
			writes = append(writes, fleet.SecretWrite{Ref: ref, Value: fleet.Sealed{KeyID: "k", Data: []byte("sealed")}})
		}
		if err := secrets.Write(ctx, writes); err != nil {
			t.Fatal(err)
		}
		list, err := secrets.InScope(ctx, fleet.ScopeEnrollSecrets)
		if err != nil || len(list) != 2 || list[0].Ref.Name != "0" || list[1].Ref.Name != "3" {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func declaration(n int) fleet.ItemUpload {
	i := fleet.Item{UUID: fmt.Sprintf("d-%d", n), Kind: fleet.ItemDeclaration, Identifier: fmt.Sprintf("com.example.%d", n), Name: fmt.Sprintf("Item %d", n),
		Platforms: fleet.OnApple, ItemVersion: fleet.ItemVersion{Version: 1}}
	i.SHA256[0] = byte(n)
	return fleet.ItemUpload{Item: i, Content: []byte("{}")}
}

func TestItemsOfAPlanAreRefusedWhenTheScopeChangedSince(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		items, catalogs := store.NewItems(db), store.NewPlans(db)
		team := fleet.Team{Name: "Macs"}
		if err := store.NewTeams(db).Create(ctx, &team); err != nil {
			t.Fatal(err)
		}
		for _, scope := range []fleet.TeamID{fleet.NoTeam, team.ID} {
			revision := func() int64 {
				t.Helper()
				c, err := catalogs.Catalog(ctx)
				if err != nil {
					t.Fatal(err)
				}
				return c.Revisions[scope]
			}
			add := func(n int, revision int64) error {
				return items.Edit(ctx, scope, false, func([]*fleet.Item) (fleet.ItemEdits, error) {
					u := declaration(n)
					u.Item.TeamID, u.Item.UUID = scope, fmt.Sprintf("d-%d-%d", scope, n)
					return fleet.ItemEdits{Add: []fleet.ItemUpload{u}, Revision: revision}, nil
				})
			}
			if err := add(1, 0); err != nil {
				t.Fatalf("any revision: %v", err)
			}
			planned := revision()
			if err := add(2, planned); err != nil {
				t.Fatalf("the revision of the plan: %v", err)
			}
			err := add(3, planned)
			if fleet.KindOf(err) != fleet.KindConflict || !strings.Contains(fmt.Sprint(err), "plan again") {
				t.Errorf("a revision that is past: %v", err)
			}
			list, _, err := items.List(ctx, fleet.ItemFilter{TeamID: scope, Page: fleet.Page{Size: 10}})
			if err != nil || len(list) != 2 {
				t.Errorf("%d items, %v: the refused one must not be there", len(list), err)
			}
			if err := add(3, revision()); err != nil {
				t.Errorf("planned again: %v", err)
			}
		}
	})
}

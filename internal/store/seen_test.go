package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func TestALastContactNeverGoesBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		var id fleet.HostID
		if _, err := store.NewEnrollments(db).Apply(ctx, fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: "U"}},
			func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
				return fleet.EnrollmentChange{Host: &fleet.Host{UUID: "U"}, Enrollment: &fleet.Enrollment{Key: "U", Channel: fleet.ChannelDevice}}, nil
			}); err != nil {
			t.Fatal(err)
		}
		hosts := store.NewHosts(db)
		refs, err := hosts.ByIdentifier(ctx, "U")
		if err != nil || len(refs) != 1 {
			t.Fatal(refs, err)
		}
		id = refs[0].ID
		newer := storetest.Clock()()
		for _, at := range []time.Time{newer.Add(-time.Hour), newer, newer.Add(-time.Minute)} {
			if err := hosts.Seen(ctx, map[fleet.HostID]time.Time{id: at}); err != nil {
				t.Fatal(err)
			}
		}
		h, err := hosts.Host(ctx, id)
		if err != nil || !h.SeenAt.Equal(newer) {
			t.Fatalf("seen at %v, want %v (%v)", h.SeenAt, newer, err)
		}
	})
}

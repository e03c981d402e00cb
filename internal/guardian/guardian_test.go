package guardian

import (
	"context"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func TestAThingIsWarnedOfOnceAtEachThreshold(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, now := context.Background(), storetest.Clock()()
		thing := fleet.DatedThing{Kind: fleet.DatedPushCertificate, Name: "topic", NotAfter: now.Add(40 * day)}
		far := fleet.DatedThing{Kind: fleet.DatedAuthority, Name: "CA", NotAfter: now.Add(4000 * day)}
		s := New(store.NewRenewals(db), store.NewExpiryWarnings(db), func() time.Time { return now }, func(context.Context) ([]fleet.DatedThing, error) {
			return []fleet.DatedThing{far, thing}, nil
		})
		warned := func() int {
			list, err := store.NewEvents(db).Since(ctx, 0, 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, e := range list {
				if e.Kind == fleet.EventExpiryWarning {
					n++
				}
			}
			return n
		}
		for _, step := range []struct {
			pass time.Duration
			want int
		}{{0, 0}, {10 * day, 1}, {day, 1}, {15 * day, 2}, {7 * day, 3}, {6 * day, 4}, {2 * day, 5}, {30 * day, 5}} {
			now = now.Add(step.pass)
			for range 2 {
				if err := s.Round(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if got := warned(); got != step.want {
				t.Errorf("%s before the end: %d warnings, want %d", thing.NotAfter.Sub(now), got, step.want)
			}
		}
		thing.NotAfter = now.Add(20 * day) // it was renewed, for a short time
		if err := s.Round(ctx); err != nil || warned() != 6 {
			t.Errorf("after a renewal: %d warnings, %v", warned(), err)
		}
		e, err := s.Expiring(ctx, 20)
		if err != nil || len(e.Things) != 1 || e.Things[0].Name != "topic" {
			t.Errorf("%+v, %v", e, err)
		}
		if e, err := s.Expiring(ctx, 19); err != nil || len(e.Things) != 0 {
			t.Errorf("%+v, %v", e, err)
		}
		if _, err := s.Expiring(ctx, MaxDays+1); fleet.KindOf(err) != fleet.KindBadRequest {
			t.Error(err)
		}
	})
}

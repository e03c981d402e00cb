package store_test

import (
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func TestTheSweepClockFollowsAJumpStepByStep(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const day = 24 * time.Hour
		clock, start := store.NewSweepClock(db), storetest.Clock()()
		for _, at := range []struct{ now, want time.Duration }{
			{0, 0}, {time.Hour, time.Hour}, {400 * day, time.Hour + day}, {400*day + time.Hour, time.Hour + 2*day},
			{3 * time.Hour, 3 * time.Hour}, {4 * time.Hour, 4 * time.Hour}, {2 * day, day + 4*time.Hour}, {2*day + time.Hour, 2*day + time.Hour},
		} {
			got, err := clock.Advance(t.Context(), start.Add(at.now), day)
			if err != nil || !got.Equal(start.Add(at.want)) {
				t.Errorf("after %s it says %s, %v; want %s", at.now, got.Sub(start), err, at.want)
			}
		}
	})
}

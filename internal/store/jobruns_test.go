package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// Servers type parameters by where they stand: times must fit on each.
func TestRunsOfJobsAreRecordedWithTheLastSuccess(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		l := store.NewLeases(db)
		at := func(minute int) time.Time { return time.Date(2026, 11, 21, 12, minute, 0, 0, time.UTC) }
		for minute, failure := range []error{nil, nil, errors.New("broken")} {
			if err := l.RecordRun(ctx, "job", at(minute), at(minute+1), failure); err != nil {
				t.Fatal(err)
			}
		}
		got, err := l.Runs(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := []store.JobRun{{Name: "job", StartedAt: at(2), FinishedAt: at(3), SucceededAt: at(2), LastError: "broken", Runs: 3}}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

func TestRunsOfWhatIsGoneAreForgotten(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, l, at := context.Background(), store.NewLeases(db), storetest.Clock()()
		for _, name := range []string{"token_1", "token_12", "token_2", "other"} {
			if err := l.RecordRun(ctx, name, at, at, nil); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := l.ForgetRuns(ctx, "token_", []string{"token_12"}); err != nil {
				t.Fatal(err)
			}
		}
		runs, err := l.Runs(ctx)
		if err != nil || len(runs) != 2 || runs[0].Name != "other" || runs[1].Name != "token_12" {
			t.Errorf("%+v, %v", runs, err)
		}
	})
}

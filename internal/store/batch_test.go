package store

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

type testJob struct {
	claim string
	run   func() error
	times atomic.Int64
}

func (j *testJob) claims() []string { return []string{j.claim} }

func openScratch(t *testing.T) *DB {
	t.Helper()
	ctx := context.Background()
	db, err := Open(ctx, Options{URL: "sqlite:" + filepath.Join(t.TempDir(), "scratch.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	return db
}

// gather makes calls wait until all of them are there, behind a first one.
func gather(t *testing.T, b *batcher[*testJob], calls []func()) {
	t.Helper()
	var wg sync.WaitGroup
	begun, release := make(chan struct{}), make(chan struct{})
	wg.Go(func() {
		hold := &testJob{claim: "hold", run: func() error { close(begun); <-release; return nil }}
		if err := b.do(context.Background(), hold); err != nil {
			t.Error(err)
		}
	})
	<-begun
	for _, call := range calls {
		wg.Go(call)
	}
	for waiting := 0; waiting < len(calls); {
		b.mu.Lock()
		waiting = len(b.waiting)
		b.mu.Unlock()
	}
	close(release)
	wg.Wait()
}

func TestABatchServesEachCallOnce(t *testing.T) {
	var mu sync.Mutex
	var sizes []int
	b := newBatcher(openScratch(t), func(_ *session, jobs []*testJob) error {
		mu.Lock()
		sizes = append(sizes, len(jobs))
		mu.Unlock()
		for _, j := range jobs {
			j.times.Add(1)
			if j.run != nil {
				return j.run()
			}
		}
		return nil
	})
	b.workers = 1
	jobs := []*testJob{{claim: "a"}, {claim: "b"}, {claim: "c"}, {claim: "a"}}
	calls := make([]func(), 0, len(jobs))
	for _, j := range jobs {
		calls = append(calls, func() {
			if err := b.do(context.Background(), j); err != nil {
				t.Error(err)
			}
		})
	}
	gather(t, b, calls)
	for i, j := range jobs {
		if n := j.times.Load(); n != 1 {
			t.Errorf("call %d was run %d times", i, n)
		}
	}
	// The holder alone, then three, and the second "a" after the first.
	if !slices.Equal(sizes, []int{1, 3, 1}) {
		t.Errorf("batches of %v", sizes)
	}
}

// One bad call must not take the others of its batch down.
func TestABadCallFailsAlone(t *testing.T) {
	b := newBatcher(openScratch(t), func(_ *session, jobs []*testJob) error {
		for _, j := range jobs {
			if j.run == nil {
				continue
			}
			if err := j.run(); err != nil {
				return err
			}
		}
		return nil
	})
	b.workers = 1
	bad := errors.New("bad")
	var good, panicked atomic.Int64
	calls := []func(){
		func() {
			if err := b.do(context.Background(), &testJob{claim: "bad", run: func() error { return bad }}); !errors.Is(err, bad) {
				t.Errorf("the bad call: %v", err)
			}
		},
		func() {
			defer func() {
				if recover() != nil {
					panicked.Add(1)
				}
			}()
			_ = b.do(context.Background(), &testJob{claim: "worse", run: func() error { panic("worse") }})
		},
	}
	for _, claim := range []string{"x", "y", "z"} {
		calls = append(calls, func() {
			if err := b.do(context.Background(), &testJob{claim: claim}); err != nil {
				t.Error(err)
			}
			good.Add(1)
		})
	}
	gather(t, b, calls)
	if good.Load() != 3 || panicked.Load() != 1 {
		t.Errorf("%d good calls, %d panics", good.Load(), panicked.Load())
	}
}

// Workers that find nothing must not end calls that came after they looked.
func TestManyWorkersRunEveryCall(t *testing.T) {
	var runs atomic.Int64
	b := newBatcher(openScratch(t), func(_ *session, jobs []*testJob) error {
		for _, j := range jobs {
			j.times.Add(1)
			runs.Add(1)
		}
		return nil
	})
	b.workers = 4
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 50 {
				j := &testJob{}
				if err := b.do(context.Background(), j); err != nil || j.times.Load() != 1 {
					t.Errorf("run %d times, %v", j.times.Load(), err)
				}
			}
		})
	}
	wg.Wait()
	if runs.Load() != 32*50 {
		t.Errorf("%d runs", runs.Load())
	}
}

func TestACallThatWasGivenUpDoesNotRun(t *testing.T) {
	b := newBatcher(openScratch(t), func(_ *session, jobs []*testJob) error {
		for _, j := range jobs {
			j.times.Add(1)
			if j.run != nil {
				return j.run()
			}
		}
		return nil
	})
	b.workers = 1
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	j := &testJob{claim: "late"}
	gather(t, b, []func(){func() {
		if err := b.do(ctx, j); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
	}})
	if n := j.times.Load(); n != 0 {
		t.Errorf("it ran %d times", n)
	}
}

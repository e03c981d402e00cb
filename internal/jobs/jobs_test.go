package jobs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/muster-mdm/muster/internal/kit/wake"
)

// leases is one table of leases, as two replicas would share it.
type leases struct {
	mu      sync.Mutex
	holder  map[string]string
	expires map[string]time.Time
	runs    map[string]int
	failed  map[string]error
}

func newLeases() *leases {
	return &leases{holder: map[string]string{}, expires: map[string]time.Time{}, runs: map[string]int{}, failed: map[string]error{}}
}

func (l *leases) Acquire(_ context.Context, name, holder string, ttl time.Duration) (int64, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.holder[name]; h != "" && h != holder && time.Now().Before(l.expires[name]) {
		return 0, false, nil
	}
	l.holder[name], l.expires[name] = holder, time.Now().Add(ttl)
	return 1, true, nil
}

func (l *leases) Release(_ context.Context, name, holder string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder[name] == holder {
		l.holder[name] = ""
	}
	return nil
}

func (l *leases) RecordRun(_ context.Context, name string, _, _ time.Time, failure error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[name]++
	l.failed[name] = failure
	return nil
}

func TestOneReplicaAtATimeRunsAJobAndTheOtherTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := newLeases()
		var mu sync.Mutex
		ran := map[string]int{}
		start := func(ctx context.Context, name string) chan struct{} {
			done := make(chan struct{})
			go func() {
				NewRunner(shared, name, time.Now, slog.New(slog.DiscardHandler)).Run(ctx, []Job{{Name: "j", Every: time.Second, Run: func(context.Context) error {
					mu.Lock()
					defer mu.Unlock()
					ran[name]++
					return nil
				}}})
				close(done)
			}()
			return done
		}
		actx, stopA := context.WithCancel(context.Background())
		a := start(actx, "a")
		time.Sleep(5 * time.Second)
		bctx, stopB := context.WithCancel(context.Background())
		b := start(bctx, "b")
		time.Sleep(10 * time.Second)
		mu.Lock()
		first, second := ran["a"], ran["b"]
		mu.Unlock()
		if first < 10 || second != 0 {
			t.Fatalf("with a holding the lease: %d by a, %d by b", first, second)
		}
		stopA()
		<-a
		time.Sleep(5 * time.Second)
		stopB()
		<-b
		if ran["b"] < 3 {
			t.Fatalf("b did not take over: %v", ran)
		}
	})
}

func TestAPanicIsRecordedAndTheJobGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := newLeases()
		ctx, stop := context.WithCancel(context.Background())
		runs := 0
		done := make(chan struct{})
		go func() {
			NewRunner(shared, "a", time.Now, slog.New(slog.DiscardHandler)).Run(ctx, []Job{{Name: "j", Every: time.Second, Run: func(context.Context) error {
				runs++
				if runs == 1 {
					panic("boom")
				}
				return errors.New("later")
			}}})
			close(done)
		}()
		time.Sleep(4 * time.Second)
		stop()
		<-done
		if runs < 3 || shared.failed["j"] == nil {
			t.Fatalf("runs=%d recorded=%v", runs, shared.failed["j"])
		}
	})
}

func TestABellStartsARunEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bell := wake.NewBell()
		ctx, stop := context.WithCancel(context.Background())
		var at []time.Time
		done := make(chan struct{})
		go func() {
			NewRunner(newLeases(), "a", time.Now, slog.New(slog.DiscardHandler)).Run(ctx, []Job{{Name: "j", Every: time.Hour, Bell: bell, Local: true,
				Run: func(context.Context) error { at = append(at, time.Now()); return nil }}})
			close(done)
		}()
		time.Sleep(time.Minute)
		bell.Ring()
		time.Sleep(time.Minute)
		stop()
		<-done
		if len(at) != 2 || at[1].Sub(at[0]) > 2*time.Minute {
			t.Fatalf("runs at %v", at)
		}
	})
}

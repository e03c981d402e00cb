// Package jobs runs named work at intervals. It knows nothing of what the
// work is.
//
// A job that is not Local runs on one replica at a time, under a lease in the
// database. Its runs are recorded there, so that a job which died is seen.
package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/muster-mdm/muster/internal/kit/wake"
)

// Leases give work to one replica at a time.
type Leases interface {
	Acquire(ctx context.Context, name, holder string, ttl time.Duration) (epoch int64, held bool, err error)
	Release(ctx context.Context, name, holder string) error
	RecordRun(ctx context.Context, name string, started, finished time.Time, failure error) error
}

// Job is a piece of work.
type Job struct {
	Name string
	// Every is the pause between runs. It should be well below a minute for
	// work that somebody waits for.
	Every time.Duration
	// Timeout bounds one run; 0: ten times Every, at least a minute.
	Timeout time.Duration
	// Bell, if set, starts a run early.
	Bell *wake.Bell
	// Local jobs run on every replica, without a lease and without a record.
	Local bool
	Run   func(ctx context.Context) error
	// Quiet runs are recorded only when they fail, or once a minute: for jobs
	// that run every second.
	Quiet bool
}

func (j Job) timeout() time.Duration {
	if j.Timeout > 0 {
		return j.Timeout
	}
	return max(10*j.Every, time.Minute)
}

// minLease is how long a job rests after the replica that ran it died.
const minLease = 15 * time.Second

// lease outlives the pause between runs, so that a job stays with the replica
// that has it.
func (j Job) lease() time.Duration { return max(minLease, j.Every+j.Every/5) }

// recordEvery is how often a quiet job's success is recorded.
const recordEvery = time.Minute

// Runner runs jobs until its context ends.
type Runner struct {
	leases Leases
	holder string
	clock  func() time.Time
	log    *slog.Logger
}

// NewRunner returns a runner that holds leases under the given name, which
// must differ between replicas.
func NewRunner(leases Leases, holder string, clock func() time.Time, log *slog.Logger) *Runner {
	return &Runner{leases: leases, holder: holder, clock: clock, log: log}
}

// Run runs the jobs until ctx ends, then waits for those under way and gives
// the leases back.
func (r *Runner) Run(ctx context.Context, jobs []Job) {
	var wg sync.WaitGroup
	for _, j := range jobs {
		wg.Go(func() { r.loop(ctx, j) })
	}
	wg.Wait()
}

func (r *Runner) loop(ctx context.Context, j Job) {
	var bell <-chan struct{}
	if j.Bell != nil {
		bell = j.Bell.C()
	}
	// Replicas that start together should not ask together.
	timer := time.NewTimer(time.Duration(rand.Int64N(int64(min(j.Every, time.Second)) + 1)))
	defer timer.Stop()
	var recorded time.Time
	for {
		select {
		case <-ctx.Done():
			r.release(j)
			return
		case <-bell:
		case <-timer.C:
		}
		recorded = r.turn(ctx, j, recorded)
		timer.Reset(j.Every)
	}
}

// Once runs a job once, if no other replica holds its lease. The lease is kept
// for the job's next run.
func (r *Runner) Once(ctx context.Context, j Job) { r.turn(ctx, j, time.Time{}) }

// turn runs a job once if this replica may.
func (r *Runner) turn(ctx context.Context, j Job, recorded time.Time) time.Time {
	if !j.Local {
		_, held, err := r.leases.Acquire(ctx, "job:"+j.Name, r.holder, j.lease())
		if err != nil {
			if ctx.Err() == nil {
				r.log.Warn("job lease", "job", j.Name, "error", err)
			}
			return recorded
		}
		if !held {
			return recorded
		}
	}
	started := r.clock()
	stop := r.keepLease(ctx, j)
	err := r.guarded(ctx, j)
	stop()
	finished := r.clock()
	if ctx.Err() != nil {
		return recorded
	}
	if err != nil {
		r.log.Error("job failed", "job", j.Name, "error", err)
	}
	if j.Local || (j.Quiet && err == nil && finished.Sub(recorded) < recordEvery) {
		return recorded
	}
	if err := r.leases.RecordRun(ctx, j.Name, started, finished, err); err != nil {
		r.log.Warn("job record", "job", j.Name, "error", err)
	}
	return finished
}

// keepLease prolongs the lease while a run takes long, until stop is called.
func (r *Runner) keepLease(ctx context.Context, j Job) (stop func()) {
	if j.Local {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(j.lease() / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if _, _, err := r.leases.Acquire(ctx, "job:"+j.Name, r.holder, j.lease()); err != nil && ctx.Err() == nil {
					r.log.Warn("job lease", "job", j.Name, "error", err)
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

func (r *Runner) guarded(ctx context.Context, j Job) (err error) {
	ctx, cancel := context.WithTimeout(ctx, j.timeout())
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return j.Run(ctx)
}

// releaseTimeout bounds giving a lease back at the end.
const releaseTimeout = 2 * time.Second

func (r *Runner) release(j Job) {
	if j.Local {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	if err := r.leases.Release(ctx, "job:"+j.Name, r.holder); err != nil {
		r.log.Warn("job release", "job", j.Name, "error", err)
	}
}

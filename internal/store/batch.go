package store

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Limits of a batch.
const (
	maxBatch = 64 // calls in one transaction
	// batchWorkers is how many batches of a kind run at once on a database
	// server. More would make them smaller, and so the second begins only when
	// batchBeside calls wait.
	batchWorkers = 2
	batchBeside  = 16
	// batchTimeout bounds a transaction that serves many requests, of which
	// none may cancel it.
	batchTimeout = time.Minute
)

// errRaced says that somebody else changed what a batch is about: its calls
// are run one by one.
var errRaced = errors.New("changed by another transaction meanwhile")

// batchJob is a call that can share a transaction with others.
type batchJob interface {
	// claims names what the call is about. Calls with a claim in common never
	// share a batch: each would miss what the other changes.
	claims() []string
}

// batcher runs calls that wait at the same time in one transaction, with
// statements over all of them: devices come in crowds, and most of what a
// statement costs does not depend on the number of its rows. A lone call does
// not wait for others.
type batcher[J batchJob] struct {
	db *DB
	// run carries the jobs out. It may be called more than once and begins
	// from nothing each time.
	run     func(*session, []J) error
	reads   bool // only reads, and needs no transaction
	workers int

	mu      sync.Mutex
	waiting []*batchCall[J]
	active  int
}

type batchCall[J batchJob] struct {
	ctx    context.Context
	job    J
	err    error
	caught any // a panic of the job, raised again in its own goroutine
	done   chan struct{}
}

func newBatcher[J batchJob](db *DB, run func(*session, []J) error) *batcher[J] {
	b := &batcher[J]{db: db, run: run, workers: batchWorkers}
	if db.dialect == SQLite {
		b.workers = 1 // there is one writer
	}
	return b
}

// newReader returns a batcher of reads.
func newReader[J batchJob](db *DB, run func(*session, []J) error) *batcher[J] {
	return &batcher[J]{db: db, run: run, reads: true, workers: batchWorkers}
}

// do waits until the job's changes are durable or refused.
func (b *batcher[J]) do(ctx context.Context, job J) error {
	c := &batchCall[J]{ctx: ctx, job: job, done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, c)
	lead := b.active == 0 || b.active < b.workers && len(b.waiting) >= batchBeside
	if lead {
		b.active++
	}
	b.mu.Unlock()
	if lead {
		// The first batch has this call in it; the next ones are not its own.
		b.round()
		if b.goesOn() {
			go b.work()
		}
	}
	<-c.done
	if c.caught != nil {
		panic(c.caught)
	}
	return c.err
}

func (b *batcher[J]) work() {
	for more := true; more; more = b.goesOn() {
		b.round()
	}
}

// goesOn ends a worker when nothing waits.
func (b *batcher[J]) goesOn() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 {
		return true
	}
	b.active--
	return false
}

// round runs one batch. It is taken inside of the transaction, so that those
// who come while it waits to begin are in it.
func (b *batcher[J]) round() {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	var calls []*batchCall[J]
	begun := false
	caught, err := b.attempt(ctx, func(s *session) error {
		if !begun {
			calls, begun = b.take(), true
		}
		s.calls += len(calls)
		return b.run(s, jobsOf(calls))
	})
	if !begun {
		calls = b.take() // and fail them
	}
	if len(calls) > 1 && (err != nil || caught != nil) {
		for _, c := range calls {
			go b.alone(c)
		}
		return
	}
	for _, c := range calls {
		c.err, c.caught = err, caught
		close(c.done)
	}
}

// alone runs a call of a batch that failed.
func (b *batcher[J]) alone(c *batchCall[J]) {
	c.caught, c.err = b.attempt(c.ctx, func(s *session) error { return b.run(s, []J{c.job}) })
	close(c.done)
}

func (b *batcher[J]) attempt(ctx context.Context, fn func(*session) error) (caught any, err error) {
	defer func() { caught = recover() }()
	if b.reads {
		return nil, fn(b.db.view(ctx))
	}
	return nil, b.db.update(ctx, fn)
}

// take removes calls that can share a transaction from those that wait. Those
// that were given up meanwhile end.
func (b *batcher[J]) take() []*batchCall[J] {
	b.mu.Lock()
	defer b.mu.Unlock()
	var taken, left []*batchCall[J]
	claimed := map[string]bool{}
	for _, c := range b.waiting {
		if err := c.ctx.Err(); err != nil {
			c.err = err
			close(c.done)
			continue
		}
		if len(taken) == maxBatch || !claim(claimed, c.job.claims()) {
			left = append(left, c)
			continue
		}
		taken = append(taken, c)
	}
	b.waiting = left
	return taken
}

// claim notes claims and reports false when one of them was made before. The
// others are noted all the same, so that calls about the same thing keep their
// order.
func claim(made map[string]bool, claims []string) bool {
	free := true
	for _, c := range claims {
		free = free && !made[c]
		made[c] = true
	}
	return free
}

func jobsOf[J batchJob](calls []*batchCall[J]) []J {
	out := make([]J, len(calls))
	for i, c := range calls {
		out[i] = c.job
	}
	return out
}

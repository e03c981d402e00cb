package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Limits of the SQLite writer.
const (
	maxGroup     = 64   // transactions in one commit
	writerBuffer = 1024 // transactions that wait
	// gatherWait is how long a commit waits for company while transactions
	// come quickly. It is a small part of what the flush takes off them.
	gatherWait = 1500 * time.Microsecond
	// maxSolo bounds the commits in a row that go without waiting after waits
	// that nobody joined.
	maxSolo = 64
)

var errClosed = errors.New("the database is closed")

// groupWriter owns SQLite's one writing connection. It takes the transactions
// that wait, runs each in a savepoint of its own, and commits them together:
// one disk flush for all. Nobody is told of success before that commit.
type groupWriter struct {
	db    *DB
	conn  *sql.Conn
	stmts stmtCache
	jobs  chan *writeJob
	quit  chan struct{}
	done  chan struct{}
	once  sync.Once
	err   error

	// The loop's own.
	last    time.Time // the end of the last commit
	solo    int       // commits to go without waiting
	penalty int       // what solo is set to after the next vain wait
}

type writeJob struct {
	ctx    context.Context
	fn     func(*session) error
	err    error
	news   callerNews
	calls  int // that it served, as a batch
	caught any // a panic of fn, raised again in its own goroutine
	done   chan struct{}
}

func newGroupWriter(db *DB, conn *sql.Conn) *groupWriter {
	w := &groupWriter{db: db, conn: conn, jobs: make(chan *writeJob, writerBuffer),
		quit: make(chan struct{}), done: make(chan struct{})}
	w.stmts.on = conn
	go w.loop()
	return w
}

// do waits until fn's changes are durable or refused.
func (w *groupWriter) do(ctx context.Context, fn func(*session) error) error {
	job := &writeJob{ctx: ctx, fn: fn, done: make(chan struct{})}
	select {
	case w.jobs <- job:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.quit:
		return errClosed
	}
	select {
	case <-job.done:
	case <-w.done:
		select {
		case <-job.done:
		default:
			return errClosed
		}
	}
	if job.caught != nil {
		panic(job.caught)
	}
	return job.err
}

func (w *groupWriter) loop() {
	defer close(w.done)
	for {
		select {
		case job := <-w.jobs:
			group, waited := w.company(w.gather([]*writeJob{job}))
			w.commit(group)
			if waited {
				w.learn(group)
			}
			w.last = time.Now()
		case <-w.quit:
			for {
				select {
				case job := <-w.jobs:
					w.commit(w.gather([]*writeJob{job}))
				default:
					return
				}
			}
		}
	}
}

// company waits a moment for more transactions while they come quickly, as
// long as such waits are not in vain: a client that writes one at a time is
// hardly slowed down.
func (w *groupWriter) company(group []*writeJob) (all []*writeJob, waited bool) {
	if len(group) > 1 || time.Since(w.last) > gatherWait {
		return group, false
	}
	if w.solo > 0 {
		w.solo--
		return group, false
	}
	timer := time.NewTimer(gatherWait)
	defer timer.Stop()
	for len(group) < maxGroup {
		select {
		case job := <-w.jobs:
			group = append(group, job)
			continue
		case <-w.quit:
		case <-timer.C:
		}
		break
	}
	return group, true
}

// learn notes whether a wait was worth it: others came, as transactions or as
// calls that joined one in its batch.
func (w *groupWriter) learn(group []*writeJob) {
	if len(group) == 1 && group[0].calls <= 1 {
		w.penalty = min(max(2*w.penalty, 1), maxSolo)
		w.solo = w.penalty
	} else {
		w.penalty = 0
	}
}

// gather takes what waits, without waiting for more.
func (w *groupWriter) gather(group []*writeJob) []*writeJob {
	for len(group) < maxGroup {
		select {
		case job := <-w.jobs:
			group = append(group, job)
		default:
			return group
		}
	}
	return group
}

func (w *groupWriter) commit(group []*writeJob) {
	defer func() {
		for _, job := range group {
			close(job.done)
		}
	}()
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		fail(group, fmt.Errorf("begin: %w", err))
		return
	}
	for _, job := range group {
		if err := w.run(job, len(group) > 1); err != nil {
			w.abandon(group, err)
			return
		}
	}
	if len(group) == 1 && (group[0].err != nil || group[0].caught != nil) {
		if err := w.exec("ROLLBACK"); err != nil {
			group[0].err = errors.Join(group[0].err, err)
		}
		return
	}
	if err := w.exec("COMMIT"); err != nil {
		w.abandon(group, err)
		return
	}
	for _, job := range group {
		if job.err == nil && job.caught == nil {
			w.db.callers.tell(&job.news)
		}
	}
}

// abandon fails a group whose transaction is lost: the disk is full or broken,
// and SQLite rolled everything back by itself. Nothing of it may count.
func (w *groupWriter) abandon(group []*writeJob, cause error) {
	_ = w.exec("ROLLBACK") // fails where there is nothing left to roll back
	for _, job := range group {
		if job.err == nil {
			job.err = fmt.Errorf("commit: %w", cause)
		}
	}
	w.db.callers.tell(&callerNews{all: true})
}

// run executes one transaction inside the open one. Its own failure is the
// job's; an error is returned when the group's transaction is lost with it.
func (w *groupWriter) run(job *writeJob, shared bool) error {
	select {
	case <-job.ctx.Done():
		job.err = job.ctx.Err()
		return nil
	default:
	}
	if shared {
		if err := w.exec("SAVEPOINT job"); err != nil {
			return err
		}
	}
	// A cancelled statement would roll back the whole group, so fn's
	// statements cannot be cancelled; they are bounded instead.
	s := &session{ctx: context.WithoutCancel(job.ctx), db: w.db, stmts: &w.stmts, before: map[rowKey][]any{}, news: &job.news}
	func() {
		defer func() { job.caught = recover() }()
		job.err = job.fn(s)
	}()
	job.calls = s.calls
	if !shared {
		return nil
	}
	if job.err != nil || job.caught != nil {
		if err := w.exec("ROLLBACK TO job"); err != nil {
			return err
		}
	}
	return w.exec("RELEASE job")
}

func (w *groupWriter) exec(query string) error {
	stmt, err := w.stmts.get(context.Background(), query)
	if err != nil {
		return err
	}
	if stmt == nil {
		_, err = w.conn.ExecContext(context.Background(), query)
		return err
	}
	_, err = stmt.ExecContext(context.Background())
	return err
}

func (w *groupWriter) close() error {
	w.once.Do(func() {
		close(w.quit)
		<-w.done
		w.stmts.close()
		w.err = w.conn.Close()
	})
	return w.err
}

func fail(group []*writeJob, err error) {
	for _, job := range group {
		if job.err == nil {
			job.err = err
		}
	}
}

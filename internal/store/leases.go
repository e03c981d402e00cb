package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Leases let one replica at a time do a piece of work. Expiry is judged by
// the database's clock, so the replicas' clocks need not agree.
type Leases struct{ db *DB }

// NewLeases returns the leases of db.
func NewLeases(db *DB) *Leases { return &Leases{db} }

// Acquire takes or prolongs the named lease for ttl. It returns held=false
// when another holder has it. epoch grows whenever the lease changes hands: a
// writer can compare it to notice that it was overtaken.
func (l *Leases) Acquire(ctx context.Context, name, holder string, ttl time.Duration) (epoch int64, held bool, err error) {
	now := l.db.dialect.nowMicros()
	err = l.db.transact(ctx, func(s *session) error {
		// epoch is set first: MySQL evaluates assignments from left to right.
		n, err := s.changed("UPDATE leases SET epoch = CASE WHEN holder = ? THEN epoch ELSE epoch + 1 END,"+
			" holder = ?, expires_at = "+now+" + ? WHERE name = ? AND (holder = ? OR expires_at < "+now+")",
			holder, holder, ttl.Microseconds(), name, holder)
		if err != nil {
			return err
		}
		if n == 0 {
			tail := s.db.dialect.onConflict([]string{"name"}, nil)
			if err := s.exec("INSERT INTO leases (name, holder, epoch, expires_at) VALUES (?, ?, 1, "+now+" + ?)"+tail,
				name, holder, ttl.Microseconds()); err != nil {
				return err
			}
		}
		var owner string
		if _, err := s.get("SELECT holder, epoch FROM leases WHERE name = ?", []any{name}, &owner, &epoch); err != nil {
			return err
		}
		held = owner == holder
		return nil
	})
	if err != nil {
		return 0, false, fmt.Errorf("lease %s: %w", name, err)
	}
	return epoch, held, nil
}

// Release gives the lease back, if the holder still has it.
func (l *Leases) Release(ctx context.Context, name, holder string) error {
	return l.db.transact(ctx, func(s *session) error {
		return s.exec("UPDATE leases SET expires_at = 0, holder = '' WHERE name = ? AND holder = ?", name, holder)
	})
}

// JobRun is what is known of a job's last run.
type JobRun struct {
	Name        string
	StartedAt   time.Time
	FinishedAt  time.Time
	SucceededAt time.Time
	LastError   string
	Runs        int64
}

// RecordRun notes a finished run of a job, so that a job that died is seen.
func (l *Leases) RecordRun(ctx context.Context, name string, started, finished time.Time, failure error) error {
	succeeded, message := micros(finished), ""
	set, args := "started_at = ?, finished_at = ?, last_error = ?, runs = runs + 1", []any{micros(started), micros(finished)}
	if failure != nil {
		succeeded, message = 0, failure.Error()
	}
	args = append(args, message)
	if failure == nil {
		set, args = set+", succeeded_at = ?", append(args, succeeded)
	}
	return l.db.transact(ctx, func(s *session) error {
		n, err := s.changed("UPDATE job_runs SET "+set+" WHERE name = ?", append(args, name)...)
		if err != nil || n > 0 {
			return err
		}
		return s.exec("INSERT INTO job_runs (name, started_at, finished_at, succeeded_at, last_error, runs) VALUES (?, ?, ?, ?, ?, 1)",
			name, micros(started), micros(finished), succeeded, message)
	})
}

// ForgetRuns drops the records of jobs with a prefix that are not among keep.
func (l *Leases) ForgetRuns(ctx context.Context, prefix string, keep []string) error {
	runs, err := l.Runs(ctx)
	if err != nil {
		return err
	}
	var gone []any
	for _, r := range runs {
		if strings.HasPrefix(r.Name, prefix) && !slices.Contains(keep, r.Name) {
			gone = append(gone, r.Name)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return l.db.update(ctx, func(s *session) error {
		return s.exec("DELETE FROM job_runs WHERE name IN ("+placeholders(len(gone))+")", gone...)
	})
}

// Runs lists the last run of each job.
func (l *Leases) Runs(ctx context.Context) ([]JobRun, error) {
	return collect(l.db.view(ctx), func(r *sql.Rows) (v JobRun, err error) {
		var started, finished, succeeded int64
		err = r.Scan(&v.Name, &started, &finished, &succeeded, &v.LastError, &v.Runs)
		v.StartedAt, v.FinishedAt, v.SucceededAt = timeOf(started), timeOf(finished), timeOf(succeeded)
		return v, err
	}, "SELECT name, started_at, finished_at, succeeded_at, last_error, runs FROM job_runs ORDER BY name")
}

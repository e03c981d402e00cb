package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Limits of one clean-up, so that it never holds other writers up for long.
const (
	cleanChunk  = 500
	maxCleanups = 2000 // chunks of one run
	// erasedAfter is when a command that Muster itself sent and nobody waits for
	// is dropped, in microseconds.
	erasedAfter = int64(time.Hour / time.Microsecond)
)

// SweepClock tells the time by which things are dropped that nobody brings back.
type SweepClock struct{ db *DB }

// NewSweepClock returns the sweep clock of db.
func NewSweepClock(db *DB) *SweepClock { return &SweepClock{db} }

// Advance puts the clock to the time, but forward by at most a step: a server
// whose clock is wrong for an hour drops nothing that is young, and one that was
// off for long catches up step by step.
func (c *SweepClock) Advance(ctx context.Context, now time.Time, step time.Duration) (time.Time, error) {
	at := now
	err := c.db.update(ctx, func(s *session) error {
		var last int64
		at = now
		found, err := s.get("SELECT swept_at FROM sweep_clock WHERE id = 1", nil, &last)
		switch {
		case err != nil:
			return err
		case !found:
			return s.insertRows("sweep_clock", []string{"id", "swept_at"}, [][]any{{1, micros(at)}}, "")
		case now.After(timeOf(last).Add(step)):
			at = timeOf(last).Add(step)
		}
		return s.exec("UPDATE sweep_clock SET swept_at = ? WHERE id = 1", micros(at))
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("advance the sweep clock: %w", err)
	}
	return at, nil
}

// DeleteOld drops answers given before the time, and commands that nobody is
// waiting for and nobody answered lately. It works in short transactions and
// reports how many rows went.
func (c *Commands) DeleteOld(ctx context.Context, before time.Time) (int, error) {
	total := 0
	for _, step := range []func(*session, int64) (int, error){deleteResults, deleteOrphans, deleteErased} {
		for range maxCleanups {
			n := 0
			err := c.db.update(ctx, func(s *session) (err error) {
				n, err = step(s, micros(before))
				return err
			})
			if err != nil {
				return total, fmt.Errorf("delete old commands: %w", err)
			}
			total += n
			if n < cleanChunk {
				break
			}
		}
	}
	return total, nil
}

// DeleteOld drops entries of the log from before the time. It works in short
// transactions and reports how many rows went. The log is read from its
// beginning, entry by entry: one with a time from a clock that was wrong holds
// nothing up.
func (e *Events) DeleteOld(ctx context.Context, before time.Time) (int, error) {
	total, done := 0, int64(0)
	for range maxCleanups {
		var ids []any
		var last int64
		err := e.db.update(ctx, func(s *session) error {
			ids = nil
			_, err := collect(s, func(r *sql.Rows) (struct{}, error) {
				var at int64
				err := r.Scan(&last, &at)
				if at < micros(before) {
					ids = append(ids, last)
				}
				return struct{}{}, err
			}, "SELECT id, at FROM events WHERE id > ? ORDER BY id LIMIT ?", done, cleanChunk)
			if err != nil || len(ids) == 0 {
				return err
			}
			in, args := inList(ids)
			return s.exec("DELETE FROM events WHERE id IN "+in, args...)
		})
		if err != nil {
			return total, fmt.Errorf("delete old entries of the event log: %w", err)
		}
		if len(ids) == 0 {
			break
		}
		total, done = total+len(ids), last
	}
	return total, nil
}

func deleteResults(s *session, before int64) (int, error) {
	type key struct{ command, enrollment int64 }
	keys, err := collect(s, func(r *sql.Rows) (k key, err error) { return k, r.Scan(&k.command, &k.enrollment) },
		"SELECT command_id, enrollment_id FROM command_results WHERE updated_at < ? ORDER BY updated_at LIMIT ?", before, cleanChunk)
	if err != nil {
		return 0, err
	}
	for _, k := range keys {
		if err := s.exec("DELETE FROM command_results WHERE command_id = ? AND enrollment_id = ?", k.command, k.enrollment); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}

// deleteOrphans drops commands that wait for nobody and were answered by nobody
// that is still known. One that is being queued again is kept from it, and
// looked at again after that.
func deleteOrphans(s *session, before int64) (int, error) {
	const orphaned = " NOT EXISTS (SELECT 1 FROM command_queue q WHERE q.command_id = commands.id)" +
		" AND NOT EXISTS (SELECT 1 FROM command_results r WHERE r.command_id = commands.id)" +
		" AND NOT EXISTS (SELECT 1 FROM command_fanouts f WHERE f.command_id = commands.id)"
	ids, err := collect(s, scanKey, "SELECT id FROM commands WHERE created_at < ? AND"+orphaned+" ORDER BY id LIMIT ?", before, cleanChunk)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	in, args := inList(ids)
	if lock := s.db.dialect.lockForUpdate(); lock != "" {
		if _, err := collect(s, scanKey, "SELECT id FROM commands WHERE id IN "+in+" ORDER BY id"+lock, args...); err != nil {
			return 0, err
		}
	}
	return len(ids), s.exec("DELETE FROM commands WHERE id IN "+in+" AND"+orphaned, args...)
}

// deleteErased drops commands of Muster's own that the last answer left behind:
// where the last two hosts answer at once, each answer still sees the other's.
func deleteErased(s *session, _ int64) (int, error) {
	ids, err := collect(s, scanKey, "SELECT c.id FROM commands c WHERE c.purpose IN ("+ephemeral+") AND c.created_at < ?"+
		" AND NOT EXISTS (SELECT 1 FROM command_queue q WHERE q.command_id = c.id) ORDER BY c.id LIMIT ?", s.db.now()-erasedAfter, cleanChunk)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	return len(ids), s.eraseUnqueued(ids)
}

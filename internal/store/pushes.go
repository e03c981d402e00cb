package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Pushes keeps when each enrollment is to be woken, and what became of it.
type Pushes struct{ db *DB }

// NewPushes returns the pushes of db.
func NewPushes(db *DB) *Pushes { return &Pushes{db} }

var pushCols = []string{"enrollment_id", "due_at", "attempts", "last_at", "last_reason", "broken_at"}

// pushDue makes pushes due; the rows are pushCols.
func (s *session) pushDue(rows [][]any) error {
	tail := s.db.dialect.onConflict([]string{"enrollment_id"}, []string{"due_at", "attempts"})
	if err := s.put("pushes", pushCols, rows, tail, 1); err != nil {
		return fmt.Errorf("make push due: %w", err)
	}
	return nil
}

// heldPushDelay is the wait before a device is woken that put a command off
// and then finished another: it will not ask again by itself
// (contracts/apple.md 1.5).
const heldPushDelay = time.Minute

// clearPush forgets failures after a new push token came.
func (s *session) clearPush(id fleet.EnrollmentID) error {
	return s.makeDue("pushes", "enrollment_id", "broken_at = 0, last_reason = '', attempts = 0", nil, int64(id))
}

// maxPushPause is longer than any pause between pushes. A time further ahead
// was written when the clock was wrong.
const maxPushPause = 24 * time.Hour

// Due returns up to limit enrollments that are on, have commands waiting and
// are to be woken by now. What is due and needs no push is set aside.
func (p *Pushes) Due(ctx context.Context, now time.Time, limit int) ([]fleet.PushTarget, error) {
	v := p.db.view(ctx)
	rows, err := collect(v, scanPushRow, pushSelect+" WHERE p.due_at > 0 AND p.due_at <= ? AND p.broken_at = 0 ORDER BY p.due_at, p.enrollment_id LIMIT ?", micros(now), limit)
	if err == nil && len(rows) < limit {
		var ahead []pushRow
		ahead, err = collect(v, scanPushRow, pushSelect+" WHERE p.due_at > ? AND p.broken_at = 0 ORDER BY p.due_at, p.enrollment_id LIMIT ?",
			micros(now.Add(maxPushPause)), limit-len(rows))
		rows = append(rows, ahead...)
	}
	if err != nil {
		return nil, fmt.Errorf("find due pushes: %w", err)
	}
	var due []fleet.PushTarget
	var idle []fleet.PushTarget
	for _, r := range rows {
		if r.idle {
			idle = append(idle, r.PushTarget)
			continue
		}
		due = append(due, r.PushTarget)
	}
	if len(idle) == 0 {
		return due, nil
	}
	err = p.db.transact(ctx, func(s *session) error {
		for _, t := range idle {
			if err := s.exec("UPDATE pushes SET due_at = 0 WHERE enrollment_id = ? AND due_at = ?", int64(t.EnrollmentID), micros(t.DueAt)); err != nil {
				return err
			}
		}
		return nil
	})
	return due, err
}

// pushRow is a due push; an idle one is for nothing.
type pushRow struct {
	fleet.PushTarget
	idle bool
}

const pushSelect = `SELECT p.enrollment_id, p.due_at, p.attempts, e.host_id, e.channel, e.topic, e.push_magic, e.push_token, e.token_updated_at, e.state,
	EXISTS (SELECT 1 FROM command_queue q WHERE q.enrollment_id = p.enrollment_id)
	FROM pushes p JOIN enrollments e ON e.id = p.enrollment_id`

func scanPushRow(r *sql.Rows) (v pushRow, err error) {
	var at, due int64
	var pending bool
	var state fleet.EnrollmentState
	err = r.Scan(&v.EnrollmentID, &due, &v.Attempts, &v.HostID, &v.Channel, &v.Topic, &v.Magic, &v.Token, &at, &state, &pending)
	v.TokenAt, v.DueAt = timeOf(at), timeOf(due)
	v.idle = !pending || (state != fleet.EnrollmentOn && state != fleet.EnrollmentLeaving) || len(v.Token) == 0
	return v, err
}

// Record stores what became of pushes, in one transaction. A push that was
// made due again meanwhile stays due.
func (p *Pushes) Record(ctx context.Context, outcomes []fleet.PushOutcome, events ...fleet.Event) error {
	return p.db.update(ctx, func(s *session) error {
		for _, o := range outcomes {
			broken := int64(0)
			if o.Broken {
				broken = micros(o.At)
			}
			if err := s.exec("UPDATE pushes SET due_at = CASE WHEN due_at = ? THEN ? ELSE due_at END, attempts = ?, last_at = ?,"+
				" last_reason = ?, broken_at = ? WHERE enrollment_id = ?", micros(o.DueAt), micros(o.NextAt), o.Attempts, micros(o.At),
				clip(o.Reason, 100), broken, int64(o.EnrollmentID)); err != nil {
				return fmt.Errorf("record push: %w", err)
			}
		}
		return s.appendEvents(events...)
	})
}

// NextPush tells when a channel is pushed to next; zero: no push is planned.
// broken means that Apple refused its token, and pushes stopped.
func (p *Pushes) NextPush(ctx context.Context, id fleet.EnrollmentID) (at time.Time, broken bool, err error) {
	var due, brokenAt int64
	_, err = p.db.view(ctx).get("SELECT due_at, broken_at FROM pushes WHERE enrollment_id = ?", []any{int64(id)}, &due, &brokenAt)
	return timeOf(due), brokenAt > 0, err
}

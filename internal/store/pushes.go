package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
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

// Targets returns those of the enrollments that can be pushed to, whenever they
// are due, as if they had not been pushed to yet.
func (p *Pushes) Targets(ctx context.Context, ids []fleet.EnrollmentID) ([]fleet.PushTarget, error) {
	v := p.db.view(ctx)
	out := make([]fleet.PushTarget, 0, len(ids))
	err := chunked(ids, func(chunk []fleet.EnrollmentID) error {
		in, args := inList(anys(chunk))
		list, err := collect(v, func(r *sql.Rows) (t fleet.PushTarget, err error) {
			var at, due int64
			err = r.Scan(&t.EnrollmentID, &due, &t.HostID, &t.Channel, &t.Topic, &t.Magic, &t.Token, &at)
			t.TokenAt, t.DueAt = timeOf(at), timeOf(due)
			return t, err
		}, "SELECT e.id, COALESCE(p.due_at, 0), e.host_id, e.channel, e.topic, e.push_magic, e.push_token, e.token_updated_at"+
			" FROM enrollments e LEFT JOIN pushes p ON p.enrollment_id = e.id WHERE e.id IN "+in+" AND e.state = ? AND COALESCE(p.broken_at, 0) = 0",
			append(args, int64(fleet.EnrollmentOn))...)
		for _, t := range list {
			if len(t.Token) > 0 {
				out = append(out, t)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find whom to push to: %w", err)
	}
	return out, nil
}

// Record stores what became of pushes, in one transaction. A push that was
// made due again meanwhile stays due.
func (p *Pushes) Record(ctx context.Context, outcomes []fleet.PushOutcome, events ...fleet.Event) error {
	outcomes = slices.SortedFunc(slices.Values(outcomes), func(a, b fleet.PushOutcome) int { return cmp.Compare(a.EnrollmentID, b.EnrollmentID) })
	return p.db.update(ctx, func(s *session) error {
		err := chunked(outcomes, s.recordPushes)
		if err != nil {
			return fmt.Errorf("record pushes: %w", err)
		}
		return s.appendEvents(events...)
	})
}

// recordPushes stores outcomes in the order of their enrollments.
func (s *session) recordPushes(outcomes []fleet.PushOutcome) error {
	ids := make([]any, len(outcomes))
	for i, o := range outcomes {
		ids[i] = int64(o.EnrollmentID)
	}
	in, args := inList(ids)
	due := make(map[fleet.EnrollmentID]int64, len(outcomes))
	_, err := collect(s, func(r *sql.Rows) (id fleet.EnrollmentID, err error) {
		var at int64
		err = r.Scan(&id, &at)
		due[id] = at
		return id, err
	}, "SELECT enrollment_id, due_at FROM pushes WHERE enrollment_id IN "+in+" ORDER BY enrollment_id"+s.db.dialect.lockForUpdate(), args...)
	if err != nil {
		return err
	}
	var known, unknown [][]any
	for _, o := range outcomes {
		next, broken := micros(o.NextAt), int64(0)
		if o.Broken {
			broken = micros(o.At)
		}
		at, found := due[o.EnrollmentID]
		if found && at != micros(o.DueAt) {
			next = at
		}
		row := []any{int64(o.EnrollmentID), next, o.Attempts, micros(o.At), clip(o.Reason, 100), broken}
		if found {
			known = append(known, row)
		} else {
			unknown = append(unknown, row)
		}
	}
	if err := s.put("pushes", pushCols, known, s.db.dialect.onConflict(pushCols[:1], pushCols[1:]), 1); err != nil {
		return err
	}
	// Whoever made a first push due meanwhile is right.
	return s.put("pushes", pushCols, unknown, s.db.dialect.onConflict(pushCols[:1], nil), 0)
}

// NextPush tells when a channel is pushed to next; zero: no push is planned.
// broken means that Apple refused its token, and pushes stopped.
func (p *Pushes) NextPush(ctx context.Context, id fleet.EnrollmentID) (at time.Time, broken bool, err error) {
	var due, brokenAt int64
	_, err = p.db.view(ctx).get("SELECT due_at, broken_at FROM pushes WHERE enrollment_id = ?", []any{int64(id)}, &due, &brokenAt)
	return timeOf(due), brokenAt > 0, err
}

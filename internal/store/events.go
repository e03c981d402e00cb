package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

var eventCols = []string{"at", "kind", "actor_kind", "actor_id", "actor_name", "actor_email", "address",
	"host_id", "enrollment_id", "command_id", "details"}

// appendEvents adds entries to the log inside the transaction that changes
// what they speak of.
func (s *session) appendEvents(events ...fleet.Event) error {
	if len(events) == 0 {
		return nil
	}
	rows := make([][]any, 0, len(events))
	for _, e := range events {
		if e.At.IsZero() {
			e.At = s.db.clock()
		}
		details := e.Details
		if details == nil {
			details = []byte("{}")
		}
		rows = append(rows, []any{micros(e.At), string(e.Kind), int64(e.Actor.Kind), int64(e.Actor.UserID),
			clip(e.Actor.Name, 255), clip(e.Actor.Email, 255), clip(e.Actor.Address, 100),
			int64(e.HostID), int64(e.EnrollmentID), int64(e.CommandID), details})
	}
	if err := s.put("events", eventCols, rows, "", 0); err != nil {
		return fmt.Errorf("append to the event log: %w", err)
	}
	return nil
}

// clip cuts a string to at most n characters, for columns with a bound.
func clip(v string, n int) string {
	if len(v) <= n {
		return v
	}
	runes := []rune(v)
	if len(runes) <= n {
		return v
	}
	return string(runes[:n])
}

// Events reads and appends to the event log.
type Events struct{ db *DB }

// NewEvents returns the event log of db.
func NewEvents(db *DB) *Events { return &Events{db} }

// Append adds entries that belong to no other change.
func (e *Events) Append(ctx context.Context, events ...fleet.Event) error {
	return e.db.update(ctx, func(s *session) error { return s.appendEvents(events...) })
}

// maxEventPage bounds one read of the log.
const maxEventPage = 1000

// Since returns up to limit entries after the given one, oldest first. host 0
// means of every host.
func (e *Events) Since(ctx context.Context, after fleet.EventID, host fleet.HostID, limit int) ([]fleet.Event, error) {
	if limit <= 0 || limit > maxEventPage {
		limit = maxEventPage
	}
	query := "SELECT id, at, kind, actor_kind, actor_id, actor_name, actor_email, address, host_id, enrollment_id, command_id, details" +
		" FROM events WHERE id > ?"
	args := []any{int64(after)}
	if host != 0 {
		query += " AND host_id = ?"
		args = append(args, int64(host))
	}
	args = append(args, limit)
	return collect(e.db.view(ctx), scanEvent, query+" ORDER BY id LIMIT ?", args...)
}

func scanEvent(rows *sql.Rows) (fleet.Event, error) {
	var e fleet.Event
	var at int64
	err := rows.Scan(&e.ID, &at, &e.Kind, &e.Actor.Kind, &e.Actor.UserID, &e.Actor.Name, &e.Actor.Email, &e.Actor.Address,
		&e.HostID, &e.EnrollmentID, &e.CommandID, &e.Details)
	e.At = timeOf(at)
	return e, err
}

// OfHost returns up to limit entries of a host before a time (zero: all),
// newest first; only of the kinds, if any are given.
func (e *Events) OfHost(ctx context.Context, host fleet.HostID, before time.Time, kinds []fleet.EventKind, limit int) ([]fleet.Event, error) {
	query := "SELECT id, at, kind, actor_kind, actor_id, actor_name, actor_email, address, host_id, enrollment_id, command_id, details" +
		" FROM events WHERE host_id = ?"
	args := []any{int64(host)}
	if !before.IsZero() {
		query, args = query+" AND at <= ?", append(args, micros(before))
	}
	if len(kinds) > 0 {
		query += " AND kind IN (" + placeholders(len(kinds)) + ")"
		for _, k := range kinds {
			args = append(args, string(k))
		}
	}
	list, err := collect(e.db.view(ctx), scanEvent, query+" ORDER BY id DESC LIMIT ?", append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("read the host's log: %w", err)
	}
	return list, nil
}

package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Labels keeps labels and their members.
type Labels struct{ db *DB }

// NewLabels returns the labels of db.
func NewLabels(db *DB) *Labels { return &Labels{db} }

// EnsureBuiltin creates the built-in labels that are missing.
func (l *Labels) EnsureBuiltin(ctx context.Context, names []fleet.BuiltinLabel) error {
	return l.db.update(ctx, func(s *session) error {
		now := s.db.now()
		for _, name := range names {
			var id int64
			found, err := s.get("SELECT id FROM labels WHERE name = ?", []any{string(name)}, &id)
			if err != nil {
				return err
			}
			if found {
				continue
			}
			if id, err = s.key("labels"); err != nil {
				return err
			}
			tail := s.db.dialect.onConflict([]string{"name"}, nil) // another replica may be first
			if err := s.exec("INSERT INTO labels (id, name, builtin, created_at, updated_at) VALUES (?, ?, TRUE, ?, ?)"+tail,
				id, string(name), now, now); err != nil {
				return fmt.Errorf("create label %s: %w", name, err)
			}
		}
		return nil
	})
}

// joinBuiltinLabels makes a new host a member of its platform's labels.
func (s *session) joinBuiltinLabels(id fleet.HostID, p fleet.Platform) error {
	labels, err := s.builtinLabels(p)
	if err != nil {
		return fmt.Errorf("find built-in labels: %w", err)
	}
	rows := make([][]any, 0, len(labels))
	for _, label := range labels {
		rows = append(rows, []any{label, int64(id), int64(fleet.Yes)})
	}
	return s.put("label_members", memberCols, rows, s.db.dialect.onConflict(memberCols[:2], memberCols[2:]), 2)
}

func (s *session) labelsOf(id fleet.HostID) ([]fleet.HostLabel, error) {
	return collect(s, func(r *sql.Rows) (l fleet.HostLabel, err error) { return l, r.Scan(&l.ID, &l.Name, &l.Builtin) },
		"SELECT l.id, l.name, l.builtin FROM label_members m JOIN labels l ON l.id = m.label_id WHERE m.host_id = ? AND m.member = 1 ORDER BY l.id",
		int64(id))
}

// builtinLabels returns the keys of a platform's labels. They never change, so
// they are read once.
func (s *session) builtinLabels(p fleet.Platform) ([]int64, error) {
	if ids, ok := s.db.builtin.Load(p); ok {
		return ids.([]int64), nil
	}
	names := fleet.BuiltinLabelsOf(p)
	ids, err := collect(s, func(r *sql.Rows) (id int64, err error) { return id, r.Scan(&id) },
		"SELECT id FROM labels WHERE builtin = TRUE AND name IN ("+placeholders(len(names))+")", anys(names)...)
	if err == nil && len(ids) == len(names) {
		s.db.builtin.Store(p, ids)
	}
	return ids, err
}

// leaveBuiltinLabels takes a host out of the built-in labels, when its
// platform turns out to be another one.
func (s *session) leaveBuiltinLabels(id fleet.HostID) error {
	return s.exec("DELETE FROM label_members WHERE host_id = ? AND label_id IN (SELECT id FROM labels WHERE builtin = TRUE)", int64(id))
}

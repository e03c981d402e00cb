package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Secrets keeps sealed values. It never sees what is inside.
type Secrets struct{ db *DB }

// NewSecrets returns the sealed values of db.
func NewSecrets(db *DB) *Secrets { return &Secrets{db} }

const secretSelect = "SELECT scope, name, value, key_id, version, updated_at FROM secrets"

func scanSecret(rows *sql.Rows) (fleet.StoredSecret, error) {
	var v fleet.StoredSecret
	var at int64
	err := rows.Scan(&v.Ref.Scope, &v.Ref.Name, &v.Value.Data, &v.Value.KeyID, &v.Version, &at)
	v.UpdatedAt = timeOf(at)
	return v, err
}

// Secret returns a sealed value; nil when there is none.
func (s *Secrets) Secret(ctx context.Context, ref fleet.SecretRef) (*fleet.StoredSecret, error) {
	list, err := collect(s.db.view(ctx), scanSecret, secretSelect+" WHERE scope = ? AND name = ?", string(ref.Scope), ref.Name)
	if err != nil {
		return nil, fmt.Errorf("read secret %s/%s: %w", ref.Scope, ref.Name, err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	return &list[0], nil
}

// InScope returns the sealed values of a scope.
func (s *Secrets) InScope(ctx context.Context, scope fleet.SecretScope) ([]fleet.StoredSecret, error) {
	list, err := collect(s.db.view(ctx), scanSecret, secretSelect+" WHERE scope = ? ORDER BY name", string(scope))
	if err != nil {
		return nil, fmt.Errorf("read secrets of %s: %w", scope, err)
	}
	return list, nil
}

// Write stores or deletes sealed values and appends the events.
func (s *Secrets) Write(ctx context.Context, writes []fleet.SecretWrite, events ...fleet.Event) error {
	return s.db.update(ctx, func(t *session) error {
		if err := t.writeSecrets(writes); err != nil {
			return err
		}
		return t.appendEvents(events...)
	})
}

// Create stores sealed values only if none of them exists yet, and reports
// whether it did: of several starting replicas one wins.
func (s *Secrets) Create(ctx context.Context, writes []fleet.SecretWrite, events ...fleet.Event) (bool, error) {
	created := false
	err := s.db.update(ctx, func(t *session) error {
		created = false
		for _, w := range writes {
			if err := t.exec("INSERT INTO secrets (scope, name, value, key_id, version, updated_at) VALUES (?, ?, ?, ?, 1, ?)",
				string(w.Ref.Scope), w.Ref.Name, w.Value.Data, w.Value.KeyID, t.db.now()); err != nil {
				return err
			}
		}
		created = true
		return t.appendEvents(events...)
	})
	if isDuplicate(err) {
		return false, nil
	}
	return created, err
}

var secretCols = []string{"scope", "name", "value", "key_id", "version", "updated_at"}

func (s *session) writeSecrets(writes []fleet.SecretWrite) error {
	for _, w := range writes {
		if w.Delete {
			if err := s.exec("DELETE FROM secrets WHERE scope = ? AND name = ?", string(w.Ref.Scope), w.Ref.Name); err != nil {
				return fmt.Errorf("delete secret %s/%s: %w", w.Ref.Scope, w.Ref.Name, err)
			}
			continue
		}
		row := []any{string(w.Ref.Scope), w.Ref.Name, w.Value.Data, w.Value.KeyID, 1, s.db.now()}
		if err := s.put("secrets", secretCols, [][]any{row}, s.db.dialect.nextVersion("secrets", secretCols[:2], []string{"value", "key_id", "updated_at"}), 2); err != nil {
			return fmt.Errorf("write secret %s/%s: %w", w.Ref.Scope, w.Ref.Name, err)
		}
	}
	return nil
}

// NotSealedWith returns up to limit values that another key than the given
// one seals.
func (s *Secrets) NotSealedWith(ctx context.Context, keyID string, limit int) ([]fleet.StoredSecret, error) {
	return collect(s.db.view(ctx), scanSecret, secretSelect+" WHERE key_id <> ? ORDER BY key_id, scope, name LIMIT ?", keyID, limit)
}

// Rewrap replaces the wrapping of values that have not changed since they
// were read, in one transaction, and reports how many those were.
func (s *Secrets) Rewrap(ctx context.Context, values []fleet.StoredSecret) (int, error) {
	var count int64
	err := s.db.update(ctx, func(t *session) error {
		count = 0
		for _, v := range values {
			n, err := t.changed("UPDATE secrets SET value = ?, key_id = ?, version = version + 1 WHERE scope = ? AND name = ? AND version = ? AND updated_at = ?",
				v.Value.Data, v.Value.KeyID, string(v.Ref.Scope), v.Ref.Name, v.Version, micros(v.UpdatedAt))
			if err != nil {
				return err
			}
			count += n
		}
		return nil
	})
	return int(count), err
}

// KeyIDs counts the sealed values by the key that seals them.
func (s *Secrets) KeyIDs(ctx context.Context) (map[string]int, error) {
	type row struct {
		id string
		n  int
	}
	rows, err := collect(s.db.view(ctx), func(r *sql.Rows) (v row, err error) { return v, r.Scan(&v.id, &v.n) },
		"SELECT key_id, COUNT(*) FROM secrets GROUP BY key_id")
	if err != nil {
		return nil, err
	}
	out := make(map[string]int, len(rows))
	for _, r := range rows {
		out[r.id] = r.n
	}
	return out, nil
}

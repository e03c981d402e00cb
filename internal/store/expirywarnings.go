package store

import (
	"context"
	"fmt"

	"github.com/muster-mdm/muster/internal/fleet"
)

// ExpiryWarnings keeps of which dated things was warned.
type ExpiryWarnings struct{ db *DB }

// NewExpiryWarnings returns the warnings of db.
func NewExpiryWarnings(db *DB) *ExpiryWarnings { return &ExpiryWarnings{db} }

// Warn appends the events of those warnings that were not given before, in one
// transaction: a nearer threshold, or another date.
func (w *ExpiryWarnings) Warn(ctx context.Context, list []fleet.ExpiryWarning) error {
	err := w.db.update(ctx, func(s *session) error {
		for _, v := range list { // a handful, whatever the number of hosts
			name := clip(v.Thing.Kind+" "+v.Thing.Name, 200)
			var notAfter int64
			var days int
			found, err := s.get("SELECT not_after, days FROM expiry_warnings WHERE name = ?"+s.db.dialect.lockForUpdate(), []any{name}, &notAfter, &days)
			if err != nil {
				return err
			}
			if found && notAfter == micros(v.Thing.NotAfter) && days <= v.Days {
				continue
			}
			if err := s.upsertRows("expiry_warnings", []string{"name", "not_after", "days"}, 1, [][]any{{name, micros(v.Thing.NotAfter), v.Days}}); err != nil {
				return err
			}
			if err := s.appendEvents(v.Event); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("warn of what expires: %w", err)
	}
	return nil
}

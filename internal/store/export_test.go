package store

import (
	"context"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Learn stores what hosts told about themselves, as a batch of answers does.
func (db *DB) Learn(ctx context.Context, hosts ...fleet.HostID) error {
	return db.update(ctx, func(s *session) error {
		list := make([]told, 0, len(hosts))
		for _, id := range hosts {
			list = append(list, told{id, &fleet.Vitals{}})
		}
		return s.learn(list)
	})
}

// ForgetCallers empties the cache of callers.
func ForgetCallers(db *DB) { db.callers.tell(&callerNews{all: true}) }

// HostLeaves is what a deletion does to the rows of a host.
func HostLeaves() []string { return hostLeaves }

// InTransaction runs statements as one transaction.
func InTransaction(ctx context.Context, db *DB, run func(exec func(query string, args ...any) error) error) error {
	return db.update(ctx, func(s *session) error { return run(s.exec) })
}

// Queued counts the commands that wait for an enrollment.
func Queued(ctx context.Context, db *DB, id fleet.EnrollmentID) (n int, err error) {
	_, err = db.view(ctx).get("SELECT COUNT(*) FROM command_queue WHERE enrollment_id = ?", []any{int64(id)}, &n)
	return n, err
}

package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Sessions keeps logins and API tokens; of a token only its SHA-256.
type Sessions struct{ db *DB }

// NewSessions returns the sessions of db.
func NewSessions(db *DB) *Sessions { return &Sessions{db} }

const sessionCols = "s.id, s.user_id, s.token_sha256, s.created_at, s.used_at, s.expires_at"

// sessionFields are the destinations of sessionCols; the function sets what
// cannot be scanned directly.
func sessionFields(v *fleet.Session) ([]any, func()) {
	var sha []byte
	var created, used, expires int64
	return []any{&v.ID, &v.UserID, &sha, &created, &used, &expires}, func() {
		copy(v.TokenSHA256[:], sha)
		v.CreatedAt, v.UsedAt, v.ExpiresAt = timeOf(created), timeOf(used), timeOf(expires)
	}
}

func scanSession(rows *sql.Rows) (fleet.Session, error) {
	var v fleet.Session
	dest, finish := sessionFields(&v)
	err := rows.Scan(dest...)
	finish()
	return v, err
}

// SessionByToken finds a session and its user by the token's SHA-256;
// KindNotFound.
func (t *Sessions) SessionByToken(ctx context.Context, sha [32]byte) (fleet.Session, fleet.User, error) {
	var v fleet.Session
	var u fleet.User
	dest, finishSession := sessionFields(&v)
	userDest, finishUser := userFields(&u)
	found, err := t.db.view(ctx).get("SELECT "+sessionCols+", "+userCols+" FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.token_sha256 = ?",
		[]any{sha[:]}, append(dest, userDest...)...)
	if err == nil && !found {
		err = fleet.Errorf(fleet.KindNotFound, "Session was not found.")
	}
	finishSession()
	finishUser()
	return v, u, err
}

// Session finds a session by key; KindNotFound.
func (t *Sessions) Session(ctx context.Context, id fleet.SessionID) (fleet.Session, error) {
	found, err := collect(t.db.view(ctx), scanSession, "SELECT "+sessionCols+" FROM sessions s WHERE s.id = ?", int64(id))
	if err != nil {
		return fleet.Session{}, err
	}
	if len(found) == 0 {
		return fleet.Session{}, fleet.Errorf(fleet.KindNotFound, "Session was not found.")
	}
	return found[0], nil
}

// maxUserSessions bounds the list of one user's sessions; the newest stand
// first.
const maxUserSessions = 1000

// SessionsOf lists a user's sessions, newest first.
func (t *Sessions) SessionsOf(ctx context.Context, user fleet.UserID) ([]fleet.Session, error) {
	return collect(t.db.view(ctx), scanSession, "SELECT "+sessionCols+" FROM sessions s WHERE s.user_id = ? ORDER BY s.id DESC LIMIT ?",
		int64(user), maxUserSessions)
}

// CreateSession stores a session of an existing user.
func (t *Sessions) CreateSession(ctx context.Context, v fleet.Session, events []fleet.Event) (fleet.Session, error) {
	err := t.db.update(ctx, func(s *session) error {
		if err := s.insertSession(&v); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
	return v, err
}

func (s *session) insertSession(v *fleet.Session) error {
	id, err := s.key("sessions")
	if err != nil {
		return err
	}
	v.ID = fleet.SessionID(id)
	return s.exec("INSERT INTO sessions (id, user_id, token_sha256, created_at, used_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
		id, int64(v.UserID), v.TokenSHA256[:], micros(v.CreatedAt), micros(v.UsedAt), micros(v.ExpiresAt))
}

// TouchSession moves the last use and the expiry.
func (t *Sessions) TouchSession(ctx context.Context, id fleet.SessionID, usedAt, expiresAt time.Time) error {
	return t.db.update(ctx, func(s *session) error {
		return s.exec("UPDATE sessions SET used_at = ?, expires_at = ? WHERE id = ?", micros(usedAt), micros(expiresAt), int64(id))
	})
}

// DeleteSession ends a session; one that is gone already is no error.
func (t *Sessions) DeleteSession(ctx context.Context, id fleet.SessionID, events []fleet.Event) error {
	return t.db.update(ctx, func(s *session) error {
		if err := s.exec("DELETE FROM sessions WHERE id = ?", int64(id)); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
}

// DeleteSessionsOf ends all sessions of a user.
func (t *Sessions) DeleteSessionsOf(ctx context.Context, user fleet.UserID, events []fleet.Event) error {
	return t.db.update(ctx, func(s *session) error {
		if err := s.exec("DELETE FROM sessions WHERE user_id = ?", int64(user)); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
}

// DeleteExpiredSessions removes up to limit sessions that ended before at and
// returns how many.
func (t *Sessions) DeleteExpiredSessions(ctx context.Context, at time.Time, limit int) (int, error) {
	removed := 0
	err := t.db.update(ctx, func(s *session) error {
		ids, err := collect(s, func(rows *sql.Rows) (id int64, err error) {
			err = rows.Scan(&id)
			return id, err
		}, "SELECT id FROM sessions WHERE expires_at > 0 AND expires_at < ? ORDER BY id LIMIT ?", micros(at), limit)
		if err != nil {
			return err
		}
		removed = len(ids)
		return chunked(ids, func(some []int64) error {
			return s.exec("DELETE FROM sessions WHERE id IN ("+placeholders(len(some))+")", anys(some)...)
		})
	})
	return removed, err
}

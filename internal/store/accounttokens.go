package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// AccountTokens keeps tokens of account-driven enrollment, by their hash.
type AccountTokens struct{ db *DB }

// NewAccountTokens returns the tokens of db.
func NewAccountTokens(db *DB) *AccountTokens { return &AccountTokens{db} }

// Add stores a token.
func (t *AccountTokens) Add(ctx context.Context, v fleet.AccountToken, events ...fleet.Event) error {
	return t.db.update(ctx, func(s *session) error {
		if err := s.teamExists(v.TeamID); err != nil {
			return err
		}
		err := s.exec("INSERT INTO account_tokens (token_sha256, managed_apple_id, team_id, created_at, expires_at, used_at) VALUES (?, ?, ?, ?, ?, 0)",
			v.SHA256[:], v.ManagedAppleID, int64(v.TeamID), s.db.now(), micros(v.ExpiresAt))
		if err != nil {
			return fmt.Errorf("store account token: %w", err)
		}
		return s.appendEvents(events...)
	})
}

// Token returns the token of that hash; nil: there is none.
func (t *AccountTokens) Token(ctx context.Context, sha256 [32]byte) (*fleet.AccountToken, error) {
	list, err := collect(t.db.view(ctx), func(r *sql.Rows) (fleet.AccountToken, error) {
		v := fleet.AccountToken{SHA256: sha256}
		var expires, used int64
		err := r.Scan(&v.ManagedAppleID, &v.TeamID, &expires, &used)
		v.ExpiresAt, v.UsedAt = timeOf(expires), timeOf(used)
		return v, err
	}, "SELECT managed_apple_id, team_id, expires_at, used_at FROM account_tokens WHERE token_sha256 = ?", sha256[:])
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// Use marks a token as used and stores the challenge of the profile that it is
// used for. It reports false when it was used or has expired.
func (t *AccountTokens) Use(ctx context.Context, sha256 [32]byte, now time.Time, minted fleet.Challenge, events ...fleet.Event) (done bool, err error) {
	err = t.db.update(ctx, func(s *session) error {
		n, err := s.changed("UPDATE account_tokens SET used_at = ? WHERE token_sha256 = ? AND used_at = 0 AND expires_at > ?", micros(now), sha256[:], micros(now))
		if done = n > 0; err != nil || !done {
			return err
		}
		if err := s.addChallenge(minted); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
	return done, err
}

// DeleteExpired removes tokens that expired before a time.
func (t *AccountTokens) DeleteExpired(ctx context.Context, before time.Time) error {
	return t.db.update(ctx, func(s *session) error {
		return s.exec("DELETE FROM account_tokens WHERE expires_at < ?", micros(before))
	})
}

// forgetAccountTokens takes the tokens of a team that is deleted away.
func (s *session) forgetAccountTokens(team fleet.TeamID) error {
	return s.exec("DELETE FROM account_tokens WHERE team_id = ?", int64(team))
}

package store

import (
	"context"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Trade marks a challenge of that hash, purpose and team as used and stores
// another. It reports false when there is none, or it was used or has expired.
func (i *Identities) Trade(ctx context.Context, used, minted fleet.Challenge, now time.Time, events ...fleet.Event) (done bool, err error) {
	err = i.db.update(ctx, func(s *session) error {
		n, err := s.changed("UPDATE challenges SET used_at = ? WHERE secret_sha256 = ? AND purpose = ? AND team_id = ? AND used_at = 0 AND expires_at > ?",
			s.db.now(), used.SecretSHA256[:], int64(used.Purpose), int64(used.TeamID), micros(now))
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

// Spend marks an identity as used and stores a challenge. It reports false when
// it was used or revoked.
func (i *Identities) Spend(ctx context.Context, used fleet.IdentityID, minted fleet.Challenge, events ...fleet.Event) (done bool, err error) {
	err = i.db.update(ctx, func(s *session) error {
		n, err := s.changed("UPDATE identities SET used_at = ? WHERE id = ? AND used_at = 0 AND revoked_at = 0", s.db.now(), int64(used))
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

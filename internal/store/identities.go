package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Identities keeps challenges and the device certificates issued for them.
type Identities struct{ db *DB }

// NewIdentities returns the identities of db.
func NewIdentities(db *DB) *Identities { return &Identities{db} }

var identityCols = []string{"id", "sha256", "serial_hex", "public_key_sha256", "purpose", "enrollment_id", "profile_id", "generation", "kind", "team_id", "serial",
	"server_url", "checkin_url", "access_rights", "not_before", "not_after", "der", "created_at", "used_at", "superseded_at", "revoked_at"}

var identitySelect = "SELECT " + strings.Join(identityCols, ", ") + " FROM identities"

// identityFacts leaves the certificate out, the largest part.
var identityFacts = strings.Replace(identitySelect, ", der,", ", '' AS der,", 1)

func scanIdentity(rows *sql.Rows) (fleet.Identity, error) {
	var i fleet.Identity
	var sum, key []byte
	var notBefore, notAfter, created, used, superseded, revoked int64
	err := rows.Scan(&i.ID, &sum, &i.SerialHex, &key, &i.Purpose, &i.EnrollmentID, &i.ProfileID, &i.Generation, &i.Kind, &i.TeamID, &i.Serial,
		&i.ServerURL, &i.CheckInURL, &i.AccessRights, &notBefore, &notAfter, &i.DER, &created, &used, &superseded, &revoked)
	copy(i.SHA256[:], sum)
	copy(i.PublicKeySHA256[:], key)
	i.NotBefore, i.NotAfter = timeOf(notBefore), timeOf(notAfter)
	i.UsedAt, i.SupersededAt, i.RevokedAt = timeOf(used), timeOf(superseded), timeOf(revoked)
	return i, err
}

func (s *session) identity(cond string, args ...any) (*fleet.Identity, error) {
	list, err := collect(s, scanIdentity, identitySelect+" WHERE "+cond, args...)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// AddChallenge stores a minted challenge.
func (i *Identities) AddChallenge(ctx context.Context, c fleet.Challenge, events ...fleet.Event) error {
	return i.db.update(ctx, func(s *session) error {
		if err := s.addChallenge(c); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
}

func (s *session) addChallenge(c fleet.Challenge) error {
	err := s.exec("INSERT INTO challenges (secret_sha256, purpose, profile_id, enrollment_id, generation, kind, team_id, serial, server_url, checkin_url, access_rights,"+
		" created_at, expires_at, used_at, identity_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
		c.SecretSHA256[:], int64(c.Purpose), int64(c.ProfileID), int64(c.EnrollmentID), c.Generation, int64(max(c.Kind, fleet.EnrollmentManual)), int64(c.TeamID),
		clip(c.Serial, 100), c.ServerURL, c.CheckInURL, c.AccessRights,
		s.db.now(), micros(c.ExpiresAt))
	if err != nil {
		return fmt.Errorf("store challenge: %w", err)
	}
	return nil
}

// Challenge looks a challenge up, with the identity that was issued for it if
// it was used. Both are nil when there is no such challenge.
func (i *Identities) Challenge(ctx context.Context, secret [32]byte) (*fleet.Challenge, *fleet.Identity, error) {
	s := i.db.view(ctx)
	c, issued, err := s.challenge(secret, "")
	if err != nil || c == nil || issued == 0 {
		return c, nil, err
	}
	identity, err := s.identity("id = ?", int64(issued))
	return c, identity, err
}

// Issue consumes a challenge and stores the identity signed for it, in one
// transaction. If the challenge was used for the same public key meanwhile,
// the identity stored then is returned. Errors: fleet.ErrNoChallenge,
// fleet.ErrChallengeUsed.
func (i *Identities) Issue(ctx context.Context, secret [32]byte, identity fleet.Identity) (*fleet.Identity, error) {
	var out *fleet.Identity
	err := i.db.update(ctx, func(s *session) error {
		c, issued, err := s.challenge(secret, s.db.dialect.lockForUpdate())
		if err != nil {
			return err
		}
		if c == nil {
			return fleet.ErrNoChallenge
		}
		if issued != 0 {
			out, err = s.identity("id = ?", int64(issued))
			if err == nil && (out == nil || out.PublicKeySHA256 != identity.PublicKeySHA256) {
				err = fleet.ErrChallengeUsed
			}
			return err
		}
		if err := s.stillRenews(c); err != nil {
			return err
		}
		if err := s.addIdentity(&identity); err != nil {
			return err
		}
		s.identityIssued(&identity)
		if err := s.exec("UPDATE challenges SET used_at = ?, identity_id = ? WHERE secret_sha256 = ?",
			s.db.now(), int64(identity.ID), secret[:]); err != nil {
			return err
		}
		out = &identity
		return s.appendEvents(fleet.Event{Kind: fleet.EventIdentityIssued, EnrollmentID: identity.EnrollmentID,
			Details: fmt.Appendf(nil, `{"serial":%q,"purpose":%d}`, identity.SerialHex, identity.Purpose)})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// stillRenews refuses the challenge of a renewal whose enrollment ended or
// began anew since.
func (s *session) stillRenews(c *fleet.Challenge) error {
	if c.Purpose != fleet.PurposeRenew {
		return nil
	}
	var id int64
	found, err := s.get("SELECT id FROM enrollments WHERE id = ? AND generation = ? AND state = ?"+s.db.dialect.lockForUpdate(),
		[]any{int64(c.EnrollmentID), c.Generation, int64(fleet.EnrollmentOn)}, &id)
	if err == nil && !found {
		err = fleet.ErrNoChallenge
	}
	return err
}

func (s *session) challenge(secret [32]byte, lock string) (*fleet.Challenge, fleet.IdentityID, error) {
	c := fleet.Challenge{SecretSHA256: secret}
	var expires int64
	var issued fleet.IdentityID
	found, err := s.get("SELECT purpose, profile_id, enrollment_id, generation, kind, team_id, serial, server_url, checkin_url, access_rights, expires_at, identity_id"+
		" FROM challenges WHERE secret_sha256 = ?"+lock, []any{secret[:]},
		&c.Purpose, &c.ProfileID, &c.EnrollmentID, &c.Generation, &c.Kind, &c.TeamID, &c.Serial, &c.ServerURL, &c.CheckInURL, &c.AccessRights, &expires, &issued)
	if err != nil || !found {
		return nil, 0, err
	}
	c.ExpiresAt = timeOf(expires)
	return &c, issued, nil
}

func (s *session) addIdentity(i *fleet.Identity) error {
	id, err := s.key("identities")
	if err != nil {
		return err
	}
	i.ID = fleet.IdentityID(id)
	err = s.insertRows("identities", identityCols, [][]any{{id, i.SHA256[:], i.SerialHex, i.PublicKeySHA256[:], int64(i.Purpose),
		int64(i.EnrollmentID), int64(i.ProfileID), i.Generation, int64(max(i.Kind, fleet.EnrollmentManual)), int64(i.TeamID), clip(i.Serial, 100), i.ServerURL, i.CheckInURL, i.AccessRights,
		micros(i.NotBefore), micros(i.NotAfter), i.DER, s.db.now(), micros(i.UsedAt), micros(i.SupersededAt), micros(i.RevokedAt)}}, "")
	if err != nil {
		return fmt.Errorf("store identity: %w", err)
	}
	return nil
}

// Identity returns an issued certificate by its SHA-256; nil when it is not
// one of ours.
func (i *Identities) Identity(ctx context.Context, sha256 [32]byte) (*fleet.Identity, error) {
	return i.db.view(ctx).identity("sha256 = ?", sha256[:])
}

// applyIdentities claims, supersedes and revokes as a check-in decided.
func (s *session) applyIdentities(c *fleet.EnrollmentChange, e *fleet.Enrollment, signer *fleet.Identity) error {
	now := s.db.now()
	if c.Revoke || c.Supersede != 0 {
		s.identitiesChanged()
	}
	if c.Claim != 0 {
		if err := s.claim(c.Claim, e.ID); err != nil {
			return err
		}
		if signer != nil && signer.ID == c.Claim {
			s.identityBound(signer, e, now)
		} else {
			s.identitiesChanged()
		}
	}
	if c.Revoke {
		if err := s.exec("UPDATE identities SET revoked_at = ? WHERE enrollment_id = ? AND id <> ? AND revoked_at = 0",
			now, int64(e.ID), int64(c.Claim)); err != nil {
			return fmt.Errorf("revoke identities: %w", err)
		}
	}
	if c.Supersede != 0 {
		if err := s.exec("UPDATE identities SET used_at = ? WHERE id = ? AND used_at = 0", now, int64(c.Supersede)); err != nil {
			return fmt.Errorf("note first use: %w", err)
		}
		// Keys say nothing about time: replicas draw them in blocks.
		if err := s.exec("UPDATE identities SET superseded_at = ? WHERE enrollment_id = ? AND id <> ? AND superseded_at = 0 AND used_at > 0",
			now, int64(e.ID), int64(c.Supersede)); err != nil {
			return fmt.Errorf("supersede identities: %w", err)
		}
	}
	return nil
}

// claim binds an identity to an enrollment.
func (s *session) claim(id fleet.IdentityID, to fleet.EnrollmentID) error {
	pair := [2]int64{int64(id), int64(to)}
	if s.held == nil {
		return s.claimIdentities([][2]int64{pair})
	}
	s.held.touch("identities")
	s.held.claims = append(s.held.claims, pair)
	return nil
}

// claimIdentities binds identities to enrollments; each must belong to nobody
// yet, or to its enrollment.
func (s *session) claimIdentities(claims [][2]int64) error {
	if len(claims) == 0 {
		return nil
	}
	var args []any
	var free [][2]int64
	for _, c := range padded(claims) {
		args = append(args, c[0], c[1])
		free = append(free, [2]int64{c[0], 0}, c)
	}
	when := strings.Repeat(" WHEN ? THEN CAST(? AS "+s.db.dialect.castInt()+")", len(args)/2)
	in, pairs := s.db.dialect.inPairs(free)
	n, err := s.changed("UPDATE identities SET enrollment_id = CASE id"+when+" END, used_at = ? WHERE (id, enrollment_id) IN "+in,
		append(append(args, s.db.now()), pairs...)...)
	switch {
	case err != nil:
		return fmt.Errorf("claim identity: %w", err)
	case n == int64(len(claims)):
		return nil
	case len(claims) > 1:
		return errRaced
	}
	return fleet.Errorf(fleet.KindForbidden, "the certificate belongs to another enrollment")
}

// identitiesByID returns identities by their keys, without their certificates.
func (s *session) identitiesByID(ids []any) (map[fleet.IdentityID]*fleet.Identity, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	in, args := inList(ids)
	list, err := collect(s, scanIdentity, identityFacts+" WHERE id IN "+in, args...)
	found := make(map[fleet.IdentityID]*fleet.Identity, len(list))
	for i := range list {
		found[list[i].ID] = &list[i]
	}
	return found, err
}

// DeleteExpiredChallenges drops challenges that expired before the time and
// reports how many.
func (i *Identities) DeleteExpiredChallenges(ctx context.Context, before time.Time) (int64, error) {
	var n int64
	err := i.db.update(ctx, func(s *session) (err error) {
		n, err = s.changed("DELETE FROM challenges WHERE expires_at < ?", micros(before))
		return err
	})
	return n, err
}

// Identities that no enrollment needs. One that is on, pending or leaving keeps
// those that nothing took over from, expired as they may be: its device presents
// them to be renewed.
const (
	ended = "superseded_at > 0 OR revoked_at > 0 OR NOT EXISTS (SELECT 1 FROM enrollments e WHERE e.id = identities.enrollment_id AND e.state IN (1, 2, 4))"
	// passedOver were never used, and a later one was.
	passedOver = "used_at = 0 AND EXISTS (SELECT 1 FROM identities n WHERE n.enrollment_id = identities.enrollment_id AND n.used_at > 0 AND n.not_after > identities.not_after)"
)

// DeleteExpired drops identities that expired before the time and that no
// enrollment needs, and those of over-the-air enrollment that expired before
// another, later time. It works in short transactions and reports how many rows
// went.
func (i *Identities) DeleteExpired(ctx context.Context, before, overTheAir time.Time) (int, error) {
	total, atLeast, done := 0, int64(0), int64(0)
	for range maxCleanups {
		n, ids := 0, []any(nil)
		_, err := collect(i.db.view(ctx), func(r *sql.Rows) (struct{}, error) {
			var drop bool
			err := r.Scan(&done, &atLeast, &drop)
			if n++; drop {
				ids = append(ids, done)
			}
			return struct{}{}, err
		}, fmt.Sprintf("SELECT id, not_after, (purpose = %d OR not_after < ?) AND ("+ended+" OR "+passedOver+") FROM identities"+
			" WHERE not_after < ? AND not_after >= ? AND (not_after > ? OR id > ?) ORDER BY not_after, id LIMIT ?", fleet.PurposeOTA),
			micros(before), micros(overTheAir), atLeast, atLeast, done, cleanChunk)
		if err == nil && len(ids) > 0 {
			err = i.db.update(ctx, func(s *session) error {
				s.identitiesChanged()
				in, args := inList(ids)
				return s.exec("DELETE FROM identities WHERE id IN "+in+" AND (used_at = 0 OR "+ended+")", args...)
			})
		}
		if err != nil {
			return total, fmt.Errorf("delete identities that expired: %w", err)
		}
		if total += len(ids); n < cleanChunk {
			break
		}
	}
	return total, nil
}

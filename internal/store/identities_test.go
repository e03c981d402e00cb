package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func secretOf(n int) [32]byte { return sha256.Sum256(fmt.Append(nil, "challenge ", n)) }

// identityFor is what the authority signs for a challenge and a key.
func identityFor(c fleet.Challenge, key int) fleet.Identity {
	now := storetest.Clock()().Truncate(time.Second)
	der := fmt.Append(nil, "certificate of key ", key, c.SecretSHA256)
	return fleet.Identity{SerialHex: fmt.Sprintf("%x", key), SHA256: sha256.Sum256(der), PublicKeySHA256: sha256.Sum256(fmt.Append(nil, "key ", key)),
		Purpose: c.Purpose, EnrollmentID: c.EnrollmentID, ProfileID: c.ProfileID, Admission: c.Admission, ServerURL: c.ServerURL, CheckInURL: c.CheckInURL, AccessRights: c.AccessRights,
		NotBefore: now, NotAfter: now.Add(time.Hour), DER: der}
}

// addIdentity mints the n-th challenge and has an identity issued for it.
func addIdentity(t testing.TB, db *store.DB, n int, c fleet.Challenge) fleet.Identity {
	t.Helper()
	ctx := context.Background()
	identities := store.NewIdentities(db)
	c.SecretSHA256, c.ExpiresAt = secretOf(n), storetest.Clock()().Add(time.Hour)
	if err := identities.AddChallenge(ctx, c); err != nil {
		t.Fatal(err)
	}
	got, err := identities.Issue(ctx, c.SecretSHA256, identityFor(c, n))
	if err != nil {
		t.Fatal(err)
	}
	return *got
}

func TestAnIdentityIsReadAsItWasIssued(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		identities := store.NewIdentities(db)
		c := fleet.Challenge{Purpose: fleet.PurposeEnroll, ProfileID: 3, EnrollmentID: 4,
			Admission: fleet.Admission{Kind: fleet.EnrollmentADE, TeamID: 5, Serial: "SERIAL"}, ServerURL: "https://a", CheckInURL: "https://b", AccessRights: 8191}
		issued := addIdentity(t, db, 1, c)
		got, err := identities.Identity(ctx, issued.SHA256)
		if err != nil || got == nil {
			t.Fatal(got, err)
		}
		if diff := cmp.Diff(&issued, got); diff != "" {
			t.Error(diff)
		}
		c.SecretSHA256 = secretOf(1)
		kept, for1, err := identities.Challenge(ctx, c.SecretSHA256)
		if err != nil || for1 == nil || for1.ID != issued.ID {
			t.Fatal(for1, err)
		}
		c.ExpiresAt = kept.ExpiresAt
		if diff := cmp.Diff(&c, kept); diff != "" {
			t.Error(diff)
		}
		if none, identity, err := identities.Challenge(ctx, secretOf(9)); err != nil || none != nil || identity != nil {
			t.Errorf("a challenge that was never minted: %v, %v, %v", none, identity, err)
		}
		if none, err := identities.Identity(ctx, secretOf(9)); err != nil || none != nil {
			t.Errorf("an identity that was never issued: %v, %v", none, err)
		}
		equal(t, "the event log", eventKinds(t, db), fleet.EventIdentityIssued)
	})
}

func TestAChallengeIsSpentOnceHoweverManyAsk(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		identities := store.NewIdentities(db)
		c := fleet.Challenge{SecretSHA256: secretOf(1), Admission: fleet.Admission{Kind: fleet.EnrollmentManual}, Purpose: fleet.PurposeEnroll, ExpiresAt: storetest.Clock()().Add(time.Hour)}
		if err := identities.AddChallenge(ctx, c); err != nil {
			t.Fatal(err)
		}
		var issued, used atomic.Int64
		storetest.Parallel(20, func(i int) {
			_, err := identities.Issue(ctx, c.SecretSHA256, identityFor(c, i))
			switch {
			case err == nil:
				issued.Add(1)
			case errors.Is(err, fleet.ErrChallengeUsed):
				used.Add(1)
			default:
				t.Error(err)
			}
		})
		if issued.Load() != 1 || used.Load() != 19 {
			t.Errorf("%d issued, %d refused", issued.Load(), used.Load())
		}
		_, winner, err := identities.Challenge(ctx, c.SecretSHA256)
		if err != nil || winner == nil {
			t.Fatal(winner, err)
		}
		// The winner's key may ask again and gets what it got.
		again := identityFor(c, 0)
		again.PublicKeySHA256, again.SHA256 = winner.PublicKeySHA256, [32]byte{1}
		got, err := identities.Issue(ctx, c.SecretSHA256, again)
		if err != nil || got.ID != winner.ID || got.SHA256 != winner.SHA256 {
			t.Errorf("the same key again: %+v, %v", got, err)
		}
		if _, err := identities.Issue(ctx, secretOf(9), again); !errors.Is(err, fleet.ErrNoChallenge) {
			t.Errorf("a challenge that was never minted: %v", err)
		}
		equal(t, "the event log", eventKinds(t, db), fleet.EventIdentityIssued)
	})
}

func TestAnIdentityIsClaimedByOneEnrollment(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		addDevice(t, db, fleet.Host{UUID: "U-1"})
		addDevice(t, db, fleet.Host{UUID: "U-2"})
		first, second := addIdentity(t, db, 1, fleet.Challenge{Purpose: fleet.PurposeEnroll}), addIdentity(t, db, 2, fleet.Challenge{Purpose: fleet.PurposeEnroll})
		claim := func(key string, id fleet.IdentityID) error {
			_, err := store.NewEnrollments(db).Apply(ctx, fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: key}, IdentityID: id},
				func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
					return fleet.EnrollmentChange{Enrollment: f.Enrollment, Claim: id, Revoke: true}, nil
				})
			return err
		}
		if err := errors.Join(claim("U-1", first.ID), claim("U-1", first.ID)); err != nil {
			t.Fatal(err)
		}
		if err := claim("U-2", first.ID); fleet.KindOf(err) != fleet.KindForbidden {
			t.Errorf("another enrollment claimed it: %v", err)
		}
		if err := claim("U-1", second.ID); err != nil {
			t.Fatal(err)
		}
		read := func(i fleet.Identity) *fleet.Identity {
			got, err := store.NewIdentities(db).Identity(ctx, i.SHA256)
			if err != nil || got == nil {
				t.Fatal(got, err)
			}
			return got
		}
		if got := read(first); got.RevokedAt.IsZero() || got.UsedAt.IsZero() {
			t.Errorf("the first is %+v", got)
		}
		if got := read(second); !got.RevokedAt.IsZero() || got.UsedAt.IsZero() {
			t.Errorf("the second is %+v", got)
		}
	})
}

func TestExpiredChallengesAreDropped(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		identities := store.NewIdentities(db)
		now := storetest.Clock()()
		for n := range 3 {
			c := fleet.Challenge{SecretSHA256: secretOf(n), Purpose: fleet.PurposeEnroll, ExpiresAt: now.Add(time.Duration(n) * time.Hour)}
			if err := identities.AddChallenge(ctx, c, fleet.Event{Kind: fleet.EventProfileDownloaded}); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := identities.DeleteExpiredChallenges(ctx, now.Add(90*time.Minute)); err != nil || n != 2 {
			t.Errorf("%d went, %v", n, err)
		}
		for n, want := range []bool{false, false, true} {
			if c, _, err := identities.Challenge(ctx, secretOf(n)); err != nil || (c != nil) != want {
				t.Errorf("challenge %d: %+v, %v", n, c, err)
			}
		}
	})
}

func TestEnrollmentProfilesAreKept(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		profiles, identities := store.NewEnrollmentProfiles(db), store.NewIdentities(db)
		p := fleet.EnrollmentProfile{Name: "Büro", Kind: fleet.EnrollmentManual, Token: "tokenA", CreatedBy: 5}
		if err := profiles.Create(ctx, &p, fleet.Event{Kind: fleet.EventProfileCreated}); err != nil {
			t.Fatal(err)
		}
		if err := profiles.Create(ctx, &fleet.EnrollmentProfile{Name: "Büro", Kind: fleet.EnrollmentManual, Token: "tokenB"}); fleet.KindOf(err) != fleet.KindConflict {
			t.Errorf("a taken name: %v", err)
		}
		for name, find := range map[string]func() (*fleet.EnrollmentProfile, error){
			"by key":   func() (*fleet.EnrollmentProfile, error) { return profiles.ByID(ctx, p.ID) },
			"by name":  func() (*fleet.EnrollmentProfile, error) { return profiles.ByName(ctx, "Büro") },
			"by token": func() (*fleet.EnrollmentProfile, error) { return profiles.ByToken(ctx, "tokenA") },
		} {
			got, err := find()
			if err != nil || got == nil {
				t.Fatalf("%s: %v, %v", name, got, err)
			}
			if diff := cmp.Diff(p, *got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		if got, err := profiles.ByToken(ctx, "TOKENA"); err != nil || got != nil {
			t.Errorf("a token in another spelling: %+v, %v", got, err)
		}
		unused := fleet.Challenge{SecretSHA256: secretOf(2), Purpose: fleet.PurposeEnroll, ProfileID: p.ID, ExpiresAt: storetest.Clock()().Add(time.Hour)}
		if err := identities.AddChallenge(ctx, unused); err != nil {
			t.Fatal(err)
		}
		used := addIdentity(t, db, 1, fleet.Challenge{Purpose: fleet.PurposeEnroll, ProfileID: p.ID})
		for _, want := range []bool{true, false} {
			if found, err := profiles.Delete(ctx, p.ID); err != nil || found != want {
				t.Errorf("deleted: %v, want %v (%v)", found, want, err)
			}
		}
		if c, _, err := identities.Challenge(ctx, secretOf(2)); err != nil || c != nil {
			t.Errorf("an unused challenge outlived its profile: %+v, %v", c, err)
		}
		if _, i, err := identities.Challenge(ctx, secretOf(1)); err != nil || i == nil || i.ID != used.ID {
			t.Errorf("the identity went with the profile: %+v, %v", i, err)
		}
		if list, err := profiles.List(ctx); err != nil || len(list) != 0 {
			t.Errorf("%d are left, %v", len(list), err)
		}
	})
}

func TestExpiredIdentitiesThatNoEnrollmentNeedsGo(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		identities := store.NewIdentities(db)
		n := 0
		issue := func(c fleet.Challenge) fleet.Identity { n++; return addIdentity(t, db, n, c) }
		enroll := func(key string, state fleet.EnrollmentState) (fleet.Identity, fleet.EnrollmentID) {
			i := issue(fleet.Challenge{Purpose: fleet.PurposeEnroll})
			e := apply(t, db, key, func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
				e := fleet.Enrollment{Key: key, Channel: fleet.ChannelDevice, Generation: 1}
				if f.Enrollment != nil {
					e = *f.Enrollment
				}
				e.State = state
				return fleet.EnrollmentChange{Enrollment: &e, Claim: i.ID, Revoke: f.Enrollment != nil}
			})
			return i, e.ID
		}
		const on, off = fleet.EnrollmentOn, fleet.EnrollmentOff
		used, _ := enroll("USED", on)
		pending, _ := enroll("PENDING", fleet.EnrollmentPending)
		leaving, _ := enroll("LEAVING", fleet.EnrollmentLeaving)
		left, _ := enroll("LEFT", off)
		superseded, renewing := enroll("RENEWED", on)
		newest := issue(fleet.Challenge{Purpose: fleet.PurposeRenew, EnrollmentID: renewing, Generation: 1})
		apply(t, db, "RENEWED", func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			return fleet.EnrollmentChange{Enrollment: f.Enrollment, Supersede: newest.ID}
		})
		waiting := issue(fleet.Challenge{Purpose: fleet.PurposeRenew, EnrollmentID: renewing, Generation: 1}) // the device has yet to use it
		c := fleet.Challenge{SecretSHA256: secretOf(100), Purpose: fleet.PurposeRenew, EnrollmentID: renewing, Generation: 1, ExpiresAt: time.Now().Add(time.Hour)}
		if err := identities.AddChallenge(ctx, c); err != nil {
			t.Fatal(err)
		}
		earlier := identityFor(c, 100)
		earlier.NotAfter = newest.NotAfter.Add(-30 * time.Second)
		passedOver, err := identities.Issue(ctx, c.SecretSHA256, earlier)
		if err != nil {
			t.Fatal(err)
		}
		revoked, _ := enroll("AGAIN", on)
		again, _ := enroll("AGAIN", on)
		unused, overTheAir := issue(fleet.Challenge{Purpose: fleet.PurposeEnroll}), issue(fleet.Challenge{Purpose: fleet.PurposeOTA})

		check := func(when string, gone map[string]fleet.Identity, kept map[string]fleet.Identity) {
			t.Helper()
			for name, i := range gone {
				if got, err := identities.Identity(ctx, i.SHA256); err != nil || got != nil {
					t.Errorf("%s: that which is %s is still there: %v", when, name, err)
				}
			}
			for name, i := range kept {
				if got, err := identities.Identity(ctx, i.SHA256); err != nil || got == nil {
					t.Errorf("%s: that which is %s is gone: %v", when, name, err)
				}
			}
		}
		needed := map[string]fleet.Identity{"used": used, "pending": pending, "leaving": leaving, "new": newest, "waiting": waiting, "used again": again}
		useless := map[string]fleet.Identity{"of a device that left": left, "superseded": superseded, "revoked": revoked, "unused": unused, "passed over": *passedOver}
		expired := overTheAir.NotAfter.Add(time.Second) // it was issued last
		sweep := func(before, ota time.Time, want int) {
			t.Helper()
			if n, err := identities.DeleteExpired(ctx, before, ota); err != nil || n != want {
				t.Errorf("%d went, %v; want %d", n, err, want)
			}
		}
		sweep(expired.Add(-2*time.Minute), expired.Add(-time.Minute), 0)
		check("before they expire", nil, map[string]fleet.Identity{"over the air": overTheAir, "revoked": revoked})
		sweep(expired.Add(-time.Minute), expired, 1)
		check("a day after", map[string]fleet.Identity{"over the air": overTheAir}, useless)
		sweep(expired, expired, len(useless))
		check("long after", useless, needed)
		sweep(expired, expired, 0)
		if c, i, err := identities.Challenge(ctx, secretOf(1)); err != nil || c == nil || i == nil {
			t.Errorf("the challenge of one that is needed: %v, %v, %v", c, i, err)
		}
	})
}

// However many generations of identities there were, those in use stay.
func TestIdentitiesDoNotPileUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		identities := store.NewIdentities(db)
		const devices, generations = 10, 60
		n := 0
		var last []fleet.Identity
		for range generations {
			last = nil
			for d := range devices {
				n++
				i := addIdentity(t, db, n, fleet.Challenge{Purpose: fleet.PurposeEnroll})
				last = append(last, i)
				key := fmt.Sprint("U-", d)
				apply(t, db, key, func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
					e := fleet.Enrollment{Key: key, Channel: fleet.ChannelDevice, State: fleet.EnrollmentOn, Generation: 1}
					if f.Enrollment != nil {
						e = *f.Enrollment
					}
					return fleet.EnrollmentChange{Enrollment: &e, Claim: i.ID, Revoke: f.Enrollment != nil}
				})
			}
		}
		after := last[0].NotAfter.Add(time.Hour)
		gone, err := identities.DeleteExpired(ctx, after, after)
		if err != nil || gone != (generations-1)*devices {
			t.Errorf("%d of %d went: %v", gone, n, err)
		}
		for _, i := range last {
			if got, err := identities.Identity(ctx, i.SHA256); err != nil || got == nil || got.EnrollmentID == 0 {
				t.Errorf("one in use is gone: %v, %v", got, err)
			}
		}
	})
}

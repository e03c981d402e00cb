package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// using enrolls a device with an identity that it uses until a time.
func using(t testing.TB, db *store.DB, n int, until time.Time) device {
	t.Helper()
	ctx := context.Background()
	d := onHost(t, db, fmt.Sprint("R-", n))
	c := fleet.Challenge{Purpose: fleet.PurposeEnroll, SecretSHA256: secretOf(n), ExpiresAt: until.Add(1000 * time.Hour)}
	if err := store.NewIdentities(db).AddChallenge(ctx, c); err != nil {
		t.Fatal(err)
	}
	i := identityFor(c, n)
	i.NotAfter = until
	got, err := store.NewIdentities(db).Issue(ctx, c.SecretSHA256, i)
	if err != nil {
		t.Fatal(err)
	}
	look := fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: d.host.UUID}, IdentityID: got.ID}
	if _, err := store.NewEnrollments(db).Apply(ctx, look, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
		return fleet.EnrollmentChange{Enrollment: f.Enrollment, Claim: got.ID}, nil
	}); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestIdentitiesThatExpireAreCountedByWeek(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, now := context.Background(), storetest.Clock()()
		const day = 24 * time.Hour
		for n, left := range []time.Duration{-day, -10 * day, day, 6*day + 23*time.Hour, 8 * day, 20 * day, 40 * day} {
			using(t, db, n+1, now.Add(left))
		}
		gone := using(t, db, 20, now.Add(day))
		setState(t, db, gone.host.UUID, fleet.EnrollmentOff)
		r := store.NewRenewals(db)
		got, err := r.Expiries(ctx, now, now.Add(30*day), 3)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[int]int{-1: 2, 0: 2, 1: 1, 2: 1}; fmt.Sprint(got.Weeks) != fmt.Sprint(want) {
			t.Errorf("by week: %v, want %v", got.Weeks, want)
		}
		if len(got.Nearest) != 3 || got.Nearest[0].Host.UUID != "R-2" || got.Nearest[2].Host.Serial != "S-R-3" {
			t.Errorf("%+v", got.Nearest)
		}
		expiring, err := r.Expiring(ctx, now.Add(30*day), 4)
		if err != nil || len(expiring) != 4 || expiring[0].Enrollment.Key != "R-2" {
			t.Fatalf("%+v, %v", expiring, err)
		}
		begin := func(f fleet.RenewalFacts, uuid string) fleet.RenewalStep {
			return fleet.RenewalStep{Facts: f, Next: fleet.Renewal{EnrollmentID: f.Enrollment.ID, IdentityID: f.IdentityID, Waiting: true, AskedAt: now, DueAt: now.Add(time.Hour), Deadline: now.Add(day)},
				Challenge: &fleet.Challenge{SecretSHA256: secretOf(100 + int(f.Enrollment.ID)), Purpose: fleet.PurposeRenew, EnrollmentID: f.Enrollment.ID, ExpiresAt: now.Add(day)},
				Command:   &fleet.Command{UUID: uuid, RequestType: "InstallProfile", Purpose: fleet.CommandRenew, Body: []byte("b")},
				Secret:    &fleet.SecretWrite{Ref: fleet.SecretRef{Scope: fleet.ScopeRenewal, Name: f.Enrollment.Key}, Value: fleet.Sealed{KeyID: "k", Data: []byte("sealed")}}}
		}
		steps := []fleet.RenewalStep{begin(expiring[0], "a"), begin(expiring[1], "b")}
		if err := r.Apply(ctx, steps); err != nil {
			t.Fatal(err)
		}
		// Who decided by the same facts comes too late.
		again := []fleet.RenewalStep{begin(expiring[0], "c")}
		if err := r.Apply(ctx, again); err != nil {
			t.Fatal(err)
		}
		if exists, err := store.NewCommands(db).Exists(ctx, "c"); err != nil || exists {
			t.Errorf("%v, %v", exists, err)
		}
		due, err := r.Due(ctx, now.Add(2*time.Hour), 10)
		if err != nil || len(due) != 2 || due[0].Renewal == nil || !due[0].Renewal.Waiting || due[0].Sends != 0 {
			t.Errorf("%+v, %v", due, err)
		}
		if left, err := r.Expiring(ctx, now.Add(30*day), 10); err != nil || len(left) != 4 {
			t.Errorf("%d are left, %v", len(left), err)
		}
	})
}

// A device that its owner enrolled with an account is renewed by its owner: it
// is in the list, and is not sent a renewal.
func TestIdentitiesOfPersonalDevicesExpireAndAreNotRenewed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, now := context.Background(), storetest.Clock()()
		d := using(t, db, 1, now.Add(24*time.Hour))
		apply(t, db, d.host.UUID, func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			e := *f.Enrollment
			e.Channel = fleet.ChannelBYODDevice
			return fleet.EnrollmentChange{Enrollment: &e}
		})
		r := store.NewRenewals(db)
		if got, err := r.Expiries(ctx, now, now.Add(48*time.Hour), 3); err != nil || len(got.Nearest) != 1 || got.Weeks[0] != 1 {
			t.Errorf("%+v, %v", got, err)
		}
		if list, err := r.Expiring(ctx, now.Add(48*time.Hour), 3); err != nil || len(list) != 0 {
			t.Errorf("to be renewed: %+v, %v", list, err)
		}
		if facts, err := r.OfHost(ctx, d.host.ID); err != nil || facts != nil {
			t.Errorf("to be renewed by hand: %+v, %v", facts, err)
		}
	})
}

package store_test

import (
	"context"
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

func TestAnEnrollmentIsReadAsItWasWritten(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		now := storetest.Clock()()
		d := addDevice(t, db, fleet.Host{UUID: "U-1", HardwareSerial: "S-1"})
		want := apply(t, db, "U-1", func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			e := *f.Enrollment
			e.Channel, e.State, e.Generation, e.Topic, e.PushMagic = fleet.ChannelBYODDevice, fleet.EnrollmentLeaving, 7, "topic 2", "magic 2"
			e.PushToken, e.UserName, e.Model = []byte{0, 1, 254, 255}, "ada", "Mac14,2"
			e.ServerURL, e.CheckInURL, e.AccessRights, e.AwaitingConfiguration = "https://a", "https://b", 8191, true
			e.EnrolledAt, e.TokenUpdatedAt = now, now.Add(1)
			e.TokenUpdatedAt = now
			return fleet.EnrollmentChange{Enrollment: &e}
		})
		enrollments := store.NewEnrollments(db)
		got, err := enrollments.ByKey(ctx, "U-1")
		if err != nil || got == nil {
			t.Fatal(got, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if got.ID != d.enrollment.ID || got.HostID != d.host.ID || got.CreatedAt.IsZero() {
			t.Errorf("%+v", got)
		}
		if none, err := enrollments.ByKey(ctx, "U-2"); err != nil || none != nil {
			t.Errorf("one that does not exist: %v, %v", none, err)
		}
		if none, err := enrollments.ByKey(ctx, "u-1"); err != nil || none != nil {
			t.Errorf("another spelling: %v, %v", none, err)
		}
		if n, err := enrollments.CountOnByTopic(ctx, "topic 2"); err != nil || n != 0 {
			t.Errorf("%d of another topic, %v", n, err)
		}
		setState(t, db, "U-1", fleet.EnrollmentOn)
		for topic, want := range map[string]int{"topic 2": 0, "topic": 1} {
			if n, err := enrollments.CountOnByTopic(ctx, topic); err != nil || n != want {
				t.Errorf("%d are not of topic %s, want %d (%v)", n, topic, want, err)
			}
		}
	})
}

func TestACheckinSeesTheFactsAndIsAllOrNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		enrollments := store.NewEnrollments(db)
		bySerial, byUDID := addDevice(t, db, fleet.Host{UUID: "U-1", HardwareSerial: "S-1"}), addDevice(t, db, fleet.Host{UUID: "U-2"})
		for name, c := range map[string]struct {
			look fleet.CheckinLookup
			host fleet.HostID
		}{
			"its own":               {fleet.CheckinLookup{Key: fleet.EnrollmentKey{ID: "U-2"}, Serial: "S-1"}, byUDID.host.ID},
			"by serial":             {fleet.CheckinLookup{Key: fleet.EnrollmentKey{ID: "new"}, Serial: "S-1", UDID: "U-2"}, bySerial.host.ID},
			"by UDID":               {fleet.CheckinLookup{Key: fleet.EnrollmentKey{ID: "new"}, Serial: "other", UDID: "U-2"}, byUDID.host.ID},
			"by UDID, no serial":    {fleet.CheckinLookup{Key: fleet.EnrollmentKey{ID: "new"}, UDID: "U-2"}, byUDID.host.ID},
			"none":                  {fleet.CheckinLookup{Key: fleet.EnrollmentKey{ID: "new"}, Serial: "S-9", UDID: "U-9"}, 0},
			"none without anything": {fleet.CheckinLookup{Key: fleet.EnrollmentKey{ID: "new"}}, 0},
			"its device's":          {fleet.CheckinLookup{Key: fleet.EnrollmentKey{ID: "U-1:user", ParentID: "U-1"}}, bySerial.host.ID},
		} {
			_, err := enrollments.Apply(ctx, c.look, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
				var got fleet.HostID
				if f.Host != nil {
					got = f.Host.ID
				}
				if got != c.host || (f.Enrollment != nil) != (c.look.Key.ID == "U-2") || (f.Parent != nil) != (c.look.Key.ParentID != "") {
					t.Errorf("%s: %+v", name, f)
				}
				return fleet.EnrollmentChange{}, nil
			})
			if err != nil {
				t.Error(err)
			}
		}
		refused := errors.New("refused")
		_, err := enrollments.Apply(ctx, fleet.CheckinLookup{Key: fleet.EnrollmentKey{ID: "new"}}, func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
			return fleet.EnrollmentChange{Events: []fleet.Event{{Kind: fleet.EventHostCreated}}}, refused
		})
		if !errors.Is(err, refused) {
			t.Errorf("a refusal came back as %v", err)
		}
		// The last step fails, and nothing of the others stays.
		enqueue(t, db, "taken", fleet.CommandCustom, bySerial)
		_, err = enrollments.Apply(ctx, fleet.CheckinLookup{Key: fleet.EnrollmentKey{ID: "new"}}, func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
			return fleet.EnrollmentChange{Host: &fleet.Host{UUID: "new"}, Enrollment: &fleet.Enrollment{Key: "new", Channel: fleet.ChannelDevice, State: fleet.EnrollmentOn},
				Secrets:  []fleet.SecretWrite{{Ref: fleet.SecretRef{Scope: fleet.ScopeUnlockToken, Name: "new"}, Value: fleet.Sealed{KeyID: "k", Data: []byte("x")}}},
				Commands: []fleet.Command{{UUID: "taken", RequestType: "R", Purpose: fleet.CommandCustom, Body: []byte("b")}},
				Events:   []fleet.Event{{Kind: fleet.EventHostCreated}}}, nil
		})
		if err == nil {
			t.Error("a command with a taken UUID was accepted")
		}
		if e, err := enrollments.ByKey(ctx, "new"); err != nil || e != nil {
			t.Errorf("the enrollment is %+v, %v", e, err)
		}
		if n, err := store.NewHosts(db).Count(ctx, fleet.HostFilter{}); err != nil || n != 2 {
			t.Errorf("%d hosts, %v", n, err)
		}
		if s, err := store.NewSecrets(db).Secret(ctx, fleet.SecretRef{Scope: fleet.ScopeUnlockToken, Name: "new"}); err != nil || s != nil {
			t.Errorf("the secret is %+v, %v", s, err)
		}
		equal(t, "the event log", eventKinds(t, db))
	})
}

func TestCheckinsOfOneDeviceAtOnceMakeOneEnrollment(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		var done atomic.Int64
		storetest.Parallel(10, func(int) {
			look := fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: "U-1"}, Serial: "S-1", UDID: "U-1"}
			_, err := store.NewEnrollments(db).Apply(ctx, look, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
				e := fleet.Enrollment{Key: "U-1", Channel: fleet.ChannelDevice, State: fleet.EnrollmentPending}
				if f.Enrollment != nil {
					e = *f.Enrollment
				}
				h := fleet.Host{UUID: "U-1", HardwareSerial: "S-1"}
				if f.Host != nil {
					h = *f.Host
				}
				e.Generation++
				return fleet.EnrollmentChange{Enrollment: &e, Host: &h}, nil
			})
			switch {
			case err == nil:
				done.Add(1)
			case fleet.KindOf(err) != fleet.KindUnavailable: // the device tries again
				t.Error(err)
			}
		})
		e, err := store.NewEnrollments(db).ByKey(ctx, "U-1")
		if err != nil || e == nil || e.Generation != done.Load() || done.Load() == 0 {
			t.Errorf("%d check-ins made generation %+v (%v)", done.Load(), e, err)
		}
		if n, err := store.NewHosts(db).Count(ctx, fleet.HostFilter{}); err != nil || n != 1 {
			t.Errorf("%d hosts, %v", n, err)
		}
	})
}

func TestACommandGoesToTheDeviceThatEnrolledLast(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		enrollments := store.NewEnrollments(db)
		first := addDevice(t, db, fleet.Host{UUID: "U-1", HardwareSerial: "S-1"})
		look := fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: "U-2"}, Serial: "S-1"}
		second, err := enrollments.Apply(ctx, look, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
			h := *f.Host
			h.UUID = "U-2"
			return fleet.EnrollmentChange{Host: &h, Enrollment: &fleet.Enrollment{Key: "U-2", Channel: fleet.ChannelDevice, State: fleet.EnrollmentOn}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		check := func(want fleet.EnrollmentID) {
			t.Helper()
			byID, err := enrollments.TargetsByID(ctx, []fleet.HostID{first.host.ID})
			if err != nil || len(byID) != 1 || byID[0].EnrollmentID != want {
				t.Errorf("by key: %+v, want enrollment %d (%v)", byID, want, err)
			}
			e, err := enrollments.DeviceChannel(ctx, first.host.ID)
			if err != nil || e == nil || e.ID != want {
				t.Errorf("the device channel is %+v, want %d (%v)", e, want, err)
			}
		}
		check(second.ID)
		apply(t, db, "U-1", func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			h := *f.Host
			h.UUID = "U-1"
			return fleet.EnrollmentChange{Host: &h, Enrollment: f.Enrollment}
		})
		check(first.enrollment.ID)
		got, err := enrollments.Targets(ctx, []string{"U-1", "U-2", "nobody"})
		if err != nil || len(got) != 1 || got[0].State != fleet.EnrollmentOn || got[0].Host.Serial != "S-1" {
			t.Errorf("by UUID: %+v, %v", got, err)
		}
	})
}

func TestManyHostsAreFoundAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const count = 40
		addDevices(t, db, count)
		var uuids []string
		for i := range 3000 {
			uuids = append(uuids, fmt.Sprint("U-", i))
		}
		got, err := store.NewEnrollments(db).Targets(context.Background(), uuids)
		if err != nil || len(got) != count {
			t.Errorf("%d targets, %v", len(got), err)
		}
	})
}

func TestTheSenderOfARequestIsLookedUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		enrollments := store.NewEnrollments(db)
		d := addDevice(t, db, fleet.Host{UUID: "U-1"})
		user := addUser(t, db, d, "ada")
		own := addIdentity(t, db, 1, fleet.Challenge{Purpose: fleet.PurposeRenew, EnrollmentID: d.enrollment.ID, Generation: d.enrollment.Generation})
		loose := addIdentity(t, db, 2, fleet.Challenge{Purpose: fleet.PurposeEnroll})
		enqueue(t, db, "A", fleet.CommandCustom, d)
		for name, c := range map[string]struct {
			sum            [32]byte
			key            string
			identity       fleet.IdentityID
			enrollment     fleet.EnrollmentID
			bound, pending bool
		}{
			"a device":                   {own.SHA256, "U-1", own.ID, d.enrollment.ID, true, true},
			"its user":                   {own.SHA256, user.enrollment.Key, own.ID, user.enrollment.ID, true, false},
			"a new user":                 {own.SHA256, "U-1:new", own.ID, 0, false, false},
			"an identity nobody claimed": {loose.SHA256, "U-1", loose.ID, 0, false, false},
			"a stranger":                 {[32]byte{9}, "U-1", 0, 0, false, false},
		} {
			got, err := enrollments.Caller(ctx, c.sum, c.key)
			if err != nil || got.Identity.ID != c.identity || got.BoundTo() != c.bound {
				t.Errorf("%s: %+v, %v", name, got, err)
				continue
			}
			if c.identity != 0 && (got.Enrollment.ID != c.enrollment || got.CommandsPending != c.pending) {
				t.Errorf("%s: %+v", name, got)
			}
		}
		// What changes is seen at once.
		setState(t, db, "U-1", fleet.EnrollmentOff)
		answer(t, db, d, "A", stored(fleet.CommandAcknowledged))
		got, err := enrollments.Caller(ctx, own.SHA256, "U-1")
		if err != nil || got.Enrollment.State != fleet.EnrollmentOff || got.CommandsPending {
			t.Errorf("afterwards: %+v, %v", got, err)
		}
	})
}

// usedOrNot compares callers: when exactly an identity was used does not matter.
var usedOrNot = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".UsedAt" },
	cmp.Comparer(func(a, b time.Time) bool { return a.IsZero() == b.IsZero() }))

// What is known of the sender in memory is what the database says, at every
// step of an enrollment, and of the next one with another identity.
func TestCallersInMemoryAreThoseInTheDatabase(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) { callersInMemory(t, db, false) })
	storetest.Each(t, func(t *testing.T, db *store.DB) { callersInMemory(t, db, true) })
}

func callersInMemory(t *testing.T, db *store.DB, newestFirst bool) {
	t.Helper()
	ctx := context.Background()
	enrollments := store.NewEnrollments(db)
	// known compares, and leaves the first or the last identity in memory for
	// each key.
	known := func(step string, sums ...[32]byte) {
		t.Helper()
		callers := func() (list []fleet.Caller) {
			for i := range sums {
				if newestFirst {
					i = len(sums) - 1 - i
				}
				for _, key := range []string{"U-1", "U-1:ada", "U-2"} {
					c, err := enrollments.Caller(ctx, sums[i], key)
					if err != nil {
						t.Fatal(err)
					}
					c.CommandsPending = false // unknown counts as waiting
					list = append(list, c)
				}
			}
			return list
		}
		got := callers()
		store.ForgetCallers(db)
		if diff := cmp.Diff(callers(), got, usedOrNot); diff != "" {
			t.Errorf("%s, newest identity first %t: in memory is something else (-database +memory):\n%s", step, newestFirst, diff)
		}
	}
	var sums [][32]byte
	for n := range 2 {
		issued := addIdentity(t, db, n+1, fleet.Challenge{Purpose: fleet.PurposeEnroll})
		sums = append(sums, issued.SHA256)
		if newestFirst {
			known("issued", sums...) // and is forgotten with it
		}
		look := fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: "U-1"}, IdentityID: issued.ID, UDID: "U-1"}
		e, err := enrollments.Apply(ctx, look, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
			c := fleet.EnrollmentChange{Claim: issued.ID, Host: &fleet.Host{UUID: "U-1", Platform: fleet.PlatformIOS},
				Enrollment: &fleet.Enrollment{Key: "U-1", Channel: fleet.ChannelDevice, State: fleet.EnrollmentPending}}
			if f.Enrollment != nil {
				again, host := *f.Enrollment, *f.Host
				again.State = fleet.EnrollmentPending
				c.Enrollment, c.Host, c.Reset, c.Revoke = &again, &host, true, true
			}
			return c, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		known("authenticated", sums...)
		setState(t, db, "U-1", fleet.EnrollmentOn)
		known("on", sums...)
		if n == 0 {
			addUser(t, db, device{fleet.Host{ID: e.HostID, UUID: "U-1"}, *e}, "ada")
		}
		known("with a user", sums...)
	}
}

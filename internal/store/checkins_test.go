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

// Devices that check in at the same time share transactions: each ends with an
// enrollment, a host, an identity, a secret, a command and events of its own,
// and one that is refused changes nothing and spoils nothing.
func TestDevicesThatCheckInAtOnceKeepApart(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		if err := store.NewLabels(db).EnsureBuiltin(ctx, []fleet.BuiltinLabel{fleet.LabelAllHosts, fleet.LabelIOS}); err != nil {
			t.Fatal(err)
		}
		channels, identities, secrets := store.NewEnrollments(db), store.NewIdentities(db), store.NewSecrets(db)
		refusal := errors.New("refused")
		const many = 40
		issued := make([]fleet.IdentityID, many)
		for i := range issued {
			secret := [32]byte{1, byte(i)}
			if err := identities.AddChallenge(ctx, fleet.Challenge{SecretSHA256: secret, Purpose: fleet.PurposeEnroll, ExpiresAt: storetest.Clock()().Add(time.Hour)}); err != nil {
				t.Fatal(err)
			}
			id, err := identities.Issue(ctx, secret, fleet.Identity{SHA256: [32]byte{2, byte(i)}, Purpose: fleet.PurposeEnroll, DER: []byte{0}})
			if err != nil {
				t.Fatal(err)
			}
			issued[i] = id.ID
		}
		var refused atomic.Int64
		checkin := func(i int, state fleet.EnrollmentState) {
			key := fmt.Sprint("U-", i)
			look := fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: key}, IdentityID: issued[i], Serial: "S" + key, UDID: key}
			_, err := channels.Apply(ctx, look, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
				if i%10 == 9 {
					return fleet.EnrollmentChange{}, refusal
				}
				e := fleet.Enrollment{Key: key, Channel: fleet.ChannelDevice}
				h := fleet.Host{UUID: key, HardwareSerial: "S" + key, Platform: fleet.PlatformIOS}
				if f.Enrollment != nil {
					e, h = *f.Enrollment, *f.Host
				}
				e.State, e.Topic, h.Hostname = state, "topic of "+key, fmt.Sprint(key, " ", int(state))
				c := fleet.EnrollmentChange{Enrollment: &e, Host: &h, Claim: issued[i], ClearPush: true, Events: []fleet.Event{{Kind: fleet.EventMDMEnrolled}},
					Secrets: []fleet.SecretWrite{{Ref: fleet.SecretRef{Scope: fleet.ScopeUnlockToken, Name: key}, Value: fleet.Sealed{Data: []byte(h.Hostname), KeyID: "k"}}}}
				if state == fleet.EnrollmentOn {
					c.Commands = []fleet.Command{{UUID: "vitals of " + key, RequestType: "R", Purpose: fleet.CommandVitals, Body: []byte("b")}}
				}
				return c, nil
			})
			switch {
			case errors.Is(err, refusal):
				refused.Add(1)
			case err != nil:
				t.Error(err)
			}
		}
		storetest.Parallel(many, func(i int) { checkin(i, fleet.EnrollmentPending) })
		planned := func(exec func(string, ...any) error) error {
			return exec("UPDATE host_states SET due_at = 0, revision = 1")
		}
		if err := store.InTransaction(ctx, db, planned); err != nil {
			t.Fatal(err)
		}
		storetest.Parallel(many, func(i int) { checkin(i, fleet.EnrollmentOn) })
		again, err := store.NewPlans(db).Claim(ctx, storetest.Clock()().Add(time.Minute), 2*many)
		if err != nil || len(again) != many-many/10 {
			t.Errorf("%d hosts are to be planned again, %v", len(again), err)
		}
		if refused.Load() != 2*many/10 {
			t.Errorf("%d were refused", refused.Load())
		}
		for i := range many {
			key := fmt.Sprint("U-", i)
			c, err := channels.Caller(ctx, [32]byte{2, byte(i)}, key)
			if err != nil {
				t.Fatal(err)
			}
			store.ForgetCallers(db)
			read, err := channels.Caller(ctx, [32]byte{2, byte(i)}, key)
			if diff := cmp.Diff(read, c, usedOrNot); err != nil || diff != "" {
				t.Errorf("%s in memory is something else, %v (-database +memory):\n%s", key, err, diff)
			}
			if i%10 == 9 {
				if c.Enrollment.ID != 0 || c.Identity.EnrollmentID != 0 {
					t.Errorf("%s was refused and is %+v", key, c)
				}
				continue
			}
			stored, err := secrets.Secret(ctx, fleet.SecretRef{Scope: fleet.ScopeUnlockToken, Name: key})
			if err != nil {
				t.Fatal(err)
			}
			h, err := store.NewHosts(db).Host(ctx, c.Enrollment.HostID)
			if err != nil || h == nil {
				t.Fatal(h, err)
			}
			want := fmt.Sprint(key, " ", int(fleet.EnrollmentOn))
			if !c.BoundTo() || !c.CommandsPending || c.Enrollment.State != fleet.EnrollmentOn || h.UUID != key || h.Hostname != want ||
				len(h.Labels) != 2 || string(stored.Value.Data) != want {
				t.Errorf("%s: %+v, %+v, %s", key, c, h, stored.Value.Data)
			}
		}
		due, err := store.NewPushes(db).Due(ctx, storetest.Clock()().Add(time.Hour), 2*many)
		if err != nil || len(due) != 0 {
			t.Errorf("%d pushes are due without a push token, %v", len(due), err)
		}
	})
}

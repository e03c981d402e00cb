package enroll_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/enroll"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// sealer hides nothing: sealing has its own tests.
type sealer struct{}

func (sealer) Seal(_ fleet.SecretRef, secret []byte) (fleet.Sealed, error) {
	return fleet.Sealed{KeyID: "none", Data: secret}, nil
}
func (sealer) Open(_ fleet.SecretRef, s fleet.Sealed) ([]byte, error) { return s.Data, nil }

// bench is the life cycle over a real database.
type bench struct {
	*enroll.Lifecycle
	t           *testing.T
	db          *store.DB
	enrollments *store.Enrollments
	identities  *store.Identities
	commands    *store.Commands
	hosts       *store.Hosts
	count       int
}

const (
	udid   = "UDID-1"
	serial = "SERIAL1"
	topic  = "com.apple.mgmt.External.test"
)

var key = fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: udid}

func newBench(t *testing.T) *bench {
	db := storetest.Open(t, store.SQLite)
	b := &bench{t: t, db: db, enrollments: store.NewEnrollments(db), identities: store.NewIdentities(db), commands: store.NewCommands(db), hosts: store.NewHosts(db)}
	b.Lifecycle = enroll.NewLifecycle(b.enrollments, store.NewSecrets(db), sealer{}, storetest.Clock(), nil)
	return b
}

// issue makes an identity as SCEP would.
func (b *bench) issue(purpose fleet.Purpose, enrollment fleet.EnrollmentID) fleet.IdentityID {
	b.t.Helper()
	ctx := context.Background()
	b.count++
	secret := sha256.Sum256(fmt.Append(nil, "challenge ", b.count))
	generation := int64(0)
	if purpose == fleet.PurposeRenew && enrollment != 0 {
		generation = b.enrollment(udid).Generation
	}
	c := fleet.Challenge{SecretSHA256: secret, Purpose: purpose, EnrollmentID: enrollment, Generation: generation, ServerURL: "https://mdm.example.com/mdm", AccessRights: 8191,
		ExpiresAt: time.Now().Add(time.Hour)}
	if err := b.identities.AddChallenge(ctx, c); err != nil {
		b.t.Fatal(err)
	}
	got, err := b.identities.Issue(ctx, secret, fleet.Identity{SHA256: sha256.Sum256(secret[:]), SerialHex: fmt.Sprint(b.count), PublicKeySHA256: secret,
		Purpose: purpose, EnrollmentID: enrollment, Generation: generation, ServerURL: c.ServerURL, AccessRights: c.AccessRights, NotAfter: time.Now().Add(time.Hour), DER: []byte("der")})
	if err != nil {
		b.t.Fatal(err)
	}
	return got.ID
}

// identity reads an identity by its key.
func (b *bench) identity(id fleet.IdentityID) fleet.Identity {
	b.t.Helper()
	for n := 1; n <= b.count; n++ {
		secret := sha256.Sum256(fmt.Append(nil, "challenge ", n))
		i, err := b.identities.Identity(context.Background(), sha256.Sum256(secret[:]))
		if err != nil {
			b.t.Fatal(err)
		}
		if i != nil && i.ID == id {
			return *i
		}
	}
	b.t.Fatalf("there is no identity %d", id)
	return fleet.Identity{}
}

func authenticate() fleet.Authenticate {
	return fleet.Authenticate{Key: key, Topic: topic, UDID: udid, Serial: serial, ProductName: "Mac14,2", DeviceName: "Mac", OSVersion: "15.1"}
}

func token(k fleet.EnrollmentKey) fleet.TokenUpdate {
	return fleet.TokenUpdate{Key: k, Topic: topic, PushMagic: "magic", PushToken: []byte("token"), UnlockToken: []byte("unlock"), UserShortName: "ada"}
}

// enroll enrolls the device and drains its queue.
func (b *bench) enroll() (fleet.IdentityID, *fleet.Enrollment) {
	b.t.Helper()
	id := b.issue(fleet.PurposeEnroll, 0)
	b.ok(b.Authenticate(context.Background(), id, authenticate()))
	b.ok(b.TokenUpdate(context.Background(), token(key)))
	e := b.enrollment(udid)
	b.answer(e.ID, b.next(e.ID))
	return id, e
}

func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) enrollment(k string) *fleet.Enrollment {
	b.t.Helper()
	e, err := b.enrollments.ByKey(context.Background(), k)
	if err != nil || e == nil {
		b.t.Fatalf("enrollment %s: %v, %v", k, e, err)
	}
	return e
}

// next is the UUID of the command that the device is handed; "": none.
func (b *bench) next(e fleet.EnrollmentID) string {
	b.t.Helper()
	cmd, err := b.commands.Exchange(context.Background(), e, nil, 0, nil)
	b.ok(err)
	if cmd == nil {
		return ""
	}
	return cmd.UUID
}

func (b *bench) answer(e fleet.EnrollmentID, uuid string) {
	b.t.Helper()
	report := &fleet.CommandReport{Key: key, CommandUUID: uuid, Status: fleet.CommandAcknowledged, At: time.Now(), Body: []byte("answer")}
	_, err := b.commands.Exchange(context.Background(), e, report, 0, func(t fleet.CommandTarget) fleet.ReportOutcome {
		return fleet.ReportOutcome{Status: fleet.CommandAcknowledged, Store: !t.Command.Purpose.Ephemeral()}
	})
	b.ok(err)
}

// queue puts a command on the device's queue.
func (b *bench) queue(uuid string, purpose fleet.CommandPurpose) {
	b.t.Helper()
	e := b.enrollment(udid)
	_, err := b.commands.Enqueue(context.Background(), &fleet.Command{UUID: uuid, RequestType: "InstallProfile", Purpose: purpose, Body: []byte("command")},
		[]fleet.Target{{EnrollmentID: e.ID, Host: fleet.HostRef{ID: e.HostID}}})
	b.ok(err)
}

func (b *bench) status(uuid string) fleet.CommandStatus {
	b.t.Helper()
	list, _, err := b.commands.List(context.Background(), fleet.CommandFilter{CommandUUID: uuid})
	if err != nil || len(list) != 1 {
		b.t.Fatalf("command %s: %+v, %v", uuid, list, err)
	}
	return list[0].Status
}

func (b *bench) host() *fleet.HostDetail {
	b.t.Helper()
	h, err := b.hosts.Host(context.Background(), b.enrollment(udid).HostID)
	if err != nil || h == nil {
		b.t.Fatalf("host: %v, %v", h, err)
	}
	return h
}

func (b *bench) kinds() []fleet.EventKind {
	b.t.Helper()
	list, err := store.NewEvents(b.db).Since(context.Background(), 0, 0, 1000)
	b.ok(err)
	var kinds []fleet.EventKind
	for _, e := range list {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func (b *bench) bootstrap() []byte {
	b.t.Helper()
	got, err := b.BootstrapToken(context.Background(), key)
	b.ok(err)
	return got
}

func TestAnEnrollmentTurnsOnWithItsFirstTokenUpdate(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	id := b.issue(fleet.PurposeEnroll, 0)
	if err := b.TokenUpdate(ctx, token(key)); fleet.KindOf(err) != fleet.KindBadRequest {
		t.Errorf("a TokenUpdate that nothing came before: %v", err)
	}
	b.ok(b.Authenticate(ctx, id, authenticate()))
	if e := b.enrollment(udid); e.State != fleet.EnrollmentPending || e.Generation != 1 || b.next(e.ID) != "" {
		t.Errorf("after Authenticate: %+v", e)
	}
	if h := b.host(); h.MDM.Status != fleet.MDMOff || h.HardwareSerial != serial || h.Platform != fleet.PlatformDarwin || h.OSVersion != "macOS 15.1" {
		t.Errorf("after Authenticate the host is %+v", h.Host)
	}
	b.ok(b.TokenUpdate(ctx, token(key)))
	e := b.enrollment(udid)
	if e.State != fleet.EnrollmentOn || e.EnrolledAt.IsZero() || string(e.PushToken) != "token" || e.ServerURL == "" || e.AccessRights != 8191 {
		t.Errorf("after TokenUpdate: %+v", e)
	}
	if h := b.host(); h.MDM.Status != fleet.MDMManual || h.MDM.EnrolledAt.IsZero() || h.PendingCommands != 1 {
		t.Errorf("after TokenUpdate the host is %+v", h)
	}
	b.ok(b.TokenUpdate(ctx, token(key)))
	if h := b.host(); h.PendingCommands != 1 {
		t.Errorf("a second TokenUpdate asked for vitals again: %d commands wait", h.PendingCommands)
	}
	want := []fleet.EventKind{fleet.EventIdentityIssued, fleet.EventHostCreated, fleet.EventMDMAuthenticated, fleet.EventTokenUpdated, fleet.EventMDMEnrolled}
	if got := b.kinds(); !slices.Equal(got, want) {
		t.Errorf("the event log is %v, want %v", got, want)
	}
}

func TestARenewalResetsNothing(t *testing.T) {
	for name, acknowledged := range map[string]bool{"acknowledged": true, "never acknowledged": false} {
		t.Run(name, func(t *testing.T) {
			b, ctx := newBench(t), context.Background()
			old, e := b.enroll()
			b.ok(b.SetBootstrapToken(ctx, key, []byte("bootstrap")))
			user := fleet.EnrollmentKey{Channel: fleet.ChannelUser, ID: udid + ":U", ParentID: udid}
			b.ok(b.TokenUpdate(ctx, token(user)))
			b.queue("renew", fleet.CommandRenew)
			b.queue("other", fleet.CommandCustom)
			if got := b.next(e.ID); got != "renew" {
				t.Fatalf("first comes %q", got)
			}
			before := b.enrollment(udid)

			fresh := b.issue(fleet.PurposeRenew, e.ID)
			b.ok(b.Authenticate(ctx, fresh, authenticate()))
			b.ok(b.TokenUpdate(ctx, token(key)))
			if acknowledged {
				b.answer(e.ID, "renew")
			}

			after := b.enrollment(udid)
			if after.Generation != before.Generation || after.State != fleet.EnrollmentOn || !after.EnrolledAt.Equal(before.EnrolledAt) {
				t.Errorf("the enrollment is %+v, was %+v", after, before)
			}
			b.erased("renew")
			if s := b.status("other"); s != fleet.CommandPending || b.next(e.ID) != "other" {
				t.Errorf("what else was queued is %s", s)
			}
			if got := b.bootstrap(); string(got) != "bootstrap" || !b.host().MDM.BootstrapHeld {
				t.Errorf("the bootstrap token is %q", got)
			}
			if u := b.enrollment(user.ID); u.State != fleet.EnrollmentOn {
				t.Errorf("the user channel is %s", u.State)
			}
			if i := b.identity(old); i.SupersededAt.IsZero() || !i.RevokedAt.IsZero() {
				t.Errorf("the old identity is %+v", i)
			}
			if i := b.identity(fresh); i.UsedAt.IsZero() || !i.SupersededAt.IsZero() || i.EnrollmentID != e.ID {
				t.Errorf("the new identity is %+v", i)
			}
			if n := count(b.kinds(), fleet.EventIdentityRenewed); n != 1 {
				t.Errorf("%d renewals in the event log", n)
			}
		})
	}
}

// erased checks that nothing is left of a command, whose payload was a secret.
func (b *bench) erased(uuid string) {
	b.t.Helper()
	if n, err := b.commands.DeleteOld(context.Background(), time.Now().Add(time.Hour)); err != nil || n != 0 {
		b.t.Errorf("%d commands are left without a device, %v", n, err)
	}
	cmd := &fleet.Command{UUID: uuid, RequestType: "R", Purpose: fleet.CommandCustom, Body: []byte("b")}
	if _, err := b.commands.Enqueue(context.Background(), cmd, make([]fleet.Target, store.FanoutThreshold+1)); err != nil {
		b.t.Errorf("%s is still there: %v", uuid, err)
	}
}

func count(kinds []fleet.EventKind, kind fleet.EventKind) int {
	n := 0
	for _, k := range kinds {
		if k == kind {
			n++
		}
	}
	return n
}

// Devices are known to send only the TokenUpdate of a renewal, or to begin
// with a poll.
func TestARenewalIsCompletedByWhateverIsSignedFirst(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	old, e := b.enroll()
	b.queue("renew", fleet.CommandRenew)
	fresh := b.issue(fleet.PurposeRenew, e.ID)
	for range 2 {
		b.ok(b.Renewed(ctx, key, fresh))
		b.ok(b.TokenUpdate(ctx, token(key)))
	}
	if b.erased("renew"); b.next(e.ID) != "" {
		t.Error("something is left on the queue")
	}
	if b.identity(old).SupersededAt.IsZero() || b.identity(fresh).UsedAt.IsZero() {
		t.Errorf("the identities are %+v and %+v", b.identity(old), b.identity(fresh))
	}
	if n := count(b.kinds(), fleet.EventIdentityRenewed); n != 1 {
		t.Errorf("%d renewals in the event log", n)
	}
	if got := b.enrollment(udid); got.Generation != e.Generation {
		t.Errorf("the generation went from %d to %d", e.Generation, got.Generation)
	}
}

func TestAReenrollmentDuringARenewalResets(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	old, e := b.enroll()
	b.ok(b.SetBootstrapToken(ctx, key, []byte("bootstrap")))
	user := fleet.EnrollmentKey{Channel: fleet.ChannelUser, ID: udid + ":U", ParentID: udid}
	b.ok(b.TokenUpdate(ctx, token(user)))
	b.queue("renew", fleet.CommandRenew)
	renewal := b.issue(fleet.PurposeRenew, e.ID)
	host := b.host().ID

	fresh := b.issue(fleet.PurposeEnroll, 0)
	b.ok(b.Authenticate(ctx, fresh, authenticate()))
	if got := b.enrollment(udid); got.ID != e.ID || got.Generation != e.Generation+1 || got.State != fleet.EnrollmentPending || len(got.PushToken) > 0 {
		t.Errorf("after Authenticate: %+v", got)
	}
	b.ok(b.TokenUpdate(ctx, token(key)))
	b.erased("renew")
	if got := b.bootstrap(); got != nil || b.host().MDM.BootstrapHeld {
		t.Errorf("the bootstrap token is %q", got)
	}
	if u := b.enrollment(user.ID); u.State != fleet.EnrollmentOff {
		t.Errorf("the user channel is %s", u.State)
	}
	if got := b.host(); got.ID != host || got.MDM.Status != fleet.MDMManual {
		t.Errorf("the host is %+v", got.Host)
	}
	for name, id := range map[string]fleet.IdentityID{"the old identity": old, "the identity of the renewal": renewal} {
		if b.identity(id).RevokedAt.IsZero() {
			t.Errorf("%s is not revoked", name)
		}
	}
	if i := b.identity(fresh); !i.RevokedAt.IsZero() || i.EnrollmentID != e.ID {
		t.Errorf("the new identity is %+v", i)
	}
}

func TestAnIdentityOfAnotherEnrollmentIsRefused(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	id, e := b.enroll()
	renewal := b.issue(fleet.PurposeRenew, e.ID)
	before := b.kinds()
	stranger := authenticate()
	stranger.Key.ID, stranger.UDID, stranger.Serial = "UDID-2", "UDID-2", "SERIAL2"
	for name, identity := range map[string]fleet.IdentityID{"an identity in use": id, "an identity to renew another": renewal, "no identity of ours": 9999} {
		if err := b.Authenticate(ctx, identity, stranger); fleet.KindOf(err) != fleet.KindForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := b.enrollments.ByKey(ctx, "UDID-2"); err != nil || got != nil {
		t.Errorf("it made an enrollment: %+v, %v", got, err)
	}
	if after := b.kinds(); !slices.Equal(after, before) {
		t.Errorf("it left events: %v", after[len(before):])
	}
}

func TestSecretsOfADeviceGoWithItsReset(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	b.enroll()
	secrets := store.NewSecrets(b.db)
	unlock := fleet.SecretRef{Scope: fleet.ScopeUnlockToken, Name: udid}
	got, err := secrets.Secret(ctx, unlock)
	if err != nil || got == nil || !bytes.Equal(got.Value.Data, []byte("unlock")) {
		t.Fatalf("the unlock token is %+v, %v", got, err)
	}
	without := token(key)
	without.UnlockToken = nil
	b.ok(b.TokenUpdate(ctx, without))
	if got, err := secrets.Secret(ctx, unlock); err != nil || got == nil {
		t.Errorf("a TokenUpdate without an unlock token dropped it: %v", err)
	}
	b.ok(b.Authenticate(ctx, b.issue(fleet.PurposeEnroll, 0), authenticate()))
	if got, err := secrets.Secret(ctx, unlock); err != nil || got != nil {
		t.Errorf("the unlock token outlived a reset: %+v, %v", got, err)
	}
	b.ok(b.CheckOut(ctx, key))
	if err := b.SetBootstrapToken(ctx, key, []byte("x")); fleet.KindOf(err) != fleet.KindBadRequest {
		t.Errorf("a bootstrap token of a device that left: %v", err)
	}
}

func TestAPersonTurnsAnEnrollmentOffAndTheDeviceConfirms(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	_, e := b.enroll()
	b.queue("waiting", fleet.CommandCustom)
	actor := fleet.Actor{Kind: fleet.ActorUser, UserID: 1, Name: "Ada"}
	b.ok(b.TurnOff(ctx, actor, e.HostID))
	if got := b.enrollment(udid); got.State != fleet.EnrollmentLeaving || b.host().MDM.Status != fleet.MDMOff {
		t.Errorf("the enrollment is %s, the host %s", got.State, b.host().MDM.Status)
	}
	if s := b.status("waiting"); s != fleet.CommandCancelled {
		t.Errorf("what was queued is %s", s)
	}
	if b.next(e.ID) == "" {
		t.Error("the device is not told to remove its profile")
	}
	if err := b.TurnOff(ctx, actor, e.HostID); fleet.KindOf(err) != fleet.KindConflict {
		t.Errorf("once more: %v", err)
	}
	b.ok(b.CheckOut(ctx, key))
	if got := b.enrollment(udid); got.State != fleet.EnrollmentOff || b.next(e.ID) != "" {
		t.Errorf("after CheckOut it is %s", got.State)
	}
	if n := count(b.kinds(), fleet.EventMDMUnenrolled); n != 1 {
		t.Errorf("%d times unenrolled in the event log", n)
	}
}

// Whoever was let go cannot come back with the certificate of before.
func TestACertificateEnrollsNothingAfterItsEnrollmentEnded(t *testing.T) {
	ctx, actor := context.Background(), fleet.Actor{Kind: fleet.ActorUser, UserID: 1, Name: "Ada"}
	for name, end := range map[string][]func(b *bench, e *fleet.Enrollment){
		"by the device":                    {func(b *bench, _ *fleet.Enrollment) { b.ok(b.CheckOut(ctx, key)) }},
		"by a person":                      {func(b *bench, e *fleet.Enrollment) { b.ok(b.TurnOff(ctx, actor, e.HostID)) }},
		"by a person, and the device left": {func(b *bench, e *fleet.Enrollment) { b.ok(b.TurnOff(ctx, actor, e.HostID)); b.ok(b.CheckOut(ctx, key)) }},
		"by the device, and the host is gone": {func(b *bench, e *fleet.Enrollment) {
			b.ok(b.CheckOut(ctx, key))
			_, err := b.hosts.Delete(ctx, e.HostID, nil)
			b.ok(err)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			identity, e := b.enroll()
			b.ok(b.Authenticate(ctx, identity, authenticate())) // a message that is repeated
			b.ok(b.TokenUpdate(ctx, token(key)))
			for _, step := range end {
				step(b, e)
			}
			before := b.enrollment(udid)
			if err := b.Authenticate(ctx, identity, authenticate()); fleet.KindOf(err) != fleet.KindForbidden {
				t.Errorf("it is let in: %v", err)
			}
			if after := b.enrollment(udid); after.State != before.State || after.Generation != before.Generation {
				t.Errorf("it was %s and is %s", before.State, after.State)
			}
			b.ok(b.Authenticate(ctx, b.issue(fleet.PurposeEnroll, 0), authenticate()))
		})
	}
}

// identityOf makes an identity that lets somebody in.
func (b *bench) identityOf(a fleet.Admission) fleet.IdentityID {
	b.t.Helper()
	ctx := context.Background()
	b.count++
	secret := sha256.Sum256(fmt.Append(nil, "challenge ", b.count))
	b.ok(b.identities.AddChallenge(ctx, fleet.Challenge{SecretSHA256: secret, Purpose: fleet.PurposeEnroll, Admission: a, ExpiresAt: time.Now().Add(time.Hour)}))
	got, err := b.identities.Issue(ctx, secret, fleet.Identity{SHA256: sha256.Sum256(secret[:]), SerialHex: fmt.Sprint(b.count), PublicKeySHA256: secret,
		Purpose: fleet.PurposeEnroll, Admission: a, ServerURL: "https://mdm.example.com/mdm", AccessRights: 8191, NotAfter: time.Now().Add(time.Hour), DER: []byte("der")})
	b.ok(err)
	return got.ID
}

// A device that enrolls with a link can say that it is any other. It takes
// nothing over that is not its own.
func TestADeviceThatProvesNothingTakesNoHostOver(t *testing.T) {
	ctx := context.Background()
	says := func(udid, serial string) fleet.Authenticate {
		m := authenticate()
		m.Key.ID, m.UDID, m.Serial = udid, udid, serial
		return m
	}
	manual := fleet.Admission{Kind: fleet.EnrollmentManual}
	ours := fleet.Admission{Kind: fleet.EnrollmentADE, Serial: serial}

	t.Run("of a host that is enrolled", func(t *testing.T) {
		b := newBench(t)
		_, e := b.enroll()
		b.ok(b.Authenticate(ctx, b.identityOf(manual), says("EVIL", serial)))
		if evil := b.enrollment("EVIL"); evil.HostID == e.HostID || evil.HostID == 0 {
			t.Errorf("it is host %d, and the other one %d", evil.HostID, e.HostID)
		}
		if h, err := b.hosts.Host(ctx, e.HostID); err != nil || h.UUID != udid || h.MDM.Status != fleet.MDMManual {
			t.Errorf("the host is %+v, %v", h, err)
		}
		if count(b.kinds(), fleet.EventSerialInUse) != 1 {
			t.Error("nobody is told")
		}
	})
	t.Run("of an automatic enrollment, by its UDID", func(t *testing.T) {
		b := newBench(t)
		b.ok(b.Authenticate(ctx, b.identityOf(ours), says(udid, serial)))
		b.ok(b.TokenUpdate(ctx, token(key)))
		if err := b.Authenticate(ctx, b.identityOf(manual), says(udid, serial)); fleet.KindOf(err) != fleet.KindForbidden {
			t.Errorf("it is let in: %v", err)
		}
		if e := b.enrollment(udid); e.Generation != 1 || e.State != fleet.EnrollmentOn {
			t.Errorf("the enrollment is %+v", e)
		}
		// The device itself comes back with a profile of its own.
		b.ok(b.Authenticate(ctx, b.identityOf(ours), says(udid, serial)))
		if e := b.enrollment(udid); e.Generation != 2 {
			t.Errorf("generation %d", e.Generation)
		}
	})
	t.Run("of an enrollment over the air, by its UDID", func(t *testing.T) {
		b := newBench(t)
		overTheAir := fleet.Admission{Kind: fleet.EnrollmentOTA, Serial: serial}
		b.ok(b.Authenticate(ctx, b.identityOf(overTheAir), says(udid, serial)))
		b.ok(b.TokenUpdate(ctx, token(key)))
		if err := b.Authenticate(ctx, b.identityOf(manual), says(udid, serial)); fleet.KindOf(err) != fleet.KindForbidden {
			t.Errorf("it is let in: %v", err)
		}
		b.ok(b.Authenticate(ctx, b.identityOf(overTheAir), says(udid, serial)))
		if e := b.enrollment(udid); e.Generation != 2 {
			t.Errorf("generation %d", e.Generation)
		}
	})
	t.Run("of another device's profile", func(t *testing.T) {
		b := newBench(t)
		for _, said := range []string{"", "OTHER"} {
			if err := b.Authenticate(ctx, b.identityOf(ours), says("EVIL", said)); fleet.KindOf(err) != fleet.KindForbidden {
				t.Errorf("serial %q: %v", said, err)
			}
		}
	})
	t.Run("of another device's UDID", func(t *testing.T) {
		b := newBench(t)
		b.enroll()
		other := fleet.Admission{Kind: fleet.EnrollmentADE, Serial: "MINE"}
		if err := b.Authenticate(ctx, b.identityOf(other), says(udid, "MINE")); fleet.KindOf(err) != fleet.KindForbidden {
			t.Errorf("it is let in: %v", err)
		}
	})
	t.Run("of a host that waits for its device", func(t *testing.T) {
		b := newBench(t)
		_, e := b.enroll()
		_, err := b.enrollments.Apply(ctx, fleet.CheckinLookup{Key: key}, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
			h, gone := *f.Host, *f.Enrollment
			h.MDM.Status, gone.State = fleet.MDMPending, fleet.EnrollmentOff
			return fleet.EnrollmentChange{Host: &h, Enrollment: &gone}, nil
		})
		b.ok(err)
		b.ok(b.Authenticate(ctx, b.identityOf(manual), says("EVIL", serial)))
		if evil := b.enrollment("EVIL"); evil.HostID == e.HostID {
			t.Error("it became the pending host")
		}
		b.ok(b.Authenticate(ctx, b.identityOf(ours), says("REAL", serial)))
		if device := b.enrollment("REAL"); device.HostID != e.HostID {
			t.Errorf("the device with the profile is host %d, not %d", device.HostID, e.HostID)
		}
	})
}

// A challenge that was minted to renew an enrollment renews no later one.
func TestARenewalOfAnEarlierEnrollmentIsRefused(t *testing.T) {
	ctx := context.Background()
	b := newBench(t)
	_, e := b.enroll()
	old := b.issue(fleet.PurposeRenew, e.ID)
	b.ok(b.Authenticate(ctx, b.issue(fleet.PurposeEnroll, 0), authenticate()))
	b.ok(b.TokenUpdate(ctx, token(key)))
	for what, err := range map[string]error{"Authenticate": b.Authenticate(ctx, old, authenticate()), "any other message": b.Renewed(ctx, key, old)} {
		if fleet.KindOf(err) != fleet.KindForbidden {
			t.Errorf("%s is let in: %v", what, err)
		}
	}
	if i := b.identity(old); !i.UsedAt.IsZero() {
		t.Error("it counts as used")
	}
}

// The old key of a device that was renewed does not enroll the device again.
func TestARenewedIdentityEnrollsNothing(t *testing.T) {
	ctx := context.Background()
	b := newBench(t)
	old, e := b.enroll()
	b.ok(b.SetBootstrapToken(ctx, key, []byte("bootstrap")))
	renewed := b.issue(fleet.PurposeRenew, e.ID)
	b.ok(b.Authenticate(ctx, old, authenticate())) // the device may begin anew until then
	b.ok(b.TokenUpdate(ctx, token(key)))
	b.ok(b.SetBootstrapToken(ctx, key, []byte("bootstrap")))
	if err := b.Renewed(ctx, key, renewed); fleet.KindOf(err) != fleet.KindForbidden {
		t.Errorf("an identity of the generation before: %v", err)
	}
	renewed = b.issue(fleet.PurposeRenew, e.ID)
	b.ok(b.Renewed(ctx, key, renewed))
	if err := b.Authenticate(ctx, old, authenticate()); fleet.KindOf(err) != fleet.KindForbidden {
		t.Errorf("it is let in: %v", err)
	}
	if got := b.enrollment(udid); got.State != fleet.EnrollmentOn || got.Generation != 2 || string(b.bootstrap()) != "bootstrap" || !b.identity(renewed).RevokedAt.IsZero() {
		t.Errorf("the enrollment is %+v, its bootstrap token %q", got, b.bootstrap())
	}
}

// A device that became a host of its own, because it claims another's serial
// number, stays one when its record is deleted.
func TestAHostThatComesBackTakesNoOtherHostOver(t *testing.T) {
	ctx := context.Background()
	evil := fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: "EVIL"}
	says := authenticate()
	says.Key, says.UDID = evil, evil.ID
	for name, back := range map[string]func(b *bench) error{
		"by a poll": func(b *bench) error { return b.Revive(ctx, evil) },
		"by the TokenUpdate of an enrollment under way": func(b *bench) error {
			b.ok(b.Authenticate(ctx, b.issue(fleet.PurposeEnroll, 0), says))
			_, err := b.hosts.Delete(ctx, b.enrollment("EVIL").HostID, nil)
			b.ok(err)
			return b.TokenUpdate(ctx, token(evil))
		},
		"to be asked to leave again": func(b *bench) error {
			b.ok(b.Revive(ctx, evil))
			host := b.enrollment("EVIL").HostID
			b.ok(b.TurnOff(ctx, fleet.Actor{}, host))
			_, err := b.hosts.Delete(ctx, host, nil)
			b.ok(err)
			return b.Revive(ctx, evil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.ok(b.Authenticate(ctx, b.identityOf(fleet.Admission{Kind: fleet.EnrollmentADE, Serial: serial}), authenticate()))
			b.ok(b.TokenUpdate(ctx, token(key)))
			victim := b.enrollment(udid).HostID
			b.ok(b.Authenticate(ctx, b.issue(fleet.PurposeEnroll, 0), says))
			b.ok(b.TokenUpdate(ctx, token(evil)))
			if _, err := b.hosts.Delete(ctx, b.enrollment("EVIL").HostID, nil); err != nil {
				t.Fatal(err)
			}
			b.ok(back(b))
			if e := b.enrollment("EVIL"); e.HostID == victim || e.HostID == 0 {
				t.Errorf("it is host %d, and the other one %d", e.HostID, victim)
			}
			if h, err := b.hosts.Host(ctx, victim); err != nil || h.UUID != udid || h.MDM.Status != fleet.MDMAutomatic {
				t.Errorf("the host is %+v, %v", h, err)
			}
		})
	}
}

func TestTheUsersOfAHostComeBackWithIt(t *testing.T) {
	ctx := context.Background()
	b := newBench(t)
	_, e := b.enroll()
	user := fleet.EnrollmentKey{Channel: fleet.ChannelUser, ID: udid + ":U", ParentID: udid}
	b.ok(b.TokenUpdate(ctx, token(user)))
	if _, err := b.hosts.Delete(ctx, e.HostID, nil); err != nil {
		t.Fatal(err)
	}
	b.ok(b.Revive(ctx, user))
	device, channel := b.enrollment(udid), b.enrollment(user.ID)
	if device.HostID == 0 || channel.HostID != device.HostID || channel.State != fleet.EnrollmentOn {
		t.Errorf("the device is host %d, its user channel is on host %d and %s", device.HostID, channel.HostID, channel.State)
	}
}

// The team of a profile that was downloaded may be gone when the device comes.
func TestADeviceOfADeletedTeamEnrollsWithoutATeam(t *testing.T) {
	ctx := context.Background()
	b := newBench(t)
	teams := store.NewTeams(b.db)
	kept, gone := &fleet.Team{Name: "Kept"}, &fleet.Team{Name: "Gone"}
	b.ok(teams.Create(ctx, kept))
	b.ok(teams.Create(ctx, gone))
	for team, want := range map[fleet.TeamID]fleet.TeamID{kept.ID: kept.ID, gone.ID: fleet.NoTeam} {
		id := b.identityOf(fleet.Admission{Kind: fleet.EnrollmentOTA, TeamID: team, Serial: fmt.Sprint("S", team)})
		if team == gone.ID {
			b.ok(teams.Delete(ctx, team))
		}
		m := authenticate()
		m.Key.ID, m.UDID, m.Serial = fmt.Sprint("U", team), fmt.Sprint("U", team), fmt.Sprint("S", team)
		b.ok(b.Authenticate(ctx, id, m))
		h, err := b.hosts.Host(ctx, b.enrollment(m.Key.ID).HostID)
		b.ok(err)
		if h.TeamID != want {
			t.Errorf("the host is in team %d, want %d", h.TeamID, want)
		}
	}
}

// An assigned device whose host was deleted finds a record that waits for it,
// without a UUID: it becomes that host whole.
func TestARecordThatWaitedGetsItsDevicesUUID(t *testing.T) {
	ctx := context.Background()
	for name, back := range map[string]func(*bench) error{
		"by a poll": func(b *bench) error { return b.Revive(ctx, key) },
		"when it is asked to leave again": func(b *bench) error {
			_, err := b.enrollments.Apply(ctx, fleet.CheckinLookup{Key: key}, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
				e := *f.Enrollment
				e.State = fleet.EnrollmentLeaving
				return fleet.EnrollmentChange{Enrollment: &e}, nil
			})
			b.ok(err)
			return b.Revive(ctx, key)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.ok(b.Authenticate(ctx, b.identityOf(fleet.Admission{Kind: fleet.EnrollmentADE, Serial: serial}), authenticate()))
			b.ok(b.TokenUpdate(ctx, token(key)))
			if _, err := b.hosts.Delete(ctx, b.host().ID, nil); err != nil {
				t.Fatal(err)
			}
			waiting := fleet.Host{HardwareSerial: serial, Platform: fleet.PlatformDarwin, MDM: fleet.HostMDM{Status: fleet.MDMPending}}
			other := fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: "tmp"}
			_, err := b.enrollments.Apply(ctx, fleet.CheckinLookup{Key: other}, func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
				return fleet.EnrollmentChange{Host: &waiting}, nil
			})
			b.ok(err)
			b.ok(back(b))
			h, err := b.hosts.Host(ctx, b.enrollment(udid).HostID)
			b.ok(err)
			if h.ID != waiting.ID || h.UUID != udid {
				t.Errorf("it is host %d with the UUID %q, want %d", h.ID, h.UUID, waiting.ID)
			}
			for _, none := range []string{"", "id:", "id:x", "id:999"} {
				if refs, err := b.hosts.ByIdentifier(ctx, none); err != nil || len(refs) > 0 {
					t.Errorf("%q names %+v, %v", none, refs, err)
				}
			}
			if refs, err := b.hosts.ByIdentifier(ctx, fmt.Sprint("id:", h.ID)); err != nil || len(refs) != 1 || refs[0].ID != h.ID {
				t.Errorf("its id names %+v, %v", refs, err)
			}
			if targets, err := b.enrollments.Targets(ctx, []string{""}); err != nil || len(targets) > 0 {
				t.Errorf("an empty UUID names %+v, %v", targets, err)
			}
		})
	}
}

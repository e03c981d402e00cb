package enroll_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/enroll"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func TestTheStateMachineOfARenewal(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const hour, day = time.Hour, 24 * time.Hour
	waiting := func(ago time.Duration) *fleet.Renewal {
		return &fleet.Renewal{EnrollmentID: 1, IdentityID: 2, Waiting: true, Attempts: 1, AskedAt: now.Add(-ago), Deadline: now.Add(7*day - ago), DueAt: now}
	}
	acknowledged := func(ago time.Duration) *fleet.Renewal {
		r := waiting(ago)
		r.Acknowledged = true
		return r
	}
	resting := &fleet.Renewal{EnrollmentID: 1, IdentityID: 2, Attempts: 2, DueAt: now, Fault: "no"}
	for name, c := range map[string]struct {
		from                 *fleet.Renewal
		event                enroll.RenewalEvent
		sends                int
		ask, failed, waiting bool
		attempts             int
		least, most          time.Duration // until it is looked at again
	}{
		"it begins":                                          {nil, enroll.RenewalDue, 0, true, false, true, 0, hour, hour},
		"the device has not come yet":                        {waiting(hour), enroll.RenewalDue, 0, false, false, true, 1, hour, hour},
		"the device took it just now":                        {waiting(30 * time.Minute), enroll.RenewalDue, 5, false, false, true, 1, hour, hour},
		"the device takes it again and again":                {waiting(hour), enroll.RenewalDue, 3, false, true, false, 2, 2 * hour, 3 * hour},
		"the deadline is near":                               {waiting(7*day - time.Minute), enroll.RenewalDue, 0, false, false, true, 1, time.Minute, time.Minute},
		"the device was not reached in time":                 {waiting(7 * day), enroll.RenewalDue, 0, true, false, true, 1, hour, hour},
		"the device took it and nothing came":                {waiting(7 * day), enroll.RenewalDue, 1, false, true, false, 2, 2 * hour, 3 * hour},
		"the device refuses":                                 {waiting(hour), enroll.RenewalRefused, 1, false, true, false, 2, 2 * hour, 3 * hour},
		"the device says it is done and uses the old one":    {waiting(hour), enroll.RenewalAcknowledged, 1, false, false, true, 1, hour, hour},
		"the device says it is done and has time left":       {acknowledged(6 * day), enroll.RenewalDue, 0, false, false, true, 1, hour, hour},
		"the device said it was done and never was":          {acknowledged(7 * day), enroll.RenewalDue, 0, false, true, false, 2, 2 * hour, 3 * hour},
		"it was asked by a clock that was ahead":             {waiting(-8 * day), enroll.RenewalDue, 1, true, false, true, 1, hour, hour},
		"the pause after a failure is over":                  {resting, enroll.RenewalDue, 0, true, false, true, 2, hour, hour},
		"the device refuses what was given up, and is right": {resting, enroll.RenewalRefused, 1, false, true, false, 3, 7 * hour, 9 * hour},
	} {
		v := enroll.NextRenewal(c.from, c.event, now, c.sends, "why")
		wait := v.Next.DueAt.Sub(now)
		if v.Ask != c.ask || v.Failed != c.failed || v.Next.Waiting != c.waiting || v.Next.Attempts != c.attempts || wait < c.least || wait > c.most {
			t.Errorf("%s: %+v, looked at in %s", name, v, wait)
		}
		if v.Failed && v.Next.Fault == "" || v.Ask && !v.Next.Deadline.Equal(now.Add(7*day)) {
			t.Errorf("%s: %+v", name, v.Next)
		}
	}
}

// authority is a certificate authority that signs profiles.
type authority struct{ secrets []string }

var signer = sync.OnceValues(func() (*x509.Certificate, *rsa.PrivateKey) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert, key
})

func (a *authority) NewChallenge(c fleet.Challenge, life time.Duration) (fleet.Challenge, string) {
	secret := fmt.Sprint("s3cret-", len(a.secrets))
	a.secrets = append(a.secrets, secret)
	c.SecretSHA256, c.ExpiresAt = sha256.Sum256([]byte(secret)), time.Now().Add(life)
	return c, secret
}
func (*authority) Certificate() *x509.Certificate { cert, _ := signer(); return cert }
func (*authority) Signer() crypto.Signer          { _, key := signer(); return key }

type org struct{}

func (org) Settings(context.Context) (fleet.Settings, error) {
	return fleet.Settings{OrgName: "Acme", ServerURL: "https://new.example.com"}, nil
}

// renewals is a bench whose device has an identity that expires in an hour.
type renewals struct {
	*bench
	*enroll.Renewer
	authority *authority
	e         *fleet.Enrollment
	old       fleet.IdentityID
	at        time.Time
}

func newRenewals(t *testing.T) *renewals {
	t.Helper()
	r := &renewals{bench: newBench(t), authority: &authority{}, at: storetest.Clock()()}
	r.old, r.e = r.enroll()
	r.restart()
	return r
}

// restart is another replica, which knows of no budget that was spent.
func (r *renewals) restart() {
	r.Renewer = enroll.NewRenewer(store.NewRenewals(r.db), r.authority, org{}, sealer{}, 30*24*time.Hour, 60, func() time.Time { return r.at }, nil)
}

func (r *renewals) round() {
	r.t.Helper()
	r.ok(r.Round(context.Background()))
}

// take is a poll: the command that the device gets, as it gets it.
func (r *renewals) take() (uuid string, body []byte) {
	r.t.Helper()
	next, err := r.commands.Exchange(context.Background(), r.e.ID, nil, 0, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if next == nil {
		return "", nil
	}
	body, err = r.RenewalCommand(context.Background(), key, *next)
	if err != nil {
		r.t.Fatal(err)
	}
	if strings.Contains(string(next.Body), "Payload") {
		r.t.Errorf("the queue holds the profile: %s", next.Body)
	}
	return next.UUID, body
}

func (r *renewals) report(uuid string, status fleet.CommandStatus) {
	r.t.Helper()
	report := &fleet.CommandReport{Key: key, CommandUUID: uuid, Status: status, At: r.at, ErrorChain: []fleet.ErrorChainItem{{USEnglish: "it will not"}}}
	_, err := r.commands.Exchange(context.Background(), r.e.ID, report, 0, func(t fleet.CommandTarget) fleet.ReportOutcome { return enroll.RenewalOutcome(t, *report) })
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestARenewalRepeatsWhatEnrolledTheDevice(t *testing.T) {
	r := newRenewals(t)
	r.round()
	r.round() // begins nothing twice
	uuid, body := r.take()
	if uuid == "" || len(r.authority.secrets) != 1 {
		t.Fatalf("%q with %d challenges", uuid, len(r.authority.secrets))
	}
	payload, err := mdmcmd.InstallPayload(body)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := cms.Open(payload)
	if err != nil {
		t.Fatal(err)
	}
	text := string(signed.Content)
	for _, want := range []string{topic, "<string>https://mdm.example.com/mdm</string>", "<integer>8191</integer>", "com.muster-mdm.enrollment", "https://new.example.com/mdm/apple/scep", r.authority.secrets[0]} {
		if !strings.Contains(text, want) {
			t.Errorf("the profile lacks %s:\n%s", want, text)
		}
	}
	if strings.Contains(text, "CheckInURL") {
		t.Error("it has a CheckInURL, which the enrollment did not")
	}
	if _, err := plist.ReadDict(body); err != nil {
		t.Error(err)
	}
	list, _, err := r.commands.List(context.Background(), fleet.CommandFilter{Page: fleet.Page{Size: 10}})
	if err != nil || len(list) != 0 {
		t.Errorf("people see %+v, %v", list, err)
	}
}

func TestARefusedRenewalIsTriedAgainLater(t *testing.T) {
	r := newRenewals(t)
	r.round()
	first, _ := r.take()
	r.report(first, fleet.CommandError)
	r.round()
	if uuid, _ := r.take(); uuid != "" {
		t.Errorf("tried again at once: %s", uuid)
	}
	if n := count(r.kinds(), fleet.EventRenewalFailed); n != 1 {
		t.Errorf("%d failures in the log", n)
	}
	r.at = r.at.Add(2 * time.Hour)
	r.round()
	second, _ := r.take()
	if second == "" || second == first {
		t.Errorf("then comes %q after %q", second, first)
	}
	// One that a device keeps taking without a word is given up.
	r.take()
	r.take()
	r.at = r.at.Add(2 * time.Hour)
	r.round()
	if uuid, _ := r.take(); uuid != "" {
		t.Errorf("it is still sent: %s", uuid)
	}
	expiry, err := store.NewRenewals(r.db).Expiries(context.Background(), r.at, r.at.Add(time.Hour), 10)
	if err != nil || len(expiry.Nearest) != 1 || expiry.Nearest[0].Attempts != 2 || expiry.Nearest[0].Renewing || expiry.Weeks[-1] != 1 || expiry.Nearest[0].Host.Serial != serial {
		t.Errorf("%+v, %v", expiry, err)
	}
	r.at = r.at.Add(24 * time.Hour)
	r.round()
	if uuid, _ := r.take(); uuid == "" {
		t.Error("never tried again")
	}
}

func TestARenewalThatIsAcknowledgedAndNeverUsedFails(t *testing.T) {
	r := newRenewals(t)
	r.round()
	first, _ := r.take()
	r.report(first, fleet.CommandAcknowledged)
	for range 8 {
		r.at = r.at.Add(24 * time.Hour)
		r.round()
	}
	if n := count(r.kinds(), fleet.EventRenewalFailed); n != 1 {
		t.Errorf("%d failures in the log", n)
	}
	expiry, err := store.NewRenewals(r.db).Expiries(context.Background(), r.at, r.at.Add(time.Hour), 10)
	if err != nil || len(expiry.Nearest) != 1 || expiry.Nearest[0].Attempts != 1 || !strings.Contains(expiry.Nearest[0].Fault, "still uses the old identity") {
		t.Errorf("%+v, %v", expiry, err)
	}
	// What is asked then is a new question.
	if second, _ := r.take(); second == "" || second == first {
		t.Errorf("then comes %q after %q", second, first)
	}
}

func TestARenewalEndsWithTheNewIdentityOrAnotherEnrollment(t *testing.T) {
	ctx := context.Background()
	for name, end := range map[string]func(r *renewals){
		"the new identity is used": func(r *renewals) { r.ok(r.Renewed(ctx, key, r.issue(fleet.PurposeRenew, r.e.ID))) },
		"the device enrolls anew": func(r *renewals) {
			r.ok(r.Authenticate(ctx, r.issue(fleet.PurposeEnroll, 0), authenticate()))
		},
		"the device checks out": func(r *renewals) { r.ok(r.CheckOut(ctx, key)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRenewals(t)
			r.round()
			next, err := r.commands.Exchange(ctx, r.e.ID, nil, 0, nil)
			if err != nil || next == nil {
				t.Fatalf("%v, %v", next, err)
			}
			end(r)
			if _, err := r.RenewalCommand(ctx, key, *next); fleet.KindOf(err) != fleet.KindNotFound {
				t.Errorf("its secret is still there: %v", err)
			}
			due, err := store.NewRenewals(r.db).Due(ctx, r.at.Add(1000*time.Hour), 10)
			if err != nil || len(due) != 0 {
				t.Errorf("it goes on: %+v, %v", due, err)
			}
			r.report(next.UUID, fleet.CommandError) // too late to matter
			if n := count(r.kinds(), fleet.EventRenewalFailed); n != 0 {
				t.Errorf("%d failures in the log", n)
			}
		})
	}
}

func TestRenewalsBeginNoFasterThanAllowed(t *testing.T) {
	r := newRenewals(t)
	ctx := context.Background()
	for i := range 10 {
		k := fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: fmt.Sprint("UDID-X", i)}
		m := authenticate()
		m.Key, m.UDID, m.Serial = k, k.ID, k.ID
		r.ok(r.Authenticate(ctx, r.issue(fleet.PurposeEnroll, 0), m))
		r.ok(r.TokenUpdate(ctx, token(k)))
	}
	r.round()
	if n := len(r.authority.secrets); n != 1 {
		t.Errorf("%d began at once, at 60 an hour", n)
	}
	r.at = r.at.Add(5 * time.Minute)
	r.round()
	if n := len(r.authority.secrets); n != 6 {
		t.Errorf("%d began in five minutes", n)
	}
	r.at = r.at.Add(time.Hour)
	r.round()
	if n := len(r.authority.secrets); n != 11 {
		t.Errorf("%d began in all", n)
	}
}

func TestAClockThatWasAheadStopsNoRenewals(t *testing.T) {
	r := newRenewals(t)
	ctx := context.Background()
	now := r.at
	r.at = now.Add(400 * 24 * time.Hour)
	r.round()
	first, _ := r.take()
	if first == "" {
		t.Fatal("nothing began while the clock was ahead")
	}
	for i := range 5 {
		k := fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: fmt.Sprint("UDID-X", i)}
		m := authenticate()
		m.Key, m.UDID, m.Serial = k, k.ID, k.ID
		r.ok(r.Authenticate(ctx, r.issue(fleet.PurposeEnroll, 0), m))
		r.ok(r.TokenUpdate(ctx, token(k)))
	}
	r.at = now
	for range 10 {
		r.at = r.at.Add(time.Minute)
		r.round()
	}
	if n := len(r.authority.secrets); n != 1+1+5 {
		t.Errorf("%d renewals were asked for in all", n)
	}
	if again, _ := r.take(); again == first {
		t.Error("what was asked while the clock was ahead is not asked anew")
	}
}

// A command that was handed out under the old identity is answered under the
// new one.
func TestAnIdentityIsRenewedInMidCommand(t *testing.T) {
	r := newRenewals(t)
	ctx := context.Background()
	r.queue("custom", fleet.CommandCustom)
	if got := r.next(r.e.ID); got != "custom" {
		t.Fatalf("first comes %q", got)
	}
	r.round()
	fresh := r.issue(fleet.PurposeRenew, r.e.ID)
	r.ok(r.Renewed(ctx, key, fresh))
	r.answer(r.e.ID, "custom")
	if s := r.status("custom"); s != fleet.CommandAcknowledged || r.next(r.e.ID) != "" {
		t.Errorf("the command is %s", s)
	}
	if r.identity(r.old).SupersededAt.IsZero() || !r.identity(r.old).RevokedAt.IsZero() {
		t.Errorf("the old identity is %+v: it stays good until it expires", r.identity(r.old))
	}
}

func TestAHostThatLeftOwesNoAnswers(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	b.enroll()
	refetches, now := store.NewRefetches(b.db), storetest.Clock()().Add(time.Second)
	due, err := refetches.Due(ctx, now, 10)
	if err != nil || len(due) != 1 {
		t.Fatalf("an enrolled host is not due: %+v, %v", due, err)
	}
	cmd := &fleet.Command{UUID: "REFETCH-DEVICE-1", RequestType: "R", Purpose: fleet.CommandVitals, Body: []byte("b")}
	b.ok(refetches.Ask(ctx, []fleet.RefetchAsk{{Facts: due[0], Commands: []*fleet.Command{cmd}, Parts: fleet.RefetchDevice, Period: time.Hour, RetryAt: now.Add(time.Hour)}}))
	if b.host().RefetchAt.IsZero() {
		t.Error("nothing is outstanding")
	}
	b.ok(b.CheckOut(ctx, key))
	if h := b.host(); !h.RefetchAt.IsZero() || h.PendingCommands != 0 {
		t.Errorf("%+v", h.Host)
	}
}

// Replicas draw the keys of identities in blocks: the renewed one may have the
// lower key.
func TestARenewalByAnotherReplicaIsTheLastToo(t *testing.T) {
	ctx := context.Background()
	for _, d := range []store.Dialect{store.Postgres, store.MySQL} {
		t.Run(string(d), func(t *testing.T) {
			url := storetest.URL(t, d)
			replica := func(first int) *bench {
				db, err := store.Open(ctx, store.Options{URL: url, MaxOpenConns: 4, Clock: storetest.Clock()})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = db.Close() })
				if _, err := db.Migrate(ctx); err != nil {
					t.Fatal(err)
				}
				return &bench{t: t, db: db, enrollments: store.NewEnrollments(db), identities: store.NewIdentities(db), commands: store.NewCommands(db), hosts: store.NewHosts(db),
					count: first, Lifecycle: enroll.NewLifecycle(store.NewEnrollments(db), store.NewSecrets(db), sealer{}, storetest.Clock(), nil)}
			}
			a, b := replica(0), replica(100)
			a.issue(fleet.PurposeEnroll, 0) // it draws the lower keys
			old := b.issue(fleet.PurposeEnroll, 0)
			b.ok(b.Authenticate(ctx, old, authenticate()))
			b.ok(b.TokenUpdate(ctx, token(key)))
			e := b.enrollment(udid)
			renewed := a.issue(fleet.PurposeRenew, e.ID)
			if renewed > old {
				t.Fatalf("the keys are %d and %d: the test shows nothing", old, renewed)
			}
			a.ok(a.Renewed(ctx, key, renewed))
			facts, err := store.NewRenewals(b.db).OfHost(ctx, e.HostID)
			if err != nil || facts == nil || facts.IdentityID != renewed {
				t.Errorf("the host uses %+v, not %d (%v)", facts, renewed, err)
			}
			if b.identity(old).SupersededAt.IsZero() || !b.identity(renewed).SupersededAt.IsZero() {
				t.Errorf("superseded: old %v, renewed %v", b.identity(old).SupersededAt, b.identity(renewed).SupersededAt)
			}
		})
	}
}

package apple

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/micromdm/nanomdm/mdm"
	"github.com/micromdm/nanomdm/service"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// signer is a device's key and certificate.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	id   fleet.IdentityID // 0: the store does not know it
}

// header is the Mdm-Signature over a body.
func (s signer) header(t testing.TB, body []byte) string {
	t.Helper()
	der, err := cms.SignDetached(body, s.cert, nil, s.key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// newAuthority makes a certificate authority.
func newAuthority(t testing.TB, name string) signer {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	return makeSigner(t, tmpl, nil)
}

func makeSigner(t testing.TB, tmpl *x509.Certificate, parent *signer) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	by, with := tmpl, key
	if parent != nil {
		by, with = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by, key.Public(), with)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signer{cert: cert, key: key}
}

var serials atomic.Int64

// device makes a certificate as the authority does.
func (s signer) device(t testing.TB) signer {
	t.Helper()
	return makeSigner(t, &x509.Certificate{SerialNumber: big.NewInt(1 + serials.Add(1)), Subject: pkix.Name{CommonName: "device"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, &s)
}

// calls is what was called, in order; safe for concurrent use.
type calls struct {
	mu   sync.Mutex
	list []string
}

func (c *calls) add(format string, values ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, fmt.Sprintf(format, values...))
}

// take returns what was called since the last time.
func (c *calls) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.list
	c.list = nil
	return out
}

// lifecycle stands for the verb behind the endpoint: it notes and answers err.
type lifecycle struct {
	calls
	err   error
	token []byte
}

func (l *lifecycle) note(format string, values ...any) error { l.add(format, values...); return l.err }

func (l *lifecycle) Authenticate(_ context.Context, id fleet.IdentityID, m fleet.Authenticate) error {
	return l.note("Authenticate %s with %d", m.Key.ID, id)
}

func (l *lifecycle) TokenUpdate(_ context.Context, m fleet.TokenUpdate) error {
	return l.note("TokenUpdate %s", m.Key.ID)
}

func (l *lifecycle) CheckOut(_ context.Context, k fleet.EnrollmentKey) error {
	return l.note("CheckOut %s", k.ID)
}

func (l *lifecycle) RenewalCommand(_ context.Context, _ fleet.EnrollmentKey, next fleet.NextCommand) ([]byte, error) {
	return next.Body, nil
}
func (l *lifecycle) Renewed(_ context.Context, k fleet.EnrollmentKey, id fleet.IdentityID) error {
	return l.note("Renewed %s with %d", k.ID, id)
}

func (l *lifecycle) Revive(_ context.Context, k fleet.EnrollmentKey) error {
	return l.note("Revive %s", k.ID)
}

func (l *lifecycle) SetBootstrapToken(_ context.Context, k fleet.EnrollmentKey, token []byte) error {
	return l.note("SetBootstrapToken %s %s", k.ID, token)
}

func (l *lifecycle) BootstrapToken(_ context.Context, k fleet.EnrollmentKey) ([]byte, error) {
	return l.token, l.note("BootstrapToken %s", k.ID)
}

// watch notes look-ups and last contacts, and the service's polls.
type watch struct {
	service.CheckinAndCommandService
	Callers
	calls
}

func (w *watch) Caller(ctx context.Context, sha [32]byte, key string) (fleet.Caller, error) {
	w.add("look up %s", key)
	return w.Callers.Caller(ctx, sha, key)
}

func (w *watch) Note(id fleet.HostID) { w.add("seen %d", id) }

func (w *watch) CommandAndReportResults(r *mdm.Request, m *mdm.CommandResults) (*mdm.Command, error) {
	w.add("poll %s", m.Status)
	return w.CheckinAndCommandService.CommandAndReportResults(r, m)
}

// bench is the endpoint over a real store, with the verb behind it played.
type bench struct {
	t           testing.TB
	ca          signer
	db          *store.DB
	enrollments *store.Enrollments
	lifecycle   *lifecycle
	watch       *watch
	ahead       time.Duration // of the endpoint's clock
	options     Options
	handler     *Handler
}

const proxyHeader = "X-Client-Cert"

func newBench(t testing.TB, change ...func(*Options)) *bench {
	db := storetest.Open(t, store.SQLite)
	b := &bench{t: t, ca: newAuthority(t, "Device CA"), db: db, enrollments: store.NewEnrollments(db), lifecycle: &lifecycle{}}
	clock := func() time.Time { return storetest.Clock()().Add(b.ahead) }
	decide := func(c fleet.CommandTarget, r fleet.CommandReport, _ plist.Dict) fleet.ReportOutcome {
		return fleet.ReportOutcome{Status: r.Status, Store: true, Keep: r.Status == fleet.CommandNotNow}
	}
	core := NewService(b.lifecycle, store.NewCommands(db), decide, noDeclarations(), nil, nil, clock)
	b.watch = &watch{CheckinAndCommandService: core, Callers: b.enrollments}
	verifier := cms.NewVerifier(0)
	verifier.SetAuthorities([]*x509.Certificate{b.ca.cert})
	b.options = Options{Service: b.watch, Core: core, Callers: b.watch, Seen: b.watch, Verifier: verifier, CertHeader: proxyHeader, Clock: clock}
	for _, c := range change {
		c(&b.options)
	}
	b.handler = New(b.options)
	return b
}

// issue makes an identity as SCEP does.
func (b *bench) issue(purpose fleet.Purpose, renews *fleet.Enrollment) signer {
	b.t.Helper()
	s := b.ca.device(b.t)
	sha := sha256.Sum256(s.cert.Raw)
	identities := store.NewIdentities(b.db)
	var enrollment fleet.EnrollmentID
	var generation int64
	if renews != nil {
		enrollment, generation = renews.ID, renews.Generation
	}
	if err := identities.AddChallenge(context.Background(), fleet.Challenge{SecretSHA256: sha, Purpose: purpose, EnrollmentID: enrollment, Generation: generation, ExpiresAt: time.Now().Add(time.Hour)}); err != nil {
		b.t.Fatal(err)
	}
	got, err := identities.Issue(context.Background(), sha, fleet.Identity{SHA256: sha, PublicKeySHA256: sha, SerialHex: s.cert.SerialNumber.Text(16),
		Purpose: purpose, EnrollmentID: enrollment, Generation: generation, NotAfter: s.cert.NotAfter, DER: s.cert.Raw})
	if err != nil {
		b.t.Fatal(err)
	}
	s.id = got.ID
	return s
}

// apply changes an enrollment as a check-in would.
func (b *bench) apply(key fleet.EnrollmentKey, decide func(fleet.EnrollmentFacts) fleet.EnrollmentChange) *fleet.Enrollment {
	b.t.Helper()
	e, err := b.enrollments.Apply(context.Background(), fleet.CheckinLookup{Key: key}, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) { return decide(f), nil })
	if err != nil {
		b.t.Fatal(err)
	}
	return e
}

func device(udid string) fleet.EnrollmentKey {
	return fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: udid}
}

// enroll enrolls a device with a new identity.
func (b *bench) enroll(udid string) (signer, *fleet.Enrollment) {
	b.t.Helper()
	s := b.issue(fleet.PurposeEnroll, nil)
	e := b.apply(device(udid), func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
		e := fleet.Enrollment{Key: udid, Channel: fleet.ChannelDevice}
		if f.Enrollment != nil {
			e = *f.Enrollment
		}
		e.State, e.Generation = fleet.EnrollmentOn, e.Generation+1
		h := fleet.Host{UUID: udid, HardwareSerial: "SERIAL-" + udid, Platform: fleet.PlatformDarwin}
		if f.Host != nil {
			h = *f.Host
		}
		return fleet.EnrollmentChange{Enrollment: &e, Host: &h, Claim: s.id, Revoke: true}
	})
	return s, e
}

// enrollUser makes a user channel of a device.
func (b *bench) enrollUser(parent *fleet.Enrollment, user string) *fleet.Enrollment {
	b.t.Helper()
	key := fleet.EnrollmentKey{Channel: fleet.ChannelUser, ID: parent.Key + ":" + user, ParentID: parent.Key}
	return b.apply(key, func(fleet.EnrollmentFacts) fleet.EnrollmentChange {
		return fleet.EnrollmentChange{Enrollment: &fleet.Enrollment{Key: key.ID, Channel: key.Channel, ParentID: parent.ID, HostID: parent.HostID, State: fleet.EnrollmentOn}}
	})
}

// queue puts commands of these purposes on a device's queue; their UUIDs are
// cmd-<purpose>.
func (b *bench) queue(e *fleet.Enrollment, purposes ...fleet.CommandPurpose) {
	b.t.Helper()
	b.apply(device(e.Key), func(fleet.EnrollmentFacts) fleet.EnrollmentChange {
		var c fleet.EnrollmentChange
		for _, p := range purposes {
			c.Commands = append(c.Commands, fleet.Command{UUID: fmt.Sprintf("cmd-%d", p), RequestType: "Test", Purpose: p, Platform: fleet.PlatformDarwin,
				Body: fmt.Appendf(nil, "<command %d>", p)})
		}
		return c
	})
}

// dictOf builds a property list of strings.
func dictOf(pairs ...string) []byte {
	var out bytes.Buffer
	out.WriteString("<plist><dict>")
	for i := 0; i+1 < len(pairs); i += 2 {
		kind := "string"
		if slices.Contains([]string{"Token", "UnlockToken", "BootstrapToken", "Data"}, pairs[i]) {
			kind = "data"
		}
		fmt.Fprintf(&out, "<key>%s</key><%s>%s</%s>", pairs[i], kind, pairs[i+1], kind)
	}
	out.WriteString("</dict></plist>")
	return out.Bytes()
}

func checkin(kind, udid string, more ...string) []byte {
	return dictOf(append([]string{"MessageType", kind, "UDID", udid}, more...)...)
}

func authenticate(udid string) []byte { return checkin("Authenticate", udid, "Topic", "topic") }

func tokenUpdate(udid string, more ...string) []byte {
	return checkin("TokenUpdate", udid, append([]string{"Topic", "topic", "PushMagic", "magic", "Token", "dG9rZW4="}, more...)...)
}

func report(status, udid string, more ...string) []byte {
	return dictOf(append([]string{"Status", status, "UDID", udid}, more...)...)
}

// request is a request to the endpoint; check-ins are told by their body.
func request(method string, body []byte) *http.Request {
	r := httptest.NewRequest(method, "/mdm/apple/mdm", bytes.NewReader(body))
	if bytes.Contains(body, []byte("MessageType")) {
		r.Header.Set("Content-Type", checkinType)
	}
	return r
}

func (b *bench) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w
}

// send signs a message, sends it and returns the answer. Whatever was called
// before is forgotten.
func (b *bench) send(s signer, body []byte) *httptest.ResponseRecorder {
	b.t.Helper()
	b.lifecycle.take()
	b.watch.take()
	r := request(http.MethodPut, body)
	r.Header.Set(signatureHeader, s.header(b.t, body))
	return b.serve(r)
}

// expect checks the answer's status and what the verb was asked.
func (b *bench) expect(w *httptest.ResponseRecorder, status int, called ...string) {
	b.t.Helper()
	if w.Code != status {
		b.t.Errorf("status %d (%s), want %d", w.Code, strings.TrimSpace(w.Body.String()), status)
	}
	if got := b.lifecycle.take(); !slices.Equal(got, called) {
		b.t.Errorf("called %q, want %q", got, called)
	}
}

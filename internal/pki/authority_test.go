package pki_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/pki"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// sealer hides nothing: sealing has its own tests.
type sealer struct{}

func (sealer) Seal(_ fleet.SecretRef, secret []byte) (fleet.Sealed, error) {
	return fleet.Sealed{KeyID: "none", Data: secret}, nil
}
func (sealer) Open(_ fleet.SecretRef, s fleet.Sealed) ([]byte, error) { return s.Data, nil }

// bench is an authority over a real database, with a clock that a test moves.
type bench struct {
	*pki.Authority
	t          *testing.T
	db         *store.DB
	identities *store.Identities
	ahead      atomic.Int64
}

func (b *bench) now() time.Time {
	return storetest.Clock()().Add(time.Duration(b.ahead.Load()))
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, db: storetest.Open(t, store.SQLite)}
	b.identities = store.NewIdentities(b.db)
	b.Authority = b.open()
	return b
}

func (b *bench) open() *pki.Authority {
	b.t.Helper()
	a, err := pki.Open(context.Background(), store.NewSecrets(b.db), sealer{}, b.identities, b.now, pki.NewKey)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

const keyCount = 20

var keys = sync.OnceValue(func() []*rsa.PrivateKey {
	list := make([]*rsa.PrivateKey, keyCount)
	for i := range list {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		list[i] = key
	}
	return list
})

func csr(t *testing.T, key crypto.Signer) *x509.CertificateRequest {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "root"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func (b *bench) mint(c fleet.Challenge) string {
	b.t.Helper()
	secret, err := b.Mint(context.Background(), c)
	if err != nil {
		b.t.Fatal(err)
	}
	return secret
}

func (b *bench) ask(key crypto.Signer, challenge string) (*x509.Certificate, error) {
	b.t.Helper()
	return b.Issue(context.Background(), fleet.CertificateRequest{CSR: csr(b.t, key), Challenge: challenge})
}

func (b *bench) stored(cert *x509.Certificate) *fleet.Identity {
	b.t.Helper()
	i, err := b.identities.Identity(context.Background(), sha256.Sum256(cert.Raw))
	if err != nil || i == nil {
		b.t.Fatalf("the identity is not stored: %v", err)
	}
	return i
}

func TestAnAuthorityIsMadeOnceHoweverManyReplicasStart(t *testing.T) {
	b := newBench(t)
	again := b.open()
	if !again.Certificate().Equal(b.Certificate()) {
		t.Error("the second start has another authority")
	}
	empty := &bench{t: t, db: storetest.Open(t, store.SQLite)}
	empty.identities = store.NewIdentities(empty.db)
	var certs [4]*x509.Certificate
	storetest.Parallel(len(certs), func(i int) { certs[i] = empty.open().Certificate() })
	for _, c := range certs[1:] {
		if !c.Equal(certs[0]) {
			t.Error("two replicas that started at once have different authorities")
		}
	}
}

func TestAnIdentityIsWhatItsChallengeWasBoundTo(t *testing.T) {
	b := newBench(t)
	for name, c := range map[string]fleet.Challenge{
		"to enroll": {Purpose: fleet.PurposeEnroll, ProfileID: 3, ServerURL: "https://a.example/mdm", CheckInURL: "https://a.example/in", AccessRights: 8191},
		"to renew":  {Purpose: fleet.PurposeRenew, EnrollmentID: b.enrolled("A"), ServerURL: "https://b.example/mdm", AccessRights: 1},
	} {
		t.Run(name, func(t *testing.T) {
			cert, err := b.ask(keys()[0], b.mint(c))
			if err != nil {
				t.Fatal(err)
			}
			i := b.stored(cert)
			if i.Purpose != c.Purpose || i.ProfileID != c.ProfileID || i.EnrollmentID != c.EnrollmentID || i.ServerURL != c.ServerURL ||
				i.CheckInURL != c.CheckInURL || i.AccessRights != c.AccessRights || !i.UsedAt.IsZero() {
				t.Errorf("it is %+v, the challenge was %+v", i, c)
			}
			if err := cert.CheckSignatureFrom(b.Certificate()); err != nil {
				t.Error(err)
			}
			if cert.Subject.CommonName == "root" || cert.IsCA || len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
				t.Errorf("the certificate says %s, CA %v, %v", cert.Subject, cert.IsCA, cert.ExtKeyUsage)
			}
			if bits := cert.SerialNumber.BitLen(); bits != 127 {
				t.Errorf("its serial has %d bits", bits)
			}
			if early := time.Since(cert.NotBefore); early < 10*time.Minute {
				t.Errorf("it is valid since %s: a device whose clock lags could not sign", cert.NotBefore)
			}
		})
	}
}

func TestAChallengeIsGoodForOneKeyAndOneTime(t *testing.T) {
	b := newBench(t)
	secret := b.mint(fleet.Challenge{Purpose: fleet.PurposeEnroll})
	first, err := b.ask(keys()[0], secret)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.ask(keys()[0], secret)
	if err != nil || !again.Equal(first) {
		t.Errorf("the same request again: %v", err)
	}
	late := b.mint(fleet.Challenge{Purpose: fleet.PurposeEnroll})
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, challenge string
		key             crypto.Signer
		ahead           time.Duration
		want            fleet.Kind
	}{
		{name: "a used one for another key", challenge: secret, key: keys()[1], want: fleet.KindForbidden},
		{name: "an unknown one", challenge: "unknown", key: keys()[1], want: fleet.KindForbidden},
		{name: "none", key: keys()[1], want: fleet.KindForbidden},
		{name: "an expired one", challenge: late, key: keys()[1], ahead: 24*time.Hour + time.Second, want: fleet.KindForbidden},
		{name: "a short key", challenge: late, key: small, want: fleet.KindUnsupported},
		{name: "an elliptic curve", challenge: late, key: curve, want: fleet.KindUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.ahead.Add(int64(c.ahead))
			defer b.ahead.Add(-int64(c.ahead))
			if cert, err := b.ask(c.key, c.challenge); fleet.KindOf(err) != c.want || cert != nil {
				t.Errorf("%v, want kind %s", err, c.want)
			}
		})
	}
	if _, err := b.ask(keys()[2], late); err != nil {
		t.Errorf("refusals used the challenge up: %v", err)
	}
	// A device that repeats its request late still gets its certificate.
	b.ahead.Add(int64(48 * time.Hour))
	if again, err := b.ask(keys()[0], secret); err != nil || !again.Equal(first) {
		t.Errorf("the same request after two days: %v", err)
	}
}

func TestOfTwentyKeysWithOneChallengeOneIsServed(t *testing.T) {
	b := newBench(t)
	secret := b.mint(fleet.Challenge{Purpose: fleet.PurposeEnroll})
	requests := make([]*x509.CertificateRequest, keyCount)
	for i := range requests {
		requests[i] = csr(t, keys()[i])
	}
	var issued, refused atomic.Int64
	storetest.Parallel(keyCount, func(i int) {
		_, err := b.Issue(context.Background(), fleet.CertificateRequest{CSR: requests[i], Challenge: secret})
		switch fleet.KindOf(err) {
		case fleet.KindForbidden:
			refused.Add(1)
		default:
			if err != nil {
				t.Error(err)
				return
			}
			issued.Add(1)
		}
	})
	if issued.Load() != 1 || refused.Load() != keyCount-1 {
		t.Errorf("%d issued, %d refused", issued.Load(), refused.Load())
	}
	// One key that asks many times at once gets one certificate.
	secret = b.mint(fleet.Challenge{Purpose: fleet.PurposeEnroll})
	var serials sync.Map
	storetest.Parallel(keyCount, func(int) {
		cert, err := b.Issue(context.Background(), fleet.CertificateRequest{CSR: requests[0], Challenge: secret})
		if err != nil {
			t.Error(err)
			return
		}
		serials.Store(cert.SerialNumber.String(), true)
	})
	n := 0
	serials.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("one key got %d certificates", n)
	}
}

func TestARenewalIsSignedByTheIdentityItReplaces(t *testing.T) {
	b := newBench(t)
	device := b.enrolled("A")
	own, err := b.ask(keys()[0], b.mint(fleet.Challenge{Purpose: fleet.PurposeRenew, EnrollmentID: device}))
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.ask(keys()[1], b.mint(fleet.Challenge{Purpose: fleet.PurposeRenew, EnrollmentID: b.enrolled("B")}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		signer *x509.Certificate
		ahead  time.Duration
		want   fleet.Kind // KindInternal: none
	}{
		{name: "nobody", want: fleet.KindNotFound},
		{name: "a stranger", signer: stranger(t, b.Certificate()), want: fleet.KindNotFound},
		{name: "the authority itself", signer: b.Certificate(), want: fleet.KindNotFound},
		{name: "the identity of another enrollment", signer: other, want: fleet.KindForbidden},
		{name: "an identity that expired", signer: own, ahead: 366 * 24 * time.Hour, want: fleet.KindForbidden},
		{name: "its own identity", signer: own},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.ahead.Add(int64(c.ahead))
			defer b.ahead.Add(-int64(c.ahead))
			req := fleet.CertificateRequest{CSR: csr(t, keys()[2]), Renewal: true, Signer: c.signer,
				Challenge: b.mint(fleet.Challenge{Purpose: fleet.PurposeRenew, EnrollmentID: device})}
			cert, err := b.Issue(context.Background(), req)
			if fleet.KindOf(err) != c.want || (err == nil) != (c.want == fleet.KindInternal) {
				t.Fatalf("%v, want kind %s", err, c.want)
			}
			if err == nil && b.stored(cert).EnrollmentID != device {
				t.Errorf("it is bound to enrollment %d", b.stored(cert).EnrollmentID)
			}
		})
	}
}

// A renewal that was asked for before the device enrolled anew, or ended, gives
// no certificate.
func TestARenewalOfAnEnrollmentThatEndedGivesNoCertificate(t *testing.T) {
	b := newBench(t)
	device := b.enrolled("A")
	challenge := fleet.Challenge{Purpose: fleet.PurposeRenew, EnrollmentID: device}
	for name, end := range map[string]func(*fleet.Enrollment){
		"it began anew": func(e *fleet.Enrollment) { e.Generation++ },
		"it ended":      func(e *fleet.Enrollment) { e.State = fleet.EnrollmentOff },
	} {
		b.change("A", func(e *fleet.Enrollment) { e.State, e.Generation = fleet.EnrollmentOn, 0 })
		early, late := b.mint(challenge), b.mint(challenge)
		issued, err := b.ask(keys()[0], early)
		if err != nil {
			t.Fatal(err)
		}
		b.change("A", end)
		if _, err := b.ask(keys()[1], late); fleet.KindOf(err) != fleet.KindForbidden {
			t.Errorf("%s: %v", name, err)
		}
		if again, err := b.ask(keys()[0], early); err != nil || !again.Equal(issued) {
			t.Errorf("%s: a repeated request: %v", name, err)
		}
	}
}

// enrolled makes an enrollment that is on.
func (b *bench) enrolled(key string) fleet.EnrollmentID {
	return b.change(key, func(e *fleet.Enrollment) { e.State = fleet.EnrollmentOn })
}

func (b *bench) change(key string, change func(*fleet.Enrollment)) fleet.EnrollmentID {
	b.t.Helper()
	e, err := store.NewEnrollments(b.db).Apply(context.Background(), fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: key}},
		func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
			e := fleet.Enrollment{Key: key, Channel: fleet.ChannelDevice}
			if f.Enrollment != nil {
				e = *f.Enrollment
			}
			change(&e)
			return fleet.EnrollmentChange{Enrollment: &e}, nil
		})
	if err != nil {
		b.t.Fatal(err)
	}
	return e.ID
}

// stranger is a certificate that a copy of the authority issued.
func stranger(t *testing.T, like *x509.Certificate) *x509.Certificate {
	t.Helper()
	parent := &x509.Certificate{SerialNumber: like.SerialNumber, Subject: like.Subject, RawSubject: like.RawSubject, IsCA: true, BasicConstraintsValid: true}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(5), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, keys()[3].Public(), keys()[4])
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

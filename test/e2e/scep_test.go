package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/codec/scepmsg"
	"github.com/muster-mdm/muster/sim/appledev"
)

func TestAnIdentityIsIssuedOnceForAChallenge(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		key, challenge := newKey(t), w.challenge(t)
		first := w.scep(t, scepCase{key: key, challenge: challenge})
		if first.Status != scepmsg.StatusSuccess {
			t.Fatalf("refused: %s", first.FailInfo)
		}
		cert := first.Certificate
		if err := cert.CheckSignatureFrom(w.authority(t)); err != nil {
			t.Error(err)
		}
		if cert.Subject.CommonName == "what a device asks for" {
			t.Error("the subject that the device asked for was taken over")
		}
		if life := time.Until(cert.NotAfter); life < 364*24*time.Hour || life > 366*24*time.Hour {
			t.Errorf("it is valid for %s", life)
		}
		if now := time.Now(); now.Sub(cert.NotBefore) < 10*time.Minute {
			t.Errorf("it is not valid before %s: a device whose clock lags could not sign", cert.NotBefore)
		}
		again := w.scep(t, scepCase{key: key, challenge: challenge})
		if again.Status != scepmsg.StatusSuccess || !again.Certificate.Equal(cert) {
			t.Errorf("a repeated request was not answered with the same certificate: %+v", again)
		}
		short, err := (appledev.FreshKeys{}).Key(1024)
		if err != nil {
			t.Fatal(err)
		}
		expired := w.challenge(t)
		before := w.snapshot(t)
		for _, c := range []struct {
			name  string
			ask   scepCase
			ahead time.Duration
			want  scepmsg.FailInfo
		}{
			{name: "a challenge that was used for another key", ask: scepCase{key: otherKey(t, key.N), challenge: challenge}, want: scepmsg.BadRequest},
			{name: "a wrong challenge", ask: scepCase{key: key, challenge: "wrong"}, want: scepmsg.BadRequest},
			{name: "no challenge", ask: scepCase{key: key}, want: scepmsg.BadRequest},
			{name: "a key of 1024 bits", ask: scepCase{key: short, challenge: expired}, want: scepmsg.BadAlg},
			{name: "a challenge that expired", ask: scepCase{key: key, challenge: expired}, ahead: 25 * time.Hour, want: scepmsg.BadRequest},
		} {
			t.Run(c.name, func(t *testing.T) {
				w.clock.advance(c.ahead)
				defer w.clock.advance(-c.ahead)
				if got := w.scep(t, c.ask); got.Status != scepmsg.StatusFailure || got.FailInfo != c.want {
					t.Errorf("%+v, want a failure with %s", got, c.want)
				}
			})
		}
		if after := w.snapshot(t); after != before {
			t.Errorf("refusals changed something:\n%s\nbefore:\n%s", after, before)
		}
		w.alive(t)
	})
}

// otherKey is a shared key that differs from the one with this modulus.
func otherKey(t testing.TB, n *big.Int) *rsa.PrivateKey {
	t.Helper()
	for range keyCount {
		if k := newKey(t); k.N.Cmp(n) != 0 {
			return k
		}
	}
	t.Fatal("all keys are the same")
	return nil
}

func TestARenewalMustBeSignedByAnIdentityOfOurs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		own := w.identity(t)
		foreign := selfMade(t, w.authority(t))
		challenge := w.challenge(t)
		key := otherKey(t, own.key.N)
		before := w.snapshot(t)
		for name, signer := range map[string]*identity{
			"signed by itself": nil,
			"signed by a stranger who copied our CA name": &foreign,
		} {
			t.Run(name, func(t *testing.T) {
				got := w.scep(t, scepCase{key: key, challenge: challenge, kind: scepmsg.RenewalReq, signer: signer})
				if got.Status != scepmsg.StatusFailure || got.FailInfo != scepmsg.BadCertID {
					t.Errorf("%+v, want a failure with %s", got, scepmsg.BadCertID)
				}
			})
		}
		if after := w.snapshot(t); after != before {
			t.Errorf("refusals changed something:\n%s\nbefore:\n%s", after, before)
		}
		got := w.scep(t, scepCase{key: key, challenge: challenge, kind: scepmsg.RenewalReq, signer: &own})
		if got.Status != scepmsg.StatusSuccess {
			t.Errorf("signed by an identity of ours: %+v", got)
		}
	})
}

// selfMade is an identity from an authority that only looks like the real one.
func selfMade(t testing.TB, like *x509.Certificate) identity {
	t.Helper()
	caKey, key := newKey(t), newKey(t)
	ca := &x509.Certificate{SerialNumber: like.SerialNumber, Subject: like.Subject, RawSubject: like.RawSubject, NotBefore: like.NotBefore, NotAfter: like.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: like.KeyUsage, SubjectKeyId: like.SubjectKeyId}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "Muster device identity"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(cert.RawIssuer, like.RawSubject) {
		t.Fatal("the copy has another issuer name")
	}
	return identity{cert, key}
}

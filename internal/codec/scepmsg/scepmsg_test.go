package scepmsg

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/smallstep/scep"
	"github.com/smallstep/scep/x509util"

	"github.com/muster-mdm/muster/internal/codec/cms"
)

type party struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// parties are an authority and a client, made once.
var parties = sync.OnceValues(func() (ca, client party) {
	return newParty("SCEP CA", true, 2048), newParty("SCEP SIGNER", false, 2048)
})

func newParty(cn string, ca bool, bits int) party {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, IsCA: ca, BasicConstraintsValid: ca,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
	}
	return party{cert: selfSign(tmpl, key), key: key}
}

func selfSign(tmpl *x509.Certificate, key crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

// issueTo signs a certificate for the requested key.
func issueTo(t *testing.T, ca party, csr *x509.CertificateRequest) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(42), Subject: pkix.Name{CommonName: "device"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, csr.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func mustRequest(t testing.TB, ask Enrollment) *Pending {
	t.Helper()
	ca, client := parties()
	if ask.CSR == nil {
		csr, err := NewCSR(client.key, pkix.Name{CommonName: "device"}, "s3cret")
		if err != nil {
			t.Fatal(err)
		}
		ask.CSR = csr
	}
	if ask.Signer == nil {
		ask.Signer, ask.SignerKey = client.cert, client.key
	}
	ask.Authorities = []*x509.Certificate{ca.cert}
	p, err := NewRequest(ask)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEnrollmentRoundTripsInEveryAlgorithm(t *testing.T) {
	ca, client := parties()
	for _, c := range []cms.Cipher{cms.CipherAES128, cms.CipherAES256, cms.CipherTripleDES} {
		for _, digest := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA512} {
			for _, kind := range []MessageType{PKCSReq, RenewalReq, UpdateReq} {
				p := mustRequest(t, Enrollment{Type: kind, Cipher: c, Digest: digest})
				r, err := Parse(p.DER)
				if err != nil {
					t.Fatal(err)
				}
				err = r.Open(ca.cert, ca.key)
				if err != nil {
					t.Fatal(err)
				}
				req := r.CertificateRequest()
				if req.Challenge != "s3cret" || req.Renewal != (kind != PKCSReq) || !req.Signer.Equal(client.cert) ||
					req.TransactionID != p.TransactionID || r.Cipher != c {
					t.Fatalf("cipher %d, %v, %s: read %+v", c, digest, kind, req)
				}
				issued := issueTo(t, ca, req.CSR)
				der, err := r.Succeed(issued, ca.cert, ca.key)
				if err != nil {
					t.Fatal(err)
				}
				reply, err := p.ParseReply(der)
				if err != nil || reply.Status != StatusSuccess || !reply.Certificate.Equal(issued) {
					t.Fatalf("reply %+v, %v", reply, err)
				}
			}
		}
	}
}

func TestRefusalsAndDelaysRoundTrip(t *testing.T) {
	ca, _ := parties()
	p := mustRequest(t, Enrollment{})
	r, err := Parse(p.DER)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range []FailInfo{BadAlg, BadMessageCheck, BadRequest, BadTime, BadCertID} {
		der, err := r.Fail(info, ca.cert, ca.key)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := p.ParseReply(der)
		if err != nil || reply.Status != StatusFailure || reply.FailInfo != info {
			t.Fatalf("%v: %+v, %v", info, reply, err)
		}
	}
	der, err := r.Pend(ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := p.ParseReply(der)
	if err != nil || reply.Status != StatusPending {
		t.Fatalf("%+v, %v", reply, err)
	}
	other := mustRequest(t, Enrollment{})
	if _, err = other.ParseReply(der); err == nil {
		t.Fatal("a reply to another request was believed")
	}
}

func TestKeysThatAreTooWeakAreBadAlg(t *testing.T) {
	ca, _ := parties()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key crypto.Signer
		ok  bool
	}{"RSA 1024": {weak, false}, "P-224": {curve, false}, "P-256": {good, true}} {
		t.Run(name, func(t *testing.T) {
			csr, err := NewCSR(c.key, pkix.Name{CommonName: "x"}, "c")
			if err != nil {
				t.Fatal(err)
			}
			r, err := Parse(mustRequest(t, Enrollment{CSR: csr}).DER)
			if err != nil {
				t.Fatal(err)
			}
			err = r.Open(ca.cert, ca.key)
			if c.ok {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantFailure(t, err, BadAlg)
		})
	}
}

func wantFailure(t *testing.T, err error, info FailInfo) {
	t.Helper()
	var f *Failure
	if !errors.As(err, &f) || f.Info != info {
		t.Fatalf("got %v, want %v", err, info)
	}
}

func TestDamagedRequestsAreAnsweredWhereTheyCanBe(t *testing.T) {
	ca, client := parties()
	p := mustRequest(t, Enrollment{})

	flipped := bytes.Clone(p.DER)
	flipped[len(flipped)-1] ^= 1
	r, err := Parse(flipped)
	wantFailure(t, err, BadMessageCheck)
	if r == nil || r.TransactionID != p.TransactionID {
		t.Fatal("the failure cannot be addressed")
	}

	r, err = Parse(p.DER)
	if err != nil {
		t.Fatal(err)
	}
	wantFailure(t, r.Open(client.cert, client.key), BadMessageCheck)

	rubbish, err := cms.Encrypt([]byte("not a request"), []*x509.Certificate{ca.cert})
	if err != nil {
		t.Fatal(err)
	}
	r.envelope = rubbish
	wantFailure(t, r.Open(ca.cert, ca.key), BadMessageCheck)

	r, err = Parse(mustRequest(t, Enrollment{Type: "20"}).DER)
	wantFailure(t, err, BadRequest)
	if r == nil {
		t.Fatal("an unknown type cannot be answered")
	}

	for name, der := range map[string][]byte{
		"nothing": nil, "text": []byte("hello"), "too much": make([]byte, MaxMessage+1),
		"half a message": p.DER[:len(p.DER)/2], "a reply": mustReply(t, p),
	} {
		r, err = Parse(der)
		if !errors.Is(err, ErrMalformed) || r != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

func mustReply(t *testing.T, p *Pending) []byte {
	t.Helper()
	ca, _ := parties()
	r, err := Parse(p.DER)
	if err != nil {
		t.Fatal(err)
	}
	der, err := r.Fail(BadRequest, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestSmallstepsClientUnderstandsUs(t *testing.T) {
	ca, client := parties()
	der, err := x509util.CreateCertificateRequest(rand.Reader, &x509util.CertificateRequest{ChallengePassword: "pw"}, client.key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	// As it comes, the library digests with SHA-1 and encrypts with single DES:
	// exactly what old clients send.
	msg, err := scep.NewCSRRequest(csr, &scep.PKIMessage{
		MessageType: scep.PKCSReq, Recipients: []*x509.Certificate{ca.cert}, SignerCert: client.cert, SignerKey: client.key,
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(msg.Raw)
	if err != nil {
		t.Fatal(err)
	}
	err = r.Open(ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if r.Challenge != "pw" || r.Digest != crypto.SHA1 || r.Cipher != cms.CipherDES {
		t.Fatalf("read %+v", r)
	}
	issued := issueTo(t, ca, r.CSR)
	reply, err := r.Succeed(issued, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := scep.ParsePKIMessage(reply, scep.WithCACerts([]*x509.Certificate{ca.cert}))
	if err != nil {
		t.Fatal(err)
	}
	err = theirs.DecryptPKIEnvelope(client.cert, client.key)
	if err != nil || !theirs.Certificate.Equal(issued) || !bytes.Equal(theirs.RecipientNonce, msg.SenderNonce) {
		t.Fatalf("the library read %+v, %v", theirs, err)
	}
}

func TestSmallstepsServerUnderstandsOurClient(t *testing.T) {
	ca, _ := parties()
	p := mustRequest(t, Enrollment{Cipher: cms.CipherAES256})
	msg, err := scep.ParsePKIMessage(p.DER)
	if err != nil {
		t.Fatal(err)
	}
	err = msg.DecryptPKIEnvelope(ca.cert, ca.key)
	if err != nil || msg.ChallengePassword != "s3cret" || string(msg.TransactionID) != p.TransactionID {
		t.Fatalf("the library read %+v, %v", msg, err)
	}
	issued := issueTo(t, ca, msg.CSR)
	answer, err := msg.Success(ca.cert, ca.key, issued)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := p.ParseReply(answer.Raw)
	if err != nil || !reply.Certificate.Equal(issued) {
		t.Fatalf("%+v, %v", reply, err)
	}
	failed, err := msg.Fail(ca.cert, ca.key, scep.BadRequest)
	if err != nil {
		t.Fatal(err)
	}
	reply, err = p.ParseReply(failed.Raw)
	if err != nil || reply.FailInfo != BadRequest {
		t.Fatalf("%+v, %v", reply, err)
	}
}

func TestTheSelfMadeSignerIsGoodEnoughForParse(t *testing.T) {
	_, client := parties()
	signer, err := SelfSigned(client.key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = Parse(mustRequest(t, Enrollment{Signer: signer, SignerKey: client.key}).DER); err != nil {
		t.Fatal(err)
	}
}

func FuzzRequestsNeverPanic(f *testing.F) {
	ca, _ := parties()
	f.Add(mustRequest(f, Enrollment{}).DER)
	f.Add(mustRequest(f, Enrollment{Type: RenewalReq, Cipher: cms.CipherTripleDES, Digest: crypto.SHA1}).DER)
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := Parse(der)
		var failure *Failure
		if err != nil && !errors.As(err, &failure) && r != nil {
			t.Fatal("a request beside an error that is not a Failure")
		}
		if err == nil {
			_ = r.Open(ca.cert, ca.key)
		}
	})
}

func BenchmarkServerSide(b *testing.B) {
	ca, _ := parties()
	p := mustRequest(b, Enrollment{})
	for b.Loop() {
		r, err := Parse(p.DER)
		if err != nil {
			b.Fatal(err)
		}
		if err = r.Open(ca.cert, ca.key); err != nil {
			b.Fatal(err)
		}
		if _, err = r.Succeed(ca.cert, ca.cert, ca.key); err != nil {
			b.Fatal(err)
		}
	}
}

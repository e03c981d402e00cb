package cms

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"testing"
	"time"
)

// identity is a certificate with its key and the authority that issued it.
type identity struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// world is one authority, identities of every kind below it, and a stranger.
type world struct {
	ca, rsa, p256, p384, server, expired, stranger identity
}

var theWorld = sync.OnceValue(func() world {
	ca := issue(nil, mustRSA(), certOptions{cn: "Device CA", ca: true})
	return world{
		ca:       ca,
		rsa:      issue(&ca, mustRSA(), certOptions{cn: "rsa", serial: 7}),
		p256:     issue(&ca, mustEC(elliptic.P256()), certOptions{cn: "p256", serial: 8}),
		p384:     issue(&ca, mustEC(elliptic.P384()), certOptions{cn: "p384", serial: 9}),
		server:   issue(&ca, mustRSA(), certOptions{cn: "server", serial: 10, eku: x509.ExtKeyUsageServerAuth}),
		expired:  issue(&ca, mustEC(elliptic.P256()), certOptions{cn: "expired", serial: 11, past: true}),
		stranger: issue(nil, mustRSA(), certOptions{cn: "Device CA", serial: 7}),
	}
})

type certOptions struct {
	cn     string
	serial int64
	eku    x509.ExtKeyUsage
	ca     bool
	past   bool
}

func issue(parent *identity, key crypto.Signer, o certOptions) identity {
	start := time.Now().Add(-time.Hour)
	if o.past {
		start = start.AddDate(-2, 0, 0)
	}
	if o.eku == 0 {
		o.eku = x509.ExtKeyUsageClientAuth
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(o.serial + 1), Subject: pkix.Name{CommonName: o.cn},
		NotBefore: start, NotAfter: start.AddDate(1, 0, 0), SubjectKeyId: []byte{1, 2, 3, byte(o.serial)},
		ExtKeyUsage: []x509.ExtKeyUsage{o.eku}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if o.ca {
		tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.ExtKeyUsage = true, true, nil
		tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	}
	signer := identity{cert: tmpl, key: key}
	if parent != nil {
		signer = *parent
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, signer.cert, key.Public(), signer.key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return identity{cert: cert, key: key}
}

func mustRSA() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func mustEC(c elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

var content = []byte(`<?xml version="1.0"?><plist><dict><key>Status</key><string>Idle</string></dict></plist>`)

func mustSign(t testing.TB, id identity, o Signing) []byte {
	t.Helper()
	o.Certificate, o.Key = id.cert, id.key
	der, err := SignWith(content, o)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

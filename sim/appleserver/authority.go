package appleserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// backdate keeps certificates valid for clocks that run behind a little.
const backdate = time.Hour

// validity of everything issued here: a year, like Apple's push certificates.
const validity = 365 * 24 * time.Hour

// oidUID is the attribute whose value is the topic (contracts/apple.md 2).
func oidUID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}
}

// authority issues the service's own certificate and push certificates.
type authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	clock func() time.Time
}

// newAuthority makes a root that lives as long as the process.
func newAuthority(clock func() time.Time) (*authority, error) {
	a := &authority{clock: clock}
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Simulated Apple Root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	cert, key, err := a.issue(tmpl)
	if err != nil {
		return nil, fmt.Errorf("simulated root: %w", err)
	}
	a.cert, a.key = cert, key
	return a, nil
}

// issue makes a key and a certificate for it; self-signed while a has no
// certificate of its own.
func (a *authority) issue(tmpl *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	const serialBits = 127
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("key: %w", err)
	}
	tmpl.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, nil, fmt.Errorf("serial: %w", err)
	}
	now := a.clock()
	tmpl.NotBefore, tmpl.NotAfter = now.Add(-backdate), now.Add(validity)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate: %w", err)
	}
	return cert, key, nil
}

// serverTLS is the service's side: HTTP/2, and a client certificate from this
// authority, whose validity the handler judges in Apple's words.
func (a *authority) serverTLS() (*tls.Config, error) {
	cert, key, err := a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "api.push.apple.com (simulated)"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("service certificate: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
		ClientAuth:   tls.RequireAnyClientCert,
		NextProtos:   []string{"h2"},
		MinVersion:   tls.VersionTLS12,
	}, nil
}

// pushCertificate issues a certificate for topic and returns it with its key,
// both in PEM, as the portal and the customer would hold them.
func (a *authority) pushCertificate(topic string) (certPEM, keyPEM []byte, err error) {
	cert, key, err := a.issue(&x509.Certificate{
		Subject: pkix.Name{
			CommonName: "APSP:" + topic,
			ExtraNames: []pkix.AttributeTypeAndValue{{Type: oidUID(), Value: topic}},
		},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("push certificate: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("push certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// topicOf reads the topic of a client certificate and reports whether this
// authority issued it and it is valid now.
func (a *authority) topicOf(cert *x509.Certificate) (topic string, ok bool) {
	now := a.clock()
	if cert.CheckSignatureFrom(a.cert) != nil || now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return "", false
	}
	for _, name := range cert.Subject.Names {
		if name.Type.Equal(oidUID()) {
			topic, ok = name.Value.(string)
			return topic, ok
		}
	}
	return "", false
}

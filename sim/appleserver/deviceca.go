package appleserver

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// DeviceAuthorityOptions of a DeviceAuthority. The zero value works.
type DeviceAuthorityOptions struct {
	// Valid has the authority's certificate be valid now. Apple's expired in
	// 2014, which servers must accept (contracts/apple.md 4.6).
	Valid bool
	// SHA1 signs the certificates as Apple does, instead of with SHA-256.
	SHA1  bool
	Clock func() time.Time // time.Now when nil
}

// DeviceAuthority stands in for "Apple iPhone Device CA": it issues the
// certificates that devices are built with and sign their MachineInfo with.
type DeviceAuthority struct {
	o    DeviceAuthorityOptions
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// deviceKeyBits is the size of the authority's key. The real one has 1024, which
// crypto/rsa no longer makes.
const deviceKeyBits = 2048

// NewDeviceAuthority makes an authority that lives as long as the process.
func NewDeviceAuthority(o DeviceAuthorityOptions) (*DeviceAuthority, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	key, err := rsa.GenerateKey(rand.Reader, deviceKeyBits)
	if err != nil {
		return nil, fmt.Errorf("simulated device authority: %w", err)
	}
	now := o.Clock()
	tmpl := &x509.Certificate{
		Subject: appleName("Simulated Apple iPhone Device CA"), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		NotBefore: now.AddDate(-19, 0, 0), NotAfter: now.AddDate(-12, 0, 0),
	}
	if o.Valid {
		tmpl.NotAfter = now.AddDate(1, 0, 0)
	}
	a := &DeviceAuthority{o: o, key: key}
	a.cert, err = a.sign(tmpl, tmpl, key.Public())
	if err != nil {
		return nil, err
	}
	return a, nil
}

// appleName is a subject as Apple writes them.
func appleName(cn string) pkix.Name {
	return pkix.Name{
		CommonName: cn, Organization: []string{"Apple Inc."}, OrganizationalUnit: []string{"iPhone"},
		Locality: []string{"Cupertino"}, Province: []string{"CA"}, Country: []string{"US"},
	}
}

// sign completes a template.
func (a *DeviceAuthority) sign(tmpl, parent *x509.Certificate, pub crypto.PublicKey) (*x509.Certificate, error) {
	const serialBits = 79
	var err error
	tmpl.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, fmt.Errorf("simulated device authority: %w", err)
	}
	tmpl.SignatureAlgorithm = x509.SHA256WithRSA
	if a.o.SHA1 {
		tmpl.SignatureAlgorithm = x509.SHA1WithRSA
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, a.key)
	if err != nil {
		return nil, fmt.Errorf("simulated device authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("simulated device authority: %w", err)
	}
	return cert, nil
}

// Certificate is what a server must trust.
func (a *DeviceAuthority) Certificate() *x509.Certificate { return a.cert }

// PEM is Certificate in PEM.
func (a *DeviceAuthority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Issue makes the certificate of a device, whose subject is its UDID, for a
// public key. It is valid for three years, as those of Apple are.
func (a *DeviceAuthority) Issue(udid string, pub crypto.PublicKey) (*x509.Certificate, error) {
	const years = 3
	now := a.o.Clock()
	return a.sign(&x509.Certificate{
		Subject: appleName(udid), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		NotBefore: now.Add(-backdate), NotAfter: now.AddDate(years, 0, 0), BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, pub)
}

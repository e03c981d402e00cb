package deptoken

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"time"
)

// Of the key pair that Apple encrypts tokens to.
const (
	pairBits  = 2048
	pairYears = 20 // tokens are renewed with the same pair, year after year
	backdate  = time.Hour
)

// NewPair makes a key and a certificate for it, both in PEM form. The
// certificate is uploaded at Apple; its serial number is random, since CMS
// tells recipients apart by it.
func NewPair(now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, pairBits)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial.SetBit(serial, 126, 1), Subject: pkix.Name{CommonName: "Muster server token", Organization: []string{"Muster"}},
		NotBefore: now.Add(-backdate), NotAfter: now.AddDate(pairYears, 0, 0),
		KeyUsage: x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

// ParsePair reads what NewPair made. An RSA key in PKCS#1 form is taken as
// well.
func ParsePair(certPEM, keyPEM []byte) (*x509.Certificate, *rsa.PrivateKey, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, nil, errors.New("there is no CERTIFICATE block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	if block, _ = pem.Decode(keyPEM); block == nil {
		return nil, nil, errors.New("there is no PRIVATE KEY block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if block.Type == "RSA PRIVATE KEY" {
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, nil, errors.New("the private key cannot be read") // the library's error may quote it
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, errors.New("certificate and private key do not belong together")
	}
	return cert, key, nil
}

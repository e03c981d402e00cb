package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// DefaultCacheSize is the number of certificates a Verifier keeps when told 0.
// An entry weighs some 700 bytes.
const DefaultCacheSize = 4096

// Certificate is what the sender of a signature presented.
type Certificate struct {
	*summary
	der    []byte
	parsed *x509.Certificate // nil until somebody needs it
}

// summary is the part of a certificate that requests need, and all that is
// kept in the cache: parsed, it is eight times as large. It is never changed.
type summary struct {
	SHA256   [sha256.Size]byte // of the DER
	NotAfter time.Time
	issuer   [sha256.Size]byte // of the issuer's name and the serial number
	keyID    []byte
	key      crypto.PublicKey
	// under is the authority set under which it was put into the cache, and
	// vouched says that the set issued it. Comparing pointers makes both fall
	// with the set.
	under   *authorities
	vouched bool
}

func newCertificate(cert *x509.Certificate, hash [sha256.Size]byte) *Certificate {
	return &Certificate{der: cert.Raw, parsed: cert, summary: &summary{SHA256: hash, NotAfter: cert.NotAfter,
		issuer: nameOf(cert.RawIssuer, cert.SerialNumber.Bytes()), keyID: bytes.Clone(cert.SubjectKeyId), key: cert.PublicKey}}
}

// nameOf is the identity of a certificate by issuer and serial number, a
// positive one without leading zeros.
func nameOf(issuer, serial []byte) [sha256.Size]byte {
	var b [512]byte
	named := binary.BigEndian.AppendUint32(b[:0], uint32(len(issuer)))
	return sha256.Sum256(append(append(named, issuer...), serial...))
}

// X509 is the whole certificate.
func (c *Certificate) X509() *x509.Certificate {
	if c.parsed == nil {
		cert, err := x509.ParseCertificate(bytes.Clone(c.der))
		if err != nil {
			return &x509.Certificate{} // it was parsed before: it has the fingerprint of one that was
		}
		return cert
	}
	return c.parsed
}

// authorities is one immutable set of issuing certificates.
type authorities struct{ certs []*x509.Certificate }

// Verifier checks detached signatures and the issuer of their certificates.
// It is safe for concurrent use.
type Verifier struct {
	cache *lru
	auth  atomic.Pointer[authorities]
}

// NewVerifier returns a Verifier that keeps at most cacheSize parsed
// certificates; 0 means DefaultCacheSize. It trusts no authority yet.
func NewVerifier(cacheSize int) *Verifier {
	if cacheSize <= 0 {
		cacheSize = DefaultCacheSize
	}
	v := &Verifier{cache: newLRU(cacheSize)}
	v.auth.Store(&authorities{})
	return v
}

// SetAuthorities replaces the issuing certificates that CheckIssued accepts.
// Verdicts given under the former set no longer count.
func (v *Verifier) SetAuthorities(certs []*x509.Certificate) {
	v.auth.Store(&authorities{certs: slices.Clone(certs)})
}

// VerifyHeader verifies the value of an Mdm-Signature header: base64 of a
// detached signature over exactly content (Apple, "Implementing Device
// Management", Pass an Identity Certificate Through a Proxy). Errors are those
// of VerifyDetached.
func (v *Verifier) VerifyHeader(header string, content []byte) (*Certificate, error) {
	if base64.StdEncoding.DecodedLen(len(header)) > MaxDetached+3 {
		return nil, ErrTooLarge
	}
	sig, err := base64.StdEncoding.DecodeString(header)
	if err != nil {
		return nil, fmt.Errorf("%w: not base64", ErrMalformed)
	}
	return v.VerifyDetached(sig, content)
}

// VerifyDetached verifies sig, a CMS SignedData in DER or BER with exactly one
// signer and its certificate, over content. It returns the signer's
// certificate, whose issuer and validity are not judged: call CheckIssued, and
// look at NotBefore and NotAfter.
//
// It fails with ErrTooLarge, ErrMalformed or ErrSignature. SHA-1 signatures are
// accepted: devices send them.
func (v *Verifier) VerifyDetached(sig, content []byte) (*Certificate, error) {
	if len(sig) > MaxDetached {
		return nil, ErrTooLarge
	}
	cert, err := v.verifyFast(sig, content)
	if errors.Is(err, errUnknown) {
		var raw *x509.Certificate
		raw, err = libraryVerify(sig, content)
		if err == nil {
			cert = v.adopt(raw)
		}
	}
	if err != nil {
		return nil, err
	}
	v.remember(cert)
	return cert, nil
}

// Certificate parses a certificate that came by another way, such as TLS or a
// proxy's header. Nothing about it is verified.
func (v *Verifier) Certificate(der []byte) (*Certificate, error) {
	if len(der) > MaxDetached {
		return nil, ErrTooLarge
	}
	return v.parse(der)
}

// CheckIssued reports whether one of the authorities signed the certificate,
// for client authentication and not as an authority of its own. It fails with
// ErrNotIssued. Validity is not looked at: devices keep presenting expired
// identities and the caller decides what they may still do. A positive verdict
// is kept with the certificate until the authorities change.
func (v *Verifier) CheckIssued(c *Certificate) error {
	auth := v.auth.Load()
	if c.under == auth && c.vouched {
		return nil
	}
	err := auth.check(c.X509())
	if err != nil {
		return err
	}
	c.summary = v.keep(c.summary, auth, true)
	return nil
}

// Expect checks a certificate that was just issued and keeps it, ahead of the
// first message of its device. One that CheckIssued refuses is left.
func (v *Verifier) Expect(cert *x509.Certificate) {
	_ = v.CheckIssued(v.adopt(cert)) // whoever presents it is told why
}

// keep puts a summary into the cache.
func (v *Verifier) keep(s *summary, under *authorities, vouched bool) *summary {
	kept := *s
	kept.under, kept.vouched = under, vouched
	v.cache.put(&kept)
	return &kept
}

// check verifies cert against the set, signature-wise.
func (a *authorities) check(cert *x509.Certificate) error {
	if cert.IsCA {
		return fmt.Errorf("%w: it is an authority itself", ErrNotIssued)
	}
	if !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return fmt.Errorf("%w: not for client authentication", ErrNotIssued)
	}
	for _, ca := range a.certs {
		if !bytes.Equal(ca.RawSubject, cert.RawIssuer) {
			continue
		}
		err := cert.CheckSignatureFrom(ca)
		if err == nil {
			return nil
		}
	}
	return ErrNotIssued
}

// remember caches a certificate whose key just signed something. Where
// authorities are set, only what they issued is kept, so that strangers cannot
// push devices out of the cache.
func (v *Verifier) remember(c *Certificate) {
	if auth := v.auth.Load(); len(auth.certs) == 0 {
		if c.under != auth {
			c.summary = v.keep(c.summary, auth, false)
		}
		return
	}
	// A refusal is the caller's to find: it calls CheckIssued itself.
	_ = v.CheckIssued(c)
}

// adopt turns a certificate parsed by the library into ours.
func (v *Verifier) adopt(cert *x509.Certificate) *Certificate {
	return newCertificate(cert, sha256.Sum256(cert.Raw))
}

// parse returns the cached certificate of der, or a new one that is not cached
// until its key has been seen to sign or its issuer to vouch.
func (v *Verifier) parse(der []byte) (*Certificate, error) {
	hash := sha256.Sum256(der)
	if s := v.cache.get(hash); s != nil && s.under == v.auth.Load() {
		return &Certificate{summary: s, der: der}, nil
	}
	// The parser keeps slices of its input; der belongs to the request.
	cert, err := x509.ParseCertificate(bytes.Clone(der))
	if err != nil {
		return nil, fmt.Errorf("%w: certificate", ErrMalformed)
	}
	return newCertificate(cert, hash), nil
}

// verifyFast is VerifyDetached for the shape in the package comment; errUnknown
// for others.
func (v *Verifier) verifyFast(sig, content []byte) (*Certificate, error) {
	d, err := parseDetached(sig)
	if err != nil {
		return nil, err
	}
	signer, err := v.signer(d)
	if err != nil {
		return nil, err
	}
	signed, err := d.signedBytes(content)
	if err != nil {
		return nil, err
	}
	err = checkSignature(signer.key, d, signed)
	if err != nil {
		return nil, err
	}
	return signer, nil
}

// signer finds the one embedded certificate the signer info names. None or two
// of them are left to the library.
func (v *Verifier) signer(d *detached) (*Certificate, error) {
	var found *Certificate
	for _, raw := range d.certificates[:d.count] {
		c, err := v.parse(raw)
		if err != nil {
			return nil, errUnknown
		}
		if !d.names(c.summary) {
			continue
		}
		if found != nil {
			return nil, errUnknown
		}
		found = c
	}
	if found == nil {
		return nil, errUnknown
	}
	return found, nil
}

// names reports whether the signer identifier is that of the certificate.
func (d *detached) names(s *summary) bool {
	if d.keyID != nil {
		return bytes.Equal(s.keyID, d.keyID)
	}
	return nameOf(d.issuer, bytes.TrimLeft(d.serial, "\x00")) == s.issuer
}

// maxRSABits bounds the cost of one verification: it grows with the square of
// the modulus, and the certificate may be a stranger's.
const maxRSABits = 8192

// affordable refuses keys whose use would cost more than a message is worth.
func affordable(public crypto.PublicKey) error {
	key, ok := public.(*rsa.PublicKey)
	if ok && key.N.BitLen() > maxRSABits {
		return fmt.Errorf("%w: RSA key of %d bits", ErrMalformed, key.N.BitLen())
	}
	return nil
}

// checkSignature verifies the signature value over signed with the key.
func checkSignature(public crypto.PublicKey, d *detached, signed []byte) error {
	err := affordable(public)
	if err != nil {
		return err
	}
	digest := sum(d.digest, signed)
	switch key := public.(type) {
	case *rsa.PublicKey:
		if d.scheme != schemeRSA {
			return fmt.Errorf("%w: algorithm does not fit the key", ErrSignature)
		}
		err := rsa.VerifyPKCS1v15(key, d.digest, digest, d.value)
		if err != nil {
			return ErrSignature
		}
		return nil
	case *ecdsa.PublicKey:
		if d.scheme != schemeECDSA {
			return fmt.Errorf("%w: algorithm does not fit the key", ErrSignature)
		}
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return errUnknown
		}
		if !ecdsa.VerifyASN1(key, digest, d.value) {
			return ErrSignature
		}
		return nil
	default:
		return errUnknown
	}
}

package xarpkg

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // what xar uses by default
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/codec/cms"
)

// hashOf is the checksum of that style; 0: an unknown one, or one that nobody
// should rely on.
func hashOf(style string) (crypto.Hash, hash.Hash) {
	switch strings.ToLower(style) {
	case "sha1":
		return crypto.SHA1, sha1.New() //nolint:gosec // see the import
	case "sha256":
		return crypto.SHA256, sha256.New()
	case "sha512":
		return crypto.SHA512, sha512.New()
	}
	return 0, nil
}

// checkSignature verifies the signature over the checksum of the table of
// contents, and that the checksum is that of the table that was read.
func (a *archive) checkSignature(out *Package) error {
	if a.toc.Signature == nil && a.toc.XSignature == nil {
		return ErrNotSigned
	}
	kind, sum := hashOf(a.toc.Checksum.Style)
	if kind == 0 {
		return fmt.Errorf("%w: a package whose checksum is %.40q counts as not signed", ErrNotSigned, a.toc.Checksum.Style)
	}
	sum.Write(a.packed)
	digest := sum.Sum(nil)
	if a.toc.Checksum.Length() != int64(len(digest)) {
		return fmt.Errorf("%w: its checksum has %d bytes", ErrMalformed, a.toc.Checksum.Length())
	}
	stored, err := a.inHeap(a.toc.Checksum.extent)
	if err != nil {
		return err
	}
	if string(stored) != string(digest) {
		return ErrBadSignature
	}
	if s := a.toc.Signature; s != nil && strings.EqualFold(s.Style, "RSA") {
		out.Signed = signedAt(a.toc.Created)
		return a.checkRSA(s, kind, digest, out)
	}
	for _, s := range []*signature{a.toc.XSignature, a.toc.Signature} {
		if s != nil && strings.EqualFold(s.Style, "CMS") {
			return a.checkCMS(s, digest, out)
		}
	}
	return fmt.Errorf("%w: its signature is of an unknown form", ErrNotSigned)
}

// signedAt reads the time of an RSA signature: seconds since 2001-01-01 UTC.
func signedAt(text string) time.Time {
	seconds, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsNaN(seconds) || seconds <= 0 || seconds > 1e10 {
		return time.Time{}
	}
	return time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(seconds) * time.Second)
}

// value reads the bytes of a signature.
func (a *archive) value(s *signature) ([]byte, error) {
	if s.Length() > maxSignature {
		return nil, ErrTooLarge
	}
	return a.inHeap(s.extent)
}

func (a *archive) checkRSA(s *signature, hash crypto.Hash, digest []byte, out *Package) error {
	leaf, err := s.leaf()
	if err != nil {
		return err
	}
	key, ok := leaf.PublicKey.(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("%w: the key of %.80q is not an RSA key", ErrNotSigned, leaf.Subject.CommonName)
	}
	const maxBits = 8192 // verifying costs the square of it
	if key.N.BitLen() > maxBits {
		return fmt.Errorf("%w: an RSA key of %d bits", ErrMalformed, key.N.BitLen())
	}
	value, err := a.value(s)
	if err != nil {
		return err
	}
	if rsa.VerifyPKCS1v15(key, hash, digest, value) != nil {
		return ErrBadSignature
	}
	out.Signer = leaf
	return nil
}

// leaf is the first certificate: the signer's.
func (s *signature) leaf() (*x509.Certificate, error) {
	if len(s.Certificates) == 0 || len(s.Certificates) > maxCertificates {
		return nil, fmt.Errorf("%w: its signature comes with %d certificates", ErrNotSigned, len(s.Certificates))
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s.Certificates[0]), ""))
	if err != nil {
		return nil, fmt.Errorf("%w: the signer's certificate: %w", ErrMalformed, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: the signer's certificate: %w", ErrMalformed, err)
	}
	return cert, nil
}

func (a *archive) checkCMS(s *signature, digest []byte, out *Package) error {
	value, err := a.value(s)
	if err != nil {
		return err
	}
	cert, err := cms.NewVerifier(1).VerifyDetached(value, digest)
	switch {
	case errors.Is(err, cms.ErrSignature):
		return ErrBadSignature
	case err != nil:
		return fmt.Errorf("%w: its signature: %w", ErrMalformed, err)
	}
	out.Signer = cert.X509()
	return nil
}

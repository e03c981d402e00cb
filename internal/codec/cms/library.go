package cms

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"github.com/smallstep/pkcs7"
)

// Signed is an opened SignedData whose signature has been verified.
type Signed struct {
	Content      []byte
	Signer       *x509.Certificate
	Certificates []*x509.Certificate // all that were embedded, the signer's included
	Digest       crypto.Hash         // of the signature

	p7 *pkcs7.PKCS7
}

// Attribute decodes the first value of a signed attribute into out, as
// encoding/asn1.Unmarshal does. It fails with ErrMalformed when it is missing or
// of another type.
func (s *Signed) Attribute(oid asn1.ObjectIdentifier, out any) error {
	return guarded("signed attribute", func() error {
		err := s.p7.UnmarshalSignedAttribute(oid, out)
		if err != nil {
			return fmt.Errorf("%w: attribute %v", ErrMalformed, oid)
		}
		return nil
	})
}

// Open verifies a SignedData that carries its content and exactly one signer,
// in DER or BER, and returns both. Whose certificate it is remains the caller's
// question. A signingTime outside the certificate's validity is refused. It
// fails with ErrTooLarge, ErrMalformed or ErrSignature; after ErrSignature the
// returned Signed is not nil, so that an answer can be addressed, and must not
// be believed.
func Open(der []byte) (*Signed, error) { return open(der, false) }

// OpenAnyTime is Open for a signer whose clock or certificate may be years
// off, as those of a device are before it has been set up: a signingTime
// outside the certificate's validity is accepted.
func OpenAnyTime(der []byte) (*Signed, error) { return open(der, true) }

func open(der []byte, anyTime bool) (*Signed, error) {
	if len(der) > MaxSigned {
		return nil, ErrTooLarge
	}
	var s *Signed
	err := guarded("open signed data", func() error {
		p7, err := libraryParse(der)
		if err != nil {
			return err
		}
		s, err = signedBy(p7)
		if err != nil {
			return err
		}
		if anyTime {
			return libraryCheck(timeless(p7))
		}
		return libraryCheck(p7)
	})
	if err != nil && !errors.Is(err, ErrSignature) {
		return nil, err
	}
	return s, err
}

// libraryVerify verifies a detached signature with smallstep/pkcs7, adding what
// that library leaves out.
func libraryVerify(sig, content []byte) (*x509.Certificate, error) {
	var signer *x509.Certificate
	err := guarded("verify signature", func() error {
		p7, err := libraryParse(sig)
		if err != nil {
			return err
		}
		p7.Content = content
		s, err := signedBy(p7)
		if err != nil {
			return err
		}
		signer = s.Signer
		return libraryCheck(p7)
	})
	if err != nil {
		return nil, err
	}
	return signer, nil
}

// libraryParse bounds the structure and parses it.
func libraryParse(der []byte) (*pkcs7.PKCS7, error) {
	_, err := parseBER(der)
	if err != nil {
		return nil, err
	}
	p7, err := pkcs7.Parse(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return p7, nil
}

// signedBy names the only signer of p7.
func signedBy(p7 *pkcs7.PKCS7) (*Signed, error) {
	if len(p7.Signers) != 1 {
		return nil, fmt.Errorf("%w: %d signers", ErrMalformed, len(p7.Signers))
	}
	signer := p7.GetOnlySigner()
	if signer == nil {
		return nil, fmt.Errorf("%w: no certificate for the signer", ErrMalformed)
	}
	err := affordable(signer.PublicKey)
	if err != nil {
		return nil, err
	}
	digest := digestOf(oidContent(p7.Signers[0].DigestAlgorithm.Algorithm))
	return &Signed{Content: p7.Content, Signer: signer, Certificates: p7.Certificates, Digest: digest, p7: p7}, nil
}

// libraryCheck verifies the signature of the only signer. The library checks
// neither the contentType attribute (RFC 5652 section 11.1) nor that digest and
// signature algorithm agree.
func libraryCheck(p7 *pkcs7.PKCS7) error {
	si := p7.Signers[0]
	digest := digestOf(oidContent(si.DigestAlgorithm.Algorithm))
	_, named := signatureOf(oidContent(si.DigestEncryptionAlgorithm.Algorithm))
	if named != 0 && named != digest {
		return fmt.Errorf("%w: digest and signature algorithm disagree", ErrMalformed)
	}
	if len(si.AuthenticatedAttributes) > 0 {
		var contentType asn1.ObjectIdentifier
		err := p7.UnmarshalSignedAttribute(pkcs7.OIDAttributeContentType, &contentType)
		if err != nil || !contentType.Equal(pkcs7.OIDData) {
			return fmt.Errorf("%w: contentType attribute is not data", ErrMalformed)
		}
	}
	err := p7.Verify()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return nil
}

// timeless returns a copy of p7 whose certificates are valid at all times: the
// library compares signingTime with them and cannot be told not to.
func timeless(p7 *pkcs7.PKCS7) *pkcs7.PKCS7 {
	p := *p7
	p.Certificates = make([]*x509.Certificate, 0, len(p7.Certificates))
	for _, c := range p7.Certificates {
		wide := *c
		wide.NotBefore, wide.NotAfter = time.Time{}, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		p.Certificates = append(p.Certificates, &wide)
	}
	return &p
}

// oidContent returns the DER content octets of oid, or "" for an invalid one.
func oidContent(oid asn1.ObjectIdentifier) string {
	der, err := asn1.Marshal(oid)
	if err != nil || len(der) < 2 {
		return ""
	}
	return string(der[2:])
}

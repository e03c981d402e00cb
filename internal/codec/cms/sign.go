package cms

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"fmt"

	"github.com/smallstep/pkcs7"
)

// Attribute is a signed attribute; Value is what encoding/asn1 can marshal.
type Attribute struct {
	OID   asn1.ObjectIdentifier
	Value any
}

// Signing says how to sign. Certificate and Key are required.
type Signing struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	// Chain is embedded after Certificate: its issuer, that one's issuer, ...
	Chain []*x509.Certificate
	// First is embedded before Certificate: SCEP clients take the first one
	// of a reply as theirs.
	First []*x509.Certificate
	// Digest is SHA-1, SHA-256 (when 0), SHA-384 or SHA-512.
	Digest     crypto.Hash
	Attributes []Attribute
	// Detached leaves the content out of the message.
	Detached bool
}

// Sign returns a DER SignedData with the content inside, SHA-256, as
// configuration profiles are signed. chain starts with the issuer of cert and
// may be empty.
func Sign(content []byte, cert *x509.Certificate, chain []*x509.Certificate, key crypto.Signer) ([]byte, error) {
	return SignWith(content, Signing{Certificate: cert, Key: key, Chain: chain})
}

// SignDetached returns a DER SignedData over content without the content, as
// the Mdm-Signature header carries it.
func SignDetached(content []byte, cert *x509.Certificate, chain []*x509.Certificate, key crypto.Signer) ([]byte, error) {
	return SignWith(content, Signing{Certificate: cert, Key: key, Chain: chain, Detached: true})
}

// SignWith signs content as o says. The signingTime attribute is the system's
// time: the library takes no clock.
func SignWith(content []byte, o Signing) ([]byte, error) {
	if len(content) > MaxSigned {
		return nil, ErrTooLarge
	}
	digest, err := digestOID(o.Digest)
	if err != nil {
		return nil, err
	}
	var der []byte
	err = guarded("sign", func() error {
		sd, err := pkcs7.NewSignedData(content)
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		sd.SetDigestAlgorithm(digest)
		for _, c := range o.First {
			sd.AddCertificate(c)
		}
		extra := make([]pkcs7.Attribute, 0, len(o.Attributes))
		for _, a := range o.Attributes {
			extra = append(extra, pkcs7.Attribute{Type: a.OID, Value: a.Value})
		}
		err = sd.AddSignerChain(o.Certificate, o.Key, o.Chain, pkcs7.SignerInfoConfig{ExtraSignedAttributes: extra})
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		if o.Detached {
			sd.Detach()
		}
		der, err = sd.Finish()
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return der, nil
}

// digestOID maps a hash to the identifier the library knows; 0 is SHA-256.
func digestOID(h crypto.Hash) (asn1.ObjectIdentifier, error) {
	switch h {
	case 0, crypto.SHA256:
		return pkcs7.OIDDigestAlgorithmSHA256, nil
	case crypto.SHA1:
		return pkcs7.OIDDigestAlgorithmSHA1, nil
	case crypto.SHA384:
		return pkcs7.OIDDigestAlgorithmSHA384, nil
	case crypto.SHA512:
		return pkcs7.OIDDigestAlgorithmSHA512, nil
	default:
		return nil, fmt.Errorf("cms: digest %v is not supported", h)
	}
}

// Bundle returns certificates as a SignedData without signers ("degenerate",
// RFC 5652 section 5.1), the form in which SCEP hands certificates out.
func Bundle(certs []*x509.Certificate) ([]byte, error) {
	var raw bytes.Buffer
	for _, c := range certs {
		raw.Write(c.Raw)
	}
	var der []byte
	err := guarded("bundle certificates", func() error {
		var err error
		der, err = pkcs7.DegenerateCertificate(raw.Bytes())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bundle certificates: %w", err)
	}
	return der, nil
}

// ParseBundle returns the certificates of a SignedData, whose signers, if any,
// are not looked at. It fails with ErrTooLarge or ErrMalformed, also when there
// is no certificate inside.
func ParseBundle(der []byte) ([]*x509.Certificate, error) {
	if len(der) > MaxEnvelope {
		return nil, ErrTooLarge
	}
	var certs []*x509.Certificate
	err := guarded("parse certificates", func() error {
		p7, err := libraryParse(der)
		if err != nil {
			return err
		}
		certs = p7.Certificates
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%w: no certificate", ErrMalformed)
	}
	return certs, nil
}

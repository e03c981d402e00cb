package scepmsg

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/smallstep/scep/x509util"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Request is a certificate request as it arrived. Parse fills the first part,
// Open the second.
type Request struct {
	Type          MessageType
	TransactionID string
	SenderNonce   []byte
	// Signer signed the message: a certificate the client made for itself,
	// or, in a renewal, the one it wants to replace. Not checked against
	// anything.
	Signer *x509.Certificate
	Digest crypto.Hash // of the message signature

	CSR       *x509.CertificateRequest
	Challenge string     // challengePassword; "" when there was none. Never log it.
	Cipher    cms.Cipher // of the envelope

	envelope []byte
}

// Key is the private key of the authority: it decrypts requests and signs
// replies. It must be RSA.
type Key interface {
	crypto.Signer
	crypto.Decrypter
}

// Parse opens the outside of a request: SignedData with the SCEP attributes
// (RFC 8894 section 3.1), DER or BER, at most MaxMessage bytes. With a
// *Failure the request is not nil and can be answered by Fail. Any other error
// is ErrMalformed.
func Parse(der []byte) (*Request, error) {
	if len(der) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(der))
	}
	signed, verifyErr := cms.Open(der)
	if signed == nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, verifyErr)
	}
	r := &Request{Signer: signed.Signer, Digest: signed.Digest, envelope: signed.Content}
	err := r.readAttributes(signed)
	if err != nil {
		return nil, err
	}
	if verifyErr != nil {
		return r, &Failure{Info: BadMessageCheck, Reason: "the message signature does not verify", Cause: verifyErr}
	}
	switch r.Type {
	case PKCSReq, RenewalReq, UpdateReq:
		return r, nil
	case CertRep:
		return nil, fmt.Errorf("%w: a reply where a request is expected", ErrMalformed)
	default:
		return r, &Failure{Info: BadRequest, Reason: fmt.Sprintf("message type %.8q is not offered", string(r.Type))}
	}
}

// readAttributes reads what every request must carry (RFC 8894 section 3.2.1).
func (r *Request) readAttributes(signed *cms.Signed) error {
	var messageType string
	err := errors.Join(
		signed.Attribute(oidTransactionID(), &r.TransactionID),
		signed.Attribute(oidMessageType(), &messageType),
		signed.Attribute(oidSenderNonce(), &r.SenderNonce),
	)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if r.TransactionID == "" || len(r.TransactionID) > MaxTransactionID {
		return fmt.Errorf("%w: transaction identifier of %d bytes", ErrMalformed, len(r.TransactionID))
	}
	if len(r.SenderNonce) == 0 || len(r.SenderNonce) > maxNonce {
		return fmt.Errorf("%w: sender nonce of %d bytes", ErrMalformed, len(r.SenderNonce))
	}
	r.Type = MessageType(messageType)
	return nil
}

// Open decrypts the inside with the authority's certificate and key and checks
// the request itself: its signature, which proves possession of the key, and
// the key's kind. Every error is a *Failure.
//
// An envelope that does not decrypt and one that decrypts to rubbish fail alike:
// telling them apart would let strangers use the authority's key as an oracle.
func (r *Request) Open(ca *x509.Certificate, key Key) error {
	plain, cipher, err := cms.Decrypt(r.envelope, ca, key)
	if err != nil {
		return &Failure{Info: BadMessageCheck, Reason: "the envelope does not open", Cause: err}
	}
	r.Cipher = cipher
	r.CSR, r.Challenge, err = parseCSR(plain)
	if err != nil {
		return &Failure{Info: BadMessageCheck, Reason: "the envelope does not open", Cause: err}
	}
	err = checkKey(r.CSR.PublicKey)
	if err != nil {
		return &Failure{Info: BadAlg, Reason: err.Error()}
	}
	err = r.CSR.CheckSignature()
	if err != nil {
		return &Failure{Info: BadMessageCheck, Reason: "the certificate request is not signed by its key", Cause: err}
	}
	return nil
}

// parseCSR reads a PKCS #10 request and its challengePassword
// (RFC 2985 section 5.4.1).
func parseCSR(der []byte) (csr *x509.CertificateRequest, challenge string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: certificate request: %v", ErrMalformed, p)
		}
	}()
	csr, err = x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, "", fmt.Errorf("certificate request: %w", err)
	}
	challenge, err = x509util.ParseChallengePassword(der)
	if err != nil {
		return nil, "", fmt.Errorf("challenge password: %w", err)
	}
	return csr, challenge, nil
}

// checkKey accepts RSA from MinRSABits to MaxRSABits and ECDSA on the curves of
// P-256 and above.
func checkKey(pub any) error {
	const minCurveBits = 256
	switch key := pub.(type) {
	case *rsa.PublicKey:
		bits := key.N.BitLen()
		if bits < MinRSABits || bits > MaxRSABits {
			return fmt.Errorf("RSA key of %d bits; must be %d to %d", bits, MinRSABits, MaxRSABits)
		}
		return nil
	case *ecdsa.PublicKey:
		bits := key.Curve.Params().BitSize
		if bits < minCurveBits {
			return fmt.Errorf("elliptic curve of %d bits; must be %d or more", bits, minCurveBits)
		}
		return nil
	default:
		return fmt.Errorf("key of type %T is not supported", pub)
	}
}

// CertificateRequest is what the authority decides on. Call it after Open.
func (r *Request) CertificateRequest() fleet.CertificateRequest {
	return fleet.CertificateRequest{
		CSR: r.CSR, Challenge: r.Challenge, Signer: r.Signer,
		Renewal:       r.Type == RenewalReq || r.Type == UpdateReq,
		TransactionID: r.TransactionID,
	}
}

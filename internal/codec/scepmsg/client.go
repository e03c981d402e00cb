package scepmsg

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/smallstep/scep/x509util"

	"github.com/muster-mdm/muster/internal/codec/cms"
)

// NewCSR makes a PKCS #10 request for key, with a challengePassword unless it
// is empty.
func NewCSR(key crypto.Signer, subject pkix.Name, challenge string) (*x509.CertificateRequest, error) {
	der, err := x509util.CreateCertificateRequest(rand.Reader, &x509util.CertificateRequest{
		CertificateRequest: x509.CertificateRequest{Subject: subject},
		ChallengePassword:  challenge,
	}, key)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	return csr, nil
}

// selfSignedFor is how long the certificate is valid with which a client signs
// its first request (RFC 8894 section 2.3); the field uses an hour or so.
const selfSignedFor = time.Hour

// SelfSigned makes the certificate with which a client that has none yet signs
// its request.
func SelfSigned(key crypto.Signer, now time.Time) (*x509.Certificate, error) {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "SCEP SIGNER"},
		NotBefore:    now.Add(-selfSignedFor),
		NotAfter:     now.Add(selfSignedFor),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	return cert, nil
}

// Enrollment says what a client asks for.
type Enrollment struct {
	Type MessageType // PKCSReq when ""
	CSR  *x509.CertificateRequest
	// Authorities are the certificates of GetCACert: the envelope is encrypted
	// to those with RSA keys that may encipher.
	Authorities []*x509.Certificate
	// Signer and SignerKey (RSA) sign the message and read the reply.
	Signer    *x509.Certificate
	SignerKey *rsa.PrivateKey
	Cipher    cms.Cipher  // AES-128 when CipherUnknown
	Digest    crypto.Hash // SHA-256 when 0
}

// Pending is a request on its way: what its reply must match.
type Pending struct {
	DER           []byte // the PKIMessage to send
	TransactionID string

	nonce []byte
	ask   Enrollment
}

// NewRequest builds a PKCSReq or RenewalReq (RFC 8894 section 3.3.1).
func NewRequest(ask Enrollment) (*Pending, error) {
	if ask.Type == "" {
		ask.Type = PKCSReq
	}
	if ask.Cipher == cms.CipherUnknown {
		ask.Cipher = cms.CipherAES128
	}
	recipients := slices.DeleteFunc(slices.Clone(ask.Authorities), func(c *x509.Certificate) bool {
		_, ok := c.PublicKey.(*rsa.PublicKey)
		return !ok
	})
	envelope, err := cms.EncryptWith(ask.Cipher, ask.CSR.Raw, recipients)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	nonce := make([]byte, nonceSize)
	_, err = rand.Read(nonce)
	if err != nil {
		return nil, fmt.Errorf("request nonce: %w", err)
	}
	spki := sha256.Sum256(ask.CSR.RawSubjectPublicKeyInfo)
	p := &Pending{TransactionID: hex.EncodeToString(spki[:]), nonce: nonce, ask: ask}
	p.DER, err = cms.SignWith(envelope, cms.Signing{
		Certificate: ask.Signer, Key: ask.SignerKey, Digest: ask.Digest,
		Attributes: []cms.Attribute{
			{OID: oidTransactionID(), Value: p.TransactionID},
			{OID: oidMessageType(), Value: string(ask.Type)},
			{OID: oidSenderNonce(), Value: nonce},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	return p, nil
}

// Reply is a decoded CertRep.
type Reply struct {
	Status      Status
	FailInfo    FailInfo          // with StatusFailure
	Certificate *x509.Certificate // with StatusSuccess
}

// ParseReply opens the answer to this request. It checks that one of the
// authorities signed it and that transaction and nonce are ours; the issued
// certificate must be for the requested key.
func (p *Pending) ParseReply(der []byte) (*Reply, error) {
	if len(der) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(der))
	}
	signed, err := cms.Open(der)
	if err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	if !slices.ContainsFunc(p.ask.Authorities, signed.Signer.Equal) {
		return nil, errors.New("scep: the reply is signed by a stranger")
	}
	var transaction, messageType, status, info string
	var nonce []byte
	err = errors.Join(
		signed.Attribute(oidTransactionID(), &transaction),
		signed.Attribute(oidMessageType(), &messageType),
		signed.Attribute(oidStatus(), &status),
		signed.Attribute(oidRecipientNonce(), &nonce),
	)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if messageType != string(CertRep) || transaction != p.TransactionID || !bytes.Equal(nonce, p.nonce) {
		return nil, fmt.Errorf("%w: not the reply to this request", ErrMalformed)
	}
	reply := &Reply{Status: Status(status)}
	switch reply.Status {
	case StatusSuccess:
		reply.Certificate, err = p.openReply(signed.Content)
		return reply, err
	case StatusFailure:
		err = signed.Attribute(oidFailInfo(), &info)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		reply.FailInfo = FailInfo(info)
		return reply, nil
	case StatusPending:
		return reply, nil
	default:
		return nil, fmt.Errorf("%w: status %.8q", ErrMalformed, status)
	}
}

// openReply decrypts the envelope of a success and picks our certificate.
func (p *Pending) openReply(envelope []byte) (*x509.Certificate, error) {
	bundle, _, err := cms.Decrypt(envelope, p.ask.Signer, p.ask.SignerKey)
	if err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	certs, err := cms.ParseBundle(bundle)
	if err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	for _, c := range certs {
		if bytes.Equal(c.RawSubjectPublicKeyInfo, p.ask.CSR.RawSubjectPublicKeyInfo) {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%w: no certificate for the requested key", ErrMalformed)
}

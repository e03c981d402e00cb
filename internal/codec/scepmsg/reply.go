package scepmsg

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	"github.com/muster-mdm/muster/internal/codec/cms"
)

// Succeed builds the CertRep that carries the issued certificate, encrypted for
// the request's signer and signed by the authority (RFC 8894 section 3.3.2.1).
// A signer without an RSA key cannot be answered: *Failure with BadAlg.
func (r *Request) Succeed(issued, ca *x509.Certificate, key Key) ([]byte, error) {
	if _, ok := r.Signer.PublicKey.(*rsa.PublicKey); !ok {
		return nil, &Failure{Info: BadAlg, Reason: "the message's signer has no RSA key to encrypt the reply to"}
	}
	bundle, err := cms.Bundle([]*x509.Certificate{issued})
	if err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	envelope, err := cms.EncryptWith(replyCipher(r.Cipher), bundle, []*x509.Certificate{r.Signer})
	if err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	return r.reply(envelope, StatusSuccess, "", ca, key, issued)
}

// Fail builds the CertRep that refuses the request (RFC 8894 section 3.3.2.2).
func (r *Request) Fail(info FailInfo, ca *x509.Certificate, key Key) ([]byte, error) {
	return r.reply(nil, StatusFailure, info, ca, key)
}

// Pend builds the CertRep that asks the requester to poll
// (RFC 8894 section 3.3.2.3).
func (r *Request) Pend(ca *x509.Certificate, key Key) ([]byte, error) {
	return r.reply(nil, StatusPending, "", ca, key)
}

// replyCipher mirrors the request's cipher. Single DES is answered with AES:
// a client that old has it, and the field's libraries choose DES by oversight.
func replyCipher(request cms.Cipher) cms.Cipher {
	switch request {
	case cms.CipherAES256, cms.CipherAES256GCM:
		return cms.CipherAES256
	case cms.CipherTripleDES:
		return cms.CipherTripleDES
	case cms.CipherAES128, cms.CipherAES128GCM, cms.CipherDES, cms.CipherUnknown:
		return cms.CipherAES128
	}
	return cms.CipherAES128
}

// reply signs a CertRep. issued goes in front of the certificates, where some
// clients take theirs from.
func (r *Request) reply(envelope []byte, status Status, info FailInfo, ca *x509.Certificate, key Key, issued ...*x509.Certificate) ([]byte, error) {
	nonce := make([]byte, nonceSize)
	_, err := rand.Read(nonce)
	if err != nil {
		return nil, fmt.Errorf("reply nonce: %w", err)
	}
	attributes := []cms.Attribute{
		{OID: oidTransactionID(), Value: r.TransactionID},
		{OID: oidMessageType(), Value: string(CertRep)},
		{OID: oidStatus(), Value: string(status)},
		{OID: oidSenderNonce(), Value: nonce},
		{OID: oidRecipientNonce(), Value: r.SenderNonce},
	}
	if info != "" {
		attributes = append(attributes, cms.Attribute{OID: oidFailInfo(), Value: string(info)})
	}
	der, err := cms.SignWith(envelope, cms.Signing{
		Certificate: ca, Key: key, First: issued, Digest: replyDigest(r.Digest), Attributes: attributes,
	})
	if err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	return der, nil
}

// replyDigest mirrors SHA-2 digests. SHA-1 requests are answered with SHA-256:
// the authority's key never signs a SHA-1 digest of something a stranger chose.
func replyDigest(request crypto.Hash) crypto.Hash {
	if request == crypto.SHA384 || request == crypto.SHA512 {
		return request
	}
	return crypto.SHA256
}

// Package pushcsr builds what Apple's push certificate portal accepts: a push
// certificate request, countersigned by the holder of an MDM vendor
// certificate (contracts/apple.md 2, vendor-signed CSR flow). It is pure.
package pushcsr

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/muster-mdm/muster/internal/codec/plist"
)

// maxChain bounds the certificates of a chain: vendor, intermediate, root.
const maxChain = 10

// Sign countersigns a request (PEM or DER) with the vendor's key and returns
// the base64 property list to upload. chain begins with the vendor's
// certificate and ends with Apple's root.
func Sign(csr []byte, chain []*x509.Certificate, key crypto.Signer) ([]byte, error) {
	der, err := requestDER(csr)
	if err != nil {
		return nil, err
	}
	if err := check(chain, key); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(der)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	var certificates bytes.Buffer
	for _, c := range chain {
		if err := pem.Encode(&certificates, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
			return nil, err
		}
	}
	list, err := plist.Marshal(map[string]any{
		"PushCertRequestCSR":       base64.StdEncoding.EncodeToString(der),
		"PushCertCertificateChain": certificates.String(),
		"PushCertSignature":        base64.StdEncoding.EncodeToString(signature),
	})
	if err != nil {
		return nil, err
	}
	return []byte(base64.StdEncoding.EncodeToString(list)), nil
}

// requestDER reads a request and checks that it was made by its key's holder.
func requestDER(csr []byte) ([]byte, error) {
	if block, _ := pem.Decode(csr); block != nil {
		csr = block.Bytes
	}
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("not a certificate request: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the request's own signature is wrong: %w", err)
	}
	if _, ok := request.PublicKey.(*rsa.PublicKey); !ok {
		return nil, errors.New("the request is not for an RSA key, which Apple asks for")
	}
	return request.Raw, nil
}

func check(chain []*x509.Certificate, key crypto.Signer) error {
	if len(chain) == 0 || len(chain) > maxChain {
		return fmt.Errorf("the chain has %d certificates; it begins with the vendor's and ends with Apple's root", len(chain))
	}
	public, ok := key.Public().(*rsa.PublicKey)
	if !ok || !public.Equal(chain[0].PublicKey) {
		return errors.New("the key does not belong to the first certificate of the chain, which must be the vendor's")
	}
	for i := 1; i < len(chain); i++ {
		if err := chain[i-1].CheckSignatureFrom(chain[i]); err != nil {
			return fmt.Errorf("certificate %d of the chain was not issued by the one after it: %w", i, err)
		}
	}
	return nil
}

// SignPEM is Sign with the chain and the vendor's key in PEM form.
func SignPEM(csr, chainPEM, keyPEM []byte) ([]byte, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(chainPEM); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the chain: %w", len(chain)+1, err)
		}
		chain = append(chain, cert)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	return Sign(csr, chain, key)
}

func parseKey(keyPEM []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("the vendor's key is not in PEM form")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the vendor's key: %w (an encrypted one must be decrypted first, with `openssl pkey`)", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the vendor's key cannot sign")
	}
	return signer, nil
}

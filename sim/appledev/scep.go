package appledev

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // a profile may give this fingerprint
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // likewise
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/codec/scepmsg"
)

// identity is a certificate and its key in the keychain.
type identity struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// requestIdentity does what a SCEP payload asks for: capabilities, authority,
// request.
func (d *Device) requestIdentity(ctx context.Context, p *scepPayload) (*identity, error) {
	key, err := d.o.Keys.Key(p.keySize)
	if err != nil {
		return nil, err
	}
	caps, err := d.scepGet(ctx, "GetCACaps", p)
	if err != nil {
		return nil, err
	}
	capabilities := strings.Fields(string(caps.body))
	authorities, err := d.authorities(ctx, p)
	if err != nil {
		return nil, err
	}
	subject, err := subjectOf(p.subject)
	if err != nil {
		return nil, err
	}
	csr, err := scepmsg.NewCSR(key, subject, p.challenge)
	if err != nil {
		return nil, fmt.Errorf("SCEP: %w", err)
	}
	// The library that signs the message goes by the real time, whatever the
	// time of a test is.
	signer, err := scepmsg.SelfSigned(key, time.Now())
	if err != nil {
		return nil, fmt.Errorf("SCEP: %w", err)
	}
	cipher := cms.CipherTripleDES
	if slices.Contains(capabilities, "AES") || slices.Contains(capabilities, "SCEPStandard") {
		cipher = cms.CipherAES128
	}
	pending, err := scepmsg.NewRequest(scepmsg.Enrollment{
		CSR: csr, Authorities: authorities, Signer: signer, SignerKey: key, Cipher: cipher,
	})
	if err != nil {
		return nil, fmt.Errorf("SCEP: %w", err)
	}
	answer, err := d.pkiOperation(ctx, p, pending.DER, slices.Contains(capabilities, "POSTPKIOperation"))
	if err != nil {
		return nil, err
	}
	reply, err := pending.ParseReply(answer.body)
	if err != nil {
		return nil, fmt.Errorf("SCEP: %w", err)
	}
	if reply.Status != scepmsg.StatusSuccess {
		return nil, fmt.Errorf("SCEP: refused with status %s, %v", reply.Status, reply.FailInfo)
	}
	return &identity{cert: reply.Certificate, key: key}, nil
}

// scepURL adds an operation to the payload's URL.
func scepURL(p *scepPayload, operation, message string) (string, error) {
	u, err := url.Parse(p.url)
	if err != nil {
		return "", fmt.Errorf("SCEP URL: %w", err)
	}
	q := u.Query()
	q.Set("operation", operation)
	if message != "" {
		q.Set("message", message)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// scepGet does GetCACaps or GetCACert.
func (d *Device) scepGet(ctx context.Context, operation string, p *scepPayload) (*response, error) {
	u, err := scepURL(p, operation, p.name)
	if err != nil {
		return nil, err
	}
	return d.must(d.send(ctx, call{op: operation, method: http.MethodGet, url: u}))
}

// pkiOperation sends a message the way the server's capabilities allow.
func (d *Device) pkiOperation(ctx context.Context, p *scepPayload, der []byte, post bool) (*response, error) {
	c := call{op: "PKIOperation", method: http.MethodGet}
	message := base64.StdEncoding.EncodeToString(der)
	if post {
		c.method, c.body, c.contentType, message = http.MethodPost, der, "application/x-pki-message", ""
	}
	var err error
	c.url, err = scepURL(p, "PKIOperation", message)
	if err != nil {
		return nil, err
	}
	return d.must(d.send(ctx, c))
}

// authorities does GetCACert and holds the result against CAFingerprint.
func (d *Device) authorities(ctx context.Context, p *scepPayload) ([]*x509.Certificate, error) {
	answer, err := d.scepGet(ctx, "GetCACert", p)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	switch answer.contentType {
	case "application/x-x509-ca-cert":
		var cert *x509.Certificate
		cert, err = x509.ParseCertificate(answer.body)
		certs = []*x509.Certificate{cert}
	case "application/x-x509-ca-ra-cert":
		certs, err = cms.ParseBundle(answer.body)
	default:
		err = fmt.Errorf("content type %q", answer.contentType)
	}
	if err != nil {
		return nil, fmt.Errorf("GetCACert: %w", err)
	}
	if len(p.fingerprint) > 0 && !slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return fits(c, p.fingerprint) }) {
		return nil, errors.New("GetCACert: no certificate has the fingerprint of the profile")
	}
	return certs, nil
}

// fits compares a fingerprint, whose length tells its algorithm.
func fits(c *x509.Certificate, fingerprint []byte) bool {
	switch len(fingerprint) {
	case md5.Size:
		s := md5.Sum(c.Raw) //nolint:gosec // see the import
		return bytes.Equal(s[:], fingerprint)
	case sha1.Size:
		s := sha1.Sum(c.Raw) //nolint:gosec // see the import
		return bytes.Equal(s[:], fingerprint)
	case sha256.Size:
		s := sha256.Sum256(c.Raw)
		return bytes.Equal(s[:], fingerprint)
	case sha512.Size:
		s := sha512.Sum512(c.Raw)
		return bytes.Equal(s[:], fingerprint)
	default:
		return false
	}
}

// subjectOf turns the payload's [[["CN","x"]],[["O","y"]]] into a name.
func subjectOf(rdns []any) (pkix.Name, error) {
	var name pkix.Name
	for _, rdn := range rdns {
		pairs, ok := rdn.([]any)
		if !ok {
			return name, errors.New("SCEP payload: Subject is not an array of arrays")
		}
		for _, p := range pairs {
			pair, ok := p.([]any)
			if !ok || len(pair) != 2 {
				return name, errors.New("SCEP payload: Subject has an attribute that is no pair")
			}
			key, _ := pair[0].(string)
			value, _ := pair[1].(string)
			oid, err := attributeOID(key)
			if err != nil {
				return name, err
			}
			name.ExtraNames = append(name.ExtraNames, pkix.AttributeTypeAndValue{Type: oid, Value: value})
		}
	}
	return name, nil
}

// attributeOID resolves the short names Apple documents, or a dotted number.
func attributeOID(key string) (asn1.ObjectIdentifier, error) {
	last := map[string]int{"CN": 3, "C": 6, "L": 7, "ST": 8, "O": 10, "OU": 11}
	if n, ok := last[key]; ok {
		return asn1.ObjectIdentifier{2, 5, 4, n}, nil
	}
	var oid asn1.ObjectIdentifier
	for part := range strings.SplitSeq(key, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, fmt.Errorf("SCEP payload: Subject attribute %q", key)
		}
		oid = append(oid, n)
	}
	return oid, nil
}

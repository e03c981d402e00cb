package pki

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// oidUserID is the subject attribute that carries the push topic
// (contracts/apple.md 2).
var oidUserID = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}

// topicPrefix begins every MDM push topic.
const topicPrefix = "com.apple.mgmt."

// Devices tells how many devices a change of topic would lose.
type Devices interface {
	CountOnByTopic(ctx context.Context, other string) (int, error)
}

// CSRSigner is the holder of an MDM vendor certificate: it turns a CSR into
// what Apple's push portal accepts.
type CSRSigner interface {
	// SignCSR returns the base64 property list to upload at Apple.
	SignCSR(ctx context.Context, csrDER []byte) ([]byte, error)
}

// Push keeps the certificate with which pushes are sent.
type Push struct {
	secrets Secrets
	sealer  Sealer
	devices Devices
	signer  CSRSigner // nil: the CSR is handed out as it is
	clock   func() time.Time
}

// NewPush returns the keeper of the push certificate.
func NewPush(secrets Secrets, sealer Sealer, devices Devices, signer CSRSigner, clock func() time.Time) *Push {
	return &Push{secrets: secrets, sealer: sealer, devices: devices, signer: signer, clock: clock}
}

// Certificate returns the push certificate without its key. KindNotFound:
// none was uploaded.
func (p *Push) Certificate(ctx context.Context) (*fleet.PushCertificate, error) {
	stored, err := p.secrets.Secret(ctx, assetRef(fleet.AssetPushCert))
	if err != nil {
		return nil, err
	}
	if stored == nil {
		return nil, fleet.Errorf(fleet.KindNotFound, "there is no APNs certificate: upload one with `muster apns upload`")
	}
	certPEM, err := p.sealer.Open(stored.Ref, stored.Value)
	if err != nil {
		return nil, err
	}
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("stored push certificate: %w", err)
	}
	return describePush(cert, certPEM, stored), nil
}

func describePush(cert *x509.Certificate, certPEM []byte, stored *fleet.StoredSecret) *fleet.PushCertificate {
	c := &fleet.PushCertificate{Topic: topicOf(cert), CommonName: cert.Subject.CommonName, SerialHex: cert.SerialNumber.Text(16),
		Issuer: cert.Issuer.CommonName, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, CertPEM: certPEM}
	if stored != nil {
		c.UploadedAt, c.Version = stored.UpdatedAt, stored.UpdatedAt.UnixMicro()
	}
	return c
}

func topicOf(cert *x509.Certificate) string {
	for _, name := range cert.Subject.Names {
		if name.Type.Equal(oidUserID) {
			topic, _ := name.Value.(string)
			return topic
		}
	}
	return ""
}

// KeyPair returns what a push connection authenticates with, and a version
// that grows when it is replaced. KindNotFound: none was uploaded.
func (p *Push) KeyPair(ctx context.Context) (tls.Certificate, *fleet.PushCertificate, error) {
	cert, err := p.Certificate(ctx)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	keyPEM, err := openAsset(ctx, p.secrets, p.sealer, fleet.AssetPushKey)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	pair, err := tls.X509KeyPair(cert.CertPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("stored push certificate: %w", err)
	}
	return pair, cert, nil
}

// Version tells whether the certificate changed, with one small read; 0: none.
func (p *Push) Version(ctx context.Context) (int64, error) {
	stored, err := p.secrets.Secret(ctx, assetRef(fleet.AssetPushCert))
	if err != nil || stored == nil {
		return 0, err
	}
	return stored.UpdatedAt.UnixMicro(), nil
}

// RequestCSR makes a key and a certificate signing request for a push
// certificate. Without a signer the answer is the PEM request, to be signed by
// the holder of a vendor certificate; with one it is what Apple's portal
// accepts. The key never leaves the server.
func (p *Push) RequestCSR(ctx context.Context, actor fleet.Actor) ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, caBits)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:            pkix.Name{CommonName: "Muster", Country: []string{"US"}},
		EmailAddresses:     []string{actor.Email},
		SignatureAlgorithm: x509.SHA256WithRSA,
	}, key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	write, err := sealAsset(p.sealer, fleet.AssetPushCSRKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	if err != nil {
		return nil, err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	if p.signer != nil {
		if out, err = p.signer.SignCSR(ctx, der); err != nil {
			return nil, fleet.Errorf(fleet.KindUpstream, "the CSR signer refused: %v", err).WithCause(err)
		}
	}
	return out, p.secrets.Write(ctx, []fleet.SecretWrite{write})
}

// SetCertificate stores a push certificate with its key, or with the key of
// the last RequestCSR when keyPEM is empty. A certificate with another topic
// is KindConflict, naming how many devices it would lose, unless forced.
func (p *Push) SetCertificate(ctx context.Context, actor fleet.Actor, certPEM, keyPEM []byte, force bool) (*fleet.PushCertificate, error) {
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "certificate", "not a PEM certificate: %v", err)
	}
	if err := p.checkPush(cert); err != nil {
		return nil, err
	}
	if keyPEM, err = p.matchKey(ctx, cert, keyPEM); err != nil {
		return nil, err
	}
	if err := p.checkTopic(ctx, topicOf(cert), force); err != nil {
		return nil, err
	}
	clean := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	certWrite, err := sealAsset(p.sealer, fleet.AssetPushCert, clean)
	if err != nil {
		return nil, err
	}
	keyWrite, err := sealAsset(p.sealer, fleet.AssetPushKey, keyPEM)
	if err != nil {
		return nil, err
	}
	spent := fleet.SecretWrite{Ref: assetRef(fleet.AssetPushCSRKey), Delete: true}
	details := fmt.Appendf(nil, `{"topic":%q,"serial_number":%q,"not_after":%q}`, topicOf(cert), cert.SerialNumber.Text(16), cert.NotAfter.UTC().Format(time.RFC3339))
	if err := p.secrets.Write(ctx, []fleet.SecretWrite{certWrite, keyWrite, spent},
		fleet.Event{Kind: fleet.EventPushCertChanged, Actor: actor, Details: details}); err != nil {
		return nil, err
	}
	return p.Certificate(ctx)
}

func (p *Push) checkPush(cert *x509.Certificate) error {
	topic := topicOf(cert)
	switch {
	case topic == "":
		return fleet.FieldErrorf(fleet.KindInvalid, "certificate", "its subject has no user ID (UID), so it is no push certificate for MDM: get one at identity.apple.com/pushcert")
	case !strings.HasPrefix(topic, topicPrefix):
		return fleet.FieldErrorf(fleet.KindInvalid, "certificate", "its topic %q is not one for MDM (%s…)", topic, topicPrefix)
	case p.clock().After(cert.NotAfter):
		return fleet.FieldErrorf(fleet.KindInvalid, "certificate", "it expired %s: renew it at identity.apple.com/pushcert", cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// matchKey returns the PEM of the private key that belongs to the certificate.
func (p *Push) matchKey(ctx context.Context, cert *x509.Certificate, keyPEM []byte) ([]byte, error) {
	given := len(keyPEM) > 0
	candidates := [][]byte{keyPEM}
	if !given {
		candidates = nil
		for _, name := range []fleet.AssetName{fleet.AssetPushCSRKey, fleet.AssetPushKey} {
			stored, err := openAsset(ctx, p.secrets, p.sealer, name)
			if err != nil {
				return nil, err
			}
			if stored != nil {
				candidates = append(candidates, stored)
			}
		}
	}
	for _, c := range candidates {
		key, err := parseKey(c)
		if err != nil && given {
			return nil, fleet.FieldErrorf(fleet.KindInvalid, "private_key", "not a PEM private key: %v", err)
		}
		if err == nil && samePublicKey(key, cert) {
			return c, nil
		}
	}
	if given {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "private_key", "the key does not belong to the certificate")
	}
	return nil, fleet.FieldErrorf(fleet.KindInvalid, "certificate", "it belongs to no key of this server: upload the key too, or make a new request with `muster generate mdm-apple`")
}

func samePublicKey(key crypto.Signer, cert *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

func (p *Push) checkTopic(ctx context.Context, topic string, force bool) error {
	old, err := p.Certificate(ctx)
	var e *fleet.Error
	if errors.As(err, &e) && e.Kind == fleet.KindNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if old.Topic == topic || force {
		return nil
	}
	lost, err := p.devices.CountOnByTopic(ctx, topic)
	if err != nil {
		return err
	}
	return fleet.FieldErrorf(fleet.KindConflict, "certificate", "its topic %s is not the present one, %s: %d enrolled devices could no longer be reached and would have to enroll again."+
		" Renew the present certificate at identity.apple.com/pushcert instead, or repeat with force", topic, old.Topic, lost)
}

// DeleteCertificate removes the certificate and its key.
func (p *Push) DeleteCertificate(ctx context.Context, actor fleet.Actor) error {
	if _, err := p.Certificate(ctx); err != nil {
		return err
	}
	return p.secrets.Write(ctx, []fleet.SecretWrite{
		{Ref: assetRef(fleet.AssetPushCert), Delete: true},
		{Ref: assetRef(fleet.AssetPushKey), Delete: true},
	}, fleet.Event{Kind: fleet.EventPushCertDeleted, Actor: actor})
}

package pki

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
)

// Policy of the authority.
const (
	caBits       = 2048 // RSA: the SCEP envelope is RSA key transport
	caYears      = 20
	identityLife = 365 * 24 * time.Hour
	// backdate is for devices whose clock lags: a signature made before
	// NotBefore would be refused.
	backdate     = 15 * time.Minute
	minRSABits   = 2048
	maxRSABits   = 8192
	challengeTTL = 24 * time.Hour
)

// Secrets keeps sealed values.
type Secrets interface {
	Secret(ctx context.Context, ref fleet.SecretRef) (*fleet.StoredSecret, error)
	// Create stores values only if none of them exists yet.
	Create(ctx context.Context, writes []fleet.SecretWrite, events ...fleet.Event) (bool, error)
	Write(ctx context.Context, writes []fleet.SecretWrite, events ...fleet.Event) error
}

// Sealer seals and opens secrets.
type Sealer interface {
	Seal(ref fleet.SecretRef, secret []byte) (fleet.Sealed, error)
	Open(ref fleet.SecretRef, sealed fleet.Sealed) ([]byte, error)
}

// Identities keeps challenges and issued certificates.
type Identities interface {
	AddChallenge(ctx context.Context, c fleet.Challenge, events ...fleet.Event) error
	// Challenge returns the challenge and what was issued for it already.
	Challenge(ctx context.Context, secret [32]byte) (*fleet.Challenge, *fleet.Identity, error)
	// Issue consumes the challenge and stores the identity, at once.
	Issue(ctx context.Context, secret [32]byte, identity fleet.Identity) (*fleet.Identity, error)
	Identity(ctx context.Context, sha256 [32]byte) (*fleet.Identity, error)
	// Trade and Spend use a challenge or an identity up for a new challenge;
	// false: it was used, or is none that can be.
	Trade(ctx context.Context, used, minted fleet.Challenge, now time.Time, events ...fleet.Event) (bool, error)
	Spend(ctx context.Context, used fleet.IdentityID, minted fleet.Challenge, events ...fleet.Event) (bool, error)
}

// Authority issues device identities. It is safe for concurrent use.
type Authority struct {
	identities Identities
	clock      func() time.Time
	cert       *x509.Certificate
	key        *rsa.PrivateKey
}

func assetRef(name fleet.AssetName) fleet.SecretRef {
	return fleet.SecretRef{Scope: fleet.ScopeAsset, Name: string(name)}
}

// NewKey makes a key for an authority. It is most of what a first start takes.
func NewKey() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, caBits) }

// Open loads the authority, making it of a new key at the first start. Of
// several replicas that start at once, one makes it.
func Open(ctx context.Context, secrets Secrets, sealer Sealer, identities Identities, clock func() time.Time,
	newKey func() (*rsa.PrivateKey, error)) (*Authority, error) {
	a := &Authority{identities: identities, clock: clock}
	for range 2 {
		found, err := a.load(ctx, secrets, sealer)
		if err != nil {
			return nil, fmt.Errorf("load the certificate authority: %w", err)
		}
		if found {
			return a, nil
		}
		if err := create(ctx, secrets, sealer, clock(), newKey); err != nil {
			return nil, fmt.Errorf("make the certificate authority: %w", err)
		}
	}
	return nil, errors.New("the certificate authority vanished while it was made")
}

func (a *Authority) load(ctx context.Context, secrets Secrets, sealer Sealer) (bool, error) {
	certPEM, err := openAsset(ctx, secrets, sealer, fleet.AssetCACert)
	if err != nil || certPEM == nil {
		return false, err
	}
	keyPEM, err := openAsset(ctx, secrets, sealer, fleet.AssetCAKey)
	if err != nil || keyPEM == nil {
		return false, err
	}
	if a.cert, err = parseCertificate(certPEM); err != nil {
		return false, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return false, err
	}
	rsaKey, ok := key.(*rsa.PrivateKey)
	if !ok || !rsaKey.PublicKey.Equal(a.cert.PublicKey) {
		return false, errors.New("certificate and key do not belong together")
	}
	a.key = rsaKey
	return true, nil
}

// openAsset returns a named secret of the server; nil when there is none.
func openAsset(ctx context.Context, secrets Secrets, sealer Sealer, name fleet.AssetName) ([]byte, error) {
	stored, err := secrets.Secret(ctx, assetRef(name))
	if err != nil || stored == nil {
		return nil, err
	}
	return sealer.Open(assetRef(name), stored.Value)
}

func create(ctx context.Context, secrets Secrets, sealer Sealer, now time.Time, newKey func() (*rsa.PrivateKey, error)) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Muster device CA " + hex.EncodeToString(serial.Bytes()[:4]), Organization: []string{"Muster"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.AddDate(caYears, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		// Devices encrypt their requests to this key, and profiles are signed with it.
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	cert, err := sealAsset(sealer, fleet.AssetCACert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if err != nil {
		return err
	}
	private, err := sealAsset(sealer, fleet.AssetCAKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	if err != nil {
		return err
	}
	_, err = secrets.Create(ctx, []fleet.SecretWrite{cert, private})
	return err
}

func sealAsset(sealer Sealer, name fleet.AssetName, value []byte) (fleet.SecretWrite, error) {
	sealed, err := sealer.Seal(assetRef(name), value)
	return fleet.SecretWrite{Ref: assetRef(name), Value: sealed}, err
}

// newSerial draws a positive serial number of 127 bits.
func newSerial() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 127)
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, err
	}
	return n.SetBit(n, 126, 1), nil
}

// Certificate is the authority's own certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Signer signs profiles.
func (a *Authority) Signer() crypto.Signer { return a.key }

// CertificateAuthority returns the certificate and key with which SCEP
// messages are decrypted and answered.
func (a *Authority) CertificateAuthority(context.Context) (*x509.Certificate, crypto.PrivateKey, error) {
	return a.cert, a.key, nil
}

// Mint makes a one-time challenge for what c says and returns the secret. Its
// hash and expiry are filled in; the secret itself is kept nowhere.
func (a *Authority) Mint(ctx context.Context, c fleet.Challenge, events ...fleet.Event) (string, error) {
	secret := a.Draw(&c)
	if err := a.identities.AddChallenge(ctx, c, events...); err != nil {
		return "", err
	}
	return secret, nil
}

// NewChallenge makes a one-time challenge for what c says, good for so long,
// and the secret. Whoever calls it stores the challenge.
func (a *Authority) NewChallenge(c fleet.Challenge, life time.Duration) (fleet.Challenge, string) {
	secret := ids.Token()
	c.SecretSHA256 = sha256.Sum256([]byte(secret))
	c.ExpiresAt = a.clock().Add(life)
	return c, secret
}

// Issue checks a request against its challenge and returns the certificate.
func (a *Authority) Issue(ctx context.Context, req fleet.CertificateRequest) (*x509.Certificate, error) {
	if err := checkKey(req.CSR.PublicKey); err != nil {
		return nil, err
	}
	if req.Challenge == "" {
		return nil, fleet.Errorf(fleet.KindForbidden, "the request has no challenge: download the enrollment profile again")
	}
	secret := sha256.Sum256([]byte(req.Challenge))
	publicKey := sha256.Sum256(req.CSR.RawSubjectPublicKeyInfo)
	c, issued, err := a.identities.Challenge(ctx, secret)
	if err != nil {
		return nil, fmt.Errorf("look up challenge: %w", err)
	}
	if c == nil {
		return nil, refuse(fleet.ErrNoChallenge)
	}
	if issued != nil {
		return reissue(issued, publicKey)
	}
	if err := a.checkUse(ctx, c, req); err != nil {
		return nil, err
	}
	identity, err := a.sign(c, req, publicKey)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	stored, err := a.identities.Issue(ctx, secret, identity)
	if errors.Is(err, fleet.ErrNoChallenge) || errors.Is(err, fleet.ErrChallengeUsed) {
		return nil, refuse(err)
	}
	if err != nil {
		return nil, fmt.Errorf("store identity: %w", err)
	}
	return x509.ParseCertificate(stored.DER)
}

// reissue answers a device that repeats its request: the same certificate
// again, but only for the same key.
func reissue(issued *fleet.Identity, publicKey [32]byte) (*x509.Certificate, error) {
	if issued.PublicKeySHA256 != publicKey {
		return nil, refuse(fleet.ErrChallengeUsed)
	}
	return x509.ParseCertificate(issued.DER)
}

func refuse(why error) error {
	return fleet.Errorf(fleet.KindForbidden, "the challenge is unknown, expired, or used by another device: download the enrollment profile again").WithCause(why)
}

func checkKey(key any) error {
	k, ok := key.(*rsa.PublicKey)
	if !ok {
		return fleet.Errorf(fleet.KindUnsupported, "the key is no RSA key")
	}
	if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return fleet.Errorf(fleet.KindUnsupported, "the RSA key has %d bits; between %d and %d are accepted", bits, minRSABits, maxRSABits)
	}
	return nil
}

// checkUse checks expiry and, for a RenewalReq, that the signer is the
// identity of the very enrollment the challenge is bound to.
func (a *Authority) checkUse(ctx context.Context, c *fleet.Challenge, req fleet.CertificateRequest) error {
	if !a.clock().Before(c.ExpiresAt) {
		return refuse(errors.New("expired"))
	}
	if c.Purpose == fleet.PurposeOTAStart {
		return refuse(errors.New("not for an identity"))
	}
	if !req.Renewal {
		return nil
	}
	if req.Signer == nil || req.Signer.CheckSignatureFrom(a.cert) != nil {
		return fleet.Errorf(fleet.KindNotFound, "the certificate that signed the renewal is not one of ours")
	}
	signer, err := a.identities.Identity(ctx, sha256.Sum256(req.Signer.Raw))
	if err != nil {
		return fmt.Errorf("look up signer: %w", err)
	}
	switch {
	case signer == nil || !signer.RevokedAt.IsZero() || signer.Purpose == fleet.PurposeOTA:
		return fleet.Errorf(fleet.KindNotFound, "the certificate that signed the renewal is not known or was revoked")
	case a.clock().After(signer.NotAfter):
		return fleet.Errorf(fleet.KindForbidden, "the certificate that signed the renewal expired %s", signer.NotAfter.Format(time.RFC3339))
	case c.EnrollmentID != 0 && signer.EnrollmentID != c.EnrollmentID:
		return fleet.Errorf(fleet.KindForbidden, "the certificate that signed the renewal belongs to another enrollment")
	}
	return nil
}

// sign makes the certificate. Subject and validity are ours, whatever the
// request says.
func (a *Authority) sign(c *fleet.Challenge, req fleet.CertificateRequest, publicKey [32]byte) (fleet.Identity, error) {
	serial, err := newSerial()
	if err != nil {
		return fleet.Identity{}, err
	}
	now, life := a.clock(), identityLife
	if c.Purpose == fleet.PurposeOTA {
		life = otaLife
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Muster device identity", Organization: []string{"Muster"}, SerialNumber: hex.EncodeToString(publicKey[:8])},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(life),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, req.CSR.PublicKey, a.key)
	if err != nil {
		return fleet.Identity{}, err
	}
	return fleet.Identity{
		SHA256: sha256.Sum256(der), SerialHex: serial.Text(16), PublicKeySHA256: publicKey,
		Purpose: c.Purpose, EnrollmentID: c.EnrollmentID, ProfileID: c.ProfileID, Generation: c.Generation, Admission: c.Admission,
		ServerURL: c.ServerURL, CheckInURL: c.CheckInURL, AccessRights: c.AccessRights,
		NotBefore: template.NotBefore.Truncate(time.Second), NotAfter: template.NotAfter.Truncate(time.Second), DER: der,
	}, nil
}

func parseCertificate(pemBytes []byte) (*x509.Certificate, error) {
	for block, rest := pem.Decode(pemBytes); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, errors.New("there is no CERTIFICATE block in it")
}

func parseKey(pemBytes []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(pemBytes); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "RSA PRIVATE KEY":
			return x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			return x509.ParseECPrivateKey(block.Bytes)
		case "PRIVATE KEY":
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			if s, ok := k.(crypto.Signer); ok {
				return s, nil
			}
			return nil, errors.New("a key that cannot sign")
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("the key is encrypted: decrypt it with `openssl pkey` first")
		}
	}
	return nil, errors.New("there is no PRIVATE KEY block in it")
}

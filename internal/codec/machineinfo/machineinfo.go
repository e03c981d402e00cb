package machineinfo

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // Apple's device authority signs with it
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Limits in bytes.
const (
	MaxSize  = 64 << 10 // of the message; devices send about 4,000
	maxValue = 256      // of one text in it
)

// Errors that callers tell apart. None carries what the device sent.
var (
	ErrTooLarge  = errors.New("the machine information is too large")
	ErrMalformed = errors.New("the machine information is malformed")
	ErrSignature = errors.New("the machine information is not signed by its device")
	// ErrForeign: no device of Apple's, as far as the pinned authorities say.
	ErrForeign = errors.New("the machine information is signed by a certificate of an unknown authority")
)

// Authorities are the pinned authorities of device certificates.
type Authorities []*x509.Certificate

// DecodeHeader decodes the header x-apple-aspen-deviceinfo, or the query value
// deviceinfo: standard or URL-safe base64, padded or not.
func DecodeHeader(value string) ([]byte, error) {
	if len(value) > base64.StdEncoding.EncodedLen(MaxSize) {
		return nil, ErrTooLarge
	}
	// A plus sign in a query that was not escaped has become a space.
	value = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", " ", "+").Replace(strings.TrimSpace(value)), "=")
	der, err := base64.RawStdEncoding.DecodeString(value)
	if err != nil || len(der) == 0 {
		return nil, fmt.Errorf("%w: not base64", ErrMalformed)
	}
	return der, nil
}

// Verify checks the CMS SignedData (DER or BER) of a device and returns what
// the device said.
func Verify(der []byte, trusted Authorities) (fleet.MachineInfo, error) {
	m, _, err := VerifySigner(der, trusted)
	return m, err
}

// VerifySigner is Verify, and returns the certificate that signed as well.
func VerifySigner(der []byte, trusted Authorities) (fleet.MachineInfo, *x509.Certificate, error) {
	if len(der) > MaxSize {
		return fleet.MachineInfo{}, nil, ErrTooLarge
	}
	signed, err := cms.OpenAnyTime(der)
	switch {
	case errors.Is(err, cms.ErrSignature):
		return fleet.MachineInfo{}, nil, ErrSignature
	case err != nil:
		return fleet.MachineInfo{}, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !trusted.issued(signed.Signer) {
		return fleet.MachineInfo{}, nil, ErrForeign
	}
	m, err := parse(signed.Content)
	return m, signed.Signer, err
}

// issued reports whether one of the authorities signed the certificate.
func (a Authorities) issued(cert *x509.Certificate) bool {
	hash, digest := digestOf(cert)
	if hash == 0 || cert.IsCA {
		return false
	}
	for _, authority := range a {
		key, ok := authority.PublicKey.(*rsa.PublicKey)
		if ok && string(authority.RawSubject) == string(cert.RawIssuer) &&
			rsa.VerifyPKCS1v15(key, hash, digest, cert.Signature) == nil {
			return true
		}
	}
	return false
}

// digestOf hashes what the issuer signed; 0: by an algorithm that is not taken.
func digestOf(cert *x509.Certificate) (crypto.Hash, []byte) {
	switch cert.SignatureAlgorithm {
	case x509.SHA1WithRSA:
		sum := sha1.Sum(cert.RawTBSCertificate) //nolint:gosec // see the import
		return crypto.SHA1, sum[:]
	case x509.SHA256WithRSA:
		sum := sha256.Sum256(cert.RawTBSCertificate)
		return crypto.SHA256, sum[:]
	default:
		return 0, nil
	}
}

// parse reads the property list. Keys that are not known are left alone, and
// so are known ones of another type.
func parse(content []byte) (fleet.MachineInfo, error) {
	d, err := plist.ReadDict(content)
	if err != nil {
		return fleet.MachineInfo{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	m := fleet.MachineInfo{}
	for key, field := range map[string]*string{
		"UDID": &m.UDID, "SERIAL": &m.Serial, "PRODUCT": &m.Product, "VERSION": &m.Build, "OS_VERSION": &m.OSVersion,
		"SUPPLEMENTAL_BUILD_VERSION": &m.SupplementalBuild, "SUPPLEMENTAL_OS_VERSION_EXTRA": &m.SupplementalVersion,
		"IMEI": &m.IMEI, "MEID": &m.MEID, "LANGUAGE": &m.Language, "SOFTWARE_UPDATE_DEVICE_ID": &m.UpdateDeviceID,
		"PAIRING_TOKEN": &m.PairingToken, "CHALLENGE": &m.Challenge,
	} {
		*field = d.Text(key)
		if len(*field) > maxValue && key != "PAIRING_TOKEN" {
			return fleet.MachineInfo{}, fmt.Errorf("%w: %s is too long", ErrMalformed, key)
		}
	}
	if m.Product == "" {
		return fleet.MachineInfo{}, fmt.Errorf("%w: no PRODUCT", ErrMalformed)
	}
	m.CanRequestUpdate = truth(d, "MDM_CAN_REQUEST_SOFTWARE_UPDATE")
	m.CanRequestPSSO = truth(d, "MDM_CAN_REQUEST_PSSO_CONFIG")
	return m, nil
}

func truth(d plist.Dict, key string) bool {
	raw, ok := d[key]
	if !ok {
		return false
	}
	value, ok := raw.Bool()
	return ok && value
}

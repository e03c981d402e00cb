package appledev

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // devices in the field still sign with it (contracts/apple.md 1.2)
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"
)

// Requests of Setup Assistant.
const (
	opEnroll  = "enroll"
	opCertify = "certificate"
)

// builtIn is the certificate and key that a device leaves the factory with. A
// wipe does not touch them.
type builtIn struct {
	cert      *x509.Certificate
	authority *x509.Certificate
	key       *rsa.PrivateKey
}

// builtInKeyBits is the size of the key of a built-in certificate.
const builtInKeyBits = 2048

// factory gets the built-in certificate from the service, once.
func (d *Device) factory(ctx context.Context) (*builtIn, error) {
	d.mu.Lock()
	b := d.hardware
	d.mu.Unlock()
	if b != nil {
		return b, nil
	}
	key, err := d.o.Keys.Key(builtInKeyBits)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: d.spec.UDID}}, key)
	if err != nil {
		return nil, fmt.Errorf("built-in certificate: %w", err)
	}
	answer, err := d.must(d.send(ctx, call{
		op: opCertify, method: http.MethodPost, url: d.o.Service + "/device/certificate", contentType: "application/pkcs10", body: csr,
	}))
	if err != nil {
		return nil, fmt.Errorf("built-in certificate: %w", err)
	}
	certs, err := parseCertificates(answer.body)
	if err != nil {
		return nil, fmt.Errorf("built-in certificate: %w", err)
	}
	b = &builtIn{cert: certs[0], authority: certs[1], key: key}
	d.mu.Lock()
	d.hardware = b
	d.mu.Unlock()
	return b, nil
}

// parseCertificates reads PEM: a certificate and its authority's.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	const wanted = 2
	if len(certs) != wanted {
		return nil, errors.New("not a certificate and its authority's")
	}
	return certs, nil
}

// machineInfo is the signed MachineInfo (contracts/apple.md 4.6), or what the
// planned faults make of it.
func (d *Device) machineInfo(ctx context.Context) ([]byte, error) {
	hardware, err := d.factory(ctx)
	if err != nil {
		return nil, err
	}
	fields := d.machineFields()
	lie, serial := d.faults.machineLie()
	if lie == OtherSerial {
		fields["SERIAL"] = serial
	}
	content, err := fields.encode()
	if err != nil {
		return nil, err
	}
	switch lie {
	case Unsigned:
		return content, nil
	case ForeignSigner:
		hardware, err = impostor(hardware)
		if err != nil {
			return nil, err
		}
	case Honest, OtherSerial, Tampered:
	}
	der, err := hardware.sign(content, d.o.Digest, d.now())
	if err == nil && lie == Tampered {
		// As long as it was, so that only the digest tells.
		der = bytes.Replace(der, []byte(d.spec.Serial), bytes.Repeat([]byte("X"), len(d.spec.Serial)), 1)
	}
	return der, err
}

// machineFields are what MachineInfo says.
func (d *Device) machineFields() dict {
	m := d.spec.Model
	d.mu.Lock()
	osVersion, build := d.osVersion, d.build
	d.mu.Unlock()
	fields := dict{
		"UDID": d.spec.UDID, "SERIAL": d.spec.Serial, "PRODUCT": m.Product, "VERSION": build, "OS_VERSION": osVersion,
		"LANGUAGE": "en-US", "SOFTWARE_UPDATE_DEVICE_ID": m.Product,
	}
	if d.canUpdate() {
		fields["MDM_CAN_REQUEST_SOFTWARE_UPDATE"] = true
	}
	if d.spec.IMEI != "" {
		const meidDigits = 14
		fields["IMEI"], fields["MEID"] = d.spec.IMEI, d.spec.IMEI[:meidDigits]
	}
	return fields
}

// impostor is a device whose certificate says that Apple's authority issued it,
// while another key did.
func impostor(original *builtIn) (*builtIn, error) {
	key, err := FreshKeys{}.Key(builtInKeyBits)
	if err != nil {
		return nil, err
	}
	// The parent is only a name, as it would not go with the key.
	parent := &x509.Certificate{RawSubject: original.authority.RawSubject}
	der, err := x509.CreateCertificate(rand.Reader, original.cert, parent, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("forge a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("forge a certificate: %w", err)
	}
	return &builtIn{cert: cert, authority: original.authority, key: key}, nil
}

// The structures of RFC 5652 section 5, written here and not taken from
// internal/codec/cms: what servers verify with must not be what it was made by,
// and the signing time is the device's.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"optional"`
	}
	signedData struct {
		Version      int
		Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
		Content      contentInfo
		Certificates asn1.RawValue
		Signers      []signerInfo `asn1:"set"`
	}
	signerInfo struct {
		Version    int
		ID         issuerAndSerial
		Digest     pkix.AlgorithmIdentifier
		Attributes asn1.RawValue
		Algorithm  pkix.AlgorithmIdentifier
		Signature  []byte
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values []any `asn1:"set"`
	}
)

// pkcs9 and pkcs7 are arcs of RFC 5652.
func pkcs9(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, n} }
func pkcs7(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, n} }

// tagged is [0] around DER.
func tagged(der []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: der}
}

// sign makes a SignedData with the content inside. digest is SHA-256, also when
// 0, or SHA-1.
func (b *builtIn) sign(content []byte, digest crypto.Hash, at time.Time) ([]byte, error) {
	algorithm := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, Parameters: asn1.NullRawValue}
	if digest == crypto.SHA1 {
		algorithm.Algorithm = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	} else {
		digest = crypto.SHA256
	}
	attributes, err := signedAttributes(content, digest, at)
	if err != nil {
		return nil, err
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, b.key, digest, sumOf(digest, attributes))
	if err != nil {
		return nil, fmt.Errorf("sign MachineInfo: %w", err)
	}
	octets, err := asn1.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("sign MachineInfo: %w", err)
	}
	// In the message the attributes are tagged [0] in place of SET.
	inside := asn1.RawValue{}
	_, err = asn1.Unmarshal(attributes, &inside)
	if err != nil {
		return nil, fmt.Errorf("sign MachineInfo: %w", err)
	}
	sd, err := asn1.Marshal(signedData{
		Version: 1, Digests: []pkix.AlgorithmIdentifier{algorithm},
		Content:      contentInfo{Type: pkcs7(1), Content: tagged(octets)},
		Certificates: tagged(append(bytes.Clone(b.cert.Raw), b.authority.Raw...)),
		Signers: []signerInfo{{
			Version: 1, ID: issuerAndSerial{asn1.RawValue{FullBytes: b.cert.RawIssuer}, b.cert.SerialNumber},
			Digest: algorithm, Attributes: tagged(inside.Bytes), Signature: signature,
			Algorithm: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, Parameters: asn1.NullRawValue},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("sign MachineInfo: %w", err)
	}
	der, err := asn1.Marshal(contentInfo{Type: pkcs7(2), Content: tagged(sd)})
	if err != nil {
		return nil, fmt.Errorf("sign MachineInfo: %w", err)
	}
	return der, nil
}

// signedAttributes is the DER of the SET that is signed (RFC 5652 section 5.4).
func signedAttributes(content []byte, digest crypto.Hash, at time.Time) ([]byte, error) {
	der, err := asn1.MarshalWithParams([]attribute{
		{pkcs9(3), []any{pkcs7(1)}},
		{pkcs9(4), []any{sumOf(digest, content)}},
		{pkcs9(5), []any{at.UTC()}},
	}, "set")
	if err != nil {
		return nil, fmt.Errorf("sign MachineInfo: %w", err)
	}
	return der, nil
}

// sumOf hashes with SHA-1 or SHA-256.
func sumOf(h crypto.Hash, data []byte) []byte {
	if h == crypto.SHA1 {
		sum := sha1.Sum(data) //nolint:gosec // see the import
		return sum[:]
	}
	sum := sha256.Sum256(data)
	return sum[:]
}

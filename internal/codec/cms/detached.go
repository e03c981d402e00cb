package cms

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Object identifiers as their DER content octets, so that reading one is a
// comparison and not an allocation.
const (
	oidData       = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01" // RFC 5652 section 4
	oidSignedData = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02" // RFC 5652 section 5.1

	oidContentType   = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03" // RFC 5652 section 11.1
	oidMessageDigest = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04" // RFC 5652 section 11.2
	oidSigningTime   = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x05" // RFC 5652 section 11.3

	oidSHA1   = "\x2b\x0e\x03\x02\x1a"                 // RFC 3370 section 2.1
	oidSHA256 = "\x60\x86\x48\x01\x65\x03\x04\x02\x01" // RFC 5754 section 2
	oidSHA384 = "\x60\x86\x48\x01\x65\x03\x04\x02\x02"
	oidSHA512 = "\x60\x86\x48\x01\x65\x03\x04\x02\x03"

	oidRSA           = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" // RFC 3370 section 3.2
	oidSHA1WithRSA   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"
	oidSHA256WithRSA = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b" // RFC 5754 section 3.2
	oidSHA384WithRSA = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c"
	oidSHA512WithRSA = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d"

	oidECPublicKey     = "\x2a\x86\x48\xce\x3d\x02\x01"     // RFC 5480 section 2.1.1
	oidECDSAWithSHA1   = "\x2a\x86\x48\xce\x3d\x04\x01"     // RFC 5753 section 7.1.3
	oidECDSAWithSHA256 = "\x2a\x86\x48\xce\x3d\x04\x03\x02" // RFC 5754 section 3.3
	oidECDSAWithSHA384 = "\x2a\x86\x48\xce\x3d\x04\x03\x03"
	oidECDSAWithSHA512 = "\x2a\x86\x48\xce\x3d\x04\x03\x04"
)

// Bounds of what the fast reader handles itself; more goes to the library.
const (
	maxFastCertificates = 4
	maxFastAttributes   = 16
)

// errUnknown: the fast reader met something it does not know. It says nothing
// about whether the message is good.
var errUnknown = errors.New("cms: construct left to the library")

// scheme is the family of a signature algorithm.
type scheme uint8

const (
	schemeRSA scheme = iota + 1
	schemeECDSA
)

// detached is a parsed detached SignedData with one signer. Slices alias the
// input.
type detached struct {
	certificates [maxFastCertificates][]byte // raw DER; count of them used
	count        int
	issuer       []byte // the issuer's Name element; nil when keyID is set
	serial       []byte // content of the serial's INTEGER, positive and minimal
	keyID        []byte // subject key identifier
	digest       crypto.Hash
	scheme       scheme
	attributes   []byte // the [0] element of signedAttrs; nil when absent
	value        []byte // the signature
}

var (
	tagContext0          = cbasn1.Tag(0).ContextSpecific()
	tagContext0Composite = cbasn1.Tag(0).ContextSpecific().Constructed()
)

// parseDetached reads SignedData (RFC 5652 section 5.1) in DER. It returns
// errUnknown for anything outside the shape in the package comment and
// ErrMalformed for contradictions inside it.
func parseDetached(der []byte) (*detached, error) {
	sd, ok := openSignedData(der)
	if !ok {
		return nil, errUnknown
	}
	var version int
	var digests, encap, signerInfos, signer cryptobyte.String
	if !sd.ReadASN1Integer(&version) || (version != 1 && version != 3) ||
		!sd.ReadASN1(&digests, cbasn1.SET) ||
		!sd.ReadASN1(&encap, cbasn1.SEQUENCE) {
		return nil, errUnknown
	}
	var contentType cryptobyte.String
	if !encap.ReadASN1(&contentType, cbasn1.OBJECT_IDENTIFIER) ||
		string(contentType) != oidData || !encap.Empty() {
		return nil, errUnknown
	}
	d := &detached{}
	if !d.readCertificates(&sd) ||
		!sd.ReadASN1(&signerInfos, cbasn1.SET) || !sd.Empty() ||
		!signerInfos.ReadASN1(&signer, cbasn1.SEQUENCE) || !signerInfos.Empty() {
		return nil, errUnknown
	}
	err := d.readSigner(signer)
	if err != nil {
		return nil, err
	}
	if !listsDigest(digests, d.digest) {
		return nil, errUnknown
	}
	return d, nil
}

// openSignedData unwraps ContentInfo and returns the inside of SignedData.
func openSignedData(der []byte) (cryptobyte.String, bool) {
	input := cryptobyte.String(der)
	var info, contentType, explicit, sd cryptobyte.String
	ok := input.ReadASN1(&info, cbasn1.SEQUENCE) && input.Empty() &&
		info.ReadASN1(&contentType, cbasn1.OBJECT_IDENTIFIER) && string(contentType) == oidSignedData &&
		info.ReadASN1(&explicit, tagContext0Composite) && info.Empty() &&
		explicit.ReadASN1(&sd, cbasn1.SEQUENCE) && explicit.Empty()
	return sd, ok
}

// readCertificates reads the certificates [0]; plain X.509 ones only.
func (d *detached) readCertificates(sd *cryptobyte.String) bool {
	var certs cryptobyte.String
	if !sd.ReadASN1(&certs, tagContext0Composite) {
		return false
	}
	for !certs.Empty() {
		var raw cryptobyte.String
		if d.count == maxFastCertificates || !certs.ReadASN1Element(&raw, cbasn1.SEQUENCE) {
			return false
		}
		d.certificates[d.count] = raw
		d.count++
	}
	return d.count > 0
}

// readSigner reads SignerInfo (RFC 5652 section 5.3).
func (d *detached) readSigner(si cryptobyte.String) error {
	var version int
	if !si.ReadASN1Integer(&version) {
		return errUnknown
	}
	if !d.readSignerID(&si) {
		return errUnknown
	}
	wanted := 1
	if d.keyID != nil {
		wanted = 3
	}
	if version != wanted {
		return fmt.Errorf("%w: signer version %d does not fit its identifier", ErrMalformed, version)
	}
	digestOID, ok := readAlgorithm(&si)
	if !ok {
		return errUnknown
	}
	if si.PeekASN1Tag(tagContext0Composite) {
		var attributes cryptobyte.String
		if !si.ReadASN1Element(&attributes, tagContext0Composite) {
			return errUnknown
		}
		d.attributes = attributes
	}
	signatureOID, ok := readAlgorithm(&si)
	if !ok {
		return errUnknown
	}
	var value cryptobyte.String
	// Unsigned attributes, which no device sends, are left to the library.
	if !si.ReadASN1(&value, cbasn1.OCTET_STRING) || !si.Empty() {
		return errUnknown
	}
	d.value = value
	return d.setAlgorithms(digestOID, signatureOID)
}

// readSignerID reads SignerIdentifier: issuerAndSerialNumber, or [0] with the
// subject key identifier.
func (d *detached) readSignerID(si *cryptobyte.String) bool {
	if si.PeekASN1Tag(tagContext0) {
		var keyID cryptobyte.String
		if !si.ReadASN1(&keyID, tagContext0) || keyID.Empty() {
			return false
		}
		d.keyID = keyID
		return true
	}
	var id, issuer, serial cryptobyte.String
	if !si.ReadASN1(&id, cbasn1.SEQUENCE) ||
		!id.ReadASN1Element(&issuer, cbasn1.SEQUENCE) ||
		!id.ReadASN1(&serial, cbasn1.INTEGER) || !id.Empty() {
		return false
	}
	if !positiveMinimal(serial) {
		return false
	}
	d.issuer, d.serial = issuer, serial
	return true
}

// positiveMinimal reports whether the content of an INTEGER is a positive
// number in its shortest form (ITU-T X.690 section 8.3.2).
func positiveMinimal(b []byte) bool {
	if len(b) == 0 || b[0]&0x80 != 0 {
		return false
	}
	return len(b) == 1 || b[0] != 0 || b[1]&0x80 != 0
}

// readAlgorithm reads an AlgorithmIdentifier without parameters or with NULL
// and returns the content of its object identifier.
func readAlgorithm(s *cryptobyte.String) (string, bool) {
	var alg, oid, null cryptobyte.String
	if !s.ReadASN1(&alg, cbasn1.SEQUENCE) || !alg.ReadASN1(&oid, cbasn1.OBJECT_IDENTIFIER) {
		return "", false
	}
	if !alg.Empty() && (!alg.ReadASN1(&null, cbasn1.NULL) || !null.Empty() || !alg.Empty()) {
		return "", false
	}
	return string(oid), true
}

// setAlgorithms resolves the two identifiers and refuses a signature algorithm
// whose digest differs from the digest algorithm.
func (d *detached) setAlgorithms(digestOID, signatureOID string) error {
	d.digest = digestOf(digestOID)
	if d.digest == 0 {
		return errUnknown
	}
	named := crypto.Hash(0)
	d.scheme, named = signatureOf(signatureOID)
	if d.scheme == 0 {
		return errUnknown
	}
	if named != 0 && named != d.digest {
		return fmt.Errorf("%w: digest and signature algorithm disagree", ErrMalformed)
	}
	return nil
}

// digestOf returns the hash of a digest algorithm, or 0.
func digestOf(oid string) crypto.Hash {
	switch oid {
	case oidSHA1:
		return crypto.SHA1
	case oidSHA256:
		return crypto.SHA256
	case oidSHA384:
		return crypto.SHA384
	case oidSHA512:
		return crypto.SHA512
	}
	return 0
}

// signatureOf returns the family of a signature algorithm and the hash in its
// name; 0 when it names none.
func signatureOf(oid string) (scheme, crypto.Hash) {
	switch oid {
	case oidRSA:
		return schemeRSA, 0
	case oidSHA1WithRSA:
		return schemeRSA, crypto.SHA1
	case oidSHA256WithRSA:
		return schemeRSA, crypto.SHA256
	case oidSHA384WithRSA:
		return schemeRSA, crypto.SHA384
	case oidSHA512WithRSA:
		return schemeRSA, crypto.SHA512
	case oidECPublicKey:
		return schemeECDSA, 0
	case oidECDSAWithSHA1:
		return schemeECDSA, crypto.SHA1
	case oidECDSAWithSHA256:
		return schemeECDSA, crypto.SHA256
	case oidECDSAWithSHA384:
		return schemeECDSA, crypto.SHA384
	case oidECDSAWithSHA512:
		return schemeECDSA, crypto.SHA512
	}
	return 0, 0
}

// listsDigest reports whether digestAlgorithms contains the signer's.
func listsDigest(set cryptobyte.String, want crypto.Hash) bool {
	for !set.Empty() {
		oid, ok := readAlgorithm(&set)
		if !ok {
			return false
		}
		if digestOf(oid) == want {
			return true
		}
	}
	return false
}

// signedBytes returns what the signature covers: the content itself, or the
// signed attributes as a SET OF (RFC 5652 section 5.4) after checking that they
// name the content type and the digest of the content, each exactly once.
//
// A signature without attributes over a content that is itself an encoded
// attribute set would be ambiguous (RFC 5652 section 5.4). What devices sign
// here is a property list or nothing, and neither starts with the SET tag and
// survives the decoder behind us.
func (d *detached) signedBytes(content []byte) ([]byte, error) {
	if d.attributes == nil {
		return content, nil
	}
	digest, err := d.readAttributes()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(digest, sum(d.digest, content)) {
		return nil, fmt.Errorf("%w: the content has another digest", ErrSignature)
	}
	// IMPLICIT [0] in the message, SET OF under the signature.
	signed := bytes.Clone(d.attributes)
	signed[0] = byte(cbasn1.SET)
	return signed, nil
}

// readAttributes walks the signed attributes and returns messageDigest. The
// set must be in DER order, because the library sorts before it verifies and
// this reader does not.
func (d *detached) readAttributes() ([]byte, error) {
	input := cryptobyte.String(d.attributes)
	var set, previous cryptobyte.String
	if !input.ReadASN1(&set, tagContext0Composite) {
		return nil, errUnknown
	}
	var digest []byte
	types, digests := 0, 0
	for n := 0; !set.Empty(); n++ {
		var whole, attr, oid, values cryptobyte.String
		if n == maxFastAttributes || !set.ReadASN1Element(&whole, cbasn1.SEQUENCE) ||
			bytes.Compare(previous, whole) >= 0 {
			return nil, errUnknown
		}
		previous = whole
		if !whole.ReadASN1(&attr, cbasn1.SEQUENCE) || !attr.ReadASN1(&oid, cbasn1.OBJECT_IDENTIFIER) ||
			!attr.ReadASN1(&values, cbasn1.SET) || !attr.Empty() {
			return nil, errUnknown
		}
		var value cryptobyte.String
		switch string(oid) {
		case oidContentType:
			types++
			if !values.ReadASN1(&value, cbasn1.OBJECT_IDENTIFIER) || !values.Empty() || string(value) != oidData {
				return nil, fmt.Errorf("%w: contentType attribute is not data", ErrMalformed)
			}
		case oidMessageDigest:
			digests++
			if !values.ReadASN1(&value, cbasn1.OCTET_STRING) || !values.Empty() {
				return nil, fmt.Errorf("%w: messageDigest attribute", ErrMalformed)
			}
			digest = value
		case oidSigningTime:
			// Reported by nobody and enforced by nobody: see the package comment.
		default:
			if !validOID(oid) {
				return nil, errUnknown
			}
		}
	}
	if types != 1 || digests != 1 {
		return nil, fmt.Errorf("%w: contentType and messageDigest must each occur once", ErrMalformed)
	}
	return digest, nil
}

// validOID reports whether the content octets are whole, minimal arcs.
func validOID(oid []byte) bool {
	if len(oid) == 0 || oid[len(oid)-1]&0x80 != 0 {
		return false
	}
	start := true
	for _, b := range oid {
		if start && b == 0x80 {
			return false
		}
		start = b&0x80 == 0
	}
	return true
}

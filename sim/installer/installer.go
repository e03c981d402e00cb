package installer

import (
	"bytes"
	"compress/zlib"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // what productbuild uses
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/codec/cms"
)

// Signer signs packages.
type Signer struct {
	Certificate *x509.Certificate
	Key         *rsa.PrivateKey
}

// NewSigner makes a throw-away signer of that name.
func NewSigner(name string) (*Signer, error) {
	const bits, days = 2048, 365
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 0, days), KeyUsage: x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Signer{cert, key}, err
}

// Options say what a package is like.
type Options struct {
	Identifier, Version, Title string
	// Payload is how many bytes of filler are inside.
	Payload int
	// Component leaves the distribution out, as pkgbuild does.
	Component bool
	// NoProduct leaves the product out of the distribution.
	NoProduct bool
	SHA256    bool // for checksums; otherwise SHA-1
	// Signer; nil: not signed. CMS makes that kind of signature instead of RSA.
	Signer *Signer
	CMS    bool
	// Table, if set, changes the table of contents before it is signed.
	Table func(string) string
}

// Build makes a package.
func Build(o Options) ([]byte, error) {
	b := &builder{o: o}
	hashSize := int64(crypto.SHA1.Size())
	if o.SHA256 {
		hashSize = int64(crypto.SHA256.Size())
	}
	signed := int64(0)
	if o.Signer != nil {
		value, err := b.sign(make([]byte, hashSize))
		if err != nil {
			return nil, err
		}
		signed = int64(len(value))
	}
	b.at = hashSize + signed
	if err := b.files(); err != nil {
		return nil, err
	}
	toc := b.toc(hashSize, signed)
	if o.Table != nil {
		toc = []byte(o.Table(string(toc)))
	}
	packed, err := pack(toc)
	if err != nil {
		return nil, err
	}
	digest := b.sum(packed)
	var value []byte
	if o.Signer != nil {
		if value, err = b.sign(digest); err != nil {
			return nil, err
		}
		if int64(len(value)) != signed {
			return nil, fmt.Errorf("the signature has %d bytes, not %d", len(value), signed)
		}
	}
	const headerSize, version = 28, 1
	out := []byte("xar!")
	out = binary.BigEndian.AppendUint16(out, headerSize)
	out = binary.BigEndian.AppendUint16(out, version)
	out = binary.BigEndian.AppendUint64(out, uint64(len(packed)))
	out = binary.BigEndian.AppendUint64(out, uint64(len(toc)))
	algorithm := uint32(1)
	if o.SHA256 {
		algorithm = 3
	}
	out = binary.BigEndian.AppendUint32(out, algorithm)
	return bytes.Join([][]byte{out, packed, digest, value, b.heap.Bytes()}, nil), nil
}

// builder collects the heap and the table's entries about it.
type builder struct {
	o       Options
	at      int64 // in the heap
	heap    bytes.Buffer
	entries strings.Builder
	count   int
}

func (b *builder) style() string {
	if b.o.SHA256 {
		return "sha256"
	}
	return "sha1"
}

func (b *builder) sum(data []byte) []byte {
	if b.o.SHA256 {
		s := sha256.Sum256(data)
		return s[:]
	}
	s := sha1.Sum(data) //nolint:gosec // see the import
	return s[:]
}

func (b *builder) sign(digest []byte) ([]byte, error) {
	s := b.o.Signer
	if b.o.CMS {
		return cms.SignDetached(digest, s.Certificate, nil, s.Key)
	}
	hash := crypto.SHA1
	if b.o.SHA256 {
		hash = crypto.SHA256
	}
	return rsa.SignPKCS1v15(rand.Reader, s.Key, hash, digest)
}

func pack(data []byte) ([]byte, error) {
	var buf bytes.Buffer
	z := zlib.NewWriter(&buf)
	if _, err := z.Write(data); err != nil {
		return nil, err
	}
	err := z.Close()
	return buf.Bytes(), err
}

// file puts a file into the heap.
func (b *builder) file(name string, content []byte, packed bool) error {
	stored, encoding := content, "application/octet-stream"
	if packed {
		var err error
		if stored, err = pack(content); err != nil {
			return err
		}
		encoding = "application/x-gzip"
	}
	b.count++
	fmt.Fprintf(&b.entries, `<file id="%d"><name>%s</name><type>file</type><data><archived-checksum style="%s">%s</archived-checksum>`+
		`<extracted-checksum style="%s">%s</extracted-checksum><encoding style="%s"/><size>%d</size><offset>%d</offset><length>%d</length></data></file>`,
		b.count, name, b.style(), hex.EncodeToString(b.sum(stored)), b.style(), hex.EncodeToString(b.sum(content)), encoding, len(content), b.at, len(stored))
	b.at += int64(len(stored))
	b.heap.Write(stored)
	return nil
}

func (b *builder) files() error {
	filler := make([]byte, b.o.Payload)
	for i := range filler {
		filler[i] = byte(i * i >> 3)
	}
	if b.o.Component {
		info := fmt.Sprintf(`<pkg-info identifier="%s" version="%s"/>`, b.o.Identifier, b.o.Version)
		if err := b.file("PackageInfo", []byte(info), true); err != nil {
			return err
		}
		return b.file("Payload", filler, false)
	}
	product := fmt.Sprintf(`<product id="%s" version="%s"/>`, b.o.Identifier, b.o.Version)
	if b.o.NoProduct {
		product = ""
	}
	distribution := fmt.Sprintf(`<?xml version="1.0" encoding="utf-8"?><installer-gui-script minSpecVersion="2"><title>%s</title>%s`+
		`<pkg-ref id="%s"/><pkg-ref id="%s" version="%s" onConclusion="none">#base.pkg</pkg-ref></installer-gui-script>`,
		b.o.Title, product, b.o.Identifier, b.o.Identifier, b.o.Version)
	if err := b.file("Distribution", []byte(distribution), true); err != nil {
		return err
	}
	return b.file("base.pkg", filler, false)
}

// toc is the table of contents.
func (b *builder) toc(hashSize, signed int64) []byte {
	var s strings.Builder
	fmt.Fprintf(&s, `<?xml version="1.0" encoding="UTF-8"?><xar><toc><checksum style="%s"><offset>0</offset><size>%d</size></checksum>`, b.style(), hashSize)
	if b.o.Signer != nil {
		element, style := "signature", "RSA"
		if b.o.CMS {
			element, style = "x-signature", "CMS"
		}
		epoch := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
		fmt.Fprintf(&s, `<signature-creation-time>%.1f</signature-creation-time><%s style="%s"><offset>%d</offset><size>%d</size>`+
			`<KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>%s</X509Certificate></X509Data></KeyInfo></%s>`,
			time.Since(epoch).Seconds(), element, style, hashSize, signed, base64.StdEncoding.EncodeToString(b.o.Signer.Certificate.Raw), element)
	}
	s.WriteString(b.entries.String())
	s.WriteString(`</toc></xar>`)
	return []byte(s.String())
}

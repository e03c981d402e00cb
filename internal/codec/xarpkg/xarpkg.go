package xarpkg

import (
	"bytes"
	"compress/zlib"
	"crypto/x509"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"time"
)

// Bounds of what is read.
const (
	maxPacked       = 8 << 20  // of the table of contents as it is stored
	maxTOC          = 32 << 20 // of the table of contents
	maxDistribution = 4 << 20
	maxHeader       = 4 << 10
	maxSignature    = 64 << 10
	maxCertificates = 10
	maxDepth        = 64 // of XML
	maxText         = 200
)

// Errors of packages that cannot be installed by MDM.
var (
	ErrNotPackage   = errors.New("this is not a flat installer package (.pkg)")
	ErrTruncated    = errors.New("the package ends too early: it did not arrive whole")
	ErrMalformed    = errors.New("the package is damaged")
	ErrTooLarge     = errors.New("the table of contents of the package is too large")
	ErrComponent    = errors.New("this is a component package, which MDM cannot install: make a distribution of it with productbuild, and sign it with productsign")
	ErrNotSigned    = errors.New("the package is not signed, and Macs install no other by MDM: sign it with productsign")
	ErrBadSignature = errors.New("the signature of the package does not fit its content: it was changed after it was signed")
)

// Package is what a flat package says about itself.
type Package struct {
	// Identifier and Version are of the product; empty where the distribution
	// does not say.
	Identifier string
	Version    string
	Title      string
	// Signer is the certificate whose key signed the package, and Signed when,
	// as the signature says; zero: it does not.
	Signer *x509.Certificate
	Signed time.Time
}

// SignerName is the name in the signer's certificate.
func (p *Package) SignerName() string {
	if p.Signer.Subject.CommonName != "" {
		return p.Signer.Subject.CommonName
	}
	return p.Signer.Subject.String()
}

// Read checks a package of size bytes. Its errors are the above, wrapped.
func Read(r io.ReaderAt, size int64) (*Package, error) {
	a, err := open(r, size)
	if err != nil {
		return nil, err
	}
	distribution, err := a.top()
	if err != nil {
		return nil, err
	}
	list := contents(a.toc.Files, nil)
	if !a.whole(list) {
		return nil, ErrTruncated
	}
	out := &Package{}
	if err := a.checkSignature(out); err != nil {
		return nil, err
	}
	if err := a.checkContents(list); err != nil {
		return nil, err
	}
	text, err := a.file(distribution, maxDistribution)
	if err != nil {
		return nil, fmt.Errorf("read Distribution: %w", err)
	}
	return out, describe(text, out)
}

// archive is an opened xar archive.
type archive struct {
	r      io.ReaderAt
	size   int64
	heap   int64 // where the heap begins
	packed []byte
	toc    toc
}

// Sizes and values of the header.
const (
	magic      = "xar!"
	headerSize = 28
	version    = 1
)

func open(r io.ReaderAt, size int64) (*archive, error) {
	var head [headerSize]byte
	n, err := r.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < len(magic) || string(head[:len(magic)]) != magic {
		return nil, ErrNotPackage
	}
	if n < headerSize {
		return nil, ErrTruncated
	}
	length := int64(binary.BigEndian.Uint16(head[4:]))
	packed, unpacked := binary.BigEndian.Uint64(head[8:]), binary.BigEndian.Uint64(head[16:])
	switch {
	case binary.BigEndian.Uint16(head[6:]) != version || length < headerSize || length > maxHeader:
		return nil, fmt.Errorf("%w: its header is of an unknown form", ErrMalformed)
	case packed > maxPacked || unpacked > maxTOC:
		return nil, ErrTooLarge
	}
	a := &archive{r: r, size: size, heap: length + int64(packed)}
	if a.packed, err = a.at(length, int64(packed)); err != nil {
		return nil, err
	}
	return a, a.readTOC(int64(unpacked))
}

// at reads bytes of the archive.
func (a *archive) at(offset, length int64) ([]byte, error) {
	if offset < 0 || length < 0 || offset > a.size || length > a.size-offset {
		return nil, ErrTruncated
	}
	out := make([]byte, length)
	n, err := a.r.ReadAt(out, offset)
	switch {
	case int64(n) == length:
		return out, nil
	case err == nil || errors.Is(err, io.EOF):
		return nil, ErrTruncated
	}
	return nil, err
}

func (a *archive) inHeap(e extent) ([]byte, error) {
	if e.Offset < 0 || e.Offset > a.size {
		return nil, ErrTruncated
	}
	return a.at(a.heap+e.Offset, e.Length())
}

// unpack reads a zlib stream of at most limit bytes.
func unpack(packed []byte, limit int64) ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	out, err := io.ReadAll(io.LimitReader(z, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if int64(len(out)) > limit {
		return nil, ErrTooLarge
	}
	return out, nil
}

// extent is where something is in the heap. The size of an uncompressed file
// is its length.
type extent struct {
	Offset int64 `xml:"offset"`
	Size   int64 `xml:"size"`
	Stored int64 `xml:"length"`
}

// Length is how many bytes of the heap it takes.
func (e extent) Length() int64 {
	if e.Stored != 0 {
		return e.Stored
	}
	return e.Size
}

type toc struct {
	Checksum struct {
		Style string `xml:"style,attr"`
		extent
	} `xml:"toc>checksum"`
	Signature  *signature `xml:"toc>signature"`
	XSignature *signature `xml:"toc>x-signature"`
	Created    string     `xml:"toc>signature-creation-time"`
	Files      []file     `xml:"toc>file"`
}

type signature struct {
	Style string `xml:"style,attr"`
	extent
	Certificates []string `xml:"KeyInfo>X509Data>X509Certificate"`
}

type file struct {
	Name       string    `xml:"name"`
	Files      []file    `xml:"file"` // of a directory
	Data       content   `xml:"data"`
	Attributes []content `xml:"ea"`
}

// content is what the heap has of a file. That of a directory, or of an empty
// file, is empty.
type content struct {
	extent
	Encoding struct {
		Style string `xml:"style,attr"`
	} `xml:"encoding"`
	Checksum struct {
		Style string `xml:"style,attr"`
		Value string `xml:",chardata"`
	} `xml:"archived-checksum"` // of the bytes in the heap
}

func (a *archive) readTOC(size int64) error {
	text, err := unpack(a.packed, size)
	if err != nil {
		return err
	}
	if int64(len(text)) != size {
		return fmt.Errorf("%w: its table of contents is shorter than it says", ErrMalformed)
	}
	if err := decode(text, &a.toc); err != nil {
		return fmt.Errorf("%w: its table of contents: %w", ErrMalformed, err)
	}
	return nil
}

// decode reads XML of bounded depth.
func decode(text []byte, into any) error {
	d := xml.NewDecoder(bytes.NewReader(text))
	for depth := 0; ; {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch token.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		}
		if depth > maxDepth {
			return fmt.Errorf("nested deeper than %d levels", maxDepth)
		}
	}
	return xml.Unmarshal(text, into)
}

// top finds the file that makes an archive a distribution.
func (a *archive) top() (*file, error) {
	component := false
	for i := range a.toc.Files {
		switch a.toc.Files[i].Name {
		case "Distribution":
			return &a.toc.Files[i], nil
		case "PackageInfo":
			component = true
		}
	}
	if component {
		return nil, ErrComponent
	}
	return nil, ErrNotPackage
}

// whole reports whether the archive has all that its table of contents names.
func (a *archive) whole(list []stored) bool {
	for _, v := range list {
		at, length := v.Offset, v.Length()
		if at < 0 || length < 0 || at > a.size-a.heap || length > a.size-a.heap-at {
			return false
		}
	}
	return true
}

// Encodings of files in the heap.
const (
	encodingPlain = "application/octet-stream"
	encodingZlib  = "application/x-gzip" // what xar calls zlib
)

// file reads a file of the archive.
func (a *archive) file(f *file, limit int64) ([]byte, error) {
	if f.Data.Length() > limit {
		return nil, ErrTooLarge
	}
	stored, err := a.inHeap(f.Data.extent)
	if err != nil {
		return nil, err
	}
	switch f.Data.Encoding.Style {
	case "", encodingPlain:
		return stored, nil
	case encodingZlib:
		return unpack(stored, limit)
	}
	return nil, fmt.Errorf("%w: %.80q is no encoding that is known", ErrMalformed, f.Data.Encoding.Style)
}

// distribution is the part of a Distribution that names the product (Apple,
// "Distribution Definition XML Schema").
type distribution struct {
	Title   string `xml:"title"`
	Product struct {
		ID      string `xml:"id,attr"`
		Version string `xml:"version,attr"`
	} `xml:"product"`
	Refs []struct {
		ID      string `xml:"id,attr"`
		Version string `xml:"version,attr"`
		Path    string `xml:",chardata"`
	} `xml:"pkg-ref"`
}

// describe names the product. Where the distribution does not, its only package
// does.
func describe(text []byte, out *Package) error {
	var d distribution
	if err := decode(text, &d); err != nil {
		return fmt.Errorf("%w: Distribution: %w", ErrMalformed, err)
	}
	out.Title, out.Identifier, out.Version = clip(d.Title), clip(d.Product.ID), clip(d.Product.Version)
	if out.Identifier != "" {
		return nil
	}
	versions := map[string]string{}
	for _, ref := range d.Refs {
		if ref.Version != "" || versions[ref.ID] == "" {
			versions[ref.ID] = ref.Version
		}
	}
	if len(versions) == 1 {
		for id, v := range versions {
			out.Identifier, out.Version = clip(id), clip(v)
		}
	}
	return nil
}

func clip(text string) string {
	text = string(bytes.ToValidUTF8([]byte(text), nil))
	if r := []rune(text); len(r) > maxText {
		return string(r[:maxText])
	}
	return text
}

package xarpkg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-mdm/muster/sim/installer"
)

var signer = sync.OnceValue(func() *installer.Signer {
	s, err := installer.NewSigner("Developer ID Installer: Acme (ABCDE12345)")
	if err != nil {
		panic(err)
	}
	return s
})

func build(t testing.TB, change func(*installer.Options)) []byte {
	t.Helper()
	o := installer.Options{Identifier: "com.acme.tools", Version: "4.2", Title: "Acme Tools", Payload: 3000, Signer: signer()}
	change(&o)
	data, err := installer.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func read(data []byte) (*Package, error) { return Read(bytes.NewReader(data), int64(len(data))) }

func TestSignedDistributionsAreRead(t *testing.T) {
	for name, change := range map[string]func(*installer.Options){
		"RSA and SHA-1":               func(*installer.Options) {},
		"RSA and SHA-256":             func(o *installer.Options) { o.SHA256 = true },
		"CMS":                         func(o *installer.Options) { o.CMS = true },
		"CMS and SHA-256":             func(o *installer.Options) { o.CMS, o.SHA256 = true, true },
		"no product, but one package": func(o *installer.Options) { o.NoProduct = true },
		"a large payload":             func(o *installer.Options) { o.Payload = 1 << 20 },
	} {
		p, err := read(build(t, change))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.Identifier != "com.acme.tools" || p.Version != "4.2" || p.Title != "Acme Tools" || p.SignerName() != "Developer ID Installer: Acme (ABCDE12345)" {
			t.Errorf("%s: %+v of %s", name, p, p.SignerName())
		}
		if !strings.HasPrefix(name, "CMS") && time.Since(p.Signed) > time.Minute {
			t.Errorf("%s: signed at %s", name, p.Signed)
		}
	}
}

func TestWhatMacsWouldNotInstallIsRefused(t *testing.T) {
	good := build(t, func(*installer.Options) {})
	withHeader := func(change func(head []byte)) []byte {
		out := bytes.Clone(good)
		change(out)
		return out
	}
	other := build(t, func(o *installer.Options) { o.Version = "6.6" })
	packed := binary.BigEndian.Uint64(good[8:])
	heap := 28 + int(packed)
	for _, c := range []struct {
		name string
		data []byte
		want error
	}{
		{"nothing", nil, ErrNotPackage},
		{"a disk image", []byte(strings.Repeat("koly", 200)), ErrNotPackage},
		{"only the magic", good[:10], ErrTruncated},
		{"half of the table of contents", good[:200], ErrTruncated},
		{"nothing after the table of contents", good[:heap], ErrTruncated},
		{"a byte too little", good[:len(good)-1], ErrTruncated},
		{"not signed", build(t, func(o *installer.Options) { o.Signer = nil }), ErrNotSigned},
		{"a component package", build(t, func(o *installer.Options) { o.Component = true }), ErrComponent},
		{"a component package that is not signed", build(t, func(o *installer.Options) { o.Component, o.Signer = true, nil }), ErrComponent},
		{"a version that nobody knows", withHeader(func(h []byte) { h[7] = 9 }), ErrMalformed},
		{"a header without end", withHeader(func(h []byte) { h[4] = 0xff }), ErrMalformed},
		{"a table of contents without end", withHeader(func(h []byte) { binary.BigEndian.PutUint64(h[16:], 1<<40) }), ErrTooLarge},
		{"a table of contents that is longer than it says", withHeader(func(h []byte) { binary.BigEndian.PutUint64(h[16:], 20) }), ErrTooLarge},
		{"a table of contents that is shorter than it says", withHeader(func(h []byte) { binary.BigEndian.PutUint64(h[16:], 20<<10) }), ErrMalformed},
		{"a table of contents in bits", withHeader(func(h []byte) { clear(h[28:60]) }), ErrMalformed},
		{"another checksum", withHeader(func(h []byte) { h[heap] ^= 1 }), ErrBadSignature},
		{"another signature", withHeader(func(h []byte) { h[heap+30] ^= 1 }), ErrBadSignature},
		{"a damaged payload", withHeader(func(h []byte) { h[len(h)-100] ^= 1 }), ErrBadSignature},
		{"a changed Distribution", withHeader(func(h []byte) { h[heap+20+256+4] ^= 1 }), ErrBadSignature},
		// The table of one package in front of the heap, and so of the
		// signature, of another.
		{"a table of contents of another package", bytes.Join([][]byte{other[:28+binary.BigEndian.Uint64(other[8:])], good[heap:]}, nil), ErrBadSignature},
	} {
		p, err := read(c.data)
		if !errors.Is(err, c.want) || p != nil && err == nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := read(build(t, func(o *installer.Options) { o.Title = strings.Repeat("x", 500) })); err != nil {
		t.Errorf("a long title: %v", err)
	}
}

func TestEverythingInTheHeapIsVerified(t *testing.T) {
	payload := regexp.MustCompile(`<file id="2">.*</file>`)
	attribute := func(checksum string) func(string) string {
		return func(toc string) string {
			return strings.Replace(toc, "</data></file></toc>", `</data><ea id="0"><name>com.apple.FinderInfo</name><archived-checksum style="sha1">`+checksum+
				`</archived-checksum><offset>0</offset><size>20</size><length>20</length></ea></file></toc>`, 1)
		}
	}
	for _, c := range []struct {
		name  string
		table func(toc string) string
		want  error
	}{
		{"the same file twice, kept once", func(toc string) string { return payload.ReplaceAllString(toc, "$0$0") }, nil},
		{"a payload in a directory", func(toc string) string {
			return payload.ReplaceAllString(toc, `<file id="3"><name>Contents</name><type>directory</type>$0</file>`)
		}, nil},
		{"an empty file", func(toc string) string {
			return strings.Replace(toc, "</toc>", `<file id="3"><name>empty</name><type>file</type></file></toc>`, 1)
		}, nil},
		{"no checksum", func(toc string) string {
			return payload.ReplaceAllStringFunc(toc, func(f string) string { return strings.ReplaceAll(f, "archived-checksum", "other-checksum") })
		}, ErrMalformed},
		{"a checksum that nobody relies on", func(toc string) string {
			return payload.ReplaceAllStringFunc(toc, func(f string) string { return strings.ReplaceAll(f, `style="sha1"`, `style="md5"`) })
		}, ErrMalformed},
		{"another checksum", func(toc string) string {
			return payload.ReplaceAllStringFunc(toc, func(f string) string {
				return regexp.MustCompile("[0-9a-f]{40}").ReplaceAllString(f, strings.Repeat("0", 40))
			})
		}, ErrBadSignature},
		{"another checksum in a directory", func(toc string) string {
			return payload.ReplaceAllStringFunc(toc, func(f string) string {
				return `<file id="3"><name>Contents</name>` + regexp.MustCompile("[0-9a-f]{40}").ReplaceAllString(f, strings.Repeat("0", 40)) + "</file>"
			})
		}, ErrBadSignature},
		{"another checksum of an attribute", attribute(strings.Repeat("0", 40)), ErrBadSignature},
		{"files that lie over one another", func(toc string) string {
			return payload.ReplaceAllStringFunc(toc, func(f string) string {
				return f + strings.Replace(f, "<length>3000</length>", "<length>2000</length>", 1)
			})
		}, ErrMalformed},
		{"a file beyond the end", func(toc string) string {
			return strings.Replace(toc, "<length>3000</length>", "<length>3001</length>", 1)
		}, ErrTruncated},
		{"a file before the heap", func(toc string) string {
			return payload.ReplaceAllStringFunc(toc, func(f string) string { return strings.Replace(f, "<offset>", "<offset>-", 1) })
		}, ErrTruncated},
	} {
		if _, err := read(build(t, func(o *installer.Options) { o.Table = c.table })); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestDeepXMLIsRefused(t *testing.T) {
	var into toc
	if err := decode([]byte(strings.Repeat("<xar>", 100)+strings.Repeat("</xar>", 100)), &into); err == nil {
		t.Error("it was read")
	}
}

func FuzzRead(f *testing.F) {
	for _, change := range []func(*installer.Options){
		func(*installer.Options) {}, func(o *installer.Options) { o.CMS = true }, func(o *installer.Options) { o.Component = true }, func(o *installer.Options) { o.Signer = nil },
	} {
		f.Add(build(f, change))
	}
	f.Add([]byte("xar!"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := read(data)
		if err == nil && p.Signer == nil {
			t.Error("it is not signed")
		}
		var into toc
		if decode(data, &into) == nil {
			for i := range into.Files {
				_ = into.Files[i].Data.Length()
			}
		}
		_ = describe(data, &Package{})
	})
}

func TestATimeThatIsNoNumberIsNotKnown(t *testing.T) {
	for text, known := range map[string]bool{"800000000.5": true, "NaN": false, "inf": false, "-1": false, "": false} {
		if at := signedAt(text); at.IsZero() == known {
			t.Errorf("%q: %s", text, at)
		}
	}
}

package cms

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/smallstep/pkcs7"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

func TestDetachedSignaturesOfEveryKindVerify(t *testing.T) {
	w := theWorld()
	for name, id := range map[string]identity{"RSA": w.rsa, "P-256": w.p256, "P-384": w.p384} {
		for _, digest := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			t.Run(fmt.Sprintf("%s with %v and attributes", name, digest), func(t *testing.T) {
				sig := mustSign(t, id, Signing{Digest: digest, Detached: true})
				wantFast(t, sig, id)
			})
			t.Run(fmt.Sprintf("%s with %v and no attributes", name, digest), func(t *testing.T) {
				wantFast(t, handmade{id: id, digest: digest}.der(t), id)
			})
		}
		t.Run(name+" with its chain embedded", func(t *testing.T) {
			sig := mustSign(t, id, Signing{Detached: true, Chain: []*x509.Certificate{w.ca.cert}})
			wantFast(t, sig, id)
		})
		t.Run(name+" named by subject key identifier", func(t *testing.T) {
			wantFast(t, handmade{id: id, digest: crypto.SHA256, keyID: true, version: 3}.der(t), id)
		})
	}
	t.Run("an expired identity", func(t *testing.T) {
		wantFast(t, mustSign(t, w.expired, Signing{Detached: true}), w.expired)
	})
}

// wantFast verifies sig by the fast reader alone and by the whole Verifier.
func wantFast(t *testing.T, sig []byte, id identity) {
	t.Helper()
	v := NewVerifier(8)
	c, err := v.verifyFast(sig, content)
	if err != nil {
		t.Fatalf("fast reader: %v", err)
	}
	if !c.X509().Equal(id.cert) {
		t.Fatal("fast reader found another signer")
	}
	c, err = v.VerifyDetached(sig, content)
	if err != nil || !c.X509().Equal(id.cert) {
		t.Fatalf("VerifyDetached: %v", err)
	}
	_, err = v.VerifyDetached(sig, append([]byte(" "), content...))
	if !errors.Is(err, ErrSignature) {
		t.Fatalf("another content: %v", err)
	}
}

func TestTheLibraryTakesWhatTheFastReaderDoesNotKnow(t *testing.T) {
	w := theWorld()
	sig := indefiniteLength(t, mustSign(t, w.rsa, Signing{Detached: true}))
	v := NewVerifier(8)
	_, err := v.verifyFast(sig, content)
	if !errors.Is(err, errUnknown) {
		t.Fatalf("fast reader: %v", err)
	}
	c, err := v.VerifyDetached(sig, content)
	if err != nil || !c.X509().Equal(w.rsa.cert) {
		t.Fatalf("VerifyDetached: %v", err)
	}
	_, err = v.VerifyDetached(sig, nil)
	if !errors.Is(err, ErrSignature) {
		t.Fatalf("another content: %v", err)
	}
}

// indefiniteLength re-encodes the two outer elements with indefinite length.
func indefiniteLength(t *testing.T, der []byte) []byte {
	t.Helper()
	input := cryptobyte.String(der)
	var info, oid, explicit cryptobyte.String
	if !input.ReadASN1(&info, cbasn1.SEQUENCE) || !info.ReadASN1Element(&oid, cbasn1.OBJECT_IDENTIFIER) ||
		!info.ReadASN1(&explicit, tagContext0Composite) {
		t.Fatal("not a ContentInfo")
	}
	return bytes.Join([][]byte{{0x30, 0x80}, oid, {0xa0, 0x80}, explicit, {0, 0, 0, 0}}, nil)
}

func TestWrongSignaturesAreRefused(t *testing.T) {
	w := theWorld()
	good := mustSign(t, w.rsa, Signing{Detached: true})
	two, err := pkcs7.NewSignedData(content)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []identity{w.rsa, w.p256} {
		err = two.AddSigner(id.cert, id.key, pkcs7.SignerInfoConfig{})
		if err != nil {
			t.Fatal(err)
		}
	}
	two.Detach()
	twoSigners, err := two.Finish()
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := Bundle([]*x509.Certificate{w.rsa.cert})
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		sig  []byte
		want error
	}{
		"nothing":                        {nil, ErrMalformed},
		"text":                           {[]byte("hello"), ErrMalformed},
		"a flipped bit in the signature": {flipped, ErrSignature},
		"trailing data":                  {append(bytes.Clone(good), 0), ErrMalformed},
		"a truncated message":            {good[:len(good)-1], ErrMalformed},
		"more than the limit":            {make([]byte, MaxDetached+1), ErrTooLarge},
		"two signers":                    {twoSigners, ErrMalformed},
		"no signer":                      {unsigned, ErrMalformed},
		"deep nesting":                   {bytes.Repeat([]byte{0x30, 0x80}, 8000), ErrMalformed},
		"the wrong signer version":       {handmade{id: w.rsa, digest: crypto.SHA256, version: 3}.der(t), ErrMalformed},
		"a digest that disagrees":        {handmade{id: w.rsa, digest: crypto.SHA256, named: crypto.SHA512}.der(t), ErrMalformed},
		"an RSA algorithm for an EC key": {handmade{id: w.p256, digest: crypto.SHA256, scheme: schemeRSA}.der(t), ErrSignature},
		"another key behind the same issuer and serial": {handmade{id: identity{cert: w.rsa.cert, key: w.stranger.key}, digest: crypto.SHA256}.der(t), ErrSignature},
		"a contentType attribute that is not data": {handmade{id: w.rsa, digest: crypto.SHA256, attributes: [][]byte{
			attribute(t, pkcs7.OIDAttributeContentType, pkcs7.OIDSignedData),
			attribute(t, pkcs7.OIDAttributeMessageDigest, sum(crypto.SHA256, content)),
		}}.der(t), ErrMalformed},
		"no contentType attribute": {handmade{id: w.rsa, digest: crypto.SHA256, attributes: [][]byte{
			attribute(t, pkcs7.OIDAttributeMessageDigest, sum(crypto.SHA256, content)),
		}}.der(t), ErrMalformed},
		"no messageDigest attribute": {handmade{id: w.rsa, digest: crypto.SHA256, attributes: [][]byte{
			attribute(t, pkcs7.OIDAttributeContentType, pkcs7.OIDData),
		}}.der(t), ErrMalformed},
		"two messageDigest attributes": {handmade{id: w.rsa, digest: crypto.SHA256, attributes: [][]byte{
			attribute(t, pkcs7.OIDAttributeContentType, pkcs7.OIDData),
			attribute(t, pkcs7.OIDAttributeMessageDigest, append([]byte{0}, sum(crypto.SHA256, content)[1:]...)),
			attribute(t, pkcs7.OIDAttributeMessageDigest, sum(crypto.SHA256, content)),
		}}.der(t), ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewVerifier(8).VerifyDetached(c.sig, content)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestHeaderIsBase64(t *testing.T) {
	w := theWorld()
	v := NewVerifier(8)
	header := base64.StdEncoding.EncodeToString(mustSign(t, w.rsa, Signing{Detached: true}))
	if _, err := v.VerifyHeader(header, content); err != nil {
		t.Fatal(err)
	}
	if _, err := v.VerifyHeader("%%%", content); !errors.Is(err, ErrMalformed) {
		t.Fatalf("not base64: %v", err)
	}
	if _, err := v.VerifyHeader(strings.Repeat("A", 2*MaxDetached), content); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("too large: %v", err)
	}
}

func TestIssuedChecksSignatureAndUsageButNotValidity(t *testing.T) {
	w := theWorld()
	v := NewVerifier(8)
	v.SetAuthorities([]*x509.Certificate{w.ca.cert})
	for name, c := range map[string]struct {
		id identity
		ok bool
	}{
		"issued by us":                 {w.rsa, true},
		"issued by us, EC":             {w.p256, true},
		"expired":                      {w.expired, true},
		"for servers":                  {w.server, false},
		"the authority itself":         {w.ca, false},
		"a stranger who took the name": {w.stranger, false},
	} {
		t.Run(name, func(t *testing.T) {
			cert, err := v.Certificate(c.id.cert.Raw)
			if err != nil {
				t.Fatal(err)
			}
			err = v.CheckIssued(cert)
			if c.ok && err != nil {
				t.Fatal(err)
			}
			if !c.ok && !errors.Is(err, ErrNotIssued) {
				t.Fatalf("got %v, want ErrNotIssued", err)
			}
		})
	}
}

func TestVerdictsFallWhenTheAuthoritiesChange(t *testing.T) {
	w := theWorld()
	v := NewVerifier(8)
	sig := mustSign(t, w.rsa, Signing{Detached: true})
	v.SetAuthorities([]*x509.Certificate{w.ca.cert})
	c, err := v.VerifyDetached(sig, content)
	if err != nil {
		t.Fatal(err)
	}
	if err = v.CheckIssued(c); err != nil {
		t.Fatal(err)
	}
	v.SetAuthorities(nil)
	if err = v.CheckIssued(c); !errors.Is(err, ErrNotIssued) {
		t.Fatalf("after the authority is gone: %v", err)
	}
}

func TestStrangersDoNotEnterTheCache(t *testing.T) {
	w := theWorld()
	v := NewVerifier(2)
	v.SetAuthorities([]*x509.Certificate{w.ca.cert})
	for _, id := range []identity{w.stranger, w.rsa, w.p256, w.p384} {
		if _, err := v.VerifyDetached(mustSign(t, id, Signing{Detached: true}), content); err != nil {
			t.Fatal(err)
		}
	}
	if n := v.cache.len(); n != 2 {
		t.Fatalf("%d cached, want the bound of 2", n)
	}
	if v.cache.get(sha(w.p384.cert)) == nil || v.cache.get(sha(w.p256.cert)) == nil {
		t.Fatal("the latest two are not the ones kept")
	}
}

func TestCertificatesThatWereJustIssuedAreKnown(t *testing.T) {
	w := theWorld()
	v := NewVerifier(8)
	v.SetAuthorities([]*x509.Certificate{w.ca.cert})
	v.Expect(w.rsa.cert)
	v.Expect(w.stranger.cert)
	if s := v.cache.get(sha(w.rsa.cert)); s == nil || !s.vouched {
		t.Errorf("the authority's certificate is kept as %+v", s)
	}
	if v.cache.get(sha(w.stranger.cert)) != nil {
		t.Error("a stranger's certificate is kept")
	}
}

func sha(c *x509.Certificate) [32]byte { return [32]byte(sum(crypto.SHA256, c.Raw)) }

// handmade is a detached message built byte by byte, right or wrong.
type handmade struct {
	id         identity
	digest     crypto.Hash
	named      crypto.Hash // hash in the signature algorithm; digest when 0
	scheme     scheme      // the key's when 0
	keyID      bool
	version    int64 // 1 when 0
	attributes [][]byte
}

func attribute(t *testing.T, oid asn1.ObjectIdentifier, value any) []byte {
	t.Helper()
	v, err := asn1.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(v) })
	})
	return b.BytesOrPanic()
}

func (h handmade) der(t *testing.T) []byte {
	t.Helper()
	if h.version == 0 {
		h.version = 1
	}
	if h.named == 0 {
		h.named = h.digest
	}
	if h.scheme == 0 {
		h.scheme = schemeECDSA
		if _, ok := h.id.key.(*rsa.PrivateKey); ok {
			h.scheme = schemeRSA
		}
	}
	signed := content
	if h.attributes != nil {
		var b cryptobyte.Builder
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(h.attributes, nil)) })
		signed = b.BytesOrPanic()
	}
	value, err := h.id.key.Sign(nil, sum(h.digest, signed), h.digest)
	if err != nil {
		t.Fatal(err)
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, oidSignedData)
		b.AddASN1(tagContext0Composite, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { addAlgorithm(b, digestOIDs[h.digest]) })
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { addOID(b, oidData) })
				b.AddASN1(tagContext0Composite, func(b *cryptobyte.Builder) { b.AddBytes(h.id.cert.Raw) })
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { h.signer(b, value) })
			})
		})
	})
	return b.BytesOrPanic()
}

func (h handmade) signer(b *cryptobyte.Builder, value []byte) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(h.version)
		if h.keyID {
			b.AddASN1(tagContext0, func(b *cryptobyte.Builder) { b.AddBytes(h.id.cert.SubjectKeyId) })
		} else {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(h.id.cert.RawIssuer)
				b.AddASN1BigInt(h.id.cert.SerialNumber)
			})
		}
		addAlgorithm(b, digestOIDs[h.digest])
		if h.attributes != nil {
			b.AddASN1(tagContext0Composite, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(h.attributes, nil)) })
		}
		addAlgorithm(b, signatureOIDs[h.scheme][h.named])
		b.AddASN1OctetString(value)
	})
}

func addAlgorithm(b *cryptobyte.Builder, oid string) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, oid)
		b.AddASN1NULL()
	})
}

var digestOIDs = map[crypto.Hash]string{
	crypto.SHA1: oidSHA1, crypto.SHA256: oidSHA256, crypto.SHA384: oidSHA384, crypto.SHA512: oidSHA512,
}

var signatureOIDs = map[scheme]map[crypto.Hash]string{
	schemeRSA: {
		crypto.SHA1: oidSHA1WithRSA, crypto.SHA256: oidSHA256WithRSA,
		crypto.SHA384: oidSHA384WithRSA, crypto.SHA512: oidSHA512WithRSA,
	},
	schemeECDSA: {
		crypto.SHA1: oidECDSAWithSHA1, crypto.SHA256: oidECDSAWithSHA256,
		crypto.SHA384: oidECDSAWithSHA384, crypto.SHA512: oidECDSAWithSHA512,
	},
}

// What is kept must be small, whatever the certificate says beside it, and
// fall with the authorities that it was kept under.
func TestTheCacheKeepsNoParsedCertificates(t *testing.T) {
	w := theWorld()
	v := NewVerifier(8)
	v.SetAuthorities([]*x509.Certificate{w.ca.cert})
	sig := mustSign(t, w.rsa, Signing{Detached: true})
	first, err := v.VerifyDetached(sig, content)
	if err != nil {
		t.Fatal(err)
	}
	again, err := v.VerifyDetached(sig, content)
	if err != nil || again.summary != first.summary {
		t.Fatalf("not from the cache: %v", err)
	}
	if again.parsed != nil {
		t.Error("the cache holds on to a parsed certificate")
	}
	if !again.X509().Equal(w.rsa.cert) || again.NotAfter != w.rsa.cert.NotAfter {
		t.Error("another certificate comes out of the cache")
	}
	v.SetAuthorities([]*x509.Certificate{w.rsa.cert})
	if err := v.CheckIssued(again); !errors.Is(err, ErrNotIssued) {
		t.Errorf("a verdict outlived its authorities: %v", err)
	}
	v.SetAuthorities([]*x509.Certificate{w.ca.cert})
	if err := v.CheckIssued(again); err != nil {
		t.Errorf("of its authority again: %v", err)
	}
}

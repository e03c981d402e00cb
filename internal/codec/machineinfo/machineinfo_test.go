package machineinfo

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/fleet"
)

type identity struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func issue(parent *identity, name string, key crypto.Signer, alg x509.SignatureAlgorithm, from time.Time) identity {
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: from,
		NotAfter: from.AddDate(3, 0, 0), SignatureAlgorithm: alg, IsCA: parent == nil, BasicConstraintsValid: true}
	signer := identity{tmpl, key}
	if parent != nil {
		signer = *parent
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, signer.cert, key.Public(), signer.key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return identity{cert, key}
}

type world struct {
	ca, impostor, device, old, foreign, namesake, misnamed, sha384, ec identity
}

// theWorld has an authority that expired in 2014, as Apple's did.
var theWorld = sync.OnceValue(func() world {
	long, now := time.Date(2011, 4, 16, 0, 0, 0, 0, time.UTC), time.Now().Add(-time.Hour)
	ca := issue(nil, "Device CA", newKey(1024), x509.SHA256WithRSA, long)
	impostor := issue(nil, "Device CA", newKey(1024), x509.SHA256WithRSA, now)
	stranger := issue(nil, "Other CA", newKey(2048), x509.SHA256WithRSA, now)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	otherName := identity{&x509.Certificate{Subject: pkix.Name{CommonName: "Other CA"}}, ca.key}
	return world{ca: ca, impostor: impostor,
		device:   issue(&ca, "device", newKey(1024), x509.SHA256WithRSA, now),
		old:      issue(&ca, "old device", newKey(1024), x509.SHA256WithRSA, long),
		foreign:  issue(&stranger, "foreign", newKey(2048), x509.SHA256WithRSA, now),
		namesake: issue(&impostor, "namesake", newKey(2048), x509.SHA256WithRSA, now),
		misnamed: issue(&otherName, "misnamed", newKey(2048), x509.SHA256WithRSA, now),
		sha384:   issue(&ca, "sha384", newKey(2048), x509.SHA384WithRSA, now),
		ec:       issue(&ca, "ec", ecKey, x509.SHA256WithRSA, now),
	}
})

const list = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>IMEI</key><string>35 329908 123456 7</string>
<key>LANGUAGE</key><string>de-DE</string>
<key>MDM_CAN_REQUEST_SOFTWARE_UPDATE</key><true/>
<key>OS_VERSION</key><string>26.1</string>
<key>PRODUCT</key><string>iPad14,1</string>
<key>SERIAL</key><string>DMPXQ1ABCDEF</string>
<key>SOFTWARE_UPDATE_DEVICE_ID</key><string>J310AP</string>
<key>SOMETHING_NEW</key><array><integer>1</integer></array>
<key>UDID</key><string>00008110-000A2C3E1234801E</string>
<key>VERSION</key><string>23B85</string>
</dict></plist>`

var want = fleet.MachineInfo{UDID: "00008110-000A2C3E1234801E", Serial: "DMPXQ1ABCDEF", Product: "iPad14,1", Build: "23B85", OSVersion: "26.1",
	IMEI: "35 329908 123456 7", Language: "de-DE", UpdateDeviceID: "J310AP", CanRequestUpdate: true}

func sign(t testing.TB, id identity, content string, hash crypto.Hash) []byte {
	t.Helper()
	der, err := cms.SignWith([]byte(content), cms.Signing{Certificate: id.cert, Key: id.key, Digest: hash})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestApplesAuthorityIsThePinnedOne(t *testing.T) {
	list, err := Apple()
	if err != nil || len(list) != 1 {
		t.Fatalf("%d, %v", len(list), err)
	}
	const pin = "76f27d00e1333bc88de0e2916c38c9a7f2b75774c25a794c092a80e3c4c66cce" // contracts/apple.md 4.6
	sum := sha256.Sum256(list[0].Raw)
	if got := hex.EncodeToString(sum[:]); got != pin {
		t.Errorf("the authority is %s", got)
	}
}

func TestADeviceOfThePinnedAuthorityIsBelieved(t *testing.T) {
	w := theWorld()
	trusted := Authorities{w.foreign.cert, w.ca.cert} // the first one has nothing to do with it
	for name, der := range map[string][]byte{
		"SHA-1":                          sign(t, w.device, list, crypto.SHA1),
		"SHA-256":                        sign(t, w.device, list, crypto.SHA256),
		"a certificate that has expired": sign(t, w.old, list, crypto.SHA256),
		"an ECDSA key":                   sign(t, w.ec, list, crypto.SHA256),
	} {
		got, err := Verify(der, trusted)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestOpenSSLAgrees(t *testing.T) {
	w, dir := theWorld(), t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(w.device.key)
	if err != nil {
		t.Fatal(err)
	}
	in, cert, keyFile := filepath.Join(dir, "in"), filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	if err := errors.Join(os.WriteFile(in, []byte(list), 0o600),
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.device.cert.Raw}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, md := range []string{"sha1", "sha256"} {
		der, err := exec.Command("openssl", "cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-md", md, "-signer", cert, "-inkey", keyFile, "-in", in).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Verify(der, Authorities{w.ca.cert}); err != nil || got != want {
			t.Errorf("%s: %+v, %v", md, got, err)
		}
	}
}

func TestACertificateSignedWithSHA1IsBelieved(t *testing.T) {
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	}
	run("req", "-x509", "-newkey", "rsa:1024", "-nodes", "-sha1", "-subj", "/CN=Old CA", "-keyout", "ca.key", "-out", "ca.pem", "-days", "1")
	run("req", "-newkey", "rsa:1024", "-nodes", "-sha1", "-subj", "/CN=dev", "-keyout", "dev.key", "-out", "dev.csr")
	run("x509", "-req", "-in", "dev.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "7", "-sha1", "-days", "1", "-out", "dev.pem")
	if err := os.WriteFile(filepath.Join(dir, "in"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	run("cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-md", "sha1", "-signer", "dev.pem", "-inkey", "dev.key", "-in", "in", "-out", "out")
	der, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := ParseAuthorities(ca)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Verify(der, trusted); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWhatADeviceDidNotSignIsRefused(t *testing.T) {
	w := theWorld()
	good := sign(t, w.device, list, crypto.SHA256)
	two, err := pkcs7.NewSignedData([]byte(list))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []identity{w.device, w.old} {
		if err := two.AddSigner(id.cert, id.key, pkcs7.SignerInfoConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	both, err := two.Finish()
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := pkcs7.DegenerateCertificate(w.device.cert.Raw)
	if err != nil {
		t.Fatal(err)
	}
	detached, err := cms.SignDetached([]byte(list), w.device.cert, nil, w.device.key)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Replace(w.foreign.cert.Raw, []byte("Other CA"), []byte("DeviceCA"), 1)
	if bytes.Equal(forged, w.foreign.cert.Raw) {
		t.Fatal("nothing was forged")
	}
	for _, c := range []struct {
		name string
		der  []byte
		want error
	}{
		{"nothing", nil, ErrMalformed},
		{"a bare property list", []byte(list), ErrMalformed},
		{"another serial in place", bytes.Replace(good, []byte("DMPXQ1ABCDEF"), []byte("DMPXQ1ABCDEG"), 1), ErrSignature},
		{"a changed signature", append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), ErrSignature},
		{"an unknown authority", sign(t, w.foreign, list, crypto.SHA256), ErrForeign},
		{"another authority of the same name", sign(t, w.namesake, list, crypto.SHA256), ErrForeign},
		{"the authority's key under another name", sign(t, w.misnamed, list, crypto.SHA256), ErrForeign},
		{"the authority itself", sign(t, w.ca, list, crypto.SHA256), ErrForeign},
		{"a certificate with SHA-384", sign(t, w.sha384, list, crypto.SHA256), ErrForeign},
		{"a certificate whose name was changed", bytes.Replace(sign(t, w.foreign, list, crypto.SHA256), w.foreign.cert.Raw, forged, 1), ErrMalformed},
		{"two signers", both, ErrMalformed},
		{"no signer", unsigned, ErrMalformed},
		{"no content", detached, ErrSignature},
		{"half a message", good[:len(good)/2], ErrMalformed},
		{"no property list", sign(t, w.device, "hello", crypto.SHA256), ErrMalformed},
		{"a binary property list", sign(t, w.device, "bplist00", crypto.SHA256), ErrMalformed},
		{"no product", sign(t, w.device, strings.Replace(list, "PRODUCT", "PRODUKT", 1), crypto.SHA256), ErrMalformed},
		{"a serial without end", sign(t, w.device, strings.Replace(list, "DMPXQ1ABCDEF", strings.Repeat("A", 300), 1), crypto.SHA256), ErrMalformed},
		{"too many bytes", make([]byte, MaxSize+1), ErrTooLarge},
	} {
		got, err := Verify(c.der, Authorities{w.ca.cert})
		if !errors.Is(err, c.want) || got != (fleet.MachineInfo{}) {
			t.Errorf("%s: %+v, %v, want %v", c.name, got, err, c.want)
		}
	}
	if _, err := Verify(good, nil); !errors.Is(err, ErrForeign) {
		t.Errorf("without authorities: %v", err)
	}
}

func TestAUserEnrollmentTellsLittle(t *testing.T) {
	const small = `<plist version="1.0"><dict><key>LANGUAGE</key><string>en</string><key>PRODUCT</key><string>iPhone15,2</string><key>VERSION</key><string>23A1</string><key>MDM_CAN_REQUEST_SOFTWARE_UPDATE</key><string>yes</string></dict></plist>`
	w := theWorld()
	got, err := Verify(sign(t, w.device, small, crypto.SHA256), Authorities{w.ca.cert})
	if err != nil || got != (fleet.MachineInfo{Language: "en", Product: "iPhone15,2", Build: "23A1"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTheChallengeOfAProfileServiceComesBackWithItsSigner(t *testing.T) {
	const text = `<plist version="1.0"><dict><key>CHALLENGE</key><string>once</string><key>PRODUCT</key><string>iPhone15,2</string><key>SERIAL</key><string>S</string></dict></plist>`
	w := theWorld()
	got, signer, err := VerifySigner(sign(t, w.device, text, crypto.SHA256), Authorities{w.ca.cert})
	if err != nil || got != (fleet.MachineInfo{Product: "iPhone15,2", Serial: "S", Challenge: "once"}) || !signer.Equal(w.device.cert) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAHeaderIsReadInEveryFormOfBase64(t *testing.T) {
	der := []byte{0x30, 0xfb, 0xff, 0xfe, 0x3e, 0x3f, 0xfb} // has + and / in it
	std := base64.StdEncoding.EncodeToString(der)
	for _, value := range []string{std, base64.URLEncoding.EncodeToString(der), base64.RawStdEncoding.EncodeToString(der),
		base64.RawURLEncoding.EncodeToString(der), " " + std + "\n", strings.ReplaceAll(std, "+", " ")} {
		got, err := DecodeHeader(value)
		if err != nil || !bytes.Equal(got, der) {
			t.Errorf("%q: %x, %v", value, got, err)
		}
	}
	for value, want := range map[string]error{"": ErrMalformed, "====": ErrMalformed, "MI*": ErrMalformed, strings.Repeat("A", 2*MaxSize): ErrTooLarge} {
		if _, err := DecodeHeader(value); !errors.Is(err, want) {
			t.Errorf("%.10q: %v", value, err)
		}
	}
}

func TestAuthoritiesAreReadFromPEM(t *testing.T) {
	w := theWorld()
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	got, err := ParseAuthorities(bytes.Join([][]byte{block("PRIVATE KEY", []byte("x")), block("CERTIFICATE", w.ca.cert.Raw), applePEM}, nil))
	if err != nil || len(got) != 2 || !got[0].Equal(w.ca.cert) {
		t.Errorf("%d, %v", len(got), err)
	}
	for name, data := range map[string][]byte{"nothing": nil, "text": []byte("hello"), "a broken certificate": block("CERTIFICATE", []byte("x")),
		"an ECDSA key": block("CERTIFICATE", w.ec.cert.Raw)} {
		if _, err := ParseAuthorities(data); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzVerify(f *testing.F) {
	w := theWorld()
	f.Add(sign(f, w.device, list, crypto.SHA256))
	f.Add(sign(f, w.foreign, list, crypto.SHA1))
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, der []byte) {
		m, err := Verify(der, Authorities{w.ca.cert})
		if err == nil && m.Product == "" {
			t.Error("no product and no error")
		}
		if m, err := parse(der); err == nil && m.Product == "" {
			t.Error("no product and no error")
		}
		_, _ = DecodeHeader(string(der))
	})
}

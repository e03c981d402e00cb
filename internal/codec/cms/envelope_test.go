package cms

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestEnvelopesOpenForTheirRecipientsOnly(t *testing.T) {
	w := theWorld()
	for _, c := range []Cipher{CipherAES256, CipherAES128, CipherTripleDES} {
		der, err := EncryptWith(c, content, []*x509.Certificate{w.rsa.cert, w.ca.cert})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []identity{w.rsa, w.ca} {
			plain, found, err := Decrypt(der, id.cert, decrypter(t, id))
			if err != nil || !bytes.Equal(plain, content) || found != c {
				t.Fatalf("cipher %d: found %d, %q, %v", c, found, plain, err)
			}
		}
		_, _, err = Decrypt(der, w.server.cert, decrypter(t, w.server))
		if !errors.Is(err, ErrDecrypt) {
			t.Fatalf("not a recipient: %v", err)
		}
		// Another key gives random bytes, and one time in 256 their padding fits.
		plain, _, err := Decrypt(der, w.rsa.cert, decrypter(t, w.server))
		if bytes.Equal(plain, content) || (err != nil && !errors.Is(err, ErrDecrypt)) {
			t.Fatalf("another key: %q, %v", plain, err)
		}
	}
	if _, err := Encrypt(content, []*x509.Certificate{w.p256.cert}); err == nil {
		t.Fatal("an EC recipient was accepted")
	}
	if _, err := Encrypt(content, nil); err == nil {
		t.Fatal("no recipient was accepted")
	}
}

func decrypter(t *testing.T, id identity) crypto.Decrypter {
	t.Helper()
	key, ok := id.key.(*rsa.PrivateKey)
	if !ok {
		t.Fatal("not an RSA identity")
	}
	return key
}

func TestEveryDamageToAnEnvelopeIsAnErrorAndNeverAPanic(t *testing.T) {
	w := theWorld()
	der, err := Encrypt(content, []*x509.Certificate{w.rsa.cert})
	if err != nil {
		t.Fatal(err)
	}
	// The last blocks hold the padding; the head holds the structure.
	for i := range der {
		if i > 60 && i < len(der)-40 {
			continue
		}
		bad := bytes.Clone(der)
		bad[i] ^= 0x55
		plain, _, err := Decrypt(bad, w.rsa.cert, decrypter(t, w.rsa))
		if err == nil && bytes.Equal(plain, content) && i > 60 {
			t.Fatalf("byte %d does not matter", i)
		}
	}
	if _, _, err = Decrypt(der[:len(der)-1], w.rsa.cert, decrypter(t, w.rsa)); !errors.Is(err, ErrMalformed) {
		t.Fatalf("truncated: %v", err)
	}
}

func TestSignedContentComesBackOut(t *testing.T) {
	w := theWorld()
	der, err := Sign(content, w.rsa.cert, []*x509.Certificate{w.ca.cert}, w.rsa.key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(der)
	if err != nil || !bytes.Equal(s.Content, content) || !s.Signer.Equal(w.rsa.cert) || s.Digest != crypto.SHA256 {
		t.Fatalf("Open: %+v, %v", s, err)
	}
	i := bytes.Index(der, content)
	der[i] ^= 1
	if _, err = Open(der); !errors.Is(err, ErrSignature) {
		t.Fatalf("changed content: %v", err)
	}
}

func TestBundlesOfCertificatesRoundTrip(t *testing.T) {
	w := theWorld()
	der, err := Bundle([]*x509.Certificate{w.ca.cert, w.rsa.cert})
	if err != nil {
		t.Fatal(err)
	}
	certs, err := ParseBundle(der)
	if err != nil || len(certs) != 2 || !certs[1].Equal(w.rsa.cert) {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	if _, err = ParseBundle([]byte{0x30, 0}); !errors.Is(err, ErrMalformed) {
		t.Fatalf("empty: %v", err)
	}
}

// TestOpenSSLAndWeReadEachOther needs the openssl program, which every
// machine that builds this project has.
func TestOpenSSLAndWeReadEachOther(t *testing.T) {
	w := theWorld()
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	body := write("body", content)
	ca := write("ca.pem", certPEM(w.ca.cert))
	for name, id := range map[string]identity{"rsa": w.rsa, "p256": w.p256, "p384": w.p384} {
		cert, key := write(name+".pem", certPEM(id.cert)), write(name+".key", keyPEM(t, id.key))
		ours := write("ours.p7", mustSign(t, id, Signing{Detached: true}))
		openssl(t, "cms", "-verify", "-binary", "-inform", "DER", "-in", ours, "-content", body,
			"-CAfile", ca, "-purpose", "any", "-out", os.DevNull)
		for _, extra := range [][]string{{}, {"-noattr"}, {"-keyid"}, {"-md", "sha1"}, {"-md", "sha512"}, {"-nosmimecap"}} {
			out := filepath.Join(dir, "theirs.p7")
			args := append([]string{"cms", "-sign", "-binary", "-outform", "DER", "-in", body, "-signer", cert,
				"-inkey", key, "-out", out}, extra...)
			openssl(t, args...)
			c, err := NewVerifier(8).verifyFast(read(t, out), content)
			if err != nil || !c.X509().Equal(id.cert) {
				t.Fatalf("%s %v: %v", name, extra, err)
			}
		}
		streamed := filepath.Join(dir, "streamed.p7")
		openssl(t, "cms", "-sign", "-binary", "-stream", "-outform", "DER", "-nodetach", "-in", body,
			"-signer", cert, "-inkey", key, "-out", streamed)
		s, err := Open(read(t, streamed))
		if err != nil || !bytes.Equal(s.Content, content) {
			t.Fatalf("indefinite-length signed content: %v", err)
		}
	}
	envelope, err := Encrypt(content, []*x509.Certificate{w.rsa.cert})
	if err != nil {
		t.Fatal(err)
	}
	got := openssl(t, "cms", "-decrypt", "-inform", "DER", "-in", write("env", envelope), "-recip",
		filepath.Join(dir, "rsa.pem"), "-inkey", filepath.Join(dir, "rsa.key"), "-binary")
	if !bytes.Equal(got, content) {
		t.Fatalf("openssl read %q", got)
	}
	for arg, want := range map[string]Cipher{"-des3": CipherTripleDES, "-aes128": CipherAES128, "-aes256": CipherAES256} {
		out := filepath.Join(dir, "env-theirs")
		openssl(t, "cms", "-encrypt", "-binary", "-stream", arg, "-outform", "DER", "-in", body, "-out", out, filepath.Join(dir, "rsa.pem"))
		plain, c, err := Decrypt(read(t, out), w.rsa.cert, decrypter(t, w.rsa))
		if err != nil || c != want || !bytes.Equal(plain, content) {
			t.Fatalf("%s: cipher %d, %v", arg, c, err)
		}
	}
}

func openssl(t *testing.T, args ...string) []byte {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "openssl", args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, errOut.String())
	}
	return out.Bytes()
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func keyPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

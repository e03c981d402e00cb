package deptoken

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
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

var now = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)

type holder struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

func newHolder(serial int64) holder {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "muster"}, NotBefore: now, NotAfter: now.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return holder{cert, key}
}

// mine and other have the same issuer and serial: the key alone tells them
// apart, as when a key pair is made anew.
var (
	mine  = sync.OnceValue(func() holder { return newHolder(1) })
	other = sync.OnceValue(func() holder { return newHolder(1) })
	third = sync.OnceValue(func() holder { return newHolder(3) })
)

var want = fleet.DEPCredentials{ConsumerKey: "CK_48dd68d198350f51258e885ce9a5c37ab7f98543c4a697323d75682a6c10a32501cb247e3db08105db868f73f2c972bd",
	ConsumerSecret: "CS_34c7b2b531a600d99a0e4edcf4a78ded79b86ef318118c2f5bcfee1b011108c3",
	AccessToken:    "AT_O9251e4a8d2ad3ee52a5f8c9db2", AccessSecret: "AS_c31afd7a09691d83548489336e8ff1cb11b82b6bca13f793344496a556b1f4972eaff4dde6deb5ac9cf076fdfa97ec97699c34d515947b9cf9ed31c99dded6ba",
	Expiry: time.Date(2027, 4, 26, 17, 21, 45, 0, time.UTC)}

func body(expiry string) string {
	return fmt.Sprintf(`{"consumer_key":%q,"consumer_secret":%q,"access_token":%q,"access_secret":%q,"access_token_expiry":%q}`,
		want.ConsumerKey, want.ConsumerSecret, want.AccessToken, want.AccessSecret, expiry)
}

// wrapped is the inside of a token; lines are broken in the middle of words.
func wrapped(json string) []byte {
	var b strings.Builder
	b.WriteString("Content-Type: text/plain;charset=UTF-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n-----BEGIN MESSAGE-----\n")
	for len(json) > 64 {
		b.WriteString(json[:64] + "\r\n")
		json = json[64:]
	}
	b.WriteString(json + "\n-----END MESSAGE-----\n\n")
	return []byte(b.String())
}

func file(der []byte) []byte {
	var b bytes.Buffer
	b.WriteString("Content-Type: application/pkcs7-mime; name=\"smime.p7m\"; smime-type=enveloped-data\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"smime.p7m\"\r\nContent-Description: S/MIME Encrypted Message\r\n\r\n")
	text := base64.StdEncoding.EncodeToString(der)
	for len(text) > 64 {
		b.WriteString(text[:64] + "\r\n")
		text = text[64:]
	}
	b.WriteString(text + "\r\n")
	return b.Bytes()
}

func seal(t testing.TB, plain []byte) []byte {
	t.Helper()
	der, err := cms.Encrypt(plain, []*x509.Certificate{mine().cert})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func check(t *testing.T, raw []byte) {
	t.Helper()
	got, err := Decode(raw, mine().cert, mine().key, now)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Error("the token has other credentials")
	}
}

const goodDate = "2027-04-26T17:21:45Z"

func TestATokenThatSmallstepMadeOpens(t *testing.T) {
	der, err := pkcs7.Encrypt(wrapped(body(goodDate)), []*x509.Certificate{mine().cert})
	if err != nil {
		t.Fatal(err)
	}
	check(t, file(der))
	check(t, der) // as some browsers unpack it
}

func TestATokenThatOpenSSLMadeOpens(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	plain, cert := filepath.Join(dir, "plain"), filepath.Join(dir, "cert.pem")
	if err := errors.Join(os.WriteFile(plain, wrapped(body(goodDate)), 0o600),
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mine().cert.Raw}), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"cms", "-encrypt", "-binary", "-aes256", "-in", plain, cert},
		{"cms", "-encrypt", "-binary", "-aes128", "-in", plain, cert},
		{"cms", "-encrypt", "-binary", "-stream", "-aes256", "-in", plain, cert},
		{"smime", "-encrypt", "-binary", "-des3", "-in", plain, cert},
	} {
		t.Run(strings.Join(args[:4], " "), func(t *testing.T) {
			out, err := exec.Command(openssl, args...).Output()
			if err != nil {
				t.Fatal(err)
			}
			check(t, out)
		})
	}
}

func TestBadTokensAreRefusedWithAReason(t *testing.T) {
	good := file(seal(t, wrapped(body(goodDate))))
	headers, _, _ := bytes.Cut(good, []byte("\r\n\r\n"))
	full := seal(t, wrapped(body(goodDate)))
	tampered := bytes.Clone(full)
	tampered[len(tampered)-20] ^= 1
	inside := func(s string) []byte { return file(seal(t, []byte(s))) }
	for _, c := range []struct {
		name string
		file []byte
		want error
	}{
		{"nothing", nil, ErrNotToken},
		{"a page of HTML", []byte("<html>\n\n<body>sign in</body></html>"), ErrNotToken},
		{"a PEM certificate", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mine().cert.Raw}), ErrNotToken},
		{"a bare certificate", mine().cert.Raw, ErrNotToken},
		{"headers alone", headers, ErrNotToken},
		{"a file cut within a group of base64", good[:len(good)-101], ErrTruncated},
		{"a file cut between groups", file(full[:300]), ErrTruncated},
		{"a cut envelope", full[:len(full)-1], ErrTruncated},
		{"a letter that is not base64", bytes.Replace(good, []byte("MII"), []byte("M*I"), 1), ErrNotToken},
		{"too many bytes", bytes.Repeat([]byte("a"), MaxSize+1), ErrTooLarge},
		{"an inside without markers", inside("Content-Type: text/plain\n\n" + body(goodDate)), ErrNotToken},
		{"an inside without its end", inside(strings.TrimSuffix(string(wrapped(body(goodDate))), "-----END MESSAGE-----\n\n")), ErrTruncated},
		{"an inside that is not JSON", file(seal(t, wrapped("consumer_key"))), ErrNotToken},
		{"no expiry", file(seal(t, wrapped(strings.Replace(body(goodDate), "access_token_expiry", "expiry", 1)))), ErrNotToken},
		{"no secret", file(seal(t, wrapped(strings.Replace(body(goodDate), "access_secret", "secret", 1)))), ErrNotToken},
		{"a date that is none", file(seal(t, wrapped(body("next year")))), ErrNotToken},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Decode(c.file, mine().cert, mine().key, now)
			if !errors.Is(err, c.want) || got != (fleet.DEPCredentials{}) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			for _, secret := range []string{want.ConsumerSecret, want.AccessSecret, want.AccessToken} {
				if strings.Contains(err.Error(), secret[:8]) {
					t.Errorf("the error shows a secret: %v", err)
				}
			}
		})
	}
	for name, h := range map[string]holder{"a key of the same name": other(), "a key of another name": third()} {
		if _, err := Decode(good, h.cert, h.key, now); !errors.Is(err, ErrForeignKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Decode(file(tampered), mine().cert, mine().key, now); err == nil {
		t.Error("a tampered token was opened")
	}
}

func TestAnExpiredTokenIsToldWithItsDate(t *testing.T) {
	raw := file(seal(t, wrapped(body("2026-04-30T23:59:59Z"))))
	got, err := Decode(raw, mine().cert, mine().key, now)
	if !errors.Is(err, ErrExpired) || !strings.Contains(err.Error(), "2026-04-30") || got.AccessSecret != want.AccessSecret {
		t.Errorf("got %v", err)
	}
	if _, err := Decode(raw, mine().cert, mine().key, now.Add(-24*time.Hour)); err != nil {
		t.Errorf("before its date: %v", err)
	}
}

func TestCredentialsDoNotPrint(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, want); got != "***" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	der := seal(f, wrapped(body(goodDate)))
	f.Add(file(der))
	f.Add(der)
	f.Add(file(der[:100]))
	f.Add([]byte("Content-Type: application/pkcs7-mime\n\nMIAGCSqGSIb3DQEHA6CA"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := Decode(raw, mine().cert, mine().key, now)
		if err == nil && (c.ConsumerKey == "" || c.AccessSecret == "" || c.Expiry.IsZero()) {
			t.Error("incomplete credentials without an error")
		}
		// The inside is reached without guessing an envelope.
		if c, err := credentials(raw); err == nil && (c.ConsumerKey == "" || c.AccessToken == "") {
			t.Error("incomplete credentials without an error")
		}
	})
}

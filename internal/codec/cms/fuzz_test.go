package cms

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/smallstep/pkcs7"
)

// FuzzVerifyDetachedAgainstTheLibrary holds the fast reader against
// smallstep/pkcs7: where both accept they name the same signer, and the fast
// reader accepts nothing the library refuses, but for the exceptions in the
// package comment.
func FuzzVerifyDetachedAgainstTheLibrary(f *testing.F) {
	w := theWorld()
	for _, id := range []identity{w.rsa, w.p256, w.p384, w.expired} {
		f.Add(mustSign(f, id, Signing{Detached: true}), content)
		f.Add(mustSign(f, id, Signing{Detached: true, Digest: crypto.SHA1, Chain: []*x509.Certificate{w.ca.cert}}), content)
	}
	f.Fuzz(func(t *testing.T, sig, body []byte) {
		if len(sig) > MaxDetached {
			return
		}
		v := NewVerifier(8)
		fast, err := v.verifyFast(sig, body)
		_, bothErr := v.VerifyDetached(sig, body)
		if err == nil && bothErr != nil {
			t.Fatalf("verifyFast accepts and VerifyDetached does not: %v", bothErr)
		}
		if err != nil {
			return
		}
		slow, err := libraryVerify(sig, body)
		d, parseErr := parseDetached(sig)
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		if err != nil && documented(err, d, sig) {
			return
		}
		if err != nil {
			t.Fatalf("only the fast reader accepts: %v", err)
		}
		if !slow.Equal(fast.X509()) {
			t.Fatal("two different signers")
		}
	})
}

func FuzzOpenAndDecryptNeverPanic(f *testing.F) {
	w := theWorld()
	key, ok := w.rsa.key.(crypto.Decrypter)
	if !ok {
		f.Fatal("not a decrypter")
	}
	envelope, err := Encrypt(content, []*x509.Certificate{w.rsa.cert})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(envelope)
	f.Add(mustSign(f, w.rsa, Signing{}))
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Fuzz(func(_ *testing.T, der []byte) {
		_, _ = Open(der)
		_, _ = ParseBundle(der)
		_, _, _ = Decrypt(der, w.rsa.cert, key)
	})
}

// documented reports whether a refusal of the library is one that the package
// comment takes exception to.
func documented(err error, d *detached, sig []byte) bool {
	var signingTime *pkcs7.SigningTimeNotValidError
	return errors.As(err, &signingTime) || d.keyID != nil || bytes.Contains(sig, []byte(oidECPublicKey))
}

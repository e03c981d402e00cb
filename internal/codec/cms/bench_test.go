package cms

import (
	"crypto/x509"
	"testing"
)

func benchmarkVerify(b *testing.B, id identity) {
	w := theWorld()
	sig := mustSign(b, id, Signing{Detached: true})
	v := NewVerifier(8)
	v.SetAuthorities([]*x509.Certificate{w.ca.cert})
	b.ReportAllocs()
	for b.Loop() {
		c, err := v.VerifyDetached(sig, content)
		if err != nil {
			b.Fatal(err)
		}
		if err = v.CheckIssued(c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyRSA(b *testing.B)  { benchmarkVerify(b, theWorld().rsa) }
func BenchmarkVerifyP256(b *testing.B) { benchmarkVerify(b, theWorld().p256) }
func BenchmarkVerifyP384(b *testing.B) { benchmarkVerify(b, theWorld().p384) }

func BenchmarkVerifyRSAUncached(b *testing.B) {
	sig := mustSign(b, theWorld().rsa, Signing{Detached: true})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewVerifier(1).VerifyDetached(sig, content); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLibrary(b *testing.B) {
	sig := mustSign(b, theWorld().rsa, Signing{Detached: true})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := libraryVerify(sig, content); err != nil {
			b.Fatal(err)
		}
	}
}

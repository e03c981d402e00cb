package load

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"syscall"
	"time"

	"github.com/smallstep/pkcs7"
)

// yardstickRuns is how many signatures are verified; some 0.2 s.
const yardstickRuns = 2000

// Yardstick measures the CPU time of decoding (base64, CMS, X.509) and verifying
// one RSA-2048 signature with smallstep/pkcs7, garbage collection included. It
// counts this process's CPU, so nothing else should run in it meanwhile.
func Yardstick() (time.Duration, error) {
	header, body, err := yardstickMessage()
	if err != nil {
		return 0, fmt.Errorf("yardstick: %w", err)
	}
	start, err := ownCPU()
	if err != nil {
		return 0, err
	}
	for range yardstickRuns {
		err = verifyOnce(header, body)
		if err != nil {
			return 0, fmt.Errorf("yardstick: %w", err)
		}
	}
	end, err := ownCPU()
	return (end - start) / yardstickRuns, err
}

// verifyOnce is the work itself.
func verifyOnce(header string, body []byte) error {
	der, err := base64.StdEncoding.DecodeString(header)
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	p7, err := pkcs7.Parse(der)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	p7.Content = body
	err = p7.Verify()
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

// yardstickMessage signs an Idle as a device would.
func yardstickMessage() (header string, body []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, yardstickBits)
	if err != nil {
		return "", nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "yardstick"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return "", nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return "", nil, err
	}
	body = []byte(`<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict><key>Status</key><string>Idle</string></dict></plist>`)
	sd, err := pkcs7.NewSignedData(body)
	if err != nil {
		return "", nil, err
	}
	sd.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	err = sd.AddSigner(cert, key, pkcs7.SignerInfoConfig{})
	if err != nil {
		return "", nil, err
	}
	sd.Detach()
	der, err = sd.Finish()
	return base64.StdEncoding.EncodeToString(der), body, err
}

const yardstickBits = 2048

// ownCPU is the CPU time of this process.
func ownCPU() (time.Duration, error) {
	var r syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	if err != nil {
		return 0, fmt.Errorf("own CPU time: %w", err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

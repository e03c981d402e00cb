package machineinfo

import (
	"crypto/rsa"
	"crypto/x509"
	_ "embed" // the certificate below
	"encoding/pem"
	"errors"
	"fmt"
)

// applePEM is the "Apple iPhone Device CA", which signs the certificates of
// all of Apple's devices.
//
//go:embed apple.pem
var applePEM []byte

// Apple returns the authorities of Apple's devices.
func Apple() (Authorities, error) { return ParseAuthorities(applePEM) }

// ParseAuthorities reads PEM certificates: the ones to trust in addition to,
// or in place of, Apple's.
func ParseAuthorities(data []byte) (Authorities, error) {
	var list Authorities
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(list)+1, err)
		}
		if _, ok := cert.PublicKey.(*rsa.PublicKey); !ok {
			return nil, fmt.Errorf("certificate %d (%s) has no RSA key", len(list)+1, cert.Subject.CommonName)
		}
		list = append(list, cert)
	}
	if len(list) == 0 {
		return nil, errors.New("no certificate in PEM form")
	}
	return list, nil
}

package app

import (
	"time"

	"github.com/muster-mdm/muster/internal/codec/deptoken"
	"github.com/muster-mdm/muster/internal/codec/pushcsr"
)

// SignPushCSR countersigns a push certificate request for Apple's portal, for
// holders of an MDM vendor certificate. chainPEM begins with that certificate
// and ends with Apple's root.
func SignPushCSR(csr, chainPEM, keyPEM []byte) ([]byte, error) {
	return pushcsr.SignPEM(csr, chainPEM, keyPEM)
}

// NewServerTokenPair makes a key and a certificate to which Apple encrypts a
// server token, in PEM form, for whoever keeps the key outside of the server.
func NewServerTokenPair(now time.Time) (certPEM, keyPEM []byte, err error) {
	return deptoken.NewPair(now)
}

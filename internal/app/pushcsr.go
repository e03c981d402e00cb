package app

import "github.com/muster-mdm/muster/internal/codec/pushcsr"

// SignPushCSR countersigns a push certificate request for Apple's portal, for
// holders of an MDM vendor certificate. chainPEM begins with that certificate
// and ends with Apple's root.
func SignPushCSR(csr, chainPEM, keyPEM []byte) ([]byte, error) {
	return pushcsr.SignPEM(csr, chainPEM, keyPEM)
}

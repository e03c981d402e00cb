package cms

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart. None of them carries message content.
var (
	// ErrTooLarge: the input exceeds the limit of its kind.
	ErrTooLarge = errors.New("cms: message too large")
	// ErrMalformed: the input is not a message of the expected kind.
	ErrMalformed = errors.New("cms: malformed message")
	// ErrSignature: the message is well formed and its signature is wrong.
	ErrSignature = errors.New("cms: signature does not verify")
	// ErrNotIssued: the certificate was not issued by our authorities for
	// client authentication.
	ErrNotIssued = errors.New("cms: certificate not issued by a known authority")
	// ErrDecrypt: the envelope cannot be opened. One error for every cause, so
	// that an answer built on it tells a stranger nothing about the padding.
	ErrDecrypt = errors.New("cms: cannot decrypt")
)

// Limits in bytes. They are what the formats need many times over.
const (
	// MaxDetached bounds a detached signature: a signer, a few certificates.
	MaxDetached = 16 << 10
	// MaxSigned bounds a message with content, such as a signed profile.
	MaxSigned = 8 << 20
	// MaxEnvelope bounds an encrypted message.
	MaxEnvelope = 1 << 20
)

// guarded runs f, which calls into the library, and turns a panic into
// ErrMalformed: smallstep/pkcs7 v0.2.3 slices out of bounds on bad padding and
// CBC panics on half a block.
func guarded(what string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %w: %v", what, ErrMalformed, p)
		}
	}()
	return f()
}

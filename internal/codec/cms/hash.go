package cms

import (
	"crypto"
	"crypto/sha1" //nolint:gosec // devices in the field still sign with it (contracts/apple.md 1.2)
	"crypto/sha256"
	"crypto/sha512"
)

// sum hashes b; h is one of the four digests of digestOf.
func sum(h crypto.Hash, b []byte) []byte {
	switch h {
	case crypto.SHA1:
		s := sha1.Sum(b) //nolint:gosec // see the import
		return s[:]
	case crypto.SHA384:
		s := sha512.Sum384(b)
		return s[:]
	case crypto.SHA512:
		s := sha512.Sum512(b)
		return s[:]
	default:
		s := sha256.Sum256(b)
		return s[:]
	}
}

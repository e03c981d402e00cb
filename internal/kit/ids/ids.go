// Package ids makes identifiers and tokens.
package ids

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// TokenBytes is the entropy of a token: 256 bits.
const TokenBytes = 32

// UUID returns a random (version 4) UUID in lower case.
func UUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return format(b)
}

// DerivedUUID makes the same version 8 UUID from the same 16 bytes, for
// identifiers that must come out equal when work is done twice.
func DerivedUUID(sum [16]byte) string {
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return format(sum)
}

func format(b [16]byte) string {
	var out [36]byte
	hex.Encode(out[0:8], b[0:4])
	hex.Encode(out[9:13], b[4:6])
	hex.Encode(out[14:18], b[6:8])
	hex.Encode(out[19:23], b[8:10])
	hex.Encode(out[24:36], b[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

// Token returns a new secret of TokenBytes random bytes in URL-safe base64.
func Token() string {
	var b [TokenBytes]byte
	_, _ = rand.Read(b[:])
	return strings.TrimRight(base64.URLEncoding.EncodeToString(b[:]), "=")
}

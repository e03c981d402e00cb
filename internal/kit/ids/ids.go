// Package ids makes identifiers and tokens.
package ids

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"
)

// TokenBytes is the entropy of a token: 256 bits.
const TokenBytes = 32

// UUID returns a UUID of version 7 (RFC 9562, section 5.7) in lower case: the
// time and 74 random bits. Those that are made about the same time are
// neighbours in an index, whose pages are then written once for many of them.
func UUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(time.Now().UnixMilli()))
	copy(b[:6], ms[2:])
	b[6] = b[6]&0x0f | 0x70
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

package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/crypto/argon2"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Bounds of a password, in bytes.
const (
	MinPassword = 12
	MaxPassword = 256
)

// Parameters of argon2id: the second choice of OWASP's password storage
// cheat sheet, 19 MiB, two passes, one thread.
const (
	argonMemoryKiB = 19 << 10
	argonTime      = 2
	argonThreads   = 1
	argonSalt      = 16
	argonKey       = 32
)

// maxHashing bounds the memory that logins may take: 4 x 19 MiB.
const maxHashing = 4

// maxArgonMemoryKiB and maxArgonTime bound what a stored hash may ask for.
const (
	maxArgonMemoryKiB = 256 << 10
	maxArgonTime      = 16
)

// checkPassword reports what is wrong with a new password: it needs at least
// MinPassword bytes, a letter, a number and a symbol.
func checkPassword(field, password string) *fleet.Error {
	if len(password) < MinPassword {
		return fleet.FieldErrorf(fleet.KindInvalid, field, "must have at least %d characters", MinPassword)
	}
	if len(password) > MaxPassword {
		return fleet.FieldErrorf(fleet.KindInvalid, field, "must have at most %d bytes", MaxPassword)
	}
	var letter, number, symbol bool
	for _, r := range password {
		switch {
		case unicode.IsLetter(r):
			letter = true
		case unicode.IsNumber(r):
			number = true
		case unicode.IsPunct(r) || unicode.IsSymbol(r) || unicode.IsSpace(r):
			symbol = true
		}
	}
	if !letter || !number || !symbol {
		return fleet.FieldErrorf(fleet.KindInvalid, field, "must have at least one letter, one number and one symbol")
	}
	return nil
}

// hasher computes argon2id, a bounded number at a time.
type hasher struct{ slots chan struct{} }

func newHasher() hasher { return hasher{slots: make(chan struct{}, maxHashing)} }

func (h hasher) acquire(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fleet.Errorf(fleet.KindUnavailable, "The server is busy with other logins. Try again in a moment.").WithCause(ctx.Err())
	}
}

func (h hasher) release() { <-h.slots }

// hash returns the password in PHC string form.
func (h hasher) hash(ctx context.Context, password string) (string, error) {
	if err := h.acquire(ctx); err != nil {
		return "", err
	}
	defer h.release()
	var salt [argonSalt]byte
	_, _ = rand.Read(salt[:]) // never fails: crypto/rand aborts the process instead
	key := argon2.IDKey([]byte(password), salt[:], argonTime, argonMemoryKiB, argonThreads, argonKey)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemoryKiB, argonTime, argonThreads,
		base64.RawStdEncoding.EncodeToString(salt[:]), base64.RawStdEncoding.EncodeToString(key)), nil
}

// matches reports whether the password belongs to the hash. An empty hash
// matches nothing, at the cost of any other.
func (h hasher) matches(ctx context.Context, phc, password string) (bool, error) {
	p, ok := parsePHC(phc)
	if err := h.acquire(ctx); err != nil {
		return false, err
	}
	defer h.release()
	got := argon2.IDKey([]byte(password), p.salt, p.time, p.memoryKiB, p.threads, uint32(len(p.key)))
	return subtle.ConstantTimeCompare(got, p.key) == 1 && ok, nil
}

type argonParams struct {
	memoryKiB uint32
	time      uint32
	threads   uint8
	salt, key []byte
}

// nobody's parameters cost what a real hash costs.
func nobody() argonParams {
	return argonParams{argonMemoryKiB, argonTime, argonThreads, make([]byte, argonSalt), make([]byte, argonKey)}
}

// parsePHC reads $argon2id$v=19$m=..,t=..,p=..$salt$key. What it cannot read
// gives parameters of the usual cost and false.
func parsePHC(phc string) (argonParams, bool) {
	parts := strings.Split(phc, "$")
	const fields = 6 // the first is empty
	if len(parts) != fields || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return nobody(), false
	}
	var p argonParams
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memoryKiB, &p.time, &p.threads); err != nil {
		return nobody(), false
	}
	var saltErr, keyErr error
	p.salt, saltErr = base64.RawStdEncoding.DecodeString(parts[4])
	p.key, keyErr = base64.RawStdEncoding.DecodeString(parts[5])
	if saltErr != nil || keyErr != nil || len(p.key) < argonSalt || p.time == 0 || p.threads == 0 ||
		p.memoryKiB > maxArgonMemoryKiB || p.time > maxArgonTime {
		return nobody(), false
	}
	return p, true
}

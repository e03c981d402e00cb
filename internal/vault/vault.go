package vault

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/muster-mdm/muster/internal/fleet"
)

// KeySize is the length of a server key in bytes.
const KeySize = 32

// maxSecret bounds a sealed value.
const maxSecret = 1 << 20

// format is the first byte of a sealed value.
const format = 1

// Errors of the vault. Their texts say what to do.
var (
	ErrKeyUnknown = errors.New("sealed with a key that is not configured: add the old key to private_keys_old")
	ErrDamaged    = errors.New("the sealed value does not open: it is damaged, or belongs to another name")
)

// Key is a server key.
type Key struct {
	id   string
	aead cipher.AEAD
}

// ParseKey reads a key from base64 (standard or URL-safe, padded or not).
func ParseKey(text string) (Key, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	text = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return Key{}, errors.New("the server key is not base64: make one with `openssl rand -base64 32`")
	}
	if len(raw) != KeySize {
		return Key{}, fmt.Errorf("the server key has %d bytes, not %d: make one with `openssl rand -base64 32`", len(raw), KeySize)
	}
	if bytes.Count(raw, raw[:1]) == KeySize {
		return Key{}, errors.New("the server key is one byte repeated: make one with `openssl rand -base64 32`")
	}
	return newKey(raw)
}

func newKey(raw []byte) (Key, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return Key{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return Key{}, err
	}
	sum := sha256.Sum256(append([]byte("muster key id:"), raw...))
	return Key{id: hex.EncodeToString(sum[:8]), aead: aead}, nil
}

// NewKeyText makes a key and returns it as text.
func NewKeyText() string {
	raw := make([]byte, KeySize)
	_, _ = rand.Read(raw)
	return base64.StdEncoding.EncodeToString(raw)
}

// ID identifies the key without telling it.
func (k Key) ID() string { return k.id }

// Vault holds the server keys. It is safe for concurrent use.
type Vault struct {
	mu      sync.RWMutex
	current Key
	byID    map[string]Key
	reload  func() ([]Key, error)
}

// New returns a vault that seals with the first key and opens with all.
// reload, if not nil, is asked for the keys again when a value needs one that
// is not held: another process may have rotated them.
func New(keys []Key, reload func() ([]Key, error)) (*Vault, error) {
	v := &Vault{reload: reload}
	if err := v.set(keys); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *Vault) set(keys []Key) error {
	if len(keys) == 0 {
		return errors.New("no server key")
	}
	byID := make(map[string]Key, len(keys))
	for _, k := range keys {
		byID[k.id] = k
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current, v.byID = keys[0], byID
	return nil
}

// CurrentKeyID is the identifier of the key that seals.
func (v *Vault) CurrentKeyID() string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.current.id
}

// Seal encrypts a secret for the given name.
func (v *Vault) Seal(ref fleet.SecretRef, secret []byte) (fleet.Sealed, error) {
	if len(secret) > maxSecret {
		return fleet.Sealed{}, fmt.Errorf("seal %s: %d bytes are more than %d", ref.Scope, len(secret), maxSecret)
	}
	raw := make([]byte, KeySize)
	_, _ = rand.Read(raw)
	data, err := newKey(raw)
	if err != nil {
		return fleet.Sealed{}, fmt.Errorf("seal %s: %w", ref.Scope, err)
	}
	v.mu.RLock()
	k := v.current
	v.mu.RUnlock()
	return join(k, raw, data.aead.Seal(nil, nil, secret, associated(ref))), nil
}

// join builds format, length of the wrapped key, wrapped key, ciphertext.
func join(k Key, dataKey, ciphertext []byte) fleet.Sealed {
	wrapped := k.aead.Seal(nil, nil, dataKey, []byte(k.id))
	out := make([]byte, 0, 2+len(wrapped)+len(ciphertext))
	out = append(out, format, byte(len(wrapped)))
	out = append(out, wrapped...)
	return fleet.Sealed{KeyID: k.id, Data: append(out, ciphertext...)}
}

// Open decrypts a sealed value of the given name.
func (v *Vault) Open(ref fleet.SecretRef, sealed fleet.Sealed) ([]byte, error) {
	raw, ciphertext, err := v.unwrap(sealed)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", ref.Scope, err)
	}
	data, err := newKey(raw)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", ref.Scope, err)
	}
	secret, err := data.aead.Open(nil, nil, ciphertext, associated(ref))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", ref.Scope, ErrDamaged)
	}
	return secret, nil
}

// Rewrap returns the value wrapped with the current key. The secret itself is
// not decrypted.
func (v *Vault) Rewrap(sealed fleet.Sealed) (fleet.Sealed, error) {
	raw, ciphertext, err := v.unwrap(sealed)
	if err != nil {
		return fleet.Sealed{}, err
	}
	v.mu.RLock()
	k := v.current
	v.mu.RUnlock()
	return join(k, raw, ciphertext), nil
}

func (v *Vault) unwrap(sealed fleet.Sealed) (dataKey, ciphertext []byte, err error) {
	k, err := v.key(sealed.KeyID)
	if err != nil {
		return nil, nil, err
	}
	d := sealed.Data
	if len(d) < 2 || d[0] != format || len(d) < 2+int(d[1]) {
		return nil, nil, ErrDamaged
	}
	wrapped, ciphertext := d[2:2+int(d[1])], d[2+int(d[1]):]
	dataKey, err = k.aead.Open(nil, nil, wrapped, []byte(k.id))
	if err != nil {
		return nil, nil, ErrDamaged
	}
	return dataKey, ciphertext, nil
}

func (v *Vault) key(id string) (Key, error) {
	v.mu.RLock()
	k, ok := v.byID[id]
	v.mu.RUnlock()
	if ok || v.reload == nil {
		if !ok {
			return Key{}, ErrKeyUnknown
		}
		return k, nil
	}
	if err := v.Refresh(); err != nil {
		return Key{}, err
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	if k, ok = v.byID[id]; !ok {
		return Key{}, ErrKeyUnknown
	}
	return k, nil
}

// Refresh reads the keys again, so that a server seals with a key that another
// process put first.
func (v *Vault) Refresh() error {
	if v.reload == nil {
		return nil
	}
	keys, err := v.reload()
	if err != nil {
		return fmt.Errorf("read the server keys again: %w", err)
	}
	return v.set(keys)
}

func associated(ref fleet.SecretRef) []byte {
	return []byte(string(ref.Scope) + "\x00" + ref.Name)
}

// Store keeps sealed values.
type Store interface {
	NotSealedWith(ctx context.Context, keyID string, limit int) ([]fleet.StoredSecret, error)
	// Rewrap stores values that have not changed since they were read.
	Rewrap(ctx context.Context, values []fleet.StoredSecret) (int, error)
	KeyIDs(ctx context.Context) (map[string]int, error)
}

// rotateBatch is how many values one transaction re-wraps.
const rotateBatch = 200

// Rotate re-wraps every value that another key than the current one seals.
// It may be stopped at any time and run again; progress is told the number
// done so far. It fails if a value's key is not held.
func (v *Vault) Rotate(ctx context.Context, s Store, progress func(done int)) (int, error) {
	done := 0
	for {
		values, err := s.NotSealedWith(ctx, v.CurrentKeyID(), rotateBatch)
		if err != nil {
			return done, fmt.Errorf("find sealed values: %w", err)
		}
		if len(values) == 0 {
			return done, nil
		}
		for i := range values {
			if values[i].Value, err = v.Rewrap(values[i].Value); err != nil {
				return done, fmt.Errorf("%s/%s: %w", values[i].Ref.Scope, values[i].Ref.Name, err)
			}
		}
		n, err := s.Rewrap(ctx, values)
		if err != nil {
			return done, fmt.Errorf("store re-wrapped values: %w", err)
		}
		done += n
		if progress != nil {
			progress(done)
		}
	}
}

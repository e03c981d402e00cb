package appledev

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"sync/atomic"
)

// Keys gives devices their private keys.
type Keys interface {
	// Key returns an RSA key of this many bits.
	Key(bits int) (*rsa.PrivateKey, error)
}

// FreshKeys makes a key when asked, as devices do.
type FreshKeys struct{}

// Key implements Keys.
func (FreshKeys) Key(bits int) (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return key, nil
}

// KeyPool hands out keys made beforehand, in turn, so that a storm of
// enrollments measures the server and not the making of keys. A pool smaller
// than the population gives several devices the same key.
type KeyPool struct {
	bits int
	keys []*rsa.PrivateKey
	next atomic.Uint64
}

// NewKeyPool makes n keys of this many bits; a 2048 bit key takes some 0.1 s.
func NewKeyPool(n, bits int) (*KeyPool, error) {
	p := &KeyPool{bits: bits}
	for range n {
		key, err := FreshKeys{}.Key(bits)
		if err != nil {
			return nil, err
		}
		p.keys = append(p.keys, key)
	}
	return p, nil
}

// Key implements Keys; sizes the pool does not hold are made fresh.
func (p *KeyPool) Key(bits int) (*rsa.PrivateKey, error) {
	if bits != p.bits || len(p.keys) == 0 {
		return FreshKeys{}.Key(bits)
	}
	return p.keys[(p.next.Add(1)-1)%uint64(len(p.keys))], nil
}

package appledev

import (
	"crypto/sha256"
	"sync"
)

// maxShared bounds a Library; what falls out of it is only parsed again.
const maxShared = 4096

// Library lets devices share what equal profiles have in common, so that ten
// thousand devices with the same profile hold it once. The zero Library works.
type Library struct {
	mu     sync.Mutex
	byHash map[[sha256.Size]byte]*profile
}

// parse is parseProfile for bytes that may have been parsed before. Enrollment
// profiles are not kept: each holds a challenge of its own.
func (l *Library) parse(raw []byte) (*profile, error) {
	hash := sha256.Sum256(raw)
	l.mu.Lock()
	p := l.byHash[hash]
	l.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := parseProfile(raw)
	if err != nil || p.mdm != nil {
		return p, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if first := l.byHash[hash]; first != nil {
		return first, nil
	}
	if l.byHash == nil {
		l.byHash = make(map[[sha256.Size]byte]*profile)
	}
	for old := range l.byHash {
		if len(l.byHash) < maxShared {
			break
		}
		delete(l.byHash, old)
	}
	l.byHash[hash] = p
	return p, nil
}

package cms

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// lru keeps the most recently used certificates, at most size of them.
type lru struct {
	size int

	mu    sync.Mutex
	byKey map[[sha256.Size]byte]*list.Element
	order *list.List // of *summary, most recent first
}

func newLRU(size int) *lru {
	return &lru{size: size, byKey: make(map[[sha256.Size]byte]*list.Element), order: list.New()}
}

// get returns the certificate with this fingerprint and marks it used, or nil.
func (l *lru) get(key [sha256.Size]byte) *summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.byKey[key]
	if !ok {
		return nil
	}
	l.order.MoveToFront(e)
	s, _ := e.Value.(*summary)
	return s
}

// put adds a certificate, dropping the least recently used one when full.
func (l *lru) put(s *summary) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.byKey[s.SHA256]; ok {
		e.Value = s // under other authorities, or the same again
		return
	}
	l.byKey[s.SHA256] = l.order.PushFront(s)
	if l.order.Len() <= l.size {
		return
	}
	last := l.order.Back()
	old, _ := l.order.Remove(last).(*summary)
	delete(l.byKey, old.SHA256)
}

// len returns the number of certificates kept.
func (l *lru) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.order.Len()
}

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
	order *list.List // of *Certificate, most recent first
}

func newLRU(size int) *lru {
	return &lru{size: size, byKey: make(map[[sha256.Size]byte]*list.Element), order: list.New()}
}

// get returns the certificate with this fingerprint and marks it used, or nil.
func (l *lru) get(key [sha256.Size]byte) *Certificate {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.byKey[key]
	if !ok {
		return nil
	}
	l.order.MoveToFront(e)
	c, _ := e.Value.(*Certificate)
	return c
}

// put adds a certificate, dropping the least recently used one when full. One
// that is already there stays: its verdict is the older and equal one.
func (l *lru) put(c *Certificate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.byKey[c.SHA256]; ok {
		return
	}
	l.byKey[c.SHA256] = l.order.PushFront(c)
	if l.order.Len() <= l.size {
		return
	}
	last := l.order.Back()
	old, _ := l.order.Remove(last).(*Certificate)
	delete(l.byKey, old.SHA256)
}

// len returns the number of certificates kept.
func (l *lru) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.order.Len()
}

// Package ratelimit bounds how often something may happen per key, with
// bounded memory.
package ratelimit

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// MaxKeys bounds how many keys are watched at once; the one not heard of for
// longest makes room.
const MaxKeys = 8192

// Keyed is a token bucket per key. It is safe for concurrent use.
type Keyed struct {
	every rate.Limit
	burst int
	now   func() time.Time

	mu     sync.Mutex
	byKey  map[string]*list.Element
	recent *list.List // of *bucket; most recently used first
}

type bucket struct {
	key     string
	limiter *rate.Limiter
}

// New allows count events per interval and key, all at once if they come so.
func New(count int, interval time.Duration, now func() time.Time) *Keyed {
	return &Keyed{
		every: rate.Limit(float64(count) / interval.Seconds()), burst: count, now: now,
		byKey: map[string]*list.Element{}, recent: list.New(),
	}
}

// Take counts one event. A positive wait means that it is refused and not
// counted, and how long until it would not be.
func (k *Keyed) Take(key string) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	reservation := k.limiter(key).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

// Wait tells how long until one event would be allowed, without counting one;
// 0: now. It is for counting only what failed.
func (k *Keyed) Wait(key string) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	element, ok := k.byKey[key]
	if !ok {
		return 0
	}
	tokens := element.Value.(*bucket).limiter.TokensAt(k.now())
	if tokens >= 1 {
		return 0
	}
	return time.Duration((1 - tokens) / float64(k.every) * float64(time.Second))
}

func (k *Keyed) limiter(key string) *rate.Limiter {
	if element, ok := k.byKey[key]; ok {
		k.recent.MoveToFront(element)
		return element.Value.(*bucket).limiter
	}
	if k.recent.Len() >= MaxKeys {
		oldest := k.recent.Back()
		delete(k.byKey, oldest.Value.(*bucket).key)
		k.recent.Remove(oldest)
	}
	fresh := &bucket{key: key, limiter: rate.NewLimiter(k.every, k.burst)}
	k.byKey[key] = k.recent.PushFront(fresh)
	return fresh.limiter
}

// Network is the key of an address: itself, or the /64 that one IPv6 customer
// has.
func Network(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil || addr.Is4() {
		return address
	}
	const customer = 64
	prefix, err := addr.Prefix(customer)
	if err != nil {
		return address
	}
	return prefix.String()
}

package access

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxLimited bounds how many addresses and accounts are watched at once; the
// one not heard of for longest makes room.
const maxLimited = 8192

// addressFactor is how many more attempts an address has over all e-mails than
// for one, so that an office behind one address can log in on a Monday.
const addressFactor = 10

// limiter bounds attempts per key. It is safe for concurrent use.
type limiter struct {
	perMinute int
	now       func() time.Time

	mu     sync.Mutex
	byKey  map[limitKey]*list.Element
	recent *list.List // of *limited; most recently used first
}

type limitKey struct{ address, email string } // email "": the address as a whole

type limited struct {
	key    limitKey
	bucket *rate.Limiter
}

func newLimiter(perMinute int, now func() time.Time) *limiter {
	return &limiter{perMinute: perMinute, now: now, byKey: map[limitKey]*list.Element{}, recent: list.New()}
}

// take counts one attempt. A positive wait means that it is refused, and how
// long until the next would not be.
func (l *limiter) take(address, email string) time.Duration {
	address = network(address)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	// The address first: a flood of invented e-mails then never gets as far
	// as pushing a real account's bucket out.
	if wait := l.takeOne(limitKey{address, ""}, l.perMinute*addressFactor, now); wait > 0 {
		return wait
	}
	return l.takeOne(limitKey{address, email}, l.perMinute, now)
}

func (l *limiter) takeOne(key limitKey, perMinute int, now time.Time) time.Duration {
	reservation := l.bucket(key, perMinute).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

func (l *limiter) bucket(key limitKey, perMinute int) *rate.Limiter {
	if element, ok := l.byKey[key]; ok {
		l.recent.MoveToFront(element)
		return element.Value.(*limited).bucket
	}
	if l.recent.Len() >= maxLimited {
		oldest := l.recent.Back()
		delete(l.byKey, oldest.Value.(*limited).key)
		l.recent.Remove(oldest)
	}
	entry := &limited{key: key, bucket: rate.NewLimiter(rate.Limit(float64(perMinute)/60), perMinute)}
	l.byKey[key] = l.recent.PushFront(entry)
	return entry.bucket
}

// network is the address itself, or the /64 that one IPv6 customer has.
func network(address string) string {
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

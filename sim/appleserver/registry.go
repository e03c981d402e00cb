package appleserver

import (
	"encoding/hex"
	"sync"
)

// maxHeld bounds the notifications kept for devices that are away.
const maxHeld = 100_000

// device is what Apple calls an app on a device: a token under a topic.
type device struct {
	token string // the raw bytes
	topic string
}

// waiter is somebody to wake; merged says that an earlier wake was not yet
// taken. It is called under the registry's lock and must not call back.
type waiter func() (merged bool)

// registry connects notifications with those who wait for them.
type registry struct {
	mu      sync.Mutex
	waiters map[device]map[*waiter]struct{}
	held    map[device]struct{}
}

func newRegistry() *registry {
	return &registry{waiters: make(map[device]map[*waiter]struct{}), held: make(map[device]struct{})}
}

// add registers w for d, and calls it at once when a notification was held.
func (r *registry) add(d device, w waiter) (cancel func()) {
	key := &w
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiters[d] == nil {
		r.waiters[d] = make(map[*waiter]struct{})
	}
	r.waiters[d][key] = struct{}{}
	if _, ok := r.held[d]; ok {
		delete(r.held, d)
		w()
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.waiters[d], key)
		if len(r.waiters[d]) == 0 {
			delete(r.waiters, d)
		}
	}
}

// subscribe is add with a channel that holds one wake and is never closed.
func (r *registry) subscribe(d device) (wake <-chan struct{}, cancel func()) {
	ch := make(chan struct{}, 1)
	cancel = r.add(d, func() bool { return !notify(ch) })
	return ch, cancel
}

// notify puts a value into a channel of capacity one; false: one was there.
func notify(ch chan<- struct{}) bool {
	select {
	case ch <- struct{}{}:
		return true
	default:
		return false
	}
}

// deliver wakes all that wait for d, or holds one notification for it. It
// reports whether the notification merged into one not yet taken.
func (r *registry) deliver(d device) (coalesced bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiters[d]) == 0 {
		_, coalesced = r.held[d]
		if len(r.held) < maxHeld {
			r.held[d] = struct{}{}
		}
		return coalesced
	}
	for w := range r.waiters[d] {
		if (*w)() {
			coalesced = true
		}
	}
	return coalesced
}

// tokenOf decodes a token as it stands in a URL.
func tokenOf(text string) (string, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) == 0 || len(raw) > maxTokenBytes {
		return "", false
	}
	return string(raw), true
}

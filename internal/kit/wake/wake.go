// Package wake lets one goroutine tell another that there may be work, without
// carrying the work: losing a wake-up costs latency only.
package wake

// Bell is rung to wake whoever waits on C. Many rings before a wait count as
// one.
type Bell struct{ c chan struct{} }

// NewBell returns a silent bell.
func NewBell() *Bell { return &Bell{c: make(chan struct{}, 1)} }

// Ring wakes the waiter, now or at its next wait. It never blocks; ringing a
// nil bell does nothing.
func (b *Bell) Ring() {
	if b == nil {
		return
	}
	select {
	case b.c <- struct{}{}:
	default:
	}
}

// C is received from when the bell was rung.
func (b *Bell) C() <-chan struct{} { return b.c }

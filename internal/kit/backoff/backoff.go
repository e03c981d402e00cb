// Package backoff computes the wait before another try.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Policy is an exponential back-off with jitter.
type Policy struct {
	First  time.Duration // wait after the first failure
	Max    time.Duration // no wait is longer; 0: no bound
	Factor float64       // growth for each further failure; below 1 counts as 2
	Jitter float64       // share of the wait that is random, 0 to 1
}

// longest keeps a wait without a bound from overflowing.
const longest = float64(365 * 24 * time.Hour)

// Wait is how long to wait after the given number of failures (1, 2, ...).
func (p Policy) Wait(failures int) time.Duration {
	factor := p.Factor
	if factor < 1 {
		factor = 2
	}
	wait := float64(p.First)
	for i := 1; i < failures && (p.Max <= 0 || wait < float64(p.Max)) && wait < longest; i++ {
		wait *= factor
	}
	if p.Max > 0 && wait > float64(p.Max) {
		wait = float64(p.Max)
	}
	if p.Jitter > 0 {
		wait -= wait * p.Jitter * rand.Float64()
	}
	return time.Duration(wait)
}

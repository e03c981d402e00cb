package backoff

import (
	"math"
	"testing"
	"time"
)

func TestWaitsGrowUpToTheirLimit(t *testing.T) {
	plain := Policy{First: time.Second, Max: 10 * time.Second, Factor: 3}
	for _, tt := range []struct {
		name     string
		policy   Policy
		failures int
		want     time.Duration
	}{
		{"the first failure waits the first wait", plain, 1, time.Second},
		{"the second waits the factor longer", plain, 2, 3 * time.Second},
		{"the third again", plain, 3, 9 * time.Second},
		{"no wait is longer than the limit", plain, 4, 10 * time.Second},
		{"however often it failed", plain, math.MaxInt, 10 * time.Second},
		{"no failure yet counts as the first", plain, 0, time.Second},
		{"a factor below 1 counts as 2", Policy{First: time.Second, Max: time.Minute}, 4, 8 * time.Second},
		{"a first wait beyond the limit is cut", Policy{First: time.Hour, Max: time.Minute, Factor: 2}, 1, time.Minute},
		{"the zero policy does not wait", Policy{}, 3, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.policy.Wait(tt.failures); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestJitterShortensAWaitByAtMostItsShare(t *testing.T) {
	p := Policy{First: 10 * time.Second, Max: time.Minute, Factor: 2, Jitter: 0.25}
	shortest, longest := time.Hour, time.Duration(0)
	for range 1000 {
		wait := p.Wait(1)
		shortest, longest = min(shortest, wait), max(longest, wait)
	}
	if shortest < 7500*time.Millisecond || longest > 10*time.Second {
		t.Errorf("waits from %v to %v", shortest, longest)
	}
	if longest-shortest < time.Second {
		t.Errorf("waits from %v to %v hardly differ", shortest, longest)
	}
}

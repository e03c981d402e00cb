package ratelimit

import (
	"strconv"
	"testing"
	"time"
)

func TestABurstIsAllowedAndThenTheRate(t *testing.T) {
	now := time.Unix(0, 0)
	k := New(3, time.Minute, func() time.Time { return now })
	for range 3 {
		if wait := k.Take("a"); wait != 0 {
			t.Fatalf("refused within the burst: %v", wait)
		}
	}
	for range 5 { // refusals do not count
		if wait := k.Take("a"); wait != 20*time.Second {
			t.Fatalf("got a wait of %v, want 20s", wait)
		}
	}
	if wait := k.Take("b"); wait != 0 {
		t.Error("another key is refused")
	}
	now = now.Add(20 * time.Second)
	if wait := k.Take("a"); wait != 0 {
		t.Errorf("still refused after the wait: %v", wait)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	k := New(1, time.Minute, func() time.Time { return time.Unix(0, 0) })
	for i := range 2 * MaxKeys {
		k.Take(strconv.Itoa(i))
	}
	if len(k.byKey) != MaxKeys || k.recent.Len() != MaxKeys {
		t.Errorf("%d keys are kept", len(k.byKey))
	}
}

func TestNetworksOfAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "": "", "socket": "socket",
	} {
		if got := Network(address); got != want {
			t.Errorf("%q: got %q, want %q", address, got, want)
		}
	}
}

func TestWaitingIsToldWithoutCounting(t *testing.T) {
	now := time.Unix(0, 0)
	k := New(2, time.Minute, func() time.Time { return now })
	for range 10 {
		if k.Wait("a") != 0 {
			t.Fatal("asking counted")
		}
	}
	k.Take("a")
	k.Take("a")
	if wait := k.Wait("a"); wait <= 0 || wait > 30*time.Second {
		t.Fatalf("wait = %v", wait)
	}
	now = now.Add(31 * time.Second)
	if wait := k.Wait("a"); wait != 0 {
		t.Fatalf("after the interval: %v", wait)
	}
}

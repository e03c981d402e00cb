package appledev_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/muster-mdm/muster/sim/appledev"
)

// running lets a device run until the test ends.
func running(t *testing.T, d *appledev.Device) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = d.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// until waits for what the log comes to hold.
func until(t *testing.T, s *server, heard *[]string, done func([]string) bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		*heard = append(*heard, s.kinds()...)
		if done(*heard) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("heard only %q", *heard)
		case <-time.After(time.Millisecond):
		}
	}
}

func count(list []string, kind string) int {
	n := 0
	for _, k := range list {
		if k == kind {
			n++
		}
	}
	return n
}

func TestADeviceComesBackOnlyWhenNotNowWasItsLastWord(t *testing.T) {
	const soon = 10 * time.Millisecond
	t.Run("last", func(t *testing.T) {
		s := start(t)
		d := s.device(t, appledev.IPad, appledev.Options{RetryAfter: soon})
		s.take()
		d.Faults().NotNow(1, "SecurityInfo")
		s.enqueue("SecurityInfo", nil)
		running(t, d)
		var heard []string
		until(t, s, &heard, func(h []string) bool { return count(h, "Acknowledged") == 1 })
		if want := []string{"Idle", "NotNow", "Idle", "Acknowledged"}; !slices.Equal(heard, want) {
			t.Fatalf("%q, want %q", heard, want)
		}
	})
	t.Run("not last", func(t *testing.T) {
		s := start(t)
		d := s.device(t, appledev.IPad, appledev.Options{RetryAfter: soon})
		s.take()
		s.onward = true
		d.Faults().NotNow(1, "SecurityInfo")
		s.enqueue("SecurityInfo", nil)
		s.enqueue("ProfileList", nil)
		running(t, d)
		var heard []string
		until(t, s, &heard, func(h []string) bool { return count(h, "Acknowledged") == 1 })
		<-time.After(20 * soon) // nothing can be waited for: it must not come
		if heard = append(heard, s.kinds()...); !slices.Equal(heard, []string{"Idle", "NotNow", "Acknowledged"}) {
			t.Fatalf("%q", heard)
		}
	})
}

func TestAPushWakesTheChannelItIsFor(t *testing.T) {
	s := start(t)
	w := &wakes{chans: map[string]chan struct{}{}, ready: make(chan struct{})}
	d := s.device(t, appledev.Mac, appledev.Options{Wakes: w})
	var user []byte
	for _, m := range s.take() {
		if m.kind() == "TokenUpdate" && m.body["UserID"] != nil {
			user, _ = m.body["Token"].([]byte)
		}
	}
	running(t, d)
	device, _ := d.PushToken()
	var heard []string
	until(t, s, &heard, func(h []string) bool { return len(h) == 2 })
	const pushes = 5
	for _, c := range []struct {
		token []byte
		idle  string
	}{{device, "Idle"}, {user, "user Idle"}} {
		for i := range pushes {
			w.fire(c.token)
			until(t, s, &heard, func(h []string) bool { return count(h, c.idle) == i+2 })
		}
	}
	if len(heard) != 2+2*pushes {
		t.Fatalf("%d pushes and the beginning made %q", 2*pushes, heard)
	}
}

func TestAMacWithoutUserOpensItsChannelLater(t *testing.T) {
	s := start(t)
	model := appledev.NewSpecs(3, 1, appledev.Mix{MacNoUser: 1})[0]
	if model.Model.Family != appledev.Mac || model.UserChannel || !spec(appledev.Mac).UserChannel || spec(appledev.IPad).UserChannel {
		t.Fatalf("%+v", model)
	}
	d := s.deviceOf(t, model, appledev.Options{})
	wantKinds(t, s, "Authenticate", "TokenUpdate", "SetBootstrapToken")
	for range 2 {
		if err := d.OpenUserChannel(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	poll(t, d)
	wantKinds(t, s, "user TokenUpdate", "Idle", "user Idle")
}

func TestAFlakyNetworkLosesTheSameMessagesForTheSameSeed(t *testing.T) {
	outcomes := func(seed uint64) (lost []bool, arrived int) {
		s := start(t)
		d := s.device(t, appledev.IPad, appledev.Options{})
		s.take()
		d.Faults().Flaky(0.5, seed)
		for range 40 {
			_, err := d.Poll(t.Context())
			if err != nil && !errors.Is(err, appledev.ErrLost) {
				t.Fatal(err)
			}
			lost = append(lost, err != nil)
		}
		d.Faults().Flaky(0, 0)
		poll(t, d)
		return lost, len(s.take()) - 1
	}
	first, arrived := outcomes(1)
	again, _ := outcomes(1)
	other, _ := outcomes(2)
	losses := 0
	for _, l := range first {
		if l {
			losses++
		}
	}
	if !slices.Equal(first, again) || slices.Equal(first, other) || losses < 10 || losses > 30 {
		t.Fatalf("%v\n%v\n%v", first, again, other)
	}
	if arrived <= 40-losses || arrived == 40 {
		t.Fatalf("%d of 40 arrived while %d were lost: both requests and answers should be", arrived, losses)
	}
}

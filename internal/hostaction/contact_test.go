package hostaction_test

import (
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
)

// A locked Mac that is heard of was unlocked by its PIN; a phone in Lost Mode
// is heard of all the time.
func TestAMacThatIsHeardOfIsNotLockedAnyMore(t *testing.T) {
	b, ctx := newBench(t, fleet.PlatformDarwin, fleet.PlatformIOS), t.Context()
	status := func(host int) fleet.DeviceStatus {
		t.Helper()
		h, err := store.NewHosts(b.db).Host(ctx, b.hosts[host])
		if err != nil {
			t.Fatal(err)
		}
		return h.MDM.Device
	}
	for i, kind := range []string{"DeviceLock", "EnableLostMode"} {
		if _, err := b.Do(ctx, person(1, "Ada"), b.ask(fleet.ActionLock, b.hosts[i])); err != nil {
			t.Fatal(err)
		}
		if got := b.fetched(i)["RequestType"]; got != kind {
			t.Fatalf("it gets %v", got)
		}
		next, err := store.NewCommands(b.db).Exchange(ctx, b.keys[i], nil, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := fleet.CommandReport{CommandUUID: next.UUID, Status: fleet.CommandAcknowledged, At: b.now, Body: []byte("answer")}
		if _, err := store.NewCommands(b.db).Exchange(ctx, b.keys[i], &r, 0, func(t fleet.CommandTarget) fleet.ReportOutcome { return b.Outcome(t, r, nil) }); err != nil {
			t.Fatal(err)
		}
	}
	acknowledged := b.now
	for _, tt := range []struct {
		name string
		seen time.Duration // after the answer
		want fleet.DeviceStatus
	}{
		{"on the connection that took the lock", time.Second, fleet.DeviceLocked},
		{"a moment later", 4 * time.Minute, fleet.DeviceLocked},
		{"after it restarted", 6 * time.Minute, fleet.DeviceUnlocked},
	} {
		b.now = acknowledged.Add(time.Hour)
		at := acknowledged.Add(tt.seen)
		if err := store.NewHosts(b.db).Seen(ctx, map[fleet.HostID]time.Time{b.hosts[0]: at, b.hosts[1]: at}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := b.NoteUnlocked(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if got := status(0); got != tt.want {
			t.Errorf("heard of %s, it is %s", tt.name, got)
		}
	}
	if got := status(1); got != fleet.DeviceLocked {
		t.Errorf("the phone is %s", got)
	}
	// Its PIN still is to be seen, and it obeys again.
	if v, err := b.Reveal(ctx, person(1, "Ada"), b.hosts[0], fleet.RevealPIN); err != nil || v.Value == "" {
		t.Errorf("%v", err)
	}
	if _, err := b.Do(ctx, person(1, "Ada"), b.ask(fleet.ActionWipe, b.hosts[0])); err != nil {
		t.Error(err)
	}
}

package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
)

// device is a host with its device channel.
type device struct {
	host       fleet.Host
	enrollment fleet.Enrollment
}

func (d device) target() fleet.Target {
	return fleet.Target{EnrollmentID: d.enrollment.ID, State: d.enrollment.State, Host: fleet.HostRef{ID: d.host.ID, UUID: d.host.UUID}}
}

// addDevice enrolls a host; its UUID is the key of its enrollment.
func addDevice(t testing.TB, db *store.DB, h fleet.Host) device {
	t.Helper()
	if h.Platform == "" {
		h.Platform = fleet.PlatformDarwin
	}
	var made fleet.Host
	look := fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: h.UUID}}
	e, err := store.NewEnrollments(db).Apply(context.Background(), look, func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
		made = h
		return fleet.EnrollmentChange{Host: &made, Enrollment: &fleet.Enrollment{Key: h.UUID, Channel: fleet.ChannelDevice, State: fleet.EnrollmentOn,
			Generation: 1, Topic: "topic", PushMagic: "magic", PushToken: []byte("token"), Serial: h.HardwareSerial}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return device{made, *e}
}

// addDevices enrolls n hosts named U-0, U-1, ...
func addDevices(t testing.TB, db *store.DB, n int) []device {
	t.Helper()
	list := make([]device, 0, n)
	for i := range n {
		list = append(list, addDevice(t, db, fleet.Host{UUID: fmt.Sprintf("U-%d", i), HardwareSerial: fmt.Sprintf("S-%d", i)}))
	}
	return list
}

// apply changes an enrollment.
func apply(t testing.TB, db *store.DB, key string, decide func(fleet.EnrollmentFacts) fleet.EnrollmentChange) *fleet.Enrollment {
	t.Helper()
	look := fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: key}}
	e, err := store.NewEnrollments(db).Apply(context.Background(), look, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) { return decide(f), nil })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// setState moves a device channel to a state.
func setState(t testing.TB, db *store.DB, key string, state fleet.EnrollmentState) {
	t.Helper()
	apply(t, db, key, func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
		e := *f.Enrollment
		e.State = state
		return fleet.EnrollmentChange{Enrollment: &e}
	})
}

func eventKinds(t testing.TB, db *store.DB) []fleet.EventKind {
	t.Helper()
	list, err := store.NewEvents(db).Since(context.Background(), 0, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	kinds := make([]fleet.EventKind, 0, len(list))
	for _, e := range list {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func names(list []fleet.Host) []string {
	out := make([]string, 0, len(list))
	for _, h := range list {
		out = append(out, h.Hostname)
	}
	return out
}

func equal[T comparable](t testing.TB, what string, got []T, want ...T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

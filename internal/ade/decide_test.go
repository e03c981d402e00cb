package ade

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-mdm/muster/internal/fleet"
)

func at(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }

func ipad(serial string, op fleet.DEPOp, when time.Time) fleet.DEPDevice {
	return fleet.DEPDevice{Serial: serial, Model: "iPad", Family: "iPad", OS: "iPadOS", ProfileStatus: "empty", Op: op, OpDate: when}
}

func TestTheNewestOperationOfASerialCounts(t *testing.T) {
	got := newest([]fleet.DEPDevice{ipad("A", fleet.DEPAdded, at(1)), ipad("B", fleet.DEPDeleted, at(5)), ipad("A", fleet.DEPDeleted, at(3)), ipad("B", fleet.DEPAdded, at(4)),
		ipad("A", fleet.DEPModified, at(2)), ipad("C", fleet.DEPAdded, at(1)), ipad("C", fleet.DEPModified, at(1))})
	want := []fleet.DEPDevice{ipad("A", fleet.DEPDeleted, at(3)), ipad("B", fleet.DEPDeleted, at(5)), ipad("C", fleet.DEPModified, at(1))}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// facts with a device "A" that was taken in at minute 10, and its host.
func known(change func(*fleet.DEPFacts, *fleet.DEPRecord, *fleet.Host)) fleet.DEPFacts {
	f := fleet.DEPFacts{Sync: fleet.DEPSync{Round: 4, Teams: map[fleet.Platform]fleet.TeamID{fleet.PlatformIPadOS: 3, fleet.PlatformDarwin: 5}},
		Records: map[string]fleet.DEPRecord{}, Hosts: map[string]fleet.Host{}}
	r := fleet.DEPRecord{Device: ipad("A", fleet.DEPAdded, at(10)), HostID: 9, Round: 3}
	h := fleet.Host{ID: 9, HardwareSerial: "A", TeamID: 8, MDM: fleet.HostMDM{Status: fleet.MDMPending}}
	if change != nil {
		change(&f, &r, &h)
	}
	f.Records["A"], f.Hosts["A"] = r, h
	return f
}

func one(t *testing.T, f fleet.DEPFacts, d fleet.DEPDevice) fleet.DEPRecordChange {
	t.Helper()
	changes := decidePage(f, []fleet.DEPDevice{d}, at(60))
	if len(changes) != 1 {
		t.Fatalf("%d changes", len(changes))
	}
	return changes[0]
}

func kinds(c fleet.DEPRecordChange) string {
	s := ""
	for _, e := range c.Events {
		s += string(e.Kind) + " "
	}
	return s
}

func TestANewDeviceGetsAPendingHostInTheTokensTeam(t *testing.T) {
	for _, tt := range []struct {
		family   string
		platform fleet.Platform
		team     fleet.TeamID
	}{{"iPad", fleet.PlatformIPadOS, 3}, {"Mac", fleet.PlatformDarwin, 5}, {"iPhone", fleet.PlatformIOS, fleet.NoTeam}, {"iPod", fleet.PlatformIOS, fleet.NoTeam}} {
		d := ipad("N", fleet.DEPAdded, at(1))
		d.Family = tt.family
		c := one(t, known(nil), d)
		if c.Host == nil || c.Host.ID != 0 || c.Host.HardwareSerial != "N" || c.Host.Platform != tt.platform || c.Host.TeamID != tt.team || c.Host.MDM.Status != fleet.MDMPending {
			t.Errorf("%s: %+v", tt.family, c.Host)
		}
		if c.Record.Round != 4 || c.Record.HostID != 0 || kinds(c) != "host_created dep_device_changed " {
			t.Errorf("%s: %+v, %s", tt.family, c.Record, kinds(c))
		}
	}
	for _, family := range []string{"AppleTV", "Vision", "Watch"} {
		d := ipad("N", fleet.DEPAdded, at(1))
		d.Family = family
		if c := one(t, known(nil), d); c.Host != nil || kinds(c) != "dep_device_changed " {
			t.Errorf("%s got a host: %+v", family, c.Host)
		}
	}
}

func TestAHostWithTheSerialIsTaken(t *testing.T) {
	for _, tt := range []struct {
		before, after fleet.MDMStatus
		changed       bool
	}{{fleet.MDMUnknown, fleet.MDMPending, true}, {fleet.MDMOff, fleet.MDMPending, true}, {fleet.MDMPending, fleet.MDMPending, false},
		{fleet.MDMManual, fleet.MDMManual, false}, {fleet.MDMAutomatic, fleet.MDMAutomatic, false}, {fleet.MDMPersonal, fleet.MDMPersonal, false}} {
		f := known(func(f *fleet.DEPFacts, _ *fleet.DEPRecord, h *fleet.Host) { h.MDM.Status = tt.before })
		delete(f.Records, "A")
		c := one(t, f, ipad("A", fleet.DEPAdded, at(20)))
		if c.Record.HostID != 9 || (c.Host != nil) != tt.changed {
			t.Errorf("%s: %+v", tt.before, c)
		}
		if c.Host != nil && (c.Host.MDM.Status != tt.after || c.Host.TeamID != 8 || c.Host.ID != 9) {
			t.Errorf("%s: %+v", tt.before, c.Host)
		}
	}
}

func TestADeletedDeviceIsKeptAsDeletedAndItsHostIsPendingNoMore(t *testing.T) {
	for _, tt := range []struct {
		name     string
		status   fleet.MDMStatus
		enrolled time.Time
		want     fleet.MDMStatus // of the host that is written; 255: none is
	}{{"pending", fleet.MDMPending, time.Time{}, fleet.MDMUnknown}, {"pending after an enrollment", fleet.MDMPending, at(-99), fleet.MDMOff},
		{"enrolled", fleet.MDMAutomatic, at(-99), 255}, {"off", fleet.MDMOff, at(-99), 255}} {
		f := known(func(_ *fleet.DEPFacts, r *fleet.DEPRecord, h *fleet.Host) {
			h.MDM.Status, h.MDM.EnrolledAt = tt.status, tt.enrolled
			r.Assign = fleet.DEPAssignment{Tried: "P", Result: fleet.DEPFailed, Failures: 3}
		})
		c := one(t, f, ipad("A", fleet.DEPDeleted, at(20)))
		if c.Record.DeletedAt != at(60) || c.Record.Assign != (fleet.DEPAssignment{}) || c.Record.Device.OpDate != at(20) || kinds(c) != "dep_device_changed " {
			t.Errorf("%s: %+v, %s", tt.name, c.Record, kinds(c))
		}
		if (tt.want == 255) != (c.Host == nil) || (c.Host != nil && c.Host.MDM.Status != tt.want) {
			t.Errorf("%s: %+v", tt.name, c.Host)
		}
	}
	if got := decidePage(known(nil), []fleet.DEPDevice{ipad("Z", fleet.DEPDeleted, at(20))}, at(60)); len(got) != 0 {
		t.Errorf("a device that nobody knew was deleted: %+v", got)
	}
	gone := known(func(_ *fleet.DEPFacts, r *fleet.DEPRecord, _ *fleet.Host) { r.DeletedAt = at(15) })
	if got := decidePage(gone, []fleet.DEPDevice{ipad("A", fleet.DEPDeleted, at(20))}, at(60)); len(got) != 0 {
		t.Errorf("a device was deleted twice: %+v", got)
	}
	if c := one(t, gone, ipad("A", fleet.DEPAdded, at(30))); !c.Record.DeletedAt.IsZero() || kinds(c) != "dep_device_changed " {
		t.Errorf("it did not come back: %+v", c.Record)
	}
}

func TestAnOlderOperationChangesNothing(t *testing.T) {
	for _, op := range []fleet.DEPOp{fleet.DEPAdded, fleet.DEPModified, fleet.DEPDeleted} {
		if got := decidePage(known(nil), []fleet.DEPDevice{ipad("A", op, at(9))}, at(60)); len(got) != 0 {
			t.Errorf("%s: %+v", op, got)
		}
	}
	c := one(t, known(nil), ipad("A", "", time.Time{})) // the full list is of now
	if c.Record.Device.OpDate != at(10) || c.Record.Round != 4 {
		t.Errorf("%+v", c.Record)
	}
}

func TestAHeldDeviceIsTriedAgainWhenAppleSpeaksOfIt(t *testing.T) {
	held := known(func(_ *fleet.DEPFacts, r *fleet.DEPRecord, _ *fleet.Host) {
		r.Assign = fleet.DEPAssignment{Tried: "P", Held: true}
	})
	for _, tt := range []struct {
		name string
		d    fleet.DEPDevice
		held bool
	}{{"the same operation again", ipad("A", fleet.DEPAdded, at(10)), true}, {"a newer one", ipad("A", fleet.DEPModified, at(11)), false}, {"the full list", ipad("A", "", time.Time{}), false}} {
		if c := one(t, held, tt.d); c.Record.Assign.Held != tt.held {
			t.Errorf("%s: %+v", tt.name, c.Record.Assign)
		}
	}
}

func TestAnOperationBeforeOurOwnSaysNothingOfTheProfile(t *testing.T) {
	ours := func(result fleet.DEPResult) fleet.DEPFacts {
		return known(func(_ *fleet.DEPFacts, r *fleet.DEPRecord, _ *fleet.Host) {
			r.Device.ProfileUUID, r.Device.ProfileStatus = "P", "assigned"
			r.Assign = fleet.DEPAssignment{Tried: "P", Result: result, At: at(30)}
		})
	}
	for _, tt := range []struct {
		name string
		f    fleet.DEPFacts
		d    fleet.DEPDevice
		want string
	}{
		{"before it", ours(fleet.DEPSuccess), ipad("A", fleet.DEPModified, at(29)), "P"},
		{"after it", ours(fleet.DEPSuccess), ipad("A", fleet.DEPModified, at(31)), ""},
		{"before one that failed", ours(fleet.DEPFailed), ipad("A", fleet.DEPModified, at(29)), ""},
		{"the full list", ours(fleet.DEPSuccess), ipad("A", "", time.Time{}), ""},
	} {
		if got := one(t, tt.f, tt.d).Record.Device.ProfileUUID; got != tt.want {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

func TestWhatTheFullListDidNotHaveIsForgotten(t *testing.T) {
	if c := decideMissing(known(nil), []string{"A", "Z"}, at(60)); len(c) != 1 || c[0].Record.DeletedAt != at(60) || c[0].Host == nil || c[0].Host.MDM.Status != fleet.MDMUnknown {
		t.Errorf("%+v", c)
	}
	seen := known(func(_ *fleet.DEPFacts, r *fleet.DEPRecord, _ *fleet.Host) { r.Round = 4 })
	if c := decideMissing(seen, []string{"A"}, at(60)); len(c) != 0 {
		t.Errorf("a device that was seen meanwhile: %+v", c)
	}
}

func TestADeletedHostComesBack(t *testing.T) {
	f := known(nil)
	delete(f.Hosts, "A")
	c := decideHomeless(f, []string{"A", "Z"}, at(60))
	if len(c) != 1 || c[0].Host == nil || c[0].Host.ID != 0 || c[0].Record.HostID != 0 || c[0].Host.MDM.Status != fleet.MDMPending || c[0].Host.TeamID != 3 || kinds(c[0]) != "host_created " {
		t.Errorf("%+v", c)
	}
	if c := decideHomeless(known(nil), []string{"A"}, at(60)); len(c) != 0 {
		t.Errorf("it has one: %+v", c)
	}
	gone := known(func(_ *fleet.DEPFacts, r *fleet.DEPRecord, _ *fleet.Host) { r.DeletedAt = at(1) })
	delete(gone.Hosts, "A")
	if c := decideHomeless(gone, []string{"A"}, at(60)); len(c) != 0 {
		t.Errorf("a deleted device: %+v", c)
	}
}

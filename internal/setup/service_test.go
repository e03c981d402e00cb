package setup_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/setup"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// world is a server whose devices wait in Setup Assistant.
type world struct {
	t           *testing.T
	at          time.Duration // that the clock was put forward
	db          *store.DB
	enrollments *store.Enrollments
	commands    *store.Commands
	setups      *setup.Service
	settings    map[fleet.TeamID]fleet.SetupSettings
	broken      map[fleet.TeamID]bool // teams whose settings cannot be read
	got         []string              // what devices acknowledged
	looks       int                   // at devices
}

func each(t *testing.T, test func(w *world)) {
	t.Helper()
	for _, d := range []store.Dialect{store.SQLite, store.Postgres, store.MySQL} {
		t.Run(string(d), func(t *testing.T) { test(newWorld(t, d)) })
	}
}

func newWorld(t *testing.T, d store.Dialect) *world {
	w := &world{t: t, settings: map[fleet.TeamID]fleet.SetupSettings{}}
	w.db = storetest.OpenAt(t, d, w.now)
	w.enrollments, w.commands = store.NewEnrollments(w.db), store.NewCommands(w.db)
	links := func(context.Context) (setup.Links, error) {
		return func(p *fleet.BootstrapPackage) string { return "https://x/" + p.Token }, nil
	}
	w.setups = setup.New(setup.Options{Store: counted{store.NewSetups(w.db), w}, Teams: w, Clock: w.now, Links: links, ItemsPaused: true})
	return w
}

// counted counts what rounds read.
type counted struct {
	*store.Setups
	w *world
}

func (c counted) Open(ctx context.Context, now time.Time, after fleet.EnrollmentID, limit int) ([]fleet.SetupFacts, error) {
	list, err := c.Setups.Open(ctx, now, after, limit)
	c.w.looks += len(list)
	return list, err
}

func (w *world) now() time.Time { return storetest.Clock()().Add(w.at) }

func (w *world) TeamSettings(_ context.Context, id fleet.TeamID) (fleet.TeamSettings, error) {
	if w.broken[id] {
		return fleet.TeamSettings{}, errors.New("broken")
	}
	return fleet.TeamSettings{Setup: w.settings[id]}, nil
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func key(name string) fleet.EnrollmentKey {
	return fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: name}
}

func host(name string) *fleet.Host {
	return &fleet.Host{UUID: name, HardwareSerial: name, Platform: fleet.PlatformDarwin, MDM: fleet.HostMDM{Status: fleet.MDMAutomatic}}
}

// waits enrolls a Mac that awaits configuration.
func (w *world) waits(name string, team fleet.TeamID) *fleet.Enrollment {
	return w.apply(name, func(fleet.EnrollmentFacts) fleet.EnrollmentChange {
		h := host(name)
		h.TeamID = team
		return fleet.EnrollmentChange{Host: h, BeginSetup: true, Enrollment: &fleet.Enrollment{Key: name, Channel: fleet.ChannelDevice,
			State: fleet.EnrollmentOn, Kind: fleet.EnrollmentADE, Generation: 1, AwaitingConfiguration: true, Serial: name}}
	})
}

func (w *world) apply(name string, decide func(fleet.EnrollmentFacts) fleet.EnrollmentChange) *fleet.Enrollment {
	w.t.Helper()
	e, err := w.enrollments.Apply(w.t.Context(), fleet.CheckinLookup{Key: key(name)}, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) { return decide(f), nil })
	w.ok(err)
	return e
}

func (w *world) round() {
	w.t.Helper()
	w.ok(w.setups.Round(w.t.Context()))
}

// connects has a device take its commands and acknowledge them.
func (w *world) connects(e *fleet.Enrollment) {
	w.t.Helper()
	var report *fleet.CommandReport
	for {
		next, err := w.commands.Exchange(w.t.Context(), e.ID, report, 0, func(t fleet.CommandTarget) fleet.ReportOutcome {
			w.got = append(w.got, t.Command.RequestType)
			return fleet.ReportOutcome{Status: fleet.CommandAcknowledged, Store: true}
		})
		w.ok(err)
		if next == nil {
			return
		}
		report = &fleet.CommandReport{Key: key(e.Key), CommandUUID: next.UUID, Status: fleet.CommandAcknowledged, At: w.now(), Body: []byte{}}
	}
}

func (w *world) state(e *fleet.Enrollment) fleet.SetupState {
	w.t.Helper()
	f, err := w.setups.Setup(w.t.Context(), e.HostID)
	w.ok(err)
	return f.Setup.State
}

func (w *world) want(e *fleet.Enrollment, state fleet.SetupState, got ...string) {
	w.t.Helper()
	if s := w.state(e); s != state || fmt.Sprint(w.got) != fmt.Sprint(got) {
		w.t.Fatalf("the setup is %s and the device got %v, want %s and %v", s, w.got, state, got)
	}
}

func TestADeviceWhoseHostIsDeletedWhileItIsReleasedLeavesSetupAssistant(t *testing.T) {
	each(t, func(w *world) {
		e := w.waits("A", 0)
		w.round()
		w.want(e, fleet.SetupReleasing)
		_, err := store.NewHosts(w.db).Delete(w.t.Context(), e.HostID, nil)
		w.ok(err)
		w.round() // nothing is queued for a host that is not there
		e = w.apply("A", func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			return fleet.EnrollmentChange{Host: host("A"), Enrollment: f.Enrollment}
		})
		w.connects(e)
		w.want(e, fleet.SetupReleasing)
		w.at += time.Hour
		w.round()
		w.connects(e)
		w.round()
		w.want(e, fleet.SetupDone, "DeviceConfigured")
	})
}

func TestAPersonReleasesADeviceWhoseCommandIsGone(t *testing.T) {
	each(t, func(w *world) {
		e := w.waits("A", 0)
		w.round()
		if err := w.setups.Release(w.t.Context(), fleet.Actor{}, e.HostID); fleet.KindOf(err) != fleet.KindConflict {
			t.Fatalf("it is on its way: %v", err)
		}
		_, err := store.NewHosts(w.db).Delete(w.t.Context(), e.HostID, nil)
		w.ok(err)
		e = w.apply("A", func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			return fleet.EnrollmentChange{Host: host("A"), Enrollment: f.Enrollment}
		})
		w.ok(w.setups.Release(w.t.Context(), fleet.Actor{Name: "Ada"}, e.HostID))
		w.connects(e)
		w.round()
		w.want(e, fleet.SetupDone, "DeviceConfigured")
	})
}

func TestARepeatedCheckInBeginsNoSecondSetup(t *testing.T) {
	each(t, func(w *world) {
		e := w.waits("A", 0)
		w.round()
		w.connects(e)
		w.round()
		w.want(e, fleet.SetupDone, "DeviceConfigured")
		version := w.version(e)
		w.apply("A", func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			again := *f.Enrollment
			again.AwaitingConfiguration = true // as it said before it went on
			return fleet.EnrollmentChange{Enrollment: &again, BeginSetup: true}
		})
		w.round()
		w.connects(e)
		w.want(e, fleet.SetupDone, "DeviceConfigured")
		if v := w.version(e); v < version {
			w.t.Errorf("the version went back from %d to %d", version, v)
		}
		w.apply("A", func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			again := *f.Enrollment
			again.Generation, again.State = again.Generation+1, fleet.EnrollmentPending
			return fleet.EnrollmentChange{Enrollment: &again, Reset: true}
		})
		w.apply("A", func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			again := *f.Enrollment
			again.State, again.AwaitingConfiguration = fleet.EnrollmentOn, true
			return fleet.EnrollmentChange{Enrollment: &again, BeginSetup: true}
		})
		w.want(e, fleet.SetupWaiting, "DeviceConfigured")
		if v := w.version(e); v <= version {
			w.t.Errorf("after a wipe the version is %d, and was %d before", v, version)
		}
		w.round()
		w.connects(e)
		w.round()
		w.want(e, fleet.SetupDone, "DeviceConfigured", "DeviceConfigured")
	})
}

func (w *world) version(e *fleet.Enrollment) int64 {
	w.t.Helper()
	f, err := w.setups.Setup(w.t.Context(), e.HostID)
	w.ok(err)
	return f.Setup.Version
}

func TestADeviceThatNothingCanBeDecidedAboutKeepsNobodyBehindItWaiting(t *testing.T) {
	each(t, func(w *world) {
		w.broken = map[fleet.TeamID]bool{7: true}
		a, b := w.waits("A", 7), w.waits("B", 0)
		for range 2 {
			if err := w.setups.Round(w.t.Context()); err == nil {
				break
			}
		}
		w.want(b, fleet.SetupReleasing)
		w.broken = nil
		w.at += time.Minute
		for range 2 {
			w.round()
		}
		w.want(a, fleet.SetupReleasing)
	})
}

func TestDevicesOfWhichNothingIsNewRest(t *testing.T) {
	each(t, func(w *world) {
		w.settings[7] = fleet.SetupSettings{ManualRelease: true}
		held, told := w.waits("A", 7), w.waits("B", 0)
		w.round()
		w.round()
		w.want(held, fleet.SetupHeld)
		w.looks = 0
		w.round()
		if w.looks != 0 {
			w.t.Errorf("%d looks at devices that cannot have changed", w.looks)
		}
		w.connects(told)
		w.round()
		w.want(told, fleet.SetupDone, "DeviceConfigured")
		delete(w.settings, 7)
		w.at += time.Minute
		w.round()
		w.want(held, fleet.SetupReleasing, "DeviceConfigured")
	})
}

func TestAClockThatWasAheadLetsNoDeviceRestForEver(t *testing.T) {
	each(t, func(w *world) {
		e := w.waits("A", 0)
		w.settings[0] = fleet.SetupSettings{ManualRelease: true}
		w.at = 400 * 24 * time.Hour
		w.round()
		w.want(e, fleet.SetupHeld)
		w.at = time.Hour
		delete(w.settings, 0)
		w.round()
		w.want(e, fleet.SetupReleasing)
	})
}

// A host whose device came with two channels has two that wait, in one team.
func TestTwoChannelsOfOneHostAreBothReleased(t *testing.T) {
	each(t, func(w *world) {
		const careful fleet.TeamID = 7
		w.settings[careful] = fleet.SetupSettings{ManualRelease: true}
		a := w.waits("A", careful)
		b := w.apply("B", func(fleet.EnrollmentFacts) fleet.EnrollmentChange {
			return fleet.EnrollmentChange{BeginSetup: true, Enrollment: &fleet.Enrollment{Key: "B", HostID: a.HostID, Channel: fleet.ChannelDevice,
				State: fleet.EnrollmentOn, Kind: fleet.EnrollmentADE, Generation: 1, AwaitingConfiguration: true, Serial: "A"}}
		})
		if b.HostID != a.HostID {
			t.Fatal("they are of two hosts")
		}
		w.round()
		w.connects(a)
		w.connects(b)
		if len(w.got) > 0 {
			t.Fatalf("released by nobody: %v", w.got)
		}
		w.settings[careful] = fleet.SetupSettings{}
		w.at += time.Minute
		w.round()
		w.connects(a)
		w.connects(b)
		if fmt.Sprint(w.got) != "[DeviceConfigured DeviceConfigured]" {
			t.Errorf("the devices got %v", w.got)
		}
	})
}

// Replicas' clocks are apart: that a device was not planned since it enrolled is
// seen by one whose clock is behind, too.
func TestADeviceIsNotReleasedBeforeItWasPlanned(t *testing.T) {
	each(t, func(w *world) {
		ctx := w.t.Context()
		setups := setup.New(setup.Options{Store: store.NewSetups(w.db), Teams: w, Clock: w.now, Links: func(context.Context) (setup.Links, error) { return nil, nil }})
		// It was planned once, between Authenticate and TokenUpdate.
		e := w.apply("M", func(fleet.EnrollmentFacts) fleet.EnrollmentChange {
			h := host("M")
			h.MDM.Status = fleet.MDMPending
			return fleet.EnrollmentChange{Host: h, Enrollment: &fleet.Enrollment{Key: "M", Channel: fleet.ChannelDevice, State: fleet.EnrollmentPending, Kind: fleet.EnrollmentADE, Generation: 1, Serial: "M"}}
		})
		w.planned(e)
		w.at = 2 * time.Second
		w.apply("M", func(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
			e, h := *f.Enrollment, *f.Host
			e.State, e.AwaitingConfiguration, h.MDM.Status = fleet.EnrollmentOn, true, fleet.MDMAutomatic
			return fleet.EnrollmentChange{Host: &h, Enrollment: &e, BeginSetup: true}
		})
		w.at = time.Second // the clock of the replica that looks
		w.ok(setups.Round(ctx))
		w.want(e, fleet.SetupWaiting)
		w.planned(e)
		w.ok(setups.Round(ctx))
		w.want(e, fleet.SetupReleasing)
	})
}

// planned is what planning leaves of a host that is to have nothing.
func (w *world) planned(e *fleet.Enrollment) {
	w.t.Helper()
	plans := store.NewPlans(w.db)
	c, facts, err := plans.Current(w.t.Context(), -1, []fleet.HostID{e.HostID})
	w.ok(err)
	state := facts[0].State
	state.Revision, state.DueAt = c.Revisions[facts[0].Host.TeamID], time.Time{}
	if n, err := plans.Apply(w.t.Context(), []fleet.HostPlan{{HostID: e.HostID, Seq: state.Seq, State: state}}); err != nil || n != 1 {
		w.t.Fatal(n, err)
	}
}

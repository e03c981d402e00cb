package setup

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

var start = time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)

// waiting is a Mac that waits since start, with everything on it.
func waiting() fleet.SetupFacts {
	return fleet.SetupFacts{Setup: fleet.Setup{EnrollmentID: 1, HostID: 2, State: fleet.SetupWaiting, StartedAt: start, Version: 1},
		Host: fleet.Host{ID: 2, Platform: fleet.PlatformDarwin, HardwareSerial: "S"}, Enrolled: true, Awaiting: true, Planned: true}
}

func uuids() func() string {
	n := 0
	return func() string { n++; return fmt.Sprint("uuid-", n) }
}

func link(p *fleet.BootstrapPackage) string { return "https://x/" + p.Token }

func answer(code int) []byte {
	return fmt.Appendf(nil, `<?xml version="1.0"?><plist version="1.0"><dict><key>UDID</key><string>U</string><key>Status</key><string>Error</string>`+
		`<key>ErrorChain</key><array><dict><key>ErrorCode</key><integer>%d</integer><key>ErrorDomain</key><string>MCMDMErrorDomain</string>`+
		`<key>USEnglishDescription</key><string>No.</string></dict></array></dict></plist>`, code)
}

func TestWhatADeviceWaitsFor(t *testing.T) {
	pkg := &fleet.BootstrapPackage{ID: 1, Name: "tools.pkg", Token: "t"}
	for _, tt := range []struct {
		name     string
		after    time.Duration
		change   func(*fleet.SetupFacts)
		settings fleet.SetupSettings
		state    fleet.SetupState
		outcome  string
		commands string
		events   string
	}{
		{"everything is there", 0, func(*fleet.SetupFacts) {}, fleet.SetupSettings{}, fleet.SetupReleasing, Complete, "DeviceConfigured", "setup_released"},
		{"nothing is planned yet", 0, func(f *fleet.SetupFacts) { f.Planned = false }, fleet.SetupSettings{}, fleet.SetupWaiting, "", "", ""},
		{"profiles are on their way", 0, func(f *fleet.SetupFacts) { f.Pending = 2 }, fleet.SetupSettings{}, fleet.SetupWaiting, "", "", ""},
		{"too long", 16 * time.Minute, func(f *fleet.SetupFacts) { f.Pending = 2 }, fleet.SetupSettings{}, fleet.SetupReleasing, TimedOut, "DeviceConfigured", "setup_timed_out"},
		{"not too long for the team", 16 * time.Minute, func(f *fleet.SetupFacts) { f.Pending = 2 }, fleet.SetupSettings{Timeout: time.Hour}, fleet.SetupWaiting, "", "", ""},
		{"too long, and held", 16 * time.Minute, func(f *fleet.SetupFacts) { f.Pending = 2 }, fleet.SetupSettings{HoldOnTimeout: true}, fleet.SetupHeld, "", "", "setup_held"},
		{"a failed profile does not hold it", 0, func(f *fleet.SetupFacts) { f.Failed = 1 }, fleet.SetupSettings{}, fleet.SetupReleasing, Complete, "DeviceConfigured", "setup_released"},
		{"a person releases", 0, func(*fleet.SetupFacts) {}, fleet.SetupSettings{ManualRelease: true}, fleet.SetupHeld, "", "", "setup_held"},
		{"a person releases, however long it takes", 48 * time.Hour, func(f *fleet.SetupFacts) { f.Pending = 1 }, fleet.SetupSettings{ManualRelease: true}, fleet.SetupWaiting, "", "", ""},
		{"the device went on", 0, func(f *fleet.SetupFacts) { f.Awaiting, f.Pending = false, 1 }, fleet.SetupSettings{}, fleet.SetupDone, ByDevice, "", "setup_done"},
		{"a package", 0, func(f *fleet.SetupFacts) { f.Bootstrap = pkg }, fleet.SetupSettings{}, fleet.SetupWaiting, "", "InstallEnterpriseApplication", ""},
		{"a package is installing", 0, func(f *fleet.SetupFacts) {
			f.Bootstrap, f.Setup.BootstrapCommand, f.Setup.PackageStatus, f.BootstrapQueued = pkg, 7, fleet.PackagePending, true
		}, fleet.SetupSettings{}, fleet.SetupWaiting, "", "", ""},
		{"a package is there", 0, func(f *fleet.SetupFacts) {
			f.Bootstrap, f.Setup.BootstrapCommand, f.BootstrapStatus = pkg, 7, fleet.CommandAcknowledged
		}, fleet.SetupSettings{}, fleet.SetupReleasing, Complete, "DeviceConfigured", "setup_released"},
		{"a package failed", 0, func(f *fleet.SetupFacts) {
			f.Bootstrap, f.Setup.BootstrapCommand, f.BootstrapStatus, f.BootstrapAnswer = pkg, 7, fleet.CommandError, answer(1)
		}, fleet.SetupSettings{}, fleet.SetupReleasing, Complete, "DeviceConfigured", "setup_released"},
		{"an iPad gets no package", 0, func(f *fleet.SetupFacts) { f.Bootstrap, f.Host.Platform = pkg, fleet.PlatformIPadOS }, fleet.SetupSettings{}, fleet.SetupReleasing, Complete, "DeviceConfigured", "setup_released"},
		{"neither does a migrating Mac", 0, func(f *fleet.SetupFacts) { f.Bootstrap, f.Migrating = pkg, true }, fleet.SetupSettings{}, fleet.SetupReleasing, Complete, "DeviceConfigured", "setup_released"},
		{"a package is nowhere any more", 0, func(f *fleet.SetupFacts) {
			f.Bootstrap, f.Setup.BootstrapCommand, f.Setup.PackageStatus = pkg, 7, fleet.PackagePending
		}, fleet.SetupSettings{}, fleet.SetupWaiting, "", "InstallEnterpriseApplication", ""},
		{"a package was installed long ago", 0, func(f *fleet.SetupFacts) {
			f.Bootstrap, f.Setup.BootstrapCommand, f.Setup.PackageStatus = pkg, 7, fleet.PackageInstalled
		}, fleet.SetupSettings{}, fleet.SetupReleasing, Complete, "DeviceConfigured", "setup_released"},
		{"it was told", 0, func(f *fleet.SetupFacts) {
			f.Setup.State, f.Setup.Outcome, f.ReleaseQueued = fleet.SetupReleasing, TimedOut, true
		}, fleet.SetupSettings{}, fleet.SetupReleasing, TimedOut, "", ""},
		{"what it was told is nowhere any more", 0, func(f *fleet.SetupFacts) {
			f.Setup.State, f.Setup.Outcome, f.Setup.Tries = fleet.SetupReleasing, TimedOut, 1
		}, fleet.SetupSettings{}, fleet.SetupReleasing, TimedOut, "DeviceConfigured", ""},
		{"it answered", 0, func(f *fleet.SetupFacts) {
			f.Setup.State, f.Setup.Outcome, f.ReleaseStatus = fleet.SetupReleasing, Complete, fleet.CommandAcknowledged
		}, fleet.SetupSettings{}, fleet.SetupDone, Complete, "", "setup_done"},
		{"it went on meanwhile", 0, func(f *fleet.SetupFacts) {
			f.Setup.State, f.Setup.Outcome, f.Awaiting = fleet.SetupReleasing, Complete, false
		}, fleet.SetupSettings{}, fleet.SetupDone, Complete, "", "setup_done"},
		{"it refuses", 0, func(f *fleet.SetupFacts) {
			f.Setup.State, f.Setup.Outcome, f.Setup.Tries, f.ReleaseStatus, f.ReleaseAnswer = fleet.SetupReleasing, Complete, 1, fleet.CommandError, answer(1)
		}, fleet.SetupSettings{}, fleet.SetupReleasing, Complete, "", ""},
		{"it refused, and is told again", time.Hour, func(f *fleet.SetupFacts) {
			f.Setup.State, f.Setup.Outcome, f.Setup.Tries, f.Setup.NextAt, f.ReleaseStatus, f.ReleaseAnswer = fleet.SetupReleasing, Complete, 1, start.Add(time.Minute), fleet.CommandError, answer(1)
			f.Setup.Steps = []fleet.SetupStep{{Name: fleet.SetupStepRelease, State: fleet.SetupStepFailed}}
		}, fleet.SetupSettings{}, fleet.SetupReleasing, Complete, "DeviceConfigured", ""},
		{"it refuses again and again", time.Hour, func(f *fleet.SetupFacts) {
			f.Setup.State, f.Setup.Outcome, f.Setup.Tries, f.Setup.NextAt, f.ReleaseStatus, f.ReleaseAnswer = fleet.SetupReleasing, Complete, maxTries, start.Add(time.Minute), fleet.CommandError, answer(1)
			f.Setup.Steps = []fleet.SetupStep{{Name: fleet.SetupStepRelease, State: fleet.SetupStepFailed}}
		}, fleet.SetupSettings{}, fleet.SetupHeld, Refused, "", "setup_held"},
		{"it refused, and nobody has looked at it", 48 * time.Hour, func(f *fleet.SetupFacts) {
			f.Setup.State, f.Setup.Outcome = fleet.SetupHeld, Refused
		}, fleet.SetupSettings{}, fleet.SetupHeld, Refused, "", ""},
		{"it refused, and went on by itself", 48 * time.Hour, func(f *fleet.SetupFacts) {
			f.Setup.State, f.Setup.Outcome, f.Awaiting = fleet.SetupHeld, Refused, false
		}, fleet.SetupSettings{}, fleet.SetupDone, ByDevice, "", "setup_done"},
		{"it is over", time.Hour, func(f *fleet.SetupFacts) { f.Setup.State = fleet.SetupDone }, fleet.SetupSettings{}, fleet.SetupDone, "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := waiting()
			tt.change(&f)
			c, err := Decide(f, tt.settings, link, uuids(), start.Add(tt.after))
			if err != nil {
				t.Fatal(err)
			}
			var commands, events []string
			for _, cmd := range []*fleet.Command{c.Bootstrap, c.Release} {
				if cmd != nil {
					commands = append(commands, cmd.RequestType)
				}
			}
			for _, e := range c.Events {
				events = append(events, string(e.Kind))
			}
			if c.Setup.State != tt.state || c.Setup.Outcome != tt.outcome || strings.Join(commands, " ") != tt.commands || strings.Join(events, " ") != tt.events {
				t.Errorf("%s %q, commands %v, events %v", c.Setup.State, c.Setup.Outcome, commands, events)
			}
		})
	}
}

func TestAnAnswerAboutThePackageComesLate(t *testing.T) {
	for status, want := range map[fleet.CommandStatus]fleet.PackageStatus{0: fleet.PackagePending, fleet.CommandNotNow: fleet.PackagePending,
		fleet.CommandAcknowledged: fleet.PackageInstalled, fleet.CommandError: fleet.PackageFailed, fleet.CommandCancelled: fleet.PackageFailed} {
		f := waiting()
		f.Setup.State, f.Setup.BootstrapCommand, f.Setup.PackageName, f.Setup.PackageStatus, f.BootstrapStatus = fleet.SetupDone, 7, "tools.pkg", fleet.PackagePending, status
		c, err := Decide(f, fleet.SetupSettings{}, link, uuids(), start)
		if err != nil || c.Setup.PackageStatus != want || c.Setup.State != fleet.SetupDone || c.Release != nil {
			t.Errorf("%v: %+v, %v", status, c.Setup, err)
		}
	}
}

func TestWhenADeviceIsLookedAtAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		after  time.Duration
		change func(*fleet.SetupFacts)
		pause  time.Duration
	}{
		{"somebody stands in front of it", 10 * time.Second, func(f *fleet.SetupFacts) { f.Pending = 1 }, 0},
		{"it waits for a while", 2 * time.Minute, func(f *fleet.SetupFacts) { f.Pending = 1 }, restWaiting},
		{"a person is waited for", time.Hour, func(f *fleet.SetupFacts) { f.Setup.State, f.Setup.Outcome = fleet.SetupHeld, Refused }, restUnanswered},
		{"it was told just now", time.Hour, func(*fleet.SetupFacts) {}, 0},
		{"it does not answer", time.Hour, func(f *fleet.SetupFacts) { f.Setup.State, f.ReleaseQueued = fleet.SetupReleasing, true }, restUnanswered},
		{"it refuses", time.Hour, func(f *fleet.SetupFacts) {
			f.Setup.State, f.Setup.Tries, f.ReleaseStatus = fleet.SetupReleasing, 1, fleet.CommandError
		}, pauseRelease.First},
		{"it went on", time.Hour, func(f *fleet.SetupFacts) { f.Setup.State, f.Awaiting = fleet.SetupHeld, false }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := waiting()
			tt.change(&f)
			now := start.Add(tt.after)
			c, err := Decide(f, fleet.SetupSettings{Timeout: 24 * time.Hour}, link, uuids(), now)
			if err != nil {
				t.Fatal(err)
			}
			var want time.Time
			if tt.pause > 0 {
				want = now.Add(tt.pause)
			}
			if !c.Setup.NextAt.Equal(want) {
				t.Errorf("%s, want %s", c.Setup.NextAt, want)
			}
		})
	}
}

func TestStepsTellWhatIsMissing(t *testing.T) {
	f := waiting()
	f.Pending = 2
	c, err := Decide(f, fleet.SetupSettings{}, link, uuids(), start)
	if err != nil {
		t.Fatal(err)
	}
	f.Setup = c.Setup
	c, err = Decide(f, fleet.SetupSettings{}, link, uuids(), start.Add(16*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Setup.Steps[0]; s.Name != fleet.SetupStepItems || s.State != fleet.SetupStepWaiting || !s.Since.Equal(start) {
		t.Errorf("%+v", s)
	}
	if details := string(c.Events[0].Details); !strings.Contains(details, `"profiles":"2 on their way"`) || !strings.Contains(details, `"serial":"S"`) {
		t.Error(details)
	}
}

func TestAPersonReleases(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fleet.SetupFacts)
		fails  bool
	}{
		{"a device that waits", func(*fleet.SetupFacts) {}, false},
		{"a device that is held", func(f *fleet.SetupFacts) { f.Setup.State = fleet.SetupHeld }, false},
		{"a device that was told", func(f *fleet.SetupFacts) {
			f.Setup.State, f.Setup.Tries, f.ReleaseQueued = fleet.SetupReleasing, 1, true
		}, true},
		{"a device that obeyed", func(f *fleet.SetupFacts) {
			f.Setup.State, f.Setup.Tries, f.ReleaseStatus = fleet.SetupReleasing, 1, fleet.CommandAcknowledged
		}, true},
		{"a device that refused", func(f *fleet.SetupFacts) {
			f.Setup.State, f.Setup.Tries, f.ReleaseStatus = fleet.SetupReleasing, 3, fleet.CommandError
		}, false},
		{"a device whose queue was emptied", func(f *fleet.SetupFacts) { f.Setup.State, f.Setup.Tries = fleet.SetupReleasing, 1 }, false},
		{"a device that went on", func(f *fleet.SetupFacts) { f.Setup.State = fleet.SetupDone }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := waiting()
			tt.change(&f)
			c, err := Release(f, fleet.Actor{Name: "Ada"}, uuids(), start)
			if tt.fails != (fleet.KindOf(err) == fleet.KindConflict) || tt.fails != (c.Release == nil) {
				t.Fatal(err)
			}
			if !tt.fails && (c.Setup.Outcome != Manual || c.Events[0].Actor.Name != "Ada") {
				t.Errorf("%+v", c)
			}
		})
	}
}

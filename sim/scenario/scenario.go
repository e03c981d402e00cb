package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/sim/appledev"
)

// Scenario is a play with an outcome of its own, from a bug that some server
// really had. It runs against any server through its public doors.
type Scenario struct {
	Name    string
	Summary string
	Devices int // unless told otherwise
	// Timeout of the play after its fleet has enrolled.
	Timeout time.Duration
	play    func(ctx context.Context, s *Story) error
	// Bought: its devices come from Apple's device enrollment service, and
	// nothing is enrolled before the play.
	Bought bool
}

// Scenarios lists all of them.
func Scenarios() []Scenario {
	const short = 2 * time.Minute
	return []Scenario{
		{"converge", "a whole fleet, some of it flaky or offline, ends up verified with nothing left pending", 100, 15 * time.Minute, converge, false},
		{"lost-acknowledgement", "devices install and their answers get lost", 6, short, lostAcknowledgement, false},
		{"notnow-alone", "the only command in the queue is answered NotNow", 6, short, notNowAlone, false},
		{"drift-by-hand", "somebody removes managed profiles by hand", 6, short, driftByHand, false},
		{"rejected-payload", "devices refuse a payload: the reason is told, and a new version repairs it", 6, short, rejectedPayload, false},
		{"lying-device", "devices acknowledge and do not install", 6, short, lyingDevice, false},
		{"offline", "devices are offline while everything changes twice", 6, short, offline, false},
		{"reenrollment", "devices are wiped while profiles are under way", 6, short, reenrollment, false},
		{"team-move", "hosts move to a team that has the same profile", 6, short, teamMove, false},
		{"unknown-label", "an exclude label is not known yet: nothing is installed on ignorance", 6, short, unknownLabel, false},
		{"missing-variable", "a custom secret is missing, then set, then changed", 6, short, missingVariable, false},
		{"changed-scope", "a profile's labels change and change back", 6, short, changedScope, false},
		{"user-channel", "profiles for users of Macs go through their channel", 12, short, userChannel, false},
		{"token-stability", "a declaration token stays the same until something changes", 6, short, tokenStability, false},
		{"missing-asset", "a declaration names an asset that is not there", 6, short, missingAsset, false},
		{"rollout-halt", "a bad version is halted by its error budget, and rolled back", 40, 5 * time.Minute, rolloutHalt, false},
		{"empty-filter", "a filter that selects by nothing moves nobody", 6, short, emptyFilter, false},
		{"renewal", "identities are renewed, and nothing else changes", 6, short, renewal, false},
		{"renewal-rejected", "devices reject the command that renews, and are asked again", 6, short, renewalRejected, false},
		{"renewal-muted", "devices never acknowledge the command that renews, and use the new identity", 6, short, renewalMuted, false},
		{"renewal-mid-command", "identities change while commands are put off and repeated", 6, 4 * time.Minute, renewalMidCommand, false},
		{"renewal-wipe", "devices are wiped while a renewal is under way", 6, short, renewalWipe, false},
		{"ade-return", "devices are erased, and enroll by themselves without their hosts being deleted", 6, short, adeReturn, true},
		{"ade-same-serial", "a second device has the serial number of the first", 1, short, adeSameSerial, true},
		{"ade-same-cursor", "Apple gives the same cursor again and again", 6, short, adeSameCursor, true},
		{"ade-operations", "one device is added, modified and deleted on one page, which repeats devices", 3, short, adeOperations, true},
		{"ade-many", "more devices than one call may have, while the server is killed between pages", 2500, 3 * time.Minute, adeMany, true},
		{"ade-throttled", "Apple throttles the assignment of profiles", 6, short, adeThrottled, true},
		{"ade-terms", "Apple's terms are not signed", 6, short, adeTerms, true},
		{"ade-token-expired", "the server token expires, and is renewed", 6, short, adeTokenExpired, true},
		{"setup-timeout", "devices never answer what they wait for in Setup Assistant", 3, 4 * time.Minute, setupTimeout, true},
	}
}

// Find returns the scenario of that name.
func Find(name string) (Scenario, error) {
	var names []string
	for _, s := range Scenarios() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Scenario{}, fmt.Errorf("there is no scenario %q; there are: %s", name, strings.Join(names, ", "))
}

// Play enrolls the fleet, lets it live, and plays the scenario. The story's
// steps tell how it went.
func (sc Scenario) Play(ctx context.Context, s *Story) error {
	if err := sc.prepare(ctx, s); err != nil {
		return err
	}
	alive, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		s.Wait()
	}()
	s.Live(alive)
	s.timeout = sc.Timeout
	defer func() { s.timeout = 0 }()
	return s.step(ctx, sc.Name+": "+sc.Summary, func(ctx context.Context) (string, error) {
		return fmt.Sprintf("%d devices", len(s.Fleet.Devices)), sc.play(ctx, s)
	})
}

// prepare is what comes before the play.
func (sc Scenario) prepare(ctx context.Context, s *Story) error {
	if !sc.Bought {
		return s.Prepare(ctx)
	}
	s.Fleet.Devices = nil
	if err := s.Open(ctx); err != nil {
		return err
	}
	return s.Business(ctx)
}

// upload puts a profile or declaration into a team and returns its UUID.
func (s *Story) upload(ctx context.Context, u client.ProfileUpload) (string, error) {
	if u.FileName == "" {
		u.FileName = "profile.mobileconfig"
	}
	res, err := s.o.Client.CreateProfile(ctx, u)
	if err != nil {
		return "", fmt.Errorf("upload %s: %w", u.FileName, err)
	}
	return res.ProfileUUID, nil
}

// counts waits until an item's hosts are counted like that.
func (s *Story) counts(ctx context.Context, uuid, what string, done func(apiv1.ProfileStatusCounts) bool) error {
	var last apiv1.ProfileStatusCounts
	err := s.until(ctx, func() (bool, error) {
		var err error
		last, err = s.o.Client.ProfileStatus(ctx, uuid)
		return err == nil && done(last), err
	})
	if err != nil {
		return fmt.Errorf("%s: the profile is on %+v: %w", what, last, err)
	}
	return nil
}

// verified waits until an item is verified on n hosts and nothing else.
func (s *Story) verified(ctx context.Context, uuid, when string, n int) error {
	return s.counts(ctx, uuid, when, func(c apiv1.ProfileStatusCounts) bool {
		return c == apiv1.ProfileStatusCounts{Verified: n}
	})
}

// until repeats a check; what the server could not answer while it was being
// restarted is asked again.
func (s *Story) until(ctx context.Context, check func() (bool, error)) error {
	var last error
	err := until(ctx, func() (bool, error) {
		done, err := check()
		if last = err; err != nil && client.StatusOf(err) == 0 && ctx.Err() == nil {
			return false, nil
		}
		return done, err
	})
	if err != nil && last != nil && !errors.Is(err, last) {
		return fmt.Errorf("%w (%w)", err, last)
	}
	return err
}

// withCamera counts the devices that have the camera's profile, and how often
// they installed it.
func (s *Story) withCamera() (devices, times int) {
	for _, d := range s.Fleet.Devices {
		for _, channel := range []appledev.Channel{appledev.DeviceChannel, appledev.UserChannel} {
			for _, p := range d.InstalledProfiles(channel) {
				if p.Identifier == cameraID {
					devices++
					times += p.Times
				}
			}
		}
	}
	return devices, times
}

// protocolErrors fails when the server broke the protocol on any device.
func (s *Story) protocolErrors() error {
	for _, d := range s.Fleet.Devices {
		if n := d.ProtocolErrors(); n > 0 {
			return fmt.Errorf("device %s counted %d breaches of the protocol by the server", d.Spec().Serial, n)
		}
	}
	return nil
}

// hostIDs are the hosts of the fleet, in the order of its devices.
func (s *Story) hostIDs(ctx context.Context) ([]int64, error) {
	hosts, err := s.hosts(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]int64, 0, len(s.Fleet.Devices))
	for _, d := range s.Fleet.Devices {
		h, ok := hosts[d.Spec().Serial]
		if !ok {
			return nil, fmt.Errorf("there is no host with serial %s", d.Spec().Serial)
		}
		ids = append(ids, h.ID)
	}
	return ids, nil
}

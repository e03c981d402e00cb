package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/appleserver"
)

// appleServerName is the name of the server at Apple.
const appleServerName = "Muster demo"

// businessRetry is how long a device waits in front of Setup Assistant until
// somebody tries again.
const businessRetry = 500 * time.Millisecond

// Business connects the server with Apple's device enrollment service, as an
// admin does: public key up, token down, token up.
func (s *Story) Business(ctx context.Context) error {
	return s.step(ctx, "connect Apple's device enrollment service", s.connectApple)
}

func (s *Story) connectApple(ctx context.Context) (string, error) {
	if s.o.Apple == nil {
		return "", errors.New("this story has no enrollment service")
	}
	key, err := s.o.Client.ServerTokenKey(ctx)
	if err != nil {
		return "", err
	}
	server, file, err := s.o.Apple.CreateServer(appleServerName, key)
	if err != nil {
		return "", err
	}
	tokens, err := s.o.Client.ServerTokens(ctx)
	if err != nil {
		return "", err
	}
	var token apiv1.ServerToken
	if len(tokens) > 0 { // of an earlier demo in the same directory
		token, err = s.o.Client.RenewServerToken(ctx, tokens[0].ID, client.ServerTokenUpload{Token: file}, true)
	} else {
		token, err = s.o.Client.AddServerToken(ctx, client.ServerTokenUpload{Token: file})
	}
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	s.appleServer, s.ServerToken = server, token
	s.mu.Unlock()
	return fmt.Sprintf("token of %s, good until %s", token.OrgName, token.RenewDate.Format(time.DateOnly)), nil
}

// Unbox switches devices on that somebody bought: they ask Apple whom they
// belong to, and enroll by themselves. They run until the story ends.
func (s *Story) Unbox(bought []appleserver.Bought) ([]*appledev.Device, error) {
	list := make([]*appledev.Device, 0, len(bought))
	for _, b := range bought {
		if b.Family == "AppleTV" {
			continue // there is no simulated one
		}
		spec, err := appledev.SpecOf(b.Serial, b.Product)
		if err != nil {
			return nil, err
		}
		o := s.device
		o.Service, o.RetryAfter = s.o.Apple.DeviceURL(), businessRetry
		list = append(list, appledev.New(spec, o))
	}
	s.mu.Lock()
	s.bought = append(s.bought, list...)
	alive := s.alive
	s.mu.Unlock()
	for _, d := range list {
		if alive != nil {
			s.keep(d)
		}
	}
	return list, nil
}

// buy buys devices. Nobody switches them on yet.
func (s *Story) buy(model string, count int) ([]appleserver.Bought, error) {
	return s.o.Apple.Buy(s.appleServer, model, count)
}

// statuses waits until hosts are shown with an enrollment status.
func (s *Story) statuses(ctx context.Context, want string, serials ...string) error {
	last := map[string]string{}
	err := s.until(ctx, func() (bool, error) {
		hosts, err := s.hosts(ctx)
		if err != nil {
			return false, err
		}
		clear(last)
		for _, serial := range serials {
			h, ok := hosts[serial]
			status := ""
			switch {
			case !ok:
				status = "no host"
			case h.MDM.EnrollmentStatus != nil:
				status = *h.MDM.EnrollmentStatus
			}
			if status != want {
				last[serial] = status
			}
		}
		return len(last) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("not %q: %v: %w", want, last, err)
	}
	return nil
}

func serialsOf(devices []*appledev.Device) []string {
	out := make([]string, 0, len(devices))
	for _, d := range devices {
		out = append(out, d.Spec().Serial)
	}
	return out
}

// configured waits until devices are out of Setup Assistant, and returns why.
func (s *Story) configured(ctx context.Context, devices []*appledev.Device) (map[string]int, error) {
	outcomes := map[string]int{}
	for _, d := range devices {
		var last apiv1.HostSetup
		err := s.until(ctx, func() (bool, error) {
			h, err := s.o.Client.HostByIdentifier(ctx, d.Spec().Serial)
			if err != nil {
				return false, err
			}
			last, err = s.o.Client.HostSetup(ctx, h.ID)
			return err == nil && last.Status == "done" && !d.AwaitingConfiguration(), err
		})
		if err != nil {
			return nil, fmt.Errorf("%s is still in Setup Assistant (%s, %+v): %w", d.Spec().Serial, last.Status, last.Steps, err)
		}
		outcomes[last.Outcome]++
	}
	return outcomes, nil
}

// profilesVerified waits until nothing is pending on hosts.
func (s *Story) profilesVerified(ctx context.Context, serials []string) (int, error) {
	total := 0
	for _, serial := range serials {
		var last []apiv1.HostProfile
		err := s.until(ctx, func() (bool, error) {
			h, err := s.o.Client.HostByIdentifier(ctx, serial)
			if err != nil || h.MDM.Profiles == nil {
				return false, err
			}
			last = h.MDM.Profiles
			return !slices.ContainsFunc(last, func(p apiv1.HostProfile) bool {
				return p.Status != "verified" && p.Status != "failed"
			}), nil
		})
		if err != nil {
			return 0, fmt.Errorf("%s: %+v: %w", serial, last, err)
		}
		total += len(last)
	}
	return total, nil
}

// CheckBusiness plays what a company does: it buys devices, they enroll by
// themselves, one is erased and comes back.
func (s *Story) CheckBusiness(ctx context.Context) error {
	return errors.Join(
		s.step(ctx, "bought devices are pending hosts before anybody switches them on", s.checkBought),
		s.step(ctx, "switched on they enroll by themselves and get what their team has before Setup Assistant ends", s.checkUnboxed),
		s.step(ctx, "an erased one enrolls again and is the same host", s.checkErased),
		s.step(ctx, "a device that the company releases at Apple is pending no more", s.checkReleased),
	)
}

func (s *Story) checkBought(ctx context.Context) (string, error) {
	office, err := s.teamByName(ctx, officeTeam)
	if err != nil {
		return "", err
	}
	if _, err := s.o.Client.SetServerTokenTeams(ctx, s.ServerToken.ID, apiv1.ServerTokenTeams{MacOSTeamID: &office, IOSTeamID: &office, IPadOSTeamID: &office}); err != nil {
		return "", err
	}
	var serials []string
	for model, count := range map[string]int{"ipad": 3, "iphone": 2, "mac": 2} {
		bought, err := s.buy(model, count)
		if err != nil {
			return "", err
		}
		s.boxes = append(s.boxes, bought...)
		for _, b := range bought {
			serials = append(serials, b.Serial)
		}
	}
	if err := s.statuses(ctx, "Pending", serials...); err != nil {
		return "", err
	}
	for _, serial := range serials {
		h, err := s.o.Client.HostByIdentifier(ctx, serial)
		if err != nil {
			return "", err
		}
		if h.TeamID == nil || *h.TeamID != office {
			return "", fmt.Errorf("%s is in team %v, not %d", serial, h.TeamID, office)
		}
	}
	return fmt.Sprintf("%d devices", len(serials)), nil
}

func (s *Story) checkUnboxed(ctx context.Context) (string, error) {
	devices, err := s.Unbox(s.boxes)
	if err != nil {
		return "", err
	}
	serials := serialsOf(devices)
	if err := s.statuses(ctx, "On (automatic)", serials...); err != nil {
		return "", err
	}
	outcomes, err := s.configured(ctx, devices)
	if err != nil {
		return "", err
	}
	if outcomes["complete"] != len(devices) {
		return "", fmt.Errorf("they left Setup Assistant for other reasons than being complete: %v", outcomes)
	}
	total, err := s.profilesVerified(ctx, serials)
	if err != nil {
		return "", err
	}
	if total == 0 {
		return "", errors.New("they got nothing of their team's")
	}
	return fmt.Sprintf("%d devices, %d profiles and declarations settled", len(devices), total), nil
}

func (s *Story) checkErased(ctx context.Context) (string, error) {
	s.mu.Lock()
	d := s.bought[0]
	s.mu.Unlock()
	before, err := s.o.Client.HostByIdentifier(ctx, d.Spec().Serial)
	if err != nil {
		return "", err
	}
	if _, err := s.o.Client.RunCommand(ctx, []byte(Command("EraseDevice", "<key>PIN</key><string>123456</string>")), []string{d.Spec().UDID}); err != nil {
		return "", err
	}
	err = s.until(ctx, func() (bool, error) {
		h, err := s.o.Client.HostByIdentifier(ctx, d.Spec().Serial)
		return err == nil && h.LastMDMEnrolledAt != nil && h.LastMDMEnrolledAt.After(*before.LastMDMEnrolledAt) && h.MDM.EnrollmentStatus != nil && *h.MDM.EnrollmentStatus == "On (automatic)", err
	})
	if err != nil {
		return "", err
	}
	after, err := s.o.Client.HostByIdentifier(ctx, d.Spec().Serial)
	if err != nil {
		return "", err
	}
	if after.ID != before.ID {
		return "", fmt.Errorf("it became host %d, and was host %d", after.ID, before.ID)
	}
	if _, err := s.configured(ctx, []*appledev.Device{d}); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is host %d as before", d.Spec().Serial, after.ID), nil
}

func (s *Story) checkReleased(ctx context.Context) (string, error) {
	bought, err := s.buy("mac", 1)
	if err != nil {
		return "", err
	}
	serial := bought[0].Serial
	if err := s.statuses(ctx, "Pending", serial); err != nil {
		return "", err
	}
	if err := s.o.Apple.Release(serial); err != nil {
		return "", err
	}
	return serial, s.statuses(ctx, "", serial)
}

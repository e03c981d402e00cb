package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/sim/appledev"
)

// renewals are the identities of a fleet before somebody renews them, and how
// its hosts were enrolled.
type renewals struct {
	serials  map[*appledev.Device]string
	enrolled map[string]time.Time
	times    int // profiles were installed
	uuid     string
}

// beforeRenewals uploads a profile and notes what must not change.
func (s *Story) beforeRenewals(ctx context.Context) (*renewals, error) {
	uuid, err := s.upload(ctx, noCamera())
	if err != nil {
		return nil, err
	}
	if err := s.verified(ctx, uuid, "before the renewal", len(s.Fleet.Devices)); err != nil {
		return nil, err
	}
	r := &renewals{serials: map[*appledev.Device]string{}, enrolled: map[string]time.Time{}, uuid: uuid}
	s.each(func(d *appledev.Device) { r.serials[d] = d.Certificate().SerialNumber.String() })
	if r.enrolled, err = s.enrolledAt(ctx); err != nil {
		return nil, err
	}
	_, r.times = s.withCamera()
	return r, nil
}

func (s *Story) enrolledAt(ctx context.Context) (map[string]time.Time, error) {
	out := map[string]time.Time{}
	for _, d := range s.Fleet.Devices {
		h, err := s.o.Client.HostByIdentifier(ctx, d.Spec().Serial)
		if err != nil {
			return nil, err
		}
		if h.LastMDMEnrolledAt != nil {
			out[d.Spec().Serial] = *h.LastMDMEnrolledAt
		}
	}
	return out, nil
}

// renewAll asks for renewals of the whole fleet. One that is under way already
// is not asked for again.
func (s *Story) renewAll(ctx context.Context) error {
	ids, err := s.hostIDs(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.o.Client.RenewIdentity(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// renewed waits until every device uses another certificate.
func (s *Story) renewed(ctx context.Context, r *renewals) error {
	left := 0
	err := s.until(ctx, func() (bool, error) {
		left = 0
		s.each(func(d *appledev.Device) {
			if c := d.Certificate(); c == nil || c.SerialNumber.String() == r.serials[d] {
				left++
			}
		})
		return left == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%d devices have their old certificate: %w", left, err)
	}
	return nil
}

// undisturbed checks that nothing but the certificates changed.
func (s *Story) undisturbed(ctx context.Context, r *renewals) error {
	if err := s.verified(ctx, r.uuid, "after the renewal", len(s.Fleet.Devices)); err != nil {
		return err
	}
	if _, times := s.withCamera(); times != r.times {
		return fmt.Errorf("the profile was installed %d more times", times-r.times)
	}
	after, err := s.enrolledAt(ctx)
	if err != nil {
		return err
	}
	for serial, at := range r.enrolled {
		if !after[serial].Equal(at) {
			return fmt.Errorf("host %s counts as enrolled anew", serial)
		}
	}
	return s.protocolErrors()
}

// commandsAnswered sends a command to the whole fleet and waits for all answers.
func (s *Story) commandsAnswered(ctx context.Context) error {
	var udids []string
	s.each(func(d *appledev.Device) { udids = append(udids, d.Spec().UDID) })
	sent, err := s.o.Client.RunCommand(ctx, []byte(Command("ProfileList", "")), udids)
	if err != nil {
		return err
	}
	var answered int
	err = s.until(ctx, func() (bool, error) {
		list, err := s.o.Client.CommandResults(ctx, sent.CommandUUID, "")
		answered = 0
		for _, one := range list {
			if one.Status == "Acknowledged" {
				answered++
			}
		}
		return answered == len(udids), err
	})
	if err != nil {
		return fmt.Errorf("%d of %d devices answered a command: %w", answered, len(udids), err)
	}
	return nil
}

func renewal(ctx context.Context, s *Story) error {
	r, err := s.beforeRenewals(ctx)
	if err != nil {
		return err
	}
	if err := s.renewAll(ctx); err != nil {
		return err
	}
	if err := s.renewed(ctx, r); err != nil {
		return err
	}
	return errors.Join(s.commandsAnswered(ctx), s.undisturbed(ctx, r))
}

func renewalRejected(ctx context.Context, s *Story) error {
	r, err := s.beforeRenewals(ctx)
	if err != nil {
		return err
	}
	s.each(func(d *appledev.Device) { d.Faults().RejectPayload("com.apple.mdm") })
	if err := s.renewAll(ctx); err != nil {
		return err
	}
	ids, err := s.hostIDs(ctx)
	if err != nil {
		return err
	}
	// While they refuse, they work on with what they have.
	if err := s.commandsAnswered(ctx); err != nil {
		return err
	}
	s.each(func(d *appledev.Device) { d.Faults().RejectPayload() })
	for _, id := range ids {
		// Asking again is refused while one is under way.
		err := s.until(ctx, func() (bool, error) { return s.o.Client.RenewIdentity(ctx, id) == nil, nil })
		if err != nil {
			return fmt.Errorf("a renewal that was rejected cannot be asked for again: %w", err)
		}
	}
	if err := s.renewed(ctx, r); err != nil {
		return err
	}
	return s.undisturbed(ctx, r)
}

func renewalMuted(ctx context.Context, s *Story) error {
	r, err := s.beforeRenewals(ctx)
	if err != nil {
		return err
	}
	s.each(func(d *appledev.Device) { d.Faults().MuteRenewal(true) })
	if err := s.renewAll(ctx); err != nil {
		return err
	}
	if err := s.renewed(ctx, r); err != nil {
		return err
	}
	return errors.Join(s.commandsAnswered(ctx), s.undisturbed(ctx, r))
}

func renewalMidCommand(ctx context.Context, s *Story) error {
	r, err := s.beforeRenewals(ctx)
	if err != nil {
		return err
	}
	// Commands are put off and repeated while the identity changes.
	s.each(func(d *appledev.Device) {
		d.Faults().NotNow(1, "ProfileList")
		d.Faults().Duplicate(1)
	})
	done := make(chan error, 1)
	go func() { done <- s.commandsAnswered(ctx) }()
	if err := s.renewAll(ctx); err != nil {
		return errors.Join(err, <-done)
	}
	if err := errors.Join(s.renewed(ctx, r), <-done); err != nil {
		return err
	}
	return s.undisturbed(ctx, r)
}

func renewalWipe(ctx context.Context, s *Story) error {
	r, err := s.beforeRenewals(ctx)
	if err != nil {
		return err
	}
	until := time.Now().Add(2 * time.Second)
	s.each(func(d *appledev.Device) { d.Faults().Offline(until) })
	if err := s.renewAll(ctx); err != nil {
		return err
	}
	s.each(func(d *appledev.Device) {
		d.Wipe()
		if err == nil {
			err = s.until(ctx, func() (bool, error) { return s.reenroll(ctx, d) == nil, nil })
		}
	})
	if err != nil {
		return err
	}
	// It is a real enrollment whatever renewal was under way: all comes anew.
	if err := s.verified(ctx, r.uuid, "after the wipe", len(s.Fleet.Devices)); err != nil {
		return err
	}
	if n, times := s.withCamera(); n != len(s.Fleet.Devices) || times < n {
		return fmt.Errorf("%d of %d devices have the profile", n, len(s.Fleet.Devices))
	}
	after, err := s.enrolledAt(ctx)
	if err != nil {
		return err
	}
	for serial, at := range r.enrolled {
		if !after[serial].After(at) {
			return fmt.Errorf("host %s does not count as enrolled anew", serial)
		}
	}
	return errors.Join(s.commandsAnswered(ctx), s.protocolErrors())
}

// checkRenewal renews the certificate of one device of the demo.
func (s *Story) checkRenewal(ctx context.Context) (string, error) {
	d, err := s.one(appledev.Mac, 0)
	if err != nil {
		return "", err
	}
	before := d.Certificate().SerialNumber
	h, err := s.o.Client.HostByIdentifier(ctx, d.Spec().Serial)
	if err != nil {
		return "", err
	}
	if err := s.o.Client.RenewIdentity(ctx, h.ID); err != nil {
		return "", err
	}
	err = s.until(ctx, func() (bool, error) {
		return d.Certificate() != nil && d.Certificate().SerialNumber.Cmp(before) != 0, nil
	})
	if err != nil {
		return "", err
	}
	return d.Spec().Serial + " has a new certificate, and nothing else changed", s.until(ctx, func() (bool, error) {
		after, err := s.o.Client.HostByIdentifier(ctx, d.Spec().Serial)
		return err == nil && sameEnrollment(h, after), err
	})
}

func sameEnrollment(a, b apiv1.HostDetail) bool {
	return a.ID == b.ID && a.LastMDMEnrolledAt != nil && b.LastMDMEnrolledAt != nil && a.LastMDMEnrolledAt.Equal(*b.LastMDMEnrolledAt)
}

// checkLock locks a Mac, and unlocks it with the PIN that the server keeps.
func (s *Story) checkLock(ctx context.Context) (string, error) {
	d, err := s.one(appledev.Mac, 0)
	if err != nil {
		return "", err
	}
	h, err := s.o.Client.HostByIdentifier(ctx, d.Spec().Serial)
	if err != nil {
		return "", err
	}
	status := func(want string) error {
		err := s.until(ctx, func() (bool, error) {
			h, err = s.o.Client.HostByIdentifier(ctx, d.Spec().Serial)
			return err == nil && h.MDM.DeviceStatus == want, err
		})
		if err != nil {
			return fmt.Errorf("%s is %s, not %s: %w", d.Spec().Serial, h.MDM.DeviceStatus, want, err)
		}
		return nil
	}
	if _, err := s.o.Client.LockHost(ctx, h.ID, apiv1.LockRequest{}, false); err != nil {
		return "", err
	}
	if err := status("locked"); err != nil {
		return "", err
	}
	unlock, err := s.o.Client.UnlockHost(ctx, h.ID)
	if err != nil {
		return "", err
	}
	if !d.EnterPIN(unlock.UnlockPIN) {
		return "", errors.New("the PIN does not open the Mac")
	}
	return d.Spec().Serial, status("unlocked")
}

// checkInventory looks for what devices tell about themselves.
func (s *Story) checkInventory(ctx context.Context) (string, error) {
	total := 0
	for _, d := range s.Fleet.Devices {
		if !d.Enrolled() {
			continue
		}
		err := s.until(ctx, func() (bool, error) {
			h, err := s.o.Client.HostByIdentifier(ctx, d.Spec().Serial)
			if err == nil && len(h.Software) > 0 {
				total += len(h.Software)
			}
			return err == nil && len(h.Software) > 0, err
		})
		if err != nil {
			return "", fmt.Errorf("%s told of no software: %w", d.Spec().Serial, err)
		}
	}
	return fmt.Sprintf("%d installed versions", total), nil
}

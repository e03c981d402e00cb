package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/appleserver"
)

// Bounds of plays at Apple.
const (
	// maxCalls is how often the service may be asked while it gives the same
	// cursor again and again: a few tries, and no loop without a pause.
	maxCalls    = 20
	loopWatched = 6 * time.Second
	throttle    = 4 * time.Second
	shortWait   = 1 // minute in Setup Assistant
)

// kinds are what a company buys.
var kinds = []string{"ipad", "iphone", "mac"}

// purchase buys n devices of mixed kinds.
func (s *Story) purchase(n int) ([]appleserver.Bought, error) {
	var all []appleserver.Bought
	for i, kind := range kinds {
		count := (n + len(kinds) - 1 - i) / len(kinds)
		if count == 0 {
			continue
		}
		bought, err := s.buy(kind, count)
		if err != nil {
			return nil, err
		}
		all = append(all, bought...)
	}
	return all, nil
}

func boxSerials(boxes []appleserver.Bought) []string {
	out := make([]string, 0, len(boxes))
	for _, b := range boxes {
		out = append(out, b.Serial)
	}
	return out
}

// fleetOf switches devices on and makes them the fleet of the play.
func (s *Story) fleetOf(ctx context.Context, boxes []appleserver.Bought) error {
	devices, err := s.Unbox(boxes)
	if err != nil {
		return err
	}
	s.Fleet.Devices = devices
	return s.statuses(ctx, "On (automatic)", serialsOf(devices)...)
}

// assigned waits until Apple has an enrollment profile for every device.
func (s *Story) assigned(ctx context.Context, serials []string) error {
	missing := 0
	err := s.until(ctx, func() (bool, error) {
		missing = 0
		for _, serial := range serials {
			state, err := s.o.Apple.Device(serial)
			if err != nil {
				return false, err
			}
			if state.ProfileUUID == "" {
				missing++
			}
		}
		return missing == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%d of %d devices have no profile at Apple: %w", missing, len(serials), err)
	}
	return nil
}

// token waits until the server token is as wanted.
func (s *Story) token(ctx context.Context, what string, want func(apiv1.ServerToken) bool) error {
	var last apiv1.ServerToken
	err := s.until(ctx, func() (bool, error) {
		list, err := s.o.Client.ServerTokens(ctx)
		if err != nil || len(list) != 1 {
			return false, err
		}
		last = list[0]
		return want(last), nil
	})
	if err != nil {
		return fmt.Errorf("%s: the server token is %+v: %w", what, last, err)
	}
	return nil
}

func adeReturn(ctx context.Context, s *Story) error {
	uuid, err := s.upload(ctx, noCamera())
	if err != nil {
		return err
	}
	boxes, err := s.purchase(s.o.Devices)
	if err != nil {
		return err
	}
	if err := s.fleetOf(ctx, boxes); err != nil {
		return err
	}
	n := len(s.Fleet.Devices)
	if err := s.verified(ctx, uuid, "at first", n); err != nil {
		return err
	}
	before, err := s.hostIDs(ctx)
	if err != nil {
		return err
	}
	s.each(func(d *appledev.Device) {
		d.Wipe()
		s.keep(d)
	})
	err = s.until(ctx, func() (bool, error) {
		have, _ := s.withCamera()
		return have == n, nil
	})
	if err != nil {
		return fmt.Errorf("erased devices did not get their profile again: %w", err)
	}
	after, err := s.hostIDs(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(before, after) {
		return fmt.Errorf("hosts %v became %v", before, after)
	}
	if _, err := s.configured(ctx, s.Fleet.Devices); err != nil {
		return err
	}
	return errors.Join(s.verified(ctx, uuid, "after the erasure", n), s.protocolErrors())
}

func adeSameSerial(ctx context.Context, s *Story) error {
	boxes, err := s.purchase(1)
	if err != nil {
		return err
	}
	if err := s.fleetOf(ctx, boxes); err != nil {
		return err
	}
	// A refurbished board with the serial number of another.
	spec, err := appledev.SpecOf(boxes[0].Serial, boxes[0].Product)
	if err != nil {
		return err
	}
	spec.UDID = "00000000-0000-4000-8000-" + strings.Repeat("7", 12)
	o := s.device
	o.Service, o.RetryAfter = s.o.Apple.DeviceURL(), businessRetry
	twin := appledev.New(spec, o)
	s.keep(twin)
	err = s.until(ctx, func() (bool, error) { return twin.Enrolled(), nil })
	if err != nil {
		return fmt.Errorf("the second device is not let in: %w", err)
	}
	count := 0
	err = s.o.Client.AllHosts(ctx, client.HostFilter{Query: boxes[0].Serial}, func(apiv1.Host) error { count++; return nil })
	if err != nil {
		return err
	}
	if count != 1 {
		return fmt.Errorf("%d hosts have the serial number", count)
	}
	// The one that is not the host any more leaves without taking it off.
	first := s.Fleet.Devices[0]
	if err := first.Leave(ctx); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return errors.Join(s.statuses(ctx, "On (automatic)", boxes[0].Serial), s.protocolErrors())
}

func adeSameCursor(ctx context.Context, s *Story) error {
	first, err := s.purchase(s.o.Devices)
	if err != nil {
		return err
	}
	if err := s.assigned(ctx, boxSerials(first)); err != nil {
		return err
	}
	s.o.Apple.RepeatCursor(-1)
	before := s.o.Apple.Calls("POST /devices/sync") + s.o.Apple.Calls("POST /server/devices")
	more, err := s.purchase(s.o.Devices)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(loopWatched):
	}
	if n := s.o.Apple.Calls("POST /devices/sync") + s.o.Apple.Calls("POST /server/devices") - before; n > maxCalls {
		return fmt.Errorf("the service was asked %d times in %s", n, loopWatched)
	}
	err = s.token(ctx, "while Apple gives the same cursor", func(t apiv1.ServerToken) bool { return t.Sync.Error != "" })
	if err != nil {
		return err
	}
	s.o.Apple.RepeatCursor(0)
	if err := s.o.Client.ResyncServerToken(ctx, s.ServerToken.ID); err != nil {
		return err
	}
	return s.assigned(ctx, append(boxSerials(first), boxSerials(more)...))
}

func adeOperations(ctx context.Context, s *Story) error {
	settled, err := s.purchase(1)
	if err != nil {
		return err
	}
	if err := s.assigned(ctx, boxSerials(settled)); err != nil {
		return err
	}
	// All of it is on one page: nobody asks in between.
	s.o.Apple.Fail(appleserver.EnrollmentFault{Path: "/devices/sync", Status: 503}, -1)
	s.o.Apple.ListTwice(4)
	s.o.Apple.ListLater(4)
	boxes, err := s.purchase(2)
	if err != nil {
		return err
	}
	stays, goes := boxes[0].Serial, boxes[1].Serial
	for _, step := range []func() error{
		func() error { return s.o.Apple.Modify("TAG-1", stays, goes) },
		func() error { return s.o.Apple.Unassign(stays, goes) },
		func() error { return s.o.Apple.Assign(s.appleServer, stays) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	s.o.Apple.Fail(appleserver.EnrollmentFault{Path: "/devices/sync"}, 0)
	if err := s.o.Client.ResyncServerToken(ctx, s.ServerToken.ID); err != nil {
		return err
	}
	if err := s.assigned(ctx, []string{stays}); err != nil {
		return err
	}
	list, err := s.o.Client.DEPDevices(ctx, client.DEPFilter{})
	if err != nil {
		return err
	}
	for _, d := range list.Devices {
		if d.SerialNumber == goes {
			return fmt.Errorf("%s was taken away last, and is still listed", goes)
		}
	}
	return s.statuses(ctx, "Pending", stays, settled[0].Serial)
}

func adeMany(ctx context.Context, s *Story) error {
	boxes, err := s.purchase(s.o.Devices)
	if err != nil {
		return err
	}
	if s.o.Kills > 0 {
		// Pages take their time, so that servers die between a page and its cursor.
		s.o.Apple.Fail(appleserver.EnrollmentFault{Delay: pageDelay}, -1)
	}
	for range s.o.Kills {
		time.Sleep(killPause)
		if err := s.o.Restart(ctx); err != nil {
			return fmt.Errorf("kill and restart: %w", err)
		}
	}
	s.o.Apple.Fail(appleserver.EnrollmentFault{}, 0)
	if err := s.assigned(ctx, boxSerials(boxes)); err != nil {
		return err
	}
	var count int
	err = s.until(ctx, func() (bool, error) {
		count, err = s.o.Client.CountHosts(ctx, client.HostFilter{MDMEnrollmentStatus: "pending"})
		return count == len(boxes), err
	})
	if err != nil {
		return fmt.Errorf("%d pending hosts of %d devices: %w", count, len(boxes), err)
	}
	return nil
}

// killPause lets a server come as far as into the middle of something; pageDelay
// is what an answer of Apple's takes meanwhile.
const (
	killPause = 700 * time.Millisecond
	pageDelay = 150 * time.Millisecond
)

func adeThrottled(ctx context.Context, s *Story) error {
	s.o.Apple.Throttle(s.o.Devices, throttle)
	s.o.Apple.FailAssignments(1)
	boxes, err := s.purchase(s.o.Devices)
	if err != nil {
		return err
	}
	serials := boxSerials(boxes)
	var throttled int
	err = s.until(ctx, func() (bool, error) {
		list, err := s.o.Client.DEPDevices(ctx, client.DEPFilter{Serials: serials})
		throttled = 0
		for _, d := range list.Devices {
			if d.Assignment == "throttled" && d.NextTryAt != nil {
				throttled++
			}
		}
		return throttled > 0, err
	})
	if err != nil {
		return fmt.Errorf("nothing tells that Apple throttles: %w", err)
	}
	var left []string
	err = s.until(ctx, func() (bool, error) {
		list, err := s.o.Client.DEPDevices(ctx, client.DEPFilter{Serials: serials})
		left = nil
		for _, d := range list.Devices {
			if d.Assignment != "assigned" && d.Assignment != "failed" {
				left = append(left, d.SerialNumber+" "+d.Assignment)
			}
		}
		return len(left) == 0, err
	})
	if err != nil {
		return fmt.Errorf("after the time that Apple asked for: %v: %w", left, err)
	}
	return nil
}

func adeTerms(ctx context.Context, s *Story) error {
	s.o.Apple.SignTerms(false)
	boxes, err := s.purchase(s.o.Devices)
	if err != nil {
		return err
	}
	if err := s.token(ctx, "while the terms are not signed", func(t apiv1.ServerToken) bool { return t.TermsExpired && t.Sync.NextAt != nil }); err != nil {
		return err
	}
	c, err := s.o.Client.Config(ctx)
	if err != nil {
		return err
	}
	if !c.MDM.AppleBMTermsExpired {
		return errors.New("the configuration does not tell that the terms are not signed")
	}
	s.o.Apple.SignTerms(true)
	if err := s.o.Client.ResyncServerToken(ctx, s.ServerToken.ID); err != nil {
		return err
	}
	if err := s.token(ctx, "after they were signed", func(t apiv1.ServerToken) bool { return !t.TermsExpired && t.Sync.Error == "" }); err != nil {
		return err
	}
	return s.assigned(ctx, boxSerials(boxes))
}

func adeTokenExpired(ctx context.Context, s *Story) error {
	if err := s.o.Apple.ExpireToken(s.appleServer); err != nil {
		return err
	}
	s.o.Apple.ExpireSessions()
	boxes, err := s.purchase(s.o.Devices)
	if err != nil {
		return err
	}
	if err := s.token(ctx, "after it expired", func(t apiv1.ServerToken) bool { return strings.Contains(t.Sync.Error, "expired") }); err != nil {
		return err
	}
	key, err := s.o.Client.ServerTokenKey(ctx)
	if err != nil {
		return err
	}
	file, err := s.o.Apple.RenewToken(s.appleServer, key)
	if err != nil {
		return err
	}
	if _, err := s.o.Client.RenewServerToken(ctx, s.ServerToken.ID, client.ServerTokenUpload{Token: file}, false); err != nil {
		return err
	}
	return s.assigned(ctx, boxSerials(boxes))
}

func setupTimeout(ctx context.Context, s *Story) error {
	minutes := shortWait
	if _, err := s.o.Client.ModifyConfig(ctx, apiv1.ConfigPatch{MDM: &apiv1.MDMConfigPatch{MacOSSetup: &apiv1.SetupExperiencePatch{ReleaseTimeoutMinutes: &minutes}}}, false); err != nil {
		return err
	}
	if _, err := s.upload(ctx, noCamera()); err != nil {
		return err
	}
	boxes, err := s.purchase(s.o.Devices)
	if err != nil {
		return err
	}
	devices, err := s.Unbox(boxes)
	if err != nil {
		return err
	}
	const forEver = 1_000_000
	for _, d := range devices {
		d.Faults().NotNow(forEver, "InstallProfile")
	}
	s.Fleet.Devices = devices
	if err := s.statuses(ctx, "On (automatic)", serialsOf(devices)...); err != nil {
		return err
	}
	outcomes, err := s.configured(ctx, devices)
	if err != nil {
		return err
	}
	if outcomes["timeout"] != len(devices) {
		return fmt.Errorf("they left Setup Assistant for other reasons than the time: %v", outcomes)
	}
	return s.protocolErrors()
}

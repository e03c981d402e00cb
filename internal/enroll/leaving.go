package enroll

import (
	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/mobileconfig"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
)

// removeProfile queues the command that takes a device off MDM.
func removeProfile(c *fleet.EnrollmentChange, actor fleet.Actor) error {
	remove, err := mdmcmd.New(ids.UUID(), "RemoveProfile", map[string]any{"Identifier": mobileconfig.EnrollmentIdentifier})
	if err != nil {
		return err
	}
	c.Commands = append(c.Commands, fleet.Command{UUID: remove.UUID, RequestType: remove.RequestType, Purpose: fleet.CommandUnenroll,
		Platform: fleet.PlatformDarwin, Body: remove.Raw, CreatedBy: actor})
	return nil
}

// leaveAgain brings back the record of a host that was taken off MDM and then
// deleted, which took the command off the queue: it is asked to leave again,
// and counts as off as it did.
func (l *Lifecycle) leaveAgain(c *fleet.EnrollmentChange, f fleet.EnrollmentFacts, e *fleet.Enrollment) error {
	h := newHost(fleet.EnrollmentKey{Channel: e.Channel, ID: e.Key}, e.Model)
	if f.Host != nil && !another(f, provedSerial(e)) {
		h = *f.Host // another record of the device, which says itself what it is
		h.UUID = fleet.EnrollmentKey{Channel: e.Channel, ID: e.Key}.DeviceID()
	} else {
		now := l.clock()
		h.HardwareSerial, h.HardwareModel = e.Serial, e.Model
		h.MDM.Status, h.MDM.EnrolledAt, h.MDM.UnenrolledAt = fleet.MDMOff, e.EnrolledAt, now
		c.Events = append(c.Events, fleet.Event{Kind: fleet.EventHostCreated, At: now, Actor: deviceActor(&h),
			Details: details(map[string]string{"serial": h.HardwareSerial, "platform": string(h.Platform), "status": h.MDM.Status.String()})})
	}
	c.Host = &h
	return removeProfile(c, fleet.Actor{})
}

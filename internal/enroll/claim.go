package enroll

import (
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// proven refuses a device that says another thing about itself than its
// certificate was issued for, or than it said when it enrolled before. What a
// device says is no proof: only an identity that is bound to a serial number may
// take the enrollment of a device over that proved its own.
func proven(f fleet.EnrollmentFacts, m fleet.Authenticate) error {
	bound, e := f.Identity.Serial, f.Enrollment
	switch {
	case bound != "" && m.Serial != bound:
		return fleet.Errorf(fleet.KindForbidden, "the enrollment profile was made for the device %s, not for %.40q", bound, m.Serial)
	case f.Identity.Purpose == fleet.PurposeRenew:
		if !renews(f) {
			return errRenewsEarlier()
		}
	case e == nil:
	case e.Serial != "" && m.Serial != "" && e.Serial != m.Serial:
		return fleet.Errorf(fleet.KindForbidden, "the device %s enrolled as %s before, and says now that it is %.40q: two devices cannot have one UDID", m.Key.ID, e.Serial, m.Serial)
	case bound != "" || e.HostID == 0:
	case e.Kind == fleet.EnrollmentADE:
		return fleet.Errorf(fleet.KindForbidden, "%s enrolled automatically: it enrolls again through Setup Assistant, or on a Mac with `sudo profiles renew -type enrollment`."+
			" To enroll it with a link, delete its host first", e.Serial)
	case provedSerial(e):
		return fleet.Errorf(fleet.KindForbidden, "%s proved its serial number when it enrolled over the air, and enrolls again in that way."+
			" To enroll it with a link, delete its host first", e.Serial)
	}
	return nil
}

// ended refuses an identity, first or renewed, of an enrollment that is over:
// whoever was let go keeps the certificate for the rest of its year.
func ended(f fleet.EnrollmentFacts) error {
	if f.Identity.EnrollmentID == 0 || f.Enrollment == nil {
		return nil
	}
	switch f.Enrollment.State {
	case fleet.EnrollmentOff, fleet.EnrollmentLeaving:
		return fleet.Errorf(fleet.KindForbidden, "the certificate is of an enrollment that ended: the device enrolls again with a new enrollment profile")
	case fleet.EnrollmentNone, fleet.EnrollmentPending, fleet.EnrollmentOn:
	}
	return nil
}

// renews tells whether an identity renews the enrollment as it is now, and not
// one that a re-enrollment ended.
func renews(f fleet.EnrollmentFacts) bool {
	return f.Enrollment != nil && f.Identity.EnrollmentID == f.Enrollment.ID && f.Identity.Generation == f.Enrollment.Generation
}

func errRenewsEarlier() error {
	return fleet.Errorf(fleet.KindForbidden, "the certificate renews an earlier enrollment of the device, which ended")
}

// another tells whether the host that was found is to be left alone: a device
// that did not prove its serial number says that it is one which Apple assigns
// to this server, or one that another device is enrolled as.
func another(f fleet.EnrollmentFacts, proved bool) bool {
	own := f.Enrollment != nil && f.Host != nil && f.Enrollment.HostID == f.Host.ID
	return f.Host != nil && !own && !proved && (f.HostAssigned || f.HostTaken || f.Host.MDM.Status == fleet.MDMPending)
}

// provedSerial tells whether the identity that an enrollment began with was
// bound to a serial number.
func provedSerial(e *fleet.Enrollment) bool {
	return e.Kind == fleet.EnrollmentADE || e.Kind == fleet.EnrollmentOTA
}

// serialInUse says that a device became a host of its own.
func serialInUse(claimed *fleet.Host, serial, udid string, now time.Time) fleet.Event {
	return fleet.Event{Kind: fleet.EventSerialInUse, At: now, HostID: claimed.ID, Details: details(map[string]string{
		"serial": serial, "udid": udid, "what": "a device that enrolled with a link says that it is this host; it became a host of its own"})}
}

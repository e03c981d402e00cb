package fleet

import "time"

// Renewal is the renewal of a device identity under way: from when the device
// was first sent a new enrollment profile until it uses the new identity
// (contracts/apple.md 3.4).
type Renewal struct {
	EnrollmentID EnrollmentID
	IdentityID   IdentityID // that is to be replaced
	// Waiting: the device has a command to carry out, until Deadline.
	Waiting bool
	// Acknowledged: it said that it did, and has not used the new identity yet.
	Acknowledged bool
	// Attempts counts those that failed.
	Attempts int
	AskedAt  time.Time // when the last command was queued
	Deadline time.Time // when its challenge expires
	DueAt    time.Time // when to look at it again
	Fault    string    // why the last attempt failed
}

// RenewalFacts are what decides about a renewal.
type RenewalFacts struct {
	Enrollment Enrollment // with Key, HostID, Topic, ServerURL, CheckInURL, AccessRights, Generation
	IdentityID IdentityID
	NotAfter   time.Time
	Renewal    *Renewal // nil: not begun
	// Sends counts how often the command was handed to the device.
	Sends int
}

// RenewalStep is the decision about one renewal, with what carries it out.
type RenewalStep struct {
	Facts RenewalFacts
	Next  Renewal
	// Challenge and Command ask the device anew, in the place of an earlier
	// command. The command's body has no secret; that which the device gets is
	// sealed in Secret. Nil: nothing is sent.
	Challenge *Challenge
	Command   *Command
	Secret    *SecretWrite
	Events    []Event
}

// IdentityExpiry tells when device identities in use expire.
type IdentityExpiry struct {
	// Weeks counts identities by the week in which they expire, counted from
	// the time asked for; week -1: expired already.
	Weeks map[int]int
	// Nearest are the first to expire.
	Nearest []ExpiringIdentity
}

// ExpiringIdentity is a device identity that expires.
type ExpiringIdentity struct {
	Host     HostRef
	NotAfter time.Time
	// Renewing tells that a renewal is under way, with Attempts that failed and
	// the Fault of the last one.
	Renewing bool
	Attempts int
	Fault    string
}

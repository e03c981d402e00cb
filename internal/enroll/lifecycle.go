package enroll

import "github.com/muster-mdm/muster/internal/fleet"

// Event is what happens to an enrollment.
type Event uint8

// Events of the life cycle.
const (
	Authenticated   Event = iota // Authenticate with an identity issued to enroll
	Reauthenticated              // Authenticate with an identity issued to renew this enrollment
	TokenUpdated                 // TokenUpdate
	Renewed                      // the first request signed with a renewed identity
	CheckedOut                   // CheckOut
	TurnedOff                    // a person turned MDM off
	HostGone                     // a request of an enrollment whose host record was deleted
	eventCount
)

// String names the event.
func (e Event) String() string {
	return [...]string{"authenticated", "reauthenticated", "token updated", "renewed", "checked out", "turned off", "host gone"}[e]
}

// Verdict says what to do besides the change of state.
type Verdict struct {
	Next fleet.EnrollmentState
	// Refuse answers the message with an error; nothing changes.
	Refuse bool
	// Reset forgets the earlier enrollment: queue, users, bootstrap token,
	// identities; a new generation begins.
	Reset bool
	// TurnOn and TurnOff change the host's MDM status and tell people.
	TurnOn  bool
	TurnOff bool
	// StoreToken keeps the push token, magic and unlock token.
	StoreToken bool
	// Supersede completes a renewal.
	Supersede bool
	// RemoveProfile queues the command that takes the device off MDM.
	RemoveProfile bool
	// Revive brings the host record back.
	Revive bool
}

// next is the whole life cycle of a device channel, and of user channels for
// the events that those have.
func next(state fleet.EnrollmentState, event Event) Verdict {
	stay := Verdict{Next: state}
	refuse := Verdict{Next: state, Refuse: true}
	switch event {
	case Authenticated:
		return Verdict{Next: fleet.EnrollmentPending, Reset: true}
	case Reauthenticated, Renewed:
		if state == fleet.EnrollmentNone {
			return refuse
		}
		stay.Supersede = true
		return stay
	case TokenUpdated:
		return tokenUpdated(state)
	case CheckedOut:
		switch state {
		case fleet.EnrollmentPending, fleet.EnrollmentOn:
			return Verdict{Next: fleet.EnrollmentOff, TurnOff: true}
		case fleet.EnrollmentLeaving:
			return Verdict{Next: fleet.EnrollmentOff}
		case fleet.EnrollmentNone, fleet.EnrollmentOff:
		}
		return stay
	case TurnedOff:
		switch state {
		case fleet.EnrollmentOn:
			return Verdict{Next: fleet.EnrollmentLeaving, TurnOff: true, RemoveProfile: true}
		case fleet.EnrollmentPending:
			return Verdict{Next: fleet.EnrollmentOff, TurnOff: true}
		case fleet.EnrollmentNone, fleet.EnrollmentOff, fleet.EnrollmentLeaving:
		}
		return refuse
	case HostGone:
		if state == fleet.EnrollmentOn || state == fleet.EnrollmentLeaving {
			stay.Revive = true
		}
		return stay
	case eventCount:
	}
	return refuse
}

func tokenUpdated(state fleet.EnrollmentState) Verdict {
	switch state {
	case fleet.EnrollmentPending:
		return Verdict{Next: fleet.EnrollmentOn, TurnOn: true, StoreToken: true}
	case fleet.EnrollmentOn, fleet.EnrollmentLeaving:
		return Verdict{Next: state, StoreToken: true}
	case fleet.EnrollmentOff:
		return Verdict{Next: state}
	case fleet.EnrollmentNone:
	}
	return Verdict{Next: state, Refuse: true}
}

// nextUser is the life cycle of a user channel, which has no Authenticate: a
// TokenUpdate below a device that is enrolled turns it on.
func nextUser(state, device fleet.EnrollmentState, event Event) Verdict {
	enrolled := device == fleet.EnrollmentOn || device == fleet.EnrollmentPending
	switch event {
	case TokenUpdated:
		if !enrolled {
			return Verdict{Next: state}
		}
		return Verdict{Next: fleet.EnrollmentOn, TurnOn: state != fleet.EnrollmentOn, StoreToken: true}
	case CheckedOut:
		if state == fleet.EnrollmentOn {
			return Verdict{Next: fleet.EnrollmentOff, TurnOff: true}
		}
		return Verdict{Next: state}
	case Authenticated, Reauthenticated, Renewed, TurnedOff, HostGone, eventCount:
	}
	return Verdict{Next: state, Refuse: true}
}

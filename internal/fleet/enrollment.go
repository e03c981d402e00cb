package fleet

import "time"

// Channel is the kind of MDM channel an enrollment is (contracts/apple.md
// 1.3). Persisted: append only.
type Channel uint8

// MDM channels.
const (
	ChannelDevice     Channel = 1 // key: UDID
	ChannelUser       Channel = 2 // macOS user; key: UDID:UserID
	ChannelBYODDevice Channel = 3 // User Enrollment; key: EnrollmentID
	ChannelBYODUser   Channel = 4 // User Enrollment user on a Mac; key: EnrollmentID:EnrollmentUserID
	ChannelSharedIPad Channel = 5 // Shared iPad user; key: UDID:UserShortName
)

// IsDevice reports whether the channel speaks for the whole device.
func (c Channel) IsDevice() bool { return c == ChannelDevice || c == ChannelBYODDevice }

// EnrollmentState is where an enrollment stands. Persisted: append only.
type EnrollmentState uint8

// States of an enrollment.
const (
	EnrollmentNone    EnrollmentState = 0 // no row yet
	EnrollmentPending EnrollmentState = 1 // Authenticate seen, no push token yet
	EnrollmentOn      EnrollmentState = 2 // TokenUpdate seen: commands and pushes go out
	EnrollmentOff     EnrollmentState = 3 // checked out, turned off, or replaced
)

// String names the state.
func (s EnrollmentState) String() string {
	switch s {
	case EnrollmentPending:
		return "pending"
	case EnrollmentOn:
		return "on"
	case EnrollmentOff:
		return "off"
	case EnrollmentNone:
	}
	return "none"
}

// EnrollmentKey identifies the sender of a check-in or command message.
type EnrollmentKey struct {
	Channel Channel
	ID      string // UDID, UDID:UserID, EnrollmentID ...
	// ParentID is the device channel's ID for user channels; empty otherwise.
	ParentID string
}

// DeviceID is the key of the device channel the sender belongs to.
func (k EnrollmentKey) DeviceID() string {
	if k.ParentID != "" {
		return k.ParentID
	}
	return k.ID
}

// Enrollment is one MDM channel.
type Enrollment struct {
	ID         EnrollmentID
	Key        string // EnrollmentKey.ID
	HostID     HostID
	ParentID   EnrollmentID // 0 for a device channel
	Channel    Channel
	State      EnrollmentState
	Generation int64 // grows with every real (re-)enrollment
	Topic      string
	PushMagic  string
	PushToken  []byte
	UserName   string // short name of the user on a user channel
	// ServerURL, CheckInURL and AccessRights are those of the profile that
	// enrolled it; a renewal repeats them exactly.
	ServerURL             string
	CheckInURL            string
	AccessRights          int
	AwaitingConfiguration bool
	CreatedAt             time.Time
	EnrolledAt            time.Time // first TokenUpdate of this generation
	TokenUpdatedAt        time.Time
	SeenAt                time.Time
	// PushBrokenAt is when Apple said the token is no longer good; a newer
	// TokenUpdate clears it.
	PushBrokenAt time.Time
	PushReason   string
}

// EnrollmentProfile is an enrollment entity from which profiles are made: the
// founding documents' "enrollment". Each download mints one challenge.
type EnrollmentProfile struct {
	ID        EnrollmentProfileID
	Name      string
	Kind      EnrollmentKind
	TeamID    TeamID
	Token     string // unguessable, part of the enroll URL
	CreatedAt time.Time
	CreatedBy UserID
}

// EnrollmentKind says how devices use an enrollment profile. Persisted:
// append only.
type EnrollmentKind uint8

// Kinds of enrollment profiles.
const (
	EnrollmentManual EnrollmentKind = 1
	EnrollmentADE    EnrollmentKind = 2
)

// String is the API's spelling.
func (k EnrollmentKind) String() string {
	if k == EnrollmentADE {
		return "automatic"
	}
	return "manual"
}

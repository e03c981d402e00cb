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
	// EnrollmentLeaving was turned off by a person: the host counts as off,
	// and the only command still handed out removes the enrollment profile.
	EnrollmentLeaving EnrollmentState = 4
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
	case EnrollmentLeaving:
		return "leaving"
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
	// Serial and Model are what Authenticate said; they bring back a host
	// whose record was deleted.
	Serial string
	Model  string
	// ServerURL, CheckInURL and AccessRights are those of the profile that
	// enrolled it; a renewal repeats them exactly.
	ServerURL    string
	CheckInURL   string
	AccessRights int
	// Kind is how this generation came in.
	Kind                  EnrollmentKind
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
	ID     EnrollmentProfileID
	Name   string
	Kind   EnrollmentKind
	TeamID TeamID
	// ServerTokenID is the server token whose devices come in through it; only
	// automatic enrollments have one, once it was uploaded.
	ServerTokenID ServerTokenID
	Token         string // unguessable, part of the enroll URL
	EnrollURL     string // where the profile is downloaded; filled in by enroll
	CreatedAt     time.Time
	CreatedBy     UserID
}

// EnrollmentKind says how devices use an enrollment profile. Persisted:
// append only.
type EnrollmentKind uint8

// Kinds of enrollment profiles.
const (
	EnrollmentManual  EnrollmentKind = 1 // a link or a file
	EnrollmentADE     EnrollmentKind = 2 // Apple's device enrollment service
	EnrollmentOTA     EnrollmentKind = 3 // over the air, with an enroll secret
	EnrollmentAccount EnrollmentKind = 4 // a person's account, on a personal device
)

// String is the API's spelling.
func (k EnrollmentKind) String() string {
	switch k {
	case EnrollmentADE:
		return "automatic"
	case EnrollmentOTA:
		return "ota"
	case EnrollmentAccount:
		return "account"
	case EnrollmentManual:
	}
	return "manual"
}

// Caller is what the store knows of the sender of one request: the identity
// that signed it and the enrollment it claims to be.
type Caller struct {
	Identity Identity // without DER; ID 0: never issued by us
	// Enrollment has only ID, HostID, ParentID, Channel and State. ID 0: there is
	// none yet, or the identity belongs to nobody yet.
	Enrollment      Enrollment
	CommandsPending bool
}

// BoundTo reports whether the identity belongs to the enrollment, or to the
// device whose user channel it is.
func (c Caller) BoundTo() bool {
	return c.Identity.EnrollmentID != 0 && c.Enrollment.ID != 0 &&
		(c.Identity.EnrollmentID == c.Enrollment.ID || c.Identity.EnrollmentID == c.Enrollment.ParentID)
}

// CheckinLookup says what a check-in concerns.
type CheckinLookup struct {
	Key        EnrollmentKey
	IdentityID IdentityID // the identity that signed; 0: none (a person or Muster acts)
	// Serial and UDID match an existing host, serial first.
	Serial string
	UDID   string
}

// EnrollmentFacts is what the store knows when it asks for a decision, all
// read in the transaction that will carry the decision out.
type EnrollmentFacts struct {
	Enrollment *Enrollment // nil: unknown key
	Parent     *Enrollment // the device channel of a user channel; nil: none
	Host       *Host       // the enrollment's, else matched by serial or UDID; nil: none
	Identity   *Identity   // nil: none given, or not issued by us
	// HostAssigned: Apple assigns the host to this server. HostTaken: another
	// device is enrolled as the host. Both only where an Authenticate found a host
	// that is not its enrollment's.
	HostAssigned, HostTaken bool
	// Users counts the user channels of the device, when a new one comes.
	Users int
}

// EnrollmentChange is the decision: what one check-in changes, all in one
// transaction. The zero value changes nothing.
type EnrollmentChange struct {
	Enrollment *Enrollment // to write; ID 0: to create
	Host       *Host       // to write; ID 0: to create
	// Reset cancels what is queued on the device and its user channels, turns
	// the user channels off and drops the bootstrap token.
	Reset bool
	// CancelQueue cancels what is queued, and turns user channels off.
	CancelQueue bool
	// ForgetActions drops what actions left on the host: it is as new.
	// EndActions ends those that are pending.
	ForgetActions bool
	EndActions    bool
	// Claim binds the identity to the enrollment.
	Claim IdentityID
	// Revoke makes every other identity of the enrollment useless.
	Revoke bool
	// Supersede notes that the identity took over from the enrollment's
	// older ones.
	Supersede IdentityID
	// FinishRenewal completes renewal commands that were never acknowledged.
	FinishRenewal bool
	// BeginSetup notes that the device waits in Setup Assistant.
	BeginSetup bool
	// ClearPush forgets that pushes failed.
	ClearPush bool
	// Refetch asks the host for all it knows about itself, as soon as may be.
	Refetch  bool
	Secrets  []SecretWrite
	Commands []Command
	Events   []Event // HostID and EnrollmentID 0 are filled in
}

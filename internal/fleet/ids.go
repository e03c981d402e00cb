package fleet

// Integer keys of the store. Zero is never a key: it means none.
type (
	// HostID identifies a host.
	HostID int64
	// TeamID identifies a team.
	TeamID int64
	// LabelID identifies a label.
	LabelID int64
	// UserID identifies a user of the API.
	UserID int64
	// SessionID identifies a session or API token.
	SessionID int64
	// EnrollmentID identifies one MDM channel of one device: a device
	// channel, or a user channel below it.
	EnrollmentID int64
	// EnrollmentProfileID identifies an enrollment entity from which
	// enrollment profiles are made.
	EnrollmentProfileID int64
	// IdentityID identifies an issued device certificate.
	IdentityID int64
	// CommandID identifies an MDM command; its UUID is what devices see.
	CommandID int64
	// ItemID identifies a configuration profile or declaration.
	ItemID int64
	// ServerTokenID identifies a server token of Apple's device enrollment
	// service.
	ServerTokenID int64
	// ActionRequestID identifies a request that the brake watches.
	ActionRequestID int64
	// SoftwareID identifies a version of a title.
	SoftwareID int64
	// EventID identifies an entry of the event log; it grows with time.
	EventID int64
)

package fleet

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// DEPCredentials are the OAuth 1.0a secrets of a server token of Apple's
// device enrollment service. They print as ***.
type DEPCredentials struct {
	ConsumerKey    string
	ConsumerSecret string
	AccessToken    string
	AccessSecret   string
	Expiry         time.Time
}

// Format implements fmt.Formatter for every verb.
func (DEPCredentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "***") }

// LogValue implements slog.LogValuer.
func (DEPCredentials) LogValue() slog.Value { return slog.StringValue("***") }

// DEPAccount is what Apple says about the server that a token belongs to.
type DEPAccount struct {
	ServerName string
	ServerUUID string
	AdminID    string // the Apple account that made the token
	OrgName    string
	OrgID      string
	OrgIDHash  string
	OrgType    string // "edu" or "org"
	OrgVersion string
	OrgEmail   string
	OrgPhone   string
	OrgAddress string
	// Limits are the numbers of devices a call may have, by URI such as
	// "/server/devices".
	Limits map[string]DEPLimit
}

// DEPLimit bounds the devices of one call. Zero: not told.
type DEPLimit struct{ Default, Maximum int }

// DEPOp is what happened to a device. The full list has none. Persisted by
// name.
type DEPOp string

// Operations.
const (
	DEPAdded    DEPOp = "added"
	DEPModified DEPOp = "modified"
	DEPDeleted  DEPOp = "deleted"
)

// DEPDevice is one device as Apple's service describes it. Zero times and
// empty strings: not told.
type DEPDevice struct {
	Serial      string
	Model       string // marketing name
	Description string
	Color       string
	AssetTag    string
	Family      string // iPhone, iPad, iPod, Mac, AppleTV, Vision
	OS          string // iOS, iPadOS, OSX, tvOS, visionOS
	// ProfileUUID is the enrollment profile that Apple has for the device;
	// ProfileStatus is "empty", "assigned", "pushed" or "removed".
	ProfileUUID       string
	ProfileStatus     string
	ProfileAssignTime time.Time
	ProfilePushTime   time.Time
	AssignedDate      time.Time // to this server
	AssignedBy        string
	MigrationDeadline time.Time
	Op                DEPOp
	OpDate            time.Time

	// Told from protocol version 10 on.
	IMEI, MEID            []string
	EID                   string
	WiFiMAC, BluetoothMAC string
	EthernetMAC           []string
	Replacement           bool // stands in for a device that was repaired
	ReleasedByReplacement bool
}

// Platform is the platform a host of this device has; false when it is of a
// kind that Muster does not manage.
func (d *DEPDevice) Platform() (Platform, bool) {
	switch d.Family {
	case "iPhone", "iPod":
		return PlatformIOS, true
	case "iPad":
		return PlatformIPadOS, true
	case "Mac":
		return PlatformDarwin, true
	case "":
		switch d.OS {
		case "OSX":
			return PlatformDarwin, true
		case "iPadOS":
			return PlatformIPadOS, true
		case "iOS":
			return PlatformIOS, true
		}
	}
	return "", false
}

// Profile is the enrollment profile that Apple hands the device; "": none.
func (d *DEPDevice) Profile() string {
	if d.ProfileStatus == "empty" || d.ProfileStatus == "removed" {
		return ""
	}
	return d.ProfileUUID
}

// DEPPage is one page of the list of devices or of its changes.
type DEPPage struct {
	Devices      []DEPDevice
	Cursor       string
	FetchedUntil time.Time
	More         bool
}

// DEPLongestPause is the longest that a server token or one of its devices is
// left alone after a failure.
const DEPLongestPause = 24 * time.Hour

// DEPResult is what became of one device of a call. Persisted: append only.
type DEPResult uint8

// Results of assigning a profile.
const (
	DEPNotTried      DEPResult = 0
	DEPSuccess       DEPResult = 1
	DEPNotAccessible DEPResult = 2 // not of this server
	DEPFailed        DEPResult = 3
	DEPThrottled     DEPResult = 4
)

// String is Apple's spelling; empty when not tried.
func (r DEPResult) String() string {
	switch r {
	case DEPSuccess:
		return "SUCCESS"
	case DEPNotAccessible:
		return "NOT_ACCESSIBLE"
	case DEPFailed:
		return "FAILED"
	case DEPThrottled:
		return "THROTTLED"
	case DEPNotTried:
	}
	return ""
}

// DEPResults are the results of one call by serial. A device that was asked
// for and is missing was not answered for.
type DEPResults struct {
	ProfileUUID string
	Devices     map[string]DEPResult
	RetryAfter  time.Duration // of throttled devices; 0: not told
}

// DEPErrorKind says what to do about an error of Apple's service. Persisted:
// append only.
type DEPErrorKind uint8

// Kinds of errors.
const (
	DEPOK              DEPErrorKind = 0 // none
	DEPTemporary       DEPErrorKind = 1 // ask again later
	DEPTerms           DEPErrorKind = 2 // somebody must sign the terms at Apple
	DEPTokenExpired    DEPErrorKind = 3 // the server token is past its date
	DEPTokenRejected   DEPErrorKind = 4 // revoked, replaced, or not allowed
	DEPCursorExhausted DEPErrorKind = 5 // everything was fetched already
	DEPCursorExpired   DEPErrorKind = 6 // older than seven days
	DEPCursorInvalid   DEPErrorKind = 7
	DEPCursorRequired  DEPErrorKind = 8
	DEPTooMany         DEPErrorKind = 9  // RetryAfter says how long to wait
	DEPRefused         DEPErrorKind = 10 // the request is wrong; repeating it does not help
)

// DEPError is an error of Apple's device enrollment service.
type DEPError struct {
	Kind       DEPErrorKind
	Status     int           // of HTTP; 0: there was no answer
	Code       string        // Apple's word, such as T_C_NOT_SIGNED
	RetryAfter time.Duration // 0: not told
	Cause      error
}

// Error says what is wrong and what to do, and carries no secret.
func (e *DEPError) Error() string {
	detail := e.Code
	if detail == "" && e.Cause != nil {
		detail = e.Cause.Error()
	}
	if e.Status != 0 {
		detail = fmt.Sprintf("%s (status %d)", detail, e.Status)
	}
	return e.Kind.advice() + ": " + detail
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *DEPError) Unwrap() error { return e.Cause }

func (k DEPErrorKind) advice() string {
	switch k {
	case DEPTerms:
		return "Apple wants its new terms to be signed at business.apple.com or school.apple.com"
	case DEPTokenExpired:
		return "the server token has expired: download a new one from Apple"
	case DEPTokenRejected:
		return "Apple does not accept the server token: download a new one"
	case DEPCursorExhausted, DEPCursorExpired, DEPCursorInvalid, DEPCursorRequired:
		return "Apple does not accept the cursor"
	case DEPTooMany:
		return "Apple asks to wait"
	case DEPRefused:
		return "Apple refused the request"
	case DEPOK, DEPTemporary:
	}
	return "Apple's device enrollment service does not work"
}

// DEPPhase is where syncing with a token stands. Persisted: append only.
type DEPPhase uint8

// Phases.
const (
	DEPFetch  DEPPhase = 0 // reading the full list
	DEPSweep  DEPPhase = 1 // forgetting what the full list did not have
	DEPFollow DEPPhase = 2 // reading changes
)

// DEPSync is the state of syncing with one server token.
type DEPSync struct {
	TokenID ServerTokenID
	Phase   DEPPhase
	Cursor  string
	// Round numbers full fetches. A device that was seen carries it; after a
	// fetch those with a lower one are gone.
	Round    int64
	FullAt   time.Time // the last full fetch came to its end
	OKAt     time.Time // Apple last said that there is nothing more
	Failures int       // in a row, of any kind
	Restarts int       // fetches begun again since changes could last be read
	NextAt   time.Time // no call before
	Error    DEPErrorKind
	Reason   string    // of the error, for people
	Expiry   time.Time // of the server token
	// Teams that new devices join, by platform; missing: NoTeam.
	Teams map[Platform]TeamID
}

// ServerToken is a server token of Apple's device enrollment service: who it
// is of, and where syncing with it stands. Its credentials are sealed apart.
type ServerToken struct {
	Account   DEPAccount // names of the server and the organization only
	Sync      DEPSync
	CreatedAt time.Time
}

// ServerTokenUpload is a token file as Apple gave it, and the pair in PEM form
// that opens it; both empty: the server's.
type ServerTokenUpload struct {
	File            []byte
	CertPEM, KeyPEM []byte
}

// DEPAssignment is how far assigning a profile to a device came.
type DEPAssignment struct {
	Tried    string // profile of the last try
	Result   DEPResult
	At       time.Time // of the last try
	Failures int       // in a row, of Tried
	NextAt   time.Time // no try before; zero: at any time
	// Held: no try before Apple speaks of the device again.
	Held bool
}

// DEPRecord is what Muster knows of a device of a server token.
type DEPRecord struct {
	Device    DEPDevice
	TokenID   ServerTokenID // only where devices are listed
	HostID    HostID        // 0: there is no host for it
	TeamID    TeamID        // of the host; only where devices are listed
	Round     int64
	DeletedAt time.Time // taken from this server at Apple; zero: not
	Assign    DEPAssignment
	// Want is the profile at Apple that the team of the host asks for now;
	// "": none has been defined. The store joins it in.
	Want string
}

// DEPFilter selects devices of server tokens.
type DEPFilter struct {
	Page    Page
	Token   ServerTokenID // 0: all tokens
	Serials []string      // empty: all
	HostIDs []HostID      // empty: all
	// Deleted adds devices that were taken from the server at Apple.
	Deleted bool
}

// DEPTeam is a team that has hosts of a token's devices, with its enrollment
// profile.
type DEPTeam struct {
	TeamID TeamID
	// Custom is what people wrote for the team; nil: the default.
	Custom []byte
	// Hash and Profile are of the definition at Apple; zero: none.
	Hash    [32]byte
	Profile string
	// Refused is the hash in hex of a definition that Apple did not take,
	// Reason its words, and RetryAt when to try that one again.
	Refused string
	Reason  string
	RetryAt time.Time
}

// SetupAssistant is the enrollment profile that people wrote for a team.
type SetupAssistant struct {
	TeamID     TeamID
	Name       string
	Body       []byte // JSON
	UploadedAt time.Time
}

// DEPFacts is what a transaction read before a page is decided about.
type DEPFacts struct {
	Sync    DEPSync
	Records map[string]DEPRecord // of the serials asked for, deleted ones too
	Hosts   map[string]Host      // with one of these serials
}

// DEPChange is what a transaction writes: nothing of it or all. Of Sync it
// writes what syncing moves: everything but TokenID, Expiry and Teams.
type DEPChange struct {
	Sync    DEPSync
	Records []DEPRecordChange
	Events  []Event // of the token as a whole
}

// DEPRecordChange writes one record, with its host and events.
type DEPRecordChange struct {
	Record DEPRecord
	// Host is made (ID 0) and becomes the record's, or changed; nil: neither.
	Host   *Host
	Events []Event
}

// DEPOutcome is what to remember of a device after a try.
type DEPOutcome struct {
	Serial string
	Assign DEPAssignment
	// ProfileUUID and Status replace Apple's record of it; "": they stay.
	ProfileUUID   string
	ProfileStatus string
}

// UpdateRequired says that a device must have another version of its operating
// system before it may enroll.
type UpdateRequired struct{ OSVersion string }

// Error says which.
func (e *UpdateRequired) Error() string {
	return "version " + e.OSVersion + " of the operating system is needed before the device enrolls"
}

// MachineInfo is what a device says about itself when it asks for its
// enrollment profile. A user enrollment tells language, product and build
// only.
type MachineInfo struct {
	UDID, Serial        string
	Product             string // "iPhone15,2"
	Build, OSVersion    string
	SupplementalBuild   string // of a rapid security response
	SupplementalVersion string // "(a)"
	IMEI, MEID          string
	Language            string
	UpdateDeviceID      string // names the hardware in Apple's list of updates
	PairingToken        string // of a watch
	Challenge           string // of the profile that asked, over the air
	CanRequestUpdate    bool   // it understands com.apple.softwareupdate.required
	CanRequestPSSO      bool   // it understands com.apple.psso.required
}

package fleet

import "time"

// DeviceStatus is what was last made of a device. Persisted: append only.
type DeviceStatus uint8

// Statuses of a device.
const (
	DeviceUnlocked DeviceStatus = 0
	DeviceLocked   DeviceStatus = 1 // locked with a PIN, or in Lost Mode
	DeviceWiped    DeviceStatus = 2 // until it enrolls again
)

// String is the API's spelling.
func (s DeviceStatus) String() string {
	switch s {
	case DeviceUnlocked:
		return "unlocked"
	case DeviceLocked:
		return "locked"
	case DeviceWiped:
		return "wiped"
	}
	return ""
}

// PendingAction is what a device was asked for and has not confirmed.
// Persisted: append only.
type PendingAction uint8

// Actions that may be pending.
const (
	PendingNone   PendingAction = 0
	PendingLock   PendingAction = 1
	PendingUnlock PendingAction = 2
	PendingWipe   PendingAction = 3
)

// String is the API's spelling.
func (p PendingAction) String() string {
	switch p {
	case PendingNone:
		return ""
	case PendingLock:
		return "lock"
	case PendingUnlock:
		return "unlock"
	case PendingWipe:
		return "wipe"
	}
	return ""
}

// ActionKind is what people do to a host. Persisted: append only.
type ActionKind uint8

// Kinds of actions.
const (
	ActionLock          ActionKind = 1
	ActionUnlock        ActionKind = 2
	ActionWipe          ActionKind = 3
	ActionClearPasscode ActionKind = 4
	ActionUnenroll      ActionKind = 5
	ActionDelete        ActionKind = 6
	ActionLocate        ActionKind = 7
	ActionPlaySound     ActionKind = 8
	ActionRecoveryLock  ActionKind = 9 // set a new recovery lock password
	ActionBypassCode    ActionKind = 10
)

// String is the API's spelling.
func (k ActionKind) String() string {
	switch k {
	case ActionLock:
		return "lock"
	case ActionUnlock:
		return "unlock"
	case ActionWipe:
		return "wipe"
	case ActionClearPasscode:
		return "clear_passcode"
	case ActionUnenroll:
		return "unenroll"
	case ActionDelete:
		return "delete"
	case ActionLocate:
		return "locate"
	case ActionPlaySound:
		return "play_sound"
	case ActionRecoveryLock:
		return "recovery_lock"
	case ActionBypassCode:
		return "bypass_code"
	}
	return ""
}

// BrakedActions are those that the brake holds.
func BrakedActions() []ActionKind {
	return []ActionKind{ActionLock, ActionWipe, ActionUnenroll, ActionDelete}
}

// HostActionState is what actions left behind on a host. A host that nothing
// was done to has none.
type HostActionState struct {
	HostID  HostID
	Status  DeviceStatus
	Pending PendingAction
	// CommandUUID is the command whose answer ends what is pending.
	CommandUUID string
	// PINUUID is the command with the PIN that opens the Mac; empty: none.
	PINUUID string
	// Error is why the last lock, unlock or wipe failed; empty: it did not.
	Error string
	// RecoveryUUID is the command that set the recovery lock password;
	// RecoveryNext the one that is to set another.
	RecoveryUUID string
	RecoveryNext string
	RecoveryAt   time.Time // when RecoveryUUID was acknowledged; zero: by an earlier enrollment of the Mac
	RotateAt     time.Time // when another password is due; zero: never
	UpdatedAt    time.Time
}

// ActionHost is a host as actions see it.
type ActionHost struct {
	Host          HostRef
	Supervised    Tri
	SeenAt        time.Time
	EnrollmentID  EnrollmentID // of the device channel; 0: none
	EnrollmentKey string
	State         EnrollmentState
	HasUnlockTok  bool // an unlock token is escrowed
	Clearing      bool // a ClearPasscode waits for it
	Action        HostActionState
}

// WaitingCommand is a command on the queue of a host.
type WaitingCommand struct {
	ID          CommandID
	UUID        string
	RequestType string
	Purpose     CommandPurpose
	// Sends counts how often it was handed out, NotNow how often the device put
	// it off.
	Sends  int
	NotNow int
}

// ActionPhase is where a request stands. Persisted: append only.
type ActionPhase uint8

// Phases of a request.
const (
	ActionDone    ActionPhase = 1 // carried out, or handed to whoever does
	ActionWaiting ActionPhase = 2 // for another admin
	ActionDelayed ActionPhase = 3 // until DueAt; may be undone
	ActionDenied  ActionPhase = 4
	ActionUndone  ActionPhase = 5 // by whoever asked, or an admin
	ActionFailed  ActionPhase = 6 // came due and could not be carried out; see Detail
	ActionExpired ActionPhase = 7 // nobody decided in time
	ActionRunning ActionPhase = 8 // somebody else is carrying it out
)

// String is the API's spelling.
func (p ActionPhase) String() string {
	switch p {
	case ActionDone:
		return "done"
	case ActionWaiting:
		return "waiting"
	case ActionDelayed:
		return "delayed"
	case ActionDenied:
		return "denied"
	case ActionUndone:
		return "undone"
	case ActionFailed:
		return "failed"
	case ActionExpired:
		return "expired"
	case ActionRunning:
		return "running"
	}
	return ""
}

// ActionTarget names a host of a request, as it was when that was made.
type ActionTarget struct {
	ID     HostID
	Name   string
	Serial string
	// TakenBack says that its command was, before the device had it: it does not
	// count any more.
	TakenBack bool
}

// ActionRequest is somebody's wish for an action that the brake watches.
type ActionRequest struct {
	ID        ActionRequestID
	UUID      string
	Kind      ActionKind
	Phase     ActionPhase
	Targets   []ActionTarget
	Hosts     int // that count: number of Targets that were not taken back
	Actor     Actor
	CreatedAt time.Time
	DueAt     time.Time // when a delayed one is carried out
	DecidedBy Actor
	DecidedAt time.Time
	Detail    string // what went wrong
	// LeaseUntil is when another may take a running one up: whoever carries it
	// out moves it on.
	LeaseUntil time.Time
}

// ActionOptions are what may be said about a lock or a wipe. Empty fields
// take defaults.
type ActionOptions struct {
	// Message, PhoneNumber and Footnote are shown on the locked device.
	Message     string
	PhoneNumber string
	Footnote    string
	// Behavior is EraseDevice's ObliterationBehavior; empty: Default.
	Behavior               string
	PreserveDataPlan       bool
	DisallowProximitySetup bool
	// ReturnToService makes an iPhone or iPad set itself up again; WiFiProfile
	// is the configuration profile by which it then finds a network.
	ReturnToService bool
	WiFiProfile     []byte
	MDMProfile      []byte
	// Force deletes a locked host too.
	Force bool
}

// ActionAsk is what somebody wants done.
type ActionAsk struct {
	Kind    ActionKind
	Hosts   []HostID
	Options ActionOptions
	// ViewPIN answers with the PIN, which is recorded.
	ViewPIN bool
	// Expected, if not negative, must be the number of hosts.
	Expected int
}

// ActionResult is what came of an ActionAsk.
type ActionResult struct {
	Status  DeviceStatus // of the only host
	Pending PendingAction
	PIN     string
	Command string // UUID of the only host's command; empty: none
	Hosts   int
	Message string         // what happens when
	Held    *ActionRequest // set: it was not done yet
}

// ActionLookup says what an action concerns.
type ActionLookup struct {
	Hosts []HostID
	// Actor and Kind are whose earlier requests count, since Since; Actor 0:
	// nobody's.
	Actor UserID
	Kind  ActionKind
	Since time.Time
	// RequestUUID is the request that is decided about; empty: a new one.
	RequestUUID string
	// CommandUUID is a command of the only host; empty: none.
	CommandUUID string
}

// ActionFacts is what the store knows when it asks for a decision, all read
// in the transaction that carries it out.
type ActionFacts struct {
	Hosts   []ActionHost    // in the order of their keys; unknown ones are missing
	Used    int             // hosts of the actor's requests of the kind since Since
	Oldest  time.Time       // the oldest of those
	Request *ActionRequest  // nil: there is none
	Command *WaitingCommand // nil: it is not on the host's queue
	// Answered says that the host's command is not on the queue any more.
	Answered CommandStatus
}

// ActionCommand is a command that an action sends to a host.
type ActionCommand struct {
	Command
	Target Target
}

// ActionChange is the decision about an action, carried out in one
// transaction. The zero value changes nothing.
type ActionChange struct {
	States   []HostActionState
	Secrets  []SecretWrite
	Commands []ActionCommand
	// Wake pushes to enrollments whose command waits already.
	Wake []EnrollmentID
	// Cancel takes the command of the lookup back.
	Cancel  bool
	Request *ActionRequest // to write; ID 0: to create
	Events  []Event
}

// Revealed is a secret of a host that somebody asked to see.
type Revealed struct {
	Value     string
	UpdatedAt time.Time
}

// RevealKind says which secret of a host is to be shown.
type RevealKind uint8

// Secrets of a host. The values are never stored.
const (
	RevealPIN RevealKind = iota + 1
	RevealRecoveryLock
	RevealBypassCode
)

// BrakeLimit is how many hosts one person may do something to in an hour: 0
// takes the default, a negative one is no limit.
type BrakeLimit int

// Defaults of the brake, hosts an hour.
const (
	DefaultWipesPerHour     = 10
	DefaultLocksPerHour     = 20
	DefaultUnenrollsPerHour = 20
	DefaultDeletesPerHour   = 100
)

// BrakePolicy bounds what one person can do to hosts. The zero value has the
// default limits, and asks for nobody's approval.
type BrakePolicy struct {
	WipesPerHour     BrakeLimit
	LocksPerHour     BrakeLimit
	UnenrollsPerHour BrakeLimit
	DeletesPerHour   BrakeLimit
	// ApprovalFor are actions that another admin must approve.
	ApprovalFor []ActionKind
	// DelayFor are actions that wait DelayMinutes and can be undone meanwhile.
	DelayFor     []ActionKind
	DelayMinutes int
}

// Limit is how many hosts an hour are allowed; negative: any number.
func (p BrakePolicy) Limit(k ActionKind) int {
	limit, otherwise := BrakeLimit(-1), -1
	switch k {
	case ActionWipe:
		limit, otherwise = p.WipesPerHour, DefaultWipesPerHour
	case ActionLock:
		limit, otherwise = p.LocksPerHour, DefaultLocksPerHour
	case ActionUnenroll:
		limit, otherwise = p.UnenrollsPerHour, DefaultUnenrollsPerHour
	case ActionDelete:
		limit, otherwise = p.DeletesPerHour, DefaultDeletesPerHour
	case ActionUnlock, ActionClearPasscode, ActionLocate, ActionPlaySound, ActionRecoveryLock, ActionBypassCode:
	}
	if limit == 0 {
		return otherwise
	}
	return int(limit)
}

package fleet

import (
	"errors"
	"time"
)

// CommandPurpose says who asked for a command and so where its answer goes.
// Persisted: append only.
type CommandPurpose uint8

// Purposes of a command.
const (
	CommandCustom CommandPurpose = 1 // a person or client asked; kept in the history
	CommandVitals CommandPurpose = 2 // Muster asks for facts; command and answer are erased on answer
	CommandRenew  CommandPurpose = 3 // InstallProfile that renews the device identity
	// CommandUnenroll is the RemoveProfile that takes the device off MDM; its
	// answer completes a turn off.
	CommandUnenroll CommandPurpose = 4
	// CommandInstall and CommandRemove carry an item out on a host.
	CommandInstall CommandPurpose = 5
	CommandRemove  CommandPurpose = 6
	// CommandListProfiles asks a device which profiles it has; command and
	// answer are erased on answer.
	CommandListProfiles CommandPurpose = 7
	// CommandDeclare tells a device that its declarations changed.
	CommandDeclare CommandPurpose = 8
	// CommandAction locks, wipes or otherwise acts on a host; its answer moves
	// the host's HostActionState.
	CommandAction CommandPurpose = 9
	// CommandSetup belongs to a device that waits in Setup Assistant.
	CommandSetup CommandPurpose = 11
)

// Ephemeral commands and their answers are erased on answer and never listed.
func (p CommandPurpose) Ephemeral() bool {
	return p == CommandVitals || p == CommandRenew || p == CommandListProfiles || p == CommandDeclare
}

// ForItems reports whether answers change what is known of a host's items.
func (p CommandPurpose) ForItems() bool {
	return p == CommandInstall || p == CommandRemove || p == CommandListProfiles || p == CommandDeclare
}

// CommandStatus is the last thing a device said about a command. Persisted:
// append only.
type CommandStatus uint8

// Statuses of a command on one enrollment.
const (
	CommandPending      CommandStatus = 1
	CommandNotNow       CommandStatus = 2
	CommandAcknowledged CommandStatus = 3
	CommandError        CommandStatus = 4
	CommandFormatError  CommandStatus = 5
	CommandCancelled    CommandStatus = 6 // taken back by a re-enrollment, unenrollment or a person
)

// String is the protocol's spelling.
func (s CommandStatus) String() string {
	switch s {
	case CommandPending:
		return "Pending"
	case CommandNotNow:
		return "NotNow"
	case CommandAcknowledged:
		return "Acknowledged"
	case CommandError:
		return "Error"
	case CommandFormatError:
		return "CommandFormatError"
	case CommandCancelled:
		return "Cancelled"
	}
	return ""
}

// Final reports whether no further answer is expected.
func (s CommandStatus) Final() bool { return s >= CommandAcknowledged }

// Command is an MDM command. Its body is stored once, whatever the number of
// devices it goes to.
type Command struct {
	ID          CommandID
	UUID        string // CommandUUID, what devices see
	RequestType string
	Platform    Platform // darwin stands for every Apple platform in command lists
	Purpose     CommandPurpose
	Body        []byte // the whole property list
	CreatedAt   time.Time
	CreatedBy   Actor
	// ItemID and ItemVersion are what the command installs or removes.
	ItemID      ItemID
	ItemVersion int
	// Expand says that the body has variables that are filled in for each
	// host when it is handed out, or lacks a secret that is put in then.
	Expand bool
	// Whole is a person's command with its secrets, which Body then lacks; nil
	// where there are none. It is stored with the command and not read with it.
	Whole *SecretWrite
}

// CommandResult is one command on one enrollment, answered or not.
type CommandResult struct {
	CommandUUID   string
	RequestType   string
	Host          HostRef
	Channel       Channel
	EnrollmentKey string
	Status        CommandStatus
	UpdatedAt     time.Time
	CreatedAt     time.Time
	Payload       []byte // the command; only where asked for
	Result        []byte // the device's answer; only where asked for
}

// CommandFilter selects command results.
type CommandFilter struct {
	Page        Page
	HostIDs     []HostID // empty: all hosts
	CommandUUID string
	RequestType string
	Statuses    []CommandStatus
	// WithBodies fills in commands and answers, as many as fit into one
	// answer; later entries then come without.
	WithBodies bool
}

// ErrorChainItem is one entry of a device's ErrorChain (contracts/apple.md
// 1.5).
type ErrorChainItem struct {
	Code      int64
	Domain    string
	Localized string
	USEnglish string
}

// CommandReport is a device's answer on the command channel.
type CommandReport struct {
	Key         EnrollmentKey
	Identity    IdentityID
	CommandUUID string
	Status      CommandStatus
	ErrorChain  []ErrorChainItem
	Body        []byte // the whole answer
	At          time.Time
	// Inventory is what the answer to a refetch tells, read before the
	// transaction begins; nil: it is the answer to something else.
	Inventory *Inventory
}

// CommandTarget is what the store knows about the command a report names.
type CommandTarget struct {
	Command      Command
	EnrollmentID EnrollmentID
	HostID       HostID
	Platform     Platform
	NotNowCount  int
	Sends        int
	// Items are the host's items that the command is about: the one that it
	// installs or removes, or all of a channel when it lists profiles.
	Items []HostItem
	// State is the host's; only with Items.
	State HostState
	// Action is what actions left on the host; only of commands that act.
	Action HostActionState
	// Renewal is the one that the command carries out; nil: it ended.
	Renewal *Renewal
}

// ReportOutcome is what follows from a report: the pure decision about it.
type ReportOutcome struct {
	// Keep leaves the command on the queue (NotNow).
	Keep bool
	// Store keeps the answer in the history.
	Store  bool
	Status CommandStatus
	// Inventory has facts to store about the host; nil: none.
	Inventory *Inventory
	// Refetched are the parts of a refetch that are answered; RefetchFault is
	// why the device refused them.
	Refetched    RefetchParts
	RefetchFault string
	// Renewal is what becomes of the renewal; nil: it stays as it is.
	Renewal *Renewal
	// Unenrolled completes a turn off: the device removed the enrollment profile.
	Unenrolled bool
	// Items are the items of the target that changed, Gone those that are to
	// be forgotten.
	Items []HostItem
	Gone  []ItemID
	// Stale says that the decision was made without knowing an item: nothing is
	// stored, and it is to be made again (ErrStaleRules).
	Stale bool
	// Listed notes that the device told which profiles it has.
	Listed bool
	// DueAt is when the host is to be planned again; zero: as before.
	DueAt time.Time
	// Action is what actions leave on the host now; nil: as before.
	Action  *HostActionState
	Secrets []SecretWrite
	// Answer is kept instead of the device's answer, which has a secret in it;
	// nil: that is kept.
	Answer []byte
	Event  *Event // nil: nothing worth an entry
}

// ErrStaleRules says that whoever decided about a report knows fewer items than the
// store. Nothing was stored.
var ErrStaleRules = errors.New("the rules are older than the items of the host")

// Target is a host that a command may go to, with its device channel.
type Target struct {
	Host         HostRef
	EnrollmentID EnrollmentID // 0: no device channel
	State        EnrollmentState
}

// PushTarget is an enrollment to wake.
type PushTarget struct {
	EnrollmentID EnrollmentID
	HostID       HostID
	Channel      Channel
	Topic        string
	Magic        string
	Token        []byte
	TokenAt      time.Time
	Attempts     int
	DueAt        time.Time
}

// PushOutcome is what became of a push.
type PushOutcome struct {
	EnrollmentID EnrollmentID
	HostID       HostID
	DueAt        time.Time // the PushTarget's
	At           time.Time
	Reason       string // empty: accepted by Apple
	// Broken stops pushes until the next TokenUpdate.
	Broken bool
	// NextAt is when to push again if commands still wait; zero: never.
	NextAt   time.Time
	Attempts int
}

// FanoutBatch is the part of a command's targets that was queued last and is to
// be pushed to.
type FanoutBatch struct {
	CommandID   CommandID
	Enrollments []EnrollmentID
	Queued      int // of the command's targets, these included
}

// NextCommand is handed to a device. A nil *NextCommand means nothing is
// pending.
type NextCommand struct {
	ID     CommandID
	UUID   string
	Body   []byte
	Expand bool // Body has variables of the host, or lacks a secret
	HostID HostID
	// Purpose says who fills them in.
	Purpose       CommandPurpose
	EnrollmentKey string
}

// PushResult is APNs' answer to one push (contracts/apple.md 2).
type PushResult struct {
	// OK: accepted, which is no proof of delivery.
	OK bool
	// Reason as APNs gave it, or what failed on the way.
	Reason string
	// Dead: the token is no longer good and the device must update it first.
	Dead bool
	// DeadAt is when Apple saw the token die; zero: not told.
	DeadAt time.Time
	// Stop: pushes as a whole do not work (certificate, connection).
	Stop bool
}

// Sender is who sends a command as such.
type Sender struct {
	Actor Actor
	// MayAct: may lock, wipe and unenroll hosts, which some commands do.
	MayAct bool
}

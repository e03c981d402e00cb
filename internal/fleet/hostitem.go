package fleet

import "time"

// ItemOp is what is being done to an item on a host. Persisted: append only.
type ItemOp uint8

// Operations.
const (
	OpInstall ItemOp = 1
	OpRemove  ItemOp = 2
)

// String is the API's spelling.
func (o ItemOp) String() string {
	if o == OpRemove {
		return "remove"
	}
	return "install"
}

// ItemStatus is where an item stands on a host. Persisted: append only.
type ItemStatus uint8

// Statuses of an item on a host.
const (
	// ItemPending: a command is queued, or will be at NextAt.
	ItemPending ItemStatus = 1
	// ItemVerifying: the device acknowledged; no witness has spoken yet.
	ItemVerifying ItemStatus = 2
	// ItemVerified: the device itself reported that it has it.
	ItemVerified ItemStatus = 3
	ItemFailed   ItemStatus = 4
)

// String is the API's spelling.
func (s ItemStatus) String() string {
	switch s {
	case ItemPending:
		return "pending"
	case ItemVerifying:
		return "verifying"
	case ItemVerified:
		return "verified"
	case ItemFailed:
		return "failed"
	}
	return ""
}

// Fault says why an item is not well on a host. Persisted: append only.
type Fault uint8

// Faults.
const (
	FaultNone Fault = 0
	// FaultDevice: the device answered with an error; more in Detail.
	FaultDevice Fault = 1
	// FaultVariable: a variable or secret has no value for the host. It
	// recovers by itself when one appears.
	FaultVariable Fault = 2
	// FaultMissing: acknowledged, or verified before, and now not on the device.
	FaultMissing Fault = 3
	// FaultNoUser: no user channel came up within UserChannelWait.
	FaultNoUser Fault = 4
	// FaultInvalid: the device says that the declaration is not valid.
	FaultInvalid Fault = 5
	// FaultUnsupported: the device's system is too old for the kind of item.
	FaultUnsupported Fault = 6
	// FaultFormat: the device could not read the command.
	FaultFormat Fault = 7
)

// HostItem is one item on one host.
type HostItem struct {
	HostID  HostID
	ItemID  ItemID
	Version int
	Op      ItemOp
	Status  ItemStatus
	Fault   Fault
	// Tries counts attempts since the last change of what is wanted; Attempt
	// counts all of them and never goes back, so that each has its own command.
	Tries   int
	Attempt int
	// Params is a hash of the values that variables had when it was sent.
	Params       [16]byte
	EnrollmentID EnrollmentID // the channel it went through
	CommandID    CommandID    // the command in flight; 0: none
	Detail       string       // the device's words, or ours; for people
	ChangedAt    time.Time
	// NextAt is when something happens again if nothing comes from the device;
	// zero: nothing is to happen.
	NextAt time.Time
	// VerifiedAt is when a witness last saw it.
	VerifiedAt time.Time
}

// HostState is how far a host has come.
type HostState struct {
	HostID HostID
	TeamID TeamID
	// Revision of its scope that was planned for it.
	Revision int64
	// DueAt is when it is to be planned again at the latest; zero: when its
	// scope changes.
	DueAt time.Time
	// Seq grows with every change of the host's items, so that two who plan
	// at once do not overwrite one another.
	Seq int64
	// VerifyAt is when the device is asked again what it has.
	VerifyAt time.Time
	// AskedAt is when it was last asked; ListedAt when it last answered.
	AskedAt  time.Time
	ListedAt time.Time
	Counts   ItemCounts
}

// ItemCounts counts a host's items by status.
type ItemCounts struct {
	Pending, Verifying, Verified, Failed int
}

// Add counts n more items of a status.
func (c *ItemCounts) Add(s ItemStatus, n int) {
	switch s {
	case ItemPending:
		c.Pending += n
	case ItemVerifying:
		c.Verifying += n
	case ItemVerified:
		c.Verified += n
	case ItemFailed:
		c.Failed += n
	}
}

// Worst is the status that stands for the host: failed before pending before
// verifying before verified; 0 when it has no items.
func (c ItemCounts) Worst() ItemStatus {
	switch {
	case c.Failed > 0:
		return ItemFailed
	case c.Pending > 0:
		return ItemPending
	case c.Verifying > 0:
		return ItemVerifying
	case c.Verified > 0:
		return ItemVerified
	}
	return 0
}

// HostFacts is all that a host's plan depends on.
type HostFacts struct {
	Host  Host
	State HostState
	// Device is its device channel, User its user channel that is on; ID 0:
	// none.
	Device Enrollment
	User   Enrollment
	// Labels holds what the store has a word about.
	Labels []Membership
	Items  []HostItem
	DDM    []DDMChannel
	// Queued are the item commands that wait on the host's channels.
	Queued []QueuedCommand
}

// QueuedCommand is a command that waits on a channel.
type QueuedCommand struct {
	CommandID    CommandID
	EnrollmentID EnrollmentID
	Purpose      CommandPurpose
	Sends        int
	SentAt       time.Time
}

// Catalog is every item that a host may have or still has to lose, with all
// that decides who gets it. It is read once for many hosts and not changed.
type Catalog struct {
	// Stamp is a higher one after any change.
	Stamp     int64
	Revisions map[TeamID]int64
	Items     map[ItemID]*Item
	// ByTeam lists the live items of each scope in the order of their keys.
	ByTeam map[TeamID][]*Item
	Labels map[LabelID]*Label
	// Secrets are the versions of custom secrets that have a value.
	Secrets map[string]int64
}

// HostPlan is what becomes of one host in one round of planning. The store
// carries it out if the host has not changed since its facts were read.
type HostPlan struct {
	HostID HostID
	Seq    int64 // the facts'
	State  HostState
	Put    []HostItem
	Drop   []ItemID
	Labels []Membership // changed memberships of vitals labels
	Queue  []PlannedCommand
	// Cancel takes commands off queues that were never sent.
	Cancel []QueuedCommand
	DDM    []DDMChannel
	Events []Event
}

// PlannedCommand is a command for one channel. Hosts share the command when
// its UUID is the same.
type PlannedCommand struct {
	Command      *Command
	EnrollmentID EnrollmentID
	// ItemID is the item in HostPlan.Put whose CommandID it becomes; 0: none.
	ItemID ItemID
}

// DDMChannel is declarative management on one MDM channel.
type DDMChannel struct {
	EnrollmentID EnrollmentID
	HostID       HostID
	// Manifest is what the device should have, Previous what it was before:
	// a device in the middle of fetching keeps to what it began with.
	Manifest DDMManifest
	Previous DDMManifest
	// Fetched is the token of the manifest that the device fetched last.
	Fetched string
	// Announced is the token that a DeclarativeManagement command was queued for.
	Announced string
	// Nonce grows to make the device report its whole status again.
	Nonce      int
	ReportedAt time.Time
	UpdatedAt  time.Time
}

// DDMManifest is a set of declarations with the token that stands for it.
type DDMManifest struct {
	Token   string     `json:"token"`
	Entries []DDMEntry `json:"entries"`
}

// DDMEntry is one declaration of a manifest.
type DDMEntry struct {
	Kind        string `json:"kind"` // activation, asset, configuration, management
	Identifier  string `json:"id"`
	ServerToken string `json:"st"`
	// ItemID and Version name the content; 0: Muster makes it from Body.
	ItemID  ItemID `json:"item,omitempty"`
	Version int    `json:"v,omitempty"`
	Body    []byte `json:"body,omitempty"`
}

// ItemStatusCounts counts hosts by status.
type ItemStatusCounts struct {
	Verified, Verifying, Pending, Failed int
}

// HostItemDetail is a HostItem with what its item is called.
type HostItemDetail struct {
	HostItem
	UUID       string
	Name       string
	Identifier string
	Kind       ItemKind
	Owner      ItemOwner
	Scope      ItemScope
}

// ItemHostFilter selects the hosts of one item.
type ItemHostFilter struct {
	Page   Page
	ItemID ItemID
	Status ItemStatus // 0: all
	Query  string     // part of the detail: the error; empty: all
}

// ItemHost is one host of an item.
type ItemHost struct {
	Host HostRef
	HostItem
}

// DDMFacts is what the store knows when a device fetched its manifest or
// reported its status.
type DDMFacts struct {
	Channel DDMChannel
	State   HostState
	Items   []HostItem // of the channel
	Status  []byte     // the merged status so far, JSON; empty: none
}

// DDMOutcome is what follows: the zero value changes nothing.
type DDMOutcome struct {
	Channel *DDMChannel // to write
	Status  []byte      // to write
	Items   []HostItem
	Gone    []ItemID
	Vitals  *Vitals
	DueAt   time.Time
	Events  []Event
}

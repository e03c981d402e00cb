package fleet

import "time"

// ItemKind says what an item is. Persisted: append only.
type ItemKind uint8

// Kinds of items.
const (
	ItemProfile     ItemKind = 1 // an Apple configuration profile
	ItemDeclaration ItemKind = 2 // an Apple declaration
)

// Letter begins the item's UUID in the API.
func (k ItemKind) Letter() string {
	if k == ItemDeclaration {
		return "d"
	}
	return "a"
}

// ItemOwner says who keeps an item. Persisted: append only.
type ItemOwner uint8

// Owners of items.
const (
	OwnedByAdmin ItemOwner = 0
	// OwnedByMuster items follow from settings; people see them on hosts but
	// cannot change them.
	OwnedByMuster ItemOwner = 1
)

// ItemScope is the MDM channel that an item goes through. Persisted: append
// only.
type ItemScope uint8

// Scopes of items.
const (
	ScopeSystem ItemScope = 0
	ScopeUser   ItemScope = 1
)

// String is the API's spelling.
func (s ItemScope) String() string {
	if s == ScopeUser {
		return "user"
	}
	return "device"
}

// PlatformSet is a set of platforms. Persisted: append only.
type PlatformSet uint8

// Members of a PlatformSet.
const (
	OnDarwin PlatformSet = 1 << iota
	OnIOS
	OnIPadOS
	OnApple = OnDarwin | OnIOS | OnIPadOS
)

// SetOf is the set of one platform; empty for those that have no items.
func SetOf(p Platform) PlatformSet {
	switch p {
	case PlatformDarwin:
		return OnDarwin
	case PlatformIOS:
		return OnIOS
	case PlatformIPadOS:
		return OnIPadOS
	case PlatformWindows:
	}
	return 0
}

// Item is a configuration profile or a declaration that hosts of a scope
// should have.
type Item struct {
	ID     ItemID
	UUID   string // letter of the kind and a UUID
	TeamID TeamID
	Kind   ItemKind
	Owner  ItemOwner
	// Identifier is the PayloadIdentifier or the declaration's Identifier:
	// what a device tells items apart by.
	Identifier string
	Name       string
	Scope      ItemScope
	Platforms  PlatformSet
	Labels     []ItemLabel
	ItemVersion
	// Previous is the version that hosts outside of the rollout's open rings
	// have; 0: they have none.
	Previous *ItemVersion
	Rollout  *Rollout
	// ResendAt asks for another try on hosts where it failed before then, and
	// ResendMatch only where the reason contains this; empty: any reason.
	ResendAt    time.Time
	ResendMatch string
	// DeletedAt is set on items that some hosts still have to lose.
	DeletedAt  time.Time
	CreatedAt  time.Time
	UploadedAt time.Time
}

// ItemVersion is one state of an item's content.
type ItemVersion struct {
	Version int // 1, 2, ...
	SHA256  [32]byte
	Spec    ItemSpec
}

// ItemSpec is what was read from an item's content once, at its upload.
type ItemSpec struct {
	PayloadUUID string `json:"payload_uuid,omitempty"` // of a profile
	// DeclarationType is "com.apple.configuration.passcode.settings" and the like.
	DeclarationType string `json:"declaration_type,omitempty"`
	// References are identifiers of declarations that this one needs.
	References []string `json:"references,omitempty"`
	// PayloadTypes of a profile.
	PayloadTypes []string `json:"payload_types,omitempty"`
	// Variables are the names after FLEET_VAR_, Secrets those after
	// FLEET_SECRET_, that must be known before delivery.
	Variables []string `json:"variables,omitempty"`
	Secrets   []string `json:"secrets,omitempty"`
	// NeedsSupervision lists payload types that unsupervised iPhones and iPads
	// refuse.
	NeedsSupervision []string `json:"needs_supervision,omitempty"`
	// Exclusive lists payload types of which a device takes one only.
	Exclusive []string `json:"exclusive,omitempty"`
	// Warnings for whoever uploads; never a reason to refuse.
	Warnings []string `json:"warnings,omitempty"`
	Size     int      `json:"size"`
}

// Expands reports whether the content differs from host to host.
func (s *ItemSpec) Expands() bool { return len(s.Variables)+len(s.Secrets) > 0 }

// LabelMode says how a label scopes an item. Persisted: append only.
type LabelMode uint8

// Modes of an item's label.
const (
	IncludeAll LabelMode = 1 // the host must be a member of every such label
	IncludeAny LabelMode = 2 // of at least one
	ExcludeAny LabelMode = 3 // of none
)

// String is the API's spelling.
func (m LabelMode) String() string {
	switch m {
	case IncludeAll:
		return "labels_include_all"
	case IncludeAny:
		return "labels_include_any"
	case ExcludeAny:
		return "labels_exclude_any"
	}
	return ""
}

// ItemLabel is a label that scopes an item. A LabelID of 0 means that the
// label was deleted: the item then goes to no further hosts.
type ItemLabel struct {
	LabelID LabelID
	Name    string
	Mode    LabelMode
}

// ItemFilter selects items.
type ItemFilter struct {
	Page   Page
	TeamID TeamID
	Kinds  []ItemKind // empty: all
	// Identifier and Name select exactly; empty: all.
	Identifier string
	Name       string
	// WithMuster includes items that Muster keeps.
	WithMuster bool
}

// ItemUpload is content with its scope, on its way into the store.
type ItemUpload struct {
	Item    Item // without ID, UUID and version
	Content []byte
}

// ItemSet replaces the items of a scope: what is in it is created or changed,
// what is not is deleted.
type ItemSet struct {
	TeamID  TeamID
	Owner   ItemOwner
	Kinds   []ItemKind // the kinds it replaces; empty: all
	Uploads []ItemUpload
	Actor   Actor
}

// ItemChange is what an ItemSet did, or would do, to one item.
type ItemChange struct {
	Item Item
	What ItemChangeKind
}

// ItemChangeKind is what happens to an item.
type ItemChangeKind string

// Kinds of changes.
const (
	ItemAdded     ItemChangeKind = "add"
	ItemEdited    ItemChangeKind = "change"
	ItemRescoped  ItemChangeKind = "rescope"
	ItemRemoved   ItemChangeKind = "remove"
	ItemUnchanged ItemChangeKind = "unchanged"
)

// Variable is a custom secret without its value.
type Variable struct {
	Name      string
	Version   int64
	UpdatedAt time.Time
}

// ItemEdits are changes of one scope's items, carried out together.
type ItemEdits struct {
	Add    []ItemUpload
	Edit   []ItemUpload // with ID; a new Version brings its Content
	Remove []ItemID
	Events []Event
	// Revision that the scope must have; 0: any. KindConflict: it changed.
	Revision int64
}

// Empty reports whether there is nothing to do, revision apart.
func (e *ItemEdits) Empty() bool { return len(e.Add)+len(e.Edit)+len(e.Remove) == 0 }

// ItemSetOptions say how a scope's items are replaced.
type ItemSetOptions struct {
	// Dry only says what would happen.
	Dry bool
	// NewTeam, with Dry: the team does not exist yet.
	NewTeam bool
	// AssumeSecrets and AssumeLabels, with Dry, are names of secrets and labels
	// that will be there before it is carried out.
	AssumeSecrets []string
	AssumeLabels  []string
	// Revision that the scope must have; 0: any.
	Revision int64
}

// ProfileUpload is a file that somebody uploads, with its scope.
type ProfileUpload struct {
	FileName string
	Name     string // of a declaration; empty: that of the file
	Content  []byte // nil: stays as it is
	// Labels by name; nil: stay as they are.
	Labels  []ItemLabel
	Rollout *Rollout // nil: to all hosts at once
}

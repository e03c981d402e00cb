package fleet

import (
	"strings"
	"time"
)

// Platform is a host's operating system family in the API's spelling.
type Platform string

// Platforms that Muster manages.
const (
	PlatformDarwin  Platform = "darwin"
	PlatformIOS     Platform = "ios"
	PlatformIPadOS  Platform = "ipados"
	PlatformWindows Platform = "windows"
)

// Apple reports whether commands for the platform are property lists.
func (p Platform) Apple() bool {
	return p == PlatformDarwin || p == PlatformIOS || p == PlatformIPadOS
}

// Title is the platform's name as its maker writes it.
func (p Platform) Title() string {
	switch p {
	case PlatformDarwin:
		return "macOS"
	case PlatformIOS:
		return "iOS"
	case PlatformIPadOS:
		return "iPadOS"
	case PlatformWindows:
		return "Windows"
	}
	return string(p)
}

// PlatformOfModel derives the platform from an Apple product name or model
// identifier such as "iPhone15,2", "iPad14,1" or "MacBookPro18,3". What is
// neither an iPhone, an iPod nor an iPad is a Mac.
func PlatformOfModel(model string) Platform {
	switch {
	case strings.HasPrefix(model, "iPhone"), strings.HasPrefix(model, "iPod"):
		return PlatformIOS
	case strings.HasPrefix(model, "iPad"):
		return PlatformIPadOS
	}
	return PlatformDarwin
}

// MDMStatus is a host's MDM enrollment as the API shows it. Persisted: append
// only.
type MDMStatus uint8

// MDM enrollment states of a host.
const (
	MDMUnknown   MDMStatus = 0 // never enrolled and nobody assigned it
	MDMOff       MDMStatus = 1
	MDMPending   MDMStatus = 2 // assigned to this server at Apple, not enrolled yet
	MDMManual    MDMStatus = 3
	MDMAutomatic MDMStatus = 4
	MDMPersonal  MDMStatus = 5
)

// String is the spelling of the API; empty when unknown.
func (s MDMStatus) String() string {
	switch s {
	case MDMOff:
		return "Off"
	case MDMPending:
		return "Pending"
	case MDMManual:
		return "On (manual)"
	case MDMAutomatic:
		return "On (automatic)"
	case MDMPersonal:
		return "On (personal)"
	case MDMUnknown:
	}
	return ""
}

// On reports whether the host is enrolled.
func (s MDMStatus) On() bool { return s == MDMManual || s == MDMAutomatic || s == MDMPersonal }

// Host is one computer, phone or tablet. Zero times and empty strings mean
// not known.
type Host struct {
	ID             HostID
	TeamID         TeamID // 0: no team
	UUID           string // the UDID; for user enrollments the EnrollmentID
	HardwareSerial string
	Hostname       string
	ComputerName   string
	Platform       Platform
	HardwareModel  string // "MacBookPro18,3"
	HardwareVendor string
	OSVersion      string // "macOS 15.1", as the API shows it
	Build          string
	PrimaryMAC     string
	// Disk sizes in gigabytes (10^9 bytes); negative: not known.
	DiskTotalGB     float64
	DiskAvailableGB float64
	Supervised      Tri
	MDM             HostMDM

	CreatedAt       time.Time
	UpdatedAt       time.Time
	DetailUpdatedAt time.Time
	LabelUpdatedAt  time.Time
	LastEnrolledAt  time.Time
	SeenAt          time.Time
	RefetchAt       time.Time // when the refetch that is outstanding was asked for; zero: none is
}

// Silent reports whether the host has not answered a refetch for long.
func (h *Host) Silent(now time.Time) bool {
	return !h.RefetchAt.IsZero() && now.Sub(h.RefetchAt) >= SilentAfter
}

// HostMDM is the MDM side of a host.
type HostMDM struct {
	Status        MDMStatus
	ServerURL     string
	EnrolledAt    time.Time
	CheckedInAt   time.Time
	UnenrolledAt  time.Time
	BootstrapHeld bool // a bootstrap token is escrowed
	// Acted says that actions left something behind on the host.
	Acted       bool
	Device      DeviceStatus
	Pending     PendingAction
	ActionError string // why the last lock, unlock or wipe failed
}

// DisplayName is the computer name, else the host name, else model and serial.
func (h *Host) DisplayName() string {
	switch {
	case h.ComputerName != "":
		return h.ComputerName
	case h.Hostname != "":
		return h.Hostname
	case h.HardwareModel != "" && h.HardwareSerial != "":
		return h.HardwareModel + " (" + h.HardwareSerial + ")"
	case h.HardwareSerial != "":
		return h.HardwareSerial
	}
	return h.UUID
}

// Tri is a fact that may be unknown. Persisted: append only.
type Tri uint8

// The three values.
const (
	Unknown Tri = 0
	Yes     Tri = 1
	No      Tri = 2
)

// TriOf turns a known boolean into a Tri.
func TriOf(b bool) Tri {
	if b {
		return Yes
	}
	return No
}

// Vitals are facts that a device told about itself. Nil or empty: not told,
// the stored value stays.
type Vitals struct {
	DeviceName      string
	OSVersion       string // "15.1"
	Build           string
	Model           string // product name such as "iPhone15,2"
	ModelName       string // "iPhone", "MacBook Pro"
	Serial          string
	WiFiMAC         string
	DiskTotalGB     *float64
	DiskAvailableGB *float64
	Supervised      *bool
	Details         VitalDetails
}

// Page asks for one page of a list. Limits are the edge's to check.
type Page struct {
	Number   int // 0-based
	Size     int
	OrderKey string
	Desc     bool
	After    string // value of OrderKey after which to go on; empty: from Number
}

// PageMeta tells whether there is more.
type PageMeta struct {
	HasNext     bool
	HasPrevious bool
}

// HostFilter selects hosts. Zero fields select everything.
type HostFilter struct {
	Page      Page
	Query     string // part of host name, computer name, serial, UUID or MAC address; case is ignored
	Platforms []Platform
	TeamID    *TeamID // 0: hosts without a team
	LabelID   LabelID
	// MDM selects by enrollment; empty: all.
	MDM []MDMStatus
	// SeenAfter and SeenBefore bound the last contact; zero: no bound.
	SeenAfter    time.Time
	SeenBefore   time.Time
	CreatedAfter time.Time
	// Items selects by the worst status of the host's items; 0: all.
	Items ItemStatus
	// ItemUUID and ItemStatus select hosts by what became of one item.
	ItemUUID   string
	ItemStatus ItemStatus
	// Package selects by what became of the bootstrap package; 0: all.
	Package PackageStatus
}

// HostLabel is a label as a host's detail shows it.
type HostLabel struct {
	ID      LabelID
	Name    string
	Builtin bool
}

// HostDetail is a host with what hangs on it.
type HostDetail struct {
	Host
	Labels []HostLabel
	// Enrollments are the MDM channels of the host: the device's first.
	Enrollments []Enrollment
	// PendingCommands counts commands not answered yet on all channels.
	PendingCommands int
	Vitals          VitalDetails
	// RefetchFault is why the device refused a part of the last refetch.
	RefetchFault string
	// Package is the bootstrap package of the newest enrollment; nil: none.
	Package *HostPackage
}

// HostRef names a host for other records.
type HostRef struct {
	ID       HostID
	UUID     string
	Serial   string
	Hostname string
	Platform Platform
	TeamID   TeamID
	MDM      MDMStatus
}

// BuiltinLabel is a label whose membership Muster itself keeps.
type BuiltinLabel string

// Built-in labels that follow from the platform.
const (
	LabelAllHosts BuiltinLabel = "All Hosts"
	LabelMacOS    BuiltinLabel = "macOS"
	LabelIOS      BuiltinLabel = "iOS"
	LabelIPadOS   BuiltinLabel = "iPadOS"
)

// BuiltinLabelsOf lists the built-in labels a host of the platform belongs to.
func BuiltinLabelsOf(p Platform) []BuiltinLabel {
	switch p {
	case PlatformDarwin:
		return []BuiltinLabel{LabelAllHosts, LabelMacOS}
	case PlatformIOS:
		return []BuiltinLabel{LabelAllHosts, LabelIOS}
	case PlatformIPadOS:
		return []BuiltinLabel{LabelAllHosts, LabelIPadOS}
	case PlatformWindows:
		return []BuiltinLabel{LabelAllHosts}
	}
	return []BuiltinLabel{LabelAllHosts}
}

// Apply puts what a device told about itself into the host record. A name
// that people see follows the device's own; a serial is filled in, never
// changed.
func (h *Host) Apply(v *Vitals, at time.Time) {
	h.applyTexts(v)
	if v.Supervised != nil {
		h.Supervised = TriOf(*v.Supervised)
	}
	if v.DiskTotalGB != nil {
		h.DiskTotalGB = *v.DiskTotalGB
	}
	if v.DiskAvailableGB != nil {
		h.DiskAvailableGB = *v.DiskAvailableGB
	}
	h.DetailUpdatedAt = at
}

func (h *Host) applyTexts(v *Vitals) {
	set := func(field *string, value string) {
		if value != "" {
			*field = value
		}
	}
	set(&h.ComputerName, v.DeviceName)
	set(&h.Hostname, v.DeviceName)
	set(&h.Build, v.Build)
	if v.Model != "" {
		h.HardwareModel = v.Model
		h.Platform = PlatformOfModel(v.Model)
	}
	set(&h.PrimaryMAC, v.WiFiMAC)
	if h.HardwareSerial == "" && h.MDM.Status != MDMPersonal { // a person's device is known by its enrollment only
		set(&h.HardwareSerial, v.Serial)
	}
	if v.OSVersion != "" {
		h.OSVersion = h.Platform.Title() + " " + v.OSVersion
	}
}

// IDPrefix begins an identifier that is a host's key, as id:14: the way to name
// one of several hosts with one serial number.
const IDPrefix = "id:"

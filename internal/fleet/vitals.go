package fleet

import "time"

// VitalDetails are facts about a host that only its detail shows. Empty, nil
// and Unknown: not known.
type VitalDetails struct {
	ModelName    string // "MacBook Pro"
	ModelNumber  string // "MNXP3LL/A"
	BluetoothMAC string
	EthernetMAC  string
	TimeZone     string // "Europe/Berlin"
	IMEI         string
	MEID         string
	// BatteryLevel is the charge, 0 to 1.
	BatteryLevel *float64
	// BatteryHealth is the device's word: "normal", "service-recommended",
	// "non-genuine", "unsupported".
	BatteryHealth string
	SecureBoot    string // "full", "medium", "off"
	// Update is what the device says of a software update; nil: nothing yet.
	Update *SoftwareUpdate

	LostMode          Tri
	ActivationLock    Tri
	FindMy            Tri
	CloudBackup       Tri
	PasscodePresent   Tri
	PasscodeCompliant Tri
	FileVault         Tri
	Firewall          Tri
	SIP               Tri // system integrity protection
	RecoveryLock      Tri
}

// SoftwareUpdate is the state of an update of the operating system.
type SoftwareUpdate struct {
	State   string // "none", "waiting", "downloading", "prepared", "installing"
	Version string // that is pending; empty: none
	Failure string // of the last try; empty: none
}

// Learn takes over what is known in news, and reports whether that changed
// anything.
func (d *VitalDetails) Learn(news *VitalDetails) bool {
	before := *d
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&d.ModelName, news.ModelName}, {&d.ModelNumber, news.ModelNumber}, {&d.BluetoothMAC, news.BluetoothMAC},
		{&d.EthernetMAC, news.EthernetMAC}, {&d.TimeZone, news.TimeZone}, {&d.IMEI, news.IMEI}, {&d.MEID, news.MEID},
		{&d.BatteryHealth, news.BatteryHealth}, {&d.SecureBoot, news.SecureBoot},
	} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	from := news.truths()
	for i, to := range d.truths() {
		if *from[i] != Unknown {
			*to = *from[i]
		}
	}
	level, update := before.BatteryLevel, before.Update
	changed := false
	if news.BatteryLevel != nil {
		changed = level == nil || *level != *news.BatteryLevel
		d.BatteryLevel = news.BatteryLevel
	}
	if news.Update != nil {
		changed = changed || update == nil || *update != *news.Update
		d.Update = news.Update
	}
	after := *d
	before.BatteryLevel, before.Update, after.BatteryLevel, after.Update = nil, nil, nil, nil
	return changed || before != after
}

// truths are the facts that are yes, no or unknown.
func (d *VitalDetails) truths() []*Tri {
	return []*Tri{&d.LostMode, &d.ActivationLock, &d.FindMy, &d.CloudBackup, &d.PasscodePresent, &d.PasscodeCompliant, &d.FileVault,
		&d.Firewall, &d.SIP, &d.RecoveryLock}
}

// RefetchParts are parts of what a host is asked for, each by a command of its
// own. Persisted: append only.
type RefetchParts uint8

// Parts of a refetch.
const (
	RefetchDevice       RefetchParts = 1 // DeviceInformation
	RefetchApps         RefetchParts = 2 // InstalledApplicationList
	RefetchCertificates RefetchParts = 4 // CertificateList
	RefetchSecurity     RefetchParts = 8 // SecurityInfo
)

// SilentAfter is how long a host that was asked for its vitals may take to
// answer until it counts as silent and is asked anew.
const SilentAfter = 24 * time.Hour

// Inventory is what one answer told about a host. Parts that are nil were not
// told.
type Inventory struct {
	Vitals       *Vitals
	Software     *SoftwareList
	Certificates *CertificateList
}

// Software is a version of a title.
type Software struct {
	ID       SoftwareID
	Name     string
	Version  string
	BundleID string
	Source   string // "apps", "ios_apps", "ipados_apps"
}

// SoftwareSource is where titles of a platform come from, in the API's words.
func SoftwareSource(p Platform) string {
	switch p {
	case PlatformIOS:
		return "ios_apps"
	case PlatformIPadOS:
		return "ipados_apps"
	case PlatformDarwin, PlatformWindows:
	}
	return "apps"
}

// SoftwareList is all the software of a host. Equal lists have equal hashes.
type SoftwareList struct {
	SHA256 [32]byte
	Items  []Software // sorted and without repetitions; without ID and Source
}

// HostCertificate is a certificate in a host's keychain.
type HostCertificate struct {
	SHA256     [32]byte
	CommonName string
	HasKey     bool // an identity: the host has the private key
	NotAfter   time.Time
	DER        []byte
}

// CertificateList is all the certificates of a host. Equal lists have equal
// hashes.
type CertificateList struct {
	SHA256 [32]byte
	Items  []HostCertificate // sorted by SHA256 and without repetitions
}

// SoftwareFilter selects software of one host, or of all.
type SoftwareFilter struct {
	Page   Page
	HostID HostID // 0: of all hosts
	Query  string // part of a name or bundle identifier; case is ignored
	// WithHosts counts the hosts of each version.
	WithHosts bool
}

// SoftwareVersion is a version of a title with the number of its hosts.
type SoftwareVersion struct {
	Software
	Hosts int // only where asked for
}

// RefetchFacts are what decides about a refetch of a host.
type RefetchFacts struct {
	Host         HostRef
	EnrollmentID EnrollmentID // of the device channel that is on; 0: none
	Personal     bool         // a User Enrollment
	DueAt        time.Time
	AskedAt      time.Time // of the refetch that is outstanding; zero: none is
	DetailsAt    time.Time // when vitals last came
	EnrolledAt   time.Time
}

// RefetchAsk is the decision about one host.
type RefetchAsk struct {
	Facts RefetchFacts
	// Commands are queued in order, each stored once for all hosts. None: the
	// device is only woken.
	Commands []*Command
	Parts    RefetchParts
	// Period is the pause after the device has answered everything.
	Period time.Duration
	// RetryAt is when it is asked anew if it does not answer.
	RetryAt time.Time
}

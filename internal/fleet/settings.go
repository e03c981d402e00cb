package fleet

import "time"

// Settings is the organization's configuration that people change through the
// API, as opposed to the process configuration.
type Settings struct {
	OrgName    string
	OrgLogoURL string
	// OrgLogoURLLight is for light backgrounds.
	OrgLogoURLLight string
	ContactURL      string
	ServerURL       string // https://host[:port][/prefix], no trailing slash
	// AppleServerURL replaces ServerURL in Apple enrollment profiles when set.
	AppleServerURL string
	// NoTeam are the settings of hosts without a team.
	NoTeam TeamSettings
	// Brake bounds what one person can do to hosts.
	Brake BrakePolicy
	// Log is how long the event log reaches back.
	Log       LogPolicy
	UpdatedAt time.Time
}

// Days that the event log is kept.
const (
	DefaultLogDays = 400 // a year's audit finds its year
	MinLogDays     = 30  // whoever changes the policy does not hide what they did
	MaxLogDays     = 36_500
)

// LogPolicy is how long the event log reaches back. The zero policy keeps
// DefaultLogDays.
type LogPolicy struct {
	Forever bool
	Days    int // 0: DefaultLogDays
}

// Window is the number of days that are kept, also where Forever switches it
// off.
func (p LogPolicy) Window() int {
	if p.Days == 0 {
		return DefaultLogDays
	}
	return p.Days
}

// Begin is when the log begins that is to be kept; false: nothing goes.
func (p LogPolicy) Begin(now time.Time) (time.Time, bool) {
	return now.AddDate(0, 0, -p.Window()), !p.Forever
}

// AppleBase is the URL Apple devices are told to use.
func (s Settings) AppleBase() string {
	if s.AppleServerURL != "" {
		return s.AppleServerURL
	}
	return s.ServerURL
}

// PushCertificate is the APNs certificate for MDM without its key.
type PushCertificate struct {
	Topic      string // UID attribute of the subject: com.apple.mgmt.External.<uuid>
	CommonName string
	SerialHex  string
	Issuer     string
	NotBefore  time.Time
	NotAfter   time.Time
	CertPEM    []byte
	UploadedAt time.Time
	// Version grows with every upload, so that connections know to reload.
	Version int64
}

// AssetName names a sealed secret of the server. Persisted by name.
type AssetName string

// Assets of the server.
const (
	AssetCACert     AssetName = "ca_cert"
	AssetCAKey      AssetName = "ca_key"
	AssetPushCert   AssetName = "apns_cert"
	AssetPushKey    AssetName = "apns_key"
	AssetPushCSRKey AssetName = "apns_csr_key" // key of the last requested CSR
	AssetDEPCert    AssetName = "abm_cert"     // server tokens are encrypted to it
	AssetDEPKey     AssetName = "abm_key"
)

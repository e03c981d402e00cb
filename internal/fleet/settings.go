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
	Brake     BrakePolicy
	UpdatedAt time.Time
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

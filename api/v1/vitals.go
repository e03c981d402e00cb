package apiv1

import "time"

// Software is a version of a title, as a host's detail lists it.
type Software struct {
	ID               int64    `json:"id"`
	Name             string   `json:"name"`
	Version          string   `json:"version"`
	BundleIdentifier string   `json:"bundle_identifier,omitempty"`
	Source           string   `json:"source" doc:"apps, ios_apps or ipados_apps"`
	Browser          string   `json:"browser" doc:"Always empty"`
	GeneratedCPE     string   `json:"generated_cpe" doc:"Always empty"`
	Vulnerabilities  []string `json:"vulnerabilities" nullable:"false" doc:"Always empty"`
	InstalledPaths   []string `json:"installed_paths" nullable:"false" doc:"Always empty: devices do not tell"`
}

// HostSoftware is a title on a host.
type HostSoftware struct {
	ID                int64              `json:"id"`
	Name              string             `json:"name"`
	Source            string             `json:"source" doc:"apps, ios_apps or ipados_apps"`
	Status            *string            `json:"status" doc:"Always null: nothing is being installed by Muster"`
	InstalledVersions []InstalledVersion `json:"installed_versions" nullable:"false"`
	SoftwarePackage   *string            `json:"software_package" doc:"Always null"`
	AppStoreApp       *string            `json:"app_store_app" doc:"Always null"`
}

// InstalledVersion is a version of a title that a host has.
type InstalledVersion struct {
	Version          string     `json:"version"`
	BundleIdentifier string     `json:"bundle_identifier"`
	LastOpenedAt     *time.Time `json:"last_opened_at" doc:"Always null: devices do not tell"`
	Vulnerabilities  []string   `json:"vulnerabilities" nullable:"false" doc:"Always empty"`
	InstalledPaths   []string   `json:"installed_paths" nullable:"false" doc:"Always empty: devices do not tell"`
}

// HostSoftwareResponse lists the software of a host.
type HostSoftwareResponse struct {
	Count    int            `json:"count"`
	Software []HostSoftware `json:"software" nullable:"false"`
	Meta     Meta           `json:"meta"`
}

// SoftwareVersion is a version of a title with the number of its hosts.
type SoftwareVersion struct {
	Software
	HostsCount int `json:"hosts_count"`
}

// SoftwareVersionsResponse lists the software of all hosts.
type SoftwareVersionsResponse struct {
	CountsUpdatedAt time.Time         `json:"counts_updated_at" doc:"Now: hosts are counted when asked"`
	Count           int               `json:"count"`
	Software        []SoftwareVersion `json:"software" nullable:"false"`
	Meta            Meta              `json:"meta"`
}

// HostCertificate is a certificate in a host's keychain. What cannot be read
// of it is empty or null.
type HostCertificate struct {
	ID                   int64           `json:"id" doc:"A number made from the certificate's SHA-256"`
	NotValidAfter        *time.Time      `json:"not_valid_after"`
	NotValidBefore       *time.Time      `json:"not_valid_before"`
	CertificateAuthority bool            `json:"certificate_authority"`
	CommonName           string          `json:"common_name"`
	KeyAlgorithm         string          `json:"key_algorithm"`
	KeyStrength          int             `json:"key_strength" doc:"Bits"`
	KeyUsage             string          `json:"key_usage"`
	Serial               string          `json:"serial" doc:"Hexadecimal"`
	SigningAlgorithm     string          `json:"signing_algorithm"`
	Subject              CertificateName `json:"subject"`
	Issuer               CertificateName `json:"issuer"`
	Source               string          `json:"source" doc:"Always system"`
	Username             string          `json:"username" doc:"Always empty"`
	// What follows is Muster's own.
	SHA256   string `json:"sha256" doc:"Hexadecimal"`
	Identity bool   `json:"is_identity" doc:"The host has the private key"`
}

// CertificateName is a subject or issuer.
type CertificateName struct {
	Country            string `json:"country"`
	Organization       string `json:"organization"`
	OrganizationalUnit string `json:"organizational_unit"`
	CommonName         string `json:"common_name"`
}

// HostCertificatesResponse lists the certificates of a host.
type HostCertificatesResponse struct {
	Count        int               `json:"count"`
	Certificates []HostCertificate `json:"certificates" nullable:"false"`
	Meta         Meta              `json:"meta"`
}

// Battery is a battery of a host.
type Battery struct {
	CycleCount *int     `json:"cycle_count" doc:"Always null: devices do not tell"`
	Health     string   `json:"health" doc:"The device's word: normal, service-recommended, non-genuine, unsupported; empty: not known"`
	Level      *float64 `json:"level" doc:"Charge, 0 to 1; null: not known"`
}

// HostVitals are facts that only a host's detail shows. Null and empty: not
// known, which is not no.
type HostVitals struct {
	ModelName         string  `json:"model_name"`
	ModelNumber       string  `json:"model_number"`
	BluetoothMAC      string  `json:"bluetooth_mac"`
	EthernetMAC       string  `json:"ethernet_mac"`
	TimeZone          string  `json:"time_zone"`
	IMEI              string  `json:"imei"`
	MEID              string  `json:"meid"`
	Supervised        *bool   `json:"supervised"`
	LostMode          *bool   `json:"lost_mode"`
	ActivationLock    *bool   `json:"activation_lock"`
	FindMy            *bool   `json:"find_my"`
	CloudBackup       *bool   `json:"cloud_backup"`
	PasscodePresent   *bool   `json:"passcode_present"`
	PasscodeCompliant *bool   `json:"passcode_compliant"`
	FileVault         *bool   `json:"filevault"`
	Firewall          *bool   `json:"firewall"`
	SIP               *bool   `json:"system_integrity_protection"`
	RecoveryLock      *bool   `json:"recovery_lock"`
	SecureBoot        string  `json:"secure_boot"`
	UpdateState       *string `json:"software_update_state" doc:"none, waiting, downloading, prepared or installing"`
	UpdateVersion     *string `json:"software_update_version" doc:"The version that is pending; empty: none"`
	UpdateFailure     *string `json:"software_update_failure" doc:"Of the last try; empty: none"`
	RefetchFault      string  `json:"refetch_fault" doc:"Why the device refused a part of the last refetch"`
}

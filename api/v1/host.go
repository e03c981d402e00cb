package apiv1

import "time"

// Never is the time that stands for "not yet" where clients expect a time.
func Never() time.Time { return time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC) }

// Host is a computer, phone or tablet. Keys that Muster has no facts for yet
// are empty, zero or null, because clients expect them.
type Host struct {
	ID               int64      `json:"id"`
	CreatedAt        time.Time  `json:"created_at"`
	UpdatedAt        time.Time  `json:"updated_at"`
	DetailUpdatedAt  time.Time  `json:"detail_updated_at"`
	LabelUpdatedAt   time.Time  `json:"label_updated_at"`
	PolicyUpdatedAt  time.Time  `json:"policy_updated_at"`
	LastEnrolledAt   time.Time  `json:"last_enrolled_at"`
	SeenTime         time.Time  `json:"seen_time" doc:"Last contact of any kind"`
	LastRestartedAt  time.Time  `json:"last_restarted_at"`
	RefetchRequested bool       `json:"refetch_requested"`
	RefetchCritical  *time.Time `json:"refetch_critical_queries_until"`

	Hostname       string `json:"hostname"`
	ComputerName   string `json:"computer_name"`
	DisplayName    string `json:"display_name"`
	DisplayText    string `json:"display_text"`
	UUID           string `json:"uuid" doc:"The hardware UUID or UDID"`
	Platform       string `json:"platform" doc:"darwin, ios, ipados or windows"`
	PlatformLike   string `json:"platform_like"`
	OSVersion      string `json:"os_version" doc:"Such as macOS 15.1"`
	Build          string `json:"build"`
	CodeName       string `json:"code_name"`
	OsqueryVersion string `json:"osquery_version"`

	OrbitVersion        *string `json:"orbit_version"`
	FleetDesktopVersion *string `json:"fleet_desktop_version"`
	ScriptsEnabled      *bool   `json:"scripts_enabled"`

	Uptime           int64  `json:"uptime" doc:"Nanoseconds"`
	Memory           int64  `json:"memory" doc:"Bytes"`
	CPUType          string `json:"cpu_type"`
	CPUSubtype       string `json:"cpu_subtype"`
	CPUBrand         string `json:"cpu_brand"`
	CPUPhysicalCores int    `json:"cpu_physical_cores"`
	CPULogicalCores  int    `json:"cpu_logical_cores"`
	HardwareVendor   string `json:"hardware_vendor"`
	HardwareModel    string `json:"hardware_model"`
	HardwareVersion  string `json:"hardware_version"`
	HardwareSerial   string `json:"hardware_serial"`
	PublicIP         string `json:"public_ip"`
	PrimaryIP        string `json:"primary_ip"`
	PrimaryMAC       string `json:"primary_mac"`

	DistributedInterval int `json:"distributed_interval"`
	ConfigTLSRefresh    int `json:"config_tls_refresh"`
	LoggerTLSPeriod     int `json:"logger_tls_period"`

	TeamID   *int64  `json:"team_id"`
	TeamName *string `json:"team_name"`

	GigsDiskSpaceAvailable    float64 `json:"gigs_disk_space_available"`
	PercentDiskSpaceAvailable float64 `json:"percent_disk_space_available"`
	GigsTotalDiskSpace        float64 `json:"gigs_total_disk_space"`
	GigsAllDiskSpace          float64 `json:"gigs_all_disk_space"`
	DiskEncryptionEnabled     *bool   `json:"disk_encryption_enabled"`

	DEPAssigned   *bool      `json:"dep_assigned_to_fleet"`
	Status        string     `json:"status" enum:"online,offline,mia,new" doc:"From the last contact: online within an hour, mia after 30 days, new: not heard of yet"`
	Issues        HostIssues `json:"issues"`
	DeviceMapping *[]string  `json:"device_mapping"`
	MDM           HostMDM    `json:"mdm"`
}

// HostIssues counts what needs attention.
type HostIssues struct {
	FailingPoliciesCount         int `json:"failing_policies_count"`
	CriticalVulnerabilitiesCount int `json:"critical_vulnerabilities_count"`
	TotalIssuesCount             int `json:"total_issues_count"`
}

// HostMDM is the MDM side of a host.
type HostMDM struct {
	EnrollmentStatus       *string        `json:"enrollment_status" doc:"On (manual), On (automatic), On (personal), Pending, Off or null"`
	ServerURL              *string        `json:"server_url"`
	Name                   string         `json:"name" doc:"Fleet stands for this server, as clients expect"`
	ConnectedToFleet       *bool          `json:"connected_to_fleet" doc:"Enrolled in this server"`
	EncryptionKeyAvailable bool           `json:"encryption_key_available"`
	EncryptionKeyArchived  *bool          `json:"encryption_key_archived"`
	DEPProfileError        bool           `json:"dep_profile_error"`
	DeviceStatus           string         `json:"device_status" doc:"unlocked, locked or wiped"`
	PendingAction          string         `json:"pending_action" doc:"lock, unlock, wipe or empty"`
	ActionError            string         `json:"action_error,omitempty" doc:"Why the last lock, unlock or wipe failed"`
	MacOSSettings          *MacOSSettings `json:"macos_settings"`
	MacOSSetup             *MacOSSetup    `json:"macos_setup"`
	OSSettings             *OSSettings    `json:"os_settings"`
	Profiles               []HostProfile  `json:"profiles" nullable:"false"`
	IsPersonalEnrollment   bool           `json:"is_personal_enrollment"`
	BootstrapTokenEscrowed bool           `json:"bootstrap_token_escrowed"`
	// What follows is Muster's own.
	RefetchOutstandingSince *time.Time `json:"refetch_outstanding_since" doc:"Since when the device owes answers to a refetch; null: none is outstanding"`
	Silent                  bool       `json:"silent" doc:"It has not answered a refetch for a day: switched off, lost, or without network"`
}

// MacOSSettings is the state of disk encryption on a Mac.
type MacOSSettings struct {
	DiskEncryption *string `json:"disk_encryption"`
	ActionRequired *string `json:"action_required"`
}

// MacOSSetup is the state of the bootstrap package on a Mac.
type MacOSSetup struct {
	BootstrapPackageStatus string `json:"bootstrap_package_status"`
	Details                string `json:"details"`
	BootstrapPackageName   string `json:"bootstrap_package_name"`
}

// OSSettings is the state of settings that every platform has.
type OSSettings struct {
	DiskEncryption OSDiskEncryption `json:"disk_encryption"`
}

// OSDiskEncryption is the state of disk encryption.
type OSDiskEncryption struct {
	Status *string `json:"status"`
	Detail string  `json:"detail"`
}

// HostProfile is a configuration profile on a host.
type HostProfile struct {
	ProfileUUID   string `json:"profile_uuid"`
	Name          string `json:"name"`
	Status        string `json:"status" doc:"pending, verifying, verified or failed"`
	OperationType string `json:"operation_type" doc:"install or remove"`
	Detail        string `json:"detail" doc:"The device's words, or why nothing was sent"`
	Platform      string `json:"platform"`
	Scope         string `json:"scope" doc:"device or user: the MDM channel it goes through"`
	// ManagedLocalAccount is always empty: Muster makes no accounts.
	ManagedLocalAccount string `json:"managed_local_account"`
	// What follows is Muster's own.
	Identifier    string     `json:"identifier"`
	NextAttemptAt *time.Time `json:"next_attempt_at" doc:"When something happens again without a word from the device"`
	UpdatedAt     time.Time  `json:"updated_at"`
}

// HostDetail is a host with what hangs on it.
type HostDetail struct {
	Host
	Labels             []HostLabel `json:"labels" nullable:"false"`
	Packs              []string    `json:"packs" nullable:"false"`
	Policies           []string    `json:"policies" nullable:"false"`
	Software           []Software  `json:"software" nullable:"false" doc:"At most 10,000; none with exclude_software"`
	Users              []string    `json:"users" nullable:"false"`
	Batteries          []Battery   `json:"batteries" nullable:"false" doc:"Empty where nothing is known of a battery"`
	EndUsers           []string    `json:"end_users" nullable:"false"`
	LastMDMEnrolledAt  *time.Time  `json:"last_mdm_enrolled_at"`
	LastMDMCheckedInAt *time.Time  `json:"last_mdm_checked_in_at"`
	MaintenanceWindow  *string     `json:"maintenance_window"`
	Geolocation        *string     `json:"geolocation"`
	// What follows is Muster's own.
	Enrollments     []HostEnrollment `json:"enrollments" nullable:"false" doc:"MDM channels of the host, the device's first"`
	PendingCommands int              `json:"pending_commands" doc:"Commands without an answer on all channels"`
	Vitals          HostVitals       `json:"vitals"`
}

// HostLabel is a label of a host.
type HostLabel struct {
	ID        int64  `json:"id"`
	Name      string `json:"name"`
	LabelType string `json:"label_type" enum:"builtin,regular"`
}

// HostEnrollment is one MDM channel of a host.
type HostEnrollment struct {
	Channel        string     `json:"channel" enum:"device,user" doc:"Whether it speaks for the device or for one user"`
	ID             string     `json:"id" doc:"The protocol's enrollment identifier"`
	State          string     `json:"state" enum:"none,pending,on,off"`
	UserName       string     `json:"user_name,omitempty"`
	EnrolledAt     *time.Time `json:"enrolled_at"`
	SeenAt         *time.Time `json:"seen_at"`
	TokenUpdatedAt *time.Time `json:"token_updated_at"`
	PushBrokenAt   *time.Time `json:"push_broken_at" doc:"Since when Apple refuses the push token"`
	PushReason     string     `json:"push_reason,omitempty"`
}

// HostsResponse lists hosts.
type HostsResponse struct {
	Hosts []Host `json:"hosts" nullable:"false"`
	Meta  Meta   `json:"meta"`
}

// HostResponse is one host.
type HostResponse struct {
	Host HostDetail `json:"host"`
}

// CountResponse is a number of rows.
type CountResponse struct {
	Count int `json:"count"`
}

// HostMDMResponse is the MDM enrollment of a host; null when there is none.
type HostMDMResponse struct {
	EnrollmentStatus string `json:"enrollment_status"`
	ServerURL        string `json:"server_url"`
	Name             string `json:"name"`
	ID               *int64 `json:"id"`
}

package apiv1

import "time"

// Config is the organization's configuration. PATCH takes any part of it;
// read-only keys may be sent back and change nothing.
type Config struct {
	OrgInfo        OrgInfo        `json:"org_info"`
	ServerSettings ServerSettings `json:"server_settings"`
	MDM            MDMConfig      `json:"mdm"`
	License        License        `json:"license"`
	ActivityExpiry ActivityExpiry `json:"activity_expiry_settings"`
}

// ActivityExpiry is how long the event log reaches back.
type ActivityExpiry struct {
	Enabled bool `json:"activity_expiry_enabled" doc:"Older entries of the event log are deleted; false keeps them for ever"`
	Window  int  `json:"activity_expiry_window" doc:"Days that are kept, from 30"`
}

// OrgInfo is about the organization.
type OrgInfo struct {
	OrgName         string `json:"org_name"`
	OrgLogoURL      string `json:"org_logo_url"`
	OrgLogoURLLight string `json:"org_logo_url_light_background"`
	ContactURL      string `json:"contact_url"`
}

// ServerSettings is about the server. Only ServerURL can be changed.
type ServerSettings struct {
	ServerURL            string `json:"server_url"`
	LiveQueryDisabled    bool   `json:"live_query_disabled" doc:"Read-only"`
	EnableAnalytics      bool   `json:"enable_analytics" doc:"Read-only"`
	DeferredSaveHost     bool   `json:"deferred_save_host" doc:"Read-only"`
	QueryReportsDisabled bool   `json:"query_reports_disabled" doc:"Read-only"`
	ScriptsDisabled      bool   `json:"scripts_disabled" doc:"Read-only"`
	AIFeaturesDisabled   bool   `json:"ai_features_disabled" doc:"Read-only"`
}

// MDMConfig is about MDM. AppleServerURL and Brake can be changed, and the
// updates, which are those of hosts without a team.
type MDMConfig struct {
	MacOSUpdates                 OSUpdates       `json:"macos_updates" doc:"Enforced macOS version of hosts without a team"`
	IOSUpdates                   OSUpdates       `json:"ios_updates" doc:"Enforced iOS version of hosts without a team"`
	IPadOSUpdates                OSUpdates       `json:"ipados_updates" doc:"Enforced iPadOS version of hosts without a team"`
	MacOSSetup                   SetupExperience `json:"macos_setup" doc:"What happens in Setup Assistant to hosts without a team, iPhones and iPads as well"`
	Brake                        Brake           `json:"brake" doc:"Limits of what one person can do to hosts"`
	AppleServerURL               string          `json:"apple_server_url" doc:"Replaces server_url in Apple enrollment profiles"`
	EnabledAndConfigured         bool            `json:"enabled_and_configured" doc:"Read-only: a push certificate is present"`
	AppleBMEnabledAndConfigured  bool            `json:"apple_bm_enabled_and_configured" doc:"Read-only"`
	AppleBMTermsExpired          bool            `json:"apple_bm_terms_expired" doc:"Read-only"`
	WindowsEnabledAndConfigured  bool            `json:"windows_enabled_and_configured" doc:"Read-only"`
	AndroidEnabledAndConfigured  bool            `json:"android_enabled_and_configured" doc:"Read-only"`
	EnableDiskEncryption         bool            `json:"enable_disk_encryption" doc:"Read-only"`
	WindowsMigrationEnabled      bool            `json:"windows_migration_enabled" doc:"Read-only"`
	EnableTurnOnWindowsMDMManual bool            `json:"enable_turn_on_windows_mdm_manually" doc:"Read-only"`
	WindowsRequireBitLockerPIN   bool            `json:"windows_require_bitlocker_pin" doc:"Read-only"`
	AppleBMDefaultTeam           string          `json:"apple_bm_default_team" doc:"Read-only"`
	// AppleBusinessManager is set where the server tokens are.
	AppleBusinessManager []BusinessManager `json:"apple_business_manager" nullable:"false" doc:"Read-only: the server tokens, and the teams that new devices join"`
}

// BusinessManager is a server token by the name of its organization.
type BusinessManager struct {
	OrganizationName string `json:"organization_name"`
	MacOSTeam        string `json:"macos_team"`
	IOSTeam          string `json:"ios_team"`
	IPadOSTeam       string `json:"ipados_team"`
}

// License tells clients that everything is there. Read-only.
type License struct {
	Tier         string    `json:"tier"`
	Organization string    `json:"organization"`
	DeviceCount  int       `json:"device_count"`
	Expiration   time.Time `json:"expiration"`
	Note         string    `json:"note"`
}

// ConfigPatch is a part of Config: nil fields stay as they are.
type ConfigPatch struct {
	OrgInfo        *OrgInfoPatch        `json:"org_info,omitempty"`
	ServerSettings *ServerSettingsPatch `json:"server_settings,omitempty"`
	MDM            *MDMConfigPatch      `json:"mdm,omitempty"`
	ActivityExpiry *ActivityExpiryPatch `json:"activity_expiry_settings,omitempty"`
}

// ActivityExpiryPatch is a part of ActivityExpiry.
type ActivityExpiryPatch struct {
	Enabled *bool `json:"activity_expiry_enabled,omitempty"`
	Window  *int  `json:"activity_expiry_window,omitempty"`
}

// OrgInfoPatch is a part of OrgInfo.
type OrgInfoPatch struct {
	OrgName         *string `json:"org_name,omitempty"`
	OrgLogoURL      *string `json:"org_logo_url,omitempty"`
	OrgLogoURLLight *string `json:"org_logo_url_light_background,omitempty"`
	ContactURL      *string `json:"contact_url,omitempty"`
}

// ServerSettingsPatch is a part of ServerSettings.
type ServerSettingsPatch struct {
	ServerURL *string `json:"server_url,omitempty"`
}

// MDMConfigPatch is a part of MDMConfig.
type MDMConfigPatch struct {
	Brake          *BrakePatch           `json:"brake,omitempty"`
	MacOSUpdates   *OSUpdates            `json:"macos_updates,omitempty"`
	IOSUpdates     *OSUpdates            `json:"ios_updates,omitempty"`
	IPadOSUpdates  *OSUpdates            `json:"ipados_updates,omitempty"`
	AppleServerURL *string               `json:"apple_server_url,omitempty"`
	MacOSSetup     *SetupExperiencePatch `json:"macos_setup,omitempty"`
}

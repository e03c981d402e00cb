package apiv1

import (
	"encoding/json"
	"time"
)

// ServerToken is a server token of Apple Business Manager or Apple School
// Manager.
type ServerToken struct {
	ID           int64          `json:"id"`
	AppleID      string         `json:"apple_id" doc:"Who made the server at Apple"`
	OrgName      string         `json:"org_name"`
	MDMServerURL string         `json:"mdm_server_url" doc:"Where the token's devices enroll"`
	RenewDate    time.Time      `json:"renew_date" doc:"When it expires: download a new one from Apple before"`
	TermsExpired bool           `json:"terms_expired" doc:"Somebody must sign Apple's new terms"`
	MacOSTeam    ServerTeam     `json:"macos_team" doc:"Joined by new Macs"`
	IOSTeam      ServerTeam     `json:"ios_team" doc:"Joined by new iPhones"`
	IPadOSTeam   ServerTeam     `json:"ipados_team" doc:"Joined by new iPads"`
	ServerName   string         `json:"server_name" doc:"Name of the server at Apple"`
	ServerUUID   string         `json:"server_uuid" doc:"Apple's key of the server"`
	CreatedAt    time.Time      `json:"created_at"`
	Sync         ServerSyncInfo `json:"sync" doc:"Muster's own: where reading the devices stands"`
}

// ServerTeam is a team that new devices join.
type ServerTeam struct {
	TeamID int64  `json:"team_id" doc:"0: no team"`
	Name   string `json:"name"`
}

// ServerSyncInfo is where syncing with Apple stands.
type ServerSyncInfo struct {
	Phase        string     `json:"phase" enum:"fetch,sweep,sync" doc:"fetch and sweep: the full list is read anew; sync: changes are followed"`
	LastSyncedAt *time.Time `json:"last_synced_at" doc:"Apple last said that there is nothing more"`
	LastFullAt   *time.Time `json:"last_full_at" doc:"The full list was last read to its end"`
	NextAt       *time.Time `json:"next_at" doc:"Nothing is asked before; null: at the next round"`
	Error        string     `json:"error" doc:"What is wrong and what to do; empty: it works"`
}

// ServerTokensResponse lists server tokens. Both names hold the same.
type ServerTokensResponse struct {
	ABMTokens []ServerToken `json:"abm_tokens" nullable:"false"`
	ABTokens  []ServerToken `json:"ab_tokens" nullable:"false"`
}

// ServerTokenResponse is one server token. Both names hold the same.
type ServerTokenResponse struct {
	ABMToken ServerToken `json:"abm_token"`
	ABToken  ServerToken `json:"ab_token"`
}

// ServerTokenTeams says which teams new devices join, all three at once: null,
// 0 and a key that is not sent mean no team.
type ServerTokenTeams struct {
	MacOSTeamID   *int64 `json:"macos_team_id,omitempty" nullable:"true"`
	IOSTeamID     *int64 `json:"ios_team_id,omitempty" nullable:"true"`
	IPadOSTeamID  *int64 `json:"ipados_team_id,omitempty" nullable:"true"`
	MacOSFleetID  *int64 `json:"macos_fleet_id,omitempty" nullable:"true" doc:"The newer name of macos_team_id"`
	IOSFleetID    *int64 `json:"ios_fleet_id,omitempty" nullable:"true" doc:"The newer name of ios_team_id"`
	IPadOSFleetID *int64 `json:"ipados_fleet_id,omitempty" nullable:"true" doc:"The newer name of ipados_team_id"`
}

// AppleBM is the one server token, in the shape that older clients read.
type AppleBM struct {
	AppleID      string    `json:"apple_id"`
	OrgName      string    `json:"org_name"`
	MDMServerURL string    `json:"mdm_server_url"`
	RenewDate    time.Time `json:"renew_date"`
	DefaultTeam  string    `json:"default_team"`
}

// PublicKeyResponse is the certificate to upload at Apple.
type PublicKeyResponse struct {
	PublicKey []byte `json:"public_key" doc:"Base64 of the certificate in PEM form"`
}

// DEPDevice is a device of a server token.
type DEPDevice struct {
	SerialNumber  string `json:"serial_number"`
	Model         string `json:"model"`
	Description   string `json:"description"`
	Color         string `json:"color"`
	AssetTag      string `json:"asset_tag"`
	DeviceFamily  string `json:"device_family"`
	OS            string `json:"os"`
	ProfileStatus string `json:"profile_status" doc:"Apple's word: empty, assigned, pushed or removed"`
	ProfileUUID   string `json:"profile_uuid" doc:"The enrollment profile that Apple hands it"`

	ServerTokenID int64  `json:"abm_token_id" doc:"Muster's own, as all that follows"`
	HostID        *int64 `json:"host_id"`
	WantedProfile string `json:"wanted_profile_uuid" doc:"The profile that its team asks for"`
	// Assignment is in words what is being done about a difference.
	Assignment   string     `json:"assignment" enum:"assigned,pushed,pending,throttled,failed,not_accessible,not_managed,removed"`
	LastTriedAt  *time.Time `json:"last_tried_at"`
	NextTryAt    *time.Time `json:"next_try_at"`
	Failures     int        `json:"failures" doc:"In a row"`
	AssignedDate *time.Time `json:"device_assigned_date"`
	AssignedBy   string     `json:"device_assigned_by"`
	DeletedAt    *time.Time `json:"deleted_at" doc:"It was taken from this server at Apple"`
	MigrateUntil *time.Time `json:"mdm_migration_deadline"`
}

// DEPDevicesResponse lists devices of server tokens.
type DEPDevicesResponse struct {
	Devices []DEPDevice `json:"devices" nullable:"false"`
	Meta    Meta        `json:"meta"`
}

// SetupAssistant is an enrollment profile for Setup Assistant.
type SetupAssistant struct {
	TeamID            *int64          `json:"team_id" doc:"null: hosts without a team"`
	Name              string          `json:"name"`
	UploadedAt        time.Time       `json:"uploaded_at"`
	EnrollmentProfile json.RawMessage `json:"enrollment_profile" doc:"Apple's JSON"`
	Warnings          []string        `json:"warnings,omitempty" doc:"What is not known here, and why Apple did not check the profile if it did not"`
}

// SetupAssistantRequest sets the enrollment profile of a team.
type SetupAssistantRequest struct {
	TeamID            *int64          `json:"team_id,omitempty" doc:"null or 0: hosts without a team"`
	FleetID           *int64          `json:"fleet_id,omitempty" doc:"The newer name of team_id"`
	Name              string          `json:"name,omitempty"`
	EnrollmentProfile json.RawMessage `json:"enrollment_profile" doc:"Apple's JSON, without url, await_device_configured and devices: the server sets them"`
}

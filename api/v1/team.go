package apiv1

import "time"

// Team is a group of hosts that share profiles and settings. Newer clients
// call it a fleet.
type Team struct {
	ID           int64     `json:"id"`
	Name         string    `json:"name"`
	Description  string    `json:"description"`
	CreatedAt    time.Time `json:"created_at"`
	AgentOptions *struct{} `json:"agent_options" doc:"Always null"`
	UserCount    int       `json:"user_count" doc:"Always 0: roles are global"`
	HostCount    int       `json:"host_count"`
	MDM          TeamMDM   `json:"mdm"`
	// Secrets are in answers to those who make a team.
	Secrets []EnrollSecret `json:"secrets,omitempty"`
}

// TeamMDM are the MDM settings of a team.
type TeamMDM struct {
	EnableDiskEncryption bool            `json:"enable_disk_encryption" doc:"Read-only"`
	MacOSUpdates         OSUpdates       `json:"macos_updates"`
	IOSUpdates           OSUpdates       `json:"ios_updates"`
	IPadOSUpdates        OSUpdates       `json:"ipados_updates"`
	MacOSSetup           SetupExperience `json:"macos_setup" doc:"What happens in Setup Assistant, of iPhones and iPads as well"`
}

// OSUpdates enforces a version of an operating system. Give both or neither.
type OSUpdates struct {
	MinimumVersion *string `json:"minimum_version" required:"false" doc:"One to three numbers with dots, as 15.1; null or empty: no version is enforced"`
	Deadline       *string `json:"deadline" required:"false" doc:"Day by whose local noon devices update by themselves, as 2026-12-31"`
}

// TeamMDMPatch is a part of TeamMDM: nil fields stay as they are.
type TeamMDMPatch struct {
	MacOSUpdates  *OSUpdates            `json:"macos_updates,omitempty"`
	IOSUpdates    *OSUpdates            `json:"ios_updates,omitempty"`
	IPadOSUpdates *OSUpdates            `json:"ipados_updates,omitempty"`
	MacOSSetup    *SetupExperiencePatch `json:"macos_setup,omitempty"`
}

// CreateTeamRequest makes a team.
type CreateTeamRequest struct {
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"`
	MDM         *TeamMDMPatch  `json:"mdm,omitempty"`
	Secrets     []EnrollSecret `json:"secrets,omitempty"`
}

// ModifyTeamRequest changes what is present.
type ModifyTeamRequest struct {
	Name        *string       `json:"name,omitempty"`
	Description *string       `json:"description,omitempty"`
	MDM         *TeamMDMPatch `json:"mdm,omitempty"`
}

// TeamResponse is one team.
type TeamResponse struct {
	Team Team `json:"team"`
}

// TeamsResponse lists teams.
type TeamsResponse struct {
	Teams []Team `json:"teams" nullable:"false"`
	Meta  Meta   `json:"meta"`
}

// TeamSpec is what a repository says about a team. What is left out stays.
type TeamSpec struct {
	Name        string          `json:"name"`
	Description *string         `json:"description,omitempty"`
	MDM         *TeamMDMPatch   `json:"mdm,omitempty"`
	Secrets     *[]EnrollSecret `json:"secrets,omitempty" doc:"All enroll secrets of the team"`
}

// TeamSpecsRequest makes teams what the specs say.
type TeamSpecsRequest struct {
	Specs []TeamSpec `json:"specs" nullable:"false"`
}

// TeamSpecsResponse says which teams those are; 0 is one that a dry run would
// make.
type TeamSpecsResponse struct {
	TeamIDsByName map[string]int64 `json:"team_ids_by_name"`
}

// EnrollSecret lets agents join a team.
type EnrollSecret struct {
	Secret    string     `json:"secret"`
	CreatedAt *time.Time `json:"created_at,omitempty" doc:"Read-only"`
	TeamID    *int64     `json:"team_id,omitempty" doc:"Read-only"`
}

// EnrollSecrets are the secrets of one team.
type EnrollSecrets struct {
	Secrets []EnrollSecret `json:"secrets" nullable:"false"`
}

// EnrollSecretSpec are the secrets of hosts without a team, as a document.
type EnrollSecretSpec struct {
	Spec EnrollSecrets `json:"spec"`
}

// TransferRequest moves hosts into a team.
type TransferRequest struct {
	TeamID        *int64  `json:"team_id" required:"false" doc:"null or 0: out of any team"`
	FleetID       *int64  `json:"fleet_id,omitempty" doc:"The newer name of team_id"`
	Hosts         []int64 `json:"hosts" nullable:"false" doc:"Ids of hosts"`
	ExpectedCount *int    `json:"expected_count,omitempty" minimum:"0" doc:"Refuse, unless it is the number of hosts"`
}

// HostSelection selects hosts for a change. At least one of them is given.
type HostSelection struct {
	Query   string `json:"query,omitempty" doc:"Part of host name, computer name, serial number, UUID or MAC address"`
	Status  string `json:"status,omitempty" doc:"new, online, offline, mia or missing"`
	LabelID *int64 `json:"label_id,omitempty"`
	TeamID  *int64 `json:"team_id,omitempty" doc:"0: hosts without a team"`
	FleetID *int64 `json:"fleet_id,omitempty" doc:"The newer name of team_id"`
}

// TransferByFilterRequest moves all hosts of a filter into a team.
type TransferByFilterRequest struct {
	TeamID        *int64        `json:"team_id" required:"false" doc:"null or 0: out of any team"`
	FleetID       *int64        `json:"fleet_id,omitempty" doc:"The newer name of team_id"`
	Filters       HostSelection `json:"filters"`
	ExpectedCount *int          `json:"expected_count,omitempty" minimum:"0" doc:"Refuse, unless it is the number of hosts"`
}

// DeleteHostsRequest removes hosts: ids or filters.
type DeleteHostsRequest struct {
	IDs           []int64        `json:"ids,omitempty"`
	Filters       *HostSelection `json:"filters,omitempty"`
	ExpectedCount *int           `json:"expected_count,omitempty" minimum:"0" doc:"Refuse, unless it is the number of hosts"`
}

// HostsChanged is how many hosts a change is for. Very many of them follow in
// the background.
type HostsChanged struct {
	HostCount int `json:"host_count"`
	// Approval is set when nothing was done yet (status 202).
	Approval *Approval `json:"approval,omitempty"`
}

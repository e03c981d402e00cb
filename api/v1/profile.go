package apiv1

import (
	"encoding/json"
	"time"
)

// Profile is a configuration profile or a declaration.
type Profile struct {
	ProfileUUID      string         `json:"profile_uuid" doc:"a and a UUID: a profile; d and a UUID: a declaration"`
	ProfileID        int64          `json:"profile_id" doc:"What the oldest paths name it by"`
	TeamID           int64          `json:"team_id" doc:"0: for hosts without a team"`
	Name             string         `json:"name"`
	Platform         string         `json:"platform" doc:"darwin stands for macOS, iOS and iPadOS"`
	Identifier       string         `json:"identifier"`
	Scope            string         `json:"scope" doc:"System or User: the MDM channel it goes through"`
	Checksum         string         `json:"checksum" doc:"16 bytes in base64 that change with the content"`
	CreatedAt        time.Time      `json:"created_at"`
	UpdatedAt        time.Time      `json:"updated_at"`
	UploadedAt       time.Time      `json:"uploaded_at"`
	LabelsIncludeAll []ProfileLabel `json:"labels_include_all,omitempty"`
	LabelsIncludeAny []ProfileLabel `json:"labels_include_any,omitempty"`
	LabelsExcludeAny []ProfileLabel `json:"labels_exclude_any,omitempty"`
	// What follows is Muster's own.
	Version    int      `json:"version" doc:"Counts the contents that were uploaded"`
	Warnings   []string `json:"warnings,omitempty"`
	Rollout    *Rollout `json:"rollout,omitempty"`
	FromServer bool     `json:"from_server,omitempty" doc:"It follows from settings and cannot be changed"`
}

// ProfileLabel is a label that scopes a profile.
type ProfileLabel struct {
	ID     int64  `json:"id"`
	Name   string `json:"name"`
	Broken bool   `json:"broken,omitempty" doc:"The label was deleted: the profile goes to no further hosts"`
}

// Ring is a stage of a rollout.
type Ring struct {
	Percent float64 `json:"percent" doc:"Share of the hosts, those of earlier rings included"`
	Soak    string  `json:"soak,omitempty" doc:"Least time before the next ring opens, as 24h or 3d"`
}

// RolloutPlan brings a profile to its hosts in rings.
type RolloutPlan struct {
	Rings       []Ring  `json:"rings" nullable:"false"`
	MinVerified float64 `json:"min_verified,omitempty" doc:"Share, 0 to 1, of a ring's hosts that have it before the next ring opens; 0.9 unless given"`
	MaxFailed   float64 `json:"max_failed,omitempty" doc:"Share, 0 to 1, of hosts on which it may fail before the rollout halts; 0.05 unless given"`
}

// Rollout is where a staged rollout stands.
type Rollout struct {
	RolloutPlan
	State       string    `json:"state" enum:"running,halted,done,rolled_back"`
	Ring        int       `json:"ring" doc:"The last open ring, from 1"`
	PercentOpen float64   `json:"percent_open"`
	OpenedAt    time.Time `json:"opened_at"`
	Why         string    `json:"why,omitempty"`
}

// CreateProfileResponse answers an upload.
type CreateProfileResponse struct {
	ProfileUUID string   `json:"profile_uuid"`
	Warnings    []string `json:"warnings,omitempty" doc:"What the uploader may want to change"`
}

// ProfilesResponse lists profiles and declarations.
type ProfilesResponse struct {
	Profiles []Profile `json:"profiles" nullable:"false"`
	Meta     Meta      `json:"meta"`
}

// ProfileBatchItem is one file of a batch.
type ProfileBatchItem struct {
	Profile          string       `json:"profile" doc:"The file in base64"`
	DisplayName      string       `json:"display_name,omitempty" doc:"Name of a declaration, and of the file in errors"`
	Labels           []string     `json:"labels,omitempty" doc:"The older name of labels_include_all"`
	LabelsIncludeAll []string     `json:"labels_include_all,omitempty"`
	LabelsIncludeAny []string     `json:"labels_include_any,omitempty"`
	LabelsExcludeAny []string     `json:"labels_exclude_any,omitempty"`
	Rollout          *RolloutPlan `json:"rollout,omitempty"`
}

// ProfileBatchRequest replaces all profiles and declarations of a team.
type ProfileBatchRequest struct {
	ConfigurationProfiles []ProfileBatchItem `json:"configuration_profiles" nullable:"false"`
	AssumeSecrets         []string           `json:"assume_secrets,omitempty" doc:"With dry_run: custom variables that will be set before"`
	AssumeLabels          []string           `json:"assume_labels,omitempty" doc:"With dry_run: labels that will be created before"`
}

// OldProfileBatchItem is one file of a batch in the older spelling.
type OldProfileBatchItem struct {
	Name             string       `json:"name,omitempty"`
	Contents         string       `json:"contents" doc:"The file in base64"`
	Labels           []string     `json:"labels,omitempty"`
	LabelsIncludeAll []string     `json:"labels_include_all,omitempty"`
	LabelsIncludeAny []string     `json:"labels_include_any,omitempty"`
	LabelsExcludeAny []string     `json:"labels_exclude_any,omitempty"`
	Rollout          *RolloutPlan `json:"rollout,omitempty"`
}

// OldProfileBatchRequest is the older form of ProfileBatchRequest.
type OldProfileBatchRequest struct {
	Profiles      json.RawMessage `json:"profiles" doc:"A list of {name, contents, labels_include_all, ...}, or an object of names and contents"`
	AssumeSecrets []string        `json:"assume_secrets,omitempty"`
}

// ProfileChange is what a batch does to one profile.
type ProfileChange struct {
	ProfileUUID string `json:"profile_uuid,omitempty" doc:"None for one that would be added"`
	Name        string `json:"name"`
	Identifier  string `json:"identifier"`
	Change      string `json:"change" enum:"add,change,rescope,remove,unchanged"`
}

// ProfileBatchResponse is what a dry run would do.
type ProfileBatchResponse struct {
	Changes []ProfileChange `json:"changes" nullable:"false"`
}

// ResendFilter selects the hosts of a resend.
type ResendFilter struct {
	ProfileStatus string `json:"profile_status" enum:"failed"`
	Detail        string `json:"detail,omitempty" maxLength:"255" doc:"Only where the error contains this"`
}

// ResendBatchRequest sends a profile again to all hosts on which it failed.
type ResendBatchRequest struct {
	ProfileUUID string       `json:"profile_uuid"`
	Filters     ResendFilter `json:"filters"`
}

// ProfileStatusCounts counts hosts by status.
type ProfileStatusCounts struct {
	Verified  int `json:"verified"`
	Verifying int `json:"verifying"`
	Pending   int `json:"pending"`
	Failed    int `json:"failed"`
}

// ProfileHost is a host of a profile.
type ProfileHost struct {
	HostID         int64      `json:"host_id"`
	Hostname       string     `json:"hostname"`
	UUID           string     `json:"uuid"`
	HardwareSerial string     `json:"hardware_serial"`
	Status         string     `json:"status"`
	OperationType  string     `json:"operation_type"`
	Detail         string     `json:"detail"`
	Version        int        `json:"version"`
	NextAttemptAt  *time.Time `json:"next_attempt_at"`
	UpdatedAt      time.Time  `json:"updated_at"`
}

// ProfileHostsResponse lists the hosts of a profile.
type ProfileHostsResponse struct {
	Hosts []ProfileHost `json:"hosts" nullable:"false"`
	Meta  Meta          `json:"meta"`
}

// HostProfilesResponse lists the profiles of a host.
type HostProfilesResponse struct {
	HostID   int64         `json:"host_id"`
	Profiles []HostProfile `json:"profiles" nullable:"false"`
}

// SteerRolloutRequest halts, resumes, completes or rolls back a rollout.
type SteerRolloutRequest struct {
	Action string `json:"action" enum:"halt,resume,complete,rollback"`
	Reason string `json:"reason,omitempty" maxLength:"255"`
}

// AppleProfilesResponse lists configuration profiles for the oldest clients.
type AppleProfilesResponse struct {
	Profiles []Profile `json:"profiles" nullable:"false"`
}

// AppleProfileResponse is one profile for the oldest clients.
type AppleProfileResponse struct {
	ProfileID int64 `json:"profile_id"`
}

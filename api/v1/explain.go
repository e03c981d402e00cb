package apiv1

import "time"

// ExplainResponse says why a host has an item, or why not.
type ExplainResponse struct {
	HostID      int64               `json:"host_id"`
	Host        string              `json:"host" doc:"Name of the host"`
	ProfileUUID string              `json:"profile_uuid"`
	Name        string              `json:"name"`
	Identifier  string              `json:"identifier"`
	Team        string              `json:"team" doc:"Empty for what every team has"`
	Decision    string              `json:"decision" enum:"yes,no,unknown" doc:"unknown: what is there stays as it is"`
	Version     int                 `json:"version,omitempty" doc:"Version that the host should have"`
	Answer      string              `json:"answer" doc:"All of it in a sentence or two"`
	Rules       []ExplainRule       `json:"rules" nullable:"false"`
	Status      string              `json:"status,omitempty" enum:"pending,verifying,verified,failed"`
	Operation   string              `json:"operation_type,omitempty" enum:"install,remove"`
	Tries       int                 `json:"tries,omitempty"`
	Since       *time.Time          `json:"since,omitempty"`
	VerifiedAt  *time.Time          `json:"verified_at,omitempty" doc:"When the device last reported that it has it"`
	Problem     *ExplainProblem     `json:"problem,omitempty"`
	Predicted   []ExplainPrediction `json:"predicted_refusals,omitempty"`
	Attempts    []ExplainAttempt    `json:"attempts" nullable:"false" doc:"Oldest first"`
	Next        ExplainNext         `json:"next"`
}

// ExplainRule is one condition for an item.
type ExplainRule struct {
	Rule   string         `json:"rule"`
	Met    string         `json:"met" enum:"yes,no,unknown"`
	Text   string         `json:"text"`
	Labels []ExplainLabel `json:"labels,omitempty"`
}

// ExplainLabel is the host's membership in a label.
type ExplainLabel struct {
	Name   string `json:"name"`
	Member string `json:"member" enum:"yes,no,unknown"`
	Text   string `json:"text"`
}

// ExplainProblem is an error in plain words.
type ExplainProblem struct {
	Said  string `json:"said" doc:"The words of the device or of the server"`
	Cause string `json:"cause"`
	Fix   string `json:"fix"`
}

// ExplainPrediction is a refusal that can be told beforehand.
type ExplainPrediction struct {
	Code string `json:"code" doc:"supervision, platform, os_version, variable, user_channel or conflict"`
	Text string `json:"text"`
	Fix  string `json:"fix"`
}

// ExplainAttempt is one entry of what was tried.
type ExplainAttempt struct {
	At        time.Time       `json:"at"`
	Operation string          `json:"operation_type,omitempty"`
	Status    string          `json:"status,omitempty"`
	Try       int             `json:"try,omitempty"`
	Version   int             `json:"version,omitempty"`
	Text      string          `json:"text"`
	Problem   *ExplainProblem `json:"problem,omitempty"`
}

// ExplainNext is what happens next.
type ExplainNext struct {
	Text string     `json:"text"`
	At   *time.Time `json:"at,omitempty"`
	Who  string     `json:"who" doc:"Who acts: Muster, the device, an admin, the user"`
}

// WhatIfResponse lists what a host would have.
type WhatIfResponse struct {
	HostID int64        `json:"host_id"`
	Items  []WhatIfItem `json:"items" nullable:"false"`
}

// WhatIfItem is one item of it.
type WhatIfItem struct {
	ProfileUUID string `json:"profile_uuid"`
	Name        string `json:"name"`
	Identifier  string `json:"identifier"`
	Now         string `json:"now" enum:"yes,no,unknown"`
	Then        string `json:"then" enum:"yes,no,unknown"`
	Reason      string `json:"reason,omitempty" doc:"Why not, or why it is not known"`
}

// PlanRequest is a team's set of profiles as it would be.
type PlanRequest struct {
	TeamID        *int64        `json:"team_id,omitempty" doc:"0 or absent: hosts without a team"`
	TeamName      string        `json:"team_name,omitempty"`
	Profiles      []PlanProfile `json:"configuration_profiles" nullable:"false"`
	AssumeSecrets []string      `json:"assume_secrets,omitempty" doc:"Custom variables that will be set before it is applied"`
}

// PlanProfile is one profile or declaration of a plan.
type PlanProfile struct {
	Profile          string   `json:"profile" doc:"Base64 of the file"`
	DisplayName      string   `json:"display_name,omitempty" doc:"Name of a declaration; file name in errors"`
	LabelsIncludeAll []string `json:"labels_include_all,omitempty"`
	LabelsIncludeAny []string `json:"labels_include_any,omitempty"`
	LabelsExcludeAny []string `json:"labels_exclude_any,omitempty"`
}

// PlanResponse says what applying it would do.
type PlanResponse struct {
	TeamID     int64      `json:"team_id"`
	TeamName   string     `json:"team_name"`
	Revision   int64      `json:"revision" doc:"Of the team's profiles; applying with it is refused when they changed since"`
	Hosts      int        `json:"hosts" doc:"Enrolled hosts of the team"`
	HasChanges bool       `json:"has_changes"`
	Items      []PlanItem `json:"items" nullable:"false"`
}

// PlanItem is what would happen to one profile.
type PlanItem struct {
	ProfileUUID string        `json:"profile_uuid"`
	Name        string        `json:"name"`
	Identifier  string        `json:"identifier"`
	Change      string        `json:"change" enum:"add,change,rescope,remove,unchanged"`
	Install     int           `json:"install" doc:"Hosts that would get it"`
	Update      int           `json:"update" doc:"Hosts that would get another version"`
	Remove      int           `json:"remove" doc:"Hosts that would lose it"`
	Held        int           `json:"held" doc:"Hosts of which it is not known, so that nothing changes"`
	Samples     []string      `json:"samples,omitempty" doc:"Names of some of them"`
	Refusals    []PlanRefusal `json:"refusals,omitempty"`
	Warnings    []string      `json:"warnings,omitempty"`
}

// PlanRefusal counts the hosts that would refuse a profile.
type PlanRefusal struct {
	ExplainPrediction
	Hosts   int      `json:"hosts"`
	Samples []string `json:"samples"`
}

// HistoryResponse is a host at a moment.
type HistoryResponse struct {
	HostID   int64          `json:"host_id"`
	At       time.Time      `json:"at"`
	Enrolled *bool          `json:"enrolled" doc:"null: not recorded by then"`
	TeamID   *int64         `json:"team_id" doc:"null: never moved by then"`
	Items    []HistoryItem  `json:"items" nullable:"false"`
	Events   []HistoryEvent `json:"events" nullable:"false" doc:"The last before that moment, oldest first"`
}

// HistoryItem is an item as it stood.
type HistoryItem struct {
	ProfileUUID string    `json:"profile_uuid"`
	Name        string    `json:"name"`
	Identifier  string    `json:"identifier"`
	Version     int       `json:"version"`
	Operation   string    `json:"operation_type"`
	Status      string    `json:"status"`
	Detail      string    `json:"detail,omitempty"`
	Since       time.Time `json:"since"`
}

// HistoryEvent is one entry of the log.
type HistoryEvent struct {
	At      time.Time      `json:"at"`
	Kind    string         `json:"type"`
	Actor   string         `json:"actor,omitempty"`
	Details map[string]any `json:"details,omitempty"`
}

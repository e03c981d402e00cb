package apiv1

import "time"

// Label is a named set of hosts.
type Label struct {
	ID                  int64     `json:"id"`
	Name                string    `json:"name"`
	Description         string    `json:"description"`
	Query               string    `json:"query"`
	Platform            string    `json:"platform"`
	LabelType           string    `json:"label_type" enum:"builtin,regular"`
	LabelMembershipType string    `json:"label_membership_type" enum:"dynamic,manual,host_vitals"`
	Criteria            *Criteria `json:"criteria"`
	DisplayText         string    `json:"display_text"`
	Count               int       `json:"count" doc:"Members, as host_count"`
	HostCount           int       `json:"host_count"`
	CreatedAt           time.Time `json:"created_at"`
	UpdatedAt           time.Time `json:"updated_at"`
}

// Criteria select hosts by a vital.
type Criteria struct {
	Vital    string `json:"vital" doc:"Such as os_version, platform, hardware_model, supervised, end_user_idp_group"`
	Operator string `json:"operator,omitempty" doc:"=, !=, <, <=, >, >=, contains or starts_with; = unless given"`
	Value    string `json:"value"`
}

// CreateLabelRequest makes a label: with a query, with criteria, or with the
// hosts it has.
type CreateLabelRequest struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Query       string    `json:"query,omitempty"`
	Platform    string    `json:"platform,omitempty" doc:"With a query: hosts of other platforms are no members"`
	Criteria    *Criteria `json:"criteria,omitempty"`
	Hosts       []string  `json:"hosts,omitempty" doc:"Serial numbers, UUIDs or host names"`
	HostIDs     []int64   `json:"host_ids,omitempty"`
}

// ModifyLabelRequest changes what is present.
type ModifyLabelRequest struct {
	Name        *string   `json:"name,omitempty"`
	Description *string   `json:"description,omitempty"`
	Hosts       *[]string `json:"hosts,omitempty" doc:"All members of a label without query and criteria"`
	HostIDs     *[]int64  `json:"host_ids,omitempty" doc:"The same by id"`
}

// LabelResponse is one label.
type LabelResponse struct {
	Label Label `json:"label"`
}

// LabelsResponse lists labels.
type LabelsResponse struct {
	Labels []Label `json:"labels" nullable:"false"`
	Meta   Meta    `json:"meta"`
}

// LabelSummary names a label.
type LabelSummary struct {
	ID          int64  `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	LabelType   string `json:"label_type" enum:"builtin,regular"`
}

// LabelSummariesResponse names all labels.
type LabelSummariesResponse struct {
	Labels []LabelSummary `json:"labels" nullable:"false"`
}

// LabelSpec is what a repository says about a label.
type LabelSpec struct {
	ID                  int64     `json:"id,omitempty" doc:"Read-only"`
	Name                string    `json:"name"`
	Description         string    `json:"description,omitempty"`
	Query               string    `json:"query,omitempty"`
	Platform            string    `json:"platform,omitempty"`
	LabelType           string    `json:"label_type,omitempty" doc:"Read-only"`
	LabelMembershipType string    `json:"label_membership_type,omitempty" doc:"dynamic, manual or host_vitals; must fit the rest"`
	Criteria            *Criteria `json:"criteria,omitempty"`
	Hosts               *[]string `json:"hosts,omitempty" doc:"All members of a manual label, by serial number, UUID or host name; left out: they stay"`
}

// LabelSpecsRequest makes labels what the specs say.
type LabelSpecsRequest struct {
	Specs []LabelSpec `json:"specs" nullable:"false"`
}

// LabelSpecsResponse lists the specs of labels.
type LabelSpecsResponse struct {
	Specs []LabelSpec `json:"specs" nullable:"false"`
}

// LabelSpecResponse is the spec of one label.
type LabelSpecResponse struct {
	Specs LabelSpec `json:"specs"`
}

// HostLabelsRequest names manual labels of a host.
type HostLabelsRequest struct {
	Labels []string `json:"labels" nullable:"false" doc:"Names"`
}

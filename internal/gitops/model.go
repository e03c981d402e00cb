package gitops

import (
	"fmt"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// NoTeam is the name of hosts without a team.
const NoTeam = "No team"

// Place is where something is said.
type Place struct {
	File string
	Line int
}

func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Repository is what the files say.
type Repository struct {
	// Declarative tells the GitOps layout from documents that are applied.
	Declarative bool
	Config      apiv1.ConfigPatch
	ConfigAt    Place // empty: nothing is said about the configuration
	// Labels that are created or changed. With AllLabels others are deleted.
	Labels    []Label
	AllLabels bool
	LabelsAt  Place
	NoTeam    *Team // nil: not named
	Teams     []*Team
	// Secrets are the custom variables that profiles use, by name.
	Secrets []Secret
	// Files that were read, and a hash of them all.
	Files []string
	Hash  string
	// Warnings are for people.
	Warnings []string
}

// Label is a label with its place.
type Label struct {
	apiv1.LabelSpec
	Place Place
}

// Team is what is said about a team, or about hosts without one.
type Team struct {
	Place Place
	Spec  apiv1.TeamSpec
	// Profiles is the whole set; nil: it stays as it is.
	Profiles   []Profile
	ProfilesAt Place // empty: it stays
}

// Name of the team.
func (t *Team) Name() string { return t.Spec.Name }

// SetsProfiles tells whether the team's profiles are replaced.
func (t *Team) SetsProfiles() bool { return t.ProfilesAt != Place{} }

// Profile is a file with its labels.
type Profile struct {
	Place      Place
	Path       string // from the root of the repository, or absolute
	Name       string // of a declaration; of the file in errors
	Content    []byte
	IncludeAll []string
	IncludeAny []string
	ExcludeAny []string
}

// LabelNames are all labels that scope the profile.
func (p *Profile) LabelNames() []string {
	var out []string
	for _, list := range [][]string{p.IncludeAll, p.IncludeAny, p.ExcludeAny} {
		out = append(out, list...)
	}
	return out
}

// Secret is a custom variable that profiles name as $FLEET_SECRET_NAME.
type Secret struct {
	Name  string
	Value string // empty: the environment does not have it
	Place Place  // of the first profile that uses it
	Path  string // of that profile
}

// LabelsPlace is where labels are spoken of.
func (r *Repository) LabelsPlace() Place {
	if len(r.Labels) > 0 {
		return r.Labels[0].Place
	}
	return r.LabelsAt
}

package fleet

import (
	"strconv"
	"strings"
	"time"
)

// Team is a group of hosts that share items and settings. A host is in one
// team or in none.
type Team struct {
	ID          TeamID
	Name        string
	Description string
	Settings    TeamSettings
	HostCount   int
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Scopes that are no team.
const (
	// NoTeam holds what hosts without a team get.
	NoTeam TeamID = 0
	// EveryTeam holds what Muster itself gives to every host.
	EveryTeam TeamID = -1
)

// NoTeamName is what people call NoTeam.
const NoTeamName = "No team"

// TeamSettings are the settings of one scope: a team, or hosts without one.
type TeamSettings struct {
	MacOSUpdates  OSUpdates
	IOSUpdates    OSUpdates
	IPadOSUpdates OSUpdates
	Setup         SetupSettings
}

// Updates returns the setting for a platform.
func (s TeamSettings) Updates(p Platform) OSUpdates {
	switch p {
	case PlatformDarwin:
		return s.MacOSUpdates
	case PlatformIOS:
		return s.IOSUpdates
	case PlatformIPadOS:
		return s.IPadOSUpdates
	case PlatformWindows:
	}
	return OSUpdates{}
}

// OSUpdates enforces an operating system version. Both fields are set or
// neither.
type OSUpdates struct {
	MinimumVersion string // one to three numbers with dots
	Deadline       string // YYYY-MM-DD, at noon of the device's local time
}

// EnrollSecret lets agents and over-the-air enrollments join a scope.
type EnrollSecret struct {
	Secret    string
	CreatedAt time.Time
}

// TeamSpec is what a repository says about a team: nil fields stay as they
// are.
type TeamSpec struct {
	Name          string
	Description   *string
	MacOSUpdates  *OSUpdates
	IOSUpdates    *OSUpdates
	IPadOSUpdates *OSUpdates
	Setup         *SetupPatch
}

// Apply puts what the spec says into a team.
func (s *TeamSpec) Apply(t *Team) {
	t.Name = s.Name
	if s.Description != nil {
		t.Description = *s.Description
	}
	for _, u := range []struct{ from, to *OSUpdates }{
		{s.MacOSUpdates, &t.Settings.MacOSUpdates}, {s.IOSUpdates, &t.Settings.IOSUpdates}, {s.IPadOSUpdates, &t.Settings.IPadOSUpdates},
	} {
		if u.from != nil {
			*u.to = *u.from
		}
	}
	s.Setup.Apply(&t.Settings.Setup)
}

// Transfer moves hosts into a scope.
type Transfer struct {
	TeamID TeamID // NoTeam: out of any team
	Hosts  []HostID
	Actor  Actor
}

// Check brings dates and versions into their usual form, and says what is
// wrong with a field's name before it; "" when nothing is.
func (u OSUpdates) Check() (field, reason string) {
	switch {
	case u == (OSUpdates{}):
		return "", ""
	case u.MinimumVersion == "":
		return "minimum_version", "is missing: give both minimum_version and deadline, or neither"
	case u.Deadline == "":
		return "deadline", "is missing: give both minimum_version and deadline, or neither"
	case !isVersion(u.MinimumVersion):
		return "minimum_version", "must be one to three numbers with dots, as 15.1"
	}
	if _, err := time.Parse(time.DateOnly, u.Deadline); err != nil {
		return "deadline", "must be a date, as 2026-12-31"
	}
	return "", ""
}

func isVersion(v string) bool {
	parts := strings.Split(v, ".")
	if len(parts) > 3 {
		return false
	}
	for _, p := range parts {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 9999 || len(p) > 4 {
			return false
		}
	}
	return true
}

// Check finds what is wrong with settings; each reason under the field's name.
func (s TeamSettings) Check(prefix string) []FieldError {
	var out []FieldError
	for name, u := range map[string]OSUpdates{"macos_updates": s.MacOSUpdates, "ios_updates": s.IOSUpdates, "ipados_updates": s.IPadOSUpdates} {
		if field, reason := u.Check(); reason != "" {
			out = append(out, FieldError{Name: prefix + name + "." + field, Reason: reason})
		}
	}
	if t := s.Setup.Timeout; t != 0 && (t < MinSetupTimeout || t > MaxSetupTimeout) {
		out = append(out, FieldError{Name: prefix + "macos_setup.release_timeout_minutes", Reason: "must be 1 to 1440 minutes"})
	}
	return out
}

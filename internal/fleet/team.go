package fleet

import "time"

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

// Transfer moves hosts into a scope.
type Transfer struct {
	TeamID TeamID // NoTeam: out of any team
	Hosts  []HostID
	Actor  Actor
}

package access

import "github.com/muster-mdm/muster/internal/fleet"

// Permission names one thing a role may or may not do: object:verb.
type Permission string

// Permissions. The API's routes name them; a permission nobody is given is
// denied to everybody.
const (
	// SelfRead and SelfWrite are about the user's own account and sessions.
	SelfRead  Permission = "self:read"
	SelfWrite Permission = "self:write"

	UsersRead  Permission = "users:read"
	UsersWrite Permission = "users:write"

	HostsList  Permission = "hosts:list" // rows of many hosts
	HostsRead  Permission = "hosts:read" // one host, found by its name
	HostsWrite Permission = "hosts:write"

	// CommandsRead shows commands and answers; CommandsRun sends them, and
	// turning MDM off is one of them.
	CommandsRead Permission = "commands:read"
	CommandsRun  Permission = "commands:run"

	// EnrollmentsRead includes downloading a profile, which carries a
	// one-time enrollment secret.
	EnrollmentsRead  Permission = "enrollments:read"
	EnrollmentsWrite Permission = "enrollments:write"

	PushRead  Permission = "push:read"
	PushWrite Permission = "push:write"

	ConfigRead  Permission = "config:read"
	ConfigWrite Permission = "config:write"

	VersionRead Permission = "version:read"
)

// Can reports whether a role may do something. Unknown roles and unknown
// permissions are denied.
func Can(role fleet.Role, p Permission) bool {
	switch role {
	case fleet.RoleAdmin:
		return known(p)
	case fleet.RoleMaintainer:
		return observes(p) || maintains(p)
	case fleet.RoleGitOps:
		return automates(p)
	case fleet.RoleObserver, fleet.RoleObserverPlus:
		return observes(p)
	case fleet.RoleTechnician:
		return observes(p) || p == EnrollmentsRead
	}
	return false
}

// known lists everything, so that an admin is not given what does not exist.
func known(p Permission) bool {
	switch p {
	case UsersRead, UsersWrite, PushRead, PushWrite, ConfigWrite:
		return true
	}
	return observes(p) || maintains(p)
}

// observes is what everybody who looks at hosts may do.
func observes(p Permission) bool {
	switch p {
	case SelfRead, SelfWrite, VersionRead, ConfigRead, HostsList, HostsRead, CommandsRead:
		return true
	}
	return false
}

// maintains is what changing devices takes on top of observes.
func maintains(p Permission) bool {
	switch p {
	case HostsWrite, CommandsRun, EnrollmentsRead, EnrollmentsWrite:
		return true
	}
	return false
}

// automates is what applying a repository takes. It looks hosts up by name
// to address them, but does not list them or read what they answered.
func automates(p Permission) bool {
	switch p {
	case SelfRead, SelfWrite, VersionRead, ConfigRead, ConfigWrite, HostsRead, EnrollmentsRead, EnrollmentsWrite, CommandsRun:
		return true
	}
	return false
}

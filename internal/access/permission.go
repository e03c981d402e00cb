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

	// CommandsRead shows commands and answers; CommandsRun sends those that do
	// not what ActionsRun is for.
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

	TeamsRead     Permission = "teams:read"
	TeamsWrite    Permission = "teams:write"
	HostsTransfer Permission = "hosts:transfer"

	// SecretsRead shows the secrets by which agents enroll.
	SecretsRead  Permission = "secrets:read"
	SecretsWrite Permission = "secrets:write"

	LabelsRead  Permission = "labels:read"
	LabelsWrite Permission = "labels:write"

	// ProfilesRead shows profiles and declarations and what became of them on
	// hosts; ProfilesResend sends one again without changing it.
	ProfilesRead   Permission = "profiles:read"
	ProfilesWrite  Permission = "profiles:write"
	ProfilesResend Permission = "profiles:resend"

	// ActionsRun locks, unlocks, wipes, unenrolls and the like, and takes such
	// requests back; ActionsReveal shows PINs, passwords and codes that open hosts.
	ActionsRun    Permission = "actions:run"
	ActionsReveal Permission = "actions:reveal"
	// ApprovalsRead shows requests that wait; ApprovalsWrite decides about those
	// of others.
	ApprovalsRead  Permission = "approvals:read"
	ApprovalsWrite Permission = "approvals:write"
	// BrakeWrite changes the limits of the brake: whoever they bind lacks it,
	// and so does a repository.
	BrakeWrite Permission = "brake:write"
	// AddressWrite changes the URLs at which devices find the server: whoever
	// does so can have them ask another one for their identities.
	AddressWrite Permission = "address:write"

	// VariablesRead shows names only: nobody may read a value.
	VariablesRead  Permission = "variables:read"
	VariablesWrite Permission = "variables:write"

	// PackagesRead shows the bootstrap packages of teams, with the tokens that
	// they are fetched by.
	PackagesRead  Permission = "packages:read"
	PackagesWrite Permission = "packages:write"
	// ABMRead shows server tokens of Apple's device enrollment service without
	// what is secret; ABMSync has their devices read anew.
	ABMRead  Permission = "abm:read"
	ABMWrite Permission = "abm:write"
	ABMSync  Permission = "abm:sync"
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
		return observes(p) || p == EnrollmentsRead || p == ProfilesResend
	}
	return false
}

// known lists everything, so that an admin is not given what does not exist.
func known(p Permission) bool {
	switch p {
	case UsersRead, UsersWrite, PushRead, PushWrite, ConfigWrite, ABMWrite, ApprovalsWrite, BrakeWrite, AddressWrite:
		return true
	}
	return observes(p) || maintains(p)
}

// observes is what everybody who looks at hosts may do.
func observes(p Permission) bool {
	switch p {
	case SelfRead, SelfWrite, VersionRead, ConfigRead, HostsList, HostsRead, CommandsRead,
		TeamsRead, LabelsRead, ProfilesRead, VariablesRead:
		return true
	}
	return false
}

// maintains is what changing devices takes on top of observes.
func maintains(p Permission) bool {
	switch p {
	case HostsWrite, CommandsRun, EnrollmentsRead, EnrollmentsWrite, TeamsWrite, HostsTransfer, SecretsRead, SecretsWrite,
		LabelsWrite, ProfilesWrite, ProfilesResend, VariablesWrite, ABMRead, ABMSync, ActionsRun, ActionsReveal, ApprovalsRead,
		PackagesRead, PackagesWrite:
		return true
	}
	return false
}

// automates is what applying a repository takes. It looks hosts up by name
// to address them, but does not list them or read what they answered.
func automates(p Permission) bool {
	switch p {
	case SelfRead, SelfWrite, VersionRead, ConfigRead, ConfigWrite, HostsRead, EnrollmentsRead, EnrollmentsWrite, CommandsRun,
		TeamsRead, TeamsWrite, SecretsRead, SecretsWrite, LabelsRead, LabelsWrite, ProfilesRead, ProfilesWrite, VariablesRead, VariablesWrite, ABMRead,
		PackagesRead, PackagesWrite:
		return true
	}
	return false
}

package httpapi

// Permission is what a route asks of the viewer's role. The names are those
// of internal/access, which a test compares.
type Permission string

// Open routes ask for no login.
const Open Permission = "open"

// Permissions of routes.
const (
	selfRead         Permission = "self:read"
	selfWrite        Permission = "self:write"
	usersRead        Permission = "users:read"
	usersWrite       Permission = "users:write"
	hostsList        Permission = "hosts:list"
	hostsRead        Permission = "hosts:read"
	hostsWrite       Permission = "hosts:write"
	commandsRead     Permission = "commands:read"
	commandsRun      Permission = "commands:run"
	enrollmentsRead  Permission = "enrollments:read"
	enrollmentsWrite Permission = "enrollments:write"
	pushRead         Permission = "push:read"
	pushWrite        Permission = "push:write"
	configRead       Permission = "config:read"
	configWrite      Permission = "config:write"
	versionRead      Permission = "version:read"
	teamsRead        Permission = "teams:read"
	teamsWrite       Permission = "teams:write"
	hostsTransfer    Permission = "hosts:transfer"
	secretsRead      Permission = "secrets:read"
	secretsWrite     Permission = "secrets:write"
	labelsRead       Permission = "labels:read"
	labelsWrite      Permission = "labels:write"
	profilesRead     Permission = "profiles:read"
	profilesWrite    Permission = "profiles:write"
	profilesResend   Permission = "profiles:resend"
	actionsRun       Permission = "actions:run"
	actionsReveal    Permission = "actions:reveal"
	approvalsRead    Permission = "approvals:read"
	approvalsWrite   Permission = "approvals:write"
	brakeWrite       Permission = "brake:write"
	addressWrite     Permission = "address:write"
	variablesRead    Permission = "variables:read"
	variablesWrite   Permission = "variables:write"
	packagesRead     Permission = "packages:read"
	packagesWrite    Permission = "packages:write"
	abmRead          Permission = "abm:read"
	abmWrite         Permission = "abm:write"
	abmSync          Permission = "abm:sync"
)

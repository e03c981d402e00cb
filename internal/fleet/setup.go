package fleet

import "time"

// SetupSettings says what happens while a device waits in Setup Assistant.
type SetupSettings struct {
	// ManualRelease: a person releases devices, nothing else does.
	ManualRelease bool
	// Timeout is how long a device waits at most; 0: DefaultSetupTimeout.
	Timeout time.Duration
	// HoldOnTimeout keeps a device that is not complete by then waiting for a
	// person, instead of releasing it with a warning.
	HoldOnTimeout bool
	// ManualAgentInstall: the agent comes with the bootstrap package.
	ManualAgentInstall bool
}

// SetupPatch changes SetupSettings: nil fields stay as they are.
type SetupPatch struct {
	ManualRelease      *bool
	Timeout            *time.Duration
	HoldOnTimeout      *bool
	ManualAgentInstall *bool
}

// Apply puts what the patch says into settings.
func (p *SetupPatch) Apply(s *SetupSettings) {
	if p == nil {
		return
	}
	for _, f := range []struct{ from, to *bool }{{p.ManualRelease, &s.ManualRelease}, {p.HoldOnTimeout, &s.HoldOnTimeout}, {p.ManualAgentInstall, &s.ManualAgentInstall}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if p.Timeout != nil {
		if s.Timeout = *p.Timeout; s.Timeout == DefaultSetupTimeout {
			s.Timeout = 0
		}
	}
}

// Bounds of SetupSettings.Timeout.
const (
	DefaultSetupTimeout = 15 * time.Minute
	MinSetupTimeout     = time.Minute
	MaxSetupTimeout     = 24 * time.Hour
)

// Wait is how long a device waits at most.
func (s SetupSettings) Wait() time.Duration {
	if s.Timeout == 0 {
		return DefaultSetupTimeout
	}
	return s.Timeout
}

// SetupState is where a device stands in Setup Assistant. Persisted: append
// only.
type SetupState uint8

// States of a setup.
const (
	SetupWaiting   SetupState = 1 // for its steps
	SetupHeld      SetupState = 2 // for a person
	SetupReleasing SetupState = 3 // DeviceConfigured is on its way
	SetupDone      SetupState = 4
)

// String is the spelling of the API.
func (s SetupState) String() string {
	switch s {
	case SetupWaiting:
		return "waiting"
	case SetupHeld:
		return "held"
	case SetupReleasing:
		return "releasing"
	case SetupDone:
		return "done"
	}
	return ""
}

// Names of steps of a setup. Persisted.
const (
	SetupStepItems     = "profiles"
	SetupStepBootstrap = "bootstrap_package"
	SetupStepRelease   = "release"
)

// SetupStepState is how far a step is. Persisted by name.
type SetupStepState string

// States of a step.
const (
	SetupStepWaiting SetupStepState = "waiting"
	SetupStepDone    SetupStepState = "done"
	SetupStepFailed  SetupStepState = "failed"
	SetupStepSkipped SetupStepState = "skipped"
)

// SetupStep is one thing that a device waits for.
type SetupStep struct {
	Name   string
	State  SetupStepState
	Since  time.Time // of the state
	Detail string    // for people
}

// Setup is what happens to a device between its enrollment and the end of
// Setup Assistant. There is one for an enrollment that began by waiting.
type Setup struct {
	EnrollmentID EnrollmentID
	HostID       HostID
	State        SetupState
	StartedAt    time.Time
	EndedAt      time.Time
	Steps        []SetupStep
	// Why it was released: "complete", "timeout", "manual" or "device".
	Outcome string
	// BootstrapCommand installs the bootstrap package, ReleaseCommand is
	// DeviceConfigured; 0: not queued.
	BootstrapCommand CommandID
	ReleaseCommand   CommandID
	// PackageName and PackageStatus are about the bootstrap package that the
	// device was told to install; PackageNone: none.
	PackageName   string
	PackageStatus PackageStatus
	Tries         int       // of DeviceConfigured
	NextAt        time.Time // no decision before
	Version       int64     // grows with every change
}

// SetupFacts is what deciding about a setup needs.
type SetupFacts struct {
	Setup Setup
	Host  Host
	Kind  EnrollmentKind
	// Enrolled: the enrollment is on. Awaiting: as the device last said.
	Enrolled, Awaiting bool
	// Planned: the items that the host is to have are queued.
	Planned bool
	// Pending and Failed count items of the device channel.
	Pending, Failed int
	// Bootstrap is the team's package; nil: none.
	Bootstrap *BootstrapPackage
	// Migrating: the device came from another server with a deadline.
	Migrating bool
	// BootstrapStatus and ReleaseStatus are what the device answered; 0:
	// nothing yet. Their answers say why.
	BootstrapStatus, ReleaseStatus CommandStatus
	BootstrapAnswer, ReleaseAnswer []byte
	// BootstrapQueued and ReleaseQueued: the command waits for its answer.
	BootstrapQueued, ReleaseQueued bool
}

// SetupChange is the decision about a setup: all of it is written or nothing.
// Commands get their key where the pointer says.
type SetupChange struct {
	Setup     Setup
	Bootstrap *Command // becomes Setup.BootstrapCommand
	Release   *Command // becomes Setup.ReleaseCommand
	Events    []Event
}

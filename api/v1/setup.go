package apiv1

import "time"

// SetupExperience is what happens while a device waits in Setup Assistant.
type SetupExperience struct {
	BootstrapPackage            *string `json:"bootstrap_package" doc:"Read-only: file name of the package that Macs get, see ~/bootstrap"`
	EnableReleaseDeviceManually bool    `json:"enable_release_device_manually" doc:"A person releases devices, nothing else does"`
	ManualAgentInstall          bool    `json:"manual_agent_install" doc:"The agent comes with the bootstrap package"`
	ReleaseTimeoutMinutes       int     `json:"release_timeout_minutes" doc:"Muster's own: how long a device waits at most, 1 to 1440"`
	HoldOnTimeout               bool    `json:"hold_on_timeout" doc:"Muster's own: after the timeout a device waits for a person, instead of being released with a warning"`
	EnableEndUserAuthentication bool    `json:"enable_end_user_authentication" doc:"Read-only"`
	RequireAllSoftwareMacOS     bool    `json:"require_all_software_macos" doc:"Read-only"`
	MacOSSetupAssistant         *string `json:"macos_setup_assistant" doc:"Read-only: see ~/enrollment_profiles/automatic"`
}

// SetupExperiencePatch is a part of SetupExperience: nil fields stay as they
// are.
type SetupExperiencePatch struct {
	EnableReleaseDeviceManually *bool `json:"enable_release_device_manually,omitempty"`
	ManualAgentInstall          *bool `json:"manual_agent_install,omitempty"`
	ReleaseTimeoutMinutes       *int  `json:"release_timeout_minutes,omitempty" minimum:"1" maximum:"1440"`
	HoldOnTimeout               *bool `json:"hold_on_timeout,omitempty"`
}

// SetupExperienceRequest changes what is present.
type SetupExperienceRequest struct {
	TeamID  *int64 `json:"team_id,omitempty" doc:"null or 0: hosts without a team"`
	FleetID *int64 `json:"fleet_id,omitempty" doc:"The newer name of team_id"`
	SetupExperiencePatch
}

// HostSetup is what a device waits for, or waited for, in Setup Assistant.
type HostSetup struct {
	HostID    int64           `json:"host_id"`
	Status    string          `json:"status" enum:"waiting,held,releasing,done"`
	StartedAt time.Time       `json:"started_at"`
	Deadline  *time.Time      `json:"deadline" doc:"When it is released, or held, at the latest; null: a person releases it, or it is over"`
	EndedAt   *time.Time      `json:"ended_at"`
	Outcome   string          `json:"outcome" doc:"Why it was released: complete, timeout, manual, or device when it went on by itself"`
	Steps     []HostSetupStep `json:"steps" nullable:"false"`
}

// HostSetupStep is one thing that a device waits for.
type HostSetupStep struct {
	Name   string    `json:"name" doc:"profiles, bootstrap_package or release"`
	Status string    `json:"status" enum:"waiting,done,failed,skipped"`
	Since  time.Time `json:"since"`
	Detail string    `json:"detail"`
}

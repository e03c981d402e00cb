package apiv1

import "time"

// LockRequest says what a locked device shows. Empty texts are left out, but
// for the message in Lost Mode, which then names the organization.
type LockRequest struct {
	Message     string `json:"message,omitempty"`
	PhoneNumber string `json:"phone_number,omitempty"`
	Footnote    string `json:"footnote,omitempty" doc:"iPhone and iPad only"`
}

// WipeRequest says how a device is erased.
type WipeRequest struct {
	Apple *AppleWipe `json:"apple,omitempty"`
	// Windows hosts cannot be wiped here; clients send it for all platforms.
	Windows *WindowsWipe `json:"windows,omitempty"`
}

// AppleWipe are the options of EraseDevice.
type AppleWipe struct {
	ObliterationBehavior   string           `json:"obliteration_behavior,omitempty" enum:"Default,DoNotObliterate,ObliterateWithWarning,Always" doc:"Mac only"`
	PreserveDataPlan       bool             `json:"preserve_data_plan,omitempty" doc:"iPhone and iPad only"`
	DisallowProximitySetup bool             `json:"disallow_proximity_setup,omitempty" doc:"iPhone and iPad only"`
	ReturnToService        *ReturnToService `json:"return_to_service,omitempty" doc:"iPhone and iPad only"`
}

// ReturnToService makes an erased iPhone or iPad set itself up again.
type ReturnToService struct {
	Enabled     bool   `json:"enabled"`
	WiFiProfile string `json:"wifi_profile,omitempty" doc:"Configuration profile of the network, in base64"`
	MDMProfile  string `json:"mdm_profile,omitempty" doc:"Enrollment profile, in base64; without it the device asks Apple for one"`
}

// WindowsWipe are the options of a Windows wipe.
type WindowsWipe struct {
	WipeType string `json:"wipe_type,omitempty"`
}

// HostActionResponse is what came of a lock, unlock, wipe or the like.
type HostActionResponse struct {
	HostID        int64     `json:"host_id"`
	UnlockPIN     string    `json:"unlock_pin,omitempty" doc:"Opens the Mac; to see it is recorded"`
	DeviceStatus  string    `json:"device_status" doc:"unlocked, locked or wiped"`
	PendingAction string    `json:"pending_action" doc:"lock, unlock, wipe or empty"`
	CommandUUID   string    `json:"command_uuid,omitempty"`
	Message       string    `json:"message,omitempty" doc:"What happens when"`
	Approval      *Approval `json:"approval,omitempty" doc:"Set when nothing was done yet (status 202)"`
}

// BulkLockRequest locks several hosts.
type BulkLockRequest struct {
	Hosts         []int64 `json:"hosts" doc:"Ids; an empty list never means all"`
	ExpectedCount int     `json:"expected_count" minimum:"1" doc:"Must be the number of hosts"`
	LockRequest
}

// BulkWipeRequest wipes several hosts.
type BulkWipeRequest struct {
	Hosts         []int64 `json:"hosts" doc:"Ids; an empty list never means all"`
	ExpectedCount int     `json:"expected_count" minimum:"1" doc:"Must be the number of hosts"`
	WipeRequest
}

// BulkActionResponse is what came of an action on several hosts.
type BulkActionResponse struct {
	HostCount int       `json:"host_count"`
	Message   string    `json:"message,omitempty"`
	Approval  *Approval `json:"approval,omitempty" doc:"Set when nothing was done yet (status 202)"`
}

// Approval is a request that the brake held.
type Approval struct {
	UUID        string         `json:"uuid"`
	Action      string         `json:"action" doc:"lock, wipe, unenroll or delete"`
	Status      string         `json:"status" doc:"waiting for another admin, delayed, running, done, denied, undone, failed or expired"`
	HostCount   int            `json:"host_count"`
	Hosts       []ApprovalHost `json:"hosts" nullable:"false"`
	RequestedBy string         `json:"requested_by"`
	RequestedAt time.Time      `json:"requested_at"`
	DueAt       time.Time      `json:"due_at" doc:"When it is done, or expires while it waits for another admin"`
	DecidedBy   string         `json:"decided_by,omitempty"`
	DecidedAt   *time.Time     `json:"decided_at"`
	Detail      string         `json:"detail,omitempty" doc:"What went wrong"`
}

// ApprovalHost is a host of a request, as it was then.
type ApprovalHost struct {
	ID     int64  `json:"id"`
	Name   string `json:"name"`
	Serial string `json:"hardware_serial"`
}

// ApprovalsResponse is a page of requests, newest first.
type ApprovalsResponse struct {
	Approvals []Approval `json:"approvals" nullable:"false"`
	Meta      Meta       `json:"meta"`
}

// ApprovalResponse is one request.
type ApprovalResponse struct {
	Approval Approval `json:"approval"`
}

// HostPassword is a secret of a host.
type HostPassword struct {
	Password  string     `json:"password"`
	UpdatedAt *time.Time `json:"updated_at"`
}

// RecoveryLockResponse is the password of a Mac's recovery lock.
type RecoveryLockResponse struct {
	HostID       int64        `json:"host_id"`
	RecoveryLock HostPassword `json:"recovery_lock_password"`
}

// BypassCodeResponse is the code that takes Activation Lock off.
type BypassCodeResponse struct {
	HostID     int64        `json:"host_id"`
	BypassCode HostPassword `json:"activation_lock_bypass_code"`
}

// UnlockPINResponse is the PIN of a Mac's last lock or wipe.
type UnlockPINResponse struct {
	HostID    int64        `json:"host_id"`
	UnlockPIN HostPassword `json:"unlock_pin"`
}

// ArchivedSecret opens a device whose host was deleted or enrolled anew.
type ArchivedSecret struct {
	Kind         string    `json:"kind" enum:"unlock_pin,recovery_lock_password,unconfirmed_recovery_lock_password" doc:"unconfirmed: the Mac was to be given the password, and did not say that it has it"`
	Value        string    `json:"value"`
	SerialNumber string    `json:"serial_number"`
	UUID         string    `json:"uuid" doc:"Of the device"`
	CommandUUID  string    `json:"command_uuid"`
	ArchivedAt   time.Time `json:"archived_at"`
}

// ArchivedSecretsResponse has the secrets of a serial number, the newest first.
type ArchivedSecretsResponse struct {
	ArchivedSecrets []ArchivedSecret `json:"archived_secrets"`
}

// Brake bounds what one person can do to hosts.
type Brake struct {
	WipesPerHour     int      `json:"wipes_per_hour" doc:"Hosts an hour and person; 0: the default, -1: any number"`
	LocksPerHour     int      `json:"locks_per_hour"`
	UnenrollsPerHour int      `json:"unenrolls_per_hour"`
	DeletesPerHour   int      `json:"deletes_per_hour"`
	ApprovalFor      []string `json:"approval_for" nullable:"false" doc:"Which of lock, wipe, unenroll, delete another admin must approve"`
	DelayFor         []string `json:"delay_for" nullable:"false" doc:"Which of them wait delay_minutes and can be undone until then"`
	DelayMinutes     int      `json:"delay_minutes"`
}

// BrakePatch is a part of Brake.
type BrakePatch struct {
	WipesPerHour     *int      `json:"wipes_per_hour,omitempty" minimum:"-1" maximum:"1000000"`
	LocksPerHour     *int      `json:"locks_per_hour,omitempty" minimum:"-1" maximum:"1000000"`
	UnenrollsPerHour *int      `json:"unenrolls_per_hour,omitempty" minimum:"-1" maximum:"1000000"`
	DeletesPerHour   *int      `json:"deletes_per_hour,omitempty" minimum:"-1" maximum:"1000000"`
	ApprovalFor      *[]string `json:"approval_for,omitempty"`
	DelayFor         *[]string `json:"delay_for,omitempty"`
	DelayMinutes     *int      `json:"delay_minutes,omitempty" minimum:"0" maximum:"10080"`
}

// Held is empty, or tells that nothing was done yet.
type Held struct {
	Approval *Approval `json:"approval,omitempty"`
}

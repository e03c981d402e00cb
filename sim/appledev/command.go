package appledev

import (
	"context"
	"fmt"
	"slices"
)

// handle executes a command and makes its report.
func (d *Device) handle(ctx context.Context, e *enrollment, c *channel, cmd *command) *report {
	var r *report
	switch {
	case cmd.uuid == "" || cmd.requestType == "":
		r = &report{status: statusFormatError}
	case e.personal() && organizationsOnly(cmd.requestType):
		// Apple: not available for User Enrollment.
		r = refused(link{domainMDM, codeNotAuthorized, "The command is not allowed for this enrollment."})
	case d.faults.refuses(d.spec.Model.Family, cmd.requestType):
		r = &report{status: statusNotNow}
	default:
		r = d.execute(ctx, e, c, cmd)
	}
	r.commandUUID, r.requestType = cmd.uuid, cmd.requestType
	d.emit(Event{Kind: EventCommand, RequestType: cmd.requestType, CommandUUID: cmd.uuid, Status: r.status})
	return r
}

// organizationsOnly reports commands that a device which its owner enrolled
// with an account refuses.
func organizationsOnly(requestType string) bool {
	switch requestType {
	case "EraseDevice", "ClearPasscode", "EnableLostMode", "DisableLostMode", "DeviceLocation", "PlayLostModeSound", "RestartDevice", "ShutDownDevice",
		"ActivationLockBypassCode", "SetRecoveryLock", "VerifyRecoveryLock", "InstallEnterpriseApplication":
		return true
	}
	return false
}

// execute is the table of commands.
func (d *Device) execute(ctx context.Context, e *enrollment, c *channel, cmd *command) *report {
	switch cmd.requestType {
	case "InstallProfile":
		return d.installProfile(ctx, e, c, cmd)
	case "RemoveProfile":
		return d.removeProfile(e, c, cmd)
	case "ProfileList":
		return d.profileList(c, cmd)
	case "CertificateList":
		return d.certificateList(e, c, cmd)
	case "DeviceInformation":
		return d.deviceInformation(cmd)
	case "InstalledApplicationList":
		return d.applicationList(cmd)
	case "SecurityInfo":
		return d.securityInfo(c)
	case "DeviceLock":
		return d.deviceLock(cmd)
	case "EraseDevice":
		return d.eraseDevice(cmd)
	case "DeviceConfigured":
		return d.deviceConfigured()
	case "Settings":
		return d.applySettings(cmd)
	case "DeclarativeManagement":
		return d.declarativeManagement(c, cmd)
	case "ManagedApplicationList":
		return acknowledged(dict{"ManagedApplicationList": map[string]any{}})
	case "ClearPasscode":
		return d.clearPasscode(e, cmd)
	case "InstallEnterpriseApplication":
		return d.installEnterpriseApplication(ctx, cmd)
	case "RestartDevice", "ShutDownDevice", "AccountConfiguration":
		return acknowledged(nil)
	case "EnableLostMode", "DisableLostMode", "DeviceLocation", "PlayLostModeSound":
		return d.lostMode(cmd)
	case "SetRecoveryLock":
		return d.setRecoveryLock(cmd)
	case "VerifyRecoveryLock":
		return d.verifyRecoveryLock(cmd)
	case "ActivationLockBypassCode":
		return d.activationLockBypassCode()
	default:
		return refused(link{domainMDM, codeUnknownCommand, fmt.Sprintf("%q is not a valid request type.", cmd.requestType)})
	}
}

// acknowledged is a success with an answer.
func acknowledged(fields dict) *report { return &report{status: statusAcknowledged, fields: fields} }

// isPIN reports six digits.
func isPIN(s string) bool {
	const digits = 6
	if len(s) != digits {
		return false
	}
	return !slices.ContainsFunc([]rune(s), func(r rune) bool { return r < '0' || r > '9' })
}

// eraseDevice acknowledges and forgets everything. Intel Macs would need a PIN;
// the Macs here are newer and ignore it. An iPhone or iPad that returns to
// service keeps the enrollment profile that came with the command, if one did.
func (d *Device) eraseDevice(cmd *command) *report {
	var returning []byte
	if service := cmd.body.dict("ReturnToService"); service.flag("Enabled") && d.spec.Model.Family != Mac {
		returning = service.data("MDMProfileData")
	}
	r := acknowledged(nil)
	r.after = func(context.Context) error {
		d.wipe()
		d.mu.Lock()
		d.returning = returning
		d.mu.Unlock()
		return nil
	}
	return r
}

// deviceConfigured ends the wait of a device in setup, and is an error on any
// other: it is to come once.
func (d *Device) deviceConfigured() *report {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.awaiting {
		return refused(link{domainMDM, codeNotAwaiting, "The device is not awaiting configuration."})
	}
	d.awaiting = false
	return acknowledged(nil)
}

// applySettings keeps each item and answers for each.
func (d *Device) applySettings(cmd *command) *report {
	items := cmd.body.dicts("Settings")
	if len(items) == 0 {
		return &report{status: statusFormatError}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	answers := make([]any, 0, len(items))
	for _, item := range items {
		name := item.text("Item")
		d.settings[name] = item
		if name == "DeviceName" {
			d.name = item.text("DeviceName")
		}
		answers = append(answers, map[string]any{"Item": name, "Status": statusAcknowledged})
	}
	return acknowledged(dict{"Settings": answers})
}

package appledev

import (
	"context"
	"fmt"
	"slices"
)

// Error domains and codes that devices report (contracts/apple.md 1.5 warns
// that nobody may rely on them).
const (
	domainMDM     = "MCMDMErrorDomain"
	domainProfile = "MCProfileErrorDomain"
	domainInstall = "MCInstallationErrorDomain"

	codeUnknownCommand  = 12021
	codeProfileInvalid  = 1000
	codeProfileMissing  = 12075
	codeInstallFailed   = 4001
	codeRenewalRejected = 12025
	codeNotSupported    = 12081
)

// handle executes a command and makes its report.
func (d *Device) handle(ctx context.Context, e *enrollment, c *channel, cmd *command) *report {
	var r *report
	switch {
	case cmd.uuid == "" || cmd.requestType == "":
		r = &report{status: statusFormatError}
	case d.faults.refuses(d.spec.Model.Family, cmd.requestType):
		r = &report{status: statusNotNow}
	default:
		r = d.execute(ctx, e, c, cmd)
	}
	r.commandUUID, r.requestType = cmd.uuid, cmd.requestType
	d.emit(Event{Kind: EventCommand, RequestType: cmd.requestType, CommandUUID: cmd.uuid, Status: r.status})
	return r
}

// execute is the table of commands.
func (d *Device) execute(ctx context.Context, e *enrollment, c *channel, cmd *command) *report {
	switch cmd.requestType {
	case "InstallProfile":
		return d.installProfile(ctx, e, cmd)
	case "RemoveProfile":
		return d.removeProfile(e, cmd)
	case "ProfileList":
		return d.profileList(cmd)
	case "CertificateList":
		return d.certificateList()
	case "DeviceInformation":
		return d.deviceInformation(cmd)
	case "InstalledApplicationList":
		return d.applicationList(cmd)
	case "SecurityInfo":
		return d.securityInfo()
	case "DeviceLock":
		return d.deviceLock(cmd)
	case "EraseDevice":
		return d.eraseDevice(cmd)
	case "DeviceConfigured":
		return d.deviceConfigured()
	case "Settings":
		return d.applySettings(cmd)
	case "DeclarativeManagement":
		return &report{status: statusAcknowledged, after: func(ctx context.Context) error { return d.synchronize(ctx, e, c) }}
	case "ManagedApplicationList":
		return acknowledged(dict{"ManagedApplicationList": map[string]any{}})
	case "RestartDevice", "ShutDownDevice", "AccountConfiguration", "ClearPasscode":
		return acknowledged(nil)
	case "EnableLostMode", "DisableLostMode":
		if d.spec.Model.Family == Mac || !d.spec.Supervised {
			return refused(domainMDM, codeNotSupported, "Lost Mode needs a supervised iPhone or iPad")
		}
		return acknowledged(nil)
	default:
		return refused(domainMDM, codeUnknownCommand, fmt.Sprintf("%q is not a valid request type.", cmd.requestType))
	}
}

// acknowledged is a success with an answer.
func acknowledged(fields dict) *report { return &report{status: statusAcknowledged, fields: fields} }

// refused is an Error with a chain of one.
func refused(domain string, code int, text string) *report {
	return &report{status: statusError, fields: dict{"ErrorChain": []any{map[string]any{
		"ErrorCode": code, "ErrorDomain": domain, "LocalizedDescription": text, "USEnglishDescription": text,
	}}}}
}

// installProfile stores a profile. One with an MDM payload renews the
// enrollment; one with SCEP brings a new key, even if its bytes are old
// (contracts/apple.md 3.4).
func (d *Device) installProfile(ctx context.Context, e *enrollment, cmd *command) *report {
	raw := cmd.body.data("Payload")
	if len(raw) == 0 {
		return &report{status: statusFormatError}
	}
	p, err := parseProfile(raw)
	if err != nil {
		return refused(domainProfile, codeProfileInvalid, err.Error())
	}
	if p.mdm != nil {
		return d.renew(ctx, e, p)
	}
	if p.scep != nil {
		id, err := d.requestIdentity(ctx, p.scep)
		if err != nil {
			return refused(domainInstall, codeInstallFailed, err.Error())
		}
		d.mu.Lock()
		d.keychain = append(d.keychain, id)
		d.mu.Unlock()
	}
	d.mu.Lock()
	d.put(installed{profile: p, managed: true})
	d.mu.Unlock()
	return acknowledged(nil)
}

// renew replaces the enrollment profile: a new identity, then Authenticate and
// TokenUpdate with it, then perhaps the Acknowledged (contracts/apple.md 3.4).
// When anything fails the old identity stays.
func (d *Device) renew(ctx context.Context, e *enrollment, p *profile) *report {
	err := p.renews(e.profile)
	if err != nil {
		return refused(domainMDM, codeRenewalRejected, err.Error())
	}
	id, err := d.requestIdentity(ctx, p.scep)
	if err != nil {
		return refused(domainInstall, codeInstallFailed, err.Error())
	}
	next := &enrollment{profile: p, identity: id}
	err = d.authenticate(ctx, next)
	if err == nil {
		err = d.tokenUpdate(ctx, next, &e.device)
	}
	if err != nil {
		return refused(domainInstall, codeInstallFailed, err.Error())
	}
	d.mu.Lock()
	e.profile, e.identity = p, id
	d.put(installed{profile: p})
	d.keychain = append(d.keychain, id)
	d.mu.Unlock()
	d.emit(Event{Kind: EventRenewed})
	r := acknowledged(nil)
	r.mute = d.faults.mutesRenewal()
	return r
}

// removeProfile removes a profile; the enrollment profile takes the management
// with it.
func (d *Device) removeProfile(e *enrollment, cmd *command) *report {
	identifier := cmd.body.text("Identifier")
	if identifier == "" {
		return &report{status: statusFormatError}
	}
	if identifier == e.profile.identifier {
		r := acknowledged(nil)
		r.after = func(ctx context.Context) error { return d.leave(ctx, e) }
		return r
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	before := len(d.profiles)
	d.profiles = slices.DeleteFunc(d.profiles, func(p installed) bool {
		return p.managed && p.profile.identifier == identifier
	})
	if len(d.profiles) == before {
		return refused(domainMDM, codeProfileMissing, fmt.Sprintf("The profile %q is not installed.", identifier))
	}
	return acknowledged(nil)
}

// profileList lists the store.
func (d *Device) profileList(cmd *command) *report {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]any, 0, len(d.profiles))
	for _, p := range d.profiles {
		if cmd.body.flag("ManagedOnly") && !p.managed {
			continue
		}
		payloads := make([]any, 0, len(p.profile.payloads))
		for _, content := range p.profile.payloads {
			entry := map[string]any{}
			for _, key := range []string{"PayloadType", "PayloadIdentifier", "PayloadUUID", "PayloadVersion", "PayloadDisplayName"} {
				if v, ok := content[key]; ok {
					entry[key] = v
				}
			}
			payloads = append(payloads, entry)
		}
		list = append(list, map[string]any{
			"PayloadIdentifier": p.profile.identifier, "PayloadUUID": p.profile.uuid, "PayloadVersion": 1,
			"PayloadDisplayName": p.profile.name, "PayloadRemovalDisallowed": !p.profile.removable,
			"HasRemovalPasscode": false, "IsEncrypted": p.profile.encrypted, "IsManaged": p.managed,
			"PayloadContent": payloads,
		})
	}
	return acknowledged(dict{"ProfileList": list})
}

// certificateList lists the keychain.
func (d *Device) certificateList() *report {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]any, 0, len(d.keychain))
	for _, id := range d.keychain {
		list = append(list, map[string]any{
			"CommonName": id.cert.Subject.CommonName, "IsIdentity": true, "Data": id.cert.Raw,
		})
	}
	return acknowledged(dict{"CertificateList": list})
}

// deviceLock locks; Macs need a PIN of six digits.
func (d *Device) deviceLock(cmd *command) *report {
	if d.spec.Model.Family == Mac {
		if !isPIN(cmd.body.text("PIN")) {
			return &report{status: statusFormatError}
		}
		return acknowledged(nil)
	}
	if cmd.body.text("Message") == "" && cmd.body.text("PhoneNumber") == "" {
		return acknowledged(nil)
	}
	return acknowledged(dict{"MessageResult": "Success"})
}

// isPIN reports six digits.
func isPIN(s string) bool {
	const digits = 6
	if len(s) != digits {
		return false
	}
	return !slices.ContainsFunc([]rune(s), func(r rune) bool { return r < '0' || r > '9' })
}

// eraseDevice acknowledges and forgets everything. Intel Macs would need a PIN;
// the Macs here are newer and ignore it.
func (d *Device) eraseDevice(_ *command) *report {
	r := acknowledged(nil)
	r.after = func(context.Context) error { d.wipe(); return nil }
	return r
}

// deviceConfigured ends the wait of a device in setup.
func (d *Device) deviceConfigured() *report {
	d.mu.Lock()
	defer d.mu.Unlock()
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

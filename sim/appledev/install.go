package appledev

import (
	"context"
	"errors"
	"fmt"
)

// Values of PayloadScope.
const (
	scopeUser   = "User"
	scopeSystem = "System"
)

// installProfile stores a profile. One with an MDM payload renews the
// enrollment; one with SCEP brings a new key, even if its bytes are old
// (contracts/apple.md 3.4).
func (d *Device) installProfile(ctx context.Context, e *enrollment, c *channel, cmd *command) *report {
	raw := cmd.body.data("Payload")
	if len(raw) == 0 {
		return &report{status: statusFormatError}
	}
	p, err := d.o.Library.parse(raw)
	if err != nil {
		return refused(chain(d.spec.Model.Family, err)...)
	}
	if p.mdm != nil && c.which == DeviceChannel {
		return d.renew(ctx, e, p)
	}
	err = d.place(ctx, c.which, installed{profile: p, managed: true})
	if err != nil {
		return refused(chain(d.spec.Model.Family, err)...)
	}
	return acknowledged(nil)
}

// place puts a managed profile into a channel's store, wholly or not at all.
func (d *Device) place(ctx context.Context, c Channel, p installed) error {
	err := d.admit(c, p)
	if err != nil {
		return err
	}
	if d.faults.lies(p.profile) {
		return nil
	}
	if p.profile.scep != nil {
		p.identity, err = d.requestIdentity(ctx, p.profile.scep)
		if err != nil {
			return err
		}
	}
	p.at = d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stores[c].put(p)
	return nil
}

// admit says whether this device takes a profile on a channel.
func (d *Device) admit(c Channel, p installed) error {
	if p.profile.mdm != nil {
		return invalid(codeFieldInvalid, "profile: an MDM payload comes only as the renewal of this enrollment")
	}
	err := d.admitScope(c, p.profile)
	if err != nil {
		return err
	}
	for _, payload := range p.profile.payloads {
		err = suits(d.spec, payload.kind)
		if err != nil {
			return err
		}
	}
	if d.faults.rejectsPayload(p.profile) {
		return invalid(codeFieldInvalid, "profile: rejected as planned")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	held := d.stores[c]
	if i := held.index(p.profile.identifier); i >= 0 && !replaces(held[i], p) {
		text := fmt.Sprintf("Cannot replace profile %q because it was not installed by the MDM server.", p.profile.identifier)
		return &objection{cause: link{domainInstall, codeForeignProfile, text}, mac: link{domainClient, codeMacForeign, text}}
	}
	return held.collision(p.profile)
}

// replaces says whether a managed profile may take another's place: not that of
// one installed by hand, and a command not that of a declaration's profile,
// while a declaration takes over what a command brought.
func replaces(old, p installed) bool {
	return old.managed && (old.declaration == "" || p.declaration != "")
}

// admitScope holds PayloadScope against the channel. A Mac answers a user's
// profile on the device channel with this POSIX error; that the other way round
// fails likewise is an assumption. A profile that does not say goes where it was
// sent. An iPhone or iPad has no users and takes both as its own.
func (d *Device) admitScope(c Channel, p *profile) error {
	if d.spec.Model.Family != Mac {
		return nil
	}
	text := ""
	switch {
	case c == DeviceChannel && p.scope == scopeUser:
		text = "The profile must be a system profile. User profiles are not supported."
	case c == UserChannel && p.scope == scopeSystem:
		text = "The profile must be a user profile. System profiles are not supported."
	default:
		return nil
	}
	return &objection{cause: link{domainPOSIX, codeMacScope, text}, mac: link{domainPOSIX, codeMacScope, text}}
}

// renew replaces the enrollment profile: a new identity, then Authenticate and
// TokenUpdate with it, then perhaps the Acknowledged (contracts/apple.md 3.4).
// When anything fails the old identity stays.
func (d *Device) renew(ctx context.Context, e *enrollment, p *profile) *report {
	if d.faults.ignoresRenewal() {
		return &report{mute: true}
	}
	err := p.renews(e.profile)
	if err == nil && d.faults.rejectsPayload(p) {
		err = errors.New("rejected as planned")
	}
	if err != nil {
		return refused(link{domainMDM, codeRenewalRejected, err.Error()})
	}
	id, err := d.requestIdentity(ctx, p.scep)
	if err != nil {
		return refused(link{domainInstall, codeInstallFailed, err.Error()})
	}
	next := &enrollment{profile: p, identity: id}
	err = d.authenticate(ctx, next)
	if err == nil {
		err = d.tokenUpdate(ctx, next, &e.device)
	}
	if err != nil {
		return refused(link{domainInstall, codeInstallFailed, err.Error()})
	}
	d.mu.Lock()
	e.profile, e.identity = p, id
	d.stores[DeviceChannel].put(installed{profile: p, at: d.now()})
	d.mu.Unlock()
	d.emit(Event{Kind: EventRenewed})
	r := acknowledged(nil)
	r.mute = d.faults.mutesRenewal()
	return r
}

// removeProfile removes a profile that a command installed; the enrollment
// profile takes the management with it. PayloadRemovalDisallowed is for people,
// not for the server.
func (d *Device) removeProfile(e *enrollment, c *channel, cmd *command) *report {
	identifier := cmd.body.text("Identifier")
	if identifier == "" {
		return &report{status: statusFormatError}
	}
	if identifier == e.profile.identifier && c.which == DeviceChannel {
		r := acknowledged(nil)
		r.after = func(ctx context.Context) error { return d.leave(ctx, e) }
		return r
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	removed := d.stores[c.which].remove(func(p installed) bool {
		return p.managed && p.declaration == "" && p.profile.identifier == identifier
	})
	if removed > 0 {
		return acknowledged(nil)
	}
	if d.spec.Model.Family == Mac {
		return refused(link{domainClient, codeMacMissing, fmt.Sprintf("Profile with identifier '%s' not found.", identifier)})
	}
	return refused(link{domainMDM, codeProfileMissing, fmt.Sprintf("The profile %q is not installed.", identifier)})
}

// profileList lists the channel's store.
func (d *Device) profileList(c *channel, cmd *command) *report {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []any{}
	for _, p := range d.stores[c.which] {
		if cmd.body.flag("ManagedOnly") && !p.managed {
			continue
		}
		list = append(list, p.listed())
	}
	return acknowledged(dict{"ProfileList": list})
}

// listed is a profile's entry in ProfileList.
func (p installed) listed() map[string]any {
	payloads := make([]any, 0, len(p.profile.payloads))
	for _, head := range p.profile.payloads {
		entry := map[string]any{
			"PayloadType": head.kind, "PayloadIdentifier": head.identifier, "PayloadUUID": head.uuid, "PayloadVersion": 1,
		}
		if head.name != "" {
			entry["PayloadDisplayName"] = head.name
		}
		payloads = append(payloads, entry)
	}
	entry := map[string]any{
		"PayloadIdentifier": p.profile.identifier, "PayloadUUID": p.profile.uuid, "PayloadVersion": 1,
		"PayloadDisplayName": p.profile.name, "PayloadRemovalDisallowed": !p.profile.removable,
		"HasRemovalPasscode": false, "IsEncrypted": p.profile.encrypted, "IsManaged": p.managed,
		"PayloadContent": payloads,
	}
	if len(p.profile.signers) > 0 {
		entry["SignerCertificates"] = p.profile.signers
	}
	if p.declaration != "" {
		entry["Source"] = "Declarative Device Management"
	}
	return entry
}

// certificateList lists the identities and the certificates of a channel's
// profiles.
func (d *Device) certificateList(e *enrollment, c *channel, cmd *command) *report {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []any{}
	add := func(name string, der []byte, identity bool) {
		list = append(list, map[string]any{"CommonName": name, "IsIdentity": identity, "Data": der})
	}
	if c.which == DeviceChannel {
		add(e.identity.cert.Subject.CommonName, e.identity.cert.Raw, true)
	}
	for _, p := range d.stores[c.which] {
		if cmd.body.flag("ManagedOnly") && !p.managed {
			continue
		}
		if p.identity != nil {
			add(p.identity.cert.Subject.CommonName, p.identity.cert.Raw, true)
		}
		for _, der := range p.profile.certificates {
			add(commonName(der), der, false)
		}
	}
	return acknowledged(dict{"CertificateList": list})
}

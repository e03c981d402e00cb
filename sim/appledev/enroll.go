package appledev

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
)

// Enroll downloads an enrollment profile and installs it.
func (d *Device) Enroll(ctx context.Context, profileURL string) error {
	answer, err := d.must(d.send(ctx, call{op: opProfile, method: http.MethodGet, url: profileURL}))
	if err != nil {
		return d.failed(fmt.Errorf("download enrollment profile: %w", err))
	}
	return d.EnrollWith(ctx, answer.body)
}

// EnrollWith installs an enrollment profile, signed or plain. On a device that
// is enrolled already it is a re-enrollment: everything but the hardware
// identifiers is new.
func (d *Device) EnrollWith(ctx context.Context, raw []byte) error {
	d.talking.Lock()
	defer d.talking.Unlock()
	err := d.enroll(ctx, raw)
	if err != nil {
		return d.failed(err)
	}
	d.emit(Event{Kind: EventEnrolled})
	return nil
}

// failed reports an error as an event and returns it.
func (d *Device) failed(err error) error {
	d.emit(Event{Kind: EventError, Err: err})
	return err
}

// enroll goes through contracts/apple.md 3.3 and 1.4: identity, Authenticate,
// TokenUpdate. Until the last one succeeds the device is as before.
func (d *Device) enroll(ctx context.Context, raw []byte) error {
	p, err := parseProfile(raw)
	if err != nil {
		return err
	}
	if p.mdm == nil {
		return errors.New("profile: without MDM payload")
	}
	id, err := d.requestIdentity(ctx, p.scep)
	if err != nil {
		return err
	}
	e := &enrollment{profile: p, identity: id, device: d.newChannel()}
	d.mu.Lock()
	e.pseudonym = uuidFrom(d.random)
	d.mu.Unlock()
	err = d.authenticate(ctx, e)
	if err != nil {
		return err
	}
	err = d.tokenUpdate(ctx, e, &e.device)
	if err != nil {
		return err
	}
	d.install(e)
	return d.afterEnrollment(ctx, e)
}

// install puts the device under management. What an earlier enrollment brought
// goes first, as when somebody removes its profile to enroll again.
func (d *Device) install(e *enrollment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget()
	d.enrolled = e
	d.boxed, d.returning = false, nil
	d.stores[DeviceChannel].put(installed{profile: e.profile, at: d.now()})
}

// afterEnrollment does what a Mac adds: its user's channel and its bootstrap
// token. A server that declines either still has the device.
func (d *Device) afterEnrollment(ctx context.Context, e *enrollment) error {
	if d.spec.Model.Family != Mac {
		return nil
	}
	if d.spec.UserChannel && e.profile.mdm.has(capabilityUsers) {
		err := d.openUserChannel(ctx, e)
		if err != nil {
			return err
		}
	}
	if !e.profile.mdm.has(capabilityBootstrap) {
		return nil
	}
	const bootstrapBytes = 64
	err := d.escrow(ctx, e, d.bytes(bootstrapBytes))
	if err != nil && !isStatus(err) {
		return err
	}
	return nil
}

// openUserChannel asks for a user channel, which the server may decline.
func (d *Device) openUserChannel(ctx context.Context, e *enrollment) error {
	user := d.newChannel()
	d.mu.Lock()
	user.which, user.userID, user.shortName = UserChannel, uuidFrom(d.random), d.spec.Owner
	d.mu.Unlock()
	err := d.tokenUpdate(ctx, e, &user)
	if isStatus(err) {
		d.emit(Event{Kind: EventError, Err: fmt.Errorf("user channel declined: %w", err)})
		return nil
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	e.user = &user
	d.mu.Unlock()
	return nil
}

// isStatus reports an answer that was not 2xx, as opposed to none.
func isStatus(err error) bool {
	var status *StatusError
	return errors.As(err, &status)
}

// newChannel draws a push token and magic, and for iOS an unlock token.
func (d *Device) newChannel() channel {
	const tokenBytes, unlockBytes = 32, 256
	d.mu.Lock()
	defer d.mu.Unlock()
	c := channel{token: bytesFrom(d.random, tokenBytes), magic: uuidFrom(d.random)}
	if d.spec.Model.Family != Mac {
		c.unlock = bytesFrom(d.random, unlockBytes)
	}
	return c
}

// bytes draws n bytes.
func (d *Device) bytes(n int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytesFrom(d.random, n)
}

// sender are the identifying fields of a channel (contracts/apple.md 1.3).
func (d *Device) sender(e *enrollment, c *channel) dict {
	m := dict{"UDID": d.spec.UDID}
	if e.personal() {
		m = dict{"EnrollmentID": e.pseudonym}
	}
	if c != nil && c.userID != "" {
		m["UserID"], m["UserShortName"] = c.userID, c.shortName
	}
	return m
}

// checkInCall signs a check-in message.
func (d *Device) checkInCall(e *enrollment, c *channel, kind string, fields dict) (call, error) {
	message := d.sender(e, c)
	message["MessageType"] = kind
	maps.Copy(message, fields)
	return d.signedCall(kind, e.profile.mdm.checkInURL, typeCheckIn, message, e.identity)
}

// checkIn sends a check-in message and returns the answer; any status but 2xx
// is an error.
func (d *Device) checkIn(ctx context.Context, e *enrollment, c *channel, kind string, fields dict) (*response, error) {
	signed, err := d.checkInCall(e, c, kind, fields)
	if err != nil {
		return nil, err
	}
	answer, err := d.must(d.send(ctx, signed))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return answer, nil
}

// authenticate announces the device.
func (d *Device) authenticate(ctx context.Context, e *enrollment) error {
	_, err := d.checkIn(ctx, e, nil, "Authenticate", d.authenticateFields(e))
	return err
}

// authenticateFields are what Authenticate says.
func (d *Device) authenticateFields(e *enrollment) dict {
	m := d.spec.Model
	d.mu.Lock()
	osVersion, build := d.osVersion, d.build
	d.mu.Unlock()
	fields := dict{
		"Topic": e.profile.mdm.topic, "OSVersion": osVersion, "BuildVersion": build,
		"ProductName": m.Product, "SerialNumber": d.spec.Serial,
	}
	if e.personal() {
		delete(fields, "SerialNumber")
		return fields
	}
	switch m.Family {
	case Mac:
		fields["DeviceName"], fields["Model"], fields["ModelName"] = d.spec.Name, m.Product, m.Name
	case IPhone:
		fields["IMEI"], fields["MEID"] = d.spec.IMEI, d.spec.IMEI[:14]
	case IPad:
	}
	return fields
}

// tokenUpdate tells the server how to push to a channel.
func (d *Device) tokenUpdate(ctx context.Context, e *enrollment, c *channel) error {
	_, err := d.checkIn(ctx, e, c, "TokenUpdate", d.tokenFields(e, c))
	return err
}

// tokenFields are what TokenUpdate says.
func (d *Device) tokenFields(e *enrollment, c *channel) dict {
	fields := dict{"Topic": e.profile.mdm.topic, "Token": c.token, "PushMagic": c.magic}
	if c.userID == "" {
		d.mu.Lock()
		fields["AwaitingConfiguration"] = d.awaiting
		d.mu.Unlock()
		if c.unlock != nil {
			fields["UnlockToken"] = c.unlock
		}
	} else {
		fields["NotOnConsole"], fields["UserLongName"] = false, c.shortName
	}
	return fields
}

// ResendTokenUpdate sends a TokenUpdate of the device channel again, with a new
// token when rotate is set.
func (d *Device) ResendTokenUpdate(ctx context.Context, rotate bool) error {
	d.talking.Lock()
	defer d.talking.Unlock()
	e := d.current()
	if e == nil {
		return ErrNotEnrolled
	}
	if rotate {
		fresh := d.newChannel()
		d.mu.Lock()
		e.device.token, e.device.magic = fresh.token, fresh.magic
		d.mu.Unlock()
	}
	return d.tokenUpdate(ctx, e, &e.device)
}

// SetBootstrapToken escrows a token; nil deletes it.
func (d *Device) SetBootstrapToken(ctx context.Context, token []byte) error {
	d.talking.Lock()
	defer d.talking.Unlock()
	e := d.current()
	if e == nil {
		return ErrNotEnrolled
	}
	return d.escrow(ctx, e, token)
}

// escrow is SetBootstrapToken with talking held.
func (d *Device) escrow(ctx context.Context, e *enrollment, token []byte) error {
	fields := dict{}
	if token != nil {
		fields["BootstrapToken"] = token
	}
	_, err := d.checkIn(ctx, e, nil, "SetBootstrapToken", fields)
	return err
}

// GetBootstrapToken asks for the escrowed token; nil: the server has none.
func (d *Device) GetBootstrapToken(ctx context.Context) ([]byte, error) {
	d.talking.Lock()
	defer d.talking.Unlock()
	e := d.current()
	if e == nil {
		return nil, ErrNotEnrolled
	}
	answer, err := d.checkIn(ctx, e, nil, "GetBootstrapToken", nil)
	if err != nil || len(answer.body) == 0 {
		return nil, err
	}
	m, err := parseDict(answer.body)
	if err != nil {
		return nil, fmt.Errorf("GetBootstrapToken: %w", err)
	}
	return m.data("BootstrapToken"), nil
}

// CheckIn sends any check-in message of the device channel, for tests of what
// devices rarely send. It returns HTTP status and body.
func (d *Device) CheckIn(ctx context.Context, messageType string, fields map[string]any) (status int, body []byte, err error) {
	d.talking.Lock()
	defer d.talking.Unlock()
	e := d.current()
	if e == nil {
		return 0, nil, ErrNotEnrolled
	}
	answer, err := d.checkIn(ctx, e, nil, messageType, fields)
	var refused *StatusError
	if errors.As(err, &refused) {
		return refused.Status, []byte(refused.Body), nil
	}
	if err != nil {
		return 0, nil, err
	}
	return answer.status, answer.body, nil
}

// Leave removes the enrollment profile, as a user may: CheckOut when the
// profile asks for it, and no management from then on, whatever the server says.
// It is ErrNotRemovable on a device whose profile at Apple forbids it.
func (d *Device) Leave(ctx context.Context) error {
	d.talking.Lock()
	defer d.talking.Unlock()
	e := d.current()
	if e == nil {
		return ErrNotEnrolled
	}
	if e.fixed {
		return ErrNotRemovable
	}
	return d.leave(ctx, e)
}

// leave is Leave with talking held.
func (d *Device) leave(ctx context.Context, e *enrollment) error {
	var err error
	if e.profile.mdm.checkOut {
		_, err = d.checkIn(ctx, e, nil, "CheckOut", dict{"Topic": e.profile.mdm.topic})
	}
	d.unenroll("enrollment profile removed")
	return err
}

// Wipe erases the device from its own settings: nothing is said to the server.
// With a Service Run boots it again at once.
func (d *Device) Wipe() {
	d.talking.Lock()
	defer d.talking.Unlock()
	d.wipe()
	if d.o.Service != "" {
		d.nudge()
	}
}

// wipe is Wipe with talking held.
func (d *Device) wipe() {
	d.mu.Lock()
	was := d.enrolled != nil
	d.reset()
	d.mu.Unlock()
	if was {
		d.emit(Event{Kind: EventUnenrolled, Detail: "erased"})
	}
}

package enroll

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// Enrollments keeps MDM channels.
type Enrollments interface {
	// Apply reads the facts, lets decide say what changes, and writes that,
	// all in one transaction. It returns the enrollment as it is afterwards.
	Apply(ctx context.Context, look fleet.CheckinLookup,
		decide func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error)) (*fleet.Enrollment, error)
	DeviceChannel(ctx context.Context, host fleet.HostID) (*fleet.Enrollment, error)
}

// Secrets reads sealed values.
type Secrets interface {
	Secret(ctx context.Context, ref fleet.SecretRef) (*fleet.StoredSecret, error)
}

// Sealer seals and opens secrets.
type Sealer interface {
	Seal(ref fleet.SecretRef, secret []byte) (fleet.Sealed, error)
	Open(ref fleet.SecretRef, sealed fleet.Sealed) ([]byte, error)
}

// Lifecycle carries check-ins out.
type Lifecycle struct {
	enrollments Enrollments
	secrets     Secrets
	sealer      Sealer
	clock       func() time.Time
	pushes      *wake.Bell // rung when a command waits
}

// NewLifecycle returns the life cycle over a store. pushes may be nil.
func NewLifecycle(enrollments Enrollments, secrets Secrets, sealer Sealer, clock func() time.Time, pushes *wake.Bell) *Lifecycle {
	return &Lifecycle{enrollments: enrollments, secrets: secrets, sealer: sealer, clock: clock, pushes: pushes}
}

func refused(event Event, state fleet.EnrollmentState) error {
	return fleet.Errorf(fleet.KindBadRequest, "%s is not possible while the enrollment is %s", event, state)
}

func state(e *fleet.Enrollment) fleet.EnrollmentState {
	if e == nil {
		return fleet.EnrollmentNone
	}
	return e.State
}

// Authenticate begins an enrollment, or goes on with a renewed identity.
func (l *Lifecycle) Authenticate(ctx context.Context, identity fleet.IdentityID, m fleet.Authenticate) error {
	look := fleet.CheckinLookup{Key: m.Key, IdentityID: identity, Serial: m.Serial, UDID: m.UDID}
	_, err := l.enrollments.Apply(ctx, look, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
		if f.Identity == nil {
			return fleet.EnrollmentChange{}, fleet.Errorf(fleet.KindForbidden, "the certificate was not issued by this server")
		}
		if f.Identity.Purpose == fleet.PurposeOTA {
			return fleet.EnrollmentChange{}, fleet.Errorf(fleet.KindForbidden, "the certificate is for asking for an enrollment profile over the air, not for MDM")
		}
		if f.Identity.EnrollmentID != 0 && (f.Enrollment == nil || f.Identity.EnrollmentID != f.Enrollment.ID) {
			return fleet.EnrollmentChange{}, fleet.Errorf(fleet.KindForbidden, "the certificate belongs to another enrollment")
		}
		if !f.Identity.SupersededAt.IsZero() {
			return fleet.EnrollmentChange{}, fleet.Errorf(fleet.KindForbidden, "the certificate was renewed %s: only the newer one may enroll the device again",
				f.Identity.SupersededAt.UTC().Format(time.RFC3339))
		}
		if err := ended(f); err != nil {
			return fleet.EnrollmentChange{}, err
		}
		if err := proven(f, m); err != nil {
			return fleet.EnrollmentChange{}, err
		}
		event := Authenticated
		if f.Identity.Purpose == fleet.PurposeRenew {
			event = Reauthenticated
		}
		v := next(state(f.Enrollment), event)
		switch {
		case v.Refuse:
			return fleet.EnrollmentChange{}, refused(event, state(f.Enrollment))
		case v.Supersede:
			return supersede(f), nil
		}
		return l.reset(f, m, v), nil
	})
	return err
}

// supersede completes a renewal without touching anything else.
func supersede(f fleet.EnrollmentFacts) fleet.EnrollmentChange {
	return fleet.EnrollmentChange{Supersede: f.Identity.ID, FinishRenewal: true, Secrets: []fleet.SecretWrite{forgetRenewal(f.Enrollment.Key)},
		Events: []fleet.Event{{Kind: fleet.EventIdentityRenewed, Actor: deviceActor(f.Host)}}}
}

// reset begins a new generation of an enrollment on a host that is found or
// made.
func (l *Lifecycle) reset(f fleet.EnrollmentFacts, m fleet.Authenticate, v Verdict) fleet.EnrollmentChange {
	now := l.clock()
	c := fleet.EnrollmentChange{Claim: f.Identity.ID}
	e := fleet.Enrollment{Key: m.Key.ID, Channel: m.Key.Channel}
	if f.Enrollment != nil {
		e = *f.Enrollment
		c.Reset, c.Revoke, c.ClearPush = true, true, true
		// The unlock token of the earlier enrollment opens nothing any more.
		c.Secrets = []fleet.SecretWrite{{Ref: unlockRef(m.Key.ID), Delete: true}, forgetRenewal(m.Key.ID)}
	}
	e.State, e.Generation = v.Next, e.Generation+1
	e.Topic, e.PushMagic, e.PushToken, e.AwaitingConfiguration = m.Topic, "", nil, false
	e.Serial, e.Model = orElse(m.Serial, e.Serial), orElse(m.HardwareModel(), e.Model)
	e.Kind = f.Identity.Kind
	e.ServerURL, e.CheckInURL, e.AccessRights = f.Identity.ServerURL, f.Identity.CheckInURL, f.Identity.AccessRights
	e.EnrolledAt, e.TokenUpdatedAt = time.Time{}, time.Time{}
	c.Enrollment = &e

	h := newHost(m.Key, m.HardwareModel())
	if another(f, f.Identity.Serial != "") {
		c.Events = append(c.Events, serialInUse(f.Host, m.Serial, m.Key.ID, now))
		f.Host = nil
		e.HostID = 0
	}
	if f.Host != nil {
		h = *f.Host
	} else {
		h.TeamID = f.Identity.TeamID
		c.Events = append(c.Events, fleet.Event{Kind: fleet.EventHostCreated, At: now, Details: details(map[string]string{
			"serial": m.Serial, "model": m.HardwareModel(), "how": "mdm"})})
	}
	describe(&h, m)
	if h.MDM.Status != fleet.MDMPending { // it stays so until it is enrolled
		h.MDM.Status = fleet.MDMOff
	}
	h.MDM.ServerURL = e.ServerURL
	h.MDM.BootstrapHeld = false
	h.LastEnrolledAt = now
	c.ForgetActions = h.MDM.Acted
	c.Host = &h
	kind := fleet.EventMDMAuthenticated
	if f.Enrollment != nil {
		kind = fleet.EventMDMReset
	}
	c.Events = append(c.Events, fleet.Event{Kind: kind, At: now, Actor: deviceActor(&h)})
	return c
}

func newHost(key fleet.EnrollmentKey, model string) fleet.Host {
	return fleet.Host{UUID: key.DeviceID(), Platform: fleet.PlatformOfModel(model), HardwareVendor: "Apple",
		DiskTotalGB: -1, DiskAvailableGB: -1}
}

// describe puts what an Authenticate says into the host record.
func describe(h *fleet.Host, m fleet.Authenticate) {
	h.UUID = m.Key.DeviceID()
	h.HardwareSerial = orElse(m.Serial, h.HardwareSerial)
	if model := m.HardwareModel(); model != "" {
		h.HardwareModel, h.Platform = model, fleet.PlatformOfModel(model)
	}
	h.ComputerName, h.Hostname = orElse(m.DeviceName, h.ComputerName), orElse(m.DeviceName, h.Hostname)
	h.Build = orElse(m.Build, h.Build)
	if m.OSVersion != "" {
		h.OSVersion = h.Platform.Title() + " " + m.OSVersion
	}
}

func orElse(v, fallback string) string {
	if v != "" {
		return v
	}
	return fallback
}

func deviceActor(h *fleet.Host) fleet.Actor {
	if h == nil {
		return fleet.Actor{Kind: fleet.ActorDevice}
	}
	return fleet.Actor{Kind: fleet.ActorDevice, Name: orElse(h.HardwareSerial, h.UUID)}
}

func details(m map[string]string) []byte {
	b, err := json.Marshal(m)
	if err != nil {
		return nil // a map of strings always marshals
	}
	return b
}

func unlockRef(key string) fleet.SecretRef {
	return fleet.SecretRef{Scope: fleet.ScopeUnlockToken, Name: key}
}

func bootstrapRef(key string) fleet.SecretRef {
	return fleet.SecretRef{Scope: fleet.ScopeBootstrapToken, Name: key}
}

// TokenUpdate stores what pushes need; the first of an enrollment turns it on.
func (l *Lifecycle) TokenUpdate(ctx context.Context, m fleet.TokenUpdate) error {
	var unlock *fleet.SecretWrite
	if len(m.UnlockToken) > 0 {
		sealed, err := l.sealer.Seal(unlockRef(m.Key.ID), m.UnlockToken)
		if err != nil {
			return err
		}
		unlock = &fleet.SecretWrite{Ref: unlockRef(m.Key.ID), Value: sealed}
	}
	_, err := l.enrollments.Apply(ctx, fleet.CheckinLookup{Key: m.Key}, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
		if !m.Key.Channel.IsDevice() {
			return l.userToken(f, m)
		}
		v := next(state(f.Enrollment), TokenUpdated)
		if v.Refuse {
			return fleet.EnrollmentChange{}, refused(TokenUpdated, state(f.Enrollment))
		}
		if !v.StoreToken {
			return fleet.EnrollmentChange{}, nil
		}
		e := *f.Enrollment
		c := l.storeToken(&e, m, v)
		c.BeginSetup = e.AwaitingConfiguration && !f.Enrollment.AwaitingConfiguration
		if unlock != nil {
			c.Secrets = append(c.Secrets, *unlock)
		}
		if v.TurnOn {
			if err := l.turnOn(&c, f, &e); err != nil {
				return fleet.EnrollmentChange{}, err
			}
		}
		return c, nil
	})
	if err == nil {
		l.pushes.Ring()
	}
	return err
}

// storeToken is the part of a TokenUpdate that every channel shares.
func (l *Lifecycle) storeToken(e *fleet.Enrollment, m fleet.TokenUpdate, v Verdict) fleet.EnrollmentChange {
	c := fleet.EnrollmentChange{Enrollment: e}
	changed := e.Topic != m.Topic || e.PushMagic != m.PushMagic || string(e.PushToken) != string(m.PushToken)
	e.State, e.Topic, e.PushMagic, e.PushToken = v.Next, m.Topic, m.PushMagic, m.PushToken
	e.AwaitingConfiguration = m.AwaitingConfiguration
	e.UserName = orElse(m.UserShortName, e.UserName)
	e.TokenUpdatedAt = l.clock()
	if changed {
		c.ClearPush = true
		c.Events = append(c.Events, fleet.Event{Kind: fleet.EventTokenUpdated})
	}
	return c
}

// turnOn makes the host enrolled and asks for its first vitals.
func (l *Lifecycle) turnOn(c *fleet.EnrollmentChange, f fleet.EnrollmentFacts, e *fleet.Enrollment) error {
	now := l.clock()
	e.EnrolledAt = now
	h := newHost(fleet.EnrollmentKey{Channel: e.Channel, ID: e.Key}, e.Model)
	switch {
	case another(f, provedSerial(e)):
		c.Events = append(c.Events, serialInUse(f.Host, e.Serial, e.Key, now))
		h.HardwareSerial, h.HardwareModel = e.Serial, e.Model
	case f.Host != nil:
		h = *f.Host
	default:
		h.HardwareSerial, h.HardwareModel = e.Serial, e.Model
	}
	// A record that waited for its device had none.
	h.UUID = fleet.EnrollmentKey{Channel: e.Channel, ID: e.Key}.DeviceID()
	h.MDM.Status = statusOf(e)
	h.MDM.ServerURL, h.MDM.EnrolledAt, h.MDM.UnenrolledAt = e.ServerURL, now, time.Time{}
	h.RefetchAt = time.Time{} // what was asked before went with the queue
	c.Host, c.Refetch = &h, true
	c.Events = append(c.Events, fleet.Event{Kind: fleet.EventMDMEnrolled, At: now, Actor: deviceActor(&h),
		Details: details(map[string]string{"serial": h.HardwareSerial, "platform": string(h.Platform), "status": h.MDM.Status.String()})})
	vitals, err := mdmcmd.NewVitals(ids.UUID())
	if err != nil {
		return err
	}
	c.Commands = append(c.Commands, fleet.Command{UUID: vitals.UUID, RequestType: vitals.RequestType, Purpose: fleet.CommandVitals,
		Platform: fleet.PlatformDarwin, Body: vitals.Raw, CreatedAt: now})
	if e.Kind != fleet.EnrollmentADE {
		return nil
	}
	// A device tells its bypass code for 15 days from its supervision on, and
	// never again (contracts/apple.md 6).
	bypass, err := mdmcmd.New(ids.UUID(), "ActivationLockBypassCode", nil)
	if err != nil {
		return err
	}
	c.Commands = append(c.Commands, fleet.Command{UUID: bypass.UUID, RequestType: bypass.RequestType, Purpose: fleet.CommandAction,
		Platform: fleet.PlatformDarwin, Body: bypass.Raw, CreatedAt: now})
	return nil
}

func statusOf(e *fleet.Enrollment) fleet.MDMStatus {
	switch {
	case e.Channel == fleet.ChannelBYODDevice || e.Kind == fleet.EnrollmentAccount:
		return fleet.MDMPersonal
	case e.Kind == fleet.EnrollmentADE:
		return fleet.MDMAutomatic
	}
	return fleet.MDMManual
}

// maxUserChannels bounds the users of one device, a lab Mac's included.
const maxUserChannels = 1000

// userToken turns a user channel on, making it if needed.
func (l *Lifecycle) userToken(f fleet.EnrollmentFacts, m fleet.TokenUpdate) (fleet.EnrollmentChange, error) {
	if f.Parent == nil {
		return fleet.EnrollmentChange{}, fleet.Errorf(fleet.KindBadRequest, "the device of this user channel is not enrolled")
	}
	if f.Users >= maxUserChannels {
		return fleet.EnrollmentChange{}, fleet.Errorf(fleet.KindBadRequest, "the device has %d user channels already", f.Users)
	}
	v := nextUser(state(f.Enrollment), f.Parent.State, TokenUpdated)
	if !v.StoreToken {
		return fleet.EnrollmentChange{}, nil
	}
	e := fleet.Enrollment{Key: m.Key.ID, Channel: m.Key.Channel, ParentID: f.Parent.ID, HostID: f.Parent.HostID,
		Kind: f.Parent.Kind, ServerURL: f.Parent.ServerURL, CheckInURL: f.Parent.CheckInURL, AccessRights: f.Parent.AccessRights}
	if f.Enrollment != nil {
		e = *f.Enrollment
		e.ParentID, e.HostID = f.Parent.ID, f.Parent.HostID
	}
	c := l.storeToken(&e, m, v)
	if v.TurnOn {
		e.Generation, e.EnrolledAt = e.Generation+1, l.clock()
		c.Events = append(c.Events, fleet.Event{Kind: fleet.EventMDMUserEnrolled, Actor: deviceActor(f.Host),
			Details: details(map[string]string{"user": e.UserName})})
	}
	return c, nil
}

// CheckOut ends an enrollment: the device removed its profile.
func (l *Lifecycle) CheckOut(ctx context.Context, key fleet.EnrollmentKey) error {
	_, err := l.enrollments.Apply(ctx, fleet.CheckinLookup{Key: key}, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
		v := next(state(f.Enrollment), CheckedOut)
		if !key.Channel.IsDevice() {
			v = nextUser(state(f.Enrollment), state(f.Parent), CheckedOut)
		}
		if f.Enrollment == nil || v.Next == f.Enrollment.State {
			return fleet.EnrollmentChange{}, nil
		}
		return l.leave(f, v, fleet.Event{Kind: fleet.EventMDMUnenrolled, Actor: deviceActor(f.Host)}), nil
	})
	return err
}

// leave takes an enrollment off, and with a device channel its host, unless
// another device stands for the host by now: two can have one serial.
func (l *Lifecycle) leave(f fleet.EnrollmentFacts, v Verdict, event fleet.Event) fleet.EnrollmentChange {
	e := *f.Enrollment
	e.State = v.Next
	c := fleet.EnrollmentChange{Enrollment: &e, CancelQueue: true}
	c.EndActions = f.Host != nil && f.Host.MDM.Acted && e.Channel.IsDevice()
	if e.Channel.IsDevice() {
		c.Secrets = append(c.Secrets, forgetRenewal(e.Key))
	}
	if !v.TurnOff {
		return c
	}
	event.At = l.clock()
	c.Events = append(c.Events, event)
	if f.Host != nil && f.Host.UUID == e.Key && e.Channel.IsDevice() {
		h := *f.Host
		h.MDM.Status, h.MDM.ServerURL, h.MDM.UnenrolledAt = fleet.MDMOff, "", l.clock()
		h.RefetchAt = time.Time{} // it owes no answers any more
		c.Host = &h
	}
	return c
}

// TurnOff takes a host off MDM: it counts as off at once, and the enrollment
// profile is removed from the device when it next connects. KindConflict: the
// host is not enrolled.
func (l *Lifecycle) TurnOff(ctx context.Context, actor fleet.Actor, host fleet.HostID) error {
	e, err := l.enrollments.DeviceChannel(ctx, host)
	if err != nil {
		return err
	}
	if e == nil {
		return fleet.Errorf(fleet.KindConflict, "host %d is not enrolled in MDM", host)
	}
	key := fleet.EnrollmentKey{Channel: e.Channel, ID: e.Key}
	_, err = l.enrollments.Apply(ctx, fleet.CheckinLookup{Key: key}, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
		v := next(state(f.Enrollment), TurnedOff)
		if v.Refuse {
			return fleet.EnrollmentChange{}, fleet.Errorf(fleet.KindConflict, "host %d is not enrolled in MDM (its enrollment is %s)", host, state(f.Enrollment))
		}
		c := l.leave(f, v, fleet.Event{Kind: fleet.EventMDMUnenrolled, Actor: actor})
		if !v.RemoveProfile {
			return c, nil
		}
		return c, removeProfile(&c, actor)
	})
	if err == nil {
		l.pushes.Ring()
	}
	return err
}

// Renewed notes the first request signed with a renewed identity.
// KindForbidden: it renews an earlier enrollment.
func (l *Lifecycle) Renewed(ctx context.Context, key fleet.EnrollmentKey, identity fleet.IdentityID) error {
	device := fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: key.DeviceID()}
	_, err := l.enrollments.Apply(ctx, fleet.CheckinLookup{Key: device, IdentityID: identity}, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
		switch {
		case f.Identity == nil || next(state(f.Enrollment), Renewed).Refuse || !renews(f):
			return fleet.EnrollmentChange{}, errRenewsEarlier()
		case !f.Identity.UsedAt.IsZero():
			return fleet.EnrollmentChange{}, nil
		}
		return supersede(f), nil
	})
	return err
}

// Revive brings back the record of an enrolled host that was deleted.
func (l *Lifecycle) Revive(ctx context.Context, key fleet.EnrollmentKey) error {
	device := fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: key.DeviceID()}
	_, err := l.enrollments.Apply(ctx, fleet.CheckinLookup{Key: device}, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
		if f.Enrollment == nil || f.Enrollment.HostID != 0 || !next(f.Enrollment.State, HostGone).Revive {
			return fleet.EnrollmentChange{}, nil
		}
		e := *f.Enrollment
		c := fleet.EnrollmentChange{Enrollment: &e}
		if e.State == fleet.EnrollmentLeaving {
			return c, l.leaveAgain(&c, f, &e)
		}
		enrolled := e.EnrolledAt
		if err := l.turnOn(&c, f, &e); err != nil {
			return c, err
		}
		e.EnrolledAt = enrolled
		c.Host.MDM.EnrolledAt = enrolled
		c.Events[len(c.Events)-1].Kind = fleet.EventHostCreated
		return c, nil
	})
	return err
}

// SetBootstrapToken escrows a bootstrap token; an empty one deletes it.
func (l *Lifecycle) SetBootstrapToken(ctx context.Context, key fleet.EnrollmentKey, token []byte) error {
	write := fleet.SecretWrite{Ref: bootstrapRef(key.DeviceID()), Delete: len(token) == 0}
	if !write.Delete {
		sealed, err := l.sealer.Seal(write.Ref, token)
		if err != nil {
			return err
		}
		write.Value = sealed
	}
	look := fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: key.DeviceID()}}
	_, err := l.enrollments.Apply(ctx, look, func(f fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
		if s := state(f.Enrollment); s != fleet.EnrollmentOn && s != fleet.EnrollmentPending {
			return fleet.EnrollmentChange{}, fleet.Errorf(fleet.KindBadRequest, "a bootstrap token is not accepted while the enrollment is %s", s)
		}
		c := fleet.EnrollmentChange{Secrets: []fleet.SecretWrite{write},
			Events: []fleet.Event{{Kind: fleet.EventBootstrapTokenSet, Actor: deviceActor(f.Host)}}}
		if f.Host != nil && f.Host.MDM.BootstrapHeld == write.Delete {
			h := *f.Host
			h.MDM.BootstrapHeld = !write.Delete
			c.Host = &h
		}
		return c, nil
	})
	return err
}

// BootstrapToken returns the escrowed token; nil when there is none.
func (l *Lifecycle) BootstrapToken(ctx context.Context, key fleet.EnrollmentKey) ([]byte, error) {
	stored, err := l.secrets.Secret(ctx, bootstrapRef(key.DeviceID()))
	if err != nil || stored == nil {
		return nil, err
	}
	token, err := l.sealer.Open(stored.Ref, stored.Value)
	if err != nil {
		return nil, fmt.Errorf("bootstrap token: %w", err)
	}
	return token, nil
}

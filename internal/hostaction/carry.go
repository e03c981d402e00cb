package hostaction

import (
	"crypto/rand"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/mobileconfig"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
)

// Limits of what people write onto devices, in characters and bytes.
const (
	maxMessage = 500
	maxPayload = 256 << 10
)

// behaviors are the values of EraseDevice's ObliterationBehavior
// (contracts/apple.md 6).
func behaviors() []string {
	return []string{"Default", "DoNotObliterate", "ObliterateWithWarning", "Always"}
}

func checkOptions(ask fleet.ActionAsk) error {
	o := ask.Options
	for name, text := range map[string]string{"message": o.Message, "phone_number": o.PhoneNumber, "footnote": o.Footnote} {
		if len(text) > maxMessage {
			return fleet.FieldErrorf(fleet.KindInvalid, name, "is longer than %d bytes", maxMessage)
		}
	}
	if o.Behavior != "" && !slices.Contains(behaviors(), o.Behavior) {
		return fleet.FieldErrorf(fleet.KindInvalid, "apple.obliteration_behavior", "must be one of Default, DoNotObliterate, ObliterateWithWarning, Always")
	}
	if len(o.WiFiProfile) > maxPayload || len(o.MDMProfile) > maxPayload {
		return fleet.FieldErrorf(fleet.KindInvalid, "apple.return_to_service", "has a profile larger than %d bytes", maxPayload)
	}
	if !o.ReturnToService && (len(o.WiFiProfile) > 0 || len(o.MDMProfile) > 0) {
		return fleet.FieldErrorf(fleet.KindInvalid, "apple.return_to_service.enabled", "must be true for its profiles to be used")
	}
	if err := checkProfile("wifi_profile", o.WiFiProfile, "com.apple.wifi.managed"); err != nil {
		return err
	}
	return checkProfile("mdm_profile", o.MDMProfile, "com.apple.mdm")
}

// unsuited refuses what was said about a lock or a wipe that means nothing to a
// host's platform, so that nobody believes in it, and a passcode that is being
// cleared already: a person may have set the next one when the second comes.
func unsuited(ask *fleet.ActionAsk, h *fleet.ActionHost) *fleet.Error {
	if ask.Kind == fleet.ActionClearPasscode && h.Clearing {
		return fault(h, fleet.KindConflict, "is to clear its passcode already: it does when it connects")
	}
	o, mac := &ask.Options, h.Host.Platform == fleet.PlatformDarwin
	for _, v := range []struct {
		name  string
		given bool
		mac   bool // for Macs; otherwise for iPhones and iPads
	}{
		{"footnote", o.Footnote != "", false},
		{"apple.obliteration_behavior", o.Behavior != "", true},
		{"apple.preserve_data_plan", o.PreserveDataPlan, false},
		{"apple.disallow_proximity_setup", o.DisallowProximitySetup, false},
		{"apple.return_to_service", o.ReturnToService, false},
	} {
		switch {
		case !v.given || v.mac == mac:
		case mac:
			return fault(h, fleet.KindInvalid, "is a Mac, and the option "+v.name+" is for an iPhone or iPad only: leave it out")
		default:
			return fault(h, fleet.KindInvalid, "is no Mac, and the option "+v.name+" is for Macs only: leave it out")
		}
	}
	return nil
}

// checkProfile refuses what would leave a device that was erased without its
// network or its server: it must be a configuration profile with that payload.
func checkProfile(name string, data []byte, payloadType string) error {
	if len(data) == 0 {
		return nil
	}
	name = "apple.return_to_service." + name
	p, err := mobileconfig.Parse(data)
	switch {
	case err != nil:
		return fleet.FieldErrorf(fleet.KindInvalid, name, "must be a configuration profile (.mobileconfig): %v", err).WithCause(err)
	case p.Encrypted:
		return fleet.FieldErrorf(fleet.KindInvalid, name, "is encrypted: a device that was erased cannot read it")
	case !slices.ContainsFunc(p.Payloads, func(v mobileconfig.Payload) bool { return v.Type == payloadType }):
		return fleet.FieldErrorf(fleet.KindInvalid, name, "is a configuration profile (%.80q) without a payload of the type %s", p.Identifier, payloadType)
	}
	return nil
}

// work is the command of a step.
type work struct {
	requestType string
	fields      map[string]any
	secret      map[string]any // put in when it is handed out
	expand      bool           // something is put in then
	event       fleet.EventKind
}

// carry adds to the change what a step does to a host.
func (s *Service) carry(c *fleet.ActionChange, o *order, st step, h *fleet.ActionHost) error {
	state := h.Action
	switch st {
	case stepNone:
		return nil
	case stepWakeAgain, stepAskedAgain:
		c.Wake = append(c.Wake, h.EnrollmentID)
		o.tell(c, h, state, state.CommandUUID)
		return nil
	case stepLock, stepLostMode, stepAsk, stepFound, stepWipe, stepPasscode, stepLocate, stepSound, stepRecoveryLock, stepBypassCode:
	}
	w, err := o.work(st, h)
	if err != nil {
		return err
	}
	uuid := ids.UUID()
	cmd, err := mdmcmd.New(uuid, w.requestType, w.fields)
	if err != nil {
		return err
	}
	if len(w.secret) > 0 {
		packed, err := plist.Marshal(w.secret)
		if err != nil {
			return err
		}
		write, err := s.seal(uuid, packed)
		if err != nil {
			return err
		}
		c.Secrets = append(c.Secrets, write)
	}
	c.Commands = append(c.Commands, fleet.ActionCommand{
		Command: fleet.Command{UUID: uuid, RequestType: w.requestType, Platform: fleet.PlatformDarwin, Purpose: fleet.CommandAction, Body: cmd.Raw,
			CreatedAt: o.now, CreatedBy: o.actor, Expand: w.expand || len(w.secret) > 0},
		Target: fleet.Target{Host: h.Host, EnrollmentID: h.EnrollmentID, State: h.State}})
	state = after(st, state, uuid, w.secret["PIN"] != nil)
	c.States = append(c.States, state)
	c.Events = append(c.Events, o.event(w.event, h, map[string]any{"command_uuid": uuid, "request_type": w.requestType, "action": o.ask.Kind.String()}))
	o.tell(c, h, state, uuid)
	return nil
}

// after is what a step leaves on a host until its command is answered.
func after(st step, v fleet.HostActionState, uuid string, pin bool) fleet.HostActionState {
	begin := func(p fleet.PendingAction) { v.Pending, v.CommandUUID, v.Error = p, uuid, "" }
	switch st {
	case stepLock, stepLostMode:
		begin(fleet.PendingLock)
	case stepAsk, stepFound:
		begin(fleet.PendingUnlock)
	case stepWipe:
		begin(fleet.PendingWipe)
	case stepRecoveryLock:
		v.RecoveryNext, v.RotateAt = uuid, time.Time{}
	case stepNone, stepWakeAgain, stepAskedAgain, stepPasscode, stepLocate, stepSound, stepBypassCode:
	}
	if pin {
		v.PINUUID = uuid
	}
	return v
}

// tell fills the answer in for the only host.
func (o *order) tell(c *fleet.ActionChange, h *fleet.ActionHost, state fleet.HostActionState, uuid string) {
	if len(o.ask.Hosts) != 1 {
		return
	}
	o.result.Status, o.result.Pending, o.result.Command = state.Status, state.Pending, uuid
	o.result.Message = waits(h, o.now)
	if state.PINUUID != "" && (o.ask.ViewPIN || o.ask.Kind == fleet.ActionUnlock) {
		o.pin = state.PINUUID
		c.Events = append(c.Events, o.event(fleet.EventHostSecretViewed, h, map[string]any{"secret": "pin", "command_uuid": state.PINUUID}))
	}
}

// recently is how long ago a device that is reachable was heard of.
const recently = 65 * time.Minute

func waits(h *fleet.ActionHost, now time.Time) string {
	switch {
	case h.SeenAt.IsZero():
		return nameOf(h) + " was not heard of since it enrolled: it obeys when it connects, and until then this is pending."
	case now.Sub(h.SeenAt) > recently:
		return fmt.Sprintf("%s was last heard of at %s: it obeys when it connects, and until then this is pending.", nameOf(h), h.SeenAt.Format(time.RFC3339))
	}
	return nameOf(h) + " is woken and obeys when it connects."
}

// work is what a step says to the device (contracts/apple.md 6).
func (o *order) work(st step, h *fleet.ActionHost) (work, error) {
	opts := o.ask.Options
	switch st {
	case stepLock:
		pin, err := newPIN()
		return work{"DeviceLock", texts("Message", opts.Message, "PhoneNumber", opts.PhoneNumber), map[string]any{"PIN": pin}, true, fleet.EventHostLocked}, err
	case stepLostMode:
		message := opts.Message
		if message == "" {
			message = lostMessage(o.org.OrgName)
		}
		return work{"EnableLostMode", texts("Message", message, "PhoneNumber", opts.PhoneNumber, "Footnote", opts.Footnote), nil, false, fleet.EventHostLocked}, nil
	case stepAsk:
		// It answers as soon as it runs, which it does once the PIN was entered.
		return work{"DeviceInformation", map[string]any{"Queries": []string{"DeviceName"}}, nil, false, fleet.EventHostUnlocked}, nil
	case stepFound:
		return work{requestType: "DisableLostMode", event: fleet.EventHostUnlocked}, nil
	case stepWipe:
		return wipe(opts, h)
	case stepPasscode:
		return work{requestType: "ClearPasscode", expand: true, event: fleet.EventPasscodeCleared}, nil
	case stepLocate:
		return work{requestType: "DeviceLocation", event: fleet.EventHostActed}, nil
	case stepSound:
		return work{requestType: "PlayLostModeSound", event: fleet.EventHostActed}, nil
	case stepRecoveryLock:
		secret := map[string]any{"NewPassword": newPassword()}
		if h.Action.RecoveryUUID != "" {
			secret[currentUUID] = h.Action.RecoveryUUID
		}
		return work{"SetRecoveryLock", nil, secret, true, fleet.EventHostActed}, nil
	case stepBypassCode:
		return work{requestType: "ActivationLockBypassCode", event: fleet.EventHostActed}, nil
	case stepNone, stepWakeAgain, stepAskedAgain:
	}
	return work{}, fmt.Errorf("step %d has no command", st)
}

func wipe(opts fleet.ActionOptions, h *fleet.ActionHost) (work, error) {
	w := work{requestType: "EraseDevice", fields: map[string]any{}, secret: map[string]any{}, event: fleet.EventHostWiped}
	if h.Host.Platform == fleet.PlatformDarwin {
		pin, err := newPIN()
		if err != nil {
			return w, err
		}
		behavior := opts.Behavior
		if behavior == "" {
			behavior = "Default"
		}
		w.fields["ObliterationBehavior"], w.secret["PIN"] = behavior, pin
		return w, nil
	}
	if opts.PreserveDataPlan {
		w.fields["PreserveDataPlan"] = true
	}
	if opts.DisallowProximitySetup {
		w.fields["DisallowProximitySetup"] = true
	}
	if opts.ReturnToService {
		service := map[string]any{"Enabled": true}
		if len(opts.WiFiProfile) > 0 {
			service["WiFiProfileData"] = opts.WiFiProfile
		}
		if len(opts.MDMProfile) > 0 {
			service["MDMProfileData"] = opts.MDMProfile
		}
		w.secret["ReturnToService"] = service // its profiles have passwords
	}
	return w, nil
}

func lostMessage(org string) string {
	if org == "" {
		return "This device is lost. Please return it to its owner."
	}
	return "This device is lost and belongs to " + org + ". Please return it."
}

// texts are pairs of names and texts, without empty ones.
func texts(pairs ...string) map[string]any {
	out := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out[pairs[i]] = pairs[i+1]
		}
	}
	return maps.Clone(out)
}

// newPIN makes the six digits that DeviceLock and EraseDevice take.
func newPIN() (string, error) {
	const pins = 1_000_000
	n, err := rand.Int(rand.Reader, big.NewInt(pins))
	if err != nil {
		return "", fmt.Errorf("make a PIN: %w", err)
	}
	return fmt.Sprintf("%06d", n), nil
}

// newPassword makes a recovery lock password that people can type: six groups
// of four without letters that look alike, 120 bits.
func newPassword() string {
	const alphabet, groups, size = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 6, 4
	raw := make([]byte, groups*size)
	_, _ = rand.Read(raw) // never fails
	var out []byte
	for i, b := range raw {
		if i > 0 && i%size == 0 {
			out = append(out, '-')
		}
		out = append(out, alphabet[int(b)%len(alphabet)])
	}
	return string(out)
}

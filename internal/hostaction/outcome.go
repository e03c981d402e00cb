package hostaction

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

// rotateAgain is the wait after a device refused a recovery lock password.
const rotateAgain = 24 * time.Hour

// Outcome is what follows from an answer to one of our commands.
func (s *Service) Outcome(t fleet.CommandTarget, r fleet.CommandReport, answer plist.Dict) fleet.ReportOutcome {
	if r.Status == fleet.CommandNotNow {
		return fleet.ReportOutcome{Keep: true}
	}
	out := fleet.ReportOutcome{Status: r.Status, Store: true}
	ok := r.Status == fleet.CommandAcknowledged || found(t.Command.RequestType, r)
	cause := ""
	if !ok {
		cause = causeOf(t.Command.RequestType, r)
	}
	if v, changed := answered(t.Action, &t.Command, ok, cause, r.At); changed {
		out.Action = &v
	}
	if ok && t.Command.RequestType == "ActivationLockBypassCode" {
		cause = s.keepBypassCode(&out, answer, r)
	}
	facts := map[string]any{"command_uuid": t.Command.UUID, "request_type": t.Command.RequestType, "status": r.Status.String()}
	if cause != "" {
		facts["error"] = cause
	}
	if out.Action != nil {
		facts["device_status"] = out.Action.Status.String()
	}
	out.Event = &fleet.Event{Kind: fleet.EventActionAnswered, At: r.At, Actor: fleet.Actor{Kind: fleet.ActorDevice, Name: r.Key.DeviceID()}, Details: details(facts)}
	return out
}

// codeNotLost is MCMDMErrorDomain's for a device that is not in Lost Mode, by
// Apple's page on DisableLostMode: what was asked for is so.
const codeNotLost = 12067

func found(requestType string, r fleet.CommandReport) bool {
	return requestType == "DisableLostMode" && slices.ContainsFunc(r.ErrorChain, func(e fleet.ErrorChainItem) bool {
		return e.Domain == "MCMDMErrorDomain" && e.Code == codeNotLost
	})
}

// answered moves what actions left on a host by an answer. One to a command
// that nothing waits for changes nothing.
func answered(v fleet.HostActionState, cmd *fleet.Command, ok bool, cause string, at time.Time) (fleet.HostActionState, bool) {
	switch {
	case v.RecoveryNext != "" && v.RecoveryNext == cmd.UUID:
		v.RecoveryNext = ""
		if ok {
			v.RecoveryUUID, v.RecoveryAt = cmd.UUID, at
			return v, true
		}
		v.Error = cause
		switch {
		case v.RecoveryUUID == "":
		case v.RecoveryAt.IsZero():
			// A Mac that was unenrolled has dropped the password (Apple, Set
			// Recovery Lock): the one of its earlier enrollment was wrong, and
			// it is asked again without. That stays archived.
			v.RecoveryUUID, v.RotateAt = "", at
		default:
			v.RotateAt = at.Add(rotateAgain)
		}
		return v, true
	case v.CommandUUID == "" || v.CommandUUID != cmd.UUID:
		return v, false
	}
	was := v.Pending
	v.Pending, v.CommandUUID = fleet.PendingNone, ""
	// A locked Mac runs nothing: whatever it answers, somebody entered the PIN.
	if !ok && cmd.RequestType != "DeviceInformation" {
		v.Error = cause
		return v, true
	}
	switch was {
	case fleet.PendingLock:
		v.Status = fleet.DeviceLocked
	case fleet.PendingUnlock:
		v.Status = fleet.DeviceUnlocked
	case fleet.PendingWipe:
		v.Status = fleet.DeviceWiped
	case fleet.PendingNone:
	}
	return v, true
}

// causeOf is why the device refused, for people.
func causeOf(requestType string, r fleet.CommandReport) string {
	var parts []string
	for _, e := range r.ErrorChain {
		text := e.USEnglish
		if text == "" {
			text = e.Localized
		}
		if m, ok := mdmcmd.Explain(e.Domain, e.Code); ok {
			text = strings.TrimSpace(text + " " + m.Fix)
		}
		parts = append(parts, fmt.Sprintf("%s (%s %d)", text, e.Domain, e.Code))
	}
	cause := fmt.Sprintf("%s was answered %s", requestType, r.Status)
	if len(parts) > 0 {
		cause += ": " + strings.Join(parts, "; ")
	}
	if requestType == "EraseDevice" {
		cause += ". A device may erase itself all the same: it enrolls again then"
	}
	return cause
}

// keepBypassCode seals the code that a device told and keeps it out of the
// history. It returns what went wrong.
func (s *Service) keepBypassCode(out *fleet.ReportOutcome, answer plist.Dict, r fleet.CommandReport) string {
	out.Answer = mdmcmd.Redacted(r.Body)
	if out.Answer == nil {
		out.Answer = []byte{}
	}
	code := answer["ActivationLockBypassCode"].String()
	if code == "" {
		return "the device told no bypass code: it does so within 15 days of its supervision"
	}
	ref := bypassRef(r.Key.DeviceID())
	sealed, err := s.o.Sealer.Seal(ref, []byte(code))
	if err != nil {
		return "the bypass code could not be sealed"
	}
	out.Secrets = []fleet.SecretWrite{{Ref: ref, Value: sealed}}
	return ""
}

package command

import (
	"bytes"
	"cmp"
	"encoding/json"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Outcome decides what follows from a device's answer. It is pure.
func Outcome(t fleet.CommandTarget, r fleet.CommandReport, answer plist.Dict) fleet.ReportOutcome {
	actor := fleet.Actor{Kind: fleet.ActorDevice, Name: r.Key.DeviceID()}
	if r.Status == fleet.CommandNotNow {
		return fleet.ReportOutcome{Keep: true}
	}
	out := fleet.ReportOutcome{Status: r.Status, Store: !t.Command.Purpose.Ephemeral()}
	switch t.Command.Purpose {
	case fleet.CommandVitals:
		return refetched(t, r, answer)
	case fleet.CommandUnenroll:
		// An error says that there is nothing to remove: gone all the same.
		out.Unenrolled = true
	case fleet.CommandCustom:
		out.Answer = withoutSecrets(r.Body)
	case fleet.CommandSetup:
	case fleet.CommandRenew: // judged by enroll
	case fleet.CommandInstall, fleet.CommandRemove, fleet.CommandListProfiles, fleet.CommandDeclare, fleet.CommandAction: // judged elsewhere
	}
	out.Event = &fleet.Event{Kind: fleet.EventCommandAnswered, At: r.At, Actor: actor, Details: describe(t, r)}
	return out
}

// withoutSecrets is an answer to a person's command without what opens the
// device, which nobody is shown either; nil when it holds nothing of the kind.
func withoutSecrets(answer []byte) []byte {
	kept := mdmcmd.Redacted(answer)
	if bytes.Equal(kept, answer) {
		return nil
	}
	if kept == nil {
		return []byte{}
	}
	return kept
}

// refetched decides about an answer to one part of a refetch. It leaves no
// event: there is one every hour, and what changed shows in the host's record.
func refetched(t fleet.CommandTarget, r fleet.CommandReport, answer plist.Dict) fleet.ReportOutcome {
	out := fleet.ReportOutcome{Status: r.Status, Refetched: mdmcmd.RefetchPart(t.Command.UUID)}
	if r.Status != fleet.CommandAcknowledged {
		out.RefetchFault = refusal(t, r)
		return out
	}
	if out.Inventory = r.Inventory; out.Inventory == nil {
		out.Inventory = mdmcmd.Inventory(out.Refetched, answer)
	}
	return out
}

// refusal says in one line why a device refused a command.
func refusal(t fleet.CommandTarget, r fleet.CommandReport) string {
	text := t.Command.RequestType + ": " + r.Status.String()
	for _, e := range r.ErrorChain {
		if words := cmp.Or(e.USEnglish, e.Localized); words != "" {
			return text + ": " + words
		}
	}
	return text
}

func describe(t fleet.CommandTarget, r fleet.CommandReport) []byte {
	type link struct {
		Code   int64  `json:"code"`
		Domain string `json:"domain"`
		Text   string `json:"text,omitempty"`
	}
	d := struct {
		CommandUUID string `json:"command_uuid"`
		RequestType string `json:"request_type"`
		Status      string `json:"status"`
		Sends       int    `json:"sends"`
		NotNow      int    `json:"not_now,omitempty"`
		ErrorChain  []link `json:"error_chain,omitempty"`
	}{CommandUUID: t.Command.UUID, RequestType: t.Command.RequestType, Status: r.Status.String(), Sends: t.Sends, NotNow: t.NotNowCount}
	for _, e := range r.ErrorChain {
		text := e.USEnglish
		if text == "" {
			text = e.Localized
		}
		d.ErrorChain = append(d.ErrorChain, link{e.Code, e.Domain, text})
	}
	b, err := json.Marshal(d)
	if err != nil {
		return nil // plain strings and numbers always marshal
	}
	return b
}

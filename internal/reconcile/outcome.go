package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

// maxDetail bounds the words kept of an error.
const maxDetail = 600

// Outcome decides what follows from the answer to a command about items. It
// is pure.
func (r *Rules) Outcome(t fleet.CommandTarget, rep fleet.CommandReport, answer plist.Dict) fleet.ReportOutcome {
	if rep.Status == fleet.CommandNotNow {
		return fleet.ReportOutcome{Keep: true}
	}
	if r.behind(t.Items) {
		return fleet.ReportOutcome{Stale: true}
	}
	o := outcome{r: r, t: t, rep: rep}
	o.out = fleet.ReportOutcome{Status: rep.Status, Store: !t.Command.Purpose.Ephemeral()}
	switch t.Command.Purpose {
	case fleet.CommandInstall, fleet.CommandRemove:
		o.item()
	case fleet.CommandListProfiles:
		o.listed(answer)
	case fleet.CommandDeclare:
		o.declared()
	case fleet.CommandCustom, fleet.CommandVitals, fleet.CommandRenew, fleet.CommandUnenroll, fleet.CommandSetup, fleet.CommandAction:
	}
	if len(o.changes) > 0 || rep.Status != fleet.CommandAcknowledged {
		o.out.Event = &fleet.Event{Kind: fleet.EventHostItems, At: rep.At, Actor: fleet.Actor{Kind: fleet.ActorDevice, Name: rep.Key.DeviceID()},
			Details: Details(o.changes, answerOf(t, rep))}
	}
	return o.out
}

// behind tells whether the items were planned by newer rules than these.
func (r *Rules) behind(items []fleet.HostItem) bool {
	return slices.ContainsFunc(items, func(row fleet.HostItem) bool {
		i := r.catalog.Items[row.ItemID]
		return i == nil || i.Version < row.Version
	})
}

type outcome struct {
	r       *Rules
	t       fleet.CommandTarget
	rep     fleet.CommandReport
	out     fleet.ReportOutcome
	changes []Change
}

// put keeps a row as it is now.
func (o *outcome) put(row fleet.HostItem) {
	row.ChangedAt = o.rep.At
	o.out.Items = append(o.out.Items, row)
	if i := o.r.catalog.Items[row.ItemID]; i != nil {
		o.changes = append(o.changes, changeOf(i, row))
	}
}

func (o *outcome) gone(row fleet.HostItem) {
	o.out.Gone = append(o.out.Gone, row.ItemID)
	if i := o.r.catalog.Items[row.ItemID]; i != nil {
		c := changeOf(i, row)
		c.Status, c.Detail, c.Try = "", "", 0
		o.changes = append(o.changes, c)
	}
}

// wake makes the host due at a time.
func (o *outcome) wake(at time.Time) {
	if o.out.DueAt.IsZero() || at.Before(o.out.DueAt) {
		o.out.DueAt = at
	}
}

// item handles the answer to InstallProfile or RemoveProfile. One that is not
// the last that was sent changes nothing.
func (o *outcome) item() {
	if len(o.t.Items) == 0 {
		return
	}
	row := o.t.Items[0]
	if row.CommandID != o.t.Command.ID {
		return
	}
	row.CommandID = 0
	ok := o.rep.Status == fleet.CommandAcknowledged
	switch {
	case row.Op == fleet.OpRemove && (ok || notInstalled(o.rep.ErrorChain)):
		o.gone(row)
		o.wake(o.rep.At)
	case ok:
		row.Status, row.Fault, row.Detail, row.NextAt = fleet.ItemVerifying, fleet.FaultNone, "", time.Time{}
		o.put(row)
		o.wake(o.rep.At)
	default:
		row.Detail = errorWords(o.rep)
		o.retry(row, fleet.FaultDevice)
	}
}

// retry has another try, or ends as failed.
func (o *outcome) retry(row fleet.HostItem, fault fleet.Fault) {
	row.CommandID, row.Fault = 0, fault
	if o.rep.Status == fleet.CommandFormatError {
		row.Fault = fleet.FaultFormat
	}
	if row.Tries >= MaxTries {
		row.Status, row.NextAt = fleet.ItemFailed, time.Time{}
	} else {
		row.Status, row.NextAt = fleet.ItemPending, o.rep.At.Add(tryAgain.Wait(row.Tries))
		o.wake(o.rep.At) // whether it is worth another try is decided with the host's facts
	}
	o.put(row)
}

// notInstalled tells whether a removal failed because there is nothing to
// remove (contracts/apple.md section 6). The codes are hints, so the words
// count as well.
func notInstalled(chain []fleet.ErrorChainItem) bool {
	const profileNotFound = 12075
	for _, e := range chain {
		text := strings.ToLower(e.USEnglish + " " + e.Localized)
		if (e.Domain == "MDMClientError" && e.Code == 89) || e.Code == profileNotFound ||
			strings.Contains(text, "not installed") || strings.Contains(text, "not found") {
			return true
		}
	}
	return false
}

// errorWords is what a device said about an error.
func errorWords(rep fleet.CommandReport) string {
	if rep.Status == fleet.CommandFormatError {
		return "the device could not read the command (CommandFormatError)"
	}
	if len(rep.ErrorChain) == 0 {
		return "the device refused without a reason"
	}
	var parts []string
	for _, e := range rep.ErrorChain {
		text := e.USEnglish
		if text == "" {
			text = e.Localized
		}
		parts = append(parts, fmt.Sprintf("%s (%s %d)", text, e.Domain, e.Code))
	}
	words := strings.Join(parts, ": ")
	if len(words) > maxDetail {
		words = strings.ToValidUTF8(words[:maxDetail], "") + "…"
	}
	return words
}

// listed compares the profiles that the device has with those it should have.
func (o *outcome) listed(answer plist.Dict) {
	if o.rep.Status != fleet.CommandAcknowledged {
		return
	}
	list, err := mdmcmd.ListedProfiles(answer)
	if err != nil {
		return // the host is asked again
	}
	o.out.Listed = true
	have := make(map[string]string, len(list))
	for _, p := range list {
		have[p.Identifier] = p.UUID
	}
	for _, row := range o.t.Items {
		item := o.r.catalog.Items[row.ItemID]
		if item == nil || item.Kind != fleet.ItemProfile || row.Op != fleet.OpInstall {
			continue
		}
		if row.Status == fleet.ItemVerifying || row.Status == fleet.ItemVerified {
			uuid, there := have[item.Identifier]
			o.witness(item, row, there, uuid)
		}
	}
}

// witness is what a list of profiles says about one of them.
func (o *outcome) witness(item *fleet.Item, row fleet.HostItem, there bool, uuid string) {
	v := versionOf(item, row.Version)
	other := there && v != nil && v.Spec.PayloadUUID != "" && !v.Spec.Expands() && !strings.EqualFold(uuid, v.Spec.PayloadUUID)
	switch {
	case there && !other:
		was := row.Status
		row.Status, row.Fault, row.Detail, row.NextAt, row.Tries, row.VerifiedAt = fleet.ItemVerified, fleet.FaultNone, "", time.Time{}, 0, o.rep.At
		if was == fleet.ItemVerified {
			o.out.Items = append(o.out.Items, row) // seen again: no change worth an entry
			return
		}
		o.put(row)
	case row.Status == fleet.ItemVerified:
		// Taken away or replaced by hand: repaired at once.
		row.Detail = "the device does not list the profile any more"
		if other {
			row.Detail = "the device lists another profile with the same identifier"
		}
		row.Status, row.Fault, row.CommandID, row.NextAt, row.Tries = fleet.ItemPending, fleet.FaultMissing, 0, o.rep.At, 0
		o.put(row)
		o.wake(o.rep.At)
	default:
		row.Detail = "the device acknowledged the profile and does not list it"
		if other {
			row.Detail = "the device acknowledged the profile and lists another one with the same identifier"
		}
		o.retry(row, fleet.FaultMissing)
	}
}

// declared handles the answer to DeclarativeManagement: the device now fetches
// and reports by itself.
func (o *outcome) declared() {
	if o.rep.Status == fleet.CommandAcknowledged {
		o.wake(o.rep.At.Add(reportWait))
		return
	}
	for _, row := range o.t.Items {
		item := o.r.catalog.Items[row.ItemID]
		if item == nil || item.Kind != fleet.ItemDeclaration || row.Status != fleet.ItemPending {
			continue
		}
		row.Status, row.Fault, row.NextAt = fleet.ItemFailed, fleet.FaultDevice, time.Time{}
		row.Detail = "the device does not take declarations: " + errorWords(o.rep)
		o.put(row)
	}
}

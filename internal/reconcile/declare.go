package reconcile

import (
	"fmt"
	"slices"
	"time"

	"github.com/muster-mdm/muster/internal/codec/ddm"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Identifiers of what Muster declares by itself.
const (
	subscriptionsID  = "com.muster-mdm.status"
	subscriptionsAct = "com.muster-mdm.status.activation"
	activationSuffix = ".activation"
)

// declared is a declaration that goes into the manifest of a channel.
type declared struct {
	item    *fleet.Item
	version *fleet.ItemVersion
	params  [16]byte
	channel fleet.EnrollmentID
}

// DeclarationsFrom are the first versions that know declarative management.
func declarationsFrom(p fleet.Platform) string {
	if p == fleet.PlatformDarwin {
		return "13"
	}
	return "15"
}

// declares tells whether the device knows declarative management: unknown
// until its version is known.
func (p *plan) declares() fleet.Tri {
	version := p.f.Host.OSNumber()
	if version == "" {
		return fleet.Unknown
	}
	return fleet.TriOf(fleet.CompareVersions(version, declarationsFrom(p.f.Host.Platform)) >= 0)
}

func (p *plan) wantDeclaration(w Want, row fleet.HostItem, has bool, params [16]byte, missing string) {
	channel, wait, fault := p.channel(w.Item)
	switch able := p.declares(); {
	case able == fleet.Unknown:
		p.block(w, row, has, fleet.FaultNone, "waits until the host reports its system version", p.now.Add(checkEvery))
		return
	case able == fleet.No:
		p.block(w, row, has, fleet.FaultUnsupported, fmt.Sprintf("declarations need %s %s, and the host has %s",
			p.f.Host.Platform.Title(), declarationsFrom(p.f.Host.Platform), p.f.Host.OSVersion), time.Time{})
		return
	case missing != "":
		p.keepDeclared(w.Item.ID, row)
		p.block(w, row, has, fleet.FaultVariable, missing, time.Time{})
		return
	case fault != fleet.FaultNone:
		p.block(w, row, has, fault, "no user of the Mac has an MDM channel: it comes up when a managed user logs in", time.Time{})
		return
	case channel == 0:
		p.block(w, row, has, fleet.FaultNone, "waits for a user of the Mac to log in", wait)
		return
	}
	p.ddm = append(p.ddm, declared{w.Item, w.Version, params, channel})
	if has && row.Op == fleet.OpInstall && row.Version == w.Version.Version && row.Params == params && row.EnrollmentID == channel &&
		row.Fault != fleet.FaultVariable && row.Fault != fleet.FaultNoUser && row.Fault != fleet.FaultUnsupported && !again(w.Item, row) && !resent(row) {
		return
	}
	if !has && p.takeOver(w, params, channel) {
		return
	}
	if has && (again(w.Item, row) || resent(row)) {
		p.resync = append(p.resync, channel)
	}
	row.Op, row.Status, row.Fault, row.Detail = fleet.OpInstall, fleet.ItemPending, fleet.FaultNone, ""
	row.Version, row.Params, row.EnrollmentID = w.Version.Version, params, channel
	row.Attempt++
	row.Tries, row.CommandID, row.ChangedAt, row.NextAt = 1, 0, p.now, time.Time{}
	p.put(row)
}

// resent tells whether a person asked for the item on this host again: the
// store then made it pending without any try.
func resent(row fleet.HostItem) bool { return row.Status == fleet.ItemPending && row.Tries == 0 }

// keepDeclared leaves a declaration as the device has it while its new form
// cannot be made: taking it out of the manifest would remove it.
func (p *plan) keepDeclared(id fleet.ItemID, row fleet.HostItem) {
	c := p.ddmChannel(row.EnrollmentID)
	if c == nil {
		return
	}
	for _, e := range c.Manifest.Entries {
		if e.ItemID == id {
			p.kept = append(p.kept, keptEntry{row.EnrollmentID, e})
		}
	}
}

// keptEntry is an entry that stays in a channel's manifest.
type keptEntry struct {
	channel fleet.EnrollmentID
	entry   fleet.DDMEntry
}

// removeDeclaration waits for the device to report that it is gone, unless it
// was never told.
func (p *plan) removeDeclaration(row fleet.HostItem) {
	switch c := p.ddmChannel(row.EnrollmentID); {
	case c == nil || (row.EnrollmentID != p.f.Device.ID && row.EnrollmentID != p.f.User.ID):
		p.drop(row.ItemID, "")
	case row.Op == fleet.OpInstall && c.Fetched == "" && c.ReportedAt.IsZero():
		p.drop(row.ItemID, "")
	case row.Op == fleet.OpInstall:
		row.Op, row.Status, row.Fault, row.Detail, row.ChangedAt, row.NextAt, row.Tries = fleet.OpRemove, fleet.ItemPending, fleet.FaultNone, "", p.now, time.Time{}, 1
		p.put(row)
	}
}

func (p *plan) ddmChannel(id fleet.EnrollmentID) *fleet.DDMChannel {
	for i := range p.f.DDM {
		if p.f.DDM[i].EnrollmentID == id {
			return &p.f.DDM[i]
		}
	}
	return nil
}

// declarations builds the manifest of each channel and announces a new one.
func (p *plan) declarations() {
	if p.declares() != fleet.Yes {
		return
	}
	for _, id := range []fleet.EnrollmentID{p.f.Device.ID, p.f.User.ID} {
		if id != 0 {
			p.channelDeclarations(id)
		}
	}
}

func (p *plan) channelDeclarations(id fleet.EnrollmentID) {
	var mine []declared
	for _, d := range p.ddm {
		if d.channel == id {
			mine = append(mine, d)
		}
	}
	var c fleet.DDMChannel
	held := p.ddmChannel(id)
	switch {
	case held != nil:
		c = *held
	case len(mine) == 0 && id != p.f.Device.ID:
		return // a user's channel without declarations needs no manifest
	default:
		c = fleet.DDMChannel{EnrollmentID: id, HostID: p.f.Host.ID}
	}
	p.askAgain(&c)
	entries := append(p.entries(mine), p.own(&c, id, mine)...)
	for _, k := range p.kept {
		if k.channel == id {
			entries = append(entries, k.entry, activation(k.entry.Identifier+activationSuffix, k.entry.Identifier))
		}
	}
	manifest := ddm.NewManifest(entries)
	changed := held == nil || manifest.Token != c.Manifest.Token
	if changed {
		c.Previous, c.Manifest, c.UpdatedAt = c.Manifest, manifest, p.now
	}
	late := p.now.Sub(c.UpdatedAt) >= reportWait || c.UpdatedAt.After(p.now.Add(clockSlack)) // of a clock that was ahead
	if c.Announced != manifest.Token || (c.Fetched != manifest.Token && !p.announcing(id) && late) {
		if !p.announcing(id) || p.announcementSent(id) {
			p.out.Queue = append(p.out.Queue, fleet.PlannedCommand{Command: p.shelf.declare(), EnrollmentID: id})
		}
		c.Announced = manifest.Token
		changed = true
	}
	if c.Fetched != manifest.Token && !p.announcing(id) {
		p.wake(p.now.Add(reportWait))
	}
	if changed || (held != nil && held.Nonce != c.Nonce) {
		p.out.DDM = append(p.out.DDM, c)
	}
}

// askAgain makes a device report its whole status anew when it fetched its
// declarations and has not spoken about some for too long.
func (p *plan) askAgain(c *fleet.DDMChannel) {
	for id, row := range p.rows {
		i := p.r.catalog.Items[id]
		if i == nil || i.Kind != fleet.ItemDeclaration || row.EnrollmentID != c.EnrollmentID {
			continue
		}
		waits := row.Status == fleet.ItemVerifying || (row.Status == fleet.ItemPending && c.Fetched == c.Manifest.Token && c.Fetched != "")
		if !waits {
			continue
		}
		if row.NextAt.IsZero() {
			row.NextAt = row.ChangedAt.Add(reportWait)
			p.rows[id] = row
			continue
		}
		if row.NextAt.After(p.now) {
			continue
		}
		if row.Tries >= MaxTries {
			row.Status, row.Fault, row.Detail, row.NextAt = fleet.ItemFailed, fleet.FaultMissing, "the device fetched its declarations and never reported on this one", time.Time{}
			row.ChangedAt = p.now
			p.put(row)
			continue
		}
		row.Tries++
		row.NextAt = p.now.Add(tryAgain.Wait(row.Tries) + reportWait)
		p.rows[id] = row
		c.Nonce++
	}
}

// entries are the declarations of people and settings.
func (p *plan) entries(list []declared) []fleet.DDMEntry {
	named := map[string]bool{}
	for _, d := range list {
		if ddm.KindOf(d.version.Spec.DeclarationType) == ddm.KindActivation {
			for _, id := range d.version.Spec.References {
				named[id] = true
			}
		}
	}
	out := make([]fleet.DDMEntry, 0, 2*len(list)+2)
	for _, d := range list {
		kind := ddm.KindOf(d.version.Spec.DeclarationType)
		e := fleet.DDMEntry{Kind: kind, Identifier: d.item.Identifier, ItemID: d.item.ID, Version: d.version.Version}
		e.ServerToken = ddm.Token(d.version.SHA256[:], d.params[:])
		out = append(out, e)
		if kind == ddm.KindConfiguration && !named[d.item.Identifier] {
			out = append(out, activation(d.item.Identifier+activationSuffix, d.item.Identifier))
		}
	}
	return out
}

// own is what Muster itself declares: the status items it subscribes to.
func (p *plan) own(c *fleet.DDMChannel, id fleet.EnrollmentID, list []declared) []fleet.DDMEntry {
	if id != p.f.Device.ID && len(list) == 0 {
		return nil
	}
	names := ddm.Subscriptions(p.f.Host.Platform, p.f.Host.OSNumber())
	items := make([]any, 0, len(names))
	for _, name := range names {
		items = append(items, map[string]any{"Name": name})
	}
	body, err := ddm.Make(ddm.TypeSubscriptions, subscriptionsID, map[string]any{"StatusItems": items})
	if err != nil {
		return nil // texts always marshal
	}
	// The nonce makes the device apply it anew, and so report everything.
	return []fleet.DDMEntry{
		{Kind: ddm.KindConfiguration, Identifier: subscriptionsID, ServerToken: ddm.Token(body, []byte(fmt.Sprint(c.Nonce))), Body: body},
		activation(subscriptionsAct, subscriptionsID),
	}
}

// activation turns a configuration on.
func activation(identifier, configuration string) fleet.DDMEntry {
	if len(identifier) > ddm.MaxIdentifier {
		identifier = ddm.Token([]byte(identifier))
	}
	body, err := ddm.Make(ddm.TypeActivation, identifier, map[string]any{"StandardConfigurations": []string{configuration}})
	if err != nil {
		body = nil // texts always marshal
	}
	return fleet.DDMEntry{Kind: ddm.KindActivation, Identifier: identifier, ServerToken: ddm.Token(body), Body: body}
}

// announcing tells whether the channel is being told of new declarations.
func (p *plan) announcing(id fleet.EnrollmentID) bool {
	return slices.ContainsFunc(p.f.Queued, func(q fleet.QueuedCommand) bool {
		return q.EnrollmentID == id && q.Purpose == fleet.CommandDeclare
	})
}

// announcementSent tells whether the announcement that waits went out already,
// so that the device may have fetched the tokens before.
func (p *plan) announcementSent(id fleet.EnrollmentID) bool {
	return slices.ContainsFunc(p.f.Queued, func(q fleet.QueuedCommand) bool {
		return q.EnrollmentID == id && q.Purpose == fleet.CommandDeclare && q.Sends > 0
	})
}

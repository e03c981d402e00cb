package reconcile

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/backoff"
	"github.com/muster-mdm/muster/internal/kit/ids"
)

// Times and budgets of the state machine.
const (
	// MaxTries is how often an item is sent until it counts as failed.
	MaxTries = 4
	// UserChannelWait is how long an item for a user waits for the user's
	// channel after the device enrolled.
	UserChannelWait = 2 * time.Hour
	// VerifyEvery is how often a device is asked again what it has.
	VerifyEvery = 24 * time.Hour
	// checkEvery is how often a host with something pending is looked at though
	// nothing came from it: commands that got lost are queued again then.
	checkEvery = 30 * time.Minute
	// reportWait is how long a device may take to report on declarations, or
	// to list its profiles, before it is asked again.
	reportWait = 10 * time.Minute
	// clockSlack is how far replicas' clocks may be apart.
	clockSlack = time.Hour
	// longestPause of an item is that between two tries.
	longestPause = 8 * time.Hour
)

// tryAgain is the pause before an item is sent again after an error.
var tryAgain = backoff.Policy{First: time.Minute, Max: 6 * time.Hour, Factor: 5, Jitter: 0.2}

// shelf makes commands, each once for all hosts of a round.
type shelf interface {
	item(uuid string, op fleet.ItemOp, i *fleet.Item, version int) *fleet.Command
	listProfiles() *fleet.Command
	declare() *fleet.Command
}

// plan is the plan of one host in the making.
type plan struct {
	r     *Rules
	f     *fleet.HostFacts
	now   time.Time
	shelf shelf
	out   fleet.HostPlan
	rows  map[fleet.ItemID]fleet.HostItem // as they will be
	// before are the rows as they are stored.
	before map[fleet.ItemID]fleet.HostItem
	taken  map[fleet.ItemID]bool // rows that another item took over
	due    time.Time
	moved  []Change
	ddm    []declared // what goes into manifests
	kept   []keptEntry
	// resync are channels whose devices are to report their whole status.
	resync []fleet.EnrollmentID
}

// Change is one change of an item on a host, as the event log keeps it.
type Change struct {
	Item       string `json:"item"` // UUID
	Name       string `json:"name"`
	Identifier string `json:"identifier"`
	Version    int    `json:"version"`
	Op         string `json:"op"`
	Status     string `json:"status"` // "" when the item left the host
	Detail     string `json:"detail,omitempty"`
	Try        int    `json:"try,omitempty"`
}

// Plan decides what is to be done for one host. It is pure, but for the shelf,
// which makes commands.
func (r *Rules) Plan(f *fleet.HostFacts, now time.Time, s shelf) fleet.HostPlan {
	p := &plan{r: r, f: f, now: now, shelf: s, rows: make(map[fleet.ItemID]fleet.HostItem, len(f.Items)),
		before: make(map[fleet.ItemID]fleet.HostItem, len(f.Items)), taken: map[fleet.ItemID]bool{}}
	p.out = fleet.HostPlan{HostID: f.Host.ID, Seq: f.State.Seq, State: f.State}
	p.vitalsLabels()
	for _, row := range f.Items {
		p.before[row.ItemID] = row
	}
	p.mendTimes()
	for _, row := range f.Items {
		p.rows[row.ItemID] = row
	}
	if f.Device.State == fleet.EnrollmentOn {
		p.wanted()
		p.unwanted()
		p.declarations()
		p.verification()
	} else {
		for id := range p.rows {
			p.drop(id, "")
		}
	}
	p.finish()
	return p.out
}

// mendTimes forgets times that were written when the clock was ahead: the host
// would rest until then.
func (p *plan) mendTimes() {
	latest := p.now.Add(clockSlack)
	s := &p.out.State
	if s.AskedAt.After(latest) {
		s.AskedAt = time.Time{}
	}
	if s.VerifyAt.After(latest.Add(VerifyEvery)) {
		s.VerifyAt = p.now
	}
	ahead := func(row fleet.HostItem) bool {
		return row.ChangedAt.After(latest) || row.NextAt.After(latest.Add(longestPause))
	}
	if !slices.ContainsFunc(p.f.Items, ahead) {
		return
	}
	p.f.Items = slices.Clone(p.f.Items)
	for i := range p.f.Items {
		if row := &p.f.Items[i]; ahead(*row) {
			row.ChangedAt = p.now
			if !row.NextAt.IsZero() {
				row.NextAt = p.now
			}
		}
	}
}

// vitalsLabels works out the labels that follow from vitals, and keeps what
// changed.
func (p *plan) vitalsLabels() {
	if len(p.r.vitals) == 0 {
		return
	}
	held := make(map[fleet.LabelID]fleet.Tri, len(p.f.Labels))
	for _, l := range p.f.Labels {
		held[l.LabelID] = l.Member
	}
	labels := slices.Clone(p.f.Labels)
	for _, l := range p.r.vitals {
		m := l.Criteria.Match(&p.f.Host)
		if held[l.ID] == m {
			continue
		}
		news := fleet.Membership{LabelID: l.ID, Member: m}
		p.out.Labels = append(p.out.Labels, news)
		labels = slices.DeleteFunc(labels, func(o fleet.Membership) bool { return o.LabelID == l.ID })
		labels = append(labels, news)
	}
	p.f.Labels = labels
}

// wanted goes through what the host should have.
func (p *plan) wanted() {
	for w := range p.r.Desired(p.f) {
		row, has := p.rows[w.Item.ID]
		switch w.Decision {
		case fleet.Yes:
			p.want(w, row, has)
		case fleet.Unknown:
			if has {
				p.hold(w, row)
			}
		case fleet.No: // see unwanted
		}
	}
}

// hold leaves an item as it is, but goes on with what was begun.
func (p *plan) hold(w Want, row fleet.HostItem) {
	p.taken[w.Item.ID] = true
	version := w.Item.ItemVersion
	if row.Version != version.Version {
		if w.Item.Previous == nil || w.Item.Previous.Version != row.Version {
			return // the content it has is no longer known here
		}
		version = *w.Item.Previous
	}
	if row.Op == fleet.OpInstall {
		w.Version = &version
		p.want(w, row, true)
	}
}

// want makes the host get or keep an item.
func (p *plan) want(w Want, row fleet.HostItem, has bool) {
	p.taken[w.Item.ID] = true
	params, missing := p.params(w.Version)
	if !has {
		row = fleet.HostItem{HostID: p.f.Host.ID, ItemID: w.Item.ID}
	}
	if w.Item.Kind == fleet.ItemDeclaration {
		p.wantDeclaration(w, row, has, params, missing)
		return
	}
	channel, wait, fault := p.channel(w.Item)
	switch {
	case missing != "":
		p.block(w, row, has, fleet.FaultVariable, missing, time.Time{})
	case fault != fleet.FaultNone:
		p.block(w, row, has, fault, "no user of the Mac has an MDM channel: it comes up when a managed user logs in", time.Time{})
	case channel == 0:
		p.block(w, row, has, fleet.FaultNone, "waits for a user of the Mac to log in", wait)
	default:
		p.wantProfile(w, row, has, params, channel)
	}
}

// wantProfile sends a profile that is not there in that version, or not well.
func (p *plan) wantProfile(w Want, row fleet.HostItem, has bool, params [16]byte, channel fleet.EnrollmentID) {
	if !has && p.takeOver(w, params, channel) {
		return
	}
	changed := !has || row.Op != fleet.OpInstall || row.Version != w.Version.Version || row.Params != params || row.EnrollmentID != channel ||
		row.Fault == fleet.FaultVariable || row.Fault == fleet.FaultNoUser || again(w.Item, row) || p.relieved(w, row)
	switch {
	case changed:
		row.Tries = 0
		row.Version, row.Params, row.EnrollmentID = w.Version.Version, params, channel
		p.send(w.Item, row, fleet.OpInstall)
	case row.Status == fleet.ItemPending && row.Fault == fleet.FaultDevice && p.hopeless(w):
		// It was tried, and refused for a reason that could be told beforehand.
		row.Status, row.NextAt, row.ChangedAt = fleet.ItemFailed, time.Time{}, p.now
		p.put(row)
	case row.Status == fleet.ItemPending && row.CommandID == 0 && !row.NextAt.After(p.now),
		row.Status == fleet.ItemPending && row.CommandID != 0 && !p.queued(row):
		p.send(w.Item, row, fleet.OpInstall)
	}
}

// hopeless tells whether the device will refuse the item each time, as long as
// it is what it is.
func (p *plan) hopeless(w Want) bool {
	return slices.ContainsFunc(p.r.predict(p.f, w, nil), func(r fleet.Refusal) bool { return r.Code == "supervision" || r.Code == "platform" })
}

// relieved tells whether what made an item hopeless is no more, as after the
// device became supervised.
func (p *plan) relieved(w Want, row fleet.HostItem) bool {
	return row.Status == fleet.ItemFailed && row.Fault == fleet.FaultDevice && row.Tries < MaxTries && !p.hopeless(w)
}

// again tells whether somebody asked for another try after the row failed.
func again(i *fleet.Item, row fleet.HostItem) bool {
	return row.Status == fleet.ItemFailed && row.ChangedAt.Before(i.ResendAt) &&
		(i.ResendMatch == "" || strings.Contains(strings.ToLower(row.Detail), strings.ToLower(i.ResendMatch)))
}

// takeOver lets an item go on where another with the same identifier and
// content left off, as after a move to a team that has the same profile:
// nothing is sent.
func (p *plan) takeOver(w Want, params [16]byte, channel fleet.EnrollmentID) bool {
	for id, old := range p.rows {
		item := p.r.catalog.Items[id]
		if id == w.Item.ID || item == nil || item.Kind != w.Item.Kind || item.Identifier != w.Item.Identifier || p.keeps(id) {
			continue
		}
		if old.Op != fleet.OpInstall || old.EnrollmentID != channel || old.Params != params ||
			(old.Status != fleet.ItemVerified && old.Status != fleet.ItemVerifying) {
			continue
		}
		v := versionOf(item, old.Version)
		if v == nil || v.SHA256 != w.Version.SHA256 {
			continue
		}
		row := old
		row.ItemID, row.Version = w.Item.ID, w.Version.Version
		p.put(row)
		return true
	}
	return false
}

func versionOf(i *fleet.Item, version int) *fleet.ItemVersion {
	switch {
	case i.Version == version:
		return &i.ItemVersion
	case i.Previous != nil && i.Previous.Version == version:
		return i.Previous
	}
	return nil
}

// keeps tells whether the host's scope still has the item, so that its row is
// not another one's to take.
func (p *plan) keeps(id fleet.ItemID) bool {
	i := p.r.catalog.Items[id]
	return i != nil && i.DeletedAt.IsZero() && (i.TeamID == p.f.Host.TeamID || i.TeamID == fleet.EveryTeam)
}

// params hashes the values that an item's variables have for the host; missing
// says which has none.
func (p *plan) params(v *fleet.ItemVersion) (sum [16]byte, missing string) {
	if !v.Spec.Expands() {
		return sum, ""
	}
	h := sha256.New()
	for _, name := range v.Spec.Variables {
		value, ok := p.f.Host.Variable(name)
		if !ok {
			return sum, fmt.Sprintf("the variable $FLEET_VAR_%s has no value for this host", name)
		}
		fmt.Fprintf(h, "%s=%q;", name, value)
	}
	for _, name := range v.Spec.Secrets {
		at, ok := p.r.catalog.Secrets[name]
		if !ok {
			return sum, fmt.Sprintf("the secret $FLEET_SECRET_%s is not set", name)
		}
		fmt.Fprintf(h, "%s@%d;", name, at)
	}
	copy(sum[:], h.Sum(nil))
	return sum, ""
}

// channel finds the MDM channel for an item: the device's, or for a user of a
// Mac that user's, for which it waits a while.
func (p *plan) channel(i *fleet.Item) (id fleet.EnrollmentID, wait time.Time, fault fleet.Fault) {
	if i.Scope == fleet.ScopeSystem || p.f.Host.Platform != fleet.PlatformDarwin || p.f.Device.Channel == fleet.ChannelBYODDevice {
		return p.f.Device.ID, time.Time{}, fleet.FaultNone
	}
	if p.f.User.ID != 0 {
		return p.f.User.ID, time.Time{}, fleet.FaultNone
	}
	enrolled := p.f.Device.EnrolledAt
	if until := enrolled.Add(UserChannelWait); p.now.Before(until) && !enrolled.After(p.now.Add(clockSlack)) {
		return 0, until, fleet.FaultNone
	}
	return 0, time.Time{}, fleet.FaultNoUser
}

// block notes why an item cannot be sent. With a fault it counts as failed
// until what is missing appears, which makes the host due.
func (p *plan) block(w Want, row fleet.HostItem, has bool, fault fleet.Fault, why string, until time.Time) {
	status := fleet.ItemFailed
	if fault == fleet.FaultNone {
		status = fleet.ItemPending
	}
	p.wake(until)
	if has && row.Op == fleet.OpInstall && row.Status == status && row.Fault == fault && row.Detail == why && row.Version == w.Version.Version {
		return
	}
	p.cancel(row)
	row.Op, row.Status, row.Fault, row.Detail, row.Version = fleet.OpInstall, status, fault, why, w.Version.Version
	row.CommandID, row.NextAt, row.ChangedAt, row.Tries = 0, until, p.now, 0
	p.put(row)
}

// send queues the command of an operation. Its UUID follows from what it
// does, so that planning twice queues it once.
func (p *plan) send(i *fleet.Item, row fleet.HostItem, op fleet.ItemOp) {
	p.cancel(row)
	row.Op, row.Status, row.Fault, row.Detail = op, fleet.ItemPending, fleet.FaultNone, ""
	row.Attempt++
	row.Tries++
	row.CommandID, row.ChangedAt, row.NextAt = 0, p.now, time.Time{}
	cmd := p.shelf.item(commandUUID(i, row.Version, op, p.generation(row), row.Attempt), op, i, row.Version)
	p.out.Queue = append(p.out.Queue, fleet.PlannedCommand{Command: cmd, EnrollmentID: row.EnrollmentID, ItemID: i.ID})
	p.put(row)
}

func (p *plan) generation(row fleet.HostItem) int64 {
	if row.EnrollmentID == p.f.User.ID && p.f.User.ID != 0 {
		return p.f.User.Generation
	}
	return p.f.Device.Generation
}

// commandUUID is the same for every host that is at the same attempt of the
// same thing: they share the command.
func commandUUID(i *fleet.Item, version int, op fleet.ItemOp, generation int64, attempt int) string {
	h := sha256.New()
	_, _ = h.Write([]byte(i.UUID))
	var n [32]byte
	binary.BigEndian.PutUint64(n[0:], uint64(version))
	binary.BigEndian.PutUint64(n[8:], uint64(op))
	binary.BigEndian.PutUint64(n[16:], uint64(generation))
	binary.BigEndian.PutUint64(n[24:], uint64(attempt))
	_, _ = h.Write(n[:])
	return ids.DerivedUUID([16]byte(h.Sum(nil)[:16]))
}

// queued tells whether the row's command still waits for the device.
func (p *plan) queued(row fleet.HostItem) bool {
	return slices.ContainsFunc(p.f.Queued, func(q fleet.QueuedCommand) bool {
		return q.CommandID == row.CommandID && q.EnrollmentID == row.EnrollmentID
	})
}

// neverSent tells whether the row's command waits and never went out.
func (p *plan) neverSent(row fleet.HostItem) bool {
	return slices.ContainsFunc(p.f.Queued, func(q fleet.QueuedCommand) bool {
		return q.CommandID == row.CommandID && q.EnrollmentID == row.EnrollmentID && q.Sends == 0
	})
}

// cancel takes back a row's command if the device never got it. One that it
// got is answered, and the answer passed over.
func (p *plan) cancel(row fleet.HostItem) {
	if row.CommandID != 0 && row.Status == fleet.ItemPending && p.neverSent(row) {
		p.out.Cancel = append(p.out.Cancel, fleet.QueuedCommand{CommandID: row.CommandID, EnrollmentID: row.EnrollmentID})
	}
}

// unwanted goes through what the host has and should not.
func (p *plan) unwanted() {
	for _, row := range p.f.Items {
		if p.taken[row.ItemID] {
			continue
		}
		item := p.r.catalog.Items[row.ItemID]
		switch {
		case item == nil:
			p.drop(row.ItemID, "")
		case p.replaced(item, row):
			// The other profile takes its place on the device.
			p.cancel(row)
			p.drop(row.ItemID, "replaced by another item with the same identifier")
		case item.Kind == fleet.ItemDeclaration:
			p.removeDeclaration(row)
		case row.EnrollmentID == 0 || (row.EnrollmentID != p.f.Device.ID && row.EnrollmentID != p.f.User.ID):
			p.drop(row.ItemID, "") // its channel is gone, and the profile with it
		default:
			p.remove(item, row)
		}
	}
}

// replaced tells whether an item that the host should have carries the same
// identifier on the same channel.
func (p *plan) replaced(item *fleet.Item, row fleet.HostItem) bool {
	for id := range p.taken {
		other := p.r.catalog.Items[id]
		if other != nil && id != item.ID && other.Kind == item.Kind && other.Identifier == item.Identifier && p.rows[id].EnrollmentID == row.EnrollmentID {
			return true
		}
	}
	return false
}

// remove takes a profile off the device. What the device never got is
// forgotten.
func (p *plan) remove(item *fleet.Item, row fleet.HostItem) {
	switch {
	case row.Op == fleet.OpInstall && row.VerifiedAt.IsZero() && (row.Attempt == 0 || (row.Attempt == 1 && p.neverSent(row))):
		p.cancel(row)
		p.drop(row.ItemID, "")
	case row.Op == fleet.OpInstall && row.VerifiedAt.IsZero() && row.Status == fleet.ItemFailed && row.Fault == fleet.FaultDevice:
		p.drop(row.ItemID, "") // refused by the device: it is not there
	case row.Op == fleet.OpInstall:
		row.Tries = 0
		p.send(item, row, fleet.OpRemove)
	case row.Status == fleet.ItemPending && row.CommandID == 0 && !row.NextAt.After(p.now),
		row.Status == fleet.ItemPending && row.CommandID != 0 && !p.queued(row):
		p.send(item, row, fleet.OpRemove)
	case again(item, row):
		row.Tries = 0
		p.send(item, row, fleet.OpRemove)
	}
}

// put keeps a changed row and its change.
func (p *plan) put(row fleet.HostItem) {
	p.rows[row.ItemID] = row
	if i := p.r.catalog.Items[row.ItemID]; i != nil {
		p.moved = append(p.moved, changeOf(i, row))
	}
}

func changeOf(i *fleet.Item, row fleet.HostItem) Change {
	return Change{Item: i.UUID, Name: i.Name, Identifier: i.Identifier, Version: row.Version, Op: row.Op.String(), Status: row.Status.String(),
		Detail: row.Detail, Try: row.Tries}
}

// drop forgets a row.
func (p *plan) drop(id fleet.ItemID, why string) {
	row := p.rows[id]
	delete(p.rows, id)
	p.out.Drop = append(p.out.Drop, id)
	if i := p.r.catalog.Items[id]; i != nil {
		c := changeOf(i, row)
		c.Status, c.Detail, c.Try = "", why, 0
		p.moved = append(p.moved, c)
	}
}

// wake makes the host due at a time, if that is earlier than so far.
func (p *plan) wake(at time.Time) {
	if !at.IsZero() && (p.due.IsZero() || at.Before(p.due)) {
		p.due = at
	}
}

// verification asks the device which profiles it has, when some wait to be
// seen or it is time again.
func (p *plan) verification() {
	s := &p.out.State
	installed, waiting, oldest := map[fleet.EnrollmentID]bool{}, map[fleet.EnrollmentID]bool{}, time.Time{}
	for id, row := range p.rows {
		if i := p.r.catalog.Items[id]; i == nil || i.Kind != fleet.ItemProfile || row.Op != fleet.OpInstall {
			continue
		}
		switch row.Status {
		case fleet.ItemVerifying:
			waiting[row.EnrollmentID], installed[row.EnrollmentID] = true, true
			if row.ChangedAt.After(oldest) {
				oldest = row.ChangedAt
			}
		case fleet.ItemVerified:
			installed[row.EnrollmentID] = true
		case fleet.ItemPending, fleet.ItemFailed:
		}
	}
	again := len(installed) > 0 && !s.VerifyAt.IsZero() && !s.VerifyAt.After(p.now)
	if len(waiting) > 0 && (s.AskedAt.Before(oldest) || !p.now.Before(s.AskedAt.Add(reportWait))) {
		again = true
	}
	if again {
		for _, id := range []fleet.EnrollmentID{p.f.Device.ID, p.f.User.ID} {
			if installed[id] && !p.listing(id) {
				p.out.Queue = append(p.out.Queue, fleet.PlannedCommand{Command: p.shelf.listProfiles(), EnrollmentID: id})
			}
		}
		s.AskedAt = p.now
		s.VerifyAt = p.now.Add(VerifyEvery - spread(p.f.Host.ID, VerifyEvery/8))
	}
	switch {
	case len(installed) == 0:
		s.VerifyAt = time.Time{}
	case s.VerifyAt.IsZero():
		s.VerifyAt = p.now.Add(VerifyEvery - spread(p.f.Host.ID, VerifyEvery/8))
	}
	if len(waiting) > 0 {
		p.wake(s.AskedAt.Add(reportWait))
	}
	p.wake(s.VerifyAt)
}

// spread keeps hosts from being due all at once: the same time for the same
// host.
func spread(id fleet.HostID, over time.Duration) time.Duration {
	return time.Duration(uint64(id) * 2654435761 % uint64(over))
}

// listing tells whether the channel has been asked for its profiles and not
// answered.
func (p *plan) listing(id fleet.EnrollmentID) bool {
	return slices.ContainsFunc(p.f.Queued, func(q fleet.QueuedCommand) bool {
		return q.EnrollmentID == id && q.Purpose == fleet.CommandListProfiles
	})
}

// finish collects what changed.
func (p *plan) finish() {
	s := &p.out.State
	s.Counts = fleet.ItemCounts{}
	for id, row := range p.rows {
		s.Counts.Add(row.Status, 1)
		if row.NextAt.After(p.now) {
			p.wake(row.NextAt)
		}
		if row.Status == fleet.ItemPending {
			p.wake(p.now.Add(checkEvery))
		}
		if row != p.before[id] {
			p.out.Put = append(p.out.Put, row)
		}
	}
	slices.SortFunc(p.out.Put, func(a, b fleet.HostItem) int { return int(a.ItemID - b.ItemID) })
	s.HostID, s.TeamID, s.Seq = p.f.Host.ID, p.f.Host.TeamID, p.f.State.Seq+1
	s.Revision, s.DueAt = p.r.catalog.Revisions[p.f.Host.TeamID], p.due
	if len(p.moved) > 0 {
		slices.SortStableFunc(p.moved, func(a, b Change) int { return strings.Compare(a.Item, b.Item) })
		p.out.Events = append(p.out.Events, fleet.Event{Kind: fleet.EventHostItems, At: p.now, HostID: p.f.Host.ID, Details: Details(p.moved, nil)})
	}
}

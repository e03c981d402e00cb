package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// Limits of an explanation.
const (
	maxAttempts   = 50
	maxHostEvents = 5000 // looked through, newest first
)

// Events reads the event log.
type Events interface {
	// OfHost returns up to limit entries of a host before the given time (zero:
	// now), newest first. kinds empty: all.
	OfHost(ctx context.Context, host fleet.HostID, before time.Time, kinds []fleet.EventKind, limit int) ([]fleet.Event, error)
}

// Wakes tells when a channel is pushed to next.
type Wakes interface {
	// NextPush is zero when none is planned; broken when pushes stopped.
	NextPush(ctx context.Context, id fleet.EnrollmentID) (at time.Time, broken bool, err error)
}

// Names finds teams by key.
type Names interface {
	Team(ctx context.Context, id fleet.TeamID) (*fleet.Team, error)
}

// Explainer tells why a host has an item, or why not.
type Explainer struct {
	reconciler *Reconciler
	plans      Plans
	events     Events
	wakes      Wakes
	names      Names
	verifier   Verifier
	plan       *wake.Bell
}

// NewExplainer returns the explainer.
func NewExplainer(r *Reconciler, plans Plans, events Events, wakes Wakes, names Names, verifier Verifier, plan *wake.Bell) *Explainer {
	return &Explainer{reconciler: r, plans: plans, events: events, wakes: wakes, names: names, verifier: verifier, plan: plan}
}

// facts reads one host with the newest rules.
func (e *Explainer) facts(ctx context.Context, host fleet.HostID) (*Rules, *fleet.HostFacts, error) {
	rules, list, err := e.reconciler.facts(ctx, []fleet.HostID{host})
	if err != nil {
		return nil, nil, err
	}
	if len(list) == 0 {
		return nil, nil, fleet.Errorf(fleet.KindNotFound, "there is no host with id %d", host)
	}
	return rules, &list[0], nil
}

// find looks an item up by UUID, identifier or name: in the host's scope
// first, then anywhere.
func (r *Rules) find(f *fleet.HostFacts, key string) (*fleet.Item, error) {
	var here, elsewhere []*fleet.Item
	for _, i := range r.catalog.Items {
		if i.UUID != key && i.Identifier != key && !strings.EqualFold(i.Name, key) {
			continue
		}
		inScope := i.DeletedAt.IsZero() && (i.TeamID == f.Host.TeamID || i.TeamID == fleet.EveryTeam)
		if inScope || i.UUID == key {
			here = append(here, i)
		} else if i.DeletedAt.IsZero() {
			elsewhere = append(elsewhere, i)
		}
	}
	for _, list := range [][]*fleet.Item{here, elsewhere} {
		switch {
		case len(list) == 1:
			return list[0], nil
		case len(list) > 1:
			return nil, fleet.FieldErrorf(fleet.KindConflict, "item", "%.100q is the name of %d items: use the UUID", key, len(list))
		}
	}
	return nil, fleet.FieldErrorf(fleet.KindNotFound, "item", "there is no profile or declaration with UUID, identifier or name %.100q", key)
}

// Explain tells the whole story of one item on one host.
func (e *Explainer) Explain(ctx context.Context, host fleet.HostID, key string) (*fleet.Explanation, error) {
	rules, f, err := e.facts(ctx, host)
	if err != nil {
		return nil, err
	}
	item, err := rules.find(f, key)
	if err != nil {
		return nil, err
	}
	out := &fleet.Explanation{Host: refOf(&f.Host), Item: item}
	if out.TeamName, err = e.teamName(ctx, item.TeamID); err != nil {
		return nil, err
	}
	rules.explainRules(out, f)
	for _, row := range f.Items {
		if row.ItemID == item.ID {
			copied := row
			out.State = &copied
		}
	}
	if out.Attempts, err = e.attempts(ctx, host, item); err != nil {
		return nil, err
	}
	out.Problem = problemOf(out)
	if out.Next, err = e.next(ctx, out, f); err != nil {
		return nil, err
	}
	out.Answer = answer(out, f)
	return out, nil
}

func refOf(h *fleet.Host) fleet.HostRef {
	return fleet.HostRef{ID: h.ID, UUID: h.UUID, Serial: h.HardwareSerial, Hostname: h.DisplayName(), Platform: h.Platform, TeamID: h.TeamID, MDM: h.MDM.Status}
}

func (e *Explainer) teamName(ctx context.Context, id fleet.TeamID) (string, error) {
	switch id {
	case fleet.EveryTeam:
		return "", nil
	case fleet.NoTeam:
		return fleet.NoTeamName, nil
	}
	team, err := e.names.Team(ctx, id)
	if err != nil || team == nil {
		return fmt.Sprintf("team %d", id), err
	}
	return team.Name, nil
}

// explainRules tells every condition, by the function that planning uses.
func (r *Rules) explainRules(out *fleet.Explanation, f *fleet.HostFacts) {
	i := out.Item
	add := func(rule string, met fleet.Tri, format string, args ...any) {
		out.Rules = append(out.Rules, fleet.ExplainedRule{Rule: rule, Met: met, Text: fmt.Sprintf(format, args...)})
	}
	out.Decision = fleet.Yes
	if f.Device.State != fleet.EnrollmentOn {
		out.Decision = fleet.No
		add("mdm", fleet.No, "MDM is not on for the host (its enrollment is %s)", f.Device.State)
	} else {
		add("mdm", fleet.Yes, "MDM is on since %s", f.Device.EnrolledAt.UTC().Format(time.RFC3339))
	}
	switch {
	case !i.DeletedAt.IsZero():
		out.Decision = fleet.No
		add("exists", fleet.No, "it was deleted at %s", i.DeletedAt.UTC().Format(time.RFC3339))
	case i.TeamID == fleet.EveryTeam:
		add("team", fleet.Yes, "it goes to every team")
	case i.TeamID != f.Host.TeamID:
		out.Decision = fleet.No
		add("team", fleet.No, "it is for %s, and the host is elsewhere", out.TeamName)
	default:
		add("team", fleet.Yes, "it is for %s, and the host is there", out.TeamName)
	}
	u, m := r.compile(i), r.membership(f)
	w, c := u.decide(f, &m)
	for _, s := range r.steps(&u, f, m, w, c) {
		rule := fleet.ExplainedRule{Rule: s.Rule, Met: s.Met, Text: s.Text}
		for _, l := range s.Labels {
			rule.Labels = append(rule.Labels, fleet.ExplainedLabel(l))
		}
		out.Rules = append(out.Rules, rule)
	}
	if out.Decision == fleet.Yes {
		out.Decision = w.Decision
	}
	if out.Decision == fleet.Yes {
		out.Version = w.Version.Version
		out.Predicted = r.predict(f, w, slices.Collect(r.Desired(f)))
	}
}

// attempts reads the log for what was done about an item.
func (e *Explainer) attempts(ctx context.Context, host fleet.HostID, item *fleet.Item) ([]fleet.Attempt, error) {
	events, err := e.events.OfHost(ctx, host, time.Time{}, []fleet.EventKind{fleet.EventHostItems, fleet.EventItemResent, fleet.EventMDMReset, fleet.EventMDMEnrolled}, maxHostEvents)
	if err != nil {
		return nil, err
	}
	var out []fleet.Attempt
	for _, ev := range events {
		if ev.Kind != fleet.EventHostItems {
			if a := lifeAttempt(ev, item); a != nil {
				out = append(out, *a)
			}
			continue
		}
		var entry Entry
		if json.Unmarshal(ev.Details, &entry) != nil {
			continue
		}
		for _, c := range entry.Changes {
			if c.Item == item.UUID {
				out = append(out, attemptOf(ev.At, c, entry.Answer))
			}
		}
		if len(out) >= maxAttempts {
			break
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out, nil
}

// lifeAttempt is an entry of the host's life that explains what follows it.
func lifeAttempt(ev fleet.Event, item *fleet.Item) *fleet.Attempt {
	switch ev.Kind {
	case fleet.EventMDMReset:
		return &fleet.Attempt{At: ev.At, Text: "the device enrolled again: everything is sent again"}
	case fleet.EventMDMEnrolled:
		return &fleet.Attempt{At: ev.At, Text: "MDM was turned on"}
	case fleet.EventItemResent:
		if strings.Contains(string(ev.Details), item.UUID) {
			return &fleet.Attempt{At: ev.At, Text: "sent again by " + orElse(ev.Actor.Name, "somebody")}
		}
	default: // says nothing about items
	}
	return nil
}

func orElse(v, fallback string) string {
	if v != "" {
		return v
	}
	return fallback
}

func attemptOf(at time.Time, c Change, a *Answer) fleet.Attempt {
	out := fleet.Attempt{At: at, Op: c.Op, Status: c.Status, Try: c.Try, Version: c.Version}
	switch {
	case c.Status == "":
		out.Text = "it is gone from the host"
		if c.Detail != "" {
			out.Text += ": " + c.Detail
		}
	case a == nil && c.Status == "pending" && c.Detail == "":
		out.Text = fmt.Sprintf("%s was queued (try %d of %d)", c.Op, c.Try, MaxTries)
	case c.Status == "verifying":
		out.Text = "the device acknowledged; what it has is asked next"
	case c.Status == "verified":
		out.Text = "the device reported that it has it"
	default:
		out.Text = c.Detail
	}
	if a != nil && len(a.Errors) > 0 {
		out.Problem = translate(a.Errors)
	}
	return out
}

// translate says an error chain in plain words: the last link that is known is
// the nearest to the cause.
func translate(chain []Link) *fleet.ExplainedProblem {
	p := &fleet.ExplainedProblem{}
	var said []string
	for _, l := range chain {
		said = append(said, fmt.Sprintf("%s (%s %d)", l.Text, l.Domain, l.Code))
		if m, ok := mdmcmd.Explain(l.Domain, l.Code); ok {
			p.Cause, p.Fix = m.Cause, m.Fix
		}
	}
	p.Said = strings.Join(said, ": ")
	if p.Cause == "" {
		p.Cause, p.Fix = "the device gave a reason that is not in the catalogue", "read the device's words"
	}
	return p
}

// problemOf is what stands in the way now.
func problemOf(x *fleet.Explanation) *fleet.ExplainedProblem {
	if x.State == nil || x.State.Fault == fleet.FaultNone {
		return nil
	}
	p := &fleet.ExplainedProblem{Said: x.State.Detail}
	switch x.State.Fault {
	case fleet.FaultDevice:
		// What is known of the host says more than the device's code, which is
		// a hint.
		if len(x.Predicted) > 0 {
			p.Cause, p.Fix = x.Predicted[0].Text, x.Predicted[0].Fix
			return p
		}
		for i := len(x.Attempts) - 1; i >= 0; i-- {
			if x.Attempts[i].Problem != nil {
				return x.Attempts[i].Problem
			}
		}
		p.Cause, p.Fix = "the device refused", "read the device's words"
	case fleet.FaultVariable:
		p.Cause, p.Fix = "a value that the item needs is missing", "set the value: the item follows by itself"
	case fleet.FaultMissing:
		p.Cause, p.Fix = "the device does not have what it acknowledged or had", "nothing: it is sent again; if it stays, look for software or people that remove it"
	case fleet.FaultNoUser:
		p.Cause, p.Fix = "items for a user go through that user's MDM channel, and the Mac has none", "let a managed user log in on the Mac"
	case fleet.FaultInvalid:
		p.Cause, p.Fix = "the device does not accept the declaration", "correct the declaration; the device's reason says what is wrong"
	case fleet.FaultUnsupported:
		p.Cause, p.Fix = "the device's system is too old for declarations", "update the device"
	case fleet.FaultFormat:
		p.Cause, p.Fix = "the device could not read the command", "report this as a defect of the server, with the profile"
	case fleet.FaultNone:
	}
	return p
}

// next says what happens next, when, and who has to act.
func (e *Explainer) next(ctx context.Context, x *fleet.Explanation, f *fleet.HostFacts) (fleet.NextStep, error) {
	row := x.State
	switch {
	case x.Decision == fleet.Unknown:
		return fleet.NextStep{Text: "it stays as it is until the membership is known", Who: "the device"}, nil
	case row == nil && x.Decision == fleet.Yes:
		return fleet.NextStep{Text: "the host is planned", At: f.State.DueAt, Who: "Muster"}, nil
	case row == nil:
		return fleet.NextStep{Text: "nothing", Who: "nobody"}, nil
	case row.Status == fleet.ItemPending && row.CommandID != 0:
		at, broken, err := e.wakes.NextPush(ctx, row.EnrollmentID)
		if broken {
			return fleet.NextStep{Text: "Apple says that the device's push token is no longer good: it gets the command when it connects by itself", Who: "the device"}, err
		}
		return fleet.NextStep{Text: "the device is woken and fetches the command", At: at, Who: "the device"}, err
	case row.Status == fleet.ItemPending && row.Op == fleet.OpRemove && x.Item.Kind == fleet.ItemDeclaration:
		return fleet.NextStep{Text: "the device fetches its declarations and reports that it is gone", Who: "the device"}, nil
	case row.Status == fleet.ItemPending:
		return fleet.NextStep{Text: "it is sent", At: row.NextAt, Who: "Muster"}, nil
	case row.Status == fleet.ItemVerifying && x.Item.Kind == fleet.ItemDeclaration:
		return fleet.NextStep{Text: "the device reports on its declarations, or is asked to again", At: row.NextAt, Who: "the device"}, nil
	case row.Status == fleet.ItemVerifying:
		return fleet.NextStep{Text: "the device lists its profiles, or is asked again", At: f.State.AskedAt.Add(reportWait), Who: "the device"}, nil
	case row.Status == fleet.ItemVerified:
		return fleet.NextStep{Text: "the device is asked again what it has", At: f.State.VerifyAt, Who: "Muster"}, nil
	case row.Fault == fleet.FaultVariable, row.Fault == fleet.FaultNoUser, row.Fault == fleet.FaultUnsupported:
		return fleet.NextStep{Text: "it follows by itself when what is missing appears", Who: "an admin or the user"}, nil
	}
	return fleet.NextStep{Text: "nothing happens by itself: correct the cause, then upload a new version or resend it", Who: "an admin"}, nil
}

// answer is the whole in a sentence or two.
func answer(x *fleet.Explanation, f *fleet.HostFacts) string {
	name, host := fmt.Sprintf("%q", x.Item.Name), f.Host.DisplayName()
	switch {
	case x.Decision == fleet.No && x.State == nil:
		return fmt.Sprintf("%s does not get %s: %s.", host, name, firstUnmet(x, fleet.No))
	case x.Decision == fleet.No:
		return fmt.Sprintf("%s is to lose %s, because %s; that is %s.", host, name, firstUnmet(x, fleet.No), x.State.Status)
	case x.Decision == fleet.Unknown:
		return fmt.Sprintf("%s is held on %s: %s.", name, host, firstUnmet(x, fleet.Unknown))
	case x.State == nil:
		return fmt.Sprintf("%s gets %s; nothing was sent yet.", host, name)
	case x.State.Status == fleet.ItemFailed && x.Problem != nil:
		return fmt.Sprintf("%s failed on %s: %s. To do: %s.", name, host, x.Problem.Cause, x.Problem.Fix)
	case x.State.Status == fleet.ItemPending && x.State.Detail != "":
		return fmt.Sprintf("%s is pending on %s: %s.", name, host, x.State.Detail)
	}
	return fmt.Sprintf("%s is %s on %s since %s.", name, x.State.Status, host, x.State.ChangedAt.UTC().Format(time.RFC3339))
}

func firstUnmet(x *fleet.Explanation, want fleet.Tri) string {
	for _, r := range x.Rules {
		if r.Met == want {
			return r.Text
		}
	}
	return "of its rules"
}

// Verifier makes hosts say what they have.
type Verifier interface {
	VerifyNow(ctx context.Context, host fleet.HostID) error
}

// Verify asks a host what it has, now instead of at its time.
func (e *Explainer) Verify(ctx context.Context, host fleet.HostID) error {
	err := e.verifier.VerifyNow(ctx, host)
	if err == nil {
		e.plan.Ring()
	}
	return err
}

// WhatIf tells what a host would have in another scope or with other labels.
func (e *Explainer) WhatIf(ctx context.Context, host fleet.HostID, q fleet.WhatIf) ([]fleet.WhatIfItem, error) {
	rules, f, err := e.facts(ctx, host)
	if err != nil {
		return nil, err
	}
	now := slices.Collect(rules.Desired(f))
	then := *f
	if q.TeamID != nil {
		then.Host.TeamID = *q.TeamID
	}
	then.Labels = nil
	changed := map[fleet.LabelID]fleet.Tri{}
	for _, id := range q.Join {
		changed[id] = fleet.Yes
	}
	for _, id := range q.Leave {
		changed[id] = fleet.No
	}
	for _, m := range f.Labels {
		if _, has := changed[m.LabelID]; !has {
			then.Labels = append(then.Labels, m)
		}
	}
	for id, member := range changed {
		then.Labels = append(then.Labels, fleet.Membership{LabelID: id, Member: member})
	}
	before := map[fleet.ItemID]fleet.Tri{}
	for _, w := range now {
		before[w.Item.ID] = w.Decision
	}
	var out []fleet.WhatIfItem
	seen := map[fleet.ItemID]bool{}
	for w := range rules.Desired(&then) {
		seen[w.Item.ID] = true
		item := fleet.WhatIfItem{Item: w.Item, Now: before[w.Item.ID], Then: w.Decision}
		if item.Now == fleet.Unknown && !has(now, w.Item.ID) {
			item.Now = fleet.No
		}
		x := &fleet.Explanation{Item: w.Item}
		rules.explainRules(x, &then)
		if w.Decision != fleet.Yes {
			item.Reason = firstUnmet(x, w.Decision)
		}
		out = append(out, item)
	}
	for _, w := range now {
		if !seen[w.Item.ID] {
			out = append(out, fleet.WhatIfItem{Item: w.Item, Now: w.Decision, Then: fleet.No, Reason: "it is not for that team"})
		}
	}
	return out, nil
}

func has(wants []Want, id fleet.ItemID) bool {
	for _, w := range wants {
		if w.Item.ID == id {
			return true
		}
	}
	return false
}

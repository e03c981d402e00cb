package hostaction

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

const (
	// maxBulk bounds the hosts that one request locks or wipes: they are one
	// transaction.
	maxBulk  = 200
	maxHosts = 1000 // of one request of another kind
	maxNamed = 10   // hosts that an error names
)

// Store keeps what actions left and the requests for them.
type Store interface {
	// Act reads the facts, lets decide say what changes, and writes that, all
	// in one transaction.
	Act(ctx context.Context, look fleet.ActionLookup, decide func(fleet.ActionFacts) (fleet.ActionChange, error)) error
	Request(ctx context.Context, uuid string) (*fleet.ActionRequest, error)
	Requests(ctx context.Context, phases []fleet.ActionPhase, page fleet.Page) ([]fleet.ActionRequest, fleet.PageMeta, error)
	RequestsDue(ctx context.Context, phase fleet.ActionPhase, now time.Time, limit int) ([]fleet.ActionRequest, error)
	RotationsDue(ctx context.Context, now time.Time, limit int) ([]fleet.HostID, error)
	// LockedButHeardOf returns Macs that are locked and were heard of more than
	// settles after what was last done to them.
	LockedButHeardOf(ctx context.Context, settles time.Duration, limit int) ([]fleet.HostID, error)
	Sweep(ctx context.Context) error
	// DeleteRequests drops requests that ended before the time.
	DeleteRequests(ctx context.Context, before time.Time) error
	// Archived returns secrets of devices of which the host was deleted or
	// enrolled anew, the newest first; DropArchived forgets old ones.
	Archived(ctx context.Context, serial string, limit int) ([]fleet.ArchivedSecret, error)
	DropArchived(ctx context.Context, before time.Time) error
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

// Settings has the brake's policy and the organization's name.
type Settings interface {
	Settings(ctx context.Context) (fleet.Settings, error)
}

// Doer carries an action out that is somebody else's to do.
type Doer func(ctx context.Context, actor fleet.Actor, host fleet.HostID) error

// Options are what a Service works with.
type Options struct {
	Store    Store
	Secrets  Secrets
	Sealer   Sealer
	Settings Settings
	// Doers carry out what waited: unenroll and delete.
	Doers map[fleet.ActionKind]Doer
	Clock func() time.Time
	// Seen is the last contact that is not written yet; zero: none.
	Seen func(fleet.HostID) time.Time
	// Pushes rings when a command waits.
	Pushes *wake.Bell
}

// Service does things to hosts.
type Service struct{ o Options }

// New returns the service.
func New(o Options) *Service { return &Service{o} }

// order is a request on its way through the brake.
type order struct {
	actor   fleet.Actor
	ask     fleet.ActionAsk
	org     fleet.Settings
	now     time.Time
	bare    bool // the request is only counted: a command sent as such
	result  fleet.ActionResult
	refused *fleet.Error
	pin     string // the command whose PIN is to be shown
}

// Do carries out what somebody asks for, or holds it for a second person or
// for its time. All hosts of a request get it or none does.
func (s *Service) Do(ctx context.Context, actor fleet.Actor, ask fleet.ActionAsk) (fleet.ActionResult, error) {
	o, err := s.order(ctx, actor, ask)
	if err != nil {
		return fleet.ActionResult{}, err
	}
	if err := s.place(ctx, o); err != nil {
		return fleet.ActionResult{}, err
	}
	if o.result.Held == nil {
		s.o.Pushes.Ring()
	}
	if o.pin != "" {
		if o.result.PIN, err = s.commandSecret(ctx, o.pin, "PIN"); err != nil {
			return fleet.ActionResult{}, err
		}
	}
	return o.result, nil
}

// Admit asks the brake about something that the caller does itself. A request
// comes back when it is held: the caller does nothing, and it is done when its
// time comes. bare: it cannot be held, and is refused instead.
func (s *Service) Admit(ctx context.Context, actor fleet.Actor, kind fleet.ActionKind, hosts []fleet.HostID, bare bool) (*fleet.ActionRequest, error) {
	return s.admit(ctx, actor, fleet.ActionAsk{Kind: kind, Hosts: hosts, Expected: -1}, bare)
}

// AdmitDelete is Admit of a deletion, which force makes one of locked hosts too.
func (s *Service) AdmitDelete(ctx context.Context, actor fleet.Actor, hosts []fleet.HostID, force bool) (*fleet.ActionRequest, error) {
	return s.admit(ctx, actor, fleet.ActionAsk{Kind: fleet.ActionDelete, Hosts: hosts, Expected: -1, Options: fleet.ActionOptions{Force: force}}, false)
}

func (s *Service) admit(ctx context.Context, actor fleet.Actor, ask fleet.ActionAsk, bare bool) (*fleet.ActionRequest, error) {
	o, err := s.order(ctx, actor, ask)
	if err != nil {
		return nil, err
	}
	o.bare = bare
	if err := s.place(ctx, o); err != nil {
		return nil, err
	}
	return o.result.Held, nil
}

func (s *Service) order(ctx context.Context, actor fleet.Actor, ask fleet.ActionAsk) (*order, error) {
	ask.Hosts = slices.Clone(ask.Hosts)
	slices.Sort(ask.Hosts)
	ask.Hosts = slices.Compact(ask.Hosts)
	if err := checkAsk(ask); err != nil {
		return nil, err
	}
	org, err := s.o.Settings.Settings(ctx)
	if err != nil {
		return nil, err
	}
	return &order{actor: actor, ask: ask, org: org, now: s.o.Clock()}, nil
}

// place takes an order through the brake and carries it out, in one
// transaction.
func (s *Service) place(ctx context.Context, o *order) error {
	look := fleet.ActionLookup{Hosts: o.ask.Hosts, Kind: o.ask.Kind, Since: o.now.Add(-brakeWindow)}
	if o.bare {
		// The sender has looked at them, and they may be very many: the first
		// are read for their names.
		look.Hosts = o.ask.Hosts[:min(len(o.ask.Hosts), maxBulk)]
	}
	if o.braked() {
		look.Actor = o.actor.UserID
	}
	err := s.o.Store.Act(ctx, look, func(f fleet.ActionFacts) (fleet.ActionChange, error) {
		o.result, o.refused, o.pin = fleet.ActionResult{}, nil, ""
		return s.decideOrder(o, f)
	})
	if err == nil && o.refused != nil {
		err = o.refused
	}
	return err
}

// stopped tells whether the brake refused the order.
func (o *order) stopped() bool { return o.refused != nil }

// elsewhere tells whether it is somebody else's to do, who knows what becomes of
// hosts that are gone.
func (o *order) elsewhere() bool {
	return o.ask.Kind == fleet.ActionDelete || o.ask.Kind == fleet.ActionUnenroll
}

// braked tells whether the brake watches the order: Muster itself has no limit.
func (o *order) braked() bool {
	person := o.actor.Kind == fleet.ActorUser || o.actor.Kind == fleet.ActorToken
	return person && slices.Contains(fleet.BrakedActions(), o.ask.Kind)
}

func checkAsk(ask fleet.ActionAsk) error {
	most := maxHosts
	if ask.Kind == fleet.ActionLock || ask.Kind == fleet.ActionWipe {
		most = maxBulk
	}
	n := len(ask.Hosts)
	switch {
	case n == 0:
		return fleet.FieldErrorf(fleet.KindInvalid, "hosts", "name at least one host: an empty list never means all of them")
	case ask.Expected >= 0 && ask.Expected != n:
		return fleet.FieldErrorf(fleet.KindConflict, "expected_count", "%d hosts were expected and %d are named: nothing was done", ask.Expected, n)
	}
	// Commands that are sent as such are bounded by their number of targets.
	if n > most && ask.Expected >= 0 {
		return fleet.FieldErrorf(fleet.KindInvalid, "hosts", "%d hosts, at most %d are taken at once: nothing was done", n, most)
	}
	return checkOptions(ask)
}

func (s *Service) decideOrder(o *order, f fleet.ActionFacts) (fleet.ActionChange, error) {
	c := fleet.ActionChange{}
	if o.bare {
		o.brake(&c, f)
		return c, nil
	}
	if len(f.Hosts) < len(o.ask.Hosts) && !o.elsewhere() {
		return c, missing(o.ask.Hosts, f.Hosts)
	}
	if len(f.Hosts) == 0 {
		return c, nil // whoever does it says so
	}
	steps, err := plan(o.ask, f.Hosts)
	if err != nil {
		return c, err
	}
	// A lock that waits already and is repeated is no other one.
	if slices.ContainsFunc(steps, func(v step) bool { return v != stepWakeAgain }) {
		o.brake(&c, f)
	}
	if o.stopped() {
		return c, nil // with the event that says so
	}
	if c.Request != nil && c.Request.Phase != fleet.ActionDone {
		return s.hold(o, c)
	}
	o.result.Hosts = len(f.Hosts)
	for i := range f.Hosts {
		if at := s.o.Seen(f.Hosts[i].Host.ID); at.After(f.Hosts[i].SeenAt) {
			f.Hosts[i].SeenAt = at
		}
		if err := s.carry(&c, o, steps[i], &f.Hosts[i]); err != nil {
			return fleet.ActionChange{}, err
		}
	}
	return c, nil
}

// brake asks the brake about an order: what passes is a request in the change.
func (o *order) brake(c *fleet.ActionChange, f fleet.ActionFacts) {
	if !o.braked() {
		return
	}
	n := len(f.Hosts)
	if o.bare {
		n = len(o.ask.Hosts)
	}
	v := judge(o.org.Brake, o.ask.Kind, n, f.Used, f.Oldest, o.now)
	if o.bare && v.refuse == nil && v.phase != fleet.ActionDone {
		v.refuse = fleet.Errorf(fleet.KindInvalid, "the brake: here a %s must be approved or waits, which a command that is sent as such cannot do:"+
			" nothing was sent. Ask for the %[1]s itself", o.ask.Kind)
	}
	if v.refuse == nil {
		c.Request = o.request(v, n, f.Hosts)
		return
	}
	o.refused = v.refuse
	c.Events = []fleet.Event{o.event(fleet.EventBrake, nil, map[string]any{"action": o.ask.Kind.String(), "hosts": n, "reason": v.refuse.Error()})}
}

// plan decides about every host; one that refuses stops all of them.
func plan(ask fleet.ActionAsk, hosts []fleet.ActionHost) ([]step, error) {
	steps := make([]step, len(hosts))
	if ask.Kind == fleet.ActionDelete && ask.Options.Force {
		return steps, nil
	}
	var faults []*fleet.Error
	for i := range hosts {
		v, err := decide(ask.Kind, &hosts[i])
		if err == nil {
			err = unsuited(&ask, &hosts[i])
		}
		if err != nil {
			faults = append(faults, err)
		}
		steps[i] = v
	}
	if len(faults) == 0 {
		return steps, nil
	}
	if len(hosts) == 1 {
		return nil, faults[0]
	}
	reasons := make([]string, 0, maxNamed)
	for _, f := range faults[:min(len(faults), maxNamed)] {
		reasons = append(reasons, f.Fields[0].Reason)
	}
	return nil, fleet.FieldErrorf(faults[0].Kind, "hosts", "%d of %d hosts cannot take it, and nothing was done: %s",
		len(faults), len(hosts), strings.Join(reasons, "; "))
}

func missing(wanted []fleet.HostID, found []fleet.ActionHost) error {
	var names []string
	for _, id := range wanted {
		if !slices.ContainsFunc(found, func(h fleet.ActionHost) bool { return h.Host.ID == id }) && len(names) < maxNamed {
			names = append(names, fmt.Sprint(id))
		}
	}
	return fleet.FieldErrorf(fleet.KindNotFound, "hosts", "there is no host with id %s: nothing was done", strings.Join(names, ", "))
}

// hold keeps a request, with what it says sealed.
func (s *Service) hold(o *order, c fleet.ActionChange) (fleet.ActionChange, error) {
	packed, err := json.Marshal(o.ask.Options)
	if err != nil {
		return fleet.ActionChange{}, err
	}
	write, err := s.seal(c.Request.UUID, packed)
	if err != nil {
		return fleet.ActionChange{}, err
	}
	c.Secrets = append(c.Secrets, write)
	for _, t := range c.Request.Targets {
		c.Events = append(c.Events, fleet.Event{Kind: fleet.EventActionHeld, At: o.now, Actor: o.actor, HostID: t.ID, Details: details(map[string]any{
			"action": o.ask.Kind.String(), "request_uuid": c.Request.UUID, "phase": c.Request.Phase.String(), "due_at": c.Request.DueAt.Format(time.RFC3339)})})
	}
	o.result = fleet.ActionResult{Hosts: c.Request.Hosts, Held: c.Request, Message: heldMessage(c.Request)}
	return c, nil
}

func heldMessage(r *fleet.ActionRequest) string {
	if r.Phase == fleet.ActionWaiting {
		return fmt.Sprintf("Another admin must approve request %s before %s.", r.UUID, r.DueAt.Format(time.RFC3339))
	}
	return fmt.Sprintf("It is done at %s, and request %s can be undone until then.", r.DueAt.Format(time.RFC3339), r.UUID)
}

// request is the row of an order; one that is only counted names the first
// hosts.
func (o *order) request(v verdict, n int, hosts []fleet.ActionHost) *fleet.ActionRequest {
	r := &fleet.ActionRequest{UUID: ids.UUID(), Kind: o.ask.Kind, Phase: v.phase, Hosts: n, Actor: o.actor, CreatedAt: o.now, DueAt: v.due}
	for i := range hosts {
		r.Targets = append(r.Targets, fleet.ActionTarget{ID: hosts[i].Host.ID, Name: nameOf(&hosts[i]), Serial: hosts[i].Host.Serial})
	}
	return r
}

func (o *order) event(kind fleet.EventKind, h *fleet.ActionHost, facts map[string]any) fleet.Event {
	e := fleet.Event{Kind: kind, At: o.now, Actor: o.actor}
	if h != nil {
		e.HostID, e.EnrollmentID = h.Host.ID, h.EnrollmentID
	}
	e.Details = details(facts)
	return e
}

// details encodes the facts of an event.
func details(facts map[string]any) []byte {
	b, err := json.Marshal(facts)
	if err != nil {
		return nil // plain strings and numbers always marshal
	}
	return b
}

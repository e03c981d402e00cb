package enroll

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/mobileconfig"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/backoff"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// Times and limits of renewals.
const (
	// renewalLife is how long a device has to carry a renewal out; its
	// challenge is good for as long. One that is not reached within it is asked
	// anew.
	renewalLife = 7 * 24 * time.Hour
	// renewalLook is how often a renewal that waits is looked at.
	renewalLook = time.Hour
	// renewalSends is how often a device may take the command without a word
	// until it counts as ignored: commands behind it wait.
	renewalSends = 3
	// maxFault bounds the device's words that are kept, in bytes.
	maxFault = 255
	// renewalBatch is how many renewals one transaction begins.
	renewalBatch = 50
	// renewalHunt is the pause between two looks for identities that expire.
	renewalHunt = time.Minute
)

// renewAgain is the pause after a renewal failed.
var renewAgain = backoff.Policy{First: time.Hour, Max: 3 * 24 * time.Hour, Factor: 3, Jitter: 0.2}

// RenewalEvent is what happens to a renewal.
type RenewalEvent uint8

// Events of a renewal. That the new identity is used ends it, as do a real
// enrollment and a turn off: there is no row any more then.
const (
	RenewalDue          RenewalEvent = iota // the time to look at it has come
	RenewalRefused                          // the device answered with an error, a rejected SCEP request included
	RenewalAcknowledged                     // the device installed the profile, and still uses the old identity
)

// RenewalVerdict says what to do besides the change of the row.
type RenewalVerdict struct {
	Next fleet.Renewal
	// Ask mints a challenge and sends a new profile.
	Ask bool
	// Failed ends an attempt: people are told.
	Failed bool
}

// NextRenewal is the state machine of a renewal. It is pure but for the jitter
// of pauses. nil: nothing was begun.
func NextRenewal(r *fleet.Renewal, e RenewalEvent, now time.Time, sends int, fault string) RenewalVerdict {
	if r == nil {
		return askRenewal(fleet.Renewal{}, now)
	}
	next := *r
	switch e {
	case RenewalRefused:
		return failRenewal(next, now, fault)
	case RenewalAcknowledged:
		// The next request brings the new identity, or never.
		next.DueAt, next.Acknowledged = now.Add(renewalLook), true
		return RenewalVerdict{Next: next}
	case RenewalDue:
	}
	switch {
	case !next.Waiting, next.Deadline.Sub(now) > renewalLife+renewalLook: // or the clock was ahead
		return askRenewal(next, now)
	case sends >= renewalSends && now.Sub(next.AskedAt) >= renewalLook:
		return failRenewal(next, now, fmt.Sprintf("the device took the command %d times without an answer", sends))
	case now.Before(next.Deadline):
		next.DueAt = earlier(now.Add(renewalLook), next.Deadline)
		return RenewalVerdict{Next: next}
	case next.Acknowledged:
		return failRenewal(next, now, "the device says that it installed the new enrollment profile, and still uses the old identity")
	case sends == 0: // it was not reached at all, which is no fault of the renewal
		return askRenewal(next, now)
	}
	return failRenewal(next, now, "the device did not use the new identity in time")
}

func askRenewal(r fleet.Renewal, now time.Time) RenewalVerdict {
	r.Waiting, r.Acknowledged, r.AskedAt, r.Deadline, r.DueAt = true, false, now, now.Add(renewalLife), now.Add(renewalLook)
	return RenewalVerdict{Next: r, Ask: true}
}

func failRenewal(r fleet.Renewal, now time.Time, fault string) RenewalVerdict {
	r.Waiting, r.Attempts, r.Fault = false, r.Attempts+1, fault[:min(len(fault), maxFault)]
	r.DueAt = now.Add(renewAgain.Wait(r.Attempts))
	return RenewalVerdict{Next: r, Failed: true}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// RenewalOutcome decides what follows from a device's answer to a renewal. It
// is pure. The command is erased in any case: its payload was a secret.
func RenewalOutcome(t fleet.CommandTarget, r fleet.CommandReport) fleet.ReportOutcome {
	if r.Status == fleet.CommandNotNow {
		return fleet.ReportOutcome{Keep: true}
	}
	out := fleet.ReportOutcome{Status: r.Status}
	if t.Renewal == nil {
		return out // completed or given up meanwhile
	}
	event, fault := RenewalAcknowledged, ""
	if r.Status != fleet.CommandAcknowledged {
		event, fault = RenewalRefused, r.Status.String()
		for _, e := range r.ErrorChain {
			fault = cmp.Or(e.USEnglish, e.Localized, fault)
		}
	}
	v := NextRenewal(t.Renewal, event, r.At, t.Sends, fault)
	out.Renewal = &v.Next
	if v.Failed {
		e := renewalFailed(v.Next, r.At)
		e.Actor = fleet.Actor{Kind: fleet.ActorDevice, Name: r.Key.DeviceID()}
		out.Event = &e
	}
	return out
}

func renewalFailed(r fleet.Renewal, at time.Time) fleet.Event {
	return fleet.Event{Kind: fleet.EventRenewalFailed, At: at, EnrollmentID: r.EnrollmentID,
		Details: details(map[string]string{"reason": r.Fault, "attempts": fmt.Sprint(r.Attempts), "again_at": r.DueAt.UTC().Format(time.RFC3339)})}
}

// Renewals keeps the renewals under way.
type Renewals interface {
	// Expiring returns identities in use that expire before the time and of
	// which no renewal is under way, the nearest first.
	Expiring(ctx context.Context, before time.Time, limit int) ([]fleet.RenewalFacts, error)
	// OfHost returns the identity that a host uses; nil: it is not enrolled, or
	// has not used one yet.
	OfHost(ctx context.Context, host fleet.HostID) (*fleet.RenewalFacts, error)
	// Due returns renewals to look at.
	Due(ctx context.Context, now time.Time, limit int) ([]fleet.RenewalFacts, error)
	// Apply carries decisions out, in one transaction, but for those whose
	// facts changed meanwhile.
	Apply(ctx context.Context, steps []fleet.RenewalStep) error
}

// RenewalAuthority makes what a renewal needs.
type RenewalAuthority interface {
	// NewChallenge draws a secret that is good for so long, and stores nothing.
	NewChallenge(c fleet.Challenge, life time.Duration) (fleet.Challenge, string)
	Certificate() *x509.Certificate
	Signer() crypto.Signer
}

// Renewer sends devices new identities before theirs expire.
type Renewer struct {
	renewals  Renewals
	authority RenewalAuthority
	settings  Settings
	sealer    Sealer
	window    time.Duration
	perHour   int
	clock     func() time.Time
	pushes    *wake.Bell

	mu     sync.Mutex
	budget float64   // renewals that may begin now
	filled time.Time // when budget was last added to
	hunted time.Time
}

// NewRenewer returns a renewer that begins this long before identities expire,
// with at most perHour of them in an hour.
func NewRenewer(renewals Renewals, authority RenewalAuthority, settings Settings, sealer Sealer, window time.Duration, perHour int,
	clock func() time.Time, pushes *wake.Bell) *Renewer {
	return &Renewer{renewals: renewals, authority: authority, settings: settings, sealer: sealer, window: window, perHour: perHour, clock: clock, pushes: pushes}
}

// Round looks at renewals whose time has come, and begins new ones.
func (r *Renewer) Round(ctx context.Context) error {
	now := r.clock()
	due, err := r.renewals.Due(ctx, now, renewalBatch)
	if err != nil {
		return err
	}
	if err := r.step(ctx, due, now); err != nil {
		return err
	}
	n := r.allowance(now)
	if n == 0 {
		return nil
	}
	expiring, err := r.renewals.Expiring(ctx, now.Add(r.window), n)
	if err != nil {
		return err
	}
	r.spend(len(expiring))
	return r.step(ctx, expiring, now)
}

// Now begins the renewal of a host's identity, whenever it expires, or asks
// again after an attempt that failed. KindConflict: one is under way, or there
// is nothing to renew.
func (r *Renewer) Now(ctx context.Context, actor fleet.Actor, host fleet.HostID) error {
	f, err := r.renewals.OfHost(ctx, host)
	switch {
	case err != nil:
		return err
	case f == nil:
		return fleet.Errorf(fleet.KindConflict, "host %d is not enrolled in a way that its identity can be renewed", host)
	case f.Renewal != nil && f.Renewal.Waiting:
		return fleet.Errorf(fleet.KindConflict, "the identity of host %d is being renewed already, since %s", host, f.Renewal.AskedAt.UTC().Format(time.RFC3339))
	}
	now := r.clock()
	var before fleet.Renewal
	if f.Renewal != nil {
		before = *f.Renewal
	}
	v := askRenewal(before, now)
	v.Next.EnrollmentID, v.Next.IdentityID = f.Enrollment.ID, f.IdentityID
	step := fleet.RenewalStep{Facts: *f, Next: v.Next, Events: []fleet.Event{{Kind: fleet.EventRenewalAsked, At: now, Actor: actor, HostID: host, EnrollmentID: f.Enrollment.ID}}}
	if err := r.ask(ctx, &step, now); err != nil {
		return fmt.Errorf("renew the identity of host %d: %w", host, err)
	}
	if err := r.renewals.Apply(ctx, []fleet.RenewalStep{step}); err != nil {
		return err
	}
	r.pushes.Ring()
	return nil
}

// allowance is how many renewals may begin now: what an hour allows, bit by
// bit, so that identities of one day are renewed over many.
func (r *Renewer) allowance(now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.hunted).Abs() < renewalHunt && !r.hunted.IsZero() {
		return 0
	}
	r.hunted = now
	if r.filled.IsZero() || r.filled.After(now) { // the clock was ahead
		r.filled = now.Add(-renewalHunt)
	}
	r.budget = math.Min(r.budget+now.Sub(r.filled).Hours()*float64(r.perHour), float64(r.perHour))
	r.filled = now
	return min(int(math.Ceil(r.budget)), renewalBatch)
}

func (r *Renewer) spend(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.budget -= float64(n)
}

func (r *Renewer) step(ctx context.Context, list []fleet.RenewalFacts, now time.Time) error {
	steps := make([]fleet.RenewalStep, 0, len(list))
	asked := false
	for i := range list {
		f := &list[i]
		v := NextRenewal(f.Renewal, RenewalDue, now, f.Sends, "")
		v.Next.EnrollmentID, v.Next.IdentityID = f.Enrollment.ID, f.IdentityID
		s := fleet.RenewalStep{Facts: *f, Next: v.Next}
		if v.Failed {
			e := renewalFailed(v.Next, now)
			e.HostID = f.Enrollment.HostID
			s.Events = append(s.Events, e)
		}
		if v.Ask {
			if err := r.ask(ctx, &s, now); err != nil {
				return fmt.Errorf("renew the identity of enrollment %s: %w", f.Enrollment.Key, err)
			}
			asked = true
		}
		steps = append(steps, s)
	}
	if len(steps) == 0 {
		return nil
	}
	if err := r.renewals.Apply(ctx, steps); err != nil {
		return err
	}
	if asked {
		r.pushes.Ring()
	}
	return nil
}

// ask makes the profile that renews: what enrolled the device, with another
// challenge (contracts/apple.md 3.4).
func (r *Renewer) ask(ctx context.Context, s *fleet.RenewalStep, now time.Time) error {
	org, err := r.settings.Settings(ctx)
	if err != nil {
		return err
	}
	e := &s.Facts.Enrollment
	challenge, secret := r.authority.NewChallenge(fleet.Challenge{Purpose: fleet.PurposeRenew, EnrollmentID: e.ID, Generation: e.Generation,
		ServerURL: e.ServerURL, CheckInURL: e.CheckInURL, AccessRights: e.AccessRights}, renewalLife)
	profile, err := mobileconfig.Enrollment{Organization: org.OrgName, Topic: e.Topic, ServerURL: e.ServerURL, CheckInURL: e.CheckInURL,
		AccessRights: e.AccessRights, SCEPURL: org.AppleBase() + PathSCEP, Challenge: secret, CA: r.authority.Certificate()}.Build()
	if err != nil {
		return err
	}
	if profile, err = cms.Sign(profile, r.authority.Certificate(), nil, r.authority.Signer()); err != nil {
		return err
	}
	uuid := ids.UUID()
	command, err := mdmcmd.NewInstallProfile(uuid, profile)
	if err != nil {
		return err
	}
	sealed, err := r.sealer.Seal(renewalRef(e.Key), command.Raw)
	if err != nil {
		return err
	}
	bare, err := mdmcmd.New(uuid, command.RequestType, nil)
	if err != nil {
		return err
	}
	s.Challenge, s.Secret = &challenge, &fleet.SecretWrite{Ref: renewalRef(e.Key), Value: sealed}
	s.Command = &fleet.Command{UUID: uuid, RequestType: command.RequestType, Purpose: fleet.CommandRenew, Platform: fleet.PlatformDarwin, Body: bare.Raw, CreatedAt: now}
	return nil
}

func renewalRef(key string) fleet.SecretRef {
	return fleet.SecretRef{Scope: fleet.ScopeRenewal, Name: key}
}

// forgetRenewal drops what a renewal that ended had sealed.
func forgetRenewal(key string) fleet.SecretWrite {
	return fleet.SecretWrite{Ref: renewalRef(key), Delete: true}
}

// RenewalCommand returns what the device gets for a renewal, which the queue
// holds without its secret.
func (l *Lifecycle) RenewalCommand(ctx context.Context, key fleet.EnrollmentKey, next fleet.NextCommand) ([]byte, error) {
	stored, err := l.secrets.Secret(ctx, renewalRef(key.DeviceID()))
	if err != nil {
		return nil, err
	}
	if stored == nil {
		return nil, fleet.Errorf(fleet.KindNotFound, "the renewal was taken back meanwhile")
	}
	body, err := l.sealer.Open(stored.Ref, stored.Value)
	if err != nil {
		return nil, fmt.Errorf("renewal: %w", err)
	}
	if !bytes.Contains(body, []byte(next.UUID)) {
		return nil, fleet.Errorf(fleet.KindNotFound, "the renewal was replaced by a newer one meanwhile")
	}
	return body, nil
}

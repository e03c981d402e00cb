package access

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/mail"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/kit/ratelimit"
)

// Options configure a Service. Zero values take the defaults.
type Options struct {
	Users    UserReader
	Changes  UserWriter
	Sessions SessionStore
	Events   EventLog
	Now      func() time.Time // nil: time.Now

	SessionDuration    time.Duration // of a login without use; 0: DefaultSession
	LoginRatePerMinute int           // per address and e-mail; 0: DefaultLoginRate
}

// Defaults of Options, and bounds.
const (
	DefaultSession   = 120 * time.Hour
	DefaultLoginRate = 10
	// MaxSession ends a login however much it is used, unless the configured
	// duration is longer still.
	MaxSession = 30 * 24 * time.Hour
	// peerFactor is how many more attempts an address has over all e-mails
	// than for one, so that an office behind one address can log in on a
	// Monday.
	peerFactor = 10
	// touchAfter is how stale the last use may get before it is written.
	touchAfter = 5 * time.Minute
	// sweepBatch and maxSweeps bound one run of Sweep.
	sweepBatch = 500
	maxSweeps  = 20
	maxName    = 255
	maxEmail   = 255
)

// Service is the access capability. It is safe for concurrent use.
type Service struct {
	users    UserReader
	changes  UserWriter
	sessions SessionStore
	events   EventLog
	now      func() time.Time
	duration time.Duration
	logins   *ratelimit.Keyed // per address and e-mail
	peers    *ratelimit.Keyed // per address, over all e-mails
	hasher   hasher
	isSetUp  atomic.Bool // never goes back to false
}

// New returns the capability over its stores.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SessionDuration == 0 {
		o.SessionDuration = DefaultSession
	}
	if o.LoginRatePerMinute == 0 {
		o.LoginRatePerMinute = DefaultLoginRate
	}
	return &Service{
		users: o.Users, changes: o.Changes, sessions: o.Sessions, events: o.Events,
		now: o.Now, duration: o.SessionDuration,
		logins: ratelimit.New(o.LoginRatePerMinute, time.Minute, o.Now),
		peers:  ratelimit.New(o.LoginRatePerMinute*peerFactor, time.Minute, o.Now),
		hasher: newHasher(),
	}
}

// Can reports whether the viewer may do what the permission names. A viewer
// who must set a new password first may only do that.
func (s *Service) Can(v fleet.Viewer, permission string) bool {
	p := Permission(permission)
	if v.User.ForceReset && p != SelfRead && p != SelfWrite {
		return false
	}
	return Can(v.User.Role, p)
}

// newSession makes a session for the user, without storing it, and its token.
// A zero duration never ends.
func (s *Service) newSession(user fleet.UserID, duration time.Duration) (fleet.Session, string) {
	token := ids.Token()
	now := s.now()
	session := fleet.Session{UserID: user, TokenSHA256: sha256.Sum256([]byte(token)), CreatedAt: now, UsedAt: now}
	if duration > 0 {
		session.ExpiresAt = now.Add(duration)
	}
	return session, token
}

func (s *Service) event(kind fleet.EventKind, actor fleet.Actor, facts map[string]any) fleet.Event {
	// Maps of strings, numbers and booleans always encode.
	details, _ := json.Marshal(facts)
	return fleet.Event{At: s.now(), Kind: kind, Actor: actor, Details: details}
}

func userFacts(u fleet.User) map[string]any {
	return map[string]any{"user_id": int64(u.ID), "user_name": u.Name, "user_email": u.Email, "role": string(u.Role), "api_only": u.APIOnly}
}

// normalEmail is the form in which addresses are stored and compared.
func normalEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

func validEmail(email string) bool {
	parsed, err := mail.ParseAddress(email)
	return err == nil && parsed.Address == email && len(email) <= maxEmail
}

// checkUser lists what is wrong with a user, nil when nothing is.
func checkUser(u fleet.User) *fleet.Error {
	var faults []fleet.FieldError
	if u.Name == "" || len(u.Name) > maxName {
		faults = append(faults, fleet.FieldError{Name: "name", Reason: "must be present and at most 255 bytes long"})
	}
	if !validEmail(u.Email) {
		faults = append(faults, fleet.FieldError{Name: "email", Reason: "must be an e-mail address"})
	}
	if !slices.Contains(fleet.Roles(), u.Role) {
		faults = append(faults, fleet.FieldError{Name: "global_role", Reason: "must be one of admin, maintainer, observer, observer_plus, gitops, technician"})
	}
	if len(faults) == 0 {
		return nil
	}
	return &fleet.Error{Kind: fleet.KindInvalid, Fields: faults}
}

// merge joins faults of one request into one error; nil when there are none.
func merge(errs ...*fleet.Error) error {
	var all *fleet.Error
	for _, err := range errs {
		if err == nil {
			continue
		}
		if all == nil {
			all = &fleet.Error{Kind: err.Kind}
		}
		all.Fields = append(all.Fields, err.Fields...)
	}
	if all == nil {
		return nil
	}
	return all
}

// anyUser reports whether setup is over; once it is, without asking again.
func (s *Service) anyUser(ctx context.Context) (bool, error) {
	if s.isSetUp.Load() {
		return true, nil
	}
	exists, err := s.users.AnyUser(ctx)
	if err != nil {
		return false, err
	}
	if exists {
		s.isSetUp.Store(true)
	}
	return exists, nil
}

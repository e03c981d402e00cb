package access

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ratelimit"
)

// NeedsSetup reports whether the first user is still to be made.
func (s *Service) NeedsSetup(ctx context.Context) (bool, error) {
	exists, err := s.anyUser(ctx)
	return !exists, err
}

// Setup makes the first user, an admin, with the organization's settings, and
// logs them in. It works once: KindConflict when any user exists. Of admin
// only Name and Email are read.
func (s *Service) Setup(ctx context.Context, admin fleet.User, password string, settings fleet.Settings, address string) (fleet.Viewer, string, error) {
	over := fleet.Errorf(fleet.KindConflict, "Setup was done already: log in instead.")
	exists, err := s.anyUser(ctx)
	if err != nil {
		return fleet.Viewer{}, "", fmt.Errorf("look for users: %w", err)
	}
	if exists {
		return fleet.Viewer{}, "", over
	}
	if err := s.attempt(address, "setup"); err != nil {
		return fleet.Viewer{}, "", err
	}
	now := s.now()
	user := fleet.User{Name: admin.Name, Email: normalEmail(admin.Email), Role: fleet.RoleAdmin, CreatedAt: now, UpdatedAt: now}
	if err := merge(checkUser(user), checkPassword("password", password)); err != nil {
		return fleet.Viewer{}, "", err
	}
	user.PasswordHash, err = s.hasher.hash(ctx, password)
	if err != nil {
		return fleet.Viewer{}, "", err
	}
	session, token := s.newSession(0, s.duration)
	settings.UpdatedAt = now
	user, session, err = s.changes.CreateFirstUser(ctx, user, session, settings, func(u fleet.User) []fleet.Event {
		actor := fleet.Viewer{User: u, Address: address}.Actor()
		return []fleet.Event{
			s.event(fleet.EventUserCreated, actor, userFacts(u)),
			s.event(fleet.EventConfigChanged, actor, map[string]any{"org_name": settings.OrgName, "server_url": settings.ServerURL}),
		}
	})
	if err != nil {
		return fleet.Viewer{}, "", fmt.Errorf("create the first user: %w", err)
	}
	s.isSetUp.Store(true)
	return fleet.Viewer{User: user, Session: session, Address: address}, token, nil
}

// Login checks the password and opens a session. An unknown e-mail and a
// wrong password are the same KindUnauthenticated; too many attempts are
// KindTooMany with RetryAfter; before setup it is KindNotFound.
func (s *Service) Login(ctx context.Context, email, password, address string) (fleet.Viewer, string, error) {
	email = normalEmail(email)
	if err := s.attempt(address, email); err != nil {
		return fleet.Viewer{}, "", err
	}
	exists, err := s.anyUser(ctx)
	if err != nil {
		return fleet.Viewer{}, "", fmt.Errorf("look for users: %w", err)
	}
	if !exists {
		return fleet.Viewer{}, "", fleet.Errorf(fleet.KindNotFound, "Setup required: no user exists yet. Run `muster setup` or open the console.")
	}
	user, err := s.users.UserByEmail(ctx, email)
	if err != nil && fleet.KindOf(err) != fleet.KindNotFound {
		return fleet.Viewer{}, "", fmt.Errorf("find user: %w", err)
	}
	ok, err := s.matches(ctx, user, password)
	if err != nil {
		return fleet.Viewer{}, "", err
	}
	if !ok || user.ID == 0 {
		return fleet.Viewer{}, "", s.refuse(ctx, email, address)
	}
	session, token := s.newSession(user.ID, s.duration)
	viewer := fleet.Viewer{User: user, Session: session, Address: address}
	viewer.Session, err = s.sessions.CreateSession(ctx, session, []fleet.Event{s.event(fleet.EventUserLoggedIn, viewer.Actor(), userFacts(user))})
	if err != nil {
		return fleet.Viewer{}, "", fmt.Errorf("open session: %w", err)
	}
	return viewer, token, nil
}

// matches compares the user's password. The zero user costs the same work.
func (s *Service) matches(ctx context.Context, user fleet.User, password string) (bool, error) {
	fits := len(password) <= MaxPassword
	if !fits {
		password = password[:MaxPassword]
	}
	ok, err := s.hasher.matches(ctx, user.PasswordHash, password)
	return ok && fits, err
}

// refuse logs a failed login and is its answer.
func (s *Service) refuse(ctx context.Context, email, address string) error {
	facts := map[string]any{}
	if validEmail(email) {
		// Anything else may well be a password in the wrong field.
		facts["email"] = email
	}
	err := s.events.Append(ctx, s.event(fleet.EventUserLoginFailed, fleet.Actor{Address: address}, facts))
	if err != nil {
		return fmt.Errorf("record failed login: %w", err)
	}
	return fleet.Errorf(fleet.KindUnauthenticated, "Authentication failed: wrong e-mail or password.")
}

// attempt counts one guess at a password. The address as a whole comes first:
// a flood of invented e-mails then never gets as far as pushing a real
// account's bucket out.
func (s *Service) attempt(address, email string) error {
	network := ratelimit.Network(address)
	wait := s.peers.Take(network)
	if wait == 0 {
		wait = s.logins.Take(network + " " + email)
	}
	if wait == 0 {
		return nil
	}
	wait = max(wait.Round(time.Second), time.Second)
	err := fleet.Errorf(fleet.KindTooMany, "Too many attempts. Try again in %v.", wait)
	err.RetryAfter = wait
	return err
}

// Logout ends the viewer's session.
func (s *Service) Logout(ctx context.Context, v fleet.Viewer) error {
	return s.sessions.DeleteSession(ctx, v.Session.ID, nil)
}

// Authenticate finds who presents a token. Anything but a live session is
// KindUnauthenticated.
func (s *Service) Authenticate(ctx context.Context, token, address string) (fleet.Viewer, error) {
	unknown := fleet.Errorf(fleet.KindUnauthenticated, "Authentication required: the token is unknown or has expired. Log in again.")
	if token == "" {
		return fleet.Viewer{}, fleet.Errorf(fleet.KindUnauthenticated, "Authentication required: send the header Authorization: Bearer <token>.")
	}
	session, user, err := s.sessions.SessionByToken(ctx, sha256.Sum256([]byte(token)))
	if fleet.KindOf(err) == fleet.KindNotFound {
		return fleet.Viewer{}, unknown
	}
	if err != nil {
		return fleet.Viewer{}, fmt.Errorf("find session: %w", err)
	}
	now := s.now()
	if !session.ExpiresAt.IsZero() && !session.ExpiresAt.After(now) {
		return fleet.Viewer{}, unknown
	}
	if err := s.touch(ctx, &session, now); err != nil {
		return fleet.Viewer{}, fmt.Errorf("touch session: %w", err)
	}
	return fleet.Viewer{User: user, Session: session, Address: address}, nil
}

// touch prolongs a session that is in use, at most every touchAfter, and never
// beyond its longest life.
func (s *Service) touch(ctx context.Context, session *fleet.Session, now time.Time) error {
	stale := min(touchAfter, s.duration/4) //nolint:mnd // a quarter of the life: short sessions stay alive too
	if now.Sub(session.UsedAt) < stale {
		return nil
	}
	session.UsedAt = now
	if !session.ExpiresAt.IsZero() {
		end := session.CreatedAt.Add(max(MaxSession, s.duration))
		session.ExpiresAt = now.Add(s.duration)
		if session.ExpiresAt.After(end) {
			session.ExpiresAt = end
		}
	}
	return s.sessions.TouchSession(ctx, session.ID, session.UsedAt, session.ExpiresAt)
}

// Sweep removes sessions that have ended, in bounded batches. It returns how
// many went.
func (s *Service) Sweep(ctx context.Context) (int, error) {
	total := 0
	for range maxSweeps {
		n, err := s.sessions.DeleteExpiredSessions(ctx, s.now(), sweepBatch)
		if err != nil {
			return total, fmt.Errorf("delete expired sessions: %w", err)
		}
		total += n
		if n < sweepBatch {
			break
		}
	}
	return total, nil
}

package access

import (
	"context"
	"fmt"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Users lists users by page; query matches part of name or e-mail.
func (s *Service) Users(ctx context.Context, page fleet.Page, query string) ([]fleet.User, error) {
	return s.users.Users(ctx, page, query)
}

// User returns one user; KindNotFound.
func (s *Service) User(ctx context.Context, id fleet.UserID) (fleet.User, error) {
	return s.users.User(ctx, id)
}

// CreateUser stores a new user. An API-only user gets a token that does not
// end, returned here and nowhere else, and needs no password; anybody else
// needs one. Of u it reads Name, Email, Role, APIOnly and ForceReset.
func (s *Service) CreateUser(ctx context.Context, actor fleet.Actor, u fleet.User, password string) (fleet.User, string, error) {
	now := s.now()
	user := fleet.User{Name: u.Name, Email: normalEmail(u.Email), Role: u.Role, APIOnly: u.APIOnly,
		ForceReset: u.ForceReset && !u.APIOnly, CreatedAt: now, UpdatedAt: now}
	var weak *fleet.Error
	if password != "" || !user.APIOnly {
		weak = checkPassword("password", password)
	}
	if err := merge(checkUser(user), weak); err != nil {
		return fleet.User{}, "", err
	}
	if password != "" {
		hash, err := s.hasher.hash(ctx, password)
		if err != nil {
			return fleet.User{}, "", err
		}
		user.PasswordHash = hash
	}
	var session *fleet.Session
	token := ""
	if user.APIOnly {
		forever, secret := s.newSession(0, 0)
		session, token = &forever, secret
	}
	created, err := s.changes.CreateUser(ctx, user, session, func(u fleet.User) []fleet.Event {
		return []fleet.Event{s.event(fleet.EventUserCreated, actor, userFacts(u))}
	})
	if err != nil {
		return fleet.User{}, "", fmt.Errorf("create user: %w", err)
	}
	return created, token, nil
}

// UpdateUser changes a user through the function. A new password, when not
// empty, ends the user's sessions. KindConflict when the last admin would be
// demoted or the e-mail is taken.
func (s *Service) UpdateUser(ctx context.Context, actor fleet.Actor, id fleet.UserID, change func(*fleet.User) error, password string) (fleet.User, error) {
	user, err := s.users.User(ctx, id)
	if err != nil {
		return fleet.User{}, err
	}
	before := user
	if err := change(&user); err != nil {
		return fleet.User{}, err
	}
	// What is not to be changed this way.
	user.ID, user.APIOnly, user.PasswordHash, user.CreatedAt = before.ID, before.APIOnly, before.PasswordHash, before.CreatedAt
	user.Email = normalEmail(user.Email)
	var weak *fleet.Error
	if password != "" {
		weak = checkPassword("new_password", password)
	}
	if err := merge(checkUser(user), weak); err != nil {
		return fleet.User{}, err
	}
	var end *fleet.SessionID
	if password != "" {
		user.PasswordHash, err = s.hasher.hash(ctx, password)
		if err != nil {
			return fleet.User{}, err
		}
		end = new(fleet.SessionID)
	}
	facts := userFacts(user)
	facts["before"] = map[string]any{"user_name": before.Name, "user_email": before.Email, "role": string(before.Role)}
	facts["password_changed"] = password != ""
	return s.store(ctx, user, before, end, s.event(fleet.EventUserChanged, actor, facts))
}

// store writes the changed user over the one it was made from.
func (s *Service) store(ctx context.Context, user, before fleet.User, end *fleet.SessionID, event fleet.Event) (fleet.User, error) {
	user.UpdatedAt = s.now()
	if err := s.changes.UpdateUser(ctx, user, before.UpdatedAt, end, []fleet.Event{event}); err != nil {
		return fleet.User{}, fmt.Errorf("update user: %w", err)
	}
	return user, nil
}

// DeleteUser removes a user with all sessions and tokens. KindConflict for
// the last admin.
func (s *Service) DeleteUser(ctx context.Context, actor fleet.Actor, id fleet.UserID) error {
	user, err := s.users.User(ctx, id)
	if err != nil {
		return err
	}
	return s.changes.DeleteUser(ctx, id, []fleet.Event{s.event(fleet.EventUserDeleted, actor, userFacts(user))})
}

// ChangePassword sets the viewer's own password; the old one must match. The
// viewer's other sessions end.
func (s *Service) ChangePassword(ctx context.Context, v fleet.Viewer, oldPassword, newPassword string) error {
	if err := s.attempt(v.Address, v.User.Email); err != nil {
		return err
	}
	ok, err := s.matches(ctx, v.User, oldPassword)
	if err != nil {
		return err
	}
	if !ok {
		return fleet.FieldErrorf(fleet.KindInvalid, "old_password", "does not match")
	}
	return s.setOwnPassword(ctx, v, newPassword)
}

// ResetRequiredPassword sets a new password where one is required, without the
// old one; KindForbidden otherwise.
func (s *Service) ResetRequiredPassword(ctx context.Context, v fleet.Viewer, newPassword string) (fleet.User, error) {
	if !v.User.ForceReset {
		return fleet.User{}, fleet.Errorf(fleet.KindForbidden, "No password reset is required: change the password instead.")
	}
	ok, err := s.matches(ctx, v.User, newPassword)
	if err != nil {
		return fleet.User{}, err
	}
	if ok {
		return fleet.User{}, fleet.FieldErrorf(fleet.KindInvalid, "new_password", "must not be the old one")
	}
	if err := s.setOwnPassword(ctx, v, newPassword); err != nil {
		return fleet.User{}, err
	}
	return s.users.User(ctx, v.User.ID)
}

func (s *Service) setOwnPassword(ctx context.Context, v fleet.Viewer, password string) error {
	if weak := checkPassword("new_password", password); weak != nil {
		return weak
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	user := v.User
	user.PasswordHash, user.ForceReset = hash, false
	facts := userFacts(user)
	facts["password_changed"] = true
	_, err = s.store(ctx, user, v.User, &v.Session.ID, s.event(fleet.EventUserChanged, v.Actor(), facts))
	return err
}

// RequirePasswordReset makes a user set a new password at the next request,
// or takes that back. Requiring it ends the user's sessions.
func (s *Service) RequirePasswordReset(ctx context.Context, actor fleet.Actor, id fleet.UserID, require bool) (fleet.User, error) {
	user, err := s.users.User(ctx, id)
	if err != nil {
		return fleet.User{}, err
	}
	if user.APIOnly {
		return fleet.User{}, fleet.Errorf(fleet.KindInvalid, "An API-only user has a token, not a password: delete the user or its session instead.")
	}
	before := user
	user.ForceReset = require
	var end *fleet.SessionID
	if require {
		end = new(fleet.SessionID)
	}
	facts := userFacts(user)
	facts["password_reset_required"] = require
	return s.store(ctx, user, before, end, s.event(fleet.EventUserChanged, actor, facts))
}

// Session returns one session; KindNotFound.
func (s *Service) Session(ctx context.Context, id fleet.SessionID) (fleet.Session, error) {
	return s.sessions.Session(ctx, id)
}

// SessionsOf lists a user's sessions; KindNotFound for an unknown user.
func (s *Service) SessionsOf(ctx context.Context, id fleet.UserID) ([]fleet.Session, error) {
	if _, err := s.users.User(ctx, id); err != nil {
		return nil, err
	}
	return s.sessions.SessionsOf(ctx, id)
}

// DeleteSession ends one session.
func (s *Service) DeleteSession(ctx context.Context, actor fleet.Actor, id fleet.SessionID) error {
	session, err := s.sessions.Session(ctx, id)
	if err != nil {
		return err
	}
	facts := map[string]any{"user_id": int64(session.UserID), "sessions_ended": 1}
	return s.sessions.DeleteSession(ctx, id, []fleet.Event{s.event(fleet.EventUserChanged, actor, facts)})
}

// DeleteSessionsOf ends all of a user's sessions and tokens.
func (s *Service) DeleteSessionsOf(ctx context.Context, actor fleet.Actor, id fleet.UserID) error {
	user, err := s.users.User(ctx, id)
	if err != nil {
		return err
	}
	facts := userFacts(user)
	facts["sessions_ended"] = "all"
	return s.sessions.DeleteSessionsOf(ctx, id, []fleet.Event{s.event(fleet.EventUserChanged, actor, facts)})
}

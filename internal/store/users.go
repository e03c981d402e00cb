package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Users keeps the users of the API.
type Users struct{ db *DB }

// NewUsers returns the users of db.
func NewUsers(db *DB) *Users { return &Users{db} }

const userCols = "u.id, u.name, u.email, u.role, u.api_only, u.password_hash, u.force_reset, u.created_at, u.updated_at"

// userFields are the destinations of userCols; the function sets the times.
func userFields(u *fleet.User) ([]any, func()) {
	var created, updated int64
	return []any{&u.ID, &u.Name, &u.Email, &u.Role, &u.APIOnly, &u.PasswordHash, &u.ForceReset, &created, &updated},
		func() { u.CreatedAt, u.UpdatedAt = timeOf(created), timeOf(updated) }
}

func scanUser(rows *sql.Rows) (fleet.User, error) {
	var u fleet.User
	dest, finish := userFields(&u)
	err := rows.Scan(dest...)
	finish()
	return u, err
}

func (u *Users) one(ctx context.Context, cond string, arg any) (fleet.User, error) {
	found, err := collect(u.db.view(ctx), scanUser, "SELECT "+userCols+" FROM users u WHERE "+cond, arg)
	if err != nil {
		return fleet.User{}, err
	}
	if len(found) == 0 {
		return fleet.User{}, fleet.Errorf(fleet.KindNotFound, "User was not found.")
	}
	return found[0], nil
}

// User finds a user by key; KindNotFound.
func (u *Users) User(ctx context.Context, id fleet.UserID) (fleet.User, error) {
	return u.one(ctx, "u.id = ?", int64(id))
}

// UserByEmail finds a user by the address in lower case; KindNotFound.
func (u *Users) UserByEmail(ctx context.Context, email string) (fleet.User, error) {
	return u.one(ctx, "u.email = ?", email)
}

// AnyUser reports whether there is a user.
func (u *Users) AnyUser(ctx context.Context) (bool, error) {
	var one int
	return u.db.view(ctx).get("SELECT 1 FROM users LIMIT 1", nil, &one)
}

// userOrders maps the API's order keys to columns.
var userOrders = map[string]string{
	"": "u.id", "id": "u.id", "name": "u.name", "email": "u.email", "global_role": "u.role", "created_at": "u.created_at", "updated_at": "u.updated_at",
}

// Users lists users; query matches part of name or e-mail without case. The
// filter's After is not used: users are few.
func (u *Users) Users(ctx context.Context, page fleet.Page, query string) ([]fleet.User, error) {
	order, ok := userOrders[page.OrderKey]
	if !ok {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "order_key", "must be one of id, name, email, global_role, created_at, updated_at")
	}
	text := "SELECT " + userCols + " FROM users u"
	var args []any
	if query != "" {
		like := "%" + escapeLike(strings.ToLower(query)) + "%"
		text += " WHERE LOWER(u.name) LIKE ? ESCAPE '!' OR u.email LIKE ? ESCAPE '!'"
		args = append(args, like, like)
	}
	direction := ""
	if page.Desc {
		direction = " DESC"
	}
	tail, tailArgs := pageTail(page)
	found, err := collect(u.db.view(ctx), scanUser, text+" ORDER BY "+order+direction+", u.id"+direction+tail, append(args, tailArgs...)...)
	found, _ = cutPage(found, page)
	return found, err
}

// CreateFirstUser stores the first user with a session and the settings, or
// KindConflict when any user exists. log is told the user as stored.
func (u *Users) CreateFirstUser(ctx context.Context, user fleet.User, first fleet.Session, settings fleet.Settings, log func(fleet.User) []fleet.Event) (fleet.User, fleet.Session, error) {
	err := u.db.update(ctx, func(s *session) error {
		if err := s.lockUsers(); err != nil {
			return err
		}
		var n int64
		if _, err := s.get("SELECT COUNT(*) FROM users", nil, &n); err != nil {
			return err
		}
		if n > 0 {
			return fleet.Errorf(fleet.KindConflict, "Setup was done already: log in instead.")
		}
		if err := s.insertUser(&user); err != nil {
			return err
		}
		first.UserID = user.ID
		if err := s.insertSession(&first); err != nil {
			return err
		}
		if err := s.putSettings(settings); err != nil {
			return err
		}
		return s.appendEvents(log(user)...)
	})
	return user, first, err
}

// CreateUser stores a user and, when first is not nil, a session for it. A
// taken e-mail is KindConflict. log is told the user as stored;
// nil: nothing is logged.
func (u *Users) CreateUser(ctx context.Context, user fleet.User, first *fleet.Session, log func(fleet.User) []fleet.Event) (fleet.User, error) {
	err := u.db.update(ctx, func(s *session) error {
		if err := s.insertUser(&user); err != nil {
			return err
		}
		if first != nil {
			own := *first
			own.UserID = user.ID
			if err := s.insertSession(&own); err != nil {
				return err
			}
		}
		if log == nil {
			return nil
		}
		return s.appendEvents(log(user)...)
	})
	return user, emailTaken(err)
}

// UpdateUser replaces the row whose last change is still before, else
// KindConflict. KindConflict too when no admin would be left or the e-mail is
// taken. With endExcept the user's sessions end, all but that one (0: all).
func (u *Users) UpdateUser(ctx context.Context, user fleet.User, before time.Time, endExcept *fleet.SessionID, events []fleet.Event) error {
	err := u.db.update(ctx, func(s *session) error {
		if err := s.lockUsers(); err != nil {
			return err
		}
		n, err := s.changed("UPDATE users SET name = ?, email = ?, role = ?, password_hash = ?, force_reset = ?, updated_at = ? WHERE id = ? AND updated_at = ?",
			clip(user.Name, 255), user.Email, string(user.Role), user.PasswordHash, user.ForceReset, micros(user.UpdatedAt), int64(user.ID), micros(before))
		if err != nil {
			return err
		}
		if n == 0 {
			return fleet.Errorf(fleet.KindConflict, "The user was changed or removed meanwhile: read it again and retry.")
		}
		if err := s.requireAdmin(); err != nil {
			return err
		}
		if endExcept != nil {
			if err := s.exec("DELETE FROM sessions WHERE user_id = ? AND id <> ?", int64(user.ID), int64(*endExcept)); err != nil {
				return err
			}
		}
		return s.appendEvents(events...)
	})
	return emailTaken(err)
}

// DeleteUser removes a user and its sessions; KindConflict when no admin would
// be left, KindNotFound when there is no such user.
func (u *Users) DeleteUser(ctx context.Context, id fleet.UserID, events []fleet.Event) error {
	return u.db.update(ctx, func(s *session) error {
		if err := s.lockUsers(); err != nil {
			return err
		}
		n, err := s.changed("DELETE FROM users WHERE id = ?", int64(id))
		if err != nil {
			return err
		}
		if n == 0 {
			return fleet.Errorf(fleet.KindNotFound, "User was not found.")
		}
		if err := s.requireAdmin(); err != nil {
			return err
		}
		if err := s.exec("DELETE FROM sessions WHERE user_id = ?", int64(id)); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
}

// lockUsers lets one transaction at a time count users or admins, on whatever
// replica: the row from which users' keys are drawn is the lock, because it
// exists before the first user does.
func (s *session) lockUsers() error {
	var next int64
	found, err := s.get("SELECT next_id FROM sequences WHERE name = ?"+s.db.dialect.lockForUpdate(), []any{"users"}, &next)
	if err == nil && !found {
		err = errNoKeys // drawn by a refill, after which this is run again
	}
	return err
}

// requireAdmin refuses a change after which nobody could manage users. Only
// admins who can log in or hold a token count, and all can.
func (s *session) requireAdmin() error {
	var n int64
	if _, err := s.get("SELECT COUNT(*) FROM users WHERE role = ?", []any{string(fleet.RoleAdmin)}, &n); err != nil {
		return err
	}
	if n == 0 {
		return fleet.Errorf(fleet.KindConflict, "The last admin can be neither removed nor demoted: make another user admin first.")
	}
	return nil
}

func (s *session) insertUser(u *fleet.User) error {
	id, err := s.key("users")
	if err != nil {
		return err
	}
	u.ID = fleet.UserID(id)
	return s.exec("INSERT INTO users (id, name, email, role, api_only, password_hash, force_reset, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		id, clip(u.Name, 255), u.Email, string(u.Role), u.APIOnly, u.PasswordHash, u.ForceReset, micros(u.CreatedAt), micros(u.UpdatedAt))
}

// emailTaken explains the one unique key a user's row may run into.
func emailTaken(err error) error {
	var known *fleet.Error
	if err == nil || errors.As(err, &known) || !isDuplicate(err) {
		return err
	}
	return fleet.FieldErrorf(fleet.KindConflict, "email", "is taken by another user").WithCause(err)
}

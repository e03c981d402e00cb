package access

import (
	"context"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// UserReader finds users. An unknown one is KindNotFound.
type UserReader interface {
	User(ctx context.Context, id fleet.UserID) (fleet.User, error)
	// UserByEmail finds by the address in lower case.
	UserByEmail(ctx context.Context, email string) (fleet.User, error)
	// Users lists by page; query matches part of name or e-mail without case.
	Users(ctx context.Context, page fleet.Page, query string) ([]fleet.User, error)
	// AnyUser reports whether setup is over.
	AnyUser(ctx context.Context) (bool, error)
}

// UserWriter changes users. Every method is one transaction that also appends
// the events.
type UserWriter interface {
	// CreateFirstUser stores the first user, its session and the
	// organization's settings, or KindConflict when any user exists.
	CreateFirstUser(ctx context.Context, u fleet.User, s fleet.Session, settings fleet.Settings, log func(fleet.User) []fleet.Event) (fleet.User, fleet.Session, error)
	// CreateUser stores a user and, when s is not nil, a session for it. A
	// taken e-mail is KindConflict.
	CreateUser(ctx context.Context, u fleet.User, s *fleet.Session, log func(fleet.User) []fleet.Event) (fleet.User, error)
	// UpdateUser replaces the row whose UpdatedAt is still before, else
	// KindConflict. KindConflict too when no admin would be left, or the
	// e-mail is taken. With endExcept the user's sessions end, all but that
	// one (0: all); nil ends none.
	UpdateUser(ctx context.Context, u fleet.User, before time.Time, endExcept *fleet.SessionID, events []fleet.Event) error
	// DeleteUser removes the user and its sessions; KindConflict when no
	// admin would be left.
	DeleteUser(ctx context.Context, id fleet.UserID, events []fleet.Event) error
}

// SessionStore keeps sessions. Every method is one transaction.
type SessionStore interface {
	// SessionByToken finds a session and its user by the token's SHA-256;
	// KindNotFound when there is none. Expiry is the caller's to check.
	SessionByToken(ctx context.Context, sha [32]byte) (fleet.Session, fleet.User, error)
	Session(ctx context.Context, id fleet.SessionID) (fleet.Session, error)
	SessionsOf(ctx context.Context, user fleet.UserID) ([]fleet.Session, error)
	CreateSession(ctx context.Context, s fleet.Session, events []fleet.Event) (fleet.Session, error)
	// TouchSession moves the last use and the expiry.
	TouchSession(ctx context.Context, id fleet.SessionID, usedAt, expiresAt time.Time) error
	DeleteSession(ctx context.Context, id fleet.SessionID, events []fleet.Event) error
	DeleteSessionsOf(ctx context.Context, user fleet.UserID, events []fleet.Event) error
	// DeleteExpiredSessions removes up to limit sessions that ended before t
	// and returns how many.
	DeleteExpiredSessions(ctx context.Context, t time.Time, limit int) (int, error)
}

// EventLog appends events that belong to no other change.
type EventLog interface {
	Append(ctx context.Context, events ...fleet.Event) error
}

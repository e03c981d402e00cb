package fleet

import "time"

// Role is a user's global role. Persisted by name.
type Role string

// Global roles of the API.
const (
	RoleAdmin        Role = "admin"
	RoleMaintainer   Role = "maintainer"
	RoleObserver     Role = "observer"
	RoleObserverPlus Role = "observer_plus"
	RoleGitOps       Role = "gitops"
	RoleTechnician   Role = "technician"
)

// Roles lists every role.
func Roles() []Role {
	return []Role{RoleAdmin, RoleMaintainer, RoleObserver, RoleObserverPlus, RoleGitOps, RoleTechnician}
}

// User may use the API.
type User struct {
	ID           UserID
	Name         string
	Email        string
	Role         Role
	APIOnly      bool
	PasswordHash string // argon2id in PHC string form
	ForceReset   bool
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Session is a login or an API token. Only the SHA-256 of the token is kept.
type Session struct {
	ID          SessionID
	UserID      UserID
	TokenSHA256 [32]byte
	CreatedAt   time.Time
	UsedAt      time.Time
	ExpiresAt   time.Time // zero: never (API-only users)
}

// Viewer is the authenticated user behind a request.
type Viewer struct {
	User    User
	Session Session
	Address string
}

// Actor is the viewer as the event log names it.
func (v Viewer) Actor() Actor {
	kind := ActorUser
	if v.User.APIOnly {
		kind = ActorToken
	}
	return Actor{Kind: kind, UserID: v.User.ID, Name: v.User.Name, Email: v.User.Email, Address: v.Address}
}

package apiv1

import "time"

// User may use the API.
type User struct {
	ID                       int64      `json:"id"`
	Name                     string     `json:"name"`
	Email                    string     `json:"email"`
	GlobalRole               string     `json:"global_role" enum:"admin,maintainer,observer,observer_plus,gitops,technician"`
	Teams                    []UserTeam `json:"teams" nullable:"false"`
	APIOnly                  bool       `json:"api_only"`
	SSOEnabled               bool       `json:"sso_enabled"`
	MFAEnabled               bool       `json:"mfa_enabled"`
	ForcePasswordReset       bool       `json:"force_password_reset"`
	AdminForcedPasswordReset bool       `json:"admin_forced_password_reset"`
	GravatarURL              string     `json:"gravatar_url"`
	Position                 string     `json:"position"`
	CreatedAt                time.Time  `json:"created_at"`
	UpdatedAt                time.Time  `json:"updated_at"`
}

// UserTeam is a user's role in a team.
type UserTeam struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
	Role string `json:"role"`
}

// SetupRequest makes the first user.
type SetupRequest struct {
	Admin     SetupAdmin `json:"admin"`
	OrgInfo   SetupOrg   `json:"org_info,omitempty"`
	ServerURL string     `json:"server_url,omitempty" doc:"Public URL of the server; needed unless the server was started with one"`
}

// SetupAdmin is the first user.
type SetupAdmin struct {
	Admin                *bool  `json:"admin,omitempty" doc:"Always true"`
	Email                string `json:"email"`
	Name                 string `json:"name"`
	Password             string `json:"password" doc:"At least 12 characters with a letter, a number and a symbol"`
	PasswordConfirmation string `json:"password_confirmation,omitempty" doc:"When present it must equal password"`
}

// SetupOrg is the organization at setup.
type SetupOrg struct {
	OrgName    string `json:"org_name,omitempty"`
	OrgLogoURL string `json:"org_logo_url,omitempty"`
}

// SetupResponse answers SetupRequest.
type SetupResponse struct {
	Admin               User     `json:"admin"`
	OrgInfo             SetupOrg `json:"org_info"`
	ServerURL           string   `json:"server_url"`
	OsqueryEnrollSecret *string  `json:"osquery_enroll_secret"`
	Token               string   `json:"token"`
}

// LoginRequest asks for a session.
type LoginRequest struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

// LoginResponse holds the session's token.
type LoginResponse struct {
	User           User       `json:"user"`
	AvailableTeams []UserTeam `json:"available_teams" nullable:"false"`
	Token          string     `json:"token" doc:"Send as Authorization: Bearer <token>"`
}

// MeResponse is the user behind the request.
type MeResponse struct {
	User           User       `json:"user"`
	AvailableTeams []UserTeam `json:"available_teams" nullable:"false"`
}

// ChangePasswordRequest changes one's own password.
type ChangePasswordRequest struct {
	OldPassword string `json:"old_password"`
	NewPassword string `json:"new_password"`
}

// ResetPasswordRequest sets a new password where an admin required it.
type ResetPasswordRequest struct {
	NewPassword string `json:"new_password"`
}

// RequirePasswordResetRequest requires a new password of a user.
type RequirePasswordResetRequest struct {
	Require bool `json:"require"`
}

// CreateUserRequest makes a user.
type CreateUserRequest struct {
	Name                     string `json:"name"`
	Email                    string `json:"email"`
	Password                 string `json:"password,omitempty" doc:"Not needed for an API-only user"`
	GlobalRole               string `json:"global_role,omitempty" default:"observer" doc:"admin, maintainer, observer, observer_plus, gitops or technician"`
	APIOnly                  bool   `json:"api_only,omitempty" doc:"The answer holds a token that does not expire"`
	AdminForcedPasswordReset *bool  `json:"admin_forced_password_reset,omitempty" doc:"Require a new password at the first login; true unless given"`
}

// ModifyUserRequest changes what is present.
type ModifyUserRequest struct {
	Name        *string `json:"name,omitempty"`
	Email       *string `json:"email,omitempty"`
	GlobalRole  *string `json:"global_role,omitempty"`
	NewPassword *string `json:"new_password,omitempty" doc:"Ends the user's sessions"`
}

// UserResponse is one user.
type UserResponse struct {
	User  User    `json:"user"`
	Token *string `json:"token,omitempty" doc:"Only for a new API-only user, and only now"`
}

// UsersResponse lists users.
type UsersResponse struct {
	Users []User `json:"users" nullable:"false"`
}

// Session is a login or an API token.
type Session struct {
	SessionID int64      `json:"session_id"`
	UserID    int64      `json:"user_id"`
	CreatedAt time.Time  `json:"created_at"`
	UsedAt    time.Time  `json:"used_at" doc:"Last use, kept to within minutes"`
	ExpiresAt *time.Time `json:"expires_at" doc:"null: until it is deleted"`
}

// SessionsResponse lists sessions.
type SessionsResponse struct {
	Sessions []Session `json:"sessions" nullable:"false"`
}

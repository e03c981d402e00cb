// Package httpapitest holds stand-ins for the ports of httpapi, for tests of
// the API, its client and the command line. They answer with fixed facts and
// remember what they were asked; the rules behind the ports are tested where
// they live.
package httpapitest

import (
	"context"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Now is the time at which everything happened.
func Now() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// Access takes "token-<role>" for a session of that role.
type Access struct {
	SetUp     bool
	Applied   fleet.Settings // what Setup was given
	LastLogin string         // address
	// Allow is the table of roles; nil allows everything.
	Allow func(role fleet.Role, permission string) bool
}

func (f *Access) NeedsSetup(context.Context) (bool, error) { return !f.SetUp, nil }

func (f *Access) Setup(_ context.Context, admin fleet.User, _ string, settings fleet.Settings, address string) (fleet.Viewer, string, error) {
	if f.SetUp {
		return fleet.Viewer{}, "", fleet.Errorf(fleet.KindConflict, "Setup was done already.")
	}
	f.SetUp, f.Applied = true, settings
	admin.ID, admin.Role = 1, fleet.RoleAdmin
	return fleet.Viewer{User: admin, Address: address}, "token-admin", nil
}

func (f *Access) Login(_ context.Context, email, password, address string) (fleet.Viewer, string, error) {
	f.LastLogin = address
	switch password {
	case "right":
		return fleet.Viewer{User: User(fleet.RoleAdmin)}, "token-admin", nil
	case "often":
		err := fleet.Errorf(fleet.KindTooMany, "Too many attempts.")
		err.RetryAfter = 1500 * time.Millisecond
		return fleet.Viewer{}, "", err
	}
	return fleet.Viewer{}, "", fleet.Errorf(fleet.KindUnauthenticated, "Authentication failed")
}

func (f *Access) Logout(context.Context, fleet.Viewer) error { return nil }

func (f *Access) Authenticate(_ context.Context, token, address string) (fleet.Viewer, error) {
	role, ok := strings.CutPrefix(token, "token-")
	if !ok {
		return fleet.Viewer{}, fleet.Errorf(fleet.KindUnauthenticated, "Authentication required")
	}
	user := User(fleet.Role(role))
	if role == "reset" {
		user.Role, user.ForceReset = fleet.RoleAdmin, true
	}
	return fleet.Viewer{User: user, Session: fleet.Session{ID: 5}, Address: address}, nil
}

func (f *Access) Can(v fleet.Viewer, permission string) bool {
	if v.User.ForceReset && !strings.HasPrefix(permission, "self:") {
		return false
	}
	return f.Allow == nil || f.Allow(v.User.Role, permission)
}

// User is Ada in a role.
func User(role fleet.Role) fleet.User {
	return fleet.User{ID: 1, Name: "Ada", Email: "ada@example.com", Role: role, PasswordHash: "secret-hash", CreatedAt: Now(), UpdatedAt: Now()}
}

// Users knows Ada and creates anybody.
type Users struct{ Created fleet.User }

func (f *Users) Users(context.Context, fleet.Page, string) ([]fleet.User, error) {
	return []fleet.User{User(fleet.RoleAdmin)}, nil
}

func (f *Users) User(_ context.Context, id fleet.UserID) (fleet.User, error) {
	if id != 1 {
		return fleet.User{}, fleet.Errorf(fleet.KindNotFound, "User was not found.")
	}
	return User(fleet.RoleAdmin), nil
}

func (f *Users) CreateUser(_ context.Context, _ fleet.Actor, u fleet.User, _ string) (fleet.User, string, error) {
	f.Created = u
	u.ID = 2
	if u.APIOnly {
		return u, "api-token", nil
	}
	return u, "", nil
}

func (f *Users) UpdateUser(_ context.Context, _ fleet.Actor, _ fleet.UserID, change func(*fleet.User) error, _ string) (fleet.User, error) {
	u := User(fleet.RoleAdmin)
	return u, change(&u)
}
func (f *Users) DeleteUser(context.Context, fleet.Actor, fleet.UserID) error { return nil }
func (f *Users) ChangePassword(context.Context, fleet.Viewer, string, string) error {
	return nil
}
func (f *Users) ResetRequiredPassword(context.Context, fleet.Viewer, string) (fleet.User, error) {
	return User(fleet.RoleAdmin), nil
}
func (f *Users) RequirePasswordReset(context.Context, fleet.Actor, fleet.UserID, bool) (fleet.User, error) {
	return User(fleet.RoleAdmin), nil
}

// Sessions knows one session.
type Sessions struct{}

func (Sessions) Session(context.Context, fleet.SessionID) (fleet.Session, error) {
	return fleet.Session{ID: 5, UserID: 1, CreatedAt: Now(), UsedAt: Now()}, nil
}
func (Sessions) SessionsOf(context.Context, fleet.UserID) ([]fleet.Session, error) {
	return []fleet.Session{{ID: 5, UserID: 1, TokenSHA256: [32]byte{1}, CreatedAt: Now(), UsedAt: Now()}}, nil
}
func (Sessions) DeleteSession(context.Context, fleet.Actor, fleet.SessionID) error { return nil }
func (Sessions) DeleteSessionsOf(context.Context, fleet.Actor, fleet.UserID) error { return nil }

// Host is a Mac that was heard of a minute ago.
func Host() fleet.HostDetail {
	return fleet.HostDetail{
		Host: fleet.Host{
			ID: 7, UUID: "UDID-7", HardwareSerial: "C02ABC", Hostname: "adas-mac", ComputerName: "Ada's Mac", Platform: fleet.PlatformDarwin,
			HardwareModel: "MacBookPro18,3", OSVersion: "macOS 15.1", DiskTotalGB: 500, DiskAvailableGB: 125, CreatedAt: Now(), UpdatedAt: Now(),
			SeenAt: Now().Add(-time.Minute), MDM: fleet.HostMDM{Status: fleet.MDMManual, ServerURL: "https://mdm.example.com/mdm/apple/mdm", EnrolledAt: Now()},
		},
		Labels:          []fleet.HostLabel{{ID: 1, Name: "All Hosts", Builtin: true}},
		Enrollments:     []fleet.Enrollment{{Key: "UDID-7", Channel: fleet.ChannelDevice, State: fleet.EnrollmentOn, PushMagic: "secret-magic", PushToken: []byte("secret-token"), EnrolledAt: Now()}},
		PendingCommands: 2,
	}
}

// Hosts knows the one host of Host.
type Hosts struct {
	Filter  fleet.HostFilter
	Asked   int
	Deleted fleet.HostID
}

func (f *Hosts) List(_ context.Context, filter fleet.HostFilter) ([]fleet.Host, fleet.PageMeta, error) {
	f.Filter = filter
	f.Asked++
	return []fleet.Host{Host().Host}, fleet.PageMeta{HasNext: filter.Page.Number == 0}, nil
}

func (f *Hosts) Count(_ context.Context, filter fleet.HostFilter) (int, error) {
	f.Filter = filter
	return 1, nil
}

func (f *Hosts) Host(_ context.Context, id fleet.HostID) (*fleet.HostDetail, error) {
	if id != 7 {
		return nil, fleet.Errorf(fleet.KindNotFound, "Host %d was not found.", id)
	}
	h := Host()
	return &h, nil
}

func (f *Hosts) HostByIdentifier(_ context.Context, identifier string) (*fleet.HostDetail, error) {
	if identifier != "C02ABC" && identifier != "mdm" && identifier != "a/b" {
		return nil, fleet.Errorf(fleet.KindNotFound, "No host is called that.")
	}
	h := Host()
	return &h, nil
}

func (f *Hosts) Delete(_ context.Context, _ fleet.Actor, id fleet.HostID) error {
	f.Deleted = id
	return nil
}

// Commands knows cmd-1.
type Commands struct {
	Raw    []byte
	UUIDs  []string
	IDs    []fleet.HostID
	Filter fleet.CommandFilter
}

func (f *Commands) Run(_ context.Context, _ fleet.Actor, uuids []string, raw []byte) (fleet.Command, []string, error) {
	f.Raw, f.UUIDs = raw, uuids
	return fleet.Command{UUID: "cmd-1", RequestType: "DeviceInformation", Platform: fleet.PlatformDarwin}, nil, nil
}

func (f *Commands) RunByID(_ context.Context, _ fleet.Actor, ids []fleet.HostID, raw []byte) (fleet.Command, []string, error) {
	f.Raw, f.IDs = raw, ids
	return fleet.Command{UUID: "cmd-2", RequestType: "DeviceInformation", Platform: fleet.PlatformDarwin}, []string{"UDID-8"}, nil
}

func (f *Commands) Results(_ context.Context, uuid, _ string) ([]fleet.CommandResult, error) {
	if uuid != "cmd-1" {
		return nil, fleet.Errorf(fleet.KindNotFound, "The command was not found.")
	}
	return []fleet.CommandResult{{CommandUUID: uuid, RequestType: "DeviceInformation", Host: fleet.HostRef{UUID: "UDID-7", Hostname: "adas-mac"},
		Status: fleet.CommandAcknowledged, UpdatedAt: Now(), Payload: []byte("<c/>"), Result: []byte("<r/>")}}, nil
}

func (f *Commands) List(_ context.Context, filter fleet.CommandFilter, _ string) ([]fleet.CommandResult, fleet.PageMeta, error) {
	f.Filter = filter
	return []fleet.CommandResult{{CommandUUID: "cmd-1", RequestType: "DeviceInformation", Host: fleet.HostRef{UUID: "UDID-7", Hostname: "adas-mac"}, Status: fleet.CommandPending}}, fleet.PageMeta{}, nil
}

// Enrollments knows the one of Profile.
type Enrollments struct {
	Signed    bool
	TurnedOff fleet.HostID
	Deleted   fleet.EnrollmentProfileID
}

// Profile is a manual enrollment whose token is "tok".
func Profile() fleet.EnrollmentProfile {
	return fleet.EnrollmentProfile{ID: 3, Name: "Office", Kind: fleet.EnrollmentManual, Token: "tok", EnrollURL: "https://mdm.example.com/mdm/apple/enroll/tok", CreatedAt: Now()}
}

func (f *Enrollments) CreateProfile(_ context.Context, _ fleet.Actor, name string, _ fleet.EnrollmentKind) (fleet.EnrollmentProfile, error) {
	p := Profile()
	p.Name = name
	return p, nil
}
func (f *Enrollments) Profiles(context.Context) ([]fleet.EnrollmentProfile, error) {
	return []fleet.EnrollmentProfile{Profile()}, nil
}
func (f *Enrollments) DeleteProfile(_ context.Context, _ fleet.Actor, id fleet.EnrollmentProfileID) error {
	f.Deleted = id
	return nil
}
func (f *Enrollments) Mobileconfig(_ context.Context, _ fleet.Actor, _ fleet.EnrollmentProfileID, signed bool) ([]byte, error) {
	f.Signed = signed
	return []byte("profile"), nil
}
func (f *Enrollments) MobileconfigByToken(_ context.Context, token, _ string, signed bool) ([]byte, error) {
	f.Signed = signed
	if token != "tok" {
		return nil, fleet.Errorf(fleet.KindNotFound, "This enrollment link is not known.")
	}
	return []byte("profile"), nil
}
func (f *Enrollments) TurnOff(_ context.Context, _ fleet.Actor, host fleet.HostID) error {
	f.TurnedOff = host
	return nil
}

// Push has a certificate.
type Push struct {
	Cert, Key []byte
	Force     bool
}

func (f *Push) Certificate(context.Context) (*fleet.PushCertificate, error) {
	return &fleet.PushCertificate{Topic: "com.apple.mgmt.External.x", CommonName: "APSP:x", SerialHex: "0a", Issuer: "Apple", NotAfter: Now()}, nil
}
func (f *Push) RequestCSR(context.Context, fleet.Actor) ([]byte, error) {
	return []byte("csr"), nil
}
func (f *Push) SetCertificate(ctx context.Context, _ fleet.Actor, cert, key []byte, force bool) (*fleet.PushCertificate, error) {
	f.Cert, f.Key, f.Force = cert, key, force
	return f.Certificate(ctx)
}
func (f *Push) DeleteCertificate(context.Context, fleet.Actor) error { return nil }

// Settings keeps the settings in memory.
type Settings struct{ Current fleet.Settings }

func (f *Settings) Settings(context.Context) (fleet.Settings, error) { return f.Current, nil }
func (f *Settings) Update(_ context.Context, _ fleet.Actor, change func(*fleet.Settings) error, dryRun bool) (fleet.Settings, error) {
	next := f.Current
	if err := change(&next); err != nil {
		return fleet.Settings{}, err
	}
	if !dryRun {
		f.Current = next
	}
	return next, nil
}

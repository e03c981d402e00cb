package httpapi

import (
	"context"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/access"
	"github.com/muster-mdm/muster/internal/fleet"
)

// The fakes answer with fixed facts and remember what they were asked: the
// rules behind them are tested where they live.

var testNow = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fakeAccess takes "token-<role>" for a session of that role.
type fakeAccess struct {
	setUp     bool
	settings  fleet.Settings
	lastLogin string
}

func (f *fakeAccess) NeedsSetup(context.Context) (bool, error) { return !f.setUp, nil }

func (f *fakeAccess) Setup(_ context.Context, admin fleet.User, _ string, settings fleet.Settings, address string) (fleet.Viewer, string, error) {
	if f.setUp {
		return fleet.Viewer{}, "", fleet.Errorf(fleet.KindConflict, "Setup was done already.")
	}
	f.setUp, f.settings = true, settings
	admin.ID, admin.Role = 1, fleet.RoleAdmin
	return fleet.Viewer{User: admin, Address: address}, "token-admin", nil
}

func (f *fakeAccess) Login(_ context.Context, email, password, address string) (fleet.Viewer, string, error) {
	f.lastLogin = address
	switch password {
	case "right":
		return fleet.Viewer{User: testUser(fleet.RoleAdmin)}, "token-admin", nil
	case "often":
		err := fleet.Errorf(fleet.KindTooMany, "Too many attempts.")
		err.RetryAfter = 1500 * time.Millisecond
		return fleet.Viewer{}, "", err
	}
	return fleet.Viewer{}, "", fleet.Errorf(fleet.KindUnauthenticated, "Authentication failed")
}

func (f *fakeAccess) Logout(context.Context, fleet.Viewer) error { return nil }

func (f *fakeAccess) Authenticate(_ context.Context, token, address string) (fleet.Viewer, error) {
	role, ok := strings.CutPrefix(token, "token-")
	if !ok {
		return fleet.Viewer{}, fleet.Errorf(fleet.KindUnauthenticated, "Authentication required")
	}
	user := testUser(fleet.Role(role))
	if role == "reset" {
		user.Role, user.ForceReset = fleet.RoleAdmin, true
	}
	return fleet.Viewer{User: user, Session: fleet.Session{ID: 5}, Address: address}, nil
}

func (f *fakeAccess) Can(v fleet.Viewer, permission string) bool {
	if v.User.ForceReset && !strings.HasPrefix(permission, "self:") {
		return false
	}
	return access.Can(v.User.Role, access.Permission(permission))
}

func testUser(role fleet.Role) fleet.User {
	return fleet.User{ID: 1, Name: "Ada", Email: "ada@example.com", Role: role, PasswordHash: "secret-hash", CreatedAt: testNow, UpdatedAt: testNow}
}

type fakeUsers struct{ created fleet.User }

func (f *fakeUsers) Users(context.Context, fleet.Page, string) ([]fleet.User, error) {
	return []fleet.User{testUser(fleet.RoleAdmin)}, nil
}

func (f *fakeUsers) User(_ context.Context, id fleet.UserID) (fleet.User, error) {
	if id != 1 {
		return fleet.User{}, fleet.Errorf(fleet.KindNotFound, "User was not found.")
	}
	return testUser(fleet.RoleAdmin), nil
}

func (f *fakeUsers) CreateUser(_ context.Context, _ fleet.Actor, u fleet.User, _ string) (fleet.User, string, error) {
	f.created = u
	u.ID = 2
	if u.APIOnly {
		return u, "api-token", nil
	}
	return u, "", nil
}

func (f *fakeUsers) UpdateUser(_ context.Context, _ fleet.Actor, _ fleet.UserID, change func(*fleet.User) error, _ string) (fleet.User, error) {
	u := testUser(fleet.RoleAdmin)
	return u, change(&u)
}
func (f *fakeUsers) DeleteUser(context.Context, fleet.Actor, fleet.UserID) error { return nil }
func (f *fakeUsers) ChangePassword(context.Context, fleet.Viewer, string, string) error {
	return nil
}
func (f *fakeUsers) ResetRequiredPassword(context.Context, fleet.Viewer, string) (fleet.User, error) {
	return testUser(fleet.RoleAdmin), nil
}
func (f *fakeUsers) RequirePasswordReset(context.Context, fleet.Actor, fleet.UserID, bool) (fleet.User, error) {
	return testUser(fleet.RoleAdmin), nil
}

type fakeSessions struct{}

func (fakeSessions) Session(context.Context, fleet.SessionID) (fleet.Session, error) {
	return fleet.Session{ID: 5, UserID: 1, CreatedAt: testNow, UsedAt: testNow}, nil
}
func (fakeSessions) SessionsOf(context.Context, fleet.UserID) ([]fleet.Session, error) {
	return []fleet.Session{{ID: 5, UserID: 1, TokenSHA256: [32]byte{1}, CreatedAt: testNow, UsedAt: testNow}}, nil
}
func (fakeSessions) DeleteSession(context.Context, fleet.Actor, fleet.SessionID) error { return nil }
func (fakeSessions) DeleteSessionsOf(context.Context, fleet.Actor, fleet.UserID) error { return nil }

func testHost() fleet.HostDetail {
	return fleet.HostDetail{
		Host: fleet.Host{
			ID: 7, UUID: "UDID-7", HardwareSerial: "C02ABC", Hostname: "adas-mac", ComputerName: "Ada's Mac", Platform: fleet.PlatformDarwin,
			HardwareModel: "MacBookPro18,3", OSVersion: "macOS 15.1", DiskTotalGB: 500, DiskAvailableGB: 125, CreatedAt: testNow, UpdatedAt: testNow,
			SeenAt: testNow.Add(-time.Minute), MDM: fleet.HostMDM{Status: fleet.MDMManual, ServerURL: "https://mdm.example.com/mdm/apple/mdm", EnrolledAt: testNow},
		},
		Labels:          []fleet.HostLabel{{ID: 1, Name: "All Hosts", Builtin: true}},
		Enrollments:     []fleet.Enrollment{{Key: "UDID-7", Channel: fleet.ChannelDevice, State: fleet.EnrollmentOn, PushMagic: "secret-magic", PushToken: []byte("secret-token"), EnrolledAt: testNow}},
		PendingCommands: 2,
	}
}

type fakeHosts struct {
	filter fleet.HostFilter
	asked  int
}

func (f *fakeHosts) List(_ context.Context, filter fleet.HostFilter) ([]fleet.Host, fleet.PageMeta, error) {
	f.filter = filter
	f.asked++
	return []fleet.Host{testHost().Host}, fleet.PageMeta{HasNext: true}, nil
}

func (f *fakeHosts) Count(_ context.Context, filter fleet.HostFilter) (int, error) {
	f.filter = filter
	return 1, nil
}

func (f *fakeHosts) Host(_ context.Context, id fleet.HostID) (*fleet.HostDetail, error) {
	if id != 7 {
		return nil, fleet.Errorf(fleet.KindNotFound, "Host %d was not found.", id)
	}
	h := testHost()
	return &h, nil
}

func (f *fakeHosts) HostByIdentifier(_ context.Context, identifier string) (*fleet.HostDetail, error) {
	if identifier != "C02ABC" && identifier != "mdm" && identifier != "a/b" {
		return nil, fleet.Errorf(fleet.KindNotFound, "No host is called that.")
	}
	h := testHost()
	return &h, nil
}

func (f *fakeHosts) Delete(context.Context, fleet.Actor, fleet.HostID) error { return nil }

type fakeCommands struct {
	raw    []byte
	uuids  []string
	ids    []fleet.HostID
	filter fleet.CommandFilter
}

func (f *fakeCommands) Run(_ context.Context, _ fleet.Actor, uuids []string, raw []byte) (fleet.Command, []string, error) {
	f.raw, f.uuids = raw, uuids
	return fleet.Command{UUID: "cmd-1", RequestType: "DeviceInformation", Platform: fleet.PlatformDarwin}, nil, nil
}

func (f *fakeCommands) RunByID(_ context.Context, _ fleet.Actor, ids []fleet.HostID, raw []byte) (fleet.Command, []string, error) {
	f.raw, f.ids = raw, ids
	return fleet.Command{UUID: "cmd-2", RequestType: "DeviceInformation", Platform: fleet.PlatformDarwin}, []string{"UDID-8"}, nil
}

func (f *fakeCommands) Results(_ context.Context, uuid, _ string) ([]fleet.CommandResult, error) {
	if uuid != "cmd-1" {
		return nil, fleet.Errorf(fleet.KindNotFound, "The command was not found.")
	}
	return []fleet.CommandResult{{CommandUUID: uuid, RequestType: "DeviceInformation", Host: fleet.HostRef{UUID: "UDID-7", Hostname: "adas-mac"},
		Status: fleet.CommandAcknowledged, UpdatedAt: testNow, Payload: []byte("<c/>"), Result: []byte("<r/>")}}, nil
}

func (f *fakeCommands) List(_ context.Context, filter fleet.CommandFilter, _ string) ([]fleet.CommandResult, fleet.PageMeta, error) {
	f.filter = filter
	return []fleet.CommandResult{{CommandUUID: "cmd-1", RequestType: "DeviceInformation", Host: fleet.HostRef{UUID: "UDID-7", Hostname: "adas-mac"}, Status: fleet.CommandPending}}, fleet.PageMeta{}, nil
}

type fakeEnrollments struct {
	signed    bool
	turnedOff fleet.HostID
}

func testProfile() fleet.EnrollmentProfile {
	return fleet.EnrollmentProfile{ID: 3, Name: "Office", Kind: fleet.EnrollmentManual, Token: "tok", CreatedAt: testNow}
}

func (f *fakeEnrollments) CreateProfile(_ context.Context, _ fleet.Actor, name string, _ fleet.EnrollmentKind) (fleet.EnrollmentProfile, error) {
	p := testProfile()
	p.Name = name
	return p, nil
}
func (f *fakeEnrollments) Profiles(context.Context) ([]fleet.EnrollmentProfile, error) {
	return []fleet.EnrollmentProfile{testProfile()}, nil
}
func (f *fakeEnrollments) DeleteProfile(context.Context, fleet.Actor, fleet.EnrollmentProfileID) error {
	return nil
}
func (f *fakeEnrollments) Mobileconfig(_ context.Context, _ fleet.Actor, _ fleet.EnrollmentProfileID, signed bool) ([]byte, error) {
	f.signed = signed
	return []byte("profile"), nil
}
func (f *fakeEnrollments) MobileconfigByToken(_ context.Context, token, _ string, signed bool) ([]byte, error) {
	f.signed = signed
	if token != "tok" {
		return nil, fleet.Errorf(fleet.KindNotFound, "This enrollment link is not known.")
	}
	return []byte("profile"), nil
}
func (f *fakeEnrollments) EnrollURL(p fleet.EnrollmentProfile) string {
	return "https://mdm.example.com/mdm/apple/enroll/" + p.Token
}
func (f *fakeEnrollments) TurnOff(_ context.Context, _ fleet.Actor, host fleet.HostID) error {
	f.turnedOff = host
	return nil
}

type fakePush struct {
	cert, key []byte
	force     bool
}

func (f *fakePush) Certificate(context.Context) (*fleet.PushCertificate, error) {
	return &fleet.PushCertificate{Topic: "com.apple.mgmt.External.x", CommonName: "APSP:x", SerialHex: "0a", Issuer: "Apple", NotAfter: testNow}, nil
}
func (f *fakePush) RequestCSR(context.Context, fleet.Actor) ([]byte, error) {
	return []byte("csr"), nil
}
func (f *fakePush) SetCertificate(ctx context.Context, _ fleet.Actor, cert, key []byte, force bool) (*fleet.PushCertificate, error) {
	f.cert, f.key, f.force = cert, key, force
	return f.Certificate(ctx)
}
func (f *fakePush) DeleteCertificate(context.Context, fleet.Actor) error { return nil }

type fakeSettings struct{ current fleet.Settings }

func (f *fakeSettings) Settings(context.Context) (fleet.Settings, error) { return f.current, nil }
func (f *fakeSettings) Update(_ context.Context, _ fleet.Actor, change func(*fleet.Settings) error, dryRun bool) (fleet.Settings, error) {
	next := f.current
	if err := change(&next); err != nil {
		return fleet.Settings{}, err
	}
	if !dryRun {
		f.current = next
	}
	return next, nil
}

// Package httpapitest holds stand-ins for the ports of httpapi, for tests of
// the API, its client and the command line. They answer with fixed facts and
// remember what they were asked; the rules behind the ports are tested where
// they live.
package httpapitest

import (
	"context"
	"maps"
	"slices"
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
		Vitals:          Vitals(),
	}
}

// Vitals are what the host of Host told about itself.
func Vitals() fleet.VitalDetails {
	level := 0.5
	return fleet.VitalDetails{ModelName: "MacBook Pro", BatteryLevel: &level, BatteryHealth: "normal", FileVault: fleet.Yes, Firewall: fleet.No,
		Update: &fleet.SoftwareUpdate{State: "waiting", Version: "15.2"}}
}

// Hosts knows the one host of Host.
type Hosts struct {
	Filter  fleet.HostFilter
	Asked   int
	Deleted fleet.HostID
	Status  fleet.MDMStatus // of host 7; MDMUnknown: that of Host
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
	if f.Status != fleet.MDMUnknown {
		h.MDM.Status = f.Status
	}
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

// Inventories knows what the host of Host told about itself.
type Inventories struct {
	Refetched fleet.HostID
	Filter    fleet.SoftwareFilter
	DER       []byte // of its certificate
}

func (f *Inventories) Refetch(_ context.Context, _ fleet.Actor, host fleet.HostID) error {
	if host != Host().ID {
		return fleet.Errorf(fleet.KindNotFound, "there is no host with id %d", host)
	}
	f.Refetched = host
	return nil
}

func (f *Inventories) Software(_ context.Context, filter fleet.SoftwareFilter) ([]fleet.SoftwareVersion, int, fleet.PageMeta, error) {
	f.Filter = filter
	return []fleet.SoftwareVersion{{Software: fleet.Software{ID: 9, Name: "Slack", Version: "4.45", BundleID: "com.tinyspeck.slackmacgap", Source: "apps"}, Hosts: 3}}, 1, fleet.PageMeta{}, nil
}

func (f *Inventories) Certificates(context.Context, fleet.HostID, fleet.Page) ([]fleet.HostCertificate, int, fleet.PageMeta, error) {
	return []fleet.HostCertificate{{SHA256: [32]byte{1}, CommonName: "Ada", HasKey: true, NotAfter: Now(), DER: f.DER}}, 1, fleet.PageMeta{}, nil
}

// Guardian knows a push certificate and a device identity that expire.
type Guardian struct {
	Days int
	None bool // nothing expires
}

func (f *Guardian) Expiring(_ context.Context, days int) (fleet.Expiry, error) {
	f.Days = days
	if f.None {
		return fleet.Expiry{}, nil
	}
	return fleet.Expiry{Things: []fleet.DatedThing{{Kind: fleet.DatedPushCertificate, Name: "com.apple.mgmt.External.x", NotAfter: Now().Add(50 * time.Hour)}},
		Identities: fleet.IdentityExpiry{Weeks: map[int]int{1: 2, -1: 1}, Nearest: []fleet.ExpiringIdentity{{Host: fleet.HostRef{ID: 7, Serial: "C02ABC"}, NotAfter: Now().Add(-time.Hour), Attempts: 2, Fault: "it will not"}}}}, nil
}

// Commands knows cmd-1.
type Commands struct {
	Raw    []byte
	UUIDs  []string
	IDs    []fleet.HostID
	Filter fleet.CommandFilter
}

func (f *Commands) Run(_ context.Context, _ fleet.Sender, uuids []string, raw []byte) (fleet.Command, []string, error) {
	f.Raw, f.UUIDs = raw, uuids
	return fleet.Command{UUID: "cmd-1", RequestType: "DeviceInformation", Platform: fleet.PlatformDarwin}, nil, nil
}

func (f *Commands) RunByID(_ context.Context, _ fleet.Sender, ids []fleet.HostID, raw []byte) (fleet.Command, []string, error) {
	f.Raw, f.IDs = raw, ids
	return fleet.Command{UUID: "cmd-2", RequestType: "DeviceInformation", Platform: fleet.PlatformDarwin}, []string{"UDID-8"}, nil
}

func (f *Commands) Results(_ context.Context, _ fleet.Sender, uuid, _ string) ([]fleet.CommandResult, error) {
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

// Teams knows the one of Team.
type Teams struct {
	Created  fleet.Team
	Specs    []fleet.TeamSpec
	Moved    []fleet.HostID
	MovedTo  fleet.TeamID
	Filter   fleet.HostFilter
	Expected int
	Deleted  fleet.TeamID
	Asked    int // for names
}

// Team is a team of one Mac.
func Team() *fleet.Team {
	return &fleet.Team{ID: 3, Name: "Sales", Description: "People who sell", HostCount: 1, CreatedAt: Now(), UpdatedAt: Now(),
		Settings: fleet.TeamSettings{MacOSUpdates: fleet.OSUpdates{MinimumVersion: "15.1", Deadline: "2026-03-01"}}}
}

func (f *Teams) List(context.Context, fleet.Page, string) ([]fleet.Team, fleet.PageMeta, error) {
	return []fleet.Team{*Team()}, fleet.PageMeta{}, nil
}
func (f *Teams) Team(_ context.Context, id fleet.TeamID) (*fleet.Team, error) {
	if id != Team().ID {
		return nil, fleet.Errorf(fleet.KindNotFound, "there is no team %d", id)
	}
	return Team(), nil
}
func (f *Teams) TeamByName(_ context.Context, name string) (*fleet.Team, error) {
	if name != Team().Name {
		return nil, fleet.FieldErrorf(fleet.KindNotFound, "team_name", "there is no team named %q", name)
	}
	return Team(), nil
}
func (f *Teams) Names(_ context.Context, ids []fleet.TeamID) (map[fleet.TeamID]string, error) {
	f.Asked++
	return map[fleet.TeamID]string{Team().ID: Team().Name}, nil
}
func (f *Teams) Create(_ context.Context, _ fleet.Actor, team fleet.Team) (*fleet.Team, error) {
	f.Created = team
	team.ID = 4
	return &team, nil
}
func (f *Teams) Update(ctx context.Context, _ fleet.Actor, id fleet.TeamID, change func(*fleet.Team) error, _ bool) (*fleet.Team, error) {
	team, err := f.Team(ctx, id)
	if err != nil {
		return nil, err
	}
	return team, change(team)
}
func (f *Teams) Apply(_ context.Context, _ fleet.Actor, specs []fleet.TeamSpec, dry bool) (map[string]fleet.TeamID, error) {
	f.Specs = specs
	out := map[string]fleet.TeamID{}
	for _, s := range specs {
		switch {
		case s.Name == Team().Name:
			out[s.Name] = Team().ID
		case dry:
			out[s.Name] = 0
		default:
			out[s.Name] = 4
		}
	}
	return out, nil
}
func (f *Teams) Delete(_ context.Context, _ fleet.Actor, id fleet.TeamID) error {
	f.Deleted = id
	return nil
}
func (f *Teams) Transfer(_ context.Context, _ fleet.Actor, team fleet.TeamID, hosts []fleet.HostID, expected int) error {
	f.Moved, f.MovedTo, f.Expected = hosts, team, expected
	return nil
}
func (f *Teams) TransferByFilter(_ context.Context, _ fleet.Actor, team fleet.TeamID, filter fleet.HostFilter, expected int) (int, error) {
	f.Filter, f.MovedTo, f.Expected = filter, team, expected
	return 1, nil
}
func (f *Teams) Select(_ context.Context, filter fleet.HostFilter) ([]fleet.HostID, error) {
	f.Filter = filter
	return []fleet.HostID{7}, nil
}

// EnrollSecrets knows one secret.
type EnrollSecrets struct {
	Kept []string
	Team fleet.TeamID
}

func (f *EnrollSecrets) Secrets(context.Context, fleet.TeamID) ([]fleet.EnrollSecret, error) {
	return []fleet.EnrollSecret{{Secret: "enroll-me", CreatedAt: Now()}}, nil
}
func (f *EnrollSecrets) Check(context.Context, fleet.TeamID, []string) error { return nil }
func (f *EnrollSecrets) Set(_ context.Context, _ fleet.Actor, team fleet.TeamID, secrets []string) ([]fleet.EnrollSecret, error) {
	f.Kept, f.Team = secrets, team
	out := make([]fleet.EnrollSecret, 0, len(secrets))
	for _, s := range secrets {
		out = append(out, fleet.EnrollSecret{Secret: s, CreatedAt: Now()})
	}
	return out, nil
}

// Labels knows the one of Label.
type Labels struct {
	Created fleet.Label
	Members []fleet.HostID
	Specs   []fleet.LabelSpec
	Dry     bool
	Named   []string
	Member  bool
	Deleted fleet.LabelID
}

// Label is a label whose hosts people name.
func Label() *fleet.Label {
	return &fleet.Label{ID: 9, Name: "Lab", Kind: fleet.LabelManual, HostCount: 1, CreatedAt: Now(), UpdatedAt: Now()}
}

func (f *Labels) List(context.Context, fleet.Page, bool) ([]fleet.Label, fleet.PageMeta, error) {
	return []fleet.Label{{ID: 1, Name: "All Hosts", HostCount: 1}, *Label()}, fleet.PageMeta{}, nil
}
func (f *Labels) Label(_ context.Context, id fleet.LabelID) (*fleet.Label, error) {
	if id != Label().ID {
		return nil, fleet.Errorf(fleet.KindNotFound, "there is no label %d", id)
	}
	return Label(), nil
}
func (f *Labels) LabelByName(_ context.Context, name string) (*fleet.Label, error) {
	if name != Label().Name {
		return nil, fleet.FieldErrorf(fleet.KindNotFound, "name", "there is no label named %q", name)
	}
	return Label(), nil
}
func (f *Labels) Create(_ context.Context, _ fleet.Actor, label fleet.Label, members []fleet.HostID) (*fleet.Label, error) {
	f.Created, f.Members = label, members
	label.ID = 10
	return &label, nil
}
func (f *Labels) Update(ctx context.Context, _ fleet.Actor, id fleet.LabelID, change func(*fleet.Label) error, members *[]fleet.HostID) (*fleet.Label, error) {
	label, err := f.Label(ctx, id)
	if err != nil {
		return nil, err
	}
	if members != nil {
		f.Members = *members
	}
	return label, change(label)
}
func (f *Labels) Apply(_ context.Context, _ fleet.Actor, specs []fleet.LabelSpec, dry bool) error {
	f.Specs, f.Dry = specs, dry
	return nil
}
func (f *Labels) Delete(_ context.Context, _ fleet.Actor, id fleet.LabelID) error {
	f.Deleted = id
	return nil
}
func (f *Labels) SetHostLabels(_ context.Context, _ fleet.Actor, _ fleet.HostID, names []string, member bool) error {
	f.Named, f.Member = names, member
	return nil
}
func (f *Labels) Resolve(_ context.Context, identifiers []string) ([]fleet.HostID, error) {
	out := make([]fleet.HostID, 0, len(identifiers))
	for range identifiers {
		out = append(out, 7)
	}
	return out, nil
}

// Profiles knows the one of Item.
type Profiles struct {
	Uploads  []fleet.ProfileUpload
	Team     fleet.TeamID
	Dry      bool
	Assumed  []string
	Options  fleet.ItemSetOptions
	Replaced string
	Deleted  string
	Resent   string
	Host     fleet.HostID
	Match    string
	Action   string
	Filter   fleet.ItemHostFilter
	Values   map[string]string
}

// Item is a profile in a rollout.
func Item() *fleet.Item {
	return &fleet.Item{ID: 12, UUID: "a-uuid", TeamID: 3, Kind: fleet.ItemProfile, Identifier: "com.example.wifi", Name: "Wi-Fi", Platforms: fleet.OnApple,
		ItemVersion: fleet.ItemVersion{Version: 2, SHA256: [32]byte{1}, Spec: fleet.ItemSpec{Warnings: []string{"a password stands in clear"}}},
		Labels:      []fleet.ItemLabel{{LabelID: 9, Name: "Lab", Mode: fleet.IncludeAny}, {Name: "Gone", Mode: fleet.ExcludeAny}},
		Rollout: &fleet.Rollout{Rings: []fleet.Ring{{Percent: 5, Soak: 24 * time.Hour}, {Percent: 100}}, MinVerified: 0.9, MaxFailed: 0.05,
			State: fleet.RolloutRunning, OpenedAt: Now()},
		CreatedAt: Now(), UploadedAt: Now()}
}

func (f *Profiles) Create(_ context.Context, _ fleet.Actor, team fleet.TeamID, u fleet.ProfileUpload) (*fleet.Item, error) {
	f.Team, f.Uploads = team, []fleet.ProfileUpload{u}
	return Item(), nil
}
func (f *Profiles) Replace(ctx context.Context, _ fleet.Actor, uuid string, u fleet.ProfileUpload) (*fleet.Item, error) {
	f.Replaced, f.Uploads = uuid, []fleet.ProfileUpload{u}
	return f.Item(ctx, uuid)
}
func (f *Profiles) Delete(_ context.Context, _ fleet.Actor, uuid string) error {
	f.Deleted = uuid
	return nil
}
func (f *Profiles) Item(_ context.Context, uuid string) (*fleet.Item, error) {
	if uuid != Item().UUID {
		return nil, fleet.Errorf(fleet.KindNotFound, "there is no profile or declaration %q", uuid)
	}
	return Item(), nil
}
func (f *Profiles) ItemByID(_ context.Context, id fleet.ItemID) (*fleet.Item, error) {
	if id != Item().ID {
		return nil, fleet.Errorf(fleet.KindNotFound, "there is no profile or declaration %d", id)
	}
	return Item(), nil
}
func (f *Profiles) List(context.Context, fleet.ItemFilter) ([]*fleet.Item, fleet.PageMeta, error) {
	return []*fleet.Item{Item()}, fleet.PageMeta{}, nil
}
func (f *Profiles) Content(ctx context.Context, uuid string) (*fleet.Item, []byte, error) {
	item, err := f.Item(ctx, uuid)
	return item, []byte("<plist/>"), err
}
func (f *Profiles) Set(_ context.Context, _ fleet.Actor, team fleet.TeamID, uploads []fleet.ProfileUpload, o fleet.ItemSetOptions) ([]fleet.ItemChange, error) {
	f.Team, f.Uploads, f.Dry, f.Assumed = team, uploads, o.Dry, o.AssumeSecrets
	f.Options = o
	return []fleet.ItemChange{{Item: *Item(), What: fleet.ItemAdded}, {Item: *Item(), What: fleet.ItemRescoped}}, nil
}
func (f *Profiles) Steer(ctx context.Context, _ fleet.Actor, uuid, action, why string) (*fleet.Item, error) {
	f.Action = action + " " + why
	return f.Item(ctx, uuid)
}
func (f *Profiles) Summary(_ context.Context, team fleet.TeamID) (fleet.ItemStatusCounts, error) {
	f.Team = team
	return fleet.ItemStatusCounts{Verified: 1, Verifying: 2, Pending: 3, Failed: 4}, nil
}
func (f *Profiles) ItemStatus(context.Context, string) (fleet.ItemStatusCounts, error) {
	return fleet.ItemStatusCounts{Verified: 1, Verifying: 2, Pending: 3, Failed: 4}, nil
}
func (f *Profiles) HostsOf(_ context.Context, _ string, filter fleet.ItemHostFilter) ([]fleet.ItemHost, fleet.PageMeta, error) {
	f.Filter = filter
	return []fleet.ItemHost{{Host: fleet.HostRef{ID: 7, UUID: "UDID-7", Serial: "C02ABC", Hostname: "adas-mac"},
		HostItem: fleet.HostItem{Op: fleet.OpInstall, Status: fleet.ItemFailed, Version: 2, Detail: "no such network", ChangedAt: Now()}}}, fleet.PageMeta{}, nil
}
func (f *Profiles) HostItems(context.Context, fleet.HostID) ([]fleet.HostItemDetail, error) {
	return []fleet.HostItemDetail{{UUID: "a-uuid", Name: "Wi-Fi", Identifier: "com.example.wifi", Kind: fleet.ItemProfile,
		HostItem: fleet.HostItem{Op: fleet.OpInstall, Status: fleet.ItemVerified, ChangedAt: Now()}}}, nil
}
func (f *Profiles) Resend(_ context.Context, _ fleet.Actor, host fleet.HostID, uuid string) error {
	f.Host, f.Resent = host, uuid
	return nil
}
func (f *Profiles) ResendFailed(_ context.Context, _ fleet.Actor, uuid, match string) error {
	f.Resent, f.Match = uuid, match
	return nil
}
func (f *Profiles) Variables(context.Context) ([]fleet.Variable, error) {
	return []fleet.Variable{{Name: "WIFI_PASSWORD", Version: 1, UpdatedAt: Now()}}, nil
}
func (f *Profiles) SetVariables(_ context.Context, _ fleet.Actor, values map[string]string, dry bool) ([]string, error) {
	f.Values, f.Dry = values, dry
	return slices.Sorted(maps.Keys(values)), nil
}
func (f *Profiles) DeleteVariable(_ context.Context, _ fleet.Actor, name string) error {
	f.Deleted = name
	return nil
}

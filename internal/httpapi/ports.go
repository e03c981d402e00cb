package httpapi

import (
	"context"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Access is who may do what: logins, users, sessions.
type Access interface {
	NeedsSetup(ctx context.Context) (bool, error)
	Setup(ctx context.Context, admin fleet.User, password string, settings fleet.Settings, address string) (fleet.Viewer, string, error)
	Login(ctx context.Context, email, password, address string) (fleet.Viewer, string, error)
	Logout(ctx context.Context, v fleet.Viewer) error
	Authenticate(ctx context.Context, token, address string) (fleet.Viewer, error)
	Can(v fleet.Viewer, permission string) bool
}

// Users are the people and programs that use the API.
type Users interface {
	Users(ctx context.Context, page fleet.Page, query string) ([]fleet.User, error)
	User(ctx context.Context, id fleet.UserID) (fleet.User, error)
	CreateUser(ctx context.Context, actor fleet.Actor, u fleet.User, password string) (fleet.User, string, error)
	UpdateUser(ctx context.Context, actor fleet.Actor, id fleet.UserID, change func(*fleet.User) error, password string) (fleet.User, error)
	DeleteUser(ctx context.Context, actor fleet.Actor, id fleet.UserID) error
	ChangePassword(ctx context.Context, v fleet.Viewer, oldPassword, newPassword string) error
	ResetRequiredPassword(ctx context.Context, v fleet.Viewer, newPassword string) (fleet.User, error)
	RequirePasswordReset(ctx context.Context, actor fleet.Actor, id fleet.UserID, require bool) (fleet.User, error)
}

// Sessions are logins and API tokens.
type Sessions interface {
	Session(ctx context.Context, id fleet.SessionID) (fleet.Session, error)
	SessionsOf(ctx context.Context, id fleet.UserID) ([]fleet.Session, error)
	DeleteSession(ctx context.Context, actor fleet.Actor, id fleet.SessionID) error
	DeleteSessionsOf(ctx context.Context, actor fleet.Actor, id fleet.UserID) error
}

// Hosts finds and removes hosts. An unknown host is KindNotFound.
type Hosts interface {
	List(ctx context.Context, f fleet.HostFilter) ([]fleet.Host, fleet.PageMeta, error)
	Count(ctx context.Context, f fleet.HostFilter) (int, error)
	Host(ctx context.Context, id fleet.HostID) (*fleet.HostDetail, error)
	// HostByIdentifier finds by host name, UUID or hardware serial; several
	// are KindConflict listing them.
	HostByIdentifier(ctx context.Context, identifier string) (*fleet.HostDetail, error)
	Delete(ctx context.Context, actor fleet.Actor, id fleet.HostID) error
}

// Inventories tells what hosts told about themselves.
type Inventories interface {
	// Refetch asks a host for everything anew; KindConflict when it is not
	// enrolled.
	Refetch(ctx context.Context, actor fleet.Actor, host fleet.HostID) error
	// Software lists one page, and how many versions there are in all.
	Software(ctx context.Context, f fleet.SoftwareFilter) ([]fleet.SoftwareVersion, int, fleet.PageMeta, error)
	// Certificates lists one page, and how many there are in all.
	Certificates(ctx context.Context, host fleet.HostID, page fleet.Page) ([]fleet.HostCertificate, int, fleet.PageMeta, error)
}

// Commands sends MDM commands and shows what came of them.
type Commands interface {
	Run(ctx context.Context, sender fleet.Sender, hostUUIDs []string, raw []byte) (cmd fleet.Command, failedUUIDs []string, err error)
	RunByID(ctx context.Context, sender fleet.Sender, ids []fleet.HostID, raw []byte) (fleet.Command, []string, error)
	// Results shows one command; an unknown one is KindNotFound.
	Results(ctx context.Context, reader fleet.Sender, commandUUID string, hostIdentifier string) ([]fleet.CommandResult, error)
	List(ctx context.Context, f fleet.CommandFilter, hostIdentifier string) ([]fleet.CommandResult, fleet.PageMeta, error)
}

// Actions does things to hosts as a whole. An unknown host is KindNotFound.
type Actions interface {
	Do(ctx context.Context, actor fleet.Actor, ask fleet.ActionAsk) (fleet.ActionResult, error)
	// Admit asks the brake about what the caller does itself; a request comes
	// back when it is held, and nothing is to be done then.
	Admit(ctx context.Context, actor fleet.Actor, kind fleet.ActionKind, hosts []fleet.HostID, bare bool) (*fleet.ActionRequest, error)
	// AdmitDelete is Admit of a deletion; without force one of a locked host is
	// KindConflict.
	AdmitDelete(ctx context.Context, actor fleet.Actor, hosts []fleet.HostID, force bool) (*fleet.ActionRequest, error)
	// Archived shows the secrets of devices whose host was deleted or enrolled
	// anew, and records who asked.
	Archived(ctx context.Context, actor fleet.Actor, serial string) ([]fleet.ArchivedSecret, error)
	// Reveal shows a secret of a host and records who asked.
	Reveal(ctx context.Context, actor fleet.Actor, host fleet.HostID, kind fleet.RevealKind) (fleet.Revealed, error)
	Cancel(ctx context.Context, actor fleet.Actor, host fleet.HostID, commandUUID string) error
	Requests(ctx context.Context, phases []fleet.ActionPhase, page fleet.Page) ([]fleet.ActionRequest, fleet.PageMeta, error)
	// Decide approves (ActionDone), denies (ActionDenied) or takes back
	// (ActionUndone) a request.
	Decide(ctx context.Context, v fleet.Viewer, uuid string, what fleet.ActionPhase) (fleet.ActionRequest, error)
}

// Enrollments keeps enrollment entities and makes profiles from them.
type Enrollments interface {
	CreateProfile(ctx context.Context, actor fleet.Actor, name string, kind fleet.EnrollmentKind) (fleet.EnrollmentProfile, error)
	Profiles(ctx context.Context) ([]fleet.EnrollmentProfile, error)
	DeleteProfile(ctx context.Context, actor fleet.Actor, id fleet.EnrollmentProfileID) error
	// Mobileconfig mints a one-time challenge and returns the profile. id 0:
	// the default manual enrollment, created on first use.
	Mobileconfig(ctx context.Context, actor fleet.Actor, id fleet.EnrollmentProfileID, signed bool) ([]byte, error)
	// MobileconfigByToken does it for whoever knows the entity's token; an
	// unknown token is KindNotFound.
	MobileconfigByToken(ctx context.Context, token string, address string, signed bool) ([]byte, error)
	// TurnOff ends a host's enrollment; KindConflict when it has none.
	TurnOff(ctx context.Context, actor fleet.Actor, host fleet.HostID) error
}

// Push keeps the APNs certificate.
type Push interface {
	// Certificate is KindNotFound when there is none.
	Certificate(ctx context.Context) (*fleet.PushCertificate, error)
	// RequestCSR makes a key and returns the file to upload at Apple's portal;
	// without a signer it is the bare request in PEM form, which an MDM vendor
	// must countersign first.
	RequestCSR(ctx context.Context, actor fleet.Actor) (file []byte, err error)
	// SetCertificate stores the certificate. keyPEM empty: the key of the
	// last RequestCSR. A changed topic is KindConflict naming how many devices
	// are lost, unless forced.
	SetCertificate(ctx context.Context, actor fleet.Actor, certPEM, keyPEM []byte, force bool) (*fleet.PushCertificate, error)
	DeleteCertificate(ctx context.Context, actor fleet.Actor) error
}

// Settings keeps the organization's settings.
type Settings interface {
	Settings(ctx context.Context) (fleet.Settings, error)
	// Update applies the change and returns what came out; with dryRun
	// nothing is stored.
	Update(ctx context.Context, actor fleet.Actor, change func(*fleet.Settings) error, dryRun bool) (fleet.Settings, error)
}

// Teams keeps teams and who is in which. An unknown team is KindNotFound.
type Teams interface {
	List(ctx context.Context, page fleet.Page, query string) ([]fleet.Team, fleet.PageMeta, error)
	Team(ctx context.Context, id fleet.TeamID) (*fleet.Team, error)
	TeamByName(ctx context.Context, name string) (*fleet.Team, error)
	// Names leaves out teams that do not exist.
	Names(ctx context.Context, ids []fleet.TeamID) (map[fleet.TeamID]string, error)
	Create(ctx context.Context, actor fleet.Actor, team fleet.Team) (*fleet.Team, error)
	Update(ctx context.Context, actor fleet.Actor, id fleet.TeamID, change func(*fleet.Team) error, dry bool) (*fleet.Team, error)
	// Apply creates and changes teams by name; with dry it only checks.
	Apply(ctx context.Context, actor fleet.Actor, specs []fleet.TeamSpec, dry bool) (map[string]fleet.TeamID, error)
	Delete(ctx context.Context, actor fleet.Actor, id fleet.TeamID) error
	// Transfer moves hosts. expected, if not negative, must be their number.
	Transfer(ctx context.Context, actor fleet.Actor, team fleet.TeamID, hosts []fleet.HostID, expected int) error
	TransferByFilter(ctx context.Context, actor fleet.Actor, team fleet.TeamID, f fleet.HostFilter, expected int) (int, error)
	// Select refuses a filter that selects by nothing.
	Select(ctx context.Context, f fleet.HostFilter) ([]fleet.HostID, error)
}

// EnrollSecrets are the secrets by which agents join a team.
type EnrollSecrets interface {
	Secrets(ctx context.Context, team fleet.TeamID) ([]fleet.EnrollSecret, error)
	// Check refuses what Set would; a negative team is one that is to come.
	Check(ctx context.Context, team fleet.TeamID, secrets []string) error
	Set(ctx context.Context, actor fleet.Actor, team fleet.TeamID, secrets []string) ([]fleet.EnrollSecret, error)
}

// Labels keeps labels and their members. An unknown label is KindNotFound.
type Labels interface {
	List(ctx context.Context, page fleet.Page, withCounts bool) ([]fleet.Label, fleet.PageMeta, error)
	Label(ctx context.Context, id fleet.LabelID) (*fleet.Label, error)
	LabelByName(ctx context.Context, name string) (*fleet.Label, error)
	Create(ctx context.Context, actor fleet.Actor, label fleet.Label, members []fleet.HostID) (*fleet.Label, error)
	Update(ctx context.Context, actor fleet.Actor, id fleet.LabelID, change func(*fleet.Label) error, members *[]fleet.HostID) (*fleet.Label, error)
	Apply(ctx context.Context, actor fleet.Actor, specs []fleet.LabelSpec, dry bool) error
	Delete(ctx context.Context, actor fleet.Actor, id fleet.LabelID) error
	SetHostLabels(ctx context.Context, actor fleet.Actor, host fleet.HostID, names []string, member bool) error
	// Resolve finds hosts by serial, UUID or name.
	Resolve(ctx context.Context, identifiers []string) ([]fleet.HostID, error)
}

// Profiles keeps configuration profiles, declarations and custom secrets, and
// tells what became of them on hosts. An unknown item is KindNotFound.
type Profiles interface {
	Create(ctx context.Context, actor fleet.Actor, team fleet.TeamID, u fleet.ProfileUpload) (*fleet.Item, error)
	Replace(ctx context.Context, actor fleet.Actor, uuid string, u fleet.ProfileUpload) (*fleet.Item, error)
	Delete(ctx context.Context, actor fleet.Actor, uuid string) error
	Item(ctx context.Context, uuid string) (*fleet.Item, error)
	ItemByID(ctx context.Context, id fleet.ItemID) (*fleet.Item, error)
	List(ctx context.Context, f fleet.ItemFilter) ([]*fleet.Item, fleet.PageMeta, error)
	Content(ctx context.Context, uuid string) (*fleet.Item, []byte, error)
	// Set replaces a scope's items, all together; with dry it only says what
	// it would do.
	Set(ctx context.Context, actor fleet.Actor, team fleet.TeamID, uploads []fleet.ProfileUpload, o fleet.ItemSetOptions) ([]fleet.ItemChange, error)
	Steer(ctx context.Context, actor fleet.Actor, uuid, action, why string) (*fleet.Item, error)

	Summary(ctx context.Context, team fleet.TeamID) (fleet.ItemStatusCounts, error)
	ItemStatus(ctx context.Context, uuid string) (fleet.ItemStatusCounts, error)
	HostsOf(ctx context.Context, uuid string, f fleet.ItemHostFilter) ([]fleet.ItemHost, fleet.PageMeta, error)
	HostItems(ctx context.Context, host fleet.HostID) ([]fleet.HostItemDetail, error)
	Resend(ctx context.Context, actor fleet.Actor, host fleet.HostID, uuid string) error
	ResendFailed(ctx context.Context, actor fleet.Actor, uuid, match string) error

	Variables(ctx context.Context) ([]fleet.Variable, error)
	SetVariables(ctx context.Context, actor fleet.Actor, values map[string]string, dry bool) ([]string, error)
	DeleteVariable(ctx context.Context, actor fleet.Actor, name string) error
}

package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

// ServerTokens keeps server tokens of Apple's device enrollment service. An
// unknown token is KindNotFound.
type ServerTokens interface {
	// PublicKey is the certificate to upload at Apple, in PEM form.
	PublicKey(ctx context.Context) ([]byte, error)
	List(ctx context.Context) ([]fleet.ServerToken, error)
	// Add stores a token that Apple takes; enrollment 0: a new one.
	Add(ctx context.Context, actor fleet.Actor, u fleet.ServerTokenUpload, enrollment fleet.EnrollmentProfileID) (fleet.ServerToken, error)
	// Renew replaces one; a token of another server is KindConflict unless
	// forced.
	Renew(ctx context.Context, actor fleet.Actor, id fleet.ServerTokenID, u fleet.ServerTokenUpload, force bool) (fleet.ServerToken, error)
	SetTeams(ctx context.Context, actor fleet.Actor, id fleet.ServerTokenID, teams map[fleet.Platform]fleet.TeamID) (fleet.ServerToken, error)
	Delete(ctx context.Context, actor fleet.Actor, id fleet.ServerTokenID) error
	// Resync reads the full list anew.
	Resync(ctx context.Context, actor fleet.Actor, id fleet.ServerTokenID) error
	Devices(ctx context.Context, f fleet.DEPFilter) ([]fleet.DEPRecord, fleet.PageMeta, error)
	// Assigned tells which hosts Apple assigns to this server; true: their
	// enrollment profile could not be assigned.
	Assigned(ctx context.Context, hosts []fleet.HostID) (map[fleet.HostID]bool, error)
}

// SetupAssistants keeps the teams' enrollment profiles for Setup Assistant.
type SetupAssistants interface {
	Assistant(ctx context.Context, team fleet.TeamID) (*fleet.SetupAssistant, error)
	Default() (*fleet.SetupAssistant, error)
	Set(ctx context.Context, actor fleet.Actor, team fleet.TeamID, name string, body []byte) (*fleet.SetupAssistant, []string, error)
	Delete(ctx context.Context, actor fleet.Actor, team fleet.TeamID) error
}

func (a *api) serverTokenRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "~/mdm/apple/abm_public_key", permission: abmWrite, id: "getServerTokenPublicKey",
			summary: "Show the certificate to upload at Apple, for which Apple encrypts server tokens", bind: handle(a.abmPublicKey)},
		{method: http.MethodGet, path: "~/abm_tokens", also: []string{"~/ab_tokens"}, permission: abmRead, id: "listServerTokens", strict: true,
			summary: "List the server tokens of Apple's device enrollment service", bind: handle(a.listServerTokens)},
		{method: http.MethodGet, path: "~/abm_tokens/count", also: []string{"~/ab_tokens/count"}, permission: abmRead, id: "countServerTokens", strict: true,
			summary: "Count the server tokens", bind: handle(a.countServerTokens)},
		{method: http.MethodPost, path: "~/abm_tokens", also: []string{"~/ab_tokens"}, permission: abmWrite, id: "addServerToken", bodyBytes: uploadBytes, multipart: true,
			summary: "Add a server token: the .p7m file that Apple gave, which is tried at Apple first", bind: handle(a.addServerToken)},
		{method: http.MethodPatch, path: "~/abm_tokens/{id}/renew", also: []string{"~/ab_tokens/{id}/renew"}, permission: abmWrite, id: "renewServerToken",
			bodyBytes: uploadBytes, multipart: true,
			summary: "Put a newer server token of the same server in the place of one", bind: handle(a.renewServerToken)},
		{method: http.MethodPatch, path: "~/abm_tokens/{id}/teams", also: []string{"~/ab_tokens/{id}/teams", "~/ab_tokens/{id}/fleets"}, permission: abmWrite,
			id: "setServerTokenTeams", summary: "Say which teams new devices join", bind: handle(a.setServerTokenTeams)},
		{method: http.MethodDelete, path: "~/abm_tokens/{id}", also: []string{"~/ab_tokens/{id}"}, permission: abmWrite, id: "deleteServerToken",
			status: http.StatusNoContent, summary: "Delete a server token; hosts stay, those that only waited to enroll are pending no more", bind: handle(a.deleteServerToken)},
		{method: http.MethodPost, path: "~/abm_tokens/{id}/resync", also: []string{"~/ab_tokens/{id}/resync"}, permission: abmSync, id: "resyncServerToken",
			status: http.StatusAccepted, summary: "Read all devices of a server token from Apple anew", bind: handle(a.resyncServerToken)},
		{method: http.MethodGet, path: "~/abm", also: []string{"~/mdm/apple_bm"}, permission: abmRead, id: "getAppleBM", deprecated: true,
			summary: "Show the only server token", bind: handle(a.appleBM)},
		{method: http.MethodGet, path: "~/mdm/apple/dep/devices", permission: hostsList, id: "listDEPDevices", strict: true,
			summary: "List devices that Apple assigned to this server, and what became of their enrollment profile, by server token and serial number", bind: handle(a.depDevices)},
		{method: http.MethodPost, path: "~/enrollment_profiles/automatic", also: []string{"~/mdm/apple/enrollment_profile"}, permission: enrollmentsWrite,
			id: "setSetupAssistant", summary: "Set the enrollment profile that Setup Assistant gets for a team's devices; Apple checks it first, or a warning says why it did not", bind: handle(a.setAssistant)},
		{method: http.MethodGet, path: "~/enrollment_profiles/automatic", also: []string{"~/mdm/apple/enrollment_profile"}, permission: enrollmentsRead,
			id: "getSetupAssistant", strict: true, summary: "Show the enrollment profile of a team for Setup Assistant", bind: handle(a.getAssistant)},
		{method: http.MethodGet, path: "~/enrollment_profiles/automatic/default", permission: enrollmentsRead, id: "getDefaultSetupAssistant",
			summary: "Show the enrollment profile of teams that have none of their own", bind: handle(a.defaultAssistant)},
		{method: http.MethodDelete, path: "~/enrollment_profiles/automatic", also: []string{"~/mdm/apple/enrollment_profile"}, permission: enrollmentsWrite,
			id: "deleteSetupAssistant", status: http.StatusNoContent, summary: "Give a team the default enrollment profile again", bind: handle(a.deleteAssistant)},
	}
}

func (a *api) abmPublicKey(ctx context.Context, _ *noInput) (*body[apiv1.PublicKeyResponse], error) {
	pem, err := a.serverTokens.PublicKey(ctx)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.PublicKeyResponse{PublicKey: pem}), nil
}

// shownTokens are tokens as clients see them.
func (a *api) shownTokens(ctx context.Context, list []fleet.ServerToken) ([]apiv1.ServerToken, error) {
	var ids []fleet.TeamID
	for _, t := range list {
		for _, team := range t.Sync.Teams {
			ids = append(ids, team)
		}
	}
	names, err := a.teams.Names(ctx, ids)
	if err != nil {
		return nil, err
	}
	settings, err := a.settings.Settings(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]apiv1.ServerToken, 0, len(list))
	for _, t := range list {
		team := func(p fleet.Platform) apiv1.ServerTeam {
			id := t.Sync.Teams[p]
			if id == fleet.NoTeam {
				return apiv1.ServerTeam{Name: "No team"}
			}
			return apiv1.ServerTeam{TeamID: int64(id), Name: names[id]}
		}
		out = append(out, apiv1.ServerToken{ID: int64(t.Sync.TokenID), AppleID: t.Account.AdminID, OrgName: t.Account.OrgName,
			MDMServerURL: settings.AppleBase(), RenewDate: t.Sync.Expiry.UTC(), TermsExpired: t.Sync.Error == fleet.DEPTerms,
			MacOSTeam: team(fleet.PlatformDarwin), IOSTeam: team(fleet.PlatformIOS), IPadOSTeam: team(fleet.PlatformIPadOS),
			ServerName: t.Account.ServerName, ServerUUID: t.Account.ServerUUID, CreatedAt: t.CreatedAt.UTC(), Sync: apiv1.ServerSyncInfo{
				Phase: phaseName(t.Sync.Phase), LastSyncedAt: timeOrNull(t.Sync.OKAt), LastFullAt: timeOrNull(t.Sync.FullAt),
				NextAt: timeOrNull(t.Sync.NextAt), Error: t.Sync.Reason}})
	}
	return out, nil
}

// businessManagers are the tokens in the shape of the configuration.
func (a *api) businessManagers(ctx context.Context, tokens []fleet.ServerToken) ([]apiv1.BusinessManager, error) {
	shown, err := a.shownTokens(ctx, tokens)
	out := make([]apiv1.BusinessManager, 0, len(shown))
	for _, t := range shown {
		out = append(out, apiv1.BusinessManager{OrganizationName: t.OrgName, MacOSTeam: t.MacOSTeam.Name, IOSTeam: t.IOSTeam.Name, IPadOSTeam: t.IPadOSTeam.Name})
	}
	return out, err
}

func phaseName(p fleet.DEPPhase) string {
	switch p {
	case fleet.DEPFetch:
		return "fetch"
	case fleet.DEPSweep:
		return "sweep"
	case fleet.DEPFollow:
	}
	return "sync"
}

func (a *api) oneToken(ctx context.Context, t fleet.ServerToken, err error) (*body[apiv1.ServerTokenResponse], error) {
	if err != nil {
		return nil, err
	}
	list, err := a.shownTokens(ctx, []fleet.ServerToken{t})
	if err != nil {
		return nil, err
	}
	return reply(apiv1.ServerTokenResponse{ABMToken: list[0], ABToken: list[0]}), nil
}

func (a *api) listServerTokens(ctx context.Context, _ *noInput) (*body[apiv1.ServerTokensResponse], error) {
	list, err := a.serverTokens.List(ctx)
	if err != nil {
		return nil, err
	}
	shown, err := a.shownTokens(ctx, list)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.ServerTokensResponse{ABMTokens: shown, ABTokens: shown}), nil
}

func (a *api) countServerTokens(ctx context.Context, _ *noInput) (*body[apiv1.CountResponse], error) {
	list, err := a.serverTokens.List(ctx)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.CountResponse{Count: len(list)}), nil
}

// tokenForm is a server token as a file.
type tokenForm struct {
	Token        huma.FormFile `form:"token" required:"false" doc:"The .p7m file that Apple gave"`
	Certificate  huma.FormFile `form:"certificate" required:"false" doc:"In PEM form, of the key below"`
	PrivateKey   huma.FormFile `form:"private_key" required:"false" doc:"The key that the token was encrypted to, in PEM form; the server's own unless given"`
	EnrollmentID int64         `form:"enrollment_id" required:"false" doc:"The automatic enrollment that the token's devices come in through; a new one unless given"`
}

func (f *tokenForm) upload() (fleet.ServerTokenUpload, error) {
	var u fleet.ServerTokenUpload
	if !f.Token.IsSet {
		return u, fleet.FieldErrorf(fleet.KindInvalid, "token", "must be the .p7m file that Apple gave")
	}
	for _, part := range []struct {
		file huma.FormFile
		to   *[]byte
	}{{f.Token, &u.File}, {f.Certificate, &u.CertPEM}, {f.PrivateKey, &u.KeyPEM}} {
		if !part.file.IsSet {
			continue
		}
		data, err := io.ReadAll(part.file) // bounded with the request
		if err != nil {
			return u, fmt.Errorf("read upload: %w", err)
		}
		*part.to = data
	}
	return u, nil
}

type addServerTokenInput struct {
	RawBody huma.MultipartFormFiles[tokenForm]
}

func (a *api) addServerToken(ctx context.Context, in *addServerTokenInput) (*body[apiv1.ServerTokenResponse], error) {
	form := in.RawBody.Data()
	u, err := form.upload()
	if err != nil {
		return nil, err
	}
	t, err := a.serverTokens.Add(ctx, actorOf(ctx), u, fleet.EnrollmentProfileID(form.EnrollmentID))
	return a.oneToken(ctx, t, err)
}

type renewServerTokenInput struct {
	IDInput
	Force   bool `query:"force" doc:"Take the token of another server: its devices replace those of the present one"`
	RawBody huma.MultipartFormFiles[tokenForm]
}

func (a *api) renewServerToken(ctx context.Context, in *renewServerTokenInput) (*body[apiv1.ServerTokenResponse], error) {
	u, err := in.RawBody.Data().upload()
	if err != nil {
		return nil, err
	}
	t, err := a.serverTokens.Renew(ctx, actorOf(ctx), fleet.ServerTokenID(in.ID), u, in.Force)
	return a.oneToken(ctx, t, err)
}

type serverTokenTeamsInput struct {
	IDInput
	RawBody []byte
	Body    apiv1.ServerTokenTeams
}

func (a *api) setServerTokenTeams(ctx context.Context, in *serverTokenTeamsInput) (*body[apiv1.ServerTokenResponse], error) {
	if err := refuseUnknown[apiv1.ServerTokenTeams](in.RawBody); err != nil {
		return nil, err
	}
	b := in.Body
	teams := map[fleet.Platform]fleet.TeamID{}
	for p, ids := range map[fleet.Platform][2]*int64{fleet.PlatformDarwin: {b.MacOSTeamID, b.MacOSFleetID}, fleet.PlatformIOS: {b.IOSTeamID, b.IOSFleetID},
		fleet.PlatformIPadOS: {b.IPadOSTeamID, b.IPadOSFleetID}} {
		team, err := oneTeam(ids[0], ids[1])
		if err != nil {
			return nil, err
		}
		teams[p] = team
	}
	t, err := a.serverTokens.SetTeams(ctx, actorOf(ctx), fleet.ServerTokenID(in.ID), teams)
	return a.oneToken(ctx, t, err)
}

func (a *api) deleteServerToken(ctx context.Context, in *IDInput) (*struct{}, error) {
	return nil, a.serverTokens.Delete(ctx, actorOf(ctx), fleet.ServerTokenID(in.ID))
}

func (a *api) resyncServerToken(ctx context.Context, in *IDInput) (*body[apiv1.Empty], error) {
	if err := a.serverTokens.Resync(ctx, actorOf(ctx), fleet.ServerTokenID(in.ID)); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

func (a *api) appleBM(ctx context.Context, _ *noInput) (*body[apiv1.AppleBM], error) {
	list, err := a.serverTokens.List(ctx)
	if err != nil {
		return nil, err
	}
	switch len(list) {
	case 0:
		return nil, fleet.Errorf(fleet.KindNotFound, "there is no server token: make a key with `muster generate mdm-apple-bm`, get a token from Apple, and upload it")
	case 1:
	default:
		return nil, fleet.Errorf(fleet.KindBadRequest, "there are %d server tokens: list them with abm_tokens", len(list))
	}
	shown, err := a.shownTokens(ctx, list)
	if err != nil {
		return nil, err
	}
	t := shown[0]
	return reply(apiv1.AppleBM{AppleID: t.AppleID, OrgName: t.OrgName, MDMServerURL: t.MDMServerURL, RenewDate: t.RenewDate, DefaultTeam: t.MacOSTeam.Name}), nil
}

type depDevicesInput struct {
	NumberedInput
	TokenID      int64  `query:"abm_token_id" minimum:"0" doc:"Devices of this server token only"`
	EnrollmentID int64  `query:"enrollment_id" minimum:"0" doc:"Devices of the server token of this enrollment only"`
	Serials      string `query:"serial_number" maxLength:"4000" doc:"These devices only, separated by commas"`
	Deleted      bool   `query:"include_deleted" doc:"Devices too that were taken from this server at Apple"`
}

func (a *api) depDevices(ctx context.Context, in *depDevicesInput) (*body[apiv1.DEPDevicesResponse], error) {
	page, err := a.page(PageInput{Page: in.Page, PerPage: in.PerPage})
	if err != nil {
		return nil, err
	}
	f := fleet.DEPFilter{Page: page, Token: fleet.ServerTokenID(in.TokenID), Deleted: in.Deleted}
	if in.EnrollmentID != 0 {
		if f.Token, err = a.tokenOfEnrollment(ctx, fleet.EnrollmentProfileID(in.EnrollmentID)); err != nil {
			return nil, err
		}
	}
	if err := a.checkServerToken(ctx, f.Token); err != nil {
		return nil, err
	}
	for serial := range strings.SplitSeq(in.Serials, ",") {
		if serial = strings.TrimSpace(serial); serial != "" {
			f.Serials = append(f.Serials, serial)
		}
	}
	list, meta, err := a.serverTokens.Devices(ctx, f)
	if err != nil {
		return nil, err
	}
	out := apiv1.DEPDevicesResponse{Devices: make([]apiv1.DEPDevice, 0, len(list)), Meta: toMeta(meta)}
	for i := range list {
		out.Devices = append(out.Devices, toDEPDevice(&list[i]))
	}
	return reply(out), nil
}

// checkServerToken refuses a token that is not there; 0: any.
func (a *api) checkServerToken(ctx context.Context, id fleet.ServerTokenID) error {
	if id == 0 {
		return nil
	}
	list, err := a.serverTokens.List(ctx)
	if err == nil && !slices.ContainsFunc(list, func(t fleet.ServerToken) bool { return t.Sync.TokenID == id }) {
		err = fleet.FieldErrorf(fleet.KindNotFound, "abm_token_id", "there is no server token %d", id)
	}
	return err
}

// tokenOfEnrollment is the server token of an automatic enrollment.
func (a *api) tokenOfEnrollment(ctx context.Context, id fleet.EnrollmentProfileID) (fleet.ServerTokenID, error) {
	profiles, err := a.enrollments.Profiles(ctx)
	if err != nil {
		return 0, err
	}
	for _, p := range profiles {
		switch {
		case p.ID != id:
		case p.Kind != fleet.EnrollmentADE:
			return 0, fleet.FieldErrorf(fleet.KindInvalid, "enrollment_id", "enrollment %d (%s) is manual: only automatic ones have devices at Apple", id, p.Name)
		case p.ServerTokenID == 0:
			return 0, fleet.FieldErrorf(fleet.KindInvalid, "enrollment_id", "enrollment %d (%s) has no server token yet", id, p.Name)
		default:
			return p.ServerTokenID, nil
		}
	}
	return 0, fleet.FieldErrorf(fleet.KindNotFound, "enrollment_id", "there is no enrollment %d", id)
}

func toDEPDevice(r *fleet.DEPRecord) apiv1.DEPDevice {
	d := &r.Device
	out := apiv1.DEPDevice{SerialNumber: d.Serial, Model: d.Model, Description: d.Description, Color: d.Color, AssetTag: d.AssetTag,
		DeviceFamily: d.Family, OS: d.OS, ProfileStatus: d.ProfileStatus, ProfileUUID: d.ProfileUUID, ServerTokenID: int64(r.TokenID),
		WantedProfile: r.Want, Assignment: assignmentOf(r), LastTriedAt: timeOrNull(r.Assign.At), Failures: r.Assign.Failures,
		AssignedDate: timeOrNull(d.AssignedDate), AssignedBy: d.AssignedBy, DeletedAt: timeOrNull(r.DeletedAt), MigrateUntil: timeOrNull(d.MigrationDeadline)}
	if r.HostID != 0 {
		id := int64(r.HostID)
		out.HostID = &id
	}
	if out.Assignment != "assigned" && out.Assignment != "pushed" {
		out.NextTryAt = timeOrNull(r.Assign.NextAt)
	}
	return out
}

// assignmentOf says in one word how far a device's profile came.
func assignmentOf(r *fleet.DEPRecord) string {
	_, managed := r.Device.Platform()
	switch {
	case !r.DeletedAt.IsZero():
		return "removed"
	case !managed:
		return "not_managed"
	case r.Want != "" && r.Device.Profile() == r.Want && r.Device.ProfileStatus == "pushed":
		return "pushed"
	case r.Want != "" && r.Device.Profile() == r.Want:
		return "assigned"
	case r.Assign.Held:
		return "not_accessible"
	case r.Assign.Tried != r.Want && r.Assign.Result != fleet.DEPThrottled:
		return "pending"
	case r.Assign.Result == fleet.DEPThrottled:
		return "throttled"
	case r.Assign.Result == fleet.DEPFailed:
		return "failed"
	}
	return "pending"
}

// assistantInput names a team.
type assistantInput struct{ ScopeInput }

func toAssistant(v *fleet.SetupAssistant, warnings []string) *body[apiv1.SetupAssistant] {
	out := apiv1.SetupAssistant{Name: v.Name, UploadedAt: v.UploadedAt.UTC(), EnrollmentProfile: json.RawMessage(v.Body), Warnings: warnings}
	if v.TeamID != fleet.NoTeam {
		id := int64(v.TeamID)
		out.TeamID = &id
	}
	return reply(out)
}

func (a *api) setAssistant(ctx context.Context, in *body[apiv1.SetupAssistantRequest]) (*body[apiv1.SetupAssistant], error) {
	team, err := oneTeam(in.Body.TeamID, in.Body.FleetID)
	if err != nil {
		return nil, err
	}
	if err := a.checkTeam(ctx, team); err != nil {
		return nil, err
	}
	v, warnings, err := a.assistants.Set(ctx, actorOf(ctx), team, in.Body.Name, in.Body.EnrollmentProfile)
	if err != nil {
		return nil, err
	}
	return toAssistant(v, warnings), nil
}

func (a *api) getAssistant(ctx context.Context, in *assistantInput) (*body[apiv1.SetupAssistant], error) {
	team, err := a.scope(ctx, in.ScopeInput)
	if err != nil {
		return nil, err
	}
	v, err := a.assistants.Assistant(ctx, team)
	if err != nil {
		return nil, err
	}
	return toAssistant(v, nil), nil
}

func (a *api) defaultAssistant(context.Context, *noInput) (*body[apiv1.SetupAssistant], error) {
	v, err := a.assistants.Default()
	if err != nil {
		return nil, err
	}
	return toAssistant(v, nil), nil
}

func (a *api) deleteAssistant(ctx context.Context, in *assistantInput) (*struct{}, error) {
	team, err := a.scope(ctx, in.ScopeInput)
	if err != nil {
		return nil, err
	}
	return nil, a.assistants.Delete(ctx, actorOf(ctx), team)
}

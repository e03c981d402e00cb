package httpapi

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Packages keeps the teams' bootstrap packages.
type Packages interface {
	MaxBytes() int64
	// Vacant is KindConflict when the team has one.
	Vacant(ctx context.Context, team fleet.TeamID) error
	// Receive stores and checks one as it arrives; it is given to Accept or to
	// Drop.
	Receive(ctx context.Context, name string, from io.Reader) (*fleet.BootstrapPackage, error)
	// Accept is KindConflict when the team has one that is not to be replaced.
	Accept(ctx context.Context, actor fleet.Actor, team fleet.TeamID, p *fleet.BootstrapPackage, replace bool) error
	Drop(ctx context.Context, p *fleet.BootstrapPackage) error
	// Package and ByToken are KindNotFound when there is none.
	Package(ctx context.Context, team fleet.TeamID) (*fleet.BootstrapPackage, error)
	ByToken(ctx context.Context, token string) (*fleet.BootstrapPackage, error)
	Content(ctx context.Context, p *fleet.BootstrapPackage) io.ReadSeeker
	Manifest(ctx context.Context, token string) ([]byte, error)
	Delete(ctx context.Context, actor fleet.Actor, team fleet.TeamID) error
	// InstallCommand is the MDM command that installs a team's package.
	InstallCommand(ctx context.Context, team fleet.TeamID) ([]byte, error)
	Summary(ctx context.Context, team fleet.TeamID) (fleet.PackageSummary, error)
	// Names are the file names of all teams' packages.
	Names(ctx context.Context) (map[fleet.TeamID]string, error)
}

// Bounds of transfers of packages.
const (
	// packageTime is how long a package may take to arrive, or to be fetched.
	packageTime = time.Hour
	// packageRoom is what a form may have beside the package.
	packageRoom = 2*fleet.PackagePiece + 1<<16
	maxIDText   = 20
)

func (a *api) packageRoutes() []route {
	old := func(rest string) []string { return []string{"~/mdm/bootstrap" + rest, "~/mdm/apple/bootstrap" + rest} }
	return []route{
		{method: http.MethodPost, path: "~/bootstrap", also: old(""), permission: packagesWrite, id: "uploadBootstrapPackage", form: packageFormSchema(),
			summary: "Upload the installer package that Macs of a team get while they wait in Setup Assistant: a distribution that is signed", bind: handle(a.uploadPackage)},
		{method: http.MethodGet, path: "~/bootstrap", also: old(""), permission: Open, id: "downloadBootstrapPackage",
			summary: "Download a bootstrap package by its token, or a part of it", file: packageType, bind: handle(a.downloadPackage)},
		{method: http.MethodGet, path: "~/bootstrap/{team_id}/metadata", also: old("/{team_id}/metadata"), permission: packagesRead, id: "getBootstrapPackage",
			summary: "Show a team's bootstrap package; team 0: that of hosts without a team", bind: handle(a.packageMetadata)},
		{method: http.MethodDelete, path: "~/bootstrap/{team_id}", also: old("/{team_id}"), permission: packagesWrite, id: "deleteBootstrapPackage",
			summary: "Delete a team's bootstrap package: Macs that were told of it do not find it any more", bind: handle(a.deletePackage)},
		{method: http.MethodPost, path: "~/bootstrap/{team_id}/install", permission: commandsRun, id: "installBootstrapPackage", bodyBytes: hostsBytes,
			summary: "Install a team's package on Macs now, of whatever team and whenever they enrolled", bind: handle(a.installPackage)},
		{method: http.MethodGet, path: "~/bootstrap/summary", also: old("/summary"), permission: hostsList, id: "getBootstrapPackageSummary", strict: true,
			summary: "Count a team's hosts by what became of their bootstrap package", bind: handle(a.packageSummary)},
		{method: http.MethodGet, path: "/api/mdm/apple/bootstrap/manifest", permission: Open, id: "getBootstrapPackageManifest",
			summary: "Tell a Mac where a bootstrap package is, by its token", file: manifestType, bind: handle(a.packageManifest)},
	}
}

// Types of what Macs fetch.
const (
	packageType  = "application/octet-stream"
	manifestType = "text/xml; charset=utf-8"
)

// exchange is the bare request of a route that reads its body itself.
type exchange struct {
	w http.ResponseWriter
	r *http.Request
}

type exchangeKey struct{}

func packageFormSchema() *huma.Schema {
	return &huma.Schema{Type: "object", Required: []string{"package"}, Properties: map[string]*huma.Schema{
		"package":  {Type: "string", Format: "binary", Description: "The .pkg file"},
		"team_id":  {Type: "integer", Format: "int64", Description: "0, or left out: for hosts without a team"},
		"fleet_id": {Type: "integer", Format: "int64", Description: "The newer name of team_id"},
	}}
}

// packageUpload is a form as it arrives. The package may come before its team.
type packageUpload struct {
	replace bool
	ids     [2]*int64
	got     *fleet.BootstrapPackage
}

type uploadPackageInput struct {
	Replace bool `query:"replace" doc:"Put it in the place of the one that the team has, which stays when this one is refused"`
}

func (a *api) uploadPackage(ctx context.Context, in *uploadPackageInput) (*body[apiv1.Empty], error) {
	x, ok := ctx.Value(exchangeKey{}).(exchange)
	if !ok {
		return nil, errors.New("the request did not come along")
	}
	form, err := a.openForm(x)
	if err != nil {
		return nil, err
	}
	u := packageUpload{replace: in.Replace}
	team, err := a.readPackageForm(ctx, form, &u)
	if err == nil {
		err = a.packages.Accept(ctx, actorOf(ctx), team, u.got, u.replace)
	}
	if err != nil && u.got != nil {
		err = errors.Join(err, a.packages.Drop(ctx, u.got))
	}
	if err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

// openForm lets a large form in.
func (a *api) openForm(x exchange) (*multipart.Reader, error) {
	limit := a.packages.MaxBytes() + packageRoom
	if x.r.ContentLength > limit {
		return nil, fleet.FieldErrorf(fleet.KindTooLarge, "package", "it has more than %d bytes, the most that this server takes (limits.package_bytes)", a.packages.MaxBytes())
	}
	if kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type")); err != nil || kind != "multipart/form-data" {
		return nil, fleet.Errorf(fleet.KindUnsupported, "Send the package as multipart/form-data.")
	}
	// Without it the general limit holds, which is enough for a fast line.
	_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(packageTime))
	_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(packageTime))
	x.r.Body = http.MaxBytesReader(x.w, x.r.Body, limit)
	form, err := x.r.MultipartReader()
	if err != nil {
		return nil, fleet.Errorf(fleet.KindBadRequest, "The multipart form could not be read.").WithCause(err)
	}
	return form, nil
}

func (a *api) readPackageForm(ctx context.Context, form *multipart.Reader, u *packageUpload) (fleet.TeamID, error) {
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, fleet.Errorf(fleet.KindBadRequest, "The multipart form broke off: send it again.").WithCause(err)
		}
		if err := a.readPart(ctx, part, u); err != nil {
			return 0, err
		}
	}
	if u.got == nil {
		return 0, fleet.FieldErrorf(fleet.KindBadRequest, "package", "is missing: send the file as the form's field package")
	}
	return oneTeam(u.ids[0], u.ids[1])
}

func (a *api) readPart(ctx context.Context, part *multipart.Part, u *packageUpload) error {
	switch name := part.FormName(); name {
	case "team_id":
		return readID(part, &u.ids[0])
	case "fleet_id":
		return readID(part, &u.ids[1])
	case "package":
		if u.got != nil {
			return fleet.FieldErrorf(fleet.KindBadRequest, name, "is there twice")
		}
		if err := a.mayUpload(ctx, u); err != nil {
			return err
		}
		var err error
		u.got, err = a.packages.Receive(ctx, part.FileName(), part)
		return err
	default:
		return refuseKeys([]unknownKey{{name: name, nearest: nearestPath("", name, []string{"package", "team_id", "fleet_id"})}})
	}
}

// mayUpload refuses before the package comes what would be refused after it.
func (a *api) mayUpload(ctx context.Context, u *packageUpload) error {
	if u.ids[0] == nil && u.ids[1] == nil {
		return nil // the team may follow
	}
	team, err := oneTeam(u.ids[0], u.ids[1])
	if err != nil {
		return err
	}
	if err := a.checkTeam(ctx, team); err != nil || u.replace {
		return err
	}
	return a.packages.Vacant(ctx, team)
}

func readID(part *multipart.Part, into **int64) error {
	text, err := io.ReadAll(io.LimitReader(part, maxIDText+1))
	if err != nil {
		return fleet.FieldErrorf(fleet.KindBadRequest, part.FormName(), "did not arrive").WithCause(err)
	}
	trimmed := strings.TrimSpace(string(text))
	if trimmed == "" {
		return nil
	}
	id, err := strconv.ParseInt(trimmed, 10, 64)
	if err != nil || id < 0 {
		return fleet.FieldErrorf(fleet.KindBadRequest, part.FormName(), "must be the id of a team, or 0")
	}
	*into = &id
	return nil
}

type packageTokenInput struct {
	Token string `query:"token" required:"true" maxLength:"100" doc:"The package's token, from its metadata"`
}

// downloadPackage answers for ranges and conditions as any file server does.
func (a *api) downloadPackage(ctx context.Context, in *packageTokenInput) (*huma.StreamResponse, error) {
	p, err := a.packages.ByToken(ctx, in.Token)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(packageTime)) // else the general limit holds
		h := w.Header()
		h.Set("Content-Type", packageType)
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": p.Name}))
		h.Set("ETag", `"`+hex.EncodeToString(p.SHA256[:])+`"`)
		h.Set("Cache-Control", "no-store")
		http.ServeContent(w, r, "", p.CreatedAt, a.packages.Content(r.Context(), p))
	}}, nil
}

type manifestOutput struct {
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	Body         []byte
}

func (a *api) packageManifest(ctx context.Context, in *packageTokenInput) (*manifestOutput, error) {
	text, err := a.packages.Manifest(ctx, in.Token)
	if err != nil {
		return nil, err
	}
	return &manifestOutput{ContentType: manifestType, CacheControl: "no-store", Body: text}, nil
}

// PackageTeamInput names the team of a package.
type PackageTeamInput struct {
	TeamID int64 `path:"team_id" minimum:"0" doc:"Id of a team; 0: hosts without a team"`
}

type packageMetadataInput struct {
	PackageTeamInput
	ForUpdate bool `query:"for_update" doc:"Has no effect"`
}

func (a *api) packageMetadata(ctx context.Context, in *packageMetadataInput) (*body[apiv1.BootstrapPackage], error) {
	p, err := a.packages.Package(ctx, fleet.TeamID(in.TeamID))
	if err != nil {
		return nil, a.noPackage(ctx, in.TeamID, err)
	}
	return reply(apiv1.BootstrapPackage{Name: p.Name, TeamID: int64(p.TeamID), SHA256: p.SHA256[:], Token: p.Token, CreatedAt: p.CreatedAt.UTC(),
		Size: p.Size, Identifier: p.Identifier, Version: p.Version, Signer: p.Signer}), nil
}

// noPackage names the team that has no package.
func (a *api) noPackage(ctx context.Context, id int64, err error) error {
	team := fleet.TeamID(id)
	if fleet.KindOf(err) != fleet.KindNotFound || team == fleet.NoTeam {
		return err
	}
	names, unread := a.teams.Names(ctx, []fleet.TeamID{team})
	switch {
	case unread != nil:
		return unread
	case names[team] == "":
		return fleet.Errorf(fleet.KindNotFound, "there is no team %d", team)
	}
	return fleet.Errorf(fleet.KindNotFound, "there is no bootstrap package of team %q", names[team])
}

func (a *api) deletePackage(ctx context.Context, in *PackageTeamInput) (*body[apiv1.Empty], error) {
	if err := a.packages.Delete(ctx, actorOf(ctx), fleet.TeamID(in.TeamID)); err != nil {
		return nil, a.noPackage(ctx, in.TeamID, err)
	}
	return reply(apiv1.Empty{}), nil
}

type installPackageInput struct {
	PackageTeamInput
	Body apiv1.InstallPackageRequest
}

func (a *api) installPackage(ctx context.Context, in *installPackageInput) (*body[apiv1.RunCommandResponse], error) {
	if err := a.checkTargets("hosts", len(in.Body.Hosts)); err != nil {
		return nil, err
	}
	raw, err := a.packages.InstallCommand(ctx, fleet.TeamID(in.TeamID))
	if err != nil {
		return nil, a.noPackage(ctx, in.TeamID, err)
	}
	ids := make([]fleet.HostID, 0, len(in.Body.Hosts))
	for _, id := range in.Body.Hosts {
		ids = append(ids, fleet.HostID(id))
	}
	command, failed, err := a.commands.RunByID(ctx, a.sender(ctx), ids, raw)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.RunCommandResponse{CommandUUID: command.UUID, RequestType: command.RequestType, Platform: string(command.Platform), FailedUUIDs: failed}), nil
}

func (a *api) packageSummary(ctx context.Context, in *ScopeInput) (*body[apiv1.BootstrapPackageSummary], error) {
	team, err := a.scope(ctx, *in)
	if err != nil {
		return nil, err
	}
	s, err := a.packages.Summary(ctx, team)
	if err != nil {
		return nil, fmt.Errorf("count bootstrap packages of team %d: %w", team, err)
	}
	return reply(apiv1.BootstrapPackageSummary{Installed: s.Installed, Pending: s.Pending, Failed: s.Failed}), nil
}

// packageStatus is the status of that name; PackageNone for none.
func packageStatus(name string) fleet.PackageStatus {
	for _, s := range []fleet.PackageStatus{fleet.PackagePending, fleet.PackageInstalled, fleet.PackageFailed} {
		if s.String() == name {
			return s
		}
	}
	return fleet.PackageNone
}

package bootstrap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/codec/xarpkg"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
)

// Paths of what Macs fetch; the token follows.
const (
	PathManifest = "/api/mdm/apple/bootstrap/manifest"
	PathPackage  = "/api/v1/fleet/bootstrap"
)

// Bounds of the work.
const (
	// unfinishedLife is how long an upload may take.
	unfinishedLife = 2 * time.Hour
	sweepBatch     = 20 // pieces removed in a transaction
	sweepRounds    = 5_000
	maxName        = 255
)

// Store keeps packages in pieces.
type Store interface {
	// Begin makes a package that nobody sees before Finish.
	Begin(ctx context.Context) (id int64, err error)
	AddPiece(ctx context.Context, id int64, n int, data []byte) error
	// Piece is nil when there is none.
	Piece(ctx context.Context, id int64, n int) ([]byte, error)
	// Finish puts a package in the place of old (nil: of none). It is
	// KindConflict when the team has another one, KindNotFound without team.
	Finish(ctx context.Context, p, old *fleet.BootstrapPackage, events ...fleet.Event) error
	Drop(ctx context.Context, id int64) error
	OfTeam(ctx context.Context, team fleet.TeamID) (*fleet.BootstrapPackage, error)
	ByToken(ctx context.Context, token string) (*fleet.BootstrapPackage, error)
	Delete(ctx context.Context, team fleet.TeamID, events ...fleet.Event) (bool, error)
	Sweep(ctx context.Context, before time.Time, limit int) (int, error)
	Summary(ctx context.Context, team fleet.TeamID) (fleet.PackageSummary, error)
	Names(ctx context.Context) (map[fleet.TeamID]string, error)
}

// Settings tells the server's URL.
type Settings interface {
	Settings(ctx context.Context) (fleet.Settings, error)
}

// Service keeps bootstrap packages.
type Service struct {
	store    Store
	settings Settings
	clock    func() time.Time
	maxBytes int64
}

// New returns the service; packages have at most maxBytes.
func New(store Store, settings Settings, clock func() time.Time, maxBytes int64) *Service {
	return &Service{store: store, settings: settings, clock: clock, maxBytes: maxBytes}
}

// MaxBytes is the size of the largest package that is taken.
func (s *Service) MaxBytes() int64 { return s.maxBytes }

// Vacant fails with KindConflict when a team has a package.
func (s *Service) Vacant(ctx context.Context, team fleet.TeamID) error {
	p, err := s.store.OfTeam(ctx, team)
	if err == nil && p != nil {
		err = fleet.Errorf(fleet.KindConflict, "there is a bootstrap package already, %s: replace it (replace=true) or delete it first", p.Name)
	}
	return err
}

// Receive stores and checks a package as it arrives. Nobody sees it before
// Accept; what is not accepted must be given to Drop. On an error there is
// nothing left to drop.
func (s *Service) Receive(ctx context.Context, name string, from io.Reader) (*fleet.BootstrapPackage, error) {
	name, err := fileName(name)
	if err != nil {
		return nil, err
	}
	id, err := s.store.Begin(ctx)
	if err != nil {
		return nil, err
	}
	p := &fleet.BootstrapPackage{ID: id, Name: name, Token: ids.Token()}
	if err = s.take(ctx, p, from); err == nil {
		err = s.check(ctx, p)
	}
	if err != nil {
		return nil, errors.Join(err, s.Drop(ctx, p))
	}
	return p, nil
}

// fileName is the name of an upload without directories.
func fileName(name string) (string, error) {
	name = path.Base(strings.ReplaceAll(strings.TrimSpace(name), `\`, "/"))
	if name == "." || name == "/" || len(name) > maxName || !utf8.ValidString(name) || !strings.EqualFold(path.Ext(name), ".pkg") {
		return "", fleet.FieldErrorf(fleet.KindInvalid, "package", "the file must be an installer package with a name that ends in .pkg")
	}
	return name, nil
}

// take stores what arrives, in pieces.
func (s *Service) take(ctx context.Context, p *fleet.BootstrapPackage, from io.Reader) error {
	whole := sha256.New()
	buf := make([]byte, fleet.PackagePiece)
	for {
		n, err := fill(from, buf)
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return fleet.FieldErrorf(fleet.KindBadRequest, "package", "the upload of %s broke off after %d bytes: send it again", p.Name, p.Size+int64(n)).WithCause(err)
		}
		if p.Size += int64(n); p.Size > s.maxBytes {
			return fleet.FieldErrorf(fleet.KindTooLarge, "package", "%s has more than %d bytes, the most that this server takes (limits.package_bytes)", p.Name, s.maxBytes)
		}
		if n > 0 {
			whole.Write(buf[:n])
			if err := s.store.AddPiece(ctx, p.ID, len(p.Pieces), buf[:n]); err != nil {
				return err
			}
			p.Pieces = append(p.Pieces, sha256.Sum256(buf[:n]))
		}
		if last {
			whole.Sum(p.SHA256[:0])
			return nil
		}
	}
}

// fill reads until buf is full or an error comes. Unlike io.ReadFull it tells
// the end of a file from an upload that broke off, which is
// io.ErrUnexpectedEOF.
func fill(from io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = from.Read(buf[n:])
		n += more
	}
	return n, err
}

// check reads the package that was stored.
func (s *Service) check(ctx context.Context, p *fleet.BootstrapPackage) error {
	out, err := xarpkg.Read(s.reader(ctx, p), p.Size)
	var internal *readError
	switch {
	case errors.As(err, &internal):
		return internal.err
	case err != nil:
		return fleet.FieldErrorf(fleet.KindInvalid, "package", "%s: %v", p.Name, err).WithCause(err)
	}
	p.Identifier, p.Version, p.Signer = out.Identifier, out.Version, out.SignerName()
	return nil
}

// Accept gives a package that was received to a team; replace: in the place of
// the one that it has.
func (s *Service) Accept(ctx context.Context, actor fleet.Actor, team fleet.TeamID, p *fleet.BootstrapPackage, replace bool) error {
	p.TeamID = team
	if !replace {
		return s.store.Finish(ctx, p, nil, s.event(fleet.EventPackageAdded, actor, p))
	}
	old, err := s.store.OfTeam(ctx, team)
	if err != nil {
		return err
	}
	var events []fleet.Event
	if old != nil {
		events = append(events, s.event(fleet.EventPackageDeleted, actor, old))
	}
	if err := s.store.Finish(ctx, p, old, append(events, s.event(fleet.EventPackageAdded, actor, p))...); err != nil || old == nil {
		return err
	}
	_ = s.Sweep(context.WithoutCancel(ctx)) // the hourly cleanup does it otherwise, and the package is in place
	return nil
}

// Drop removes a package that was received and not accepted, though the request
// is over.
func (s *Service) Drop(ctx context.Context, p *fleet.BootstrapPackage) error {
	ctx = context.WithoutCancel(ctx)
	if err := s.store.Drop(ctx, p.ID); err != nil {
		return err
	}
	return s.Sweep(ctx)
}

func (s *Service) event(kind fleet.EventKind, actor fleet.Actor, p *fleet.BootstrapPackage) fleet.Event {
	details, err := json.Marshal(map[string]any{"bootstrap_package_name": p.Name, "team_id": p.TeamID, "sha256": hex.EncodeToString(p.SHA256[:]), "signer": p.Signer})
	if err != nil {
		details = nil // plain values always marshal
	}
	return fleet.Event{Kind: kind, At: s.clock(), Actor: actor, Details: details}
}

// Package returns a team's package. KindNotFound: it has none.
func (s *Service) Package(ctx context.Context, team fleet.TeamID) (*fleet.BootstrapPackage, error) {
	p, err := s.store.OfTeam(ctx, team)
	if err == nil && p == nil {
		err = fleet.Errorf(fleet.KindNotFound, "there is no bootstrap package of %s", scopeName(team))
	}
	return p, err
}

func scopeName(team fleet.TeamID) string {
	if team == fleet.NoTeam {
		return "hosts without a team"
	}
	return fmt.Sprintf("team %d", team)
}

// ByToken returns the package of a token. KindNotFound: there is none.
func (s *Service) ByToken(ctx context.Context, token string) (*fleet.BootstrapPackage, error) {
	p, err := s.store.ByToken(ctx, token)
	if err == nil && p == nil {
		err = fleet.Errorf(fleet.KindNotFound, "there is no such package: it may have been deleted")
	}
	return p, err
}

// Delete removes a team's package. Macs that were told of it already do not
// find it any more.
func (s *Service) Delete(ctx context.Context, actor fleet.Actor, team fleet.TeamID) error {
	p, err := s.Package(ctx, team)
	if err != nil {
		return err
	}
	if _, err := s.store.Delete(ctx, team, s.event(fleet.EventPackageDeleted, actor, p)); err != nil {
		return err
	}
	return s.Sweep(context.WithoutCancel(ctx))
}

// Summary counts a team's hosts by what became of their package.
func (s *Service) Summary(ctx context.Context, team fleet.TeamID) (fleet.PackageSummary, error) {
	return s.store.Summary(ctx, team)
}

// Names are the file names of all teams' packages.
func (s *Service) Names(ctx context.Context) (map[fleet.TeamID]string, error) {
	return s.store.Names(ctx)
}

// Sweep removes the pieces of packages that are gone, and uploads that did not
// end.
func (s *Service) Sweep(ctx context.Context) error {
	before := s.clock().Add(-unfinishedLife)
	for range sweepRounds {
		n, err := s.store.Sweep(ctx, before, sweepBatch)
		if err != nil || n < sweepBatch {
			return err
		}
	}
	return nil
}

// Manifest tells a Mac where the package of a token is and what it must be.
func (s *Service) Manifest(ctx context.Context, token string) ([]byte, error) {
	p, err := s.ByToken(ctx, token)
	if err != nil {
		return nil, err
	}
	settings, err := s.settings.Settings(ctx)
	if err != nil {
		return nil, err
	}
	return manifest(p, settings.AppleBase())
}

// manifest is the answer to ManifestURL (Apple, "ManifestURL"; contracts/apple.md
// 6).
func manifest(p *fleet.BootstrapPackage, base string) ([]byte, error) {
	sums := make([]string, 0, len(p.Pieces))
	for _, s := range p.Pieces {
		sums = append(sums, hex.EncodeToString(s[:]))
	}
	// A Mac wants a bundle, and does not compare it with the package.
	identifier, version := p.Identifier, p.Version
	if identifier == "" {
		identifier = "com.muster.bootstrap." + hex.EncodeToString(p.SHA256[:4])
	}
	if version == "" {
		version = "1.0"
	}
	return plist.Marshal(map[string]any{"items": []any{map[string]any{
		"assets": []any{map[string]any{
			"kind": "software-package", "url": base + PathPackage + "?token=" + url.QueryEscape(p.Token),
			"sha256-size": fleet.PackagePiece, "sha256s": sums}},
		"metadata": map[string]any{"kind": "software", "bundle-identifier": identifier, "bundle-version": version, "title": p.Name, "sizeInBytes": p.Size},
	}}})
}

// InstallCommand is the MDM command that installs a team's package on a Mac,
// whenever it enrolled. KindNotFound: the team has none.
func (s *Service) InstallCommand(ctx context.Context, team fleet.TeamID) ([]byte, error) {
	p, err := s.Package(ctx, team)
	if err != nil {
		return nil, err
	}
	settings, err := s.settings.Settings(ctx)
	if err != nil {
		return nil, err
	}
	if settings.AppleBase() == "" {
		return nil, fleet.Errorf(fleet.KindPrecondition, "the server's URL is not set: set server_settings.server_url")
	}
	cmd, err := mdmcmd.New(ids.UUID(), "InstallEnterpriseApplication", map[string]any{"ManifestURL": ManifestURL(settings.AppleBase(), p)})
	if err != nil {
		return nil, err
	}
	return cmd.Raw, nil
}

// ManifestURL is where a Mac finds the manifest.
func ManifestURL(base string, p *fleet.BootstrapPackage) string {
	return base + PathManifest + "?token=" + url.QueryEscape(p.Token)
}

package httpapitest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Packages has one package, of hosts without a team, or none.
type Packages struct {
	Current  *fleet.BootstrapPackage
	Bytes    []byte // of Current
	Refuse   error  // of Receive
	Received int    // not accepted or dropped
}

// MaxBytes is small.
func (f *Packages) MaxBytes() int64 { return 1 << 20 }

// Vacant looks for Current.
func (f *Packages) Vacant(_ context.Context, team fleet.TeamID) error {
	if f.Current != nil && f.Current.TeamID == team {
		return fleet.Errorf(fleet.KindConflict, "there is one")
	}
	return nil
}

// Receive reads all of it.
func (f *Packages) Receive(_ context.Context, name string, from io.Reader) (*fleet.BootstrapPackage, error) {
	data, err := io.ReadAll(from)
	if err != nil {
		return nil, err
	}
	if f.Refuse != nil {
		return nil, f.Refuse
	}
	f.Received++
	f.Bytes = data
	return &fleet.BootstrapPackage{ID: 1, Name: name, Size: int64(len(data)), SHA256: sha256.Sum256(data), Token: "secret-token", Identifier: "com.acme.tools", Version: "4.2",
		Signer: "Acme", CreatedAt: Now()}, nil
}

// Accept makes it Current.
func (f *Packages) Accept(ctx context.Context, _ fleet.Actor, team fleet.TeamID, p *fleet.BootstrapPackage, replace bool) error {
	if err := f.Vacant(ctx, team); err != nil && !replace {
		return err
	}
	f.Received--
	p.TeamID = team
	f.Current = p
	return nil
}

// Drop forgets one.
func (f *Packages) Drop(context.Context, *fleet.BootstrapPackage) error {
	f.Received--
	return nil
}

func (f *Packages) find(ok bool) (*fleet.BootstrapPackage, error) {
	if f.Current == nil || !ok {
		return nil, fleet.Errorf(fleet.KindNotFound, "there is no such package")
	}
	return f.Current, nil
}

// Package returns Current.
func (f *Packages) Package(_ context.Context, team fleet.TeamID) (*fleet.BootstrapPackage, error) {
	return f.find(f.Current != nil && f.Current.TeamID == team)
}

// ByToken returns Current.
func (f *Packages) ByToken(_ context.Context, token string) (*fleet.BootstrapPackage, error) {
	return f.find(f.Current != nil && f.Current.Token == token)
}

// Content is Bytes.
func (f *Packages) Content(context.Context, *fleet.BootstrapPackage) io.ReadSeeker {
	return bytes.NewReader(f.Bytes)
}

// Manifest is a text.
func (f *Packages) Manifest(ctx context.Context, token string) ([]byte, error) {
	_, err := f.ByToken(ctx, token)
	return []byte("<plist/>"), err
}

// Delete forgets Current.
func (f *Packages) Delete(ctx context.Context, _ fleet.Actor, team fleet.TeamID) error {
	_, err := f.Package(ctx, team)
	f.Current = nil
	return err
}

// Summary has some of each.
func (f *Packages) Summary(context.Context, fleet.TeamID) (fleet.PackageSummary, error) {
	return fleet.PackageSummary{Installed: 3, Pending: 2, Failed: 1}, nil
}

// Names is that of Current.
func (f *Packages) Names(context.Context) (map[fleet.TeamID]string, error) {
	if f.Current == nil {
		return nil, nil
	}
	return map[fleet.TeamID]string{f.Current.TeamID: f.Current.Name}, nil
}

// InstallCommand is some command.
func (f *Packages) InstallCommand(_ context.Context, team fleet.TeamID) ([]byte, error) {
	if team == 99 {
		return nil, fleet.Errorf(fleet.KindNotFound, "there is no bootstrap package")
	}
	return []byte("<plist/>"), nil
}

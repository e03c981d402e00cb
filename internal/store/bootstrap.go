package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Packages keeps installer packages, in pieces.
type Packages struct{ db *DB }

// NewPackages returns the packages of db.
func NewPackages(db *DB) *Packages { return &Packages{db} }

const packageSelect = "SELECT id, team_id, name, identifier, product_version, signer, size, sha256, piece_sums, token, created_at FROM bootstrap_packages"

// sumBytes is the length of a SHA-256.
const sumBytes = 32

func scanPackage(rows *sql.Rows) (fleet.BootstrapPackage, error) {
	var p fleet.BootstrapPackage
	var sum, pieces []byte
	var at int64
	err := rows.Scan(&p.ID, &p.TeamID, &p.Name, &p.Identifier, &p.Version, &p.Signer, &p.Size, &sum, &pieces, &p.Token, &at)
	copy(p.SHA256[:], sum)
	for ; len(pieces) >= sumBytes; pieces = pieces[sumBytes:] {
		p.Pieces = append(p.Pieces, [sumBytes]byte(pieces))
	}
	p.CreatedAt = timeOf(at)
	return p, err
}

// Begin makes a package that nobody sees before Finish.
func (t *Packages) Begin(ctx context.Context) (id int64, err error) {
	err = t.db.update(ctx, func(s *session) error {
		if id, err = s.key("bootstrap_packages"); err != nil {
			return err
		}
		// The token is unique; nobody can ask for this one.
		return s.exec("INSERT INTO bootstrap_packages (id, team_id, name, identifier, product_version, signer, size, sha256, piece_sums, token, ready, created_at)"+
			" VALUES (?, ?, '', '', '', '', 0, ?, ?, ?, FALSE, ?)", id, -id, []byte{}, []byte{}, fmt.Sprint(-id), s.db.now())
	})
	if err != nil {
		return 0, fmt.Errorf("begin a package: %w", err)
	}
	return id, nil
}

// AddPiece stores a part of a package that was begun, counted from 0.
func (t *Packages) AddPiece(ctx context.Context, id int64, n int, data []byte) error {
	err := t.db.update(ctx, func(s *session) error {
		return s.exec("INSERT INTO bootstrap_pieces (package_id, piece, data) VALUES (?, ?, ?)", id, n, data)
	})
	if err != nil {
		return fmt.Errorf("store piece %d of package %d: %w", n, id, err)
	}
	return nil
}

// Piece reads a part; nil: there is none.
func (t *Packages) Piece(ctx context.Context, id int64, n int) (data []byte, err error) {
	_, err = t.db.view(ctx).get("SELECT data FROM bootstrap_pieces WHERE package_id = ? AND piece = ?", []any{id, n}, &data)
	return data, err
}

// Finish gives a package that was begun to its team, in the place of old if that
// is not nil. KindConflict: the team has another one; KindNotFound: there is no
// such team; KindInvalid: it is empty.
func (t *Packages) Finish(ctx context.Context, p, old *fleet.BootstrapPackage, events ...fleet.Event) error {
	if len(p.Pieces) == 0 {
		return fleet.FieldErrorf(fleet.KindInvalid, "package", "%s is empty", p.Name)
	}
	var sums []byte
	for _, s := range p.Pieces {
		sums = append(sums, s[:]...)
	}
	err := t.db.update(ctx, func(s *session) error {
		if err := s.teamExists(p.TeamID); err != nil {
			return err
		}
		if old != nil {
			if err := s.exec("DELETE FROM bootstrap_packages WHERE ready = TRUE AND team_id = ? AND id = ?", int64(p.TeamID), old.ID); err != nil {
				return err
			}
		}
		p.CreatedAt = s.db.clock()
		n, err := s.changed("UPDATE bootstrap_packages SET team_id = ?, name = ?, identifier = ?, product_version = ?, signer = ?, size = ?, sha256 = ?, piece_sums = ?,"+
			" token = ?, ready = TRUE, created_at = ? WHERE id = ? AND ready = FALSE", int64(p.TeamID), clip(p.Name, 255), clip(p.Identifier, 255), clip(p.Version, 100),
			clip(p.Signer, 255), p.Size, p.SHA256[:], sums, p.Token, micros(p.CreatedAt), p.ID)
		if err != nil {
			return err
		}
		if n == 0 {
			return fleet.Errorf(fleet.KindConflict, "the upload took so long that it was given up: send the package again")
		}
		return s.appendEvents(events...)
	})
	if isDuplicate(err) {
		return fleet.Errorf(fleet.KindConflict, "there is a bootstrap package already: replace it (replace=true) or delete it first").WithCause(err)
	}
	return err
}

// OfTeam returns a team's package; nil: it has none.
func (t *Packages) OfTeam(ctx context.Context, team fleet.TeamID) (*fleet.BootstrapPackage, error) {
	return t.one(ctx, "team_id = ?", int64(team))
}

// ByToken returns the package of that token; nil: there is none.
func (t *Packages) ByToken(ctx context.Context, token string) (*fleet.BootstrapPackage, error) {
	return t.one(ctx, "token = ?", token)
}

func (t *Packages) one(ctx context.Context, where string, arg any) (*fleet.BootstrapPackage, error) {
	list, err := collect(t.db.view(ctx), scanPackage, packageSelect+" WHERE ready = TRUE AND "+where, arg)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// Delete takes a team's package away; it reports false when there was none. Its
// pieces are removed by Sweep.
func (t *Packages) Delete(ctx context.Context, team fleet.TeamID, events ...fleet.Event) (found bool, err error) {
	err = t.db.update(ctx, func(s *session) error {
		n, err := s.changed("DELETE FROM bootstrap_packages WHERE ready = TRUE AND team_id = ?", int64(team))
		if found = n > 0; err != nil || !found {
			return err
		}
		return s.appendEvents(events...)
	})
	return found, err
}

// forgetPackage takes the package of a team that is deleted away.
func (s *session) forgetPackage(team fleet.TeamID) error {
	return s.exec("DELETE FROM bootstrap_packages WHERE ready = TRUE AND team_id = ?", int64(team))
}

// Drop gives up a package that was begun.
func (t *Packages) Drop(ctx context.Context, id int64) error {
	return t.db.update(ctx, func(s *session) error {
		return s.exec("DELETE FROM bootstrap_packages WHERE ready = FALSE AND id = ?", id)
	})
}

// Sweep gives up what was begun before a time, and removes up to limit pieces
// of packages that are gone. It returns how many it removed.
func (t *Packages) Sweep(ctx context.Context, before time.Time, limit int) (int, error) {
	removed := 0
	err := t.db.update(ctx, func(s *session) error {
		if err := s.exec("DELETE FROM bootstrap_packages WHERE ready = FALSE AND created_at < ?", micros(before)); err != nil {
			return err
		}
		pairs, err := collect(s, func(r *sql.Rows) (v [2]int64, err error) { return v, r.Scan(&v[0], &v[1]) },
			"SELECT bp.package_id, bp.piece FROM bootstrap_pieces bp WHERE NOT EXISTS (SELECT 1 FROM bootstrap_packages p WHERE p.id = bp.package_id) LIMIT ?", limit)
		if removed = len(pairs); err != nil || removed == 0 {
			return err
		}
		in, args := s.db.dialect.inPairs(pairs)
		return s.exec("DELETE FROM bootstrap_pieces WHERE (package_id, piece) IN "+in, args...)
	})
	if err != nil {
		return 0, fmt.Errorf("remove pieces of packages: %w", err)
	}
	return removed, nil
}

// Summary counts a team's hosts by what became of their package.
func (t *Packages) Summary(ctx context.Context, team fleet.TeamID) (out fleet.PackageSummary, err error) {
	type row struct {
		status fleet.PackageStatus
		n      int
	}
	list, err := collect(t.db.view(ctx), func(r *sql.Rows) (v row, err error) { return v, r.Scan(&v.status, &v.n) },
		"SELECT su.package_status, COUNT(DISTINCT h.id) FROM hosts h JOIN setups su ON su.host_id = h.id WHERE h.team_id = ? AND "+newestPackage+" GROUP BY su.package_status", int64(team))
	for _, v := range list {
		switch v.status {
		case fleet.PackagePending:
			out.Pending = v.n
		case fleet.PackageInstalled:
			out.Installed = v.n
		case fleet.PackageFailed:
			out.Failed = v.n
		case fleet.PackageNone:
		}
	}
	return out, err
}

// newestPackage is true of the setup su of a host that says what became of its
// package: an older one says what was.
const newestPackage = "su.package_status > 0 AND NOT EXISTS (SELECT 1 FROM setups s2 WHERE s2.host_id = su.host_id AND s2.enrollment_id > su.enrollment_id)"

// packageOf returns what became of a host's package; nil: it got none.
func (s *session) packageOf(host fleet.HostID) (*fleet.HostPackage, error) {
	list, err := collect(s, scanSetup, setupSelect+" WHERE su.host_id = ? AND "+newestPackage, int64(host))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	out := &fleet.HostPackage{Name: list[0].Setup.PackageName, Status: list[0].Setup.PackageStatus}
	for _, step := range list[0].Setup.Steps {
		if step.Name == fleet.SetupStepBootstrap && step.State == fleet.SetupStepFailed {
			out.Detail = step.Detail
		}
	}
	return out, nil
}

// Names are the file names of all teams' packages.
func (t *Packages) Names(ctx context.Context) (map[fleet.TeamID]string, error) {
	out := map[fleet.TeamID]string{}
	_, err := collect(t.db.view(ctx), func(r *sql.Rows) (struct{}, error) {
		var team fleet.TeamID
		var name string
		err := r.Scan(&team, &name)
		out[team] = name
		return struct{}{}, err
	}, "SELECT team_id, name FROM bootstrap_packages WHERE ready = TRUE")
	return out, err
}

package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/muster-mdm/muster/internal/fleet"
)

// EnrollmentProfiles keeps the entities from which enrollment profiles are
// made.
type EnrollmentProfiles struct{ db *DB }

// NewEnrollmentProfiles returns the enrollment profiles of db.
func NewEnrollmentProfiles(db *DB) *EnrollmentProfiles { return &EnrollmentProfiles{db} }

const enrollmentProfileSelect = "SELECT id, name, kind, team_id, server_token_id, token, created_at, created_by FROM enrollment_profiles"

func scanEnrollmentProfile(rows *sql.Rows) (fleet.EnrollmentProfile, error) {
	var p fleet.EnrollmentProfile
	var at int64
	err := rows.Scan(&p.ID, &p.Name, &p.Kind, &p.TeamID, &p.ServerTokenID, &p.Token, &at, &p.CreatedBy)
	p.CreatedAt = timeOf(at)
	return p, err
}

// Create stores a new entity and sets its key. KindConflict: the name is taken.
func (e *EnrollmentProfiles) Create(ctx context.Context, p *fleet.EnrollmentProfile, events ...fleet.Event) error {
	return e.db.update(ctx, func(s *session) error {
		if err := s.addEnrollmentProfile(p); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
}

func (s *session) addEnrollmentProfile(p *fleet.EnrollmentProfile) error {
	id, err := s.key("enrollment_profiles")
	if err != nil {
		return err
	}
	p.ID, p.CreatedAt = fleet.EnrollmentProfileID(id), s.db.clock()
	err = s.exec("INSERT INTO enrollment_profiles (id, name, kind, team_id, server_token_id, token, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		id, p.Name, int64(p.Kind), int64(p.TeamID), int64(p.ServerTokenID), p.Token, micros(p.CreatedAt), int64(p.CreatedBy))
	if isDuplicate(err) {
		return fleet.FieldErrorf(fleet.KindConflict, "name", "an enrollment named %q exists already", p.Name)
	}
	if err != nil {
		return fmt.Errorf("create enrollment profile: %w", err)
	}
	return nil
}

// bindEnrollmentProfile makes an automatic enrollment that of a server token.
// KindConflict: it is one already, or gone.
func (s *session) bindEnrollmentProfile(id fleet.EnrollmentProfileID, token fleet.ServerTokenID) error {
	n, err := s.changed("UPDATE enrollment_profiles SET server_token_id = ? WHERE id = ? AND kind = ? AND server_token_id = 0",
		int64(token), int64(id), int64(fleet.EnrollmentADE))
	if err == nil && n == 0 {
		err = fleet.FieldErrorf(fleet.KindConflict, "enrollment_id", "enrollment %d is gone, or has a server token already", id)
	}
	return err
}

// forgetServerToken removes the enrollment of a server token: what was
// assigned with its URL at Apple does not work any more.
func (s *session) forgetServerToken(token fleet.ServerTokenID) error {
	return s.exec("DELETE FROM enrollment_profiles WHERE server_token_id = ?", int64(token))
}

// ByServerToken finds the enrollment of a server token; nil when there is
// none.
func (e *EnrollmentProfiles) ByServerToken(ctx context.Context, token fleet.ServerTokenID) (*fleet.EnrollmentProfile, error) {
	return e.one(ctx, "server_token_id = ?", int64(token))
}

// maxEnrollmentProfiles bounds the list; there are few by nature.
const maxEnrollmentProfiles = 1000

// List returns all entities, oldest first.
func (e *EnrollmentProfiles) List(ctx context.Context) ([]fleet.EnrollmentProfile, error) {
	return collect(e.db.view(ctx), scanEnrollmentProfile, enrollmentProfileSelect+" ORDER BY id LIMIT ?", maxEnrollmentProfiles)
}

// ByToken finds an entity by its token; nil when there is none.
func (e *EnrollmentProfiles) ByToken(ctx context.Context, token string) (*fleet.EnrollmentProfile, error) {
	return e.one(ctx, "token = ?", token)
}

// ByID finds an entity; nil when there is none.
func (e *EnrollmentProfiles) ByID(ctx context.Context, id fleet.EnrollmentProfileID) (*fleet.EnrollmentProfile, error) {
	return e.one(ctx, "id = ?", int64(id))
}

// ByName finds an entity by its name; nil when there is none.
func (e *EnrollmentProfiles) ByName(ctx context.Context, name string) (*fleet.EnrollmentProfile, error) {
	return e.one(ctx, "name = ?", name)
}

func (e *EnrollmentProfiles) one(ctx context.Context, cond string, arg any) (*fleet.EnrollmentProfile, error) {
	list, err := collect(e.db.view(ctx), scanEnrollmentProfile, enrollmentProfileSelect+" WHERE "+cond, arg)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// Delete removes an entity; its token and its unused challenges are worthless
// from then on. It reports false when there was none.
func (e *EnrollmentProfiles) Delete(ctx context.Context, id fleet.EnrollmentProfileID, events ...fleet.Event) (bool, error) {
	found := false
	err := e.db.update(ctx, func(s *session) error {
		n, err := s.changed("DELETE FROM enrollment_profiles WHERE id = ?", int64(id))
		if err != nil || n == 0 {
			found = false
			return err
		}
		found = true
		if err := s.exec("DELETE FROM challenges WHERE profile_id = ? AND used_at = 0", int64(id)); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
	return found, err
}

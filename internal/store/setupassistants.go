package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Assistant returns the enrollment profile that people wrote for a team; nil:
// none.
func (a *ADE) Assistant(ctx context.Context, team fleet.TeamID) (*fleet.SetupAssistant, error) {
	v := &fleet.SetupAssistant{TeamID: team}
	var at int64
	found, err := a.db.view(ctx).get("SELECT name, body, uploaded_at FROM setup_assistants WHERE team_id = ?", []any{int64(team)}, &v.Name, &v.Body, &at)
	if err != nil || !found {
		return nil, err
	}
	v.UploadedAt = timeOf(at)
	return v, nil
}

// PutAssistant stores one. What Apple refused of the team is tried anew.
func (a *ADE) PutAssistant(ctx context.Context, v *fleet.SetupAssistant, events ...fleet.Event) error {
	return a.db.update(ctx, func(s *session) error {
		if err := s.teamExists(v.TeamID); err != nil {
			return err
		}
		cols := []string{"team_id", "name", "body", "uploaded_at"}
		if err := s.upsertRows("setup_assistants", cols, 1, [][]any{{int64(v.TeamID), clip(v.Name, 255), v.Body, micros(v.UploadedAt)}}); err != nil {
			return err
		}
		if err := s.exec("UPDATE ade_profiles SET refused = '', retry_at = 0 WHERE team_id = ?", int64(v.TeamID)); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
}

// DeleteAssistant removes one; it reports false when there was none.
func (a *ADE) DeleteAssistant(ctx context.Context, team fleet.TeamID, events ...fleet.Event) (found bool, err error) {
	err = a.db.update(ctx, func(s *session) error {
		n, err := s.changed("DELETE FROM setup_assistants WHERE team_id = ?", int64(team))
		if found = n > 0; err != nil || !found {
			return err
		}
		return s.appendEvents(events...)
	})
	return found, err
}

// Teams lists the teams that have hosts of a token's devices, with what is
// defined for them at Apple.
func (a *ADE) Teams(ctx context.Context, token fleet.ServerTokenID) ([]fleet.DEPTeam, error) {
	list, err := collect(a.db.view(ctx), func(r *sql.Rows) (fleet.DEPTeam, error) {
		var t fleet.DEPTeam
		var hash []byte
		var retry int64
		err := r.Scan(&t.TeamID, &t.Custom, &hash, &t.Profile, &t.Refused, &t.Reason, &retry)
		copy(t.Hash[:], hash)
		t.RetryAt = timeOf(retry)
		return t, err
	}, "SELECT t.team_id, s.body, p.hash, COALESCE(p.profile, ''), COALESCE(p.refused, ''), COALESCE(p.reason, ''), COALESCE(p.retry_at, 0)"+
		" FROM (SELECT DISTINCT h.team_id AS team_id FROM ade_devices d JOIN hosts h ON h.id = d.host_id"+
		" WHERE d.token_id = ? AND d.deleted_at = 0 AND d.managed = TRUE) t"+
		" LEFT JOIN setup_assistants s ON s.team_id = t.team_id LEFT JOIN ade_profiles p ON p.token_id = ? AND p.team_id = t.team_id ORDER BY t.team_id",
		int64(token), int64(token))
	if err != nil {
		return nil, fmt.Errorf("find teams of server token %d: %w", token, err)
	}
	return list, nil
}

// Refuse notes that Apple did not take a definition; the one before stands.
func (a *ADE) Refuse(ctx context.Context, token fleet.ServerTokenID, t fleet.DEPTeam, events ...fleet.Event) error {
	return a.db.update(ctx, func(s *session) error {
		cols := []string{"token_id", "team_id", "hash", "profile", "defined_at", "refused", "reason", "retry_at"}
		row := []any{int64(token), int64(t.TeamID), t.Hash[:], t.Profile, s.db.now(), t.Refused, clip(t.Reason, 1024), micros(t.RetryAt)}
		if err := s.upsertRows("ade_profiles", cols, 2, [][]any{row}); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
}

// teamExists refuses a team that was deleted meanwhile.
func (s *session) teamExists(id fleet.TeamID) error {
	if id == fleet.NoTeam {
		return nil
	}
	var found int64
	ok, err := s.get("SELECT id FROM teams WHERE id = ?", []any{int64(id)}, &found)
	if err == nil && !ok {
		err = fleet.FieldErrorf(fleet.KindNotFound, "team_id", "there is no team %d", id)
	}
	return err
}

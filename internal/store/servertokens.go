package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
)

// ServerTokens keeps server tokens of Apple's device enrollment service.
type ServerTokens struct{ db *DB }

// NewServerTokens returns the server tokens of db.
func NewServerTokens(db *DB) *ServerTokens { return &ServerTokens{db} }

var accountCols = []string{"server_uuid", "server_name", "org_name", "org_id", "org_type", "admin_id"}

var tokenSelect = strings.Replace(syncSelect, " FROM ", ", created_at, "+strings.Join(accountCols, ", ")+" FROM ", 1)

func accountValues(a *fleet.DEPAccount) []any {
	return []any{a.ServerUUID, clip(a.ServerName, 255), clip(a.OrgName, 255), clip(a.OrgID, 100), clip(a.OrgType, 40), clip(a.AdminID, 255)}
}

func scanServerToken(rows *sql.Rows) (fleet.ServerToken, error) {
	var v fleet.ServerToken
	var created int64
	a := &v.Account
	var err error
	v.Sync, err = scanSync(rows, &created, &a.ServerUUID, &a.ServerName, &a.OrgName, &a.OrgID, &a.OrgType, &a.AdminID)
	v.CreatedAt = timeOf(created)
	return v, err
}

// List returns all server tokens, oldest first. There are as many as an
// organization has servers at Apple: a handful.
func (t *ServerTokens) List(ctx context.Context) ([]fleet.ServerToken, error) {
	list, err := collect(t.db.view(ctx), scanServerToken, tokenSelect+" ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("list server tokens: %w", err)
	}
	return list, nil
}

// Create adds a token; seal makes its credentials ready for the key that it
// gets. Its devices come in through profile, which is made when it has no key
// yet. KindConflict: there is a token of the same server, or the profile has
// one.
func (t *ServerTokens) Create(ctx context.Context, v *fleet.ServerToken, profile *fleet.EnrollmentProfile,
	seal func(fleet.SecretRef) (fleet.SecretWrite, error), events ...fleet.Event) error {
	var made fleet.EnrollmentProfile
	err := t.db.update(ctx, func(s *session) error {
		made = *profile
		id, err := s.key("ade_tokens")
		if err != nil {
			return err
		}
		v.Sync.TokenID, v.CreatedAt = fleet.ServerTokenID(id), s.db.clock()
		teams := v.Sync.Teams
		cols := slices.Concat([]string{"id", "created_at", "updated_at", "expires_at", "macos_team_id", "ios_team_id", "ipados_team_id"}, accountCols, syncCols)
		values := slices.Concat([]any{id, micros(v.CreatedAt), micros(v.CreatedAt), micros(v.Sync.Expiry), int64(teams[fleet.PlatformDarwin]),
			int64(teams[fleet.PlatformIOS]), int64(teams[fleet.PlatformIPadOS])}, accountValues(&v.Account), syncValues(&v.Sync))
		if err := s.insertRows("ade_tokens", cols, [][]any{values}, ""); isDuplicate(err) {
			return fleet.FieldErrorf(fleet.KindConflict, "token", "there is a token of the server %q already: renew that one", v.Account.ServerName)
		} else if err != nil {
			return err
		}
		if err := s.giveProfile(&made, v.Sync.TokenID); err != nil {
			return err
		}
		return s.sealFor(v.Sync.TokenID, seal, events)
	})
	if err != nil {
		return fmt.Errorf("add server token: %w", err)
	}
	*profile = made
	return nil
}

func (s *session) giveProfile(p *fleet.EnrollmentProfile, token fleet.ServerTokenID) error {
	if p.ID != 0 {
		return s.bindEnrollmentProfile(p.ID, token)
	}
	p.ServerTokenID = token
	return s.addEnrollmentProfile(p)
}

func (s *session) sealFor(id fleet.ServerTokenID, seal func(fleet.SecretRef) (fleet.SecretWrite, error), events []fleet.Event) error {
	write, err := seal(fleet.SecretRef{Scope: fleet.ScopeServerToken, Name: strconv.FormatInt(int64(id), 10)})
	if err != nil {
		return err
	}
	if err := s.writeSecrets([]fleet.SecretWrite{write}); err != nil {
		return err
	}
	return s.appendEvents(events...)
}

// Replace puts another token in the place of one: decide says what becomes of
// syncing. KindNotFound: there is none.
func (t *ServerTokens) Replace(ctx context.Context, id fleet.ServerTokenID, decide func(fleet.ServerToken) (fleet.ServerToken, error),
	seal func(fleet.SecretRef) (fleet.SecretWrite, error), events ...fleet.Event) error {
	return t.db.update(ctx, func(s *session) error {
		list, err := collect(s, scanServerToken, tokenSelect+" WHERE id = ?"+s.db.dialect.lockForUpdate(), int64(id))
		if err != nil {
			return fmt.Errorf("read server token %d: %w", id, err)
		}
		if len(list) == 0 {
			return fleet.Errorf(fleet.KindNotFound, "there is no server token %d", id)
		}
		next, err := decide(list[0])
		if err != nil {
			return err
		}
		next.Sync.TokenID = id
		if err := s.putSync(next.Sync); err != nil {
			return err
		}
		args := append(accountValues(&next.Account), micros(next.Sync.Expiry), int64(id))
		err = s.exec("UPDATE ade_tokens SET "+strings.Join(accountCols, " = ?, ")+" = ?, expires_at = ? WHERE id = ?", args...)
		if isDuplicate(err) {
			return fleet.FieldErrorf(fleet.KindConflict, "token", "another server token is of the server %q", next.Account.ServerName)
		}
		if err != nil {
			return err
		}
		if next.Account.ServerUUID != list[0].Account.ServerUUID { // profiles belong to one server
			if err := s.exec("DELETE FROM ade_profiles WHERE token_id = ?", int64(id)); err != nil {
				return err
			}
		}
		return s.sealFor(id, seal, events)
	})
}

// SetTeams says which teams new devices join. KindNotFound: there is no such
// token.
func (t *ServerTokens) SetTeams(ctx context.Context, id fleet.ServerTokenID, teams map[fleet.Platform]fleet.TeamID, events ...fleet.Event) error {
	return t.db.update(ctx, func(s *session) error {
		if _, err := s.depSync(id, s.db.dialect.lockForUpdate()); err != nil {
			return err
		}
		for _, team := range teams {
			if err := s.teamExists(team); err != nil {
				return err
			}
		}
		err := s.exec("UPDATE ade_tokens SET macos_team_id = ?, ios_team_id = ?, ipados_team_id = ?, updated_at = ? WHERE id = ?",
			int64(teams[fleet.PlatformDarwin]), int64(teams[fleet.PlatformIOS]), int64(teams[fleet.PlatformIPadOS]), s.db.now(), int64(id))
		if err != nil {
			return fmt.Errorf("set teams of server token %d: %w", id, err)
		}
		return s.appendEvents(events...)
	})
}

// Delete forgets a token with its devices. Hosts stay; those that only waited
// for their enrollment are pending no more. It reports false when there was
// none.
func (t *ServerTokens) Delete(ctx context.Context, id fleet.ServerTokenID, events ...fleet.Event) (found bool, err error) {
	err = t.db.update(ctx, func(s *session) error {
		n, err := s.changed("DELETE FROM ade_tokens WHERE id = ?", int64(id))
		if err != nil || n == 0 {
			return err
		}
		found = true
		for _, query := range []string{
			fmt.Sprintf("UPDATE hosts SET mdm_status = CASE WHEN mdm_enrolled_at = 0 THEN %d ELSE %d END WHERE mdm_status = %d"+
				" AND id IN (SELECT host_id FROM ade_devices WHERE token_id = ?)", fleet.MDMUnknown, fleet.MDMOff, fleet.MDMPending),
			"DELETE FROM ade_devices WHERE token_id = ?",
			"DELETE FROM ade_profiles WHERE token_id = ?",
		} {
			if err := s.exec(query, int64(id)); err != nil {
				return err
			}
		}
		if err := s.forgetServerToken(id); err != nil {
			return err
		}
		ref := fleet.SecretRef{Scope: fleet.ScopeServerToken, Name: strconv.FormatInt(int64(id), 10)}
		if err := s.writeSecrets([]fleet.SecretWrite{{Ref: ref, Delete: true}}); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
	if err != nil {
		return false, fmt.Errorf("delete server token %d: %w", id, err)
	}
	return found, nil
}

// forgetTeam takes a team that is deleted out of server tokens, with its
// enrollment profile.
func (s *session) forgetTeam(id fleet.TeamID) error {
	for _, col := range []string{"macos_team_id", "ios_team_id", "ipados_team_id"} {
		if err := s.exec("UPDATE ade_tokens SET "+col+" = 0 WHERE "+col+" = ?", int64(id)); err != nil {
			return err
		}
	}
	if err := s.exec("DELETE FROM setup_assistants WHERE team_id = ?", int64(id)); err != nil {
		return err
	}
	return s.exec("DELETE FROM ade_profiles WHERE team_id = ?", int64(id))
}

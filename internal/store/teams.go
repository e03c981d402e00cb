package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Teams keeps teams, the revision of each scope, and who is in which.
type Teams struct{ db *DB }

// NewTeams returns the teams of db.
func NewTeams(db *DB) *Teams { return &Teams{db} }

// teamSettingsRow is the stored form. Fields are only ever added.
type teamSettingsRow struct {
	MacOSUpdates  *updatesRow `json:"macos_updates,omitempty"`
	IOSUpdates    *updatesRow `json:"ios_updates,omitempty"`
	IPadOSUpdates *updatesRow `json:"ipados_updates,omitempty"`
	Setup         *setupRow   `json:"setup,omitempty"`
}

type setupRow struct {
	ManualRelease      bool  `json:"manual_release,omitempty"`
	TimeoutSeconds     int64 `json:"timeout_seconds,omitempty"`
	HoldOnTimeout      bool  `json:"hold_on_timeout,omitempty"`
	ManualAgentInstall bool  `json:"manual_agent_install,omitempty"`
}

func toSetupRow(v fleet.SetupSettings) *setupRow {
	if v == (fleet.SetupSettings{}) {
		return nil
	}
	return &setupRow{v.ManualRelease, int64(v.Timeout / time.Second), v.HoldOnTimeout, v.ManualAgentInstall}
}

func (r *setupRow) settings() fleet.SetupSettings {
	if r == nil {
		return fleet.SetupSettings{}
	}
	return fleet.SetupSettings{ManualRelease: r.ManualRelease, Timeout: time.Duration(r.TimeoutSeconds) * time.Second, HoldOnTimeout: r.HoldOnTimeout,
		ManualAgentInstall: r.ManualAgentInstall}
}

type updatesRow struct {
	MinimumVersion string `json:"minimum_version"`
	Deadline       string `json:"deadline"`
}

func toUpdatesRow(u fleet.OSUpdates) *updatesRow {
	if u == (fleet.OSUpdates{}) {
		return nil
	}
	return &updatesRow{MinimumVersion: u.MinimumVersion, Deadline: u.Deadline}
}

func (r *updatesRow) updates() fleet.OSUpdates {
	if r == nil {
		return fleet.OSUpdates{}
	}
	return fleet.OSUpdates{MinimumVersion: r.MinimumVersion, Deadline: r.Deadline}
}

func packTeamSettings(v fleet.TeamSettings) ([]byte, error) {
	return json.Marshal(teamSettingsRow{MacOSUpdates: toUpdatesRow(v.MacOSUpdates), IOSUpdates: toUpdatesRow(v.IOSUpdates),
		IPadOSUpdates: toUpdatesRow(v.IPadOSUpdates), Setup: toSetupRow(v.Setup)})
}

func unpackTeamSettings(body []byte) (fleet.TeamSettings, error) {
	var r teamSettingsRow
	if err := json.Unmarshal(body, &r); err != nil {
		return fleet.TeamSettings{}, fmt.Errorf("decode team settings: %w", err)
	}
	return fleet.TeamSettings{MacOSUpdates: r.MacOSUpdates.updates(), IOSUpdates: r.IOSUpdates.updates(), IPadOSUpdates: r.IPadOSUpdates.updates(),
		Setup: r.Setup.settings()}, nil
}

const teamSelect = "SELECT t.id, t.name, t.description, t.settings, t.created_at, t.updated_at," +
	" (SELECT COUNT(*) FROM hosts h WHERE h.team_id = t.id) FROM teams t"

func scanTeam(rows *sql.Rows) (fleet.Team, error) {
	var t fleet.Team
	var settings []byte
	var created, updated int64
	if err := rows.Scan(&t.ID, &t.Name, &t.Description, &settings, &created, &updated, &t.HostCount); err != nil {
		return t, err
	}
	t.CreatedAt, t.UpdatedAt = timeOf(created), timeOf(updated)
	var err error
	t.Settings, err = unpackTeamSettings(settings)
	return t, err
}

// List returns one page of teams by name.
func (t *Teams) List(ctx context.Context, page fleet.Page, query string) ([]fleet.Team, fleet.PageMeta, error) {
	where, args := "", []any{}
	if query != "" {
		where = " WHERE LOWER(t.name) LIKE ? ESCAPE '!'"
		args = append(args, "%"+escapeLike(strings.ToLower(query))+"%")
	}
	tail, limits := pageTail(page)
	teams, err := collect(t.db.view(ctx), scanTeam, teamSelect+where+" ORDER BY t.name, t.id"+tail, append(args, limits...)...)
	if err != nil {
		return nil, fleet.PageMeta{}, fmt.Errorf("list teams: %w", err)
	}
	teams, meta := cutPage(teams, page)
	return teams, meta, nil
}

// Team returns a team; nil when there is none.
func (t *Teams) Team(ctx context.Context, id fleet.TeamID) (*fleet.Team, error) {
	return t.db.view(ctx).team("t.id = ?", int64(id))
}

// ByName returns a team; nil when there is none.
func (t *Teams) ByName(ctx context.Context, name string) (*fleet.Team, error) {
	return t.db.view(ctx).team("t.name = ?", name)
}

// Names returns the names of teams; those that do not exist are missing.
func (t *Teams) Names(ctx context.Context, ids []fleet.TeamID) (map[fleet.TeamID]string, error) {
	type row struct {
		id   fleet.TeamID
		name string
	}
	keys := make([]int64, len(ids))
	for i, id := range ids {
		keys[i] = int64(id)
	}
	out := make(map[fleet.TeamID]string, len(ids))
	err := chunked(keys, func(chunk []int64) error {
		rows, err := collect(t.db.view(ctx), func(r *sql.Rows) (v row, err error) { return v, r.Scan(&v.id, &v.name) },
			"SELECT id, name FROM teams WHERE id IN ("+placeholders(len(chunk))+")", anys(chunk)...)
		for _, v := range rows {
			out[v.id] = v.name
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find names of teams: %w", err)
	}
	return out, nil
}

func (s *session) team(cond string, args ...any) (*fleet.Team, error) {
	list, err := collect(s, scanTeam, teamSelect+" WHERE "+cond, args...)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// Create makes a team with its scope. KindConflict: there is one of the name.
func (t *Teams) Create(ctx context.Context, team *fleet.Team, events ...fleet.Event) error {
	settings, err := packTeamSettings(team.Settings)
	if err != nil {
		return err
	}
	err = t.db.update(ctx, func(s *session) error {
		id, err := s.key("teams")
		if err != nil {
			return err
		}
		team.ID = fleet.TeamID(id)
		team.CreatedAt = s.db.clock()
		team.UpdatedAt = team.CreatedAt
		if err := s.exec("INSERT INTO teams (id, name, description, settings, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)",
			id, team.Name, team.Description, settings, micros(team.CreatedAt), micros(team.CreatedAt)); err != nil {
			return err
		}
		if err := s.exec("INSERT INTO scopes (team_id, revision, settled) VALUES (?, 1, 0)", id); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
	return duplicateTeam(err, team.Name)
}

func duplicateTeam(err error, name string) error {
	if isDuplicate(err) {
		return fleet.FieldErrorf(fleet.KindConflict, "name", "a team named %q exists already", name)
	}
	return err
}

// Update lets change alter the name, description and settings of a team and
// stores them with the events, in one transaction. With dryRun nothing is
// stored. KindNotFound: there is no such team.
func (t *Teams) Update(ctx context.Context, id fleet.TeamID, change func(*fleet.Team) ([]fleet.Event, error), dryRun bool) (*fleet.Team, error) {
	var team *fleet.Team
	err := t.db.update(ctx, func(s *session) error {
		var found int64
		_, err := s.get("SELECT id FROM teams WHERE id = ?"+s.db.dialect.lockForUpdate(), []any{int64(id)}, &found)
		if err == nil {
			team, err = s.team("t.id = ?", int64(id))
		}
		if err != nil || team == nil {
			return orNotFound(err, "there is no team %d", id)
		}
		events, err := change(team)
		if err != nil || dryRun {
			return err
		}
		settings, err := packTeamSettings(team.Settings)
		if err != nil {
			return err
		}
		team.UpdatedAt = s.db.clock()
		if err := s.exec("UPDATE teams SET name = ?, description = ?, settings = ?, updated_at = ? WHERE id = ?",
			team.Name, team.Description, settings, micros(team.UpdatedAt), int64(id)); err != nil {
			return duplicateTeam(err, team.Name)
		}
		return s.appendEvents(events...)
	})
	return team, err
}

// teamOrNone is a team that something was made for, kept until the transaction
// ends; no team where it was deleted since.
func (s *session) teamOrNone(id fleet.TeamID) (fleet.TeamID, error) {
	if id == fleet.NoTeam {
		return id, nil
	}
	if there, known := s.teams[id]; known {
		return there, nil
	}
	var there int64
	if _, err := s.get("SELECT id FROM teams WHERE id = ?"+s.db.dialect.lockForShare(), []any{int64(id)}, &there); err != nil {
		return id, fmt.Errorf("find the team of a device: %w", err)
	}
	if s.teams == nil {
		s.teams = map[fleet.TeamID]fleet.TeamID{}
	}
	s.teams[id] = fleet.TeamID(there)
	return s.teams[id], nil
}

// Delete removes a team with its items; its hosts are moved out of it in
// batches, see MoveSome. KindNotFound: there is none.
func (t *Teams) Delete(ctx context.Context, id fleet.TeamID, events ...fleet.Event) error {
	return t.db.update(ctx, func(s *session) error {
		n, err := s.changed("DELETE FROM teams WHERE id = ?", int64(id))
		if err == nil && n == 0 {
			return fleet.Errorf(fleet.KindNotFound, "there is no team %d", id)
		}
		if err != nil {
			return err
		}
		if err := s.dropItems("team_id = ?", int64(id)); err != nil {
			return err
		}
		if err := s.exec("DELETE FROM secrets WHERE scope = ? AND name = ?", string(fleet.ScopeEnrollSecrets), fmt.Sprint(int64(id))); err != nil {
			return err
		}
		if err := s.exec("UPDATE enrollment_profiles SET team_id = 0 WHERE team_id = ?", int64(id)); err != nil {
			return err
		}
		if err := s.forgetTeam(id); err != nil {
			return err
		}
		if err := s.forgetPackage(id); err != nil {
			return err
		}
		if err := s.forgetAccountTokens(id); err != nil {
			return err
		}
		hosts, err := collect(s, scanID, "SELECT id FROM hosts WHERE team_id = ? ORDER BY id", int64(id))
		if err != nil {
			return err
		}
		if err := s.noteMove(fleet.NoTeam, hosts); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
}

func scanID(r *sql.Rows) (id int64, err error) { return id, r.Scan(&id) }

// MoveThreshold is the number of hosts up to which a transfer is carried out
// at once, if none is noted. More are noted and moved in batches.
const MoveThreshold = 500

// Transfer moves hosts into a scope and makes them due. Hosts that do not
// exist are passed over. It returns how many are moved at once; the rest
// follows in batches.
func (t *Teams) Transfer(ctx context.Context, move fleet.Transfer, events ...fleet.Event) (int, error) {
	moved := 0
	err := t.db.update(ctx, func(s *session) error {
		moved = 0
		if move.TeamID != fleet.NoTeam {
			there, err := s.teamOrNone(move.TeamID)
			if err != nil {
				return err
			}
			if there == fleet.NoTeam {
				return fleet.FieldErrorf(fleet.KindNotFound, "team_id", "there is no team %d", move.TeamID)
			}
		}
		ids := make([]int64, len(move.Hosts))
		for i, id := range move.Hosts {
			ids[i] = int64(id)
		}
		// Behind a move that is noted, one that came later would be undone by it.
		var noted int64
		if _, err := s.get("SELECT id FROM host_moves ORDER BY id LIMIT 1", nil, &noted); err != nil {
			return fmt.Errorf("find moves: %w", err)
		}
		if len(ids) > MoveThreshold || noted != 0 {
			if err := s.noteMove(move.TeamID, ids); err != nil {
				return err
			}
			return s.appendEvents(events...)
		}
		var err error
		if moved, err = s.moveHosts(move.TeamID, ids); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
	return moved, err
}

func (s *session) noteMove(team fleet.TeamID, hosts []int64) error {
	if len(hosts) == 0 {
		return nil
	}
	hosts = slices.Clone(hosts)
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	id, err := s.key("host_moves")
	if err != nil {
		return err
	}
	return s.exec("INSERT INTO host_moves (id, team_id, hosts, total, done, created_at) VALUES (?, ?, ?, ?, 0, ?)",
		id, int64(team), packIDs(hosts), len(hosts), s.db.nextSeq())
}

// moveHosts changes the scope of hosts, which are due then. Each gets an
// entry in its own log.
func (s *session) moveHosts(team fleet.TeamID, ids []int64) (int, error) {
	var movedIDs []int64
	err := chunked(ids, func(chunk []int64) error {
		list, err := collect(s, scanID, "SELECT id FROM hosts WHERE team_id <> ? AND id IN ("+placeholders(len(chunk))+") ORDER BY id",
			append([]any{int64(team)}, anys(chunk)...)...)
		movedIDs = append(movedIDs, list...)
		return err
	})
	if err != nil || len(movedIDs) == 0 {
		return 0, err
	}
	err = chunked(movedIDs, func(chunk []int64) error {
		in := " WHERE %s IN (" + placeholders(len(chunk)) + ")"
		if err := s.exec(fmt.Sprintf("UPDATE hosts SET team_id = ?, updated_at = ?"+in, "id"),
			append([]any{int64(team), s.db.now()}, anys(chunk)...)...); err != nil {
			return err
		}
		return s.exec(fmt.Sprintf("UPDATE host_states SET team_id = ?, revision = 0, due_at = ?, seq = seq + 1"+in, "host_id"),
			append([]any{int64(team), s.db.now()}, anys(chunk)...)...)
	})
	if err != nil {
		return 0, fmt.Errorf("move hosts: %w", err)
	}
	events := make([]fleet.Event, len(movedIDs))
	details := fmt.Appendf(nil, `{"team_id":%d}`, team)
	for i, id := range movedIDs {
		events[i] = fleet.Event{Kind: fleet.EventHostTransferred, HostID: fleet.HostID(id), Details: details}
	}
	return len(movedIDs), s.appendEvents(events...)
}

// MoveSome carries out the next batch of the oldest noted move. It reports
// whether there was one: call it until it says false.
func (t *Teams) MoveSome(ctx context.Context, batch int) (bool, error) {
	more := false
	err := t.db.update(ctx, func(s *session) error {
		var id, team int64
		var packed []byte
		var total, done int
		found, err := s.get("SELECT id, team_id, hosts, total, done FROM host_moves ORDER BY created_at, id LIMIT 1",
			nil, &id, &team, &packed, &total, &done)
		more = found
		if err != nil || !found {
			return err
		}
		ids, err := unpackIDs(packed, done, batch)
		if err != nil {
			return fmt.Errorf("move %d: %w", id, err)
		}
		if done+len(ids) >= total || len(ids) == 0 {
			err = s.exec("DELETE FROM host_moves WHERE id = ?", id)
		} else {
			var n int64
			n, err = s.changed("UPDATE host_moves SET done = ? WHERE id = ? AND done = ?", done+len(ids), id, done)
			if err == nil && n == 0 {
				return nil // another replica did this batch
			}
		}
		if err != nil {
			return err
		}
		to, err := s.teamOrNone(fleet.TeamID(team)) // it may be deleted by now
		if err != nil {
			return err
		}
		_, err = s.moveHosts(to, ids)
		return err
	})
	return more, err
}

// bump counts a scope's revision up: its hosts are to be planned again. Items
// for every team bump every scope.
func (s *session) bump(team fleet.TeamID) error {
	if team == fleet.EveryTeam {
		return s.exec("UPDATE scopes SET revision = revision + 1")
	}
	return s.exec("UPDATE scopes SET revision = revision + 1 WHERE team_id = ?", int64(team))
}

// hostDue makes hosts due now.
func (s *session) hostsDue(ids []int64) error {
	return chunked(ids, func(chunk []int64) error {
		return s.exec("UPDATE host_states SET due_at = ?, seq = seq + 1 WHERE host_id IN ("+placeholders(len(chunk))+")",
			append([]any{s.db.now()}, anys(chunk)...)...)
	})
}

// Scopes lists every scope with its settings: that of no team first.
func (t *Teams) Scopes(ctx context.Context) (map[fleet.TeamID]fleet.TeamSettings, error) {
	s := t.db.view(ctx)
	org, err := s.settings()
	if err != nil {
		return nil, err
	}
	type row struct {
		id       fleet.TeamID
		settings []byte
	}
	rows, err := collect(s, func(r *sql.Rows) (v row, err error) { return v, r.Scan(&v.id, &v.settings) }, "SELECT id, settings FROM teams")
	if err != nil {
		return nil, err
	}
	out := map[fleet.TeamID]fleet.TeamSettings{fleet.NoTeam: org.NoTeam}
	for _, r := range rows {
		if out[r.id], err = unpackTeamSettings(r.settings); err != nil {
			return nil, err
		}
	}
	return out, nil
}

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

var stateCols = []string{"host_id", "team_id", "revision", "due_at", "seq", "status", "pending", "verifying", "verified", "failed",
	"verify_at", "asked_at", "listed_at"}

var stateSelect = "SELECT hs." + strings.Join(stateCols, ", hs.") + " FROM host_states hs"

func scanState(rows *sql.Rows) (fleet.HostState, error) {
	var v fleet.HostState
	var due, verify, asked, listed int64
	var worst fleet.ItemStatus // follows from the counts
	err := rows.Scan(&v.HostID, &v.TeamID, &v.Revision, &due, &v.Seq, &worst, &v.Counts.Pending, &v.Counts.Verifying,
		&v.Counts.Verified, &v.Counts.Failed, &verify, &asked, &listed)
	v.DueAt, v.VerifyAt, v.AskedAt, v.ListedAt = timeOf(due), timeOf(verify), timeOf(asked), timeOf(listed)
	return v, err
}

func stateValues(v *fleet.HostState) []any {
	return []any{int64(v.HostID), int64(v.TeamID), v.Revision, micros(v.DueAt), v.Seq, int64(v.Counts.Worst()), v.Counts.Pending,
		v.Counts.Verifying, v.Counts.Verified, v.Counts.Failed, micros(v.VerifyAt), micros(v.AskedAt), micros(v.ListedAt)}
}

// addHostState makes a new host due.
func (s *session) addHostState(h *fleet.Host) error {
	return s.put("host_states", stateCols, [][]any{stateValues(&fleet.HostState{HostID: h.ID, TeamID: h.TeamID, DueAt: s.db.clock()})},
		s.db.dialect.onConflict(stateCols[:1], []string{"due_at"}), 1)
}

var hostItemCols = []string{"host_id", "item_id", "version", "op", "status", "fault", "tries", "attempt", "params", "enrollment_id",
	"command_id", "detail", "changed_at", "next_at", "verified_at"}

var hostItemSelect = "SELECT hi." + strings.Join(hostItemCols, ", hi.") + " FROM host_items hi"

func scanHostItem(rows *sql.Rows) (fleet.HostItem, error) {
	var v fleet.HostItem
	err := scanHostItemWith(rows, &v)
	return v, err
}

func scanHostItemWith(rows *sql.Rows, v *fleet.HostItem, more ...any) error {
	var changed, next, verified int64
	var params []byte
	err := rows.Scan(append([]any{&v.HostID, &v.ItemID, &v.Version, &v.Op, &v.Status, &v.Fault, &v.Tries, &v.Attempt, &params, &v.EnrollmentID,
		&v.CommandID, &v.Detail, &changed, &next, &verified}, more...)...)
	copy(v.Params[:], params)
	v.ChangedAt, v.NextAt, v.VerifiedAt = timeOf(changed), timeOf(next), timeOf(verified)
	return err
}

func hostItemValues(v *fleet.HostItem) []any {
	return []any{int64(v.HostID), int64(v.ItemID), v.Version, int64(v.Op), int64(v.Status), int64(v.Fault), v.Tries, v.Attempt, v.Params[:],
		int64(v.EnrollmentID), int64(v.CommandID), clip(v.Detail, 1024), micros(v.ChangedAt), micros(v.NextAt), micros(v.VerifiedAt)}
}

// maxPlanPause is longer than any pause that planning makes. A time further
// ahead was written when the clock was wrong.
const maxPlanPause = 48 * time.Hour

// Claim returns up to limit hosts that are to be planned: those whose time has
// come, then those behind their scope's revision. A scope of which none is
// behind is noted as settled.
func (p *Plans) Claim(ctx context.Context, now time.Time, limit int) ([]fleet.HostID, error) {
	s := p.db.view(ctx)
	scan := func(r *sql.Rows) (id fleet.HostID, err error) { return id, r.Scan(&id) }
	out, err := collect(s, scan, "SELECT host_id FROM host_states WHERE due_at > 0 AND due_at <= ? ORDER BY due_at LIMIT ?", micros(now), limit)
	if err == nil && len(out) < limit {
		var ahead []fleet.HostID
		ahead, err = collect(s, scan, "SELECT host_id FROM host_states WHERE due_at > ? ORDER BY due_at LIMIT ?", micros(now.Add(maxPlanPause)), limit-len(out))
		out = append(out, ahead...)
	}
	if err != nil {
		return nil, fmt.Errorf("claim due hosts: %w", err)
	}
	if len(out) >= limit {
		return out, nil
	}
	type scope struct{ team, revision int64 }
	scopes, err := collect(s, func(r *sql.Rows) (v scope, err error) { return v, r.Scan(&v.team, &v.revision) },
		"SELECT team_id, revision FROM scopes WHERE revision > settled ORDER BY team_id")
	if err != nil {
		return nil, fmt.Errorf("find unsettled scopes: %w", err)
	}
	seen := make(map[fleet.HostID]bool, len(out))
	for _, id := range out {
		seen[id] = true
	}
	for _, v := range scopes {
		behind, err := collect(s, scan, "SELECT host_id FROM host_states WHERE team_id = ? AND revision < ? LIMIT ?", v.team, v.revision, limit)
		if err != nil {
			return nil, fmt.Errorf("claim hosts behind: %w", err)
		}
		if len(behind) == 0 {
			if err := p.settle(ctx, v.team, v.revision); err != nil {
				return nil, err
			}
		}
		for _, id := range behind {
			if !seen[id] {
				seen[id] = true
				out = append(out, id)
			}
		}
		if len(out) >= limit {
			return out[:limit], nil
		}
	}
	return out, nil
}

func (p *Plans) settle(ctx context.Context, team, revision int64) error {
	return p.db.transact(ctx, func(s *session) error {
		return s.exec("UPDATE scopes SET settled = ? WHERE team_id = ? AND settled < ?", revision, team, revision)
	})
}

// Facts reads the facts of hosts, as of one moment. Hosts that are gone are
// left out.
func (p *Plans) Facts(ctx context.Context, hosts []fleet.HostID) (facts []fleet.HostFacts, err error) {
	err = p.db.snapshot(ctx, func(s *session) error {
		facts, err = s.factsOf(hosts)
		return err
	})
	return facts, err
}

func (s *session) factsOf(hosts []fleet.HostID) ([]fleet.HostFacts, error) {
	var out []fleet.HostFacts
	err := chunked(hosts, func(chunk []fleet.HostID) error {
		facts, err := s.facts(chunk)
		out = append(out, facts...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read host facts: %w", err)
	}
	return out, nil
}

func (s *session) facts(ids []fleet.HostID) ([]fleet.HostFacts, error) {
	keys := make([]any, len(ids))
	for i, id := range ids {
		keys[i] = int64(id)
	}
	in := " IN (" + placeholders(len(ids)) + ")"
	hosts, err := collect(s, scanHost, hostSelect+" WHERE h.id"+in+" ORDER BY h.id", keys...)
	if err != nil {
		return nil, err
	}
	out := make([]fleet.HostFacts, len(hosts))
	byID := make(map[fleet.HostID]*fleet.HostFacts, len(hosts))
	for i := range hosts {
		out[i].Host = hosts[i]
		byID[hosts[i].ID] = &out[i]
	}
	states, err := collect(s, scanState, stateSelect+" WHERE hs.host_id"+in, keys...)
	if err != nil {
		return nil, err
	}
	for _, v := range states {
		if f := byID[v.HostID]; f != nil {
			f.State = v
		}
	}
	if err := s.channelFacts(byID, in, keys); err != nil {
		return nil, err
	}
	if err := s.memberFacts(byID, in, keys); err != nil {
		return nil, err
	}
	items, err := collect(s, scanHostItem, hostItemSelect+" WHERE hi.host_id"+in+" ORDER BY hi.host_id, hi.item_id", keys...)
	if err != nil {
		return nil, err
	}
	for _, v := range items {
		if f := byID[v.HostID]; f != nil {
			f.Items = append(f.Items, v)
		}
	}
	if err := s.queueFacts(byID, out); err != nil {
		return nil, err
	}
	channels, err := collect(s, scanDDM, ddmSelect+" WHERE d.host_id"+in, keys...)
	for _, v := range channels {
		if f := byID[v.HostID]; f != nil {
			f.DDM = append(f.DDM, v)
		}
	}
	return out, err
}

// channelFacts finds each host's device channel, which is that of the host's
// UUID, and the user channel that came up last.
func (s *session) channelFacts(byID map[fleet.HostID]*fleet.HostFacts, in string, keys []any) error {
	list, err := collect(s, func(r *sql.Rows) (e fleet.Enrollment, err error) {
		var enrolled, token int64
		err = r.Scan(&e.ID, &e.Key, &e.HostID, &e.ParentID, &e.Channel, &e.State, &e.Generation, &e.UserName, &e.AwaitingConfiguration, &enrolled, &token)
		e.EnrolledAt, e.TokenUpdatedAt = timeOf(enrolled), timeOf(token)
		return e, err
	}, "SELECT id, enroll_key, host_id, parent_id, channel, state, generation, user_name, awaiting_configuration, enrolled_at, token_updated_at"+
		" FROM enrollments WHERE host_id"+in+" ORDER BY host_id, parent_id, token_updated_at, id", keys...)
	if err != nil {
		return err
	}
	for _, e := range list {
		f := byID[e.HostID]
		switch {
		case f == nil:
		case e.Channel.IsDevice() && e.Key == f.Host.UUID:
			f.Device = e
		case !e.Channel.IsDevice() && e.State == fleet.EnrollmentOn && e.ParentID == f.Device.ID:
			f.User = e
		}
	}
	return nil
}

// queueFacts finds the item commands that wait on the hosts' channels.
func (s *session) queueFacts(byID map[fleet.HostID]*fleet.HostFacts, facts []fleet.HostFacts) error {
	var channels []any
	for i := range facts {
		for _, id := range []fleet.EnrollmentID{facts[i].Device.ID, facts[i].User.ID} {
			if id != 0 {
				channels = append(channels, int64(id))
			}
		}
	}
	type row struct {
		host fleet.HostID
		fleet.QueuedCommand
	}
	return chunked(channels, func(chunk []any) error {
		list, err := collect(s, func(r *sql.Rows) (v row, err error) {
			var sent int64
			err = r.Scan(&v.host, &v.CommandID, &v.EnrollmentID, &v.Purpose, &v.Sends, &sent)
			v.SentAt = timeOf(sent)
			return v, err
		}, "SELECT q.host_id, q.command_id, q.enrollment_id, c.purpose, q.sends, q.sent_at FROM command_queue q JOIN commands c ON c.id = q.command_id"+
			" WHERE q.enrollment_id IN ("+placeholders(len(chunk))+") AND c.purpose >= "+strconv.Itoa(int(fleet.CommandInstall)), chunk...)
		for _, v := range list {
			if f := byID[v.host]; f != nil {
				f.Queued = append(f.Queued, v.QueuedCommand)
			}
		}
		return err
	})
}

func (s *session) memberFacts(byID map[fleet.HostID]*fleet.HostFacts, in string, keys []any) error {
	type row struct {
		host fleet.HostID
		fleet.Membership
	}
	list, err := collect(s, func(r *sql.Rows) (v row, err error) { return v, r.Scan(&v.host, &v.LabelID, &v.Member) },
		"SELECT host_id, label_id, member FROM label_members WHERE host_id"+in+" ORDER BY host_id, label_id", keys...)
	for _, v := range list {
		if f := byID[v.host]; f != nil {
			f.Labels = append(f.Labels, v.Membership)
		}
	}
	return err
}

const ddmSelect = "SELECT d.enrollment_id, d.host_id, d.manifest, d.previous, d.fetched, d.announced, d.nonce, d.reported_at, d.updated_at FROM ddm_channels d"

func scanDDM(rows *sql.Rows) (fleet.DDMChannel, error) {
	var v fleet.DDMChannel
	var manifest, previous []byte
	var reported, updated int64
	if err := rows.Scan(&v.EnrollmentID, &v.HostID, &manifest, &previous, &v.Fetched, &v.Announced, &v.Nonce, &reported, &updated); err != nil {
		return v, err
	}
	v.ReportedAt, v.UpdatedAt = timeOf(reported), timeOf(updated)
	return v, errors.Join(unpackManifest(manifest, &v.Manifest), unpackManifest(previous, &v.Previous))
}

func unpackManifest(body []byte, m *fleet.DDMManifest) error {
	if len(body) == 0 {
		return nil
	}
	return json.Unmarshal(body, m)
}

// After returns up to limit hosts of a scope with keys above the given one.
func (p *Plans) After(ctx context.Context, team fleet.TeamID, after fleet.HostID, limit int) ([]fleet.HostID, error) {
	return collect(p.db.view(ctx), func(r *sql.Rows) (id fleet.HostID, err error) { return id, r.Scan(&id) },
		"SELECT id FROM hosts WHERE team_id = ? AND id > ? ORDER BY id LIMIT ?", int64(team), int64(after), limit)
}

// VerifyNow makes a host due to be asked what it has. KindNotFound: there is
// no such host.
func (p *Plans) VerifyNow(ctx context.Context, host fleet.HostID) error {
	return p.db.transact(ctx, func(s *session) error {
		n, err := s.changed("UPDATE host_states SET verify_at = CASE WHEN verify_at > 0 THEN 1 ELSE 0 END, asked_at = 0, due_at = ?, seq = seq + 1 WHERE host_id = ?",
			s.db.now(), int64(host))
		if err != nil || n == 0 {
			return orNotFound(err, "there is no host with id %d", host)
		}
		return nil
	})
}

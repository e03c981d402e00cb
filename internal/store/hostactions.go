package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// HostActions keeps what people do to hosts: what it left behind, and the
// requests that the brake watches.
type HostActions struct{ db *DB }

// NewHostActions returns the actions of db.
func NewHostActions(db *DB) *HostActions { return &HostActions{db} }

var actionCols = []string{"host_id", "status", "pending", "command_uuid", "pin_uuid", "error", "recovery_uuid", "recovery_next",
	"recovery_at", "rotate_at", "updated_at"}

// Act carries out one decision: decide sees the facts and says what changes.
func (a *HostActions) Act(ctx context.Context, look fleet.ActionLookup, decide func(fleet.ActionFacts) (fleet.ActionChange, error)) error {
	return a.db.update(ctx, func(s *session) error {
		facts, err := s.actionFacts(look)
		if err != nil {
			return fmt.Errorf("read what an action is about: %w", err)
		}
		change, err := decide(facts)
		if err != nil {
			return err
		}
		if change.Cancel && facts.Command != nil && len(facts.Hosts) == 1 {
			if err := s.cancelCommand(facts.Hosts[0].EnrollmentID, facts.Command.ID); err != nil {
				return err
			}
			if err := s.uncount(facts.Hosts[0].Host.ID, facts.Command); err != nil {
				return fmt.Errorf("take a command off its request: %w", err)
			}
		}
		s.holdWrites()
		if err := s.applyAction(&change); err != nil {
			return err
		}
		return s.flush()
	})
}

func (s *session) applyAction(c *fleet.ActionChange) error {
	if err := s.putActionStates(c.States); err != nil {
		return err
	}
	if err := s.writeSecrets(c.Secrets); err != nil {
		return err
	}
	for i := range c.Commands {
		if err := s.enqueue(&c.Commands[i].Command, []fleet.Target{c.Commands[i].Target}); err != nil {
			return err
		}
	}
	wake := make([][]any, 0, len(c.Wake))
	for _, id := range c.Wake {
		wake = append(wake, []any{int64(id), s.db.now(), 0, 0, "", 0})
	}
	if err := s.pushDue(wake); err != nil {
		return err
	}
	if c.Request != nil {
		if err := s.putActionRequest(c.Request); err != nil {
			return err
		}
	}
	return s.appendEvents(c.Events...)
}

// cancelCommand takes one command off an enrollment's queue; it stays in the
// history.
func (s *session) cancelCommand(enrollment fleet.EnrollmentID, id fleet.CommandID) error {
	return s.closeQueue(int64(enrollment), fleet.CommandCancelled, fmt.Sprintf(" AND c.id = %d", int64(id)))
}

func (s *session) putActionStates(states []fleet.HostActionState) error {
	rows := make([][]any, 0, len(states))
	for i := range states {
		v := &states[i]
		rows = append(rows, []any{int64(v.HostID), int64(v.Status), int64(v.Pending), v.CommandUUID, v.PINUUID, clip(v.Error, 1024),
			v.RecoveryUUID, v.RecoveryNext, micros(v.RecoveryAt), micros(v.RotateAt), s.db.now()})
	}
	if err := s.put("host_actions", actionCols, rows, s.db.dialect.onConflict(actionCols[:1], actionCols[1:]), 1); err != nil {
		return fmt.Errorf("write what actions left: %w", err)
	}
	return nil
}

var actionSelect = "SELECT ha." + strings.Join(actionCols, ", ha.") + " FROM host_actions ha"

// actionDest are the places for actionCols, and what puts times in.
func actionDest(v *fleet.HostActionState) (dest []any, done func()) {
	var recovery, rotate, updated int64
	return []any{&v.HostID, &v.Status, &v.Pending, &v.CommandUUID, &v.PINUUID, &v.Error, &v.RecoveryUUID, &v.RecoveryNext,
		&recovery, &rotate, &updated}, func() { v.RecoveryAt, v.RotateAt, v.UpdatedAt = timeOf(recovery), timeOf(rotate), timeOf(updated) }
}

func scanActionState(rows *sql.Rows) (v fleet.HostActionState, err error) {
	dest, done := actionDest(&v)
	err = rows.Scan(dest...)
	done()
	return v, err
}

// actionStates reads what actions left on hosts, kept from others.
func (s *session) actionStates(hosts []any) (map[fleet.HostID]fleet.HostActionState, error) {
	out := make(map[fleet.HostID]fleet.HostActionState, len(hosts))
	err := chunked(hosts, func(chunk []any) error {
		in, args := inList(chunk)
		list, err := collect(s, scanActionState, actionSelect+" WHERE ha.host_id IN "+in+" ORDER BY ha.host_id"+s.db.dialect.lockForUpdate(), args...)
		for i := range list {
			out[list[i].HostID] = list[i]
		}
		return err
	})
	return out, err
}

func (s *session) actionFacts(look fleet.ActionLookup) (f fleet.ActionFacts, err error) {
	lock := s.db.dialect.lockForUpdate()
	if look.Actor != 0 {
		// Two requests of one person at once would each miss the other.
		var id int64
		if _, err := s.get("SELECT id FROM users WHERE id = ?"+lock, []any{int64(look.Actor)}, &id); err != nil {
			return f, err
		}
		if f.Used, f.Oldest, err = s.actionsUsed(look); err != nil {
			return f, err
		}
	}
	if look.RequestUUID != "" {
		if f.Request, err = s.actionRequest(look.RequestUUID); err != nil {
			return f, err
		}
	}
	if f.Hosts, err = s.actionHosts(look.Hosts); err != nil {
		return f, err
	}
	if look.CommandUUID != "" && len(f.Hosts) == 1 {
		f.Command, f.Answered, err = s.commandOfHost(f.Hosts[0].Host.ID, f.Hosts[0].EnrollmentID, look.CommandUUID)
	}
	return f, err
}

// actionHosts reads hosts with their device channels, kept from others.
func (s *session) actionHosts(ids []fleet.HostID) ([]fleet.ActionHost, error) {
	values := make([]any, len(ids))
	for i, id := range ids {
		values[i] = int64(id)
	}
	var out []fleet.ActionHost
	err := chunked(values, func(chunk []any) error {
		if err := s.lockHosts(chunk); err != nil {
			return err
		}
		in, args := inList(chunk)
		list, err := collect(s, scanActionHost, actionHostSelect+" WHERE h.id IN "+in+
			" ORDER BY h.id, CASE WHEN e.enroll_key = h.uuid THEN 0 ELSE 1 END, e.state, e.id DESC", append([]any{string(fleet.ScopeUnlockToken)}, args...)...)
		for i := range list {
			// The first channel of a host that has several is its own.
			if len(out) == 0 || out[len(out)-1].Host.ID != list[i].Host.ID {
				out = append(out, list[i])
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	states, err := s.actionStates(values)
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].Action = states[out[i].Host.ID]
		out[i].Action.HostID = out[i].Host.ID
	}
	return out, s.inherit(out)
}

const actionHostSelect = `SELECT h.id, h.uuid, h.hardware_serial, h.hostname, h.computer_name, h.platform, h.team_id, h.mdm_status, h.supervised,
	COALESCE(hs.seen_at, 0), COALESCE(e.id, 0), COALESCE(e.enroll_key, ''), COALESCE(e.state, 0),
	EXISTS (SELECT 1 FROM secrets u WHERE u.scope = ? AND u.name = e.enroll_key),
	EXISTS (SELECT 1 FROM command_queue q JOIN commands c ON c.id = q.command_id WHERE q.enrollment_id = e.id AND c.request_type = 'ClearPasscode')
	FROM hosts h LEFT JOIN host_seen hs ON hs.host_id = h.id LEFT JOIN enrollments e ON e.host_id = h.id AND e.parent_id = 0`

func scanActionHost(rows *sql.Rows) (v fleet.ActionHost, err error) {
	var computer string
	var seen int64
	err = rows.Scan(&v.Host.ID, &v.Host.UUID, &v.Host.Serial, &v.Host.Hostname, &computer, &v.Host.Platform, &v.Host.TeamID, &v.Host.MDM,
		&v.Supervised, &seen, &v.EnrollmentID, &v.EnrollmentKey, &v.State, &v.HasUnlockTok, &v.Clearing)
	v.SeenAt = timeOf(seen)
	if computer != "" {
		v.Host.Hostname = computer
	}
	return v, err
}

// commandOfHost finds a command on a host's queue, or what it was answered.
func (s *session) commandOfHost(host fleet.HostID, enrollment fleet.EnrollmentID, uuid string) (*fleet.WaitingCommand, fleet.CommandStatus, error) {
	var c fleet.WaitingCommand
	found, err := s.get("SELECT c.id, c.uuid, c.request_type, c.purpose, q.sends, q.not_now_count FROM command_queue q JOIN commands c ON c.id = q.command_id"+
		" WHERE q.enrollment_id = ? AND c.uuid = ?"+s.db.dialect.lockForUpdate(), []any{int64(enrollment), uuid},
		&c.ID, &c.UUID, &c.RequestType, &c.Purpose, &c.Sends, &c.NotNow)
	if err != nil || found {
		return &c, 0, err
	}
	var status fleet.CommandStatus
	_, err = s.get("SELECT r.status FROM command_results r JOIN commands c ON c.id = r.command_id WHERE r.host_id = ? AND c.uuid = ?",
		[]any{int64(host), uuid}, &status)
	return nil, status, err
}

// readActionTargets reads what actions left on the hosts whose commands are
// reported on; without such a report it reads nothing.
func (s *session) readActionTargets(reports []*exchange) error {
	var hosts []any
	for _, x := range reports {
		if x.known && x.target.Command.Purpose == fleet.CommandAction {
			hosts = append(hosts, int64(x.target.HostID))
		}
	}
	if len(hosts) == 0 {
		return nil
	}
	states, err := s.actionStates(hosts)
	for _, x := range reports {
		if x.known && x.target.Command.Purpose == fleet.CommandAction {
			x.target.Action = states[x.target.HostID]
			x.target.Action.HostID = x.target.HostID
		}
	}
	return err
}

// finishActions stores what answers mean for actions.
func (s *session) finishActions(reports []*exchange) error {
	var states []fleet.HostActionState
	var secrets []fleet.SecretWrite
	for _, x := range reports {
		if !x.known || x.out.Keep {
			continue
		}
		secrets = append(secrets, x.out.Secrets...)
		if x.out.Action != nil {
			states = append(states, *x.out.Action)
		}
	}
	if err := s.putActionStates(states); err != nil {
		return err
	}
	return s.writeSecrets(secrets)
}

// afterActions drops what actions left on a host that begins anew, but for the
// recovery lock password, which its Mac may still have; or it ends those that
// are pending on one that leaves.
func (s *session) afterActions(host fleet.HostID, forget, end bool) error {
	switch {
	case host == 0:
		return nil
	case forget:
		v, err := s.archiveSecrets(host)
		if err != nil {
			return err
		}
		if v.RecoveryUUID != "" {
			return s.putActionStates([]fleet.HostActionState{{HostID: host, RecoveryUUID: v.RecoveryUUID}})
		}
		return s.exec("DELETE FROM host_actions WHERE host_id = ?", int64(host))
	case end:
		return s.exec("UPDATE host_actions SET pending = 0, command_uuid = '', recovery_next = '', rotate_at = 0 WHERE host_id = ?", int64(host))
	}
	return nil
}

// RotationsDue returns up to limit hosts whose recovery lock password is to be
// replaced by now.
func (a *HostActions) RotationsDue(ctx context.Context, now time.Time, limit int) ([]fleet.HostID, error) {
	return collect(a.db.view(ctx), func(r *sql.Rows) (id fleet.HostID, err error) { return id, r.Scan(&id) },
		"SELECT host_id FROM host_actions WHERE rotate_at > 0 AND rotate_at <= ? ORDER BY rotate_at, host_id LIMIT ?", micros(now), limit)
}

// LockedButHeardOf returns up to limit Macs that are locked and were heard of
// more than settles after what was last done to them.
func (a *HostActions) LockedButHeardOf(ctx context.Context, settles time.Duration, limit int) ([]fleet.HostID, error) {
	return collect(a.db.view(ctx), scanKeyOf[fleet.HostID], "SELECT ha.host_id FROM host_actions ha JOIN hosts h ON h.id = ha.host_id AND h.platform = ?"+
		" JOIN host_seen hs ON hs.host_id = ha.host_id AND hs.seen_at > ha.updated_at + ? WHERE ha.status = ? AND ha.pending = 0 ORDER BY ha.host_id LIMIT ?",
		string(fleet.PlatformDarwin), settles.Microseconds(), int64(fleet.DeviceLocked), limit)
}

// Sweep drops sealed fields of commands that nobody needs any more: those
// that wait, open a Mac or set a password in force are kept, and so are those
// that are archived.
func (a *HostActions) Sweep(ctx context.Context) error {
	return a.db.update(ctx, func(s *session) error {
		return s.exec("DELETE FROM secrets WHERE scope = ?"+
			" AND NOT EXISTS (SELECT 1 FROM commands c JOIN command_queue q ON q.command_id = c.id WHERE c.uuid = secrets.name)"+
			" AND NOT EXISTS (SELECT 1 FROM host_actions a WHERE a.pin_uuid = secrets.name)"+
			" AND NOT EXISTS (SELECT 1 FROM host_actions a WHERE a.recovery_uuid = secrets.name OR a.recovery_next = secrets.name)"+
			" AND NOT EXISTS (SELECT 1 FROM archived_secrets x WHERE x.command_uuid = secrets.name)"+
			" AND NOT EXISTS (SELECT 1 FROM action_requests r WHERE r.uuid = secrets.name AND r.phase IN (2, 3))", string(fleet.ScopeAction))
	})
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Commands keeps MDM commands, the queue of those not answered, and the
// history of those that were.
type Commands struct{ db *DB }

// NewCommands returns the commands of db.
func NewCommands(db *DB) *Commands { return &Commands{db} }

// FanoutThreshold is the number of targets up to which a command is queued in
// the transaction that accepts it. For more, the targets are noted there and
// queued in batches; see Fanout.
const FanoutThreshold = 500

// Enqueue accepts a command for the targets, all of it or nothing. It returns
// the targets whose enrollment was no longer on. KindConflict: a command with
// this UUID exists.
func (c *Commands) Enqueue(ctx context.Context, cmd *fleet.Command, targets []fleet.Target, events ...fleet.Event) ([]fleet.Target, error) {
	var off []fleet.Target
	err := c.db.update(ctx, func(s *session) error {
		off = nil
		if len(targets) > FanoutThreshold {
			if err := s.putCommand(cmd); err != nil {
				return err
			}
			if err := s.addFanout(cmd, targets); err != nil {
				return err
			}
			return s.appendEvents(withCommand(events, cmd.ID)...)
		}
		on, gone, err := s.stillOn(targets)
		if err != nil {
			return err
		}
		off = gone
		if len(on) == 0 {
			return fleet.Errorf(fleet.KindPrecondition, "none of the hosts is enrolled any more")
		}
		if err := s.enqueue(cmd, on); err != nil {
			return err
		}
		return s.appendEvents(withCommand(events, cmd.ID)...)
	})
	if isDuplicate(err) {
		return nil, fleet.FieldErrorf(fleet.KindConflict, "command", "a command with CommandUUID %s exists already: use a new one", cmd.UUID)
	}
	return off, err
}

func withCommand(events []fleet.Event, id fleet.CommandID) []fleet.Event {
	out := make([]fleet.Event, len(events))
	for i, e := range events {
		e.CommandID = id
		out[i] = e
	}
	return out
}

// stillOn splits targets by whether their enrollment is on.
func (s *session) stillOn(targets []fleet.Target) (on, off []fleet.Target, err error) {
	ids := make([]any, len(targets))
	for i, t := range targets {
		ids[i] = int64(t.EnrollmentID)
	}
	live := make(map[fleet.EnrollmentID]bool, len(targets))
	err = chunked(ids, func(chunk []any) error {
		list, err := collect(s, func(r *sql.Rows) (id fleet.EnrollmentID, err error) { return id, r.Scan(&id) },
			"SELECT id FROM enrollments WHERE state = ? AND id IN ("+placeholders(len(chunk))+")",
			append([]any{int64(fleet.EnrollmentOn)}, chunk...)...)
		for _, id := range list {
			live[id] = true
		}
		return err
	})
	for _, t := range targets {
		if live[t.EnrollmentID] {
			on = append(on, t)
		} else {
			off = append(off, t)
		}
	}
	return on, off, err
}

// enqueue stores a command and puts it on the queue of its targets, which are
// to be pushed to at once.
func (s *session) enqueue(cmd *fleet.Command, targets []fleet.Target) error {
	if err := s.putCommand(cmd); err != nil {
		return err
	}
	return s.queueFor(cmd.ID, s.db.nextSeq(), targets)
}

func (s *session) putCommand(cmd *fleet.Command) error {
	id, err := s.key("commands")
	if err != nil {
		return err
	}
	cmd.ID = fleet.CommandID(id)
	if cmd.CreatedAt.IsZero() {
		cmd.CreatedAt = s.db.clock()
	}
	if cmd.Whole != nil {
		if err := s.writeSecrets([]fleet.SecretWrite{*cmd.Whole}); err != nil {
			return err
		}
	}
	return s.put("commands", commandCols, [][]any{{id, cmd.UUID, clip(cmd.RequestType, 100), int64(cmd.Purpose), string(cmd.Platform),
		cmd.Body, micros(cmd.CreatedAt), int64(cmd.CreatedBy.Kind), int64(cmd.CreatedBy.UserID), clip(cmd.CreatedBy.Name, 255),
		int64(cmd.ItemID), cmd.ItemVersion, cmd.Expand}}, "", 0)
}

var commandCols = []string{"id", "uuid", "request_type", "purpose", "platform", "body", "created_at", "actor_kind", "actor_id", "actor_name",
	"item_id", "item_version", "expand"}

var queueCols = []string{"enrollment_id", "seq", "command_id", "host_id", "held", "not_now_count", "sends", "sent_at"}

func (s *session) queueFor(id fleet.CommandID, seq int64, targets []fleet.Target) error {
	rows := make([][]any, 0, len(targets))
	due := make([][]any, 0, len(targets))
	now := s.db.now()
	for _, t := range targets {
		s.commandsWait(t.EnrollmentID)
		rows = append(rows, []any{int64(t.EnrollmentID), seq, int64(id), int64(t.Host.ID), false, 0, 0, 0})
		due = append(due, []any{int64(t.EnrollmentID), now, 0, 0, "", 0})
	}
	tail := s.db.dialect.onConflict([]string{"command_id", "enrollment_id"}, nil)
	if err := s.put("command_queue", queueCols, rows, tail, 0); err != nil {
		return fmt.Errorf("queue command: %w", err)
	}
	return s.pushDue(due)
}

// finish carries out what follows from an answer.
func (s *session) finish(t *fleet.CommandTarget, out *fleet.ReportOutcome) error {
	if !out.Unenrolled {
		return nil
	}
	s.identitiesChanged() // and the user channels below
	return s.exec("UPDATE enrollments SET state = ? WHERE id = ? OR parent_id = ?",
		int64(fleet.EnrollmentOff), int64(t.EnrollmentID), int64(t.EnrollmentID))
}

// SweepSecrets drops what was sealed of commands that no device is to get any
// more.
func (c *Commands) SweepSecrets(ctx context.Context) error {
	return c.db.update(ctx, func(s *session) error {
		return s.exec("DELETE FROM secrets WHERE scope = ? AND NOT EXISTS (SELECT 1 FROM commands c WHERE c.uuid = secrets.name AND"+
			" (EXISTS (SELECT 1 FROM command_queue q WHERE q.command_id = c.id) OR EXISTS (SELECT 1 FROM command_fanouts f WHERE f.command_id = c.id)))",
			string(fleet.ScopeCommand))
	})
}

// ephemeral lists the purposes of commands that are kept for nobody.
var ephemeral = func() string {
	var list []string
	for p := fleet.CommandCustom; p <= fleet.CommandDeclare; p++ {
		if p.Ephemeral() {
			list = append(list, strconv.Itoa(int(p)))
		}
	}
	return strings.Join(list, ", ")
}()

// cancelQueue takes back what is queued for an enrollment; what a person
// asked for stays in the history as cancelled.
func (s *session) cancelQueue(enrollment int64) error {
	var first int64
	found, err := s.get("SELECT command_id FROM command_queue WHERE enrollment_id = ? LIMIT 1", []any{enrollment}, &first)
	if err != nil || !found {
		return err
	}
	return s.closeQueue(enrollment, fleet.CommandCancelled, "")
}

// closeQueue moves queued commands to the history with the given status, those
// of a condition or all. The
// numbers are written into the text because PostgreSQL types parameters of a
// SELECT list as text.
func (s *session) closeQueue(enrollment int64, status fleet.CommandStatus, cond string) error {
	tail := s.db.dialect.onConflict([]string{"command_id", "enrollment_id"}, []string{"status", "updated_at"})
	if err := s.exec(fmt.Sprintf("INSERT INTO command_results (command_id, enrollment_id, host_id, status, result, updated_at, sends, not_now_count)"+
		" SELECT q.command_id, q.enrollment_id, q.host_id, %d, '', CAST(? AS %s), q.sends, q.not_now_count"+
		" FROM command_queue q JOIN commands c ON c.id = q.command_id WHERE q.enrollment_id = ? AND c.purpose NOT IN (%s)%s%s",
		status, s.db.dialect.castInt(), ephemeral, cond, tail), s.db.now(), enrollment); err != nil {
		return fmt.Errorf("close commands: %w", err)
	}
	if cond == "" {
		return s.emptyQueue(enrollment)
	}
	return s.exec("DELETE FROM command_queue WHERE enrollment_id = ? AND EXISTS (SELECT 1 FROM commands c"+
		" WHERE c.id = command_queue.command_id"+cond+")", enrollment)
}

// emptyQueue takes everything off an enrollment's queue, and erases the
// commands that are kept for nobody: those by which Muster itself asked.
func (s *session) emptyQueue(enrollment int64) error {
	asked, err := collect(s, scanKey,
		"SELECT q.command_id FROM command_queue q JOIN commands c ON c.id = q.command_id WHERE q.enrollment_id = ? AND c.purpose IN ("+ephemeral+")",
		enrollment)
	if err != nil {
		return err
	}
	if err := s.exec("DELETE FROM command_queue WHERE enrollment_id = ?", enrollment); err != nil {
		return err
	}
	return s.eraseUnqueued(asked)
}

// eraseUnqueued erases commands that nobody is to get any more.
func (s *session) eraseUnqueued(ids []any) error {
	return chunked(ids, func(some []any) error {
		in, args := inList(some)
		return s.exec("DELETE FROM commands WHERE id IN "+in+" AND NOT EXISTS (SELECT 1 FROM command_queue q WHERE q.command_id = commands.id)", args...)
	})
}

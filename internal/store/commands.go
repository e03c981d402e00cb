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
	return s.exec("INSERT INTO commands (id, uuid, request_type, purpose, platform, body, created_at, actor_kind, actor_id, actor_name,"+
		" item_id, item_version, expand) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", id, cmd.UUID, clip(cmd.RequestType, 100),
		int64(cmd.Purpose), string(cmd.Platform), cmd.Body, micros(cmd.CreatedAt), int64(cmd.CreatedBy.Kind), int64(cmd.CreatedBy.UserID),
		clip(cmd.CreatedBy.Name, 255), int64(cmd.ItemID), cmd.ItemVersion, cmd.Expand)
}

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
	if err := s.insertRows("command_queue", queueCols, rows, tail); err != nil {
		return fmt.Errorf("queue command: %w", err)
	}
	return s.pushDue(due)
}

// Exchange is one turn on the command channel: it stores what the device
// reported (nil: Idle), as decide says, and takes the next command, all in
// one transaction. A report about a command that is not on the enrollment's
// queue changes nothing. decide is not called then. With only set, just
// commands of that purpose are handed out.
func (c *Commands) Exchange(ctx context.Context, enrollment fleet.EnrollmentID, report *fleet.CommandReport, only fleet.CommandPurpose,
	decide func(fleet.CommandTarget) fleet.ReportOutcome) (*fleet.NextCommand, error) {
	var next *fleet.NextCommand
	err := c.db.update(ctx, func(s *session) error {
		known := false
		if report == nil {
			// A new connection: what was put off may be asked again.
			if err := s.exec("UPDATE command_queue SET held = FALSE WHERE enrollment_id = ? AND held = TRUE", int64(enrollment)); err != nil {
				return err
			}
		} else {
			var err error
			if known, err = s.report(enrollment, report, decide); err != nil {
				return fmt.Errorf("store report: %w", err)
			}
		}
		var err error
		if next, err = s.takeNext(enrollment, only); err != nil {
			return fmt.Errorf("take next command: %w", err)
		}
		if next != nil || only != 0 {
			return nil
		}
		return s.nothingNow(enrollment, known && report.Status.Final())
	})
	return next, err
}

func (s *session) report(enrollment fleet.EnrollmentID, r *fleet.CommandReport,
	decide func(fleet.CommandTarget) fleet.ReportOutcome) (known bool, err error) {
	t := fleet.CommandTarget{EnrollmentID: enrollment}
	known, err = s.get("SELECT c.id, c.uuid, c.request_type, c.purpose, c.item_id, c.item_version, q.host_id, q.not_now_count, q.sends"+
		" FROM commands c JOIN command_queue q ON q.command_id = c.id WHERE c.uuid = ? AND q.enrollment_id = ?",
		[]any{r.CommandUUID, int64(enrollment)},
		&t.Command.ID, &t.Command.UUID, &t.Command.RequestType, &t.Command.Purpose, &t.Command.ItemID,
		&t.Command.ItemVersion, &t.HostID, &t.NotNowCount, &t.Sends)
	if err != nil || !known {
		return false, err
	}
	if t.Command.Purpose.ForItems() {
		if err := s.itemsOf(&t); err != nil {
			return false, fmt.Errorf("read the host's items: %w", err)
		}
	}
	out := decide(t)
	// Whoever changes the queue's row has the report: a repetition that is
	// handled at the same time finds none.
	change := "DELETE FROM command_queue WHERE command_id = ? AND enrollment_id = ?"
	if out.Keep {
		change = "UPDATE command_queue SET held = TRUE, not_now_count = not_now_count + 1 WHERE command_id = ? AND enrollment_id = ?"
	}
	n, err := s.changed(change, int64(t.Command.ID), int64(enrollment))
	if err != nil || n == 0 {
		return false, err
	}
	if !out.Keep {
		if err := s.finish(&t, &out, r); err != nil {
			return true, err
		}
	}
	if out.Event != nil {
		e := *out.Event
		e.HostID, e.EnrollmentID, e.CommandID = t.HostID, enrollment, t.Command.ID
		return true, s.appendEvents(e)
	}
	return true, nil
}

// finish carries out what follows from an answer, and keeps or erases it.
func (s *session) finish(t *fleet.CommandTarget, out *fleet.ReportOutcome, r *fleet.CommandReport) error {
	if out.Vitals != nil && t.HostID != 0 {
		if err := s.applyVitals(t.HostID, out.Vitals); err != nil {
			return err
		}
	}
	if out.Unenrolled {
		s.identitiesChanged() // and the user channels below
		if err := s.exec("UPDATE enrollments SET state = ? WHERE id = ? OR parent_id = ?",
			int64(fleet.EnrollmentOff), int64(t.EnrollmentID), int64(t.EnrollmentID)); err != nil {
			return err
		}
	}
	if err := s.applyItemOutcome(t, out); err != nil {
		return fmt.Errorf("store what it means for items: %w", err)
	}
	if !out.Store {
		return s.eraseUnqueued(int64(t.Command.ID))
	}
	// An item that was taken away and came back has the same commands again.
	tail := s.db.dialect.onConflict([]string{"command_id", "enrollment_id"}, []string{"status", "result", "updated_at", "sends", "not_now_count"})
	return s.exec("INSERT INTO command_results (command_id, enrollment_id, host_id, status, result, updated_at, sends, not_now_count)"+
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?)"+tail, int64(t.Command.ID), int64(t.EnrollmentID), int64(t.HostID), int64(out.Status),
		r.Body, micros(r.At), t.Sends, t.NotNowCount)
}

// takeNext hands out the oldest command that is not put off. Nothing is
// handed to an enrollment that is off.
func (s *session) takeNext(enrollment fleet.EnrollmentID, only fleet.CommandPurpose) (*fleet.NextCommand, error) {
	var n fleet.NextCommand
	var seq int64
	args := []any{int64(enrollment)}
	cond := ""
	if only != 0 {
		cond = " AND c.purpose = ?"
		args = append(args, int64(only))
	}
	found, err := s.get("SELECT q.command_id, q.seq, c.uuid, c.body, c.expand, q.host_id FROM command_queue q JOIN commands c ON c.id = q.command_id"+
		" JOIN enrollments e ON e.id = q.enrollment_id WHERE q.enrollment_id = ? AND q.held = FALSE AND e.state IN (2, 4)"+cond+
		" ORDER BY q.seq, q.command_id LIMIT 1", args, &n.ID, &seq, &n.UUID, &n.Body, &n.Expand, &n.HostID)
	if err != nil || !found {
		return nil, err
	}
	err = s.exec("UPDATE command_queue SET sends = sends + 1, sent_at = ? WHERE enrollment_id = ? AND seq = ? AND command_id = ?",
		s.db.now(), int64(enrollment), seq, int64(n.ID))
	return &n, err
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

// finishRenewals completes renewals that a device carried out and never
// acknowledged: it uses the new identity, which says enough.
func (s *session) finishRenewals(e *fleet.Enrollment) error {
	return s.closeQueue(int64(e.ID), fleet.CommandAcknowledged, fmt.Sprintf(" AND c.purpose = %d", fleet.CommandRenew))
}

// closeQueue moves queued commands to the history with the given status. The
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
	asked, err := collect(s, func(r *sql.Rows) (id int64, err error) { return id, r.Scan(&id) },
		"SELECT q.command_id FROM command_queue q JOIN commands c ON c.id = q.command_id WHERE q.enrollment_id = ? AND c.purpose IN ("+ephemeral+")",
		enrollment)
	if err != nil {
		return err
	}
	if err := s.exec("DELETE FROM command_queue WHERE enrollment_id = ?", enrollment); err != nil {
		return err
	}
	for _, id := range asked {
		if err := s.eraseUnqueued(id); err != nil {
			return err
		}
	}
	return nil
}

// eraseUnqueued erases a command that nobody is to get any more.
func (s *session) eraseUnqueued(id int64) error {
	return s.exec("DELETE FROM commands WHERE id = ? AND NOT EXISTS (SELECT 1 FROM command_queue q WHERE q.command_id = ?)", id, id)
}

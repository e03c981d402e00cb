package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Exchange is one turn on the command channel: it stores what the device
// reported (nil: Idle), as decide says, and takes the next command, all in
// one transaction. A report about a command that is not on the enrollment's
// queue changes nothing. decide is not called then. With only set, just
// commands of that purpose are handed out.
func (c *Commands) Exchange(ctx context.Context, enrollment fleet.EnrollmentID, report *fleet.CommandReport, only fleet.CommandPurpose,
	decide func(fleet.CommandTarget) fleet.ReportOutcome) (*fleet.NextCommand, error) {
	job := &exchange{enrollment: enrollment, report: report, only: only, decide: decide}
	if err := c.db.exchanges.do(ctx, job); err != nil {
		return nil, err
	}
	return job.next, nil
}

// exchange is one call of Exchange. Those that wait at the same time share
// their statements; see batcher.
type exchange struct {
	enrollment fleet.EnrollmentID
	report     *fleet.CommandReport
	only       fleet.CommandPurpose
	decide     func(fleet.CommandTarget) fleet.ReportOutcome

	known  bool // the report is about a command on the queue
	target fleet.CommandTarget
	out    fleet.ReportOutcome
	next   *fleet.NextCommand
	waits  bool // without next: something is put off
}

func (x *exchange) claims() []string { return []string{strconv.FormatInt(int64(x.enrollment), 10)} }

// finished tells that the device ended a command.
func (x *exchange) finished() bool { return x.known && x.report.Status.Final() }

// exchangeAll carries out exchanges of different enrollments.
func (s *session) exchangeAll(jobs []*exchange) error {
	var idle []any
	var reports []*exchange
	byPurpose := map[fleet.CommandPurpose][]*exchange{}
	for _, x := range jobs {
		x.known, x.next, x.waits = false, nil, false
		byPurpose[x.only] = append(byPurpose[x.only], x)
		if x.report != nil {
			reports = append(reports, x)
		} else {
			idle = append(idle, int64(x.enrollment))
		}
	}
	if len(idle) > 0 {
		// A new connection: what was put off may be asked again.
		in, args := inList(idle)
		if err := s.exec("UPDATE command_queue SET held = FALSE WHERE enrollment_id IN "+in+" AND held = TRUE", args...); err != nil {
			return err
		}
	}
	if err := s.storeReports(reports); err != nil {
		return fmt.Errorf("store report: %w", err)
	}
	for only, group := range byPurpose {
		if err := s.handOut(group, only); err != nil {
			return fmt.Errorf("take next command: %w", err)
		}
	}
	return s.nothingNow(jobs)
}

// storeReports reads what the reports are about, has it decided, and stores
// that.
func (s *session) storeReports(reports []*exchange) error {
	if len(reports) == 0 {
		return nil
	}
	if err := s.readReported(reports); err != nil {
		return err
	}
	if err := s.readItemTargets(reports); err != nil {
		return fmt.Errorf("read the hosts' items: %w", err)
	}
	if err := s.readActionTargets(reports); err != nil {
		return fmt.Errorf("read what actions left: %w", err)
	}
	if err := s.readRenewals(reports); err != nil {
		return fmt.Errorf("read renewals: %w", err)
	}
	var kept, done []*exchange
	for _, x := range reports {
		if !x.known {
			continue
		}
		if x.out = x.decide(x.target); x.out.Stale {
			return fleet.ErrStaleRules
		}
		if x.out.Keep {
			kept = append(kept, x)
		} else {
			done = append(done, x)
		}
	}
	// Whoever changes the queue's row has the report: a repetition that is
	// handled at the same time finds none.
	if err := s.ownRows("UPDATE command_queue SET held = TRUE, not_now_count = not_now_count + 1", kept); err != nil {
		return err
	}
	if err := s.ownRows("DELETE FROM command_queue", done); err != nil {
		return err
	}
	return s.finishAll(reports)
}

// readReported finds the commands that the reports are about on the queues of
// their senders.
func (s *session) readReported(reports []*exchange) error {
	byEnrollment := make(map[fleet.EnrollmentID]*exchange, len(reports))
	rows := make([][]any, 0, len(reports))
	for _, x := range reports {
		byEnrollment[x.enrollment] = x
		rows = append(rows, []any{x.report.CommandUUID, int64(x.enrollment)})
	}
	values, args := s.db.dialect.valuesTable(intValue, rows)
	found, err := collect(s, func(r *sql.Rows) (t fleet.CommandTarget, err error) {
		return t, r.Scan(&t.EnrollmentID, &t.Command.ID, &t.Command.UUID, &t.Command.RequestType, &t.Command.Purpose, &t.Command.ItemID,
			&t.Command.ItemVersion, &t.HostID, &t.NotNowCount, &t.Sends)
	}, "SELECT q.enrollment_id, c.id, c.uuid, c.request_type, c.purpose, c.item_id, c.item_version, q.host_id, q.not_now_count, q.sends"+
		" FROM "+values+" v JOIN commands c ON c.uuid = v.column1 JOIN command_queue q ON q.command_id = c.id AND q.enrollment_id = v.column2", args...)
	for _, t := range found {
		x := byEnrollment[t.EnrollmentID]
		x.known, x.target = true, t
	}
	return err
}

// ownRows changes the queue's rows of reports, all of them or none: a report
// whose row is gone meanwhile is not known any more.
func (s *session) ownRows(change string, reports []*exchange) error {
	if len(reports) == 0 {
		return nil
	}
	in, args := s.db.dialect.inPairs(queueKeys(reports, func(x *exchange) fleet.CommandID { return x.target.Command.ID }))
	n, err := s.changed(change+" WHERE (command_id, enrollment_id) IN "+in, args...)
	switch {
	case err != nil || n == int64(len(reports)):
		return err
	case len(reports) == 1:
		reports[0].known = false
		return nil
	}
	return errRaced
}

func queueKeys(jobs []*exchange, command func(*exchange) fleet.CommandID) [][2]int64 {
	keys := make([][2]int64, 0, len(jobs))
	for _, x := range jobs {
		keys = append(keys, [2]int64{int64(command(x)), int64(x.enrollment)})
	}
	return keys
}

// finishAll carries out what follows from answers, keeps or erases them, and
// appends their events.
func (s *session) finishAll(reports []*exchange) error {
	var results [][]any
	var erased []any
	var events []fleet.Event
	for _, x := range reports {
		if !x.known {
			continue
		}
		t := &x.target
		if x.out.Event != nil {
			e := *x.out.Event
			e.HostID, e.EnrollmentID, e.CommandID = t.HostID, x.enrollment, t.Command.ID
			events = append(events, e)
		}
		if x.out.Keep {
			continue
		}
		if err := s.finish(t, &x.out); err != nil {
			return err
		}
		if !x.out.Store {
			erased = append(erased, int64(t.Command.ID))
			continue
		}
		answer := x.report.Body
		if x.out.Answer != nil {
			answer = x.out.Answer
		}
		results = append(results, []any{int64(t.Command.ID), int64(x.enrollment), int64(t.HostID), int64(x.out.Status),
			answer, micros(x.report.At), t.Sends, t.NotNowCount})
	}
	// An item that was taken away and came back has the same commands again.
	if err := s.insertRows("command_results", resultCols, results, s.db.dialect.onConflict(resultCols[:2], resultCols[3:])); err != nil {
		return err
	}
	if err := s.finishRenewalReports(reports); err != nil {
		return fmt.Errorf("store what answers mean for renewals: %w", err)
	}
	if err := s.takeInventories(reports); err != nil {
		return err
	}
	if err := s.finishItems(reports); err != nil {
		return fmt.Errorf("store what answers mean for items: %w", err)
	}
	if err := s.finishActions(reports); err != nil {
		return fmt.Errorf("store what answers mean for actions: %w", err)
	}
	if err := s.setupsAnswered(reports); err != nil {
		return fmt.Errorf("wake setups: %w", err)
	}
	if err := s.eraseUnqueued(erased); err != nil {
		return err
	}
	return s.appendEvents(events...)
}

var resultCols = []string{"command_id", "enrollment_id", "host_id", "status", "result", "updated_at", "sends", "not_now_count"}

// handOut takes the oldest command of each enrollment that is not put off, of
// the purpose if that is set. Nothing is handed to an enrollment that is off.
func (s *session) handOut(jobs []*exchange, only fleet.CommandPurpose) error {
	byEnrollment := make(map[fleet.EnrollmentID]*exchange, len(jobs))
	ids := make([]any, 0, len(jobs))
	for _, x := range jobs {
		byEnrollment[x.enrollment] = x
		ids = append(ids, int64(x.enrollment))
	}
	cond := ""
	if only != 0 {
		cond = fmt.Sprintf(" AND (SELECT o.purpose FROM commands o WHERE o.id = q.command_id) = %d", only)
	}
	type row struct {
		enrollment fleet.EnrollmentID
		fleet.NextCommand
		waits bool
	}
	in, args := inList(ids)
	found, err := collect(s, func(r *sql.Rows) (v row, err error) {
		return v, r.Scan(&v.enrollment, &v.HostID, &v.ID, &v.UUID, &v.Body, &v.Expand, &v.Purpose, &v.EnrollmentKey, &v.waits)
	}, "SELECT n.id, n.host_id, COALESCE(c.id, 0), COALESCE(c.uuid, ''), c.body, COALESCE(c.expand, FALSE), COALESCE(c.purpose, 0), n.enroll_key,"+
		" CASE WHEN c.id IS NULL THEN EXISTS (SELECT 1 FROM command_queue w WHERE w.enrollment_id = n.id) ELSE TRUE END"+
		" FROM (SELECT e.id AS id, e.host_id AS host_id, e.enroll_key AS enroll_key, CASE WHEN e.state IN (2, 4) THEN (SELECT q.command_id FROM command_queue q WHERE q.enrollment_id = e.id AND q.held = FALSE"+
		cond+" ORDER BY q.seq, q.command_id LIMIT 1) ELSE 0 END AS command_id FROM enrollments e WHERE e.id IN "+in+") n"+
		" LEFT JOIN commands c ON c.id = n.command_id", args...)
	if err != nil {
		return err
	}
	var given []*exchange
	for _, r := range found {
		x := byEnrollment[r.enrollment]
		if x.waits = r.waits; r.ID != 0 {
			x.next = &r.NextCommand
			given = append(given, x)
		}
	}
	if len(given) == 0 {
		return nil
	}
	pairs, keys := s.db.dialect.inPairs(queueKeys(given, func(x *exchange) fleet.CommandID { return x.next.ID }))
	n, err := s.changed("UPDATE command_queue SET sends = sends + 1, sent_at = ? WHERE (command_id, enrollment_id) IN "+pairs,
		append([]any{s.db.now()}, keys...)...)
	switch {
	case err != nil || n == int64(len(given)):
		return err
	case len(jobs) > 1:
		return errRaced
	}
	// The command was taken back after it was read: it may be a wipe that counts
	// as never sent. The next one is handed out.
	jobs[0].next, jobs[0].waits = nil, false
	return s.handOut(jobs, only)
}

// nothingNow ends exchanges that have no command to hand out. Commands that
// the device put off may still wait; if it finished another one after that, it
// will not come back by itself and is woken later.
func (s *session) nothingNow(jobs []*exchange) error {
	var due [][]any
	for _, x := range jobs {
		switch {
		case x.next != nil || x.only != 0:
		case !x.waits:
			s.nothingWaits(x.enrollment)
		case x.finished():
			due = append(due, []any{int64(x.enrollment), s.db.now() + heldPushDelay.Microseconds(), 0, 0, "", 0})
		}
	}
	return s.pushDue(due)
}

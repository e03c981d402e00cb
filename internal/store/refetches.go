package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Refetches keeps when hosts are asked for their vitals, and which of them
// have not answered.
type Refetches struct{ db *DB }

// NewRefetches returns the refetches of db.
func NewRefetches(db *DB) *Refetches { return &Refetches{db} }

var refetchCols = []string{"host_id", "due_at", "waiting", "period", "fault"}

// refetch is a row of host_refetches.
type refetch struct {
	host    fleet.HostID
	due     int64
	waiting fleet.RefetchParts
	period  int64
	fault   string
}

func scanRefetch(rows *sql.Rows) (r refetch, err error) {
	return r, rows.Scan(&r.host, &r.due, &r.waiting, &r.period, &r.fault)
}

func (r *refetch) values() []any {
	return []any{int64(r.host), r.due, int64(r.waiting), r.period, clip(r.fault, 255)}
}

const refetchSelect = "SELECT host_id, due_at, waiting, period, fault FROM host_refetches"

const refetchFacts = `SELECT h.id, h.uuid, h.hardware_serial, h.hostname, h.platform, h.refetch_at, h.detail_updated_at, COALESCE(r.due_at, 0),
	COALESCE(e.id, 0), COALESCE(e.channel, 0), COALESCE(e.enrolled_at, 0)
	FROM %s LEFT JOIN enrollments e ON e.host_id = h.id AND e.parent_id = 0 AND e.state = 2 WHERE %s ORDER BY %s`

func scanRefetchFacts(rows *sql.Rows) (fleet.RefetchFacts, error) {
	var f fleet.RefetchFacts
	var asked, details, due, enrolled int64
	var channel fleet.Channel
	err := rows.Scan(&f.Host.ID, &f.Host.UUID, &f.Host.Serial, &f.Host.Hostname, &f.Host.Platform, &asked, &details, &due, &f.EnrollmentID, &channel, &enrolled)
	f.Personal = channel == fleet.ChannelBYODDevice
	f.AskedAt, f.DetailsAt, f.DueAt, f.EnrolledAt = timeOf(asked), timeOf(details), timeOf(due), timeOf(enrolled)
	return f, err
}

// maxRefetchPause is longer than any pause between refetches that can be set. A
// time further ahead was written when the clock was wrong.
const maxRefetchPause = 35 * 24 * time.Hour

// Due returns up to limit hosts that are to be asked by now, the longest due
// first.
func (r *Refetches) Due(ctx context.Context, now time.Time, limit int) ([]fleet.RefetchFacts, error) {
	s := r.db.view(ctx)
	list, err := collect(s, scanRefetchFacts, fmt.Sprintf(refetchFacts, "host_refetches r JOIN hosts h ON h.id = r.host_id",
		"r.due_at > 0 AND r.due_at <= ?", "r.due_at, h.id, e.id DESC LIMIT ?"), micros(now), limit)
	if err == nil && len(list) < limit {
		var ahead []fleet.RefetchFacts
		ahead, err = collect(s, scanRefetchFacts, fmt.Sprintf(refetchFacts, "host_refetches r JOIN hosts h ON h.id = r.host_id",
			"r.due_at > ?", "r.due_at, h.id, e.id DESC LIMIT ?"), micros(now.Add(maxRefetchPause)), limit-len(list))
		list = append(list, ahead...)
	}
	if err != nil {
		return nil, fmt.Errorf("find due refetches: %w", err)
	}
	return oneEach(list), nil
}

// oneEach keeps the newest channel of a host that has several.
func oneEach(list []fleet.RefetchFacts) []fleet.RefetchFacts {
	return slices.CompactFunc(list, func(a, b fleet.RefetchFacts) bool { return a.Host.ID == b.Host.ID })
}

// Of returns what decides about a refetch of one host; nil: there is no such.
func (r *Refetches) Of(ctx context.Context, id fleet.HostID) (*fleet.RefetchFacts, error) {
	list, err := collect(r.db.view(ctx), scanRefetchFacts, fmt.Sprintf(refetchFacts, "hosts h LEFT JOIN host_refetches r ON r.host_id = h.id",
		"h.id = ?", "e.id DESC"), int64(id))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// Ask queues the commands of refetches, in one transaction, in the place of
// those of the same hosts that are not answered. Hosts about which something
// else was decided meanwhile, or whose enrollment is off, are left out; those
// without an enrollment are not due any more.
func (r *Refetches) Ask(ctx context.Context, asks []fleet.RefetchAsk, events ...fleet.Event) error {
	err := r.db.update(ctx, func(s *session) error {
		good, err := s.stillDue(asks)
		if err != nil {
			return err
		}
		if err := s.supersede(good); err != nil {
			return err
		}
		if err := s.queueRefetches(good); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
	if err != nil {
		return fmt.Errorf("ask hosts for vitals: %w", err)
	}
	return nil
}

// stillDue locks the rows of the hosts and keeps the decisions that still
// hold.
func (s *session) stillDue(asks []fleet.RefetchAsk) ([]fleet.RefetchAsk, error) {
	asks = slices.Clone(asks)
	slices.SortFunc(asks, func(a, b fleet.RefetchAsk) int { return cmp.Compare(a.Facts.Host.ID, b.Facts.Host.ID) })
	due := make(map[fleet.HostID]int64, len(asks))
	var off [][]any
	err := chunked(asks, func(chunk []fleet.RefetchAsk) error {
		ids := make([]any, len(chunk))
		for i := range chunk {
			ids[i] = int64(chunk[i].Facts.Host.ID)
		}
		in, args := inList(ids)
		rows, err := collect(s, scanRefetch, refetchSelect+" WHERE host_id IN "+in+" ORDER BY host_id"+s.db.dialect.lockForUpdate(), args...)
		for _, row := range rows {
			due[row.host] = row.due
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var targets []fleet.Target
	asks = slices.DeleteFunc(asks, func(a fleet.RefetchAsk) bool {
		id := a.Facts.Host.ID
		if due[id] != micros(a.Facts.DueAt) {
			return true
		}
		if a.Facts.EnrollmentID == 0 {
			off = append(off, (&refetch{host: id}).values())
			return true
		}
		targets = append(targets, fleet.Target{EnrollmentID: a.Facts.EnrollmentID})
		return false
	})
	if err := s.upsertRows("host_refetches", refetchCols, 1, off); err != nil {
		return nil, err
	}
	on, _, err := s.stillOn(targets)
	if err != nil {
		return nil, err
	}
	live := make(map[fleet.EnrollmentID]bool, len(on))
	for _, t := range on {
		live[t.EnrollmentID] = true
	}
	return slices.DeleteFunc(asks, func(a fleet.RefetchAsk) bool { return !live[a.Facts.EnrollmentID] }), nil
}

// supersede takes back what the hosts were asked before: a device that comes
// back is asked once.
func (s *session) supersede(asks []fleet.RefetchAsk) error {
	var silent []any
	for i := range asks {
		if len(asks[i].Commands) > 0 && !asks[i].Facts.AskedAt.IsZero() {
			silent = append(silent, int64(asks[i].Facts.EnrollmentID))
		}
	}
	return chunked(silent, func(chunk []any) error {
		in, args := inList(chunk)
		ids, err := collect(s, scanKey, fmt.Sprintf("SELECT DISTINCT q.command_id FROM command_queue q JOIN commands c ON c.id = q.command_id"+
			" WHERE q.enrollment_id IN %s AND c.purpose = %d", in, fleet.CommandVitals), args...)
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := s.exec(fmt.Sprintf("DELETE FROM command_queue WHERE enrollment_id IN %s AND EXISTS (SELECT 1 FROM commands c"+
			" WHERE c.id = command_queue.command_id AND c.purpose = %d)", in, fleet.CommandVitals), args...); err != nil {
			return err
		}
		return s.eraseUnqueued(ids)
	})
}

func (s *session) queueRefetches(asks []fleet.RefetchAsk) error {
	seqs := map[*fleet.Command]int64{} // commands that are stored already
	var rows, queue, due [][]any
	var asked []any
	now := s.db.now()
	for i := range asks {
		a := &asks[i]
		due = append(due, []any{int64(a.Facts.EnrollmentID), now, 0, 0, "", 0})
		if len(a.Commands) == 0 {
			continue
		}
		for _, cmd := range a.Commands {
			if seqs[cmd] == 0 {
				if err := s.putCommand(cmd); err != nil {
					return fmt.Errorf("store command: %w", err)
				}
				seqs[cmd] = s.db.nextSeq()
			}
			queue = append(queue, []any{int64(a.Facts.EnrollmentID), seqs[cmd], int64(cmd.ID), int64(a.Facts.Host.ID), false, 0, 0, 0})
		}
		s.commandsWait(a.Facts.EnrollmentID)
		rows = append(rows, (&refetch{host: a.Facts.Host.ID, due: micros(a.RetryAt), waiting: a.Parts, period: a.Period.Microseconds()}).values())
		asked = append(asked, int64(a.Facts.Host.ID))
	}
	if err := s.insertRows("command_queue", queueCols, queue, ""); err != nil {
		return fmt.Errorf("queue commands: %w", err)
	}
	if err := s.upsertRows("host_refetches", refetchCols, 1, rows); err != nil {
		return err
	}
	if err := s.noteRefetch(asked, now); err != nil {
		return err
	}
	return s.pushDue(due)
}

// refetchSoon makes a host due that has just been enrolled.
func (s *session) refetchSoon(id fleet.HostID) error {
	row := refetch{host: id, due: s.db.now()}
	return s.put("host_refetches", refetchCols, [][]any{row.values()}, s.db.dialect.onConflict(refetchCols[:1], refetchCols[1:]), 1)
}

// refetched notes which parts hosts have answered. One that answered
// everything is due again after its pause.
func (s *session) refetched(reports []*exchange) error {
	parts, faults := map[fleet.HostID]fleet.RefetchParts{}, map[fleet.HostID]string{}
	var ids []any
	for _, x := range reports {
		if id := x.target.HostID; x.known && !x.out.Keep && x.out.Refetched != 0 && id != 0 {
			parts[id] |= x.out.Refetched
			faults[id] = firstText(faults[id], x.out.RefetchFault)
			ids = append(ids, int64(id))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	in, args := inList(ids)
	list, err := collect(s, scanRefetch, refetchSelect+" WHERE host_id IN "+in+" ORDER BY host_id"+s.db.dialect.lockForUpdate(), args...)
	if err != nil {
		return err
	}
	var rows [][]any
	var done []any
	for i := range list {
		r := &list[i]
		left := r.waiting &^ parts[r.host]
		if left == r.waiting {
			continue
		}
		r.waiting, r.fault = left, firstText(r.fault, faults[r.host])
		if left == 0 {
			r.due = s.db.now() + r.period
			done = append(done, int64(r.host))
		}
		rows = append(rows, r.values())
	}
	if err := s.upsertRows("host_refetches", refetchCols, 1, rows); err != nil {
		return err
	}
	return s.noteRefetch(done, 0)
}

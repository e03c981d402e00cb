package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Renewals keeps renewals of device identities under way, and tells which
// identities expire.
type Renewals struct{ db *DB }

// NewRenewals returns the renewals of db.
func NewRenewals(db *DB) *Renewals { return &Renewals{db} }

var renewalCols = []string{"enrollment_id", "identity_id", "waiting", "attempts", "asked_at", "deadline", "due_at", "fault", "acknowledged"}

var renewalSelect = "SELECT " + strings.Join(renewalCols, ", ") + " FROM renewals"

func scanRenewal(rows *sql.Rows) (fleet.Renewal, error) {
	var r fleet.Renewal
	var asked, deadline, due int64
	err := rows.Scan(&r.EnrollmentID, &r.IdentityID, &r.Waiting, &r.Attempts, &asked, &deadline, &due, &r.Fault, &r.Acknowledged)
	r.AskedAt, r.Deadline, r.DueAt = timeOf(asked), timeOf(deadline), timeOf(due)
	return r, err
}

func renewalValues(r *fleet.Renewal) []any {
	return []any{int64(r.EnrollmentID), int64(r.IdentityID), r.Waiting, r.Attempts, micros(r.AskedAt), micros(r.Deadline), micros(r.DueAt), clip(r.Fault, 255), r.Acknowledged}
}

const renewalFactCols = `e.id, e.enroll_key, e.host_id, e.generation, e.topic, e.server_url, e.checkin_url, e.access_rights`

func scanRenewalFacts(rows *sql.Rows, more ...any) (fleet.RenewalFacts, error) {
	var f fleet.RenewalFacts
	e := &f.Enrollment
	e.Channel, e.State = fleet.ChannelDevice, fleet.EnrollmentOn
	err := rows.Scan(append([]any{&e.ID, &e.Key, &e.HostID, &e.Generation, &e.Topic, &e.ServerURL, &e.CheckInURL, &e.AccessRights}, more...)...)
	return f, err
}

// inUse are the identities that devices use: not those of enrollments that
// ended, nor those that another took over from.
const inUse = " FROM identities i JOIN enrollments e ON e.id = i.enrollment_id AND e.state = 2 AND e.channel IN (1, 3)" +
	" WHERE i.superseded_at = 0 AND i.revoked_at = 0 AND i.used_at > 0"

// renewable are those of inUse that can be renewed: of a device that its owner
// enrolled with an account, the owner signs in again.
const renewable = inUse + " AND e.channel = 1"

// Expiring returns identities in use that expire before the time and of which
// no renewal is under way, the nearest first.
func (r *Renewals) Expiring(ctx context.Context, before time.Time, limit int) ([]fleet.RenewalFacts, error) {
	list, err := collect(r.db.view(ctx), func(rows *sql.Rows) (fleet.RenewalFacts, error) {
		var id fleet.IdentityID
		var notAfter int64
		f, err := scanRenewalFacts(rows, &id, &notAfter)
		f.IdentityID, f.NotAfter = id, timeOf(notAfter)
		return f, err
	}, "SELECT "+renewalFactCols+", i.id, i.not_after"+renewable+" AND i.not_after <= ?"+
		" AND NOT EXISTS (SELECT 1 FROM renewals r WHERE r.enrollment_id = e.id) ORDER BY i.not_after, i.id LIMIT ?", micros(before), limit)
	if err != nil {
		return nil, fmt.Errorf("find identities that expire: %w", err)
	}
	seen := map[fleet.EnrollmentID]bool{}
	return slices.DeleteFunc(list, func(f fleet.RenewalFacts) bool {
		again := seen[f.Enrollment.ID]
		seen[f.Enrollment.ID] = true
		return again
	}), nil
}

// OfHost returns the identity that a host uses, with its renewal if one was
// begun; nil: it has none.
func (r *Renewals) OfHost(ctx context.Context, host fleet.HostID) (*fleet.RenewalFacts, error) {
	s := r.db.view(ctx)
	list, err := collect(s, func(rows *sql.Rows) (fleet.RenewalFacts, error) {
		var id fleet.IdentityID
		var notAfter int64
		f, err := scanRenewalFacts(rows, &id, &notAfter)
		f.IdentityID, f.NotAfter = id, timeOf(notAfter)
		return f, err
	}, "SELECT "+renewalFactCols+", i.id, i.not_after"+renewable+" AND e.host_id = ? ORDER BY i.used_at DESC, i.id DESC LIMIT 1", int64(host))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	begun, err := collect(s, scanRenewal, renewalSelect+" WHERE enrollment_id = ?", int64(list[0].Enrollment.ID))
	if err != nil {
		return nil, err
	}
	if len(begun) > 0 {
		list[0].Renewal = &begun[0]
	}
	return &list[0], nil
}

// maxRenewalPause is longer than any pause of a renewal. A time further ahead
// was written when the clock was wrong.
const maxRenewalPause = 8 * 24 * time.Hour

// Due returns up to limit renewals that are to be looked at.
func (r *Renewals) Due(ctx context.Context, now time.Time, limit int) ([]fleet.RenewalFacts, error) {
	list, err := collect(r.db.view(ctx), func(rows *sql.Rows) (fleet.RenewalFacts, error) {
		var v fleet.Renewal
		var asked, deadline, due int64
		var sends int
		f, err := scanRenewalFacts(rows, &v.IdentityID, &v.Waiting, &v.Attempts, &asked, &deadline, &due, &v.Fault, &v.Acknowledged, &sends)
		v.EnrollmentID, v.AskedAt, v.Deadline, v.DueAt = f.Enrollment.ID, timeOf(asked), timeOf(deadline), timeOf(due)
		f.Renewal, f.IdentityID, f.Sends = &v, v.IdentityID, sends
		return f, err
	}, fmt.Sprintf("SELECT "+renewalFactCols+", r.identity_id, r.waiting, r.attempts, r.asked_at, r.deadline, r.due_at, r.fault, r.acknowledged,"+
		" COALESCE((SELECT MAX(q.sends) FROM command_queue q JOIN commands c ON c.id = q.command_id WHERE q.enrollment_id = r.enrollment_id AND c.purpose = %d), 0)"+
		" FROM renewals r JOIN enrollments e ON e.id = r.enrollment_id WHERE (r.due_at <= ? OR r.due_at > ?) ORDER BY r.due_at, r.enrollment_id LIMIT ?", fleet.CommandRenew),
		micros(now), micros(now.Add(maxRenewalPause)), limit)
	if err != nil {
		return nil, fmt.Errorf("find renewals to look at: %w", err)
	}
	return list, nil
}

// Apply carries decisions out, in one transaction, but for those whose facts
// changed meanwhile: the enrollment began anew or ended, or somebody else
// decided.
func (r *Renewals) Apply(ctx context.Context, steps []fleet.RenewalStep) error {
	err := r.db.update(ctx, func(s *session) error {
		good, err := s.stillRenewing(steps)
		if err != nil || len(good) == 0 {
			return err
		}
		return s.applyRenewals(good)
	})
	if err != nil {
		return fmt.Errorf("renew identities: %w", err)
	}
	return nil
}

func (s *session) stillRenewing(steps []fleet.RenewalStep) ([]fleet.RenewalStep, error) {
	ids := make([]any, len(steps))
	for i := range steps {
		ids[i] = int64(steps[i].Facts.Enrollment.ID)
	}
	type row struct {
		id         fleet.EnrollmentID
		generation int64
	}
	in, args := inList(ids)
	generations := map[fleet.EnrollmentID]int64{}
	list, err := collect(s, func(r *sql.Rows) (v row, err error) { return v, r.Scan(&v.id, &v.generation) },
		"SELECT id, generation FROM enrollments WHERE state = 2 AND id IN "+in+" ORDER BY id"+s.db.dialect.lockForUpdate(), args...)
	if err != nil {
		return nil, err
	}
	for _, v := range list {
		generations[v.id] = v.generation
	}
	held, err := collect(s, scanRenewal, renewalSelect+" WHERE enrollment_id IN "+in, args...)
	if err != nil {
		return nil, err
	}
	due := map[fleet.EnrollmentID]time.Time{}
	for _, v := range held {
		due[v.EnrollmentID] = v.DueAt
	}
	return slices.DeleteFunc(slices.Clone(steps), func(v fleet.RenewalStep) bool {
		e := &v.Facts.Enrollment
		generation, on := generations[e.ID]
		at, begun := due[e.ID]
		return !on || generation != e.Generation || begun != (v.Facts.Renewal != nil) || begun && !at.Equal(v.Facts.Renewal.DueAt)
	}), nil
}

func (s *session) applyRenewals(steps []fleet.RenewalStep) error {
	var rows [][]any
	var over []any
	var secrets []fleet.SecretWrite
	var events []fleet.Event
	for i := range steps {
		v := &steps[i]
		rows = append(rows, renewalValues(&v.Next))
		events = append(events, v.Events...)
		if v.Command != nil || !v.Next.Waiting {
			over = append(over, int64(v.Next.EnrollmentID))
		}
		if v.Secret != nil {
			secrets = append(secrets, *v.Secret)
		}
	}
	if err := s.eraseRenewalCommands(over); err != nil {
		return err
	}
	s.holdWrites()
	defer func() { s.held = nil }()
	if err := s.put("renewals", renewalCols, rows, s.db.dialect.onConflict(renewalCols[:1], renewalCols[1:]), 1); err != nil {
		return err
	}
	for i := range steps {
		v := &steps[i]
		if v.Command == nil {
			continue
		}
		if err := s.addChallenge(*v.Challenge); err != nil {
			return err
		}
		target := fleet.Target{EnrollmentID: v.Next.EnrollmentID, Host: fleet.HostRef{ID: v.Facts.Enrollment.HostID}}
		if err := s.enqueue(v.Command, []fleet.Target{target}); err != nil {
			return err
		}
	}
	if err := s.writeSecrets(secrets); err != nil {
		return err
	}
	if err := s.appendEvents(events...); err != nil {
		return err
	}
	return s.flush()
}

// eraseRenewalCommands takes the commands of renewals off the queues.
func (s *session) eraseRenewalCommands(enrollments []any) error {
	if len(enrollments) == 0 {
		return nil
	}
	in, args := inList(enrollments)
	ids, err := collect(s, scanKey, fmt.Sprintf("SELECT q.command_id FROM command_queue q JOIN commands c ON c.id = q.command_id"+
		" WHERE q.enrollment_id IN %s AND c.purpose = %d", in, fleet.CommandRenew), args...)
	if err != nil || len(ids) == 0 {
		return err
	}
	own, values := inList(ids)
	if err := s.exec("DELETE FROM command_queue WHERE command_id IN "+own, values...); err != nil {
		return err
	}
	return s.eraseUnqueued(ids)
}

// endRenewal forgets the renewal of an enrollment: it is completed, or the
// enrollment began anew or ended.
func (s *session) endRenewal(id fleet.EnrollmentID) error {
	if id == 0 {
		return nil
	}
	if err := s.eraseRenewalCommands([]any{int64(id)}); err != nil {
		return err
	}
	return s.exec("DELETE FROM renewals WHERE enrollment_id = ?", int64(id))
}

// readRenewals reads the renewals that reports are about.
func (s *session) readRenewals(reports []*exchange) error {
	byEnrollment := map[fleet.EnrollmentID]*exchange{}
	var ids []any
	for _, x := range reports {
		if x.known && x.target.Command.Purpose == fleet.CommandRenew {
			byEnrollment[x.enrollment] = x
			ids = append(ids, int64(x.enrollment))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	in, args := inList(ids)
	list, err := collect(s, scanRenewal, renewalSelect+" WHERE enrollment_id IN "+in+" ORDER BY enrollment_id"+s.db.dialect.lockForUpdate(), args...)
	for i := range list {
		byEnrollment[list[i].EnrollmentID].target.Renewal = &list[i]
	}
	return err
}

func (s *session) finishRenewalReports(reports []*exchange) error {
	var rows [][]any
	for _, x := range reports {
		if x.known && x.out.Renewal != nil {
			rows = append(rows, renewalValues(x.out.Renewal))
		}
	}
	return s.upsertRows("renewals", renewalCols, 1, rows)
}

// Expiries counts the identities in use that expire before a time, by week from
// now, and names the first of them.
func (r *Renewals) Expiries(ctx context.Context, now, before time.Time, nearest int) (fleet.IdentityExpiry, error) {
	const week = int64(7 * 24 * time.Hour / time.Microsecond)
	out := fleet.IdentityExpiry{Weeks: map[int]int{}}
	s := r.db.view(ctx)
	// A CASE keeps division of negative numbers out, which databases round
	// differently. The numbers are in the text: PostgreSQL groups by parameters
	// only if they are one.
	weeks := fmt.Sprintf("CASE WHEN i.not_after < %d THEN -1 ELSE (i.not_after - %d - MOD(i.not_after - %d, %d)) / %d END", micros(now), micros(now), micros(now), week, week)
	if r.db.dialect == SQLite {
		weeks = strings.Replace(weeks, fmt.Sprintf("MOD(i.not_after - %d, %d)", micros(now), week), fmt.Sprintf("((i.not_after - %d) %% %d)", micros(now), week), 1)
	}
	_, err := collect(s, func(rows *sql.Rows) (struct{}, error) {
		var n int
		var week float64 // MySQL divides to a decimal
		err := rows.Scan(&week, &n)
		out.Weeks[int(week)] += n
		return struct{}{}, err
	}, "SELECT "+weeks+", COUNT(*)"+inUse+" AND i.not_after <= ? GROUP BY 1", micros(before))
	if err != nil {
		return out, fmt.Errorf("count identities that expire: %w", err)
	}
	out.Nearest, err = collect(s, func(rows *sql.Rows) (v fleet.ExpiringIdentity, err error) {
		var notAfter int64
		var waiting bool
		h := &v.Host
		err = rows.Scan(&h.ID, &h.UUID, &h.Serial, &h.Hostname, &h.Platform, &notAfter, &waiting, &v.Attempts, &v.Fault)
		v.NotAfter, v.Renewing = timeOf(notAfter), waiting
		return v, err
	}, "SELECT COALESCE(h.id, 0), COALESCE(h.uuid, e.enroll_key), COALESCE(h.hardware_serial, e.serial), COALESCE(h.hostname, ''), COALESCE(h.platform, ''), i.not_after,"+
		" COALESCE(r.waiting, FALSE), COALESCE(r.attempts, 0), COALESCE(r.fault, '')"+
		strings.Replace(inUse, " WHERE", " LEFT JOIN hosts h ON h.id = e.host_id LEFT JOIN renewals r ON r.enrollment_id = e.id WHERE", 1)+
		" AND i.not_after <= ? ORDER BY i.not_after, i.id LIMIT ?", micros(before), nearest)
	if err != nil {
		return out, fmt.Errorf("find the first identities that expire: %w", err)
	}
	return out, nil
}

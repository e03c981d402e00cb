package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Apply carries out one check-in: decide sees the facts and says what
// changes. It returns the enrollment as it is afterwards (nil: none).
func (e *Enrollments) Apply(ctx context.Context, look fleet.CheckinLookup,
	decide func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error)) (*fleet.Enrollment, error) {
	job := &checkin{look: look, decide: decide}
	if err := e.db.checkins.do(ctx, job); err != nil {
		return nil, err
	}
	return job.after, job.refused
}

// checkin is one call of Apply. Those that wait at the same time share their
// statements; see batcher.
type checkin struct {
	look   fleet.CheckinLookup
	decide func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error)

	facts   fleet.EnrollmentFacts
	after   *fleet.Enrollment
	refused error // decide's
}

func (c *checkin) claims() []string {
	claims := []string{"key " + c.look.Key.ID}
	if c.look.Key.ParentID != "" {
		claims = append(claims, "key "+c.look.Key.ParentID)
	}
	if c.look.IdentityID != 0 {
		claims = append(claims, "identity "+strconv.FormatInt(int64(c.look.IdentityID), 10))
	}
	if c.look.Serial != "" {
		claims = append(claims, "serial "+c.look.Serial)
	}
	if c.look.UDID != "" && c.look.UDID != c.look.Key.ID {
		claims = append(claims, "key "+c.look.UDID)
	}
	return claims
}

// checkinAll carries out check-ins of different devices. What one of them
// writes waits in the session and is written for all of them together.
func (s *session) checkinAll(jobs []*checkin) error {
	for _, c := range jobs {
		c.facts, c.after, c.refused = fleet.EnrollmentFacts{}, nil, nil
	}
	if err := s.readFacts(jobs); err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	if len(jobs) > 1 {
		s.holdWrites() // a lone check-in has nobody to wait for
	}
	for _, c := range jobs {
		change, err := c.decide(c.facts)
		if err != nil {
			c.refused = err
			continue
		}
		after := c.facts.Enrollment
		if change.Enrollment != nil {
			after = change.Enrollment
		}
		if err := s.applyChange(&change, after, c.facts.Identity); err != nil {
			return err
		}
		c.after = after
	}
	return s.flush()
}

func (s *session) readFacts(jobs []*checkin) error {
	// A device is locked before its user channels, as a reset does: it is
	// older than they are.
	var keys, ids []any
	for _, c := range jobs {
		keys = append(keys, c.look.Key.ID)
		if c.look.Key.ParentID != "" {
			keys = append(keys, c.look.Key.ParentID)
		}
		if c.look.IdentityID != 0 {
			ids = append(ids, int64(c.look.IdentityID))
		}
	}
	enrollments, err := s.lockedEnrollments(keys)
	if err != nil {
		return err
	}
	identities, err := s.identitiesByID(ids)
	if err != nil {
		return err
	}
	for _, c := range jobs {
		f := &c.facts
		f.Enrollment, f.Identity = enrollments[c.look.Key.ID], identities[c.look.IdentityID]
		if f.Identity != nil {
			if f.Identity.TeamID, err = s.teamOrNone(f.Identity.TeamID); err != nil {
				return err
			}
		}
		if c.look.Key.ParentID != "" {
			f.Parent = enrollments[c.look.Key.ParentID]
		}
		if f.Parent != nil && f.Enrollment == nil {
			if _, err := s.get("SELECT COUNT(*) FROM enrollments WHERE parent_id = ?", []any{int64(f.Parent.ID)}, &f.Users); err != nil {
				return err
			}
		}
	}
	if err := s.matchHosts(jobs); err != nil {
		return err
	}
	return s.strangersHosts(jobs)
}

// strangersHosts tells of hosts that were found by what the device says whether
// somebody else has a better claim to them.
func (s *session) strangersHosts(jobs []*checkin) error {
	found := map[fleet.HostID]*fleet.EnrollmentFacts{}
	var keys []any
	for _, c := range jobs {
		if h := c.facts.Host; h != nil && h.ID != c.bound().HostID {
			found[h.ID] = &c.facts
			keys = append(keys, int64(h.ID))
		}
	}
	if len(keys) == 0 {
		return nil
	}
	in, args := inList(keys)
	assigned, err := collect(s, scanKeyOf[fleet.HostID], "SELECT host_id FROM ade_devices WHERE deleted_at = 0 AND host_id IN "+in, args...)
	if err != nil {
		return err
	}
	for _, id := range assigned {
		found[id].HostAssigned = true
	}
	taken, err := collect(s, scanKeyOf[fleet.HostID], fmt.Sprintf("SELECT host_id FROM enrollments WHERE state = %d AND parent_id = 0 AND host_id IN ", fleet.EnrollmentOn)+in, args...)
	for _, id := range taken {
		found[id].HostTaken = true
	}
	return err
}

// scanKeyOf reads an integer key.
func scanKeyOf[K ~int64](r *sql.Rows) (id K, err error) { return id, r.Scan(&id) }

// lockedEnrollments reads enrollments by key and keeps others from changing
// them until the transaction ends. One that is created between the two reads
// is not returned: it is not locked. Whoever would create it again runs into
// its key.
func (s *session) lockedEnrollments(keys []any) (map[string]*fleet.Enrollment, error) {
	cond := "e.enroll_key IN "
	if lock := s.db.dialect.lockForUpdate(); lock != "" {
		// The rows are locked apart from the join, which PostgreSQL refuses.
		in, args := inList(keys)
		ids, err := collect(s, scanKey, "SELECT id FROM enrollments WHERE enroll_key IN "+in+" ORDER BY id"+lock, args...)
		if err != nil || len(ids) == 0 {
			return nil, err
		}
		cond, keys = "e.id IN ", ids
	}
	in, args := inList(keys)
	list, err := collect(s, scanEnrollment, enrollmentSelect+" WHERE "+cond+in, args...)
	if err != nil {
		return nil, err
	}
	found := make(map[string]*fleet.Enrollment, len(list))
	for i := range list {
		found[list[i].Key] = &list[i]
		s.remember("enrollments", enrollmentValues(&list[i]))
	}
	return found, nil
}

// scanKey reads an integer key as an argument of another statement.
func scanKey(r *sql.Rows) (any, error) {
	var id int64
	err := r.Scan(&id)
	return id, err
}

// matchHosts finds the host of each check-in: the enrollment's own, else by
// serial, then by UDID. Hosts are kept from others before they are read: an
// action that began in between would be pending for ever when the check-in
// cancels what is queued.
func (s *session) matchHosts(jobs []*checkin) error {
	for _, stage := range []struct {
		column string
		value  func(*checkin) any // nil: no such
		of     func(*fleet.Host) any
	}{
		{"h.id", func(c *checkin) any { return nonZero(int64(c.bound().HostID)) }, func(h *fleet.Host) any { return int64(h.ID) }},
		{"h.hardware_serial", func(c *checkin) any { return nonZero(firstText(c.look.Serial, c.bound().Serial)) },
			func(h *fleet.Host) any { return h.HardwareSerial }},
		{"h.uuid", func(c *checkin) any { return nonZero(c.look.UDID) }, func(h *fleet.Host) any { return h.UUID }},
	} {
		open := map[any][]*checkin{}
		var values []any
		for _, c := range jobs {
			if v := stage.value(c); v != nil && c.facts.Host == nil {
				open[v] = append(open[v], c)
				values = append(values, v)
			}
		}
		hosts, err := s.lockedHostsBy(stage.column, values)
		if err != nil {
			return err
		}
		for i := range hosts {
			v := stage.of(&hosts[i])
			for _, c := range open[v] {
				c.facts.Host = &hosts[i]
			}
			delete(open, v) // the oldest host with a serial it is
		}
	}
	taken := map[fleet.HostID]bool{}
	for _, c := range jobs {
		if h := c.facts.Host; h != nil {
			if taken[h.ID] {
				return errRaced // two channels of one host: one after the other
			}
			taken[h.ID] = true
		}
	}
	return nil
}

// bound is the enrollment that knows the host; a zero one when there is none.
func (c *checkin) bound() *fleet.Enrollment {
	switch {
	case c.facts.Enrollment != nil:
		return c.facts.Enrollment
	case c.facts.Parent != nil:
		return c.facts.Parent
	}
	return &fleet.Enrollment{}
}

// nonZero is v, or nil for the zero value.
func nonZero[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

func firstText(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

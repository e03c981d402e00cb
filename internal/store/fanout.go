package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
)

// addFanout notes the targets of a command that are too many for one
// transaction.
func (s *session) addFanout(cmd *fleet.Command, targets []fleet.Target) error {
	ids := make([]int64, len(targets))
	for i, t := range targets {
		ids[i] = int64(t.EnrollmentID)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return s.exec("INSERT INTO command_fanouts (command_id, targets, total, done, created_at) VALUES (?, ?, ?, 0, ?)",
		int64(cmd.ID), packIDs(ids), len(ids), s.db.nextSeq())
}

// packIDs writes rising keys as the varints of their differences.
func packIDs(ids []int64) []byte {
	out := make([]byte, 0, len(ids)*2)
	last := int64(0)
	for _, id := range ids {
		out = binary.AppendUvarint(out, uint64(id-last))
		last = id
	}
	return out
}

var errPacked = errors.New("damaged list of targets")

// unpackIDs returns the keys from, from+1, ... from+n of a packed list.
func unpackIDs(packed []byte, from, n int) ([]int64, error) {
	out := make([]int64, 0, n)
	last := int64(0)
	for i := 0; len(packed) > 0 && len(out) < n; i++ {
		d, size := binary.Uvarint(packed)
		if size <= 0 {
			return nil, errPacked
		}
		packed = packed[size:]
		last += int64(d)
		if i >= from {
			out = append(out, last)
		}
	}
	return out, nil
}

// Fanout queues the oldest noted command for the next batch of its targets.
// It reports whether there was one: call it until it says false. Two callers
// at once do the work once.
func (c *Commands) Fanout(ctx context.Context, batch int) (bool, error) {
	more := false
	err := c.db.update(ctx, func(s *session) error {
		var id, seq int64
		var packed []byte
		var total, done int
		found, err := s.get("SELECT command_id, targets, total, done, created_at FROM command_fanouts ORDER BY created_at, command_id LIMIT 1",
			nil, &id, &packed, &total, &done, &seq)
		more = found
		if err != nil || !found {
			return err
		}
		ids, err := unpackIDs(packed, done, batch)
		if err != nil {
			return fmt.Errorf("command %d: %w", id, err)
		}
		if done+len(ids) >= total || len(ids) == 0 {
			n, err := s.changed("DELETE FROM command_fanouts WHERE command_id = ? AND done = ?", id, done)
			if err != nil || n == 0 {
				return err // another replica did the last batch
			}
		} else {
			n, err := s.changed("UPDATE command_fanouts SET done = ? WHERE command_id = ? AND done = ?", done+len(ids), id, done)
			if err != nil || n == 0 {
				return err // another replica did this batch
			}
		}
		return s.queueLive(fleet.CommandID(id), seq, ids)
	})
	return more, err
}

// queueLive puts a command on the queues of those of the enrollments that are
// on, without their rows leaving the database.
func (s *session) queueLive(id fleet.CommandID, seq int64, enrollments []int64) error {
	return chunked(enrollments, func(chunk []int64) error {
		for _, e := range chunk {
			s.commandsWait(fleet.EnrollmentID(e)) // one that is off has nothing all the same
		}
		in, args := inList(anys(chunk))
		live := " FROM enrollments e WHERE e.state = ? AND e.id IN " + in
		args = append([]any{int64(fleet.EnrollmentOn)}, args...)
		if err := s.exec("INSERT INTO command_queue ("+strings.Join(queueCols, ", ")+") SELECT e.id, ?, ?, e.host_id, FALSE, 0, 0, 0"+live+
			s.db.dialect.onConflict([]string{"command_id", "enrollment_id"}, nil), append([]any{seq, int64(id)}, args...)...); err != nil {
			return fmt.Errorf("queue command: %w", err)
		}
		if err := s.exec("INSERT INTO pushes ("+strings.Join(pushCols, ", ")+") SELECT e.id, ?, 0, 0, '', 0"+live+
			s.db.dialect.onConflict([]string{"enrollment_id"}, []string{"due_at", "attempts"}), append([]any{s.db.now()}, args...)...); err != nil {
			return fmt.Errorf("make pushes due: %w", err)
		}
		return nil
	})
}

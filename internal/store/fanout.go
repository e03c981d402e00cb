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
	return s.exec("INSERT INTO command_fanouts (command_id, targets, total, done, pushed, created_at) VALUES (?, ?, ?, 0, 0, ?)",
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

// Fanout queues the oldest noted command for the next batch of its targets,
// which the caller pushes to and then confirms with FanoutPushed. A batch that
// was not confirmed by the next call becomes due for pushes like anybody else.
// It reports whether there was anything to do: call it until it says false. Two
// callers at once do the work once.
func (c *Commands) Fanout(ctx context.Context, batch int) (queued fleet.FanoutBatch, more bool, err error) {
	err = c.db.update(ctx, func(s *session) error {
		queued, more = fleet.FanoutBatch{}, false
		var f fanout
		found, err := s.get("SELECT command_id, targets, total, done, pushed, created_at FROM command_fanouts ORDER BY created_at, command_id LIMIT 1",
			nil, &f.command, &f.targets, &f.total, &f.done, &f.pushed, &f.seq)
		more = found
		if err != nil || !found {
			return err
		}
		if f.pushed < f.done {
			return s.fanoutDue(f)
		}
		ids, err := f.ids(f.done, batch)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			_, err := s.fanoutMoves(f, f.total, f.total)
			return err
		}
		if mine, err := s.fanoutMoves(f, f.done+len(ids), f.pushed); err != nil || !mine {
			return err // another replica did this batch
		}
		queued.CommandID, queued.Queued = fleet.CommandID(f.command), f.done+len(ids)
		for _, id := range ids {
			queued.Enrollments = append(queued.Enrollments, fleet.EnrollmentID(id))
		}
		return s.queueLive(f.command, f.seq, ids)
	})
	if err != nil {
		return fleet.FanoutBatch{}, false, err
	}
	return queued, more, nil
}

// FanoutPushed notes that a batch was pushed to.
func (c *Commands) FanoutPushed(ctx context.Context, b fleet.FanoutBatch) error {
	return c.db.update(ctx, func(s *session) error {
		f := fanout{command: int64(b.CommandID), done: b.Queued, pushed: b.Queued - len(b.Enrollments)}
		found, err := s.get("SELECT total FROM command_fanouts WHERE command_id = ?", []any{f.command}, &f.total)
		if err != nil || !found {
			return err
		}
		_, err = s.fanoutMoves(f, f.done, f.done)
		return err
	})
}

// fanout is a noted command: of its total targets, the first done ones are
// queued and the first pushed ones pushed to or due.
type fanout struct {
	command, seq        int64
	targets             []byte
	total, done, pushed int
}

func (f fanout) ids(from, n int) ([]int64, error) {
	ids, err := unpackIDs(f.targets, from, n)
	if err != nil {
		return nil, fmt.Errorf("command %d: %w", f.command, err)
	}
	return ids, nil
}

// fanoutMoves notes progress, unless somebody else made some meanwhile.
func (s *session) fanoutMoves(f fanout, done, pushed int) (mine bool, err error) {
	query, args := "UPDATE command_fanouts SET done = ?, pushed = ?", []any{done, pushed}
	if pushed >= f.total {
		query, args = "DELETE FROM command_fanouts", nil
	}
	n, err := s.changed(query+" WHERE command_id = ? AND done = ? AND pushed = ?", append(args, f.command, f.done, f.pushed)...)
	return n > 0, err
}

// fanoutDue makes those due that were queued and perhaps not pushed to.
func (s *session) fanoutDue(f fanout) error {
	ids, err := f.ids(f.pushed, f.done-f.pushed)
	if err != nil {
		return err
	}
	if mine, err := s.fanoutMoves(f, f.done, f.done); err != nil || !mine {
		return err
	}
	insert := "INSERT INTO pushes (" + strings.Join(pushCols, ", ") + ") SELECT e.id, ?, 0, 0, '', 0"
	tail := s.db.dialect.onConflict([]string{"enrollment_id"}, []string{"due_at", "attempts"})
	if err := s.eachLive(ids, insert, []any{s.db.now()}, tail); err != nil {
		return fmt.Errorf("make pushes due: %w", err)
	}
	return nil
}

// queueLive puts a command on the queues of those of the enrollments that are
// on.
func (s *session) queueLive(command, seq int64, enrollments []int64) error {
	for _, e := range enrollments {
		s.commandsWait(fleet.EnrollmentID(e)) // one that is off has nothing all the same
	}
	insert := "INSERT INTO command_queue (" + strings.Join(queueCols, ", ") + ") SELECT e.id, ?, ?, e.host_id, FALSE, 0, 0, 0"
	if err := s.eachLive(enrollments, insert, []any{seq, command}, s.db.dialect.onConflict([]string{"command_id", "enrollment_id"}, nil)); err != nil {
		return fmt.Errorf("queue command: %w", err)
	}
	return nil
}

// minRun is how many keys in a row are selected as a range: a statement costs
// as much as some ten keys of a list.
const minRun = 32

// eachLive executes an INSERT with a SELECT from the rows e of those of the
// enrollments, given by rising keys, that are on. The rows do not leave the
// database, and keys that follow each other need not go there one by one.
func (s *session) eachLive(ids []int64, insert string, args []any, tail string) error {
	insert += " FROM enrollments e WHERE e.state = ? AND e.id "
	args = append(slices.Clip(args), int64(fleet.EnrollmentOn))
	runs, single := runsOf(ids)
	for _, r := range runs {
		if err := s.exec(insert+"BETWEEN ? AND ?"+tail, append(args, r[0], r[1])...); err != nil {
			return err
		}
	}
	return chunked(single, func(chunk []int64) error {
		in, keys := inList(anys(chunk))
		return s.exec(insert+"IN "+in+tail, append(args, keys...)...)
	})
}

// runsOf splits rising keys into ranges without gaps, first and last key, and
// the keys that make none of at least minRun.
func runsOf(ids []int64) (runs [][2]int64, single []int64) {
	for len(ids) > 0 {
		n := 1
		for n < len(ids) && ids[n] == ids[0]+int64(n) {
			n++
		}
		if n >= minRun {
			runs = append(runs, [2]int64{ids[0], ids[n-1]})
		} else {
			single = append(single, ids[:n]...)
		}
		ids = ids[n:]
	}
	return runs, single
}

package store

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// heldWrites are rows that a transaction is going to write: rows of several
// check-ins for one table then go into one statement. They are written by
// flush, or before a statement that names one of their tables, so that a
// transaction always sees its own writes.
type heldWrites struct {
	tables []string
	groups []*heldRows
	claims [][2]int64 // identity and enrollment
	due    []heldDue
}

// heldDue are rows of one table that become due together.
type heldDue struct {
	table, key, set string
	args            []any
	ids             []int64
}

// heldRows are rows for one INSERT. A later row with the same key, which is
// that many first columns, replaces an earlier one; 0: none does.
type heldRows struct {
	table, tail string
	cols        []string
	key         int
	rows        [][]any
}

// holdWrites makes rows wait for flush from now on.
func (s *session) holdWrites() { s.held = &heldWrites{} }

func (h *heldWrites) touch(table string) {
	if !slices.Contains(h.tables, table) {
		h.tables = append(h.tables, table)
	}
}

func (h *heldWrites) add(table string, cols []string, rows [][]any, tail string, key int) {
	h.touch(table)
	for _, g := range h.groups {
		if g.table == table && g.tail == tail && slices.Equal(g.cols, cols) {
			g.rows = append(g.rows, rows...)
			return
		}
	}
	h.groups = append(h.groups, &heldRows{table: table, tail: tail, cols: cols, key: key, rows: slices.Clone(rows)})
}

// put inserts rows or, with a tail, updates those whose key exists: one or two
// first columns; 0: the tail keeps what exists. Within a transaction that
// holds its writes they wait.
func (s *session) put(table string, cols []string, rows [][]any, tail string, key int) error {
	if len(rows) == 0 {
		return nil
	}
	if s.held == nil {
		return s.insertRows(table, cols, rows, tail)
	}
	s.held.add(table, cols, rows, tail, key)
	return nil
}

// makeDue makes rows due now that set and its args describe otherwise. Within a
// transaction that holds its writes they wait.
func (s *session) makeDue(table, key, set string, args []any, ids ...int64) error {
	if s.held == nil {
		slices.Sort(ids) // everyone locks in this order
		in, keys := inList(anys(ids))
		return s.exec("UPDATE "+table+" SET "+set+", due_at = ? WHERE "+key+" IN "+in, slices.Concat(args, []any{s.db.now()}, keys)...)
	}
	s.held.touch(table)
	for i := range s.held.due {
		if d := &s.held.due[i]; d.table == table && d.set == set && slices.Equal(d.args, args) {
			d.ids = append(d.ids, ids...)
			return nil
		}
	}
	s.held.due = append(s.held.due, heldDue{table: table, key: key, set: set, args: args, ids: ids})
	return nil
}

// flushFor comes before a statement: what it may read is written.
func (s *session) flushFor(query string) error {
	if s.held == nil {
		return nil
	}
	for _, table := range s.held.tables {
		if strings.Contains(query, table) {
			return s.flush()
		}
	}
	return nil
}

// flush writes what is held and goes on holding.
func (s *session) flush() error {
	h := s.held
	if h == nil || len(h.tables) == 0 {
		return nil
	}
	s.held = nil
	defer s.holdWrites()
	if err := s.claimIdentities(h.claims); err != nil {
		return err
	}
	for _, d := range h.due {
		if err := s.makeDue(d.table, d.key, d.set, d.args, d.ids...); err != nil {
			return fmt.Errorf("write %s: %w", d.table, err)
		}
	}
	for _, g := range h.groups {
		err := s.insertRows(g.table, g.cols, g.last(), g.tail)
		if g.table == "enrollments" {
			err = enrollmentTaken(err, g.rows[0][1])
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", g.table, err)
		}
	}
	return nil
}

// last are the rows without those that a later one replaces. Those that
// replace what is stored come in the order of their keys, in which everybody
// locks them.
func (g *heldRows) last() [][]any {
	if g.key == 0 || len(g.rows) == 1 {
		return g.rows
	}
	at := make(map[[2]any]int, len(g.rows))
	out := g.rows[:0]
	for _, r := range g.rows {
		var key [2]any
		copy(key[:g.key], r)
		if i, ok := at[key]; ok {
			out[i] = r
			continue
		}
		at[key] = len(out)
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b []any) int {
		x, isInt := a[0].(int64)
		y, _ := b[0].(int64)
		if !isInt {
			return 0
		}
		return cmp.Compare(x, y)
	})
	return out
}

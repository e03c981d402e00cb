package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/muster-mdm/muster/internal/fleet"
)

// plainQuerier is a pool or a transaction whose driver caches statements
// itself, or needs none.
type plainQuerier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// session runs portable SQL, in a transaction or outside one. Exactly one of
// plain and stmts is set.
type session struct {
	ctx   context.Context
	db    *DB
	plain plainQuerier
	stmts *stmtCache
	// before holds rows as they were loaded in this transaction, so that save
	// writes only what changed. Nil outside of transactions.
	before map[rowKey][]any
	news   *callerNews                   // for the cache of callers; nil: there is none
	held   *heldWrites                   // rows that wait for flush; nil: none do
	calls  int                           // how many calls of batchers the transaction serves
	teams  map[fleet.TeamID]fleet.TeamID // see teamOrNone
}

type rowKey struct {
	table string
	id    int64
}

// remember keeps a loaded row for save. values are in the order of the
// table's columns, the key first.
func (s *session) remember(table string, values []any) {
	if s.before != nil {
		s.before[rowKey{table, values[0].(int64)}] = values
	}
}

// save inserts a row, or updates what changed of one that was loaded in this
// transaction: indexes of other columns are then left alone. Rows that are
// updated together are written as an upsert, the one way to give many rows
// different values on all databases.
func (s *session) save(table string, cols []string, values []any) error {
	id := values[0].(int64)
	old, loaded := s.before[rowKey{table, id}]
	if !loaded {
		return s.put(table, cols, [][]any{values}, "", 0)
	}
	var changed, sets []string
	var args []any
	for i := 1; i < len(cols); i++ {
		if !sameValue(old[i], values[i]) {
			changed = append(changed, cols[i])
			sets = append(sets, cols[i]+" = ?")
			args = append(args, values[i])
		}
	}
	if len(sets) == 0 {
		return nil
	}
	s.before[rowKey{table, id}] = values
	if s.held != nil {
		return s.put(table, cols, [][]any{values}, s.db.dialect.onConflict(cols[:1], changed), 1)
	}
	return s.exec("UPDATE "+table+" SET "+strings.Join(sets, ", ")+" WHERE "+cols[0]+" = ?", append(args, id)...)
}

func sameValue(a, b any) bool {
	if x, ok := a.([]byte); ok {
		y, ok := b.([]byte)
		return ok && bytes.Equal(x, y)
	}
	if _, ok := b.([]byte); ok {
		return false
	}
	return a == b
}

// text is the query in the dialect.
func (s *session) text(query string) string {
	if s.db.dialect != Postgres {
		return query
	}
	if t, ok := s.db.rebound.Load(query); ok {
		return t.(string)
	}
	t := s.db.dialect.rebind(query)
	s.db.rebound.Store(query, t)
	return t
}

// storable replaces what not all databases take in a text, invalid UTF-8 and
// NUL, by the replacement character. PostgreSQL would refuse the whole
// statement, and a device that sends such a text would send it for ever.
func storable(args []any) []any {
	copied := false
	for i, a := range args {
		text, ok := a.(string)
		if !ok || utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
			continue
		}
		if !copied {
			args, copied = slices.Clone(args), true
		}
		args[i] = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	}
	return args
}

func (s *session) exec(query string, args ...any) error {
	_, err := s.result(query, args...)
	return err
}

// changed runs the query and reports how many rows it found.
func (s *session) changed(query string, args ...any) (int64, error) {
	res, err := s.result(query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (s *session) result(query string, args ...any) (sql.Result, error) {
	if err := s.flushFor(query); err != nil {
		return nil, err
	}
	args = storable(args)
	if s.stmts == nil {
		return s.plain.ExecContext(s.ctx, s.text(query), args...)
	}
	stmt, err := s.stmts.get(s.ctx, query)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return s.stmts.on.ExecContext(s.ctx, query, args...)
	}
	return stmt.ExecContext(s.ctx, args...)
}

func (s *session) query(query string, args ...any) (*sql.Rows, error) {
	if err := s.flushFor(query); err != nil {
		return nil, err
	}
	args = storable(args)
	if s.stmts == nil {
		return s.plain.QueryContext(s.ctx, s.text(query), args...)
	}
	stmt, err := s.stmts.get(s.ctx, query)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return s.stmts.on.QueryContext(s.ctx, query, args...)
	}
	return stmt.QueryContext(s.ctx, args...)
}

// get scans the first row into dest; found is false when there is none.
func (s *session) get(query string, args []any, dest ...any) (found bool, err error) {
	rows, err := s.query(query, args...)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if !rows.Next() {
		return false, rows.Err()
	}
	return true, rows.Scan(dest...)
}

// collect scans every row of a query with scan.
func collect[T any](s *session, scan func(*sql.Rows) (T, error), query string, args ...any) (out []T, err error) {
	rows, err := s.query(query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// insertRows inserts in chunks of few different lengths; tail is an onConflict
// or empty.
func (s *session) insertRows(table string, cols []string, rows [][]any, tail string) error {
	for len(rows) > 0 {
		n := s.db.dialect.insertChunk(len(rows))
		tuple := "(" + placeholders(len(cols)) + ")"
		query := fmt.Sprintf("INSERT INTO %s (%s) VALUES %s%s", table, strings.Join(cols, ", "),
			tuple+strings.Repeat(", "+tuple, n-1), tail)
		args := make([]any, 0, n*len(cols))
		for _, r := range rows[:n] {
			args = append(args, r...)
		}
		if err := s.exec(query, args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// chunked calls fn with slices of at most inChunk values.
func chunked[T any](values []T, fn func([]T) error) error {
	for len(values) > 0 {
		n := min(len(values), inChunk)
		if err := fn(values[:n]); err != nil {
			return err
		}
		values = values[n:]
	}
	return nil
}

// anys widens a slice for use as arguments.
func anys[T any](values []T) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

// maxPrepared bounds the statements that a cache keeps; lists of varying
// length make new texts, and those beyond the bound run unprepared.
const maxPrepared = 400

// stmtCache keeps prepared statements by text. SQLite only: the server
// drivers do this themselves.
type stmtCache struct {
	on     preparer
	mu     sync.RWMutex
	byText map[string]*sql.Stmt
}

// preparer is a pool or a connection.
type preparer interface {
	plainQuerier
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// get returns the prepared statement; nil when the query is to run unprepared.
func (c *stmtCache) get(ctx context.Context, query string) (*sql.Stmt, error) {
	c.mu.RLock()
	stmt, full := c.byText[query], len(c.byText) >= maxPrepared
	c.mu.RUnlock()
	if stmt != nil || full {
		return stmt, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if stmt := c.byText[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := c.on.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if c.byText == nil {
		c.byText = map[string]*sql.Stmt{}
	}
	c.byText[query] = stmt
	return stmt, nil
}

func (c *stmtCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, stmt := range c.byText {
		_ = stmt.Close() // the connection goes next
	}
	c.byText = nil
}

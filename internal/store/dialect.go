package store

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Dialect is one of the three databases.
type Dialect string

// The databases that the store speaks to.
const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres"
	MySQL    Dialect = "mysql" // and MariaDB
)

// rebind turns ? placeholders into the dialect's. Our SQL has no ? inside
// literals.
func (d Dialect) rebind(query string) string {
	if d != Postgres || !strings.Contains(query, "?") {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + 16)
	n := 0
	for i := range len(query) {
		if query[i] != '?' {
			b.WriteByte(query[i])
			continue
		}
		n++
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
	}
	return b.String()
}

// upsert is an INSERT of one row that replaces the named columns when a row
// with the same key exists.
func (d Dialect) upsert(table string, cols, key, update []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES (%s)", table, strings.Join(cols, ", "), placeholders(len(cols)))
	b.WriteString(d.onConflict(key, update))
	return b.String()
}

// onConflict is the tail of an upsert. With nothing to update the existing
// row stays as it is.
func (d Dialect) onConflict(key, update []string) string {
	sets := make([]string, 0, len(update))
	if d == MySQL {
		for _, c := range update {
			sets = append(sets, c+" = VALUES("+c+")")
		}
		if len(sets) == 0 {
			sets = append(sets, key[0]+" = "+key[0])
		}
		return " ON DUPLICATE KEY UPDATE " + strings.Join(sets, ", ")
	}
	if len(update) == 0 {
		return " ON CONFLICT (" + strings.Join(key, ", ") + ") DO NOTHING"
	}
	for _, c := range update {
		sets = append(sets, c+" = excluded."+c)
	}
	return " ON CONFLICT (" + strings.Join(key, ", ") + ") DO UPDATE SET " + strings.Join(sets, ", ")
}

// nextVersion is onConflict for a table whose column version counts changes.
func (d Dialect) nextVersion(table string, key, update []string) string {
	if d == MySQL {
		return d.onConflict(key, update) + ", version = version + 1"
	}
	return d.onConflict(key, update) + ", version = " + table + ".version + 1"
}

// keepLatest is the tail of an upsert by key that never lowers a column.
func (d Dialect) keepLatest(table, key, col string) string {
	if d == MySQL {
		return fmt.Sprintf(" ON DUPLICATE KEY UPDATE %s = GREATEST(%s, VALUES(%s))", col, col, col)
	}
	return fmt.Sprintf(" ON CONFLICT (%s) DO UPDATE SET %s = CASE WHEN excluded.%s > %s.%s THEN excluded.%s ELSE %s.%s END",
		key, col, col, table, col, col, table, col)
}

// nowMicros is the database's own clock in microseconds UTC.
func (d Dialect) nowMicros() string {
	switch d {
	case Postgres:
		return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
	case MySQL:
		return "CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)"
	case SQLite:
	}
	return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
}

// lockForUpdate is the tail of a SELECT that keeps its rows from other
// writers. SQLite has one writer anyway.
func (d Dialect) lockForUpdate() string {
	if d == SQLite {
		return ""
	}
	return " FOR UPDATE"
}

// lockForShare is the tail of a SELECT that keeps its rows from being changed.
func (d Dialect) lockForShare() string {
	switch d {
	case Postgres:
		return " FOR SHARE"
	case MySQL:
		return " LOCK IN SHARE MODE"
	case SQLite:
	}
	return ""
}

// contains is the condition that a text column has a parameter in it.
func (d Dialect) contains(col string) string {
	if d == Postgres {
		return "STRPOS(" + col + ", ?) > 0"
	}
	return "INSTR(" + col + ", ?) > 0"
}

// castInt is the type to CAST a parameter to a 64-bit integer with.
func (d Dialect) castInt() string {
	if d == MySQL {
		return "SIGNED"
	}
	return "BIGINT"
}

// insertChunk is how many of n rows one INSERT takes: SQLite is quickest with
// some hundred, the others save round trips with more.
func (d Dialect) insertChunk(n int) int {
	most := inChunk
	if d == SQLite {
		most = 100
	}
	i, exact := slices.BinarySearch(listSizes, min(n, most))
	if !exact {
		i--
	}
	return listSizes[i]
}

// placeholders is "?, ?, ?" for n values.
func placeholders(n int) string {
	if n <= 0 {
		return ""
	}
	return strings.Repeat("?, ", n-1) + "?"
}

// listSizes are the lengths that lists in statements have: few texts are
// prepared, and hardly a value is sent in vain.
var listSizes = []int{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100, 200, inChunk}

// padded fills a list up to one of listSizes with its last value again, which
// changes no meaning where values are looked for.
func padded[T any](values []T) []T {
	i, _ := slices.BinarySearch(listSizes, len(values))
	if len(values) == 0 || i == len(listSizes) {
		return values
	}
	out := make([]T, listSizes[i])
	for i := copy(out, values); i < len(out); i++ {
		out[i] = values[len(values)-1]
	}
	return out
}

// inList is the right side of an IN and its values.
func inList(values []any) (string, []any) {
	values = padded(values)
	return "(" + placeholders(len(values)) + ")", values
}

// inPairs is the right side of an IN over two columns and its values.
func (d Dialect) inPairs(pairs [][2]int64) (string, []any) {
	pairs = padded(pairs)
	args := make([]any, 0, 2*len(pairs))
	for _, p := range pairs {
		args = append(args, p[0], p[1])
	}
	list := repeated("(?, ?)", ", ", len(pairs))
	if d == SQLite {
		return "(VALUES " + list + ")", args
	}
	return "(" + list + ")", args
}

// valuesTable is a table of rows to select from, a text column1 and a column2
// of the type, and its values. Rows may come twice.
func (d Dialect) valuesTable(second valueType, rows [][]any) (string, []any) {
	rows = padded(rows)
	args := make([]any, 0, 2*len(rows))
	for _, r := range rows {
		args = append(args, r...)
	}
	switch d {
	case MySQL:
		return "(SELECT ? AS column1, ? AS column2" + repeated(" UNION ALL SELECT ?, ?", "", len(rows)-1) + ")", args
	case SQLite:
		return "(VALUES " + repeated("(?, ?)", ", ", len(rows)) + ")", args
	case Postgres:
	}
	return "(VALUES " + repeated("(?, CAST(? AS "+string(second)+"))", ", ", len(rows)) + ")", args
}

// valueType is a column's type in PostgreSQL, which takes parameters for text.
type valueType string

const (
	intValue   valueType = "BIGINT"
	bytesValue valueType = "BYTEA"
)

// repeated is a text n times.
func repeated(text, separator string, n int) string {
	if n <= 0 {
		return ""
	}
	return strings.Repeat(text+separator, n-1) + text
}

// Errors are classified here and nowhere else, by the drivers' codes.

const (
	mysqlDuplicate     = 1062
	mysqlDeadlock      = 1213
	mysqlLockTimeout   = 1205
	pgUniqueViolation  = "23505"
	pgSerialization    = "40001"
	pgDeadlock         = "40P01"
	pgLockNotAvailable = "55P03"
)

// isDuplicate reports whether err says that a unique key exists already.
func isDuplicate(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		code := lite.Code()
		return code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == pgUniqueViolation
	}
	var my *mysql.MySQLError
	return errors.As(err, &my) && my.Number == mysqlDuplicate
}

// isRetryable reports whether the whole transaction may simply be run again.
func isRetryable(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return lite.Code()&0xff == sqlite3.SQLITE_BUSY
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == pgSerialization || pg.Code == pgDeadlock || pg.Code == pgLockNotAvailable
	}
	var my *mysql.MySQLError
	return errors.As(err, &my) && (my.Number == mysqlDeadlock || my.Number == mysqlLockTimeout)
}

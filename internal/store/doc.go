// Package store keeps everything that must survive: one portable SQL for
// SQLite, PostgreSQL and MySQL/MariaDB.
//
// It owns transactions, integer keys, leases and migrations, and refuses
// rules: it stores and selects, and where a decision is needed inside a
// transaction the caller passes a pure function that makes it.
//
// Each capability has a file and a small type (Hosts, Enrollments, Commands,
// ...), each table one writer file; joins may read any table. A method is one
// transaction. Times are integer microseconds UTC (0: none), JSON and other
// byte-exact values are bytes, booleans are TRUE and FALSE.
//
// SQLite has one writer, on its own goroutine, that puts the transactions
// which wait at the same time into one durable commit (group commit); see
// writer.go. On every database calls of devices that wait at the same time
// share their statements; see batch.go.
package store

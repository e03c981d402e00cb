// Package storetest runs the store's conformance suites on all three
// databases. None is left out: a database that cannot be reached fails the
// test.
package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/store"
)

// Environment variables that point at servers on which the tests may create
// databases; scripts/testdb.sh sets them.
const (
	EnvPostgres = "MUSTER_TEST_POSTGRES"
	EnvMySQL    = "MUSTER_TEST_MYSQL"
)

// Each runs a test on a fresh, migrated database of every kind.
func Each(t *testing.T, test func(t *testing.T, db *store.DB)) {
	t.Helper()
	for _, d := range []store.Dialect{store.SQLite, store.Postgres, store.MySQL} {
		t.Run(string(d), func(t *testing.T) { test(t, Open(t, d)) })
	}
}

// Open returns a fresh, migrated database that goes with the test.
func Open(t testing.TB, d store.Dialect) *store.DB {
	t.Helper()
	return OpenAt(t, d, Clock())
}

// OpenAt is Open with a clock of the test's own.
func OpenAt(t testing.TB, d store.Dialect, clock func() time.Time) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), store.Options{URL: URL(t, d), MaxOpenConns: 8, Clock: clock})
	if err != nil {
		t.Fatalf("open %s: %v", d, err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close %s: %v", d, err)
		}
	})
	if _, err := db.Migrate(context.Background()); err != nil {
		t.Fatalf("migrate %s: %v", d, err)
	}
	return db
}

// Clock is a clock that goes by the stored precision, microseconds.
func Clock() func() time.Time {
	return func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
}

var databases atomic.Int64

// URL makes an empty database that goes with the test and returns its URL.
func URL(t testing.TB, d store.Dialect) string {
	t.Helper()
	if d == store.SQLite {
		return "sqlite:" + filepath.Join(t.TempDir(), "muster.db")
	}
	env, driver := EnvPostgres, "pgx"
	if d == store.MySQL {
		env, driver = EnvMySQL, "mysql"
	}
	server := os.Getenv(env)
	if server == "" {
		t.Fatalf("%s is not set: run the tests with `make test`, or eval \"$(scripts/testdb.sh start)\" first", env)
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	dsn := server
	if d == store.MySQL {
		dsn = fmt.Sprintf("%s@tcp(%s)%s", u.User.Username(), u.Host, u.Path)
	}
	admin, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatalf("open %s server: %v", d, err)
	}
	name := fmt.Sprintf("muster_%d_%d_%d", os.Getpid(), time.Now().UnixNano()%1e9, databases.Add(1))
	create := "CREATE DATABASE " + name
	if d == store.MySQL {
		create += " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
	}
	if _, err := admin.Exec(create); err != nil {
		t.Fatalf("create database on %s: %v", d, err)
	}
	t.Cleanup(func() {
		drop := "DROP DATABASE " + name
		if d == store.Postgres {
			drop += " WITH (FORCE)"
		}
		if _, err := admin.Exec(drop); err != nil && !strings.Contains(err.Error(), "does not exist") {
			t.Logf("drop database %s: %v", name, err)
		}
		_ = admin.Close()
	})
	u.Path = "/" + name
	return u.String()
}

// Parallel runs fn n times at once and waits.
func Parallel(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

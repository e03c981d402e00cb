package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	_ "modernc.org/sqlite"             // driver "sqlite"

	"github.com/muster-mdm/muster/internal/kit/backoff"
)

// Limits of the store.
const (
	maxWriteTries    = 8                // of one transaction after deadlocks
	inChunk          = 500              // values of one IN list
	connMaxIdle      = 5 * time.Minute  // of a server connection
	connectTimeout   = 10 * time.Second // of the first ping
	sqliteReaders    = 8
	defaultOpenConns = 20
)

// Options say which database to open.
type Options struct {
	// URL is sqlite:PATH, postgres://... or mysql://user:password@host:port/db.
	URL string
	// MaxOpenConns bounds connections to a server database; 0: 20.
	MaxOpenConns int
	// Clock is the time for created_at and the like; nil: time.Now.
	Clock func() time.Time
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	dialect Dialect
	read    *sql.DB // SQLite: the readers; else the only pool
	write   *sql.DB // SQLite: one connection; else the same pool
	writer  *groupWriter
	stmts   stmtCache // of read, on SQLite
	rebound sync.Map  // portable text -> the dialect's
	keys    keySource
	clock   func() time.Time
	path    string // SQLite file
	lastSeq atomic.Int64
	builtin sync.Map // platform -> keys of its built-in labels
	callers *callerCache
	// Calls that share statements.
	exchanges   *batcher[*exchange]
	checkins    *batcher[*checkin]
	callerReads *batcher[*callerRead]
}

// Open connects, without touching the schema; see Migrate.
func Open(ctx context.Context, opts Options) (*DB, error) {
	db := &DB{clock: opts.Clock}
	if db.clock == nil {
		db.clock = time.Now
	}
	var err error
	switch scheme, rest, _ := strings.Cut(opts.URL, ":"); scheme {
	case "sqlite":
		err = db.openSQLite(ctx, strings.TrimPrefix(rest, "//"))
	case "postgres", "postgresql":
		db.dialect = Postgres
		db.read, err = sql.Open("pgx", opts.URL)
	case "mysql", "mariadb":
		err = db.openMySQL(opts.URL)
	default:
		return nil, fmt.Errorf("database URL: unknown scheme %q: use sqlite:, postgres:// or mysql://", scheme)
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if db.dialect != SQLite {
		db.write = db.read
		n := opts.MaxOpenConns
		if n <= 0 {
			n = defaultOpenConns
		}
		db.read.SetMaxOpenConns(n)
		db.read.SetMaxIdleConns(n)
		db.read.SetConnMaxIdleTime(connMaxIdle)
	}
	db.keys.db = db
	db.exchanges = newBatcher(db, (*session).exchangeAll)
	db.checkins = newBatcher(db, (*session).checkinAll)
	db.callerReads = newReader(db, (*session).callersAll)
	if err := db.start(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (db *DB) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := db.read.PingContext(ctx); err != nil {
		return fmt.Errorf("reach the %s database: %w", db.dialect, err)
	}
	if db.dialect != SQLite {
		return nil
	}
	conn, err := db.write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open the SQLite writer: %w", err)
	}
	db.callers = newCallerCache()
	db.writer = newGroupWriter(db, conn)
	return nil
}

// sqlitePragmas are set on every connection. synchronous(FULL): an answer to
// a device means that what it said is on disk; group commit pays for it. The
// log is carried over every 32 MB: hot pages are then written back once for
// many changes.
const sqlitePragmas = "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)" +
	"&_pragma=foreign_keys(1)&_pragma=temp_store(2)" +
	"&_pragma=wal_autocheckpoint(8000)&_pragma=journal_size_limit(67108864)"

// The writer's pages stay good from commit to commit; a reader drops its own
// at each, so that much memory for them would be wasted, eight times.
const (
	writerCache = "&_pragma=cache_size(-32768)"
	readerCache = "&_pragma=cache_size(-4096)"
)

func (db *DB) openSQLite(ctx context.Context, path string) error {
	if path == "" {
		return errors.New("sqlite: needs a file path")
	}
	db.dialect, db.path = SQLite, path
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + sqlitePragmas
	var err error
	db.write, err = sql.Open("sqlite", dsn+"&_txlock=immediate"+writerCache)
	if err != nil {
		return err
	}
	db.write.SetMaxOpenConns(1)
	// The writer's connection is first, so that the file exists and is in WAL
	// mode before readers come.
	if err := connectAlone(ctx, db.write); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	db.read, err = sql.Open("sqlite", dsn+"&_pragma=query_only(1)"+readerCache)
	if err != nil {
		return err
	}
	db.read.SetMaxOpenConns(sqliteReaders)
	db.read.SetMaxIdleConns(sqliteReaders)
	db.stmts.on = db.read
	return nil
}

// connectAlone makes a pool's first connection. Turning WAL mode on does not
// wait for others who do so at the same time, so it is tried again.
func connectAlone(ctx context.Context, pool *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for try := 1; ; try++ {
		err := pool.PingContext(ctx)
		if err == nil || !isRetryable(err) || !rest(ctx, retryPause.Wait(try)) {
			return err
		}
	}
}

func (db *DB) openMySQL(raw string) error {
	db.dialect = MySQL
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("mysql URL: not of the form mysql://user:password@host:port/database")
	}
	cfg := mysql.NewConfig()
	cfg.User = u.User.Username()
	cfg.Passwd, _ = u.User.Password()
	cfg.Net, cfg.Addr = "tcp", u.Host
	if u.Port() == "" && u.Host != "" {
		cfg.Addr = u.Host + ":3306"
	}
	if sock := u.Query().Get("socket"); sock != "" {
		cfg.Net, cfg.Addr = "unix", sock
	}
	cfg.TLSConfig = u.Query().Get("tls")
	cfg.DBName = strings.TrimPrefix(u.Path, "/")
	cfg.InterpolateParams = true // one round trip a statement
	cfg.ClientFoundRows = true   // an UPDATE that changes nothing still found its row
	cfg.Collation = "utf8mb4_bin"
	cfg.Timeout = connectTimeout
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db.read = sql.OpenDB(connector)
	return nil
}

// Close waits for the writer and closes all connections.
func (db *DB) Close() error {
	var errs []error
	if db.writer != nil {
		errs = append(errs, db.writer.close())
	}
	db.stmts.close()
	if db.read != nil {
		errs = append(errs, db.read.Close())
	}
	if db.write != nil && db.write != db.read {
		errs = append(errs, db.write.Close())
	}
	return errors.Join(errs...)
}

// Dialect tells which database it is.
func (db *DB) Dialect() Dialect { return db.dialect }

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.read.PingContext(ctx) }

// now is the current time as stored.
func (db *DB) now() int64 { return micros(db.clock()) }

// view runs reads outside any transaction; each statement sees the latest
// committed state.
func (db *DB) view(ctx context.Context) *session {
	if db.dialect == SQLite {
		// modernc starts a goroutine per statement when a context can be
		// cancelled; our reads are bounded, so they need none.
		return &session{ctx: context.WithoutCancel(ctx), db: db, stmts: &db.stmts}
	}
	return &session{ctx: ctx, db: db, plain: db.read}
}

// snapshot runs reads that must all see the same committed state.
func (db *DB) snapshot(ctx context.Context, fn func(*session) error) error {
	opts := &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead}
	if db.dialect == SQLite {
		opts = nil // a transaction of a reader is both by nature
	}
	tx, err := db.read.BeginTx(ctx, opts)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	return fn(&session{ctx: ctx, db: db, plain: tx})
}

// update runs fn in one transaction and makes it durable before it returns.
// fn may run more than once and must not call update or view itself.
func (db *DB) update(ctx context.Context, fn func(*session) error) error {
	var err error
	for range maxKeyTries {
		if err := db.keys.refill(ctx); err != nil {
			return err
		}
		err = db.transact(ctx, fn)
		if !errors.Is(err, errNoKeys) {
			return err
		}
	}
	return err
}

// transact is update without the refill of keys.
func (db *DB) transact(ctx context.Context, fn func(*session) error) error {
	if db.writer != nil {
		return db.writer.do(ctx, fn)
	}
	var err error
	for try := 1; try <= maxWriteTries; try++ {
		err = db.once(ctx, fn)
		if err == nil || !isRetryable(err) || !rest(ctx, retryPause.Wait(try)) {
			return err
		}
	}
	return err
}

// retryPause keeps transactions that deadlocked from meeting again.
var retryPause = backoff.Policy{First: 4 * time.Millisecond, Max: 250 * time.Millisecond, Factor: 2, Jitter: 0.9}

// rest waits, and reports false when ctx ended first.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (db *DB) once(ctx context.Context, fn func(*session) error) error {
	tx, err := db.write.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit: no effect
	if err := fn(&session{ctx: ctx, db: db, plain: tx, before: map[rowKey][]any{}}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// micros stores a time; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// timeOf is the reverse of micros.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// nextSeq orders what is queued: the time, made to grow with every call.
func (db *DB) nextSeq() int64 {
	for {
		last := db.lastSeq.Load()
		next := max(db.now(), last+1)
		if db.lastSeq.CompareAndSwap(last, next) {
			return next
		}
	}
}

// Pools names the connection pools, for metrics.
func (db *DB) Pools() map[string]*sql.DB {
	if db.dialect != SQLite {
		return map[string]*sql.DB{"main": db.read}
	}
	return map[string]*sql.DB{"read": db.read, "write": db.write}
}

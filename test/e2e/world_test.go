package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/app"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/appleserver"
	"github.com/muster-mdm/muster/sim/scenario"
)

const (
	adminEmail    = "admin@example.com"
	adminPassword = "Correct-horse-1"
	plenty        = 1_000_000 // of what a limit would otherwise bound
	patience      = 60 * time.Second
)

// world is a running server with everything around it.
type world struct {
	dialect   store.Dialect
	url       string
	config    config.Config
	api       *client.Client
	token     string
	push      *appleserver.Push
	enrollURL string
	log       *logBuffer
	clock     *clock
	db        *sql.DB // the server's database, to look and to break things
	devices   *http.Client
	stop      func() // stops the server and waits; safe to call again
}

// clock runs with the real time, moved forward by what a test says.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// logBuffer keeps the server's log.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// each runs a test in a world of its own on every database.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	for _, d := range []store.Dialect{store.SQLite, store.Postgres, store.MySQL} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			test(t, start(t, d))
		})
	}
}

// start runs a server on a fresh database: set up, with a push certificate
// and an enrollment.
func start(t testing.TB, d store.Dialect) *world {
	t.Helper()
	w := unprepared(t, d, nil)
	w.run(t)
	w.openDatabase(t)
	w.prepare(t)
	return w
}

// unprepared is a world whose server does not run yet.
func unprepared(t testing.TB, d store.Dialect, change func(*config.Config)) *world {
	t.Helper()
	w := &world{dialect: d, clock: &clock{}}
	w.config = config.Config{DataDir: t.TempDir()}
	if d != store.SQLite {
		w.config.Database.URL = config.Secret(storetest.URL(t, d))
		key := make([]byte, config.PrivateKeyBytes)
		_, _ = rand.Read(key)
		w.config.PrivateKey = config.Secret(base64.StdEncoding.EncodeToString(key))
	}
	w.push = startPush(t)
	w.config = withPush(t, w.config, w.push)
	if change != nil {
		change(&w.config)
	}
	w.devices = newDeviceClient(t)
	return w
}

func startPush(t testing.TB) *appleserver.Push {
	t.Helper()
	push, err := appleserver.StartPush(context.Background(), appleserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := push.Close(); err != nil {
			t.Error(err)
		}
	})
	return push
}

// withPush points a configuration at the simulated push service and fills in
// the defaults.
func withPush(t testing.TB, c config.Config, push *appleserver.Push) config.Config {
	t.Helper()
	roots := filepath.Join(c.DataDir, "apns.pem")
	if err := os.WriteFile(roots, push.RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Apple.APNSURL, c.Apple.APNSRootCAFile = push.URL(), roots
	c.Limits.EnrollmentsPerHour = plenty
	c.Database.MaxOpenConns = 12
	// Tests of the protocol want queues to themselves; scenarios do not.
	c.Desired.Paused, c.Refetch.Paused = true, true
	return c.WithDefaults()
}

func newDeviceClient(t testing.TB) *http.Client {
	const connections = 16
	c := appledev.NewClient(nil, connections)
	c.Timeout = patience
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// run starts the App and returns when it answers.
func (w *world) run(t testing.TB) {
	t.Helper()
	if w.log == nil {
		w.log = &logBuffer{}
	}
	w.url, w.stop = runApp(t, w.config, w.clock.now, w.log)
}

// runApp runs an App on a loopback listener of its own.
func runApp(t testing.TB, c config.Config, now func() time.Time, log *logBuffer) (address string, stop func()) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a, err := app.New(context.Background(), app.Options{Config: c, Version: apiv1.Version{Version: "e2e"}, Log: logger, Clock: now, Listener: listener})
	if err != nil {
		_ = listener.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("server: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return "http://" + listener.Addr().String(), stop
}

// openDatabase opens the server's database beside it.
func (w *world) openDatabase(t testing.TB) {
	t.Helper()
	driver, dsn := "sqlite", "file:"+w.config.DatabaseFile()+"?_pragma=busy_timeout(10000)"
	switch w.dialect {
	case store.Postgres:
		driver, dsn = "pgx", string(w.config.Database.URL)
	case store.MySQL:
		u, err := url.Parse(string(w.config.Database.URL))
		if err != nil {
			t.Fatal(err)
		}
		driver, dsn = "mysql", fmt.Sprintf("%s@tcp(%s)%s", u.User.Username(), u.Host, u.Path)
	case store.SQLite:
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	w.db = db
	t.Cleanup(func() { _ = db.Close() })
}

// prepare sets the server up as an admin would.
func (w *world) prepare(t testing.TB) {
	t.Helper()
	ctx := context.Background()
	w.api = newAPI(t, w.url)
	res, err := w.api.Setup(ctx, apiv1.SetupRequest{
		Admin:   apiv1.SetupAdmin{Email: adminEmail, Name: "Admin", Password: adminPassword, PasswordConfirmation: adminPassword},
		OrgInfo: apiv1.SetupOrg{OrgName: "Example"}, ServerURL: w.url,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.token = res.Token
	w.api.SetToken(res.Token)
	cert, key, err := w.push.NewPushCertificate(scenario.Topic)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.api.UploadPushCertificate(ctx, client.PushUpload{Certificate: cert, PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	e, err := w.api.CreateEnrollment(ctx, "Test fleet", "manual")
	if err != nil {
		t.Fatal(err)
	}
	w.enrollURL = e.EnrollURL
}

func newAPI(t testing.TB, address string) *client.Client {
	t.Helper()
	transport, err := client.NewTransport(client.Options{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := transport.(interface{ CloseIdleConnections() }); ok {
		t.Cleanup(c.CloseIdleConnections)
	}
	c, err := client.New(client.Options{Address: address, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// simulated are the options of this world's devices.
func (w *world) simulated() appledev.Options {
	return appledev.Options{Client: w.devices, Keys: keys(), Wakes: w.push, RetryAfter: 50 * time.Millisecond, Clock: w.clock.now}
}

// device makes a device of a family, not enrolled.
func (w *world) device(seed uint64, f appledev.Family) *appledev.Device {
	mix := map[appledev.Family]appledev.Mix{appledev.Mac: {Mac: 1}, appledev.IPhone: {IPhone: 1}, appledev.IPad: {IPad: 1}}[f]
	return appledev.New(appledev.NewSpecs(seed, 1, mix)[0], w.simulated())
}

// send queues a command for hosts and returns its UUID.
func (w *world) send(t testing.TB, requestType string, hosts ...string) string {
	t.Helper()
	res, err := w.api.RunCommand(context.Background(), []byte(scenario.Command(requestType, "")), hosts)
	if err != nil {
		t.Fatalf("send %s: %v", requestType, err)
	}
	return res.CommandUUID
}

// status is what the API says about a command that went to one host.
func (w *world) status(t testing.TB, commandUUID string) string {
	t.Helper()
	list, err := w.api.CommandResults(context.Background(), commandUUID, "")
	if err != nil || len(list) != 1 {
		t.Fatalf("results of %s: %d entries, %v", commandUUID, len(list), err)
	}
	return list[0].Status
}

func (w *world) host(t testing.TB, identifier string) apiv1.HostDetail {
	t.Helper()
	h, err := w.api.HostByIdentifier(context.Background(), identifier)
	if err != nil {
		t.Fatalf("host %s: %v", identifier, err)
	}
	return h
}

func enrollmentStatus(h apiv1.HostDetail) string {
	if h.MDM.EnrollmentStatus == nil {
		return ""
	}
	return *h.MDM.EnrollmentStatus
}

// lasting are the tables that only messages and people change.
var lasting = []string{"hosts", "label_members", "enrollments", "enrollment_profiles", "challenges", "identities", "secrets",
	"commands", "command_queue", "command_results", "command_fanouts", "events", "users"}

// snapshot says what the database holds, to see that nothing changed.
func (w *world) snapshot(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for _, table := range lasting {
		fmt.Fprintf(&b, "%s %d\n", table, w.number(t, "SELECT COUNT(*) FROM "+table))
	}
	for _, sum := range []string{
		"SELECT COALESCE(SUM(sends + 1000 * not_now_count), 0) FROM command_queue", "SELECT COALESCE(SUM(status), 0) FROM command_results",
		"SELECT COALESCE(SUM(state + 100 * generation), 0) FROM enrollments", "SELECT COALESCE(SUM(mdm_status), 0) FROM hosts",
		"SELECT COALESCE(SUM(version), 0) FROM secrets",
		"SELECT COUNT(*) FROM identities WHERE used_at > 0", "SELECT COUNT(*) FROM identities WHERE revoked_at > 0",
		"SELECT COUNT(*) FROM challenges WHERE used_at > 0",
	} {
		fmt.Fprintf(&b, "%s = %d\n", sum, w.number(t, sum))
	}
	return b.String()
}

// number is the one number that a query gives.
func (w *world) number(t testing.TB, query string) int64 {
	t.Helper()
	var n int64
	if err := w.db.QueryRow(query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// alive fails unless the server answers.
func (w *world) alive(t testing.TB) {
	t.Helper()
	for _, path := range []string{"/healthz", "/readyz"} {
		res, err := w.devices.Get(w.url + path)
		if err != nil {
			t.Fatalf("the server does not answer: %v", err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, res.Status)
		}
	}
}

// eventually waits until check is content; what it returns last is told when
// it never is.
func eventually(t testing.TB, check func() (done bool, state string)) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		done, state := check()
		if done {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("it did not happen within %s: %s", patience, state)
		case <-tick.C:
		}
	}
}

// oneOf fails unless a status is among those wanted.
func oneOf(t testing.TB, what string, got int, want ...int) {
	t.Helper()
	if !slices.Contains(want, got) {
		t.Errorf("%s: HTTP %d, want %v", what, got, want)
	}
}

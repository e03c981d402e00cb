package app

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/access"
	"github.com/muster-mdm/muster/internal/command"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/internal/enroll"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/httpapi"
	"github.com/muster-mdm/muster/internal/inventory"
	"github.com/muster-mdm/muster/internal/jobs"
	"github.com/muster-mdm/muster/internal/kit/httpx"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/kit/wake"
	"github.com/muster-mdm/muster/internal/pki"
	"github.com/muster-mdm/muster/internal/settings"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/vault"
)

// Options are what a process gives besides its configuration.
type Options struct {
	Config  config.Config
	Version apiv1.Version
	Log     *slog.Logger
	Clock   func() time.Time // nil: time.Now
	// Listener to serve on; nil: Config.Server.Address.
	Listener net.Listener
	// Ready is called once requests are answered, with the address.
	Ready func(net.Addr)
}

// App is a built server.
type App struct {
	Handler http.Handler
	Jobs    []jobs.Job

	config   config.Config
	options  Options
	log      *slog.Logger
	clock    func() time.Time
	db       *store.DB
	vault    *vault.Vault
	seen     *inventory.Seen
	access   *access.Service
	metrics  *metrics
	pushes   *wake.Bell
	plan     *wake.Bell                      // hosts are to be planned
	settled  *wake.Bell                      // settings changed that items follow from
	syncs    *wake.Bell                      // Apple's device enrollment service is to be asked
	caKey    func() (*rsa.PrivateKey, error) // for an authority that is to be made
	runner   *jobs.Runner
	closers  []func()
	sweep    []func(ctx context.Context, now time.Time) error // of capabilities, hourly
	draining atomic.Bool
}

// New builds the server: it opens the database, brings its schema up to date,
// loads or makes keys and certificates, and wires everything. Close releases
// it; Run does so itself.
func New(ctx context.Context, o Options) (_ *App, err error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	// Times are stored in microseconds: nothing here is finer.
	clock := func() time.Time { return o.Clock().UTC().Truncate(time.Microsecond) }
	a := &App{config: o.Config, options: o, log: o.Log, clock: clock, pushes: wake.NewBell(), plan: wake.NewBell(), settled: wake.NewBell(), syncs: wake.NewBell()}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	keys, reload, err := Keys(o.Config)
	if err != nil {
		return nil, err
	}
	if a.vault, err = vault.New(keys, reload); err != nil {
		return nil, err
	}
	a.caKey = authorityKey(o.Config)
	if a.db, err = OpenStore(ctx, o.Config, clock); err != nil {
		return nil, err
	}
	applied, err := a.db.Migrate(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range applied {
		a.log.Info("migration applied", "migration", name)
	}
	if err := a.wire(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// authorityKey makes the key of a certificate authority when it is asked for.
// Where there is no database yet it begins at once: making the key takes as
// long as making the database.
func authorityKey(c config.Config) func() (*rsa.PrivateKey, error) {
	key := sync.OnceValues(pki.NewKey)
	if c.Embedded() {
		if _, err := os.Stat(c.DatabaseFile()); errors.Is(err, fs.ErrNotExist) {
			go func() { _, _ = key() }() // an error is the caller's to find
		}
	}
	return key
}

// OpenStore opens the configured database, making the data directory if
// needed.
func OpenStore(ctx context.Context, c config.Config, clock func() time.Time) (*store.DB, error) {
	url := string(c.Database.URL)
	if c.Embedded() {
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			return nil, fmt.Errorf("make data_dir: %w", err)
		}
		url = "sqlite:" + c.DatabaseFile()
	}
	return store.Open(ctx, store.Options{URL: url, MaxOpenConns: c.Database.MaxOpenConns, Clock: clock})
}

// Keys returns the server keys: from the configuration, or for the embedded
// database from its key file, which is made at the first start. reload reads
// the file again; nil when keys cannot change while the server runs.
func Keys(c config.Config) (keys []vault.Key, reload func() ([]vault.Key, error), err error) {
	if c.PrivateKey == "" {
		if !c.Embedded() {
			return nil, nil, errors.New("private_key is not set: a database server needs one that all replicas share." +
				" Make it with `openssl rand -base64 32` and give it as MUSTER_PRIVATE_KEY or MUSTER_PRIVATE_KEY_FILE")
		}
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			return nil, nil, fmt.Errorf("make data_dir: %w", err)
		}
		keys, err := vault.EnsureKeyFile(c.KeyFile())
		return keys, func() ([]vault.Key, error) { return vault.LoadKeyFile(c.KeyFile()) }, err
	}
	for _, text := range append([]config.Secret{c.PrivateKey}, c.PrivateKeysOld...) {
		k, err := vault.ParseKey(string(text))
		if err != nil {
			return nil, nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil, nil
}

// wire builds the capabilities and the handler.
func (a *App) wire(ctx context.Context) error {
	hosts := store.NewHosts(a.db)
	events := store.NewEvents(a.db)
	if err := store.NewLabels(a.db).EnsureBuiltin(ctx, builtinLabels()); err != nil {
		return err
	}
	users, sessions := store.NewUsers(a.db), store.NewSessions(a.db)
	a.access = access.New(access.Options{Users: users, Changes: users, Sessions: sessions, Events: events, Now: a.clock,
		SessionDuration: a.config.Session.Duration, LoginRatePerMinute: a.config.Login.RatePerMinute})
	org := settings.New(store.NewSettings(a.db), a.config.Server.URL, a.settled)
	a.seen = inventory.NewSeen(hosts, a.clock)
	a.metrics = newMetrics(a)
	a.sweep = append(a.sweep, a.trimLog(org))
	a.runner = jobs.NewRunner(store.NewLeases(a.db), a.holder(), a.clock, a.log)

	apple, err := a.wireApple(ctx, org)
	if err != nil {
		return err
	}
	commands := command.NewService(store.NewCommands(a.db), store.NewEnrollments(a.db), hosts, apple.actions, apple.envelope, a.clock, a.pushes)
	api, err := httpapi.New(httpapi.Options{Access: a.access, Users: a.access, Sessions: a.access,
		Hosts: inventory.NewService(hosts, a.seen, a.syncs), Inventories: apple.vitals, Commands: commands, Actions: apple.actions, Enrollments: apple.enrollments, Push: apple.push, Guardian: apple.guardian, Renewer: apple.renewer, Settings: org,
		Explainer: apple.explainer, Planner: apple.planner, Histories: apple.histories,
		Teams: apple.teams, Secrets: apple.enrollSecrets, Labels: apple.labels, Profiles: apple.profiles,
		ServerTokens: apple.ade.tokens, Assistants: apple.ade.assistants, Setups: apple.ade.setups, Packages: apple.ade.packages, OverTheAir: apple.overTheAir, Accounts: apple.accounts,
		Version: a.options.Version, Now: a.clock, BodyBytes: a.config.Limits.APIBodyBytes, PageSize: a.config.Limits.PageSize,
		CommandTargets: a.config.Limits.CommandTargets, EnrollmentsPerHour: a.config.Limits.EnrollmentsPerHour})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/mdm/apple/mdm", apple.mdm)
	mux.Handle("/mdm/apple/scep", apple.scep)
	mux.Handle(enroll.PathAutomatic, apple.ade.setup)
	mountAccounts(mux, apple.accounts)
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.HandleFunc("GET /readyz", a.readyz)
	if !a.config.Metrics.Disabled {
		mux.Handle("GET /metrics", a.metrics.handler(string(a.config.Metrics.Token)))
	}
	mux.Handle("/", api)
	a.Handler = httpx.Handler(mux, httpx.Options{Logger: a.log, Now: a.clock, HSTS: a.config.TLS.Mode != config.TLSOff,
		Proxies: httpx.Proxies{Trusted: a.config.Proxy.Trusted, ClientCertHeader: a.config.Proxy.ClientCertHeader},
		Observe: a.metrics.observe})
	a.Jobs = append(a.Jobs, a.upkeep()...)
	return nil
}

func builtinLabels() []fleet.BuiltinLabel {
	return []fleet.BuiltinLabel{fleet.LabelAllHosts, fleet.LabelMacOS, fleet.LabelIOS, fleet.LabelIPadOS}
}

// holder names this process in leases. The embedded database has one server,
// which after a crash takes its leases up again at once.
func (a *App) holder() string {
	if a.config.Embedded() {
		return "embedded"
	}
	host, err := os.Hostname()
	if err != nil {
		host = runtime.GOOS
	}
	return fmt.Sprintf("%.40s/%s", host, ids.UUID())
}

// Close gives connections back. It is safe to call after a failed New.
func (a *App) Close() error {
	for _, c := range a.closers {
		c()
	}
	a.closers = nil
	if a.db == nil {
		return nil
	}
	err := a.db.Close()
	a.db = nil
	return err
}

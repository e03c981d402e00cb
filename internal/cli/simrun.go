package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/sim/appleserver"
	"github.com/muster-mdm/muster/sim/scenario"
)

// Bounds and times of a scenario's servers.
const (
	maxReplicas   = 5
	maxKills      = 50
	serverStart   = 30 * time.Second
	serverPause   = 50 * time.Millisecond
	scenarioEmail = "sim@example.com"
)

type simRunFlags struct {
	devices, kills, replicas int
	databaseURL              string
	seed                     uint64
	keep                     string
}

func (c *cli) simListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the scenarios that can be run", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			l := listing{columns: []string{"NAME", "DEVICES", "WHAT HAPPENS"}}
			var values []map[string]any
			for _, s := range scenario.Scenarios() {
				values = append(values, map[string]any{"name": s.Name, "devices": s.Devices, "summary": s.Summary})
				l.rows = append(l.rows, []string{s.Name, fmt.Sprint(s.Devices), s.Summary})
			}
			l.value = values
			return c.show(l)
		},
	}
}

func (c *cli) simRunCommand() *cobra.Command {
	var f simRunFlags
	cmd := &cobra.Command{
		Use: "run NAME", Short: "Run a scenario on a server of its own, and check its outcome",
		Long: "Starts servers as processes of their own on an empty database, a simulated push service and a simulated fleet,\n" +
			"plays the scenario, checks its outcome through the public API and on the devices, and ends with exit code 1 if\n" +
			"something is off. With --kills the servers are killed (SIGKILL) and started again in the middle of it.",
		Example: "  muster sim run converge --devices 1000 --kills 5\n  muster sim run drift-by-hand",
		Args:    args(cobra.ExactArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, s := range scenario.Scenarios() {
				names = append(names, s.Name)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, given []string) error { return c.simRun(cmd.Context(), given[0], f) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.devices, "devices", 0, "simulated devices (default the scenario's own number)")
	flags.IntVar(&f.kills, "kills", 0, "how often a server is killed in the middle, where the scenario allows it")
	flags.IntVar(&f.replicas, "replicas", 1, "servers on one database; more than one wants --database-url")
	flags.StringVar(&f.databaseURL, "database-url", "", "empty database on a PostgreSQL, MariaDB or MySQL server (default an embedded one)")
	flags.Uint64Var(&f.seed, "seed", 1, "equal seeds make equal devices")
	flags.StringVar(&f.keep, "keep", "", "directory to keep data and logs in (default a temporary one, removed at the end)")
	return cmd
}

func (c *cli) simRun(ctx context.Context, name string, f simRunFlags) (err error) {
	sc, err := scenario.Find(name)
	if err != nil {
		return usagef("%w", err)
	}
	if f.devices == 0 {
		f.devices = sc.Devices
	}
	switch {
	case f.devices < 1 || f.devices > maxSimDevices:
		return usagef("--devices must be between 1 and %d", maxSimDevices)
	case f.kills < 0 || f.kills > maxKills:
		return usagef("--kills must be between 0 and %d", maxKills)
	case f.replicas < 1 || f.replicas > maxReplicas:
		return usagef("--replicas must be between 1 and %d", maxReplicas)
	case f.replicas > 1 && f.databaseURL == "":
		return usagef("--replicas wants --database-url: the embedded database has one server")
	}
	dir := f.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "muster-sim-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	push, err := appleserver.StartPush(ctx, appleserver.Options{})
	if err != nil {
		return fmt.Errorf("start the simulated push service: %w", err)
	}
	defer func() { err = errors.Join(err, push.Close()) }()
	apple, err := appleserver.StartEnrollment(ctx, appleserver.EnrollmentOptions{})
	if err != nil {
		return fmt.Errorf("start the simulated enrollment service: %w", err)
	}
	defer func() { err = errors.Join(err, apple.Close()) }()
	group, err := startReplicas(ctx, dir, f, push, apple)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.close()) }()
	connection, err := client.New(client.Options{Address: group.url, UserAgent: "muster-sim/" + c.Version.Version})
	if err != nil {
		return err
	}
	story, err := scenario.New(scenario.Options{Client: connection, Server: group.url, Push: push, Apple: apple, Devices: f.devices, Seed: f.seed, KeyPool: simKeys,
		Email: scenarioEmail, Password: demoPassword, Progress: c.storyProgress(), Restart: group.restart, Kills: f.kills})
	if err != nil {
		return err
	}
	err = sc.Play(ctx, story)
	return errors.Join(err, c.summary(story))
}

// replicas are servers on one database behind one address.
type replicas struct {
	url     string
	dir     string
	env     []string
	mu      sync.Mutex // guards what follows
	servers []*replica
	next    atomic.Int64 // whose turn it is to answer, and to be killed
	proxy   *http.Server
	done    chan struct{}
}

type replica struct {
	url  *url.URL
	cmd  *exec.Cmd
	name string
}

func startReplicas(ctx context.Context, dir string, f simRunFlags, push *appleserver.Push, apple *appleserver.Enrollment) (*replicas, error) {
	roots, authority := filepath.Join(dir, "apns.pem"), filepath.Join(dir, "devices.pem")
	if err := errors.Join(os.WriteFile(roots, push.RootPEM(), 0o600), os.WriteFile(authority, apple.DeviceAuthority().PEM(), 0o600)); err != nil {
		return nil, err
	}
	g := &replicas{dir: dir, done: make(chan struct{})}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MUSTER_") {
			g.env = append(g.env, v)
		}
	}
	g.env = append(g.env, "MUSTER_DATA_DIR="+filepath.Join(dir, "data"), "MUSTER_APPLE_APNS_URL="+push.URL(), "MUSTER_APPLE_APNS_ROOT_CA_FILE="+roots,
		"MUSTER_APPLE_DEP_URL="+apple.URL(), "MUSTER_APPLE_DEVICE_CA_FILE="+authority, "MUSTER_APPLE_DEP_SYNC_EVERY=1s",
		"MUSTER_LIMITS_ENROLLMENTS_PER_HOUR=1000000", "MUSTER_LOG_FORMAT=text")
	if f.databaseURL != "" {
		key := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("simulated!", 4)[:32])) // guards nothing: the fleet is simulated
		g.env = append(g.env, "MUSTER_DATABASE_URL="+f.databaseURL, "MUSTER_PRIVATE_KEY="+key)
	}
	for n := range f.replicas {
		r := &replica{name: fmt.Sprintf("server%d", n+1)}
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		r.url = &url.URL{Scheme: "http", Host: listener.Addr().String()}
		if err := listener.Close(); err != nil {
			return nil, err
		}
		g.servers = append(g.servers, r)
		if err := g.start(ctx, r); err != nil {
			return nil, errors.Join(err, g.close())
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	g.url = "http://" + listener.Addr().String()
	g.proxy = &http.Server{Handler: g.handler(), ReadHeaderTimeout: serverStart}
	go func() {
		defer close(g.done)
		_ = g.proxy.Serve(listener) // ends with close
	}()
	return g, nil
}

// handler hands requests to the servers in turn.
func (g *replicas) handler() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			g.mu.Lock()
			server := g.servers[int(g.next.Add(1))%len(g.servers)]
			g.mu.Unlock()
			r.SetURL(server.url)
			r.Out.Host = r.In.Host
		},
		// A server that was just killed cannot be reached: as with a real
		// balancer the client is told to try again.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
}

// start runs a server and waits until it answers.
func (g *replicas) start(ctx context.Context, r *replica) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(g.dir, r.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the process has its own
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "serve")
	cmd.Env = append(append([]string{}, g.env...), "MUSTER_SERVER_ADDRESS="+r.url.Host)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", r.name, err)
	}
	r.cmd = cmd
	ctx, cancel := context.WithTimeout(ctx, serverStart)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url.String()+"/healthz", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not answer within %s; its log is %s", r.name, serverStart, log.Name())
		case <-time.After(serverPause):
		}
	}
}

// restart kills a server without any warning and starts it again.
func (g *replicas) restart(ctx context.Context) error {
	g.mu.Lock()
	r := g.servers[int(g.next.Load())%len(g.servers)]
	g.mu.Unlock()
	if err := r.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = r.cmd.Wait() // killed
	return g.start(ctx, r)
}

// close ends what was started.
func (g *replicas) close() error {
	var errs []error
	if g.proxy != nil {
		errs = append(errs, g.proxy.Close())
		<-g.done
	}
	for _, r := range g.servers {
		if r.cmd == nil || r.cmd.Process == nil {
			continue
		}
		if err := r.cmd.Process.Signal(os.Interrupt); err == nil {
			_ = r.cmd.Wait() // its log tells how it ended
		}
	}
	return errors.Join(errs...)
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/app"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/appleserver"
	"github.com/muster-mdm/muster/sim/scenario"
)

// What the demo uses unless told otherwise.
const (
	demoAddress  = "127.0.0.1:8412"
	demoDevices  = 40
	minDemo      = 10 // so that each kind of device is there
	maxDemo      = 5000
	demoEmail    = "admin@demo.example"
	demoPassword = "Demo-password-1"
	demoKeys     = 8
	demoSeed     = 2026
	// demoFreeOneIn devices there is one that is not supervised, for the item
	// that fails. The lab has every fourth device.
	demoFreeOneIn = 8
	failingWait   = 15 * time.Second
	failingPause  = 200 * time.Millisecond
	demoSync      = 2 * time.Second // Apple is on this machine
	demoDelivery  = 8 * time.Second // from buying a device to switching it on
	demoDownload  = 1_000_000       // enrollment profiles an hour: everyone is one address here
)

type demoFlags struct {
	dataDir string
	address string
	devices int
	check   bool
	verbose bool
}

func (c *cli) demoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use: "demo", Short: "Run a server with a simulated fleet, to try everything without Apple",
		Long: "Runs a server on its embedded database, a simulated push service, and simulated Macs, iPhones and iPads that\n" +
			"enroll over HTTP as real ones do. Nothing leaves this machine.\n\n" +
			"With --check it plays the whole story without waiting for anyone, verifies each step through the public API,\n" +
			"and ends with exit code 1 if something is off.",
		Example: "  muster demo\n  muster demo --devices 200 --data-dir ./demo-data\n  muster demo --check -o json",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.demo(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dataDir, "data-dir", "", "directory to keep the demo's data in (default a new temporary one, removed at the end)")
	flags.StringVar(&f.address, "address", demoAddress, "address to serve on")
	flags.IntVar(&f.devices, "devices", demoDevices, "simulated devices")
	flags.BoolVar(&f.check, "check", false, "play the story, verify each step, and end")
	flags.BoolVar(&f.verbose, "verbose", false, "show the server's log and what each device does")
	return cmd
}

func (c *cli) demo(ctx context.Context, f demoFlags) (err error) {
	if f.devices < minDemo || f.devices > maxDemo {
		return usagef("--devices must be between %d and %d", minDemo, maxDemo)
	}
	if _, err := c.format(); err != nil {
		return err
	}
	if f.dataDir == "" {
		if f.dataDir, err = os.MkdirTemp("", "muster-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(f.dataDir)) }()
	} else if err := os.MkdirAll(f.dataDir, 0o700); err != nil {
		return err
	}
	// Everything ends with the demo, in the reverse order of its start.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	push, err := appleserver.StartPush(ctx, appleserver.Options{})
	if err != nil {
		return fmt.Errorf("start the simulated push service: %w", err)
	}
	defer func() { err = errors.Join(err, push.Close()) }()
	shop := &shop{}
	apple, err := appleserver.StartEnrollment(ctx, appleserver.EnrollmentOptions{OnBuy: shop.sold})
	if err != nil {
		return fmt.Errorf("start the simulated enrollment service: %w", err)
	}
	defer func() { err = errors.Join(err, apple.Close()) }()
	server, wait, err := c.demoServer(ctx, f, push, apple)
	if err != nil {
		return err
	}
	story, err := c.demoStory(f, server, push, apple)
	if err != nil {
		stop()
		return errors.Join(err, wait())
	}
	err = c.play(ctx, f, server, push, apple, shop, story)
	stop()
	story.Wait()
	return errors.Join(err, wait())
}

// demoServer starts the server and returns its URL once it answers.
func (c *cli) demoServer(ctx context.Context, f demoFlags, push *appleserver.Push, apple *appleserver.Enrollment) (string, func() error, error) {
	roots := filepath.Join(f.dataDir, "simulated-apns.pem")
	if err := os.WriteFile(roots, push.RootPEM(), 0o600); err != nil {
		return "", nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.address)
	if err != nil && f.address == demoAddress {
		listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0") // the usual port is taken
	}
	if err != nil {
		return "", nil, fmt.Errorf("listen on %s: %w", f.address, err)
	}
	settings := config.Config{DataDir: f.dataDir}.WithDefaults()
	settings.Apple.APNSURL, settings.Apple.APNSRootCAFile = push.URL(), roots
	devices := filepath.Join(f.dataDir, "simulated-devices.pem")
	if err := os.WriteFile(devices, apple.DeviceAuthority().PEM(), 0o600); err != nil {
		return "", nil, errors.Join(err, listener.Close())
	}
	settings.Apple.DEPURL, settings.Apple.DeviceCAFile, settings.Apple.DEPSyncEvery = apple.URL(), devices, demoSync
	settings.Limits.EnrollmentsPerHour = demoDownload
	settings.Limits.CommandTargets = demoDownload
	logFile, err := os.OpenFile(filepath.Join(f.dataDir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", nil, errors.Join(err, listener.Close())
	}
	log, flush := c.serverLog(settings, logFile)
	if f.verbose {
		settings.Log.Format = "text"
		log, flush = c.serverLog(settings, c.Err)
	}
	a, err := app.New(ctx, app.Options{Config: settings, Version: c.Version, Log: log, Listener: listener})
	if err != nil {
		return "", nil, errors.Join(err, listener.Close(), flush(), logFile.Close())
	}
	done := make(chan error, 1)
	go func() { done <- errors.Join(a.Run(ctx), flush(), logFile.Close()) }()
	return "http://" + listener.Addr().String(), func() error { return <-done }, nil
}

func (c *cli) demoStory(f demoFlags, server string, push *appleserver.Push, apple *appleserver.Enrollment) (*scenario.Story, error) {
	connection, err := client.New(client.Options{Address: server, UserAgent: "muster/" + c.Version.Version})
	if err != nil {
		return nil, err
	}
	o := scenario.Options{Client: connection, Server: server, Push: push, Apple: apple, Devices: f.devices, Seed: demoSeed,
		Email: demoEmail, Password: demoPassword, KeyPool: demoKeys, Mix: appledev.Mix{FreeOneIn: demoFreeOneIn}, Progress: c.storyProgress()}
	if f.verbose {
		o.OnEvent = c.deviceEvents()
	}
	return scenario.New(o)
}

// storyProgress shows steps, and a line that moves while devices enroll.
func (c *cli) storyProgress() func(step string, done, failed, total int) {
	var mu sync.Mutex
	shown := -1
	return func(step string, done, failed, total int) {
		mu.Lock()
		defer mu.Unlock()
		if total == 0 {
			fmt.Fprintf(c.Err, "• %s\n", step)
			return
		}
		percent := done * 100 / total
		if percent == shown || (!c.Terminal && (percent%25 != 0 || percent == 0)) {
			return
		}
		shown = percent
		const width = 30
		filled := done * width / total
		line := fmt.Sprintf("  [%s%s] %d of %d", strings.Repeat("█", filled), strings.Repeat("·", width-filled), done, total)
		if failed > 0 {
			line += fmt.Sprintf(", %d failed", failed)
		}
		if !c.Terminal {
			fmt.Fprintln(c.Err, line)
			return
		}
		end := ""
		if done == total {
			end = "\n"
		}
		fmt.Fprintf(c.Err, "\r%s%s", line, end)
	}
}

func (c *cli) deviceEvents() func(appledev.Event) {
	names := map[appledev.EventKind]string{appledev.EventEnrolled: "enrolled", appledev.EventUnenrolled: "left",
		appledev.EventRenewed: "renewed", appledev.EventCommand: "answered", appledev.EventError: "error"}
	return func(e appledev.Event) {
		fmt.Fprintf(c.Err, "%s %s %s %s %s %s\n", e.At.In(c.Zone).Format("15:04:05.000 MST"), e.Serial, names[e.Kind], e.RequestType, e.Status, e.Detail)
	}
}

// play runs the story: to its end with --check, else until it is stopped.
func (c *cli) play(ctx context.Context, f demoFlags, server string, push *appleserver.Push, apple *appleserver.Enrollment, shop *shop, story *scenario.Story) error {
	if err := story.Prepare(ctx); err != nil {
		if f.check {
			return errors.Join(err, c.summary(story))
		}
		return err
	}
	story.Live(ctx)
	if err := story.Furnish(ctx); err != nil {
		if f.check {
			return errors.Join(err, c.summary(story))
		}
		return err
	}
	if err := story.Business(ctx); err != nil {
		if f.check {
			return errors.Join(err, c.summary(story))
		}
		return err
	}
	if f.check {
		return errors.Join(story.Check(ctx), story.CheckBusiness(ctx), c.summary(story))
	}
	shop.deliver(func(bought []appleserver.Bought) {
		// There is time to see them pending.
		time.AfterFunc(demoDelivery, func() {
			if ctx.Err() != nil {
				return
			}
			if _, err := story.Unbox(bought); err != nil {
				fmt.Fprintln(c.Err, "a device could not be switched on:", err)
			}
		})
	})
	for model, count := range map[string]int{"ipad": 3, "iphone": 1, "mac": 1} {
		if _, err := apple.Buy("", model, count); err != nil {
			return fmt.Errorf("buy devices: %w", err)
		}
	}
	forget, err := c.demoHandOver(f, server, push, apple, story)
	if err != nil {
		return err
	}
	defer forget()
	<-ctx.Done()
	fmt.Fprintln(c.Err, "\nstopping the demo")
	return nil
}

// summary prints what was verified.
func (c *cli) summary(story *scenario.Story) error {
	l := listing{value: map[string]any{"steps": story.Steps}, columns: []string{"STEP", "RESULT", "SECONDS", "DETAIL"}}
	for _, s := range story.Steps {
		result := "ok"
		if !s.OK {
			result = "FAILED"
		}
		l.rows = append(l.rows, []string{s.Name, result, fmt.Sprintf("%.1f", s.Seconds), s.Detail})
	}
	return c.show(l)
}

// runningDemo is what `muster sim` finds a running demo by.
type runningDemo struct {
	Server    string `json:"server"`
	EnrollURL string `json:"enroll_url"`
	WakeURL   string `json:"wake_url"`
	AppleURL  string `json:"apple_url"` // where devices are bought
	Config    string `json:"config"`
	PID       int    `json:"pid"`
}

// demoStateFile is where a running demo leaves word of itself.
func (c *cli) demoStateFile() (string, error) {
	if c.HomeDir == "" {
		return "", errors.New("there is no home directory")
	}
	return filepath.Join(c.HomeDir, ".muster", "demo.json"), nil
}

// demoHandOver logs a context in, leaves word for `muster sim`, and tells the
// person what to do next.
func (c *cli) demoHandOver(f demoFlags, server string, push *appleserver.Push, apple *appleserver.Enrollment, story *scenario.Story) (forget func(), err error) {
	contexts := filepath.Join(f.dataDir, "client.yml")
	demo := *c
	demo.configFile, demo.context = contexts, "default"
	if err := demo.changeContext(func(s *serverContext) { s.Address, s.Email, s.Token = server, demoEmail, story.Token }); err != nil {
		return nil, err
	}
	state, err := c.demoStateFile()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(runningDemo{Server: server, EnrollURL: story.EnrollURL, WakeURL: push.WakeURL(), AppleURL: apple.AdminURL(), Config: contexts, PID: os.Getpid()})
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(state), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(state, body, 0o600); err != nil {
		return nil, err
	}
	command := filepath.Join(f.dataDir, "device-information.plist")
	text := scenario.Command("DeviceInformation", "<key>Queries</key><array><string>DeviceName</string><string>OSVersion</string><string>BatteryLevel</string></array>")
	if err := os.WriteFile(command, []byte(text), 0o600); err != nil {
		return nil, err
	}
	c.nextSteps(server, contexts, command, story)
	return func() { _ = os.Remove(state) }, nil
}

func (c *cli) nextSteps(server, contexts, command string, story *scenario.Story) {
	self, err := os.Executable()
	if err != nil {
		self = "muster"
	}
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, self); err == nil && !strings.HasPrefix(rel, "..") {
			self = "./" + rel
		}
	}
	serial := story.Fleet.Devices[0].Spec().Serial
	kiosk := c.failingHost(story)
	fmt.Fprintf(c.Out, `
%d devices are enrolled and awake. Five more were just bought: they are pending hosts now and enroll by themselves in a
few seconds. The server is at %s
  REST API reference   %s/api/docs
  admin                %s, password %s

In another terminal, paste:
  export MUSTER_CLIENT_CONFIG=%s
  %s get hosts --mdm
  %s get host %s
  %s get profiles --team Lab
  %s explain %s %q
  %s mdm run-command --hosts %s --payload %s
  %s get mdm-commands --host %s
  %s get mdm-command-results --id <the id that run-command printed>
  %s sim apple --count 200
  %s sim buy ipad --count 20
  %s get hosts --mdm-pending

Ctrl-C ends the demo.
`, len(story.Fleet.Devices), server, server, demoEmail, demoPassword, contexts,
		self, self, serial, self, self, kiosk, scenario.KioskProfile, self, serial, command, self, serial, self, self, self, self)
}

// failingHost waits a moment for the demo's item that fails.
func (c *cli) failingHost(story *scenario.Story) string {
	ctx, cancel := context.WithTimeout(context.Background(), failingWait)
	defer cancel()
	for {
		serial, _, err := story.Failing(ctx)
		if err == nil {
			return serial
		}
		select {
		case <-ctx.Done():
			return story.Fleet.Devices[0].Spec().Serial
		case <-time.After(failingPause):
		}
	}
}

// errNoDemo is a command for a demo where none is.
var errNoDemo = errors.New("no demo is running: start `muster demo`")

// findDemo returns the demo that runs on this machine.
func (c *cli) findDemo() (runningDemo, error) {
	var d runningDemo
	state, err := c.demoStateFile()
	if err != nil {
		return d, err
	}
	body, err := os.ReadFile(state)
	if err != nil {
		return d, errNoDemo
	}
	return d, json.Unmarshal(body, &d)
}

// demoOr is findDemo where something else would do too.
func (c *cli) demoOr(instead string) (runningDemo, error) {
	demo, err := c.findDemo()
	if errors.Is(err, errNoDemo) {
		err = fmt.Errorf("%w, or %s", err, instead)
	}
	return demo, err
}

// elapsed formats a duration for people.
func elapsed(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }

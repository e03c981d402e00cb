package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/appleserver"
	"github.com/muster-mdm/muster/sim/load"
)

// Bounds of a simulated fleet.
const (
	maxSimDevices   = 200_000
	simPollInterval = time.Minute
	simEnrolling    = 16
	simKeys         = 16
)

func (c *cli) simCommand() *cobra.Command {
	return group("sim", "Simulate devices, and play scenarios with them", c.simAppleCommand(), c.simBuyCommand(), c.simAPNsCommand(), c.simLoadCommand(), c.simListCommand(), c.simRunCommand())
}

type simAppleFlags struct {
	server, profileURL, wakeURL string
	count                       int
	seed                        uint64
	once                        bool
	poll                        time.Duration
}

func (c *cli) simAppleCommand() *cobra.Command {
	f := simAppleFlags{}
	cmd := &cobra.Command{
		Use: "apple", Short: "Enroll simulated Macs, iPhones and iPads and keep them alive",
		Long: "Enrolls simulated devices into any server that runs and keeps them alive: they answer commands and poll.\n" +
			"Without --enroll-profile-url it finds the demo that runs on this machine.",
		Example: "  muster sim apple --count 200\n  muster sim apple --server https://mdm.example.com --enroll-profile-url https://mdm.example.com/mdm/apple/enroll/TOKEN --count 10",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.simApple(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.server, "server", "", "base URL of the server; a path given as --enroll-profile-url is below it")
	flags.StringVar(&f.profileURL, "enroll-profile-url", "", "where a GET returns a fresh enrollment profile: the enroll_url of an enrollment")
	flags.StringVar(&f.wakeURL, "wake-url", "", "wake endpoint of a simulated push service in another process; without it devices only poll")
	flags.IntVar(&f.count, "count", 200, "devices")
	flags.Uint64Var(&f.seed, "seed", 0, "equal seeds make equal devices (default by time)")
	flags.BoolVar(&f.once, "once", false, "end after enrolling and one poll, instead of keeping the devices alive")
	flags.DurationVar(&f.poll, "poll", simPollInterval, "how often a device polls by itself")
	return cmd
}

func (c *cli) simApple(ctx context.Context, f simAppleFlags) error {
	if f.count < 1 || f.count > maxSimDevices {
		return usagef("--count must be between 1 and %d", maxSimDevices)
	}
	if f.profileURL == "" {
		demo, err := c.demoOr("name a server with --server and --enroll-profile-url")
		if err != nil {
			return err
		}
		f.profileURL, f.wakeURL = demo.EnrollURL, demo.WakeURL
	} else if !strings.Contains(f.profileURL, "://") {
		f.profileURL = strings.TrimRight(f.server, "/") + "/" + strings.TrimLeft(f.profileURL, "/")
	}
	if f.seed == 0 {
		f.seed = uint64(c.Now().UnixNano())
	}
	keys, err := appledev.NewKeyPool(simKeys, 2048)
	if err != nil {
		return err
	}
	o := appledev.Options{Client: appledev.NewClient(nil, appledev.DefaultConnections), PollInterval: f.poll, Keys: keys}
	if f.wakeURL != "" {
		waker := appleserver.Dial(ctx, f.wakeURL, slog.New(slog.DiscardHandler))
		defer waker.Close()
		o.Wakes = waker
	}
	fleet := appledev.NewPopulation(f.seed, f.count, appledev.Mix{}, o)
	start := c.Now()
	progress := c.storyProgress()
	err = fleet.EnrollAll(ctx, func(*appledev.Device) string { return f.profileURL }, simEnrolling,
		func(done, failed, total int) { progress("enroll", done, failed, total) })
	if err != nil {
		return fmt.Errorf("enroll: %w", err)
	}
	fmt.Fprintf(c.Out, "%d devices enrolled in %s\n", f.count, elapsed(c.Now().Sub(start)))
	if f.once {
		return fleet.PollAll(ctx, simEnrolling)
	}
	fmt.Fprintln(c.Err, "they are alive until you stop this (Ctrl-C)")
	fleet.RunAll(ctx)
	return nil
}

func (c *cli) simLoadCommand() *cobra.Command {
	var o load.Options
	var kind string
	cmd := &cobra.Command{
		Use: "load", Short: "Measure a running server under simulated load",
		Long: "Measures CPU per request of server and database, latency, throughput and memory, and checks every answer.\n" +
			"Scenarios: idle (enrolled devices poll), drain (five commands for every device), storm (everyone enrolls at once).\n" +
			"Costs are also given in yardsticks (yd): the CPU time of verifying one RSA-2048 CMS signature on this machine.\n" +
			"Without --enroll-profile-url it measures the demo that runs on this machine.",
		Example: "  muster sim load --scenario idle --devices 2000\n  muster sim load --server http://127.0.0.1:8080 --enroll-profile-url http://127.0.0.1:8080/mdm/apple/enroll/TOKEN --scenario storm --devices 2000 --server-pid 1234",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Scenario = load.Scenario(kind)
			return c.simLoad(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&kind, "scenario", "idle", "idle, drain or storm")
	flags.StringVar(&o.Server, "server", "", "base URL of the server")
	flags.StringVar(&o.ProfileURL, "enroll-profile-url", "", "where a GET returns a fresh enrollment profile")
	flags.StringVar(&o.Token, "token", "", "API token for the drain scenario (default that of the context)")
	flags.IntVar(&o.Devices, "devices", load.DefaultDevices, "devices")
	flags.IntVar(&o.Connections, "connections", load.DefaultConnections, "connections that the devices share")
	flags.IntVar(&o.Rounds, "rounds", load.DefaultRounds, "polls of each device in the idle scenario")
	flags.Float64Var(&o.Rate, "rate", 0, "polls a second in the idle scenario; 0: as fast as they go")
	flags.DurationVar(&o.Settle, "settle", load.DefaultSettle, "how long devices must have been sent nothing before idle and drain are measured; 0: measure at once")
	flags.Uint64Var(&o.Seed, "seed", 0, "equal seeds make equal devices (default by time)")
	flags.IntVar(&o.ServerPID, "server-pid", 0, "process of the server, to read its CPU and memory (Linux)")
	flags.IntVar(&o.DatabasePID, "database-pid", 0, "process of the database, likewise")
	return cmd
}

func (c *cli) simLoad(ctx context.Context, o load.Options) error {
	if o.ProfileURL == "" {
		demo, err := c.demoOr("name a server with --server and --enroll-profile-url")
		if err != nil {
			return err
		}
		o.Server, o.ProfileURL = demo.Server, demo.EnrollURL
		if o.ServerPID == 0 {
			o.ServerPID = demo.PID
		}
		if o.Token == "" {
			own := *c
			own.configFile, own.context = demo.Config, "default"
			server, err := own.current()
			if err != nil {
				return err
			}
			o.Token = server.Token
		}
	} else if o.Token == "" && o.Scenario == load.Drain {
		server, err := c.current()
		if err != nil {
			return err
		}
		o.Token = server.Token
	}
	if o.Seed == 0 {
		o.Seed = uint64(c.Now().UnixNano())
	}
	progress := c.storyProgress()
	last := ""
	o.Progress = func(stage string, done, total int) {
		if stage != last {
			last = stage
			progress(stage, 0, 0, 0)
		}
		progress(stage, done, 0, total)
	}
	report, err := load.Run(ctx, o)
	if err != nil {
		return err
	}
	format, err := c.format()
	if err != nil {
		return err
	}
	if format == "json" {
		err = writeJSON(c.Out, report)
	} else {
		err = report.Write(c.Out)
	}
	if n := report.Errors(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d wrong answers", n))
	}
	return err
}

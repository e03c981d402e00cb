package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
	"github.com/muster-mdm/muster/sim/appleserver"
	"github.com/muster-mdm/muster/sim/scenario"
)

// play runs a scenario in a world of its own.
func play(t *testing.T, d store.Dialect, sc scenario.Scenario, devices int) {
	t.Helper()
	apple, err := appleserver.StartEnrollment(context.Background(), appleserver.EnrollmentOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = apple.Close() })
	w := unprepared(t, d, func(c *config.Config) {
		authority := filepath.Join(c.DataDir, "devices.pem")
		if err := os.WriteFile(authority, apple.DeviceAuthority().PEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		c.Apple.DEPURL, c.Apple.DeviceCAFile, c.Apple.DEPSyncEvery = apple.URL(), authority, time.Second
		c.Desired.Paused = false
	})
	w.run(t)
	connection, err := client.New(client.Options{Address: w.url})
	if err != nil {
		t.Fatal(err)
	}
	story, err := scenario.New(scenario.Options{Client: connection, Server: w.url, Push: w.push, Apple: apple, Devices: devices, Seed: 7, KeyPool: 8,
		Email: adminEmail, Password: adminPassword})
	if err != nil {
		t.Fatal(err)
	}
	defer story.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := sc.Play(ctx, story); err != nil {
		t.Errorf("%v\n%s", err, tail(w.log.String()))
	}
}

// tail is the end of a log.
func tail(log string) string {
	const most = 4000
	return log[max(0, len(log)-most):]
}

// Each scenario is a bug that some server really had.
func TestEveryScenarioEndsWell(t *testing.T) {
	for _, sc := range scenario.Scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel()
			devices := sc.Devices
			if !sc.Bought {
				devices = min(devices, 40)
			}
			play(t, store.SQLite, sc, devices)
		})
	}
}

// Those that stress the database run on all of them.
func TestScenariosThatStressTheDatabase(t *testing.T) {
	for _, name := range []string{"converge", "reenrollment", "team-move", "changed-scope", "token-stability"} {
		sc, err := scenario.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []store.Dialect{store.Postgres, store.MySQL} {
			t.Run(name+"/"+string(d), func(t *testing.T) {
				t.Parallel()
				play(t, d, sc, min(sc.Devices, 40))
			})
		}
	}
}

// The servers of these are processes, which are killed without warning.
func TestNothingIsLostThoughServersAreKilled(t *testing.T) {
	for name, args := range map[string][]string{
		"one server":                {"converge", "--devices", "60", "--kills", "5"},
		"two replicas":              {"converge", "--devices", "60", "--kills", "3", "--replicas", "2", "--database-url", storetest.URL(t, store.Postgres)},
		"devices at Apple":          {"ade-many", "--kills", "6"},
		"devices at Apple, MariaDB": {"ade-many", "--kills", "4", "--replicas", "2", "--database-url", storetest.URL(t, store.MySQL)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, program(t), append([]string{"sim", "run", "--keep", t.TempDir()}, args...)...)
			cmd.Env = environment("HOME=" + t.TempDir())
			// It ends its servers when it is interrupted.
			cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
			cmd.WaitDelay = 20 * time.Second
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/sim/load"
)

// The load generator understands what the server answers, also one that has
// questions of its own for new hosts.
func TestTheLoadGeneratorFindsNoWrongAnswers(t *testing.T) {
	t.Parallel()
	w := unprepared(t, store.SQLite, func(c *config.Config) { c.Refetch.Paused = false })
	w.run(t)
	w.openDatabase(t)
	w.prepare(t)
	for i, scenario := range []load.Scenario{load.Idle, load.Drain, load.Storm} {
		t.Run(string(scenario), func(t *testing.T) {
			const devices = 12
			report, err := load.Run(context.Background(), load.Options{Scenario: scenario, Server: w.url, Token: w.token, ProfileURL: w.enrollURL,
				Devices: devices, Connections: 4, Rounds: 2, Keys: 2, Seed: uint64(100 + i), Settle: load.DefaultSettle})
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			if err := report.Write(&text); err != nil {
				t.Fatal(err)
			}
			measured := report.Phases[len(report.Phases)-1]
			if report.Errors() > 0 || measured.Requests < 2*devices {
				t.Errorf("%s", &text)
			}
		})
	}
}

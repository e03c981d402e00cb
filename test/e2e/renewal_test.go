package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/scenario"
)

// Identities are renewed before they expire. One device does as it should, one
// refuses at first, one takes the command and does nothing for a while; in the
// end all have a new identity, and nothing else has changed on any.
func TestIdentitiesAreRenewedAndNothingElseChanges(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres, store.MySQL} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			const day = 24 * time.Hour
			w := unprepared(t, d, func(c *config.Config) {
				c.Desired.Paused = false
				c.Renewal.Window, c.Session.Duration = 360*day, 60*day
			})
			w.run(t)
			w.openDatabase(t)
			w.prepare(t)
			good, refusing, deaf := w.device(41, appledev.IPad), w.device(42, appledev.Mac), w.device(43, appledev.IPhone)
			refusing.Faults().RejectPayload("com.apple.mdm")
			deaf.Faults().IgnoreRenewal(true)
			ctx, stop := context.WithCancel(context.Background())
			done := make(chan error, 3)
			for _, dev := range []*appledev.Device{good, refusing, deaf} {
				if err := dev.Enroll(ctx, w.enrollURL); err != nil {
					t.Fatal(err)
				}
				go func() { done <- dev.Run(ctx) }()
			}
			defer func() {
				stop()
				for range 3 {
					<-done
				}
			}()
			if _, err := w.api.CreateProfile(ctx, client.ProfileUpload{FileName: "camera.mobileconfig", Content: scenario.Restrictions("com.example.camera", "Camera", "allowCamera", false)}); err != nil {
				t.Fatal(err)
			}
			w.allVerified(t, 3)
			w.renewed(t, 0)

			w.clock.advance(6 * day)
			w.renewed(t, 1)
			w.until(t, "SELECT COUNT(*) FROM renewals WHERE attempts = 1", 1)
			refusing.Faults().RejectPayload()
			w.clock.advance(3 * time.Hour) // the pause after a failure
			w.renewed(t, 2)
			deaf.Faults().IgnoreRenewal(false)
			w.clock.advance(3 * time.Hour)
			w.renewed(t, 3)

			for what, query := range map[string]string{
				"renewals under way":          "SELECT COUNT(*) FROM renewals",
				"secrets of renewals":         "SELECT COUNT(*) FROM secrets WHERE scope = 'renewal'",
				"renewal commands":            "SELECT COUNT(*) FROM commands WHERE purpose = 3",
				"old identities in use":       "SELECT COUNT(*) FROM identities WHERE purpose = 1 AND superseded_at = 0",
				"revoked identities":          "SELECT COUNT(*) FROM identities WHERE revoked_at > 0",
				"enrollments that were reset": "SELECT COUNT(*) FROM enrollments WHERE generation > 1",
			} {
				if n := w.number(t, query); n != 0 {
					t.Errorf("%s: %d", what, n)
				}
			}
			w.allVerified(t, 3)
			if n := w.number(t, "SELECT COUNT(*) FROM events WHERE kind = 'identity_renewal_failed'"); n < 1 {
				t.Error("nobody is told of the refusal")
			}
		})
	}
}

// until waits for a number in the database.
func (w *world) until(t *testing.T, query string, want int64) {
	t.Helper()
	eventually(t, func() (bool, string) {
		n := w.number(t, query)
		return n == want, fmt.Sprintf("%s: %d, want %d", query, n, want)
	})
}

func (w *world) renewed(t *testing.T, want int64) {
	t.Helper()
	w.until(t, "SELECT COUNT(*) FROM identities WHERE purpose = 2 AND used_at > 0", want)
}

// allVerified waits until every item on so many hosts is verified.
func (w *world) allVerified(t *testing.T, hosts int64) {
	t.Helper()
	w.until(t, "SELECT COUNT(*) FROM host_states WHERE verified > 0 AND pending + verifying + failed = 0", hosts)
}

package app_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/command"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/inventory"
	"github.com/muster-mdm/muster/internal/kit/wake"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// Size of the refetch benchmarks.
const (
	refetchHosts = 2000
	appsOfAHost  = 200
	talkAtOnce   = 32
)

// refetchAnswers are those of a host: what it is asked, by prefix. Free space
// is always another; one in every so many hosts has another version of a title.
func refetchAnswers(b *testing.B, host int, round int64) map[string][]byte {
	b.Helper()
	apps := make([]any, 0, appsOfAHost)
	for i := range appsOfAHost {
		version := "1.0"
		if i == 0 && host%20 == int(round%20) {
			version = fmt.Sprint("1.", round)
		}
		apps = append(apps, map[string]any{"Name": fmt.Sprint("Title ", i), "Identifier": fmt.Sprint("com.example.title.", i), "ShortVersion": version, "Installing": false})
	}
	out := map[string][]byte{}
	for prefix, fields := range map[string]map[string]any{
		"REFETCH-DEVICE-": {"QueryResponses": map[string]any{"DeviceName": fmt.Sprint("Phone ", host), "OSVersion": "18.6", "ProductName": "iPhone17,1",
			"DeviceCapacity": 256.0, "AvailableDeviceCapacity": 100 + float64(round%50), "WiFiMAC": "aa:bb:cc:dd:ee:ff", "BatteryLevel": 0.5, "IsSupervised": true}},
		"REFETCH-APPS-":  {"InstalledApplicationList": apps},
		"REFETCH-CERTS-": {"CertificateList": []any{map[string]any{"CommonName": "Own", "Data": []byte(fmt.Sprint("certificate ", host)), "IsIdentity": true}}},
	} {
		fields["UDID"], fields["Status"], fields["CommandUUID"] = "U", "Acknowledged", "C"
		raw, err := plist.Marshal(fields)
		if err != nil {
			b.Fatal(err)
		}
		out[prefix] = raw
	}
	return out
}

// An hour of a fleet: every host is asked, and answers all of it. The answers
// are read as the endpoint reads them; network and signatures are not in it.
func BenchmarkRefetch(b *testing.B) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		b.Run(string(d), func(b *testing.B) {
			ctx := context.Background()
			var ahead atomic.Int64
			clock := func() time.Time { return time.Now().UTC().Truncate(time.Microsecond).Add(time.Duration(ahead.Load())) }
			db := storetest.OpenAt(b, d, clock)
			channels := make([]fleet.EnrollmentID, refetchHosts)
			storetest.Parallel(talkAtOnce, func(n int) {
				for i := n; i < refetchHosts; i += talkAtOnce {
					e, err := store.NewEnrollments(db).Apply(ctx, fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: fmt.Sprint("U-", i)}},
						func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
							return fleet.EnrollmentChange{Refetch: true, Host: &fleet.Host{UUID: fmt.Sprint("U-", i), Platform: fleet.PlatformIOS},
								Enrollment: &fleet.Enrollment{Key: fmt.Sprint("U-", i), Channel: fleet.ChannelDevice, State: fleet.EnrollmentOn}}, nil
						})
					if err != nil {
						b.Error(err)
						return
					}
					channels[i] = e.ID
				}
			})
			r := inventory.NewRefetcher(store.NewRefetches(db), time.Hour, clock, wake.NewBell())
			ahead.Add(int64(24 * time.Hour)) // the first answers are not fresh
			var queueing, storing time.Duration
			round := int64(0)
			hour := func() {
				ahead.Add(int64(2 * time.Hour))
				round++
				answers := make([]map[string][]byte, refetchHosts)
				for i := range answers {
					answers[i] = refetchAnswers(b, i, round)
				}
				begun := cpu()
				if err := r.Round(ctx); err != nil {
					b.Fatal(err)
				}
				queueing += cpu() - begun
				begun = cpu()
				storetest.Parallel(talkAtOnce, func(n int) {
					for i := n; i < refetchHosts; i += talkAtOnce {
						if err := answerAll(ctx, db, channels[i], answers[i], clock()); err != nil {
							b.Error(err)
							return
						}
					}
				})
				storing += cpu() - begun
			}
			hour() // the first one stores everything
			queueing, storing = 0, 0
			n := 0
			for b.Loop() {
				hour()
				n++
			}
			per := float64(n * refetchHosts)
			b.ReportMetric(per/queueing.Seconds(), "queued/cpu-s")
			b.ReportMetric(per/storing.Seconds(), "answered/cpu-s")
		})
	}
}

// answerAll plays a device: it polls, and answers until nothing waits.
func answerAll(ctx context.Context, db *store.DB, channel fleet.EnrollmentID, answers map[string][]byte, at time.Time) error {
	commands := store.NewCommands(db)
	next, err := commands.Exchange(ctx, channel, nil, 0, nil)
	for answered := 0; ; answered++ {
		if err != nil {
			return err
		}
		if next == nil {
			if answered != len(answers) {
				return fmt.Errorf("%d questions", answered)
			}
			return nil
		}
		var raw []byte
		for prefix, body := range answers {
			if strings.HasPrefix(next.UUID, prefix) {
				raw = body
			}
		}
		d, err2 := plist.ReadDict(raw)
		if err2 != nil {
			return err2
		}
		report := fleet.CommandReport{CommandUUID: next.UUID, Status: fleet.CommandAcknowledged, Body: raw, At: at,
			Inventory: mdmcmd.Inventory(mdmcmd.RefetchPart(next.UUID), d)}
		next, err = commands.Exchange(ctx, channel, &report, 0, func(t fleet.CommandTarget) fleet.ReportOutcome { return command.Outcome(t, report, d) })
	}
}

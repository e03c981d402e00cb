package app_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/app"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/slogx"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
	"github.com/muster-mdm/muster/internal/vault"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/appleserver"
	"github.com/muster-mdm/muster/sim/scenario"
)

// direct hands requests to the server's handler without a network.
type direct struct{ h http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, r)
	return w.Result(), nil
}

// bench is a server without a network, and devices to drive it with.
type bench struct {
	url        string
	profileURL string // of the enrollment
	http       *http.Client
	client     *client.Client
	fleet      *appledev.Population
}

func startBench(b *testing.B, d store.Dialect, devices int) *bench {
	b.Helper()
	return startBenchAmong(b, d, devices, 0)
}

// startBenchAmong starts with a number of hosts that are enrolled already.
func startBenchAmong(b *testing.B, d store.Dialect, devices, enrolled int) *bench {
	b.Helper()
	ctx := context.Background()
	push, err := appleserver.StartPush(ctx, appleserver.Options{})
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	c := config.Config{DataDir: dir}.WithDefaults()
	c.Apple.APNSURL, c.Apple.APNSRootCAFile = push.URL(), filepath.Join(dir, "root.pem")
	c.Limits.EnrollmentsPerHour, c.Limits.CommandTargets = 1<<30, 1<<20
	if d != store.SQLite {
		c.Database.URL, c.PrivateKey = config.Secret(storetest.URL(b, d)), config.Secret(vault.NewKeyText())
	}
	if err := os.WriteFile(c.Apple.APNSRootCAFile, push.RootPEM(), 0o600); err != nil {
		b.Fatal(err)
	}
	seedHosts(b, c, enrolled)
	w := slogx.NewWriter(io.Discard)
	a, err := app.New(ctx, app.Options{Config: c, Log: slogx.New(slogx.Options{Format: "json", Out: w})})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := a.Close(); err != nil {
			b.Error(err)
		}
		_ = w.Close()
		_ = push.Close()
	})
	s := &bench{url: "http://muster.test", http: &http.Client{Transport: direct{a.Handler}}}
	if s.client, err = client.New(client.Options{Address: s.url, Transport: direct{a.Handler}}); err != nil {
		b.Fatal(err)
	}
	keys, err := appledev.NewKeyPool(8, 2048)
	if err != nil {
		b.Fatal(err)
	}
	s.fleet = appledev.NewPopulation(1, devices, appledev.Mix{IPhone: 1, IPad: 1}, appledev.Options{Client: s.http, Keys: keys})
	res, err := s.client.Setup(ctx, apiv1.SetupRequest{Admin: apiv1.SetupAdmin{Email: "a@b.example", Name: "A", Password: "Bench-password-1"}, ServerURL: s.url})
	if err != nil {
		b.Fatal(err)
	}
	s.client.SetToken(res.Token)
	cert, key, err := push.NewPushCertificate(scenario.Topic)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.client.UploadPushCertificate(ctx, client.PushUpload{Certificate: cert, PrivateKey: key}); err != nil {
		b.Fatal(err)
	}
	return s
}

// seedHosts writes enrolled hosts straight into the database.
func seedHosts(b *testing.B, c config.Config, n int) {
	b.Helper()
	if n == 0 {
		return
	}
	ctx := context.Background()
	db, err := app.OpenStore(ctx, c, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := db.Migrate(ctx); err != nil {
		b.Fatal(err)
	}
	channels := store.NewEnrollments(db)
	var next atomic.Int64
	storetest.Parallel(64, func(int) {
		for i := next.Add(1); i <= int64(n); i = next.Add(1) {
			key := fmt.Sprintf("SEED-%08d", i)
			_, err := channels.Apply(ctx, fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: key}, Serial: "S" + key},
				func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
					return fleet.EnrollmentChange{
						Host: &fleet.Host{UUID: key, HardwareSerial: "S" + key, Hostname: "Host " + key, Platform: fleet.PlatformIOS, MDM: fleet.HostMDM{Status: fleet.MDMManual}},
						Enrollment: &fleet.Enrollment{Key: key, Channel: fleet.ChannelDevice, State: fleet.EnrollmentOn, Topic: scenario.Topic,
							PushMagic: key, PushToken: []byte(key), Serial: "S" + key},
						Events: []fleet.Event{{Kind: fleet.EventMDMEnrolled}},
					}, nil
				})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
}

func (s *bench) enrollURL(b *testing.B) string {
	b.Helper()
	if s.profileURL != "" {
		return s.profileURL
	}
	e, err := s.client.CreateEnrollment(context.Background(), fmt.Sprint("bench ", b.Name()), "manual")
	if err != nil {
		b.Fatal(err)
	}
	s.profileURL = e.EnrollURL
	return s.profileURL
}

func (s *bench) enroll(b *testing.B) {
	b.Helper()
	url := s.enrollURL(b)
	if err := s.fleet.EnrollAll(context.Background(), func(*appledev.Device) string { return url }, 4, nil); err != nil {
		b.Fatal(err)
	}
	// The first poll answers what is asked at enrollment.
	if err := s.fleet.PollAll(context.Background(), 4); err != nil {
		b.Fatal(err)
	}
}

func eachDatabase(b *testing.B, run func(b *testing.B, d store.Dialect)) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		b.Run(string(d), func(b *testing.B) { run(b, d) })
	}
}

// A signed poll of a device that has nothing to do: the most frequent request.
func BenchmarkIdlePoll(b *testing.B) {
	eachDatabase(b, func(b *testing.B, d store.Dialect) {
		s := startBench(b, d, 20)
		s.enroll(b)
		polls := make([]*appledev.Prepared, len(s.fleet.Devices))
		for i, dev := range s.fleet.Devices {
			p, err := dev.PrepareIdle()
			if err != nil {
				b.Fatal(err)
			}
			polls[i] = p
		}
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; b.Loop(); i++ {
			status, body, err := polls[i%len(polls)].Send(context.Background(), s.http)
			if err != nil || status != http.StatusOK || len(body) != 0 {
				b.Fatal(status, body, err)
			}
		}
	})
}

// The same among 100,000 hosts, and a page of their list: costs must not grow
// with the fleet.
func BenchmarkAmongHundredThousandHosts(b *testing.B) {
	s := startBenchAmong(b, store.SQLite, 20, 100_000)
	s.enroll(b)
	ctx := context.Background()
	poll, err := s.fleet.Devices[0].PrepareIdle()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("idle poll", func(b *testing.B) {
		for b.Loop() {
			if status, _, err := poll.Send(ctx, s.http); err != nil || status != http.StatusOK {
				b.Fatal(status, err)
			}
		}
	})
	b.Run("five commands", func(b *testing.B) {
		dev := s.fleet.Devices[1]
		for b.Loop() {
			b.StopTimer()
			for range 5 {
				if _, err := s.client.RunCommand(ctx, []byte(scenario.Command("ProfileList", "")), []string{dev.Spec().UDID}); err != nil {
					b.Fatal(err)
				}
			}
			b.StartTimer()
			if n, err := dev.Poll(ctx); err != nil || n != 5 {
				b.Fatal(n, err)
			}
		}
	})
	url := s.enrollURL(b)
	b.Run("enrollment check-ins", func(b *testing.B) {
		keys, err := appledev.NewKeyPool(4, 2048)
		if err != nil {
			b.Fatal(err)
		}
		seed := uint64(b.N) << 20
		for b.Loop() {
			b.StopTimer()
			seed++
			dev := appledev.NewPopulation(seed, 1, appledev.Mix{IPhone: 1}, appledev.Options{Client: s.http, Keys: keys}).Devices[0]
			p, err := dev.PrepareEnrollment(ctx, url)
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if err := p.CheckIn(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, f := range map[string]client.HostFilter{"first page of hosts": {}, "page of a search": {Query: "SEED-000999"}, "page of a search that finds most": {Query: "host seed"}, "page of enrolled hosts": {MDMEnrollmentStatus: "enrolled"}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.client.HostsPage(ctx, f, 0, 50); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("count of enrolled hosts", func(b *testing.B) {
		for b.Loop() {
			if n, err := s.client.CountHosts(ctx, client.HostFilter{MDMEnrollmentStatus: "enrolled"}); err != nil || n < 100_000 {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("one command for 100,000 hosts", func(b *testing.B) {
		uuids := make([]string, 100_000)
		for i := range uuids {
			uuids[i] = fmt.Sprintf("SEED-%08d", i+1)
		}
		for b.Loop() {
			if _, err := s.client.RunCommand(ctx, []byte(scenario.Command("ProfileList", "")), uuids); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Five commands for a device and its answers, the device's own signing
// included.
func BenchmarkDrainFiveCommands(b *testing.B) {
	eachDatabase(b, func(b *testing.B, d store.Dialect) {
		s := startBench(b, d, 4)
		s.enroll(b)
		ctx := context.Background()
		for i := 0; b.Loop(); i++ {
			dev := s.fleet.Devices[i%len(s.fleet.Devices)]
			b.StopTimer()
			for range 5 {
				if _, err := s.client.RunCommand(ctx, []byte(scenario.Command("ProfileList", "")), []string{dev.Spec().UDID}); err != nil {
					b.Fatal(err)
				}
			}
			b.StartTimer()
			if n, err := dev.Poll(ctx); err != nil || n != 5 {
				b.Fatal(n, err)
			}
		}
	})
}

// Authenticate and TokenUpdate of a device that has its certificate.
func BenchmarkEnrollmentCheckIns(b *testing.B) {
	eachDatabase(b, func(b *testing.B, d store.Dialect) {
		s := startBench(b, d, 1)
		url := s.enrollURL(b)
		ctx := context.Background()
		keys, err := appledev.NewKeyPool(4, 2048)
		if err != nil {
			b.Fatal(err)
		}
		seed := uint64(100)
		for b.Loop() {
			b.StopTimer()
			seed++
			dev := appledev.NewPopulation(seed, 1, appledev.Mix{IPhone: 1}, appledev.Options{Client: s.http, Keys: keys}).Devices[0]
			p, err := dev.PrepareEnrollment(ctx, url)
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if err := p.CheckIn(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The check-ins of a storm: 64 devices at a time, as when a company comes in
// on a Monday.
func BenchmarkStormOfCheckIns(b *testing.B) {
	eachDatabase(b, func(b *testing.B, d store.Dialect) {
		s := startBench(b, d, 1)
		url := s.enrollURL(b)
		ctx := context.Background()
		keys, err := appledev.NewKeyPool(8, 2048)
		if err != nil {
			b.Fatal(err)
		}
		devices := appledev.NewPopulation(7, b.N, appledev.Mix{IPhone: 1, IPad: 1}, appledev.Options{Client: s.http, Keys: keys}).Devices
		prepared := make([]*appledev.PreparedEnrollment, len(devices))
		for i, dev := range devices {
			if prepared[i], err = dev.PrepareEnrollment(ctx, url); err != nil {
				b.Fatal(err)
			}
		}
		var next atomic.Int64
		b.SetParallelism(64 / runtime.GOMAXPROCS(0))
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := prepared[next.Add(1)-1].CheckIn(ctx); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// A certificate by SCEP, the profile's download and the device's part
// included.
func BenchmarkProfileAndCertificate(b *testing.B) {
	s := startBench(b, store.SQLite, 1)
	url := s.enrollURL(b)
	ctx := context.Background()
	keys, err := appledev.NewKeyPool(4, 2048)
	if err != nil {
		b.Fatal(err)
	}
	seed := uint64(1000)
	for b.Loop() {
		seed++
		dev := appledev.NewPopulation(seed, 1, appledev.Mix{IPhone: 1}, appledev.Options{Client: s.http, Keys: keys}).Devices[0]
		if _, err := dev.PrepareEnrollment(ctx, url); err != nil {
			b.Fatal(err)
		}
	}
}

// From nothing to the first answer.
func BenchmarkStart(b *testing.B) {
	for _, name := range []string{"first start", "later start"} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			for i := 0; b.Loop(); i++ {
				c := config.Config{DataDir: dir}.WithDefaults()
				if name == "first start" {
					c.DataDir = filepath.Join(dir, fmt.Sprint(i))
				}
				a, err := app.New(context.Background(), app.Options{Config: c, Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					b.Fatal(err)
				}
				w := httptest.NewRecorder()
				a.Handler.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/healthz", &bytes.Buffer{}))
				if w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
				if err := a.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

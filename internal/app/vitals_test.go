package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/app"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
	"github.com/muster-mdm/muster/internal/vault"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/appleserver"
	"github.com/muster-mdm/muster/sim/scenario"
)

// still is a server without a network whose time goes on when a test says so,
// with its devices.
type still struct {
	t      testing.TB
	app    *app.App
	api    *client.Client
	db     *store.DB // a connection of the test's own
	began  time.Time // now: certificates are judged by the real time as well
	ahead  atomic.Int64
	push   *appleserver.Push
	fleet  *appledev.Population
	enroll string
}

func (s *still) now() time.Time { return s.began.Add(time.Duration(s.ahead.Load())) }

func newStill(t testing.TB, d store.Dialect, devices int, mix appledev.Mix) *still {
	t.Helper()
	ctx := context.Background()
	s := &still{t: t, began: time.Now()}
	var err error
	if s.push, err = appleserver.StartPush(ctx, appleserver.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.push.Close() })
	dir := t.TempDir()
	c := config.Config{DataDir: dir}.WithDefaults()
	c.Apple.APNSURL, c.Apple.APNSRootCAFile = s.push.URL(), filepath.Join(dir, "root.pem")
	if d != store.SQLite {
		c.Database.URL, c.PrivateKey = config.Secret(storetest.URL(t, d)), config.Secret(vault.NewKeyText())
	}
	if err := os.WriteFile(c.Apple.APNSRootCAFile, s.push.RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.app, err = app.New(ctx, app.Options{Config: c, Log: slog.New(slog.DiscardHandler), Clock: s.now}); err != nil {
		t.Fatal(err)
	}
	if s.db, err = app.OpenStore(ctx, c, s.now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.app.Close(); err != nil {
			t.Error(err)
		}
		_ = s.db.Close()
	})
	s.setUp(devices, mix)
	return s
}

func (s *still) setUp(devices int, mix appledev.Mix) {
	s.t.Helper()
	ctx := context.Background()
	var err error
	const url = "http://muster.test"
	if s.api, err = client.New(client.Options{Address: url, Transport: direct{s.app.Handler}}); err != nil {
		s.t.Fatal(err)
	}
	res, err := s.api.Setup(ctx, apiv1.SetupRequest{Admin: apiv1.SetupAdmin{Email: "a@b.example", Name: "A", Password: "Test-password-1"}, ServerURL: url})
	if err != nil {
		s.t.Fatal(err)
	}
	s.api.SetToken(res.Token)
	cert, key, err := s.push.NewPushCertificate(scenario.Topic)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.api.UploadPushCertificate(ctx, client.PushUpload{Certificate: cert, PrivateKey: key}); err != nil {
		s.t.Fatal(err)
	}
	e, err := s.api.CreateEnrollment(ctx, "Devices", "manual")
	if err != nil {
		s.t.Fatal(err)
	}
	s.enroll = e.EnrollURL
	keys, err := appledev.NewKeyPool(4, 2048)
	if err != nil {
		s.t.Fatal(err)
	}
	s.fleet = appledev.NewPopulation(3, devices, mix, appledev.Options{Client: &http.Client{Transport: direct{s.app.Handler}}, Keys: keys, Clock: s.now})
	if err := s.fleet.EnrollAll(ctx, func(*appledev.Device) string { return s.enroll }, 2, nil); err != nil {
		s.t.Fatal(err)
	}
}

// run runs a job once.
func (s *still) run(name string) {
	s.t.Helper()
	for _, j := range s.app.Jobs {
		if j.Name == name {
			if err := j.Run(context.Background()); err != nil {
				s.t.Fatalf("%s: %v", name, err)
			}
			return
		}
	}
	s.t.Fatalf("there is no job %s", name)
}

// live lets time pass, step by step: jobs run, and devices poll.
func (s *still) live(whole, step time.Duration, devices ...*appledev.Device) {
	s.t.Helper()
	for passed := time.Duration(0); passed < whole; passed += step {
		s.ahead.Add(int64(step))
		for _, job := range []string{"refetcher", "apple_mdm_profile_manager", "cleanup", "seen"} {
			s.run(job)
		}
		for _, d := range devices {
			if _, err := d.Poll(context.Background()); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

// rows counts the rows of every table.
func (s *still) rows() map[string]int {
	s.t.Helper()
	schema, err := s.db.DescribeSchema(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	counts := map[string]int{}
	for _, line := range schema {
		table, _, ok := strings.Cut(line, ".")
		if _, counted := counts[table]; !ok || counted || strings.Contains(table, " ") {
			continue
		}
		for name, pool := range s.db.Pools() {
			if name == "write" {
				continue // its one connection is the writer's
			}
			n := 0
			if err := pool.QueryRow("SELECT COUNT(*) FROM " + table).Scan(&n); err != nil {
				s.t.Fatalf("count %s: %v", table, err)
			}
			counts[table] = n
		}
	}
	return counts
}

func TestTwoDaysOfRefetchesLeaveNothingBehind(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(string(d), func(t *testing.T) {
			const step, day = 20 * time.Minute, 24 * time.Hour
			s := newStill(t, d, 6, appledev.Mix{IPhone: 2, IPad: 1, Mac: 1})
			silent, busy := s.fleet.Devices[0], s.fleet.Devices[1]
			awake := s.fleet.Devices[1:]
			// Profiles are verified once a day: the first days is part of what is
			// steady. The silent one is asked and never heard of again.
			s.live(3*time.Hour, step, s.fleet.Devices...)
			s.live(26*time.Hour, step, awake...)
			before := s.rows()
			first := must(s.api.HostByIdentifier(t.Context(), busy.Spec().Serial))(t)
			s.live(2*day, step, awake...)
			after := s.rows()
			for table, n := range after {
				slack := 0
				if table == "software" {
					slack = 20 // versions that nobody has any more stay for a day
				}
				if n > before[table]+slack {
					t.Errorf("%s grew from %d to %d rows", table, before[table], n)
				}
			}
			h := must(s.api.HostByIdentifier(t.Context(), busy.Spec().Serial))(t)
			if !h.DetailUpdatedAt.After(first.DetailUpdatedAt.Add(day)) || s.now().Sub(h.DetailUpdatedAt) > 2*time.Hour || h.RefetchRequested || h.MDM.Silent {
				t.Errorf("vitals are of %s, at %s; outstanding %v", h.DetailUpdatedAt, s.now(), h.RefetchRequested)
			}
			if len(h.Software) < 3 || h.Vitals.TimeZone == "" {
				t.Errorf("%d titles, %+v", len(h.Software), h.Vitals)
			}
			quiet := must(s.api.HostByIdentifier(t.Context(), silent.Spec().Serial))(t)
			if !quiet.RefetchRequested || quiet.PendingCommands > 4 {
				t.Errorf("the silent host: requested %v, %d commands", quiet.RefetchRequested, quiet.PendingCommands)
			}
			list := must(s.api.Commands(t.Context(), client.CommandFilter{}, 0, 100))(t)
			for _, c := range list.Results {
				if strings.HasPrefix(c.CommandUUID, "REFETCH-") || c.RequestType == "DeviceInformation" {
					t.Errorf("people see %s", c.CommandUUID)
				}
			}
		})
	}
}

// A host whose record was deleted comes back with its vitals.
func TestADeletedHostComesBackWithItsVitals(t *testing.T) {
	s := newStill(t, store.SQLite, 1, appledev.Mix{Mac: 1})
	s.live(2*time.Hour, time.Hour, s.fleet.Devices...)
	serial := s.fleet.Devices[0].Spec().Serial
	h := must(s.api.HostByIdentifier(t.Context(), serial))(t)
	if err := s.api.DeleteHost(t.Context(), h.ID); err != nil {
		t.Fatal(err)
	}
	rows := s.rows()
	for _, table := range []string{"host_vitals", "host_software", "host_certificates", "host_lists", "host_refetches"} {
		if rows[table] != 0 {
			t.Errorf("%s: %d rows are left", table, rows[table])
		}
	}
	s.live(time.Hour, 20*time.Minute, s.fleet.Devices...)
	back := must(s.api.HostByIdentifier(t.Context(), serial))(t)
	if back.ID == h.ID || len(back.Software) == 0 || back.Vitals.FileVault == nil || !strings.HasPrefix(back.OSVersion, "macOS ") {
		t.Errorf("%+v", back.Vitals)
	}
	var certificates []string
	if err := s.api.AllHostCertificates(t.Context(), back.ID, func(c apiv1.HostCertificate) error {
		certificates = append(certificates, fmt.Sprint(c.CommonName, " ", c.Identity))
		return nil
	}); err != nil || len(certificates) == 0 {
		t.Errorf("%v, %v", certificates, err)
	}
}

func TestTheCleanupShortensTheEventLog(t *testing.T) {
	s := newStill(t, store.SQLite, 1, appledev.Mix{IPhone: 1})
	before := s.rows()["events"]
	s.run("cleanup")
	if n := s.rows()["events"]; n != before || n < 3 {
		t.Fatalf("%d of %d entries are left on the first day", n, before)
	}
	s.ahead.Add(int64((fleet.DefaultLogDays + 1) * 24 * time.Hour))
	s.run("cleanup")
	if n := s.rows()["events"]; n != before {
		t.Errorf("%d of %d entries are left when the clock jumps", n, before)
	}
	for range fleet.DefaultLogDays + 1 {
		s.run("cleanup")
	}
	if n := s.rows()["events"]; n != 0 {
		t.Errorf("%d of %d entries are left after %d days", n, before, fleet.DefaultLogDays+1)
	}
}

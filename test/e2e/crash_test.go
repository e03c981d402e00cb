package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/scenario"
)

// process is the real program as a child.
type process struct {
	binary  string
	args    []string
	logFile string
	url     string
	cmd     *exec.Cmd
}

func newProcess(t testing.TB, dir string, roots, apns string) *process {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return &process{binary: program(t), url: "http://" + address, logFile: filepath.Join(dir, "server.log"), args: []string{"serve",
		"--data-dir", dir, "--server-address", address, "--apple-apns-url", apns, "--apple-apns-root-ca-file", roots,
		"--limits-enrollments-per-hour", fmt.Sprint(plenty), "--log-level", "debug"}}
}

// start runs the program and returns when it is ready.
func (p *process) start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd := exec.Command(p.binary, p.args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, environment("MUSTER_DESIRED_PAUSED=true", "MUSTER_REFETCH_PAUSED=true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.cmd = cmd
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // when the test gave up half way
	eventually(t, func() (bool, string) {
		res, err := http.Get(p.url + "/readyz")
		if err != nil {
			log, _ := os.ReadFile(p.logFile)
			return false, fmt.Sprintf("%v\n%s", err, log[max(0, len(log)-2000):])
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK, res.Status
	})
}

// kill ends it without warning.
func (p *process) kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // says that it was killed
}

// storm is a fleet that enrolls and works while the server crashes.
type storm struct {
	t    *testing.T
	w    *world
	gate *gate
	// devices and observers stand at the same places.
	devices   []*appledev.Device
	observers []*observer

	mu   sync.Mutex
	sent map[string]int // device by CommandUUID, once the server took it
	wg   sync.WaitGroup
}

func TestNothingAcknowledgedIsLostWhenTheServerIsKilled(t *testing.T) {
	const count, kills = 150, 3
	w := &world{clock: &clock{}, push: startPush(t), devices: newDeviceClient(t)}
	w.config = withPush(t, config.Config{DataDir: t.TempDir()}, w.push)
	server := newProcess(t, w.config.DataDir, w.config.Apple.APNSRootCAFile, w.push.URL())
	server.start(t)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	w.url = server.url
	w.prepare(t)

	s := &storm{t: t, w: w, gate: newGate(), sent: map[string]int{}}
	for _, spec := range appledev.NewSpecs(99, count, appledev.Mix{}) {
		o := w.simulated()
		watch := newObserver(w.devices.Transport, s.gate)
		o.Client = &http.Client{Transport: watch, Timeout: patience}
		s.observers = append(s.observers, watch)
		s.devices = append(s.devices, appledev.New(spec, o))
	}
	ctx, stop := context.WithCancel(context.Background())
	defer func() { stop(); s.wg.Wait() }()
	s.rage(ctx)
	for i := range kills {
		least := (i + 1) * count / (kills + 1)
		eventually(t, func() (bool, string) {
			n := s.enrolled()
			return n >= least, fmt.Sprintf("%d of %d devices are enrolled", n, least)
		})
		server.kill(t)
		s.gate.shut()
		server.start(t)
		s.check(fmt.Sprintf("after kill %d", i+1))
		s.gate.open()
	}
	eventually(t, func() (bool, string) {
		done := s.answered()
		return s.enrolled() == count && done == count, fmt.Sprintf("%d of %d devices are enrolled, %d commands answered", s.enrolled(), count, done)
	})
	stop()
	s.wg.Wait()
	s.check("in the end")
	if n, err := w.api.CountHosts(context.Background(), client.HostFilter{}); err != nil || n != count {
		t.Errorf("%d hosts, want %d (%v)", n, count, err)
	}
	server.kill(t)
	s.checkFile(count)
	if log, err := os.ReadFile(server.logFile); err != nil || strings.Contains(string(log), "panic") {
		t.Errorf("a panic in the log (%v)", err)
	}
}

// rage lets every device enroll, be sent a command and answer it, whatever
// happens to the server.
func (s *storm) rage(ctx context.Context) {
	const atOnce = 12
	next := make(chan int)
	s.wg.Go(func() {
		defer close(next)
		for i := range s.devices {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	})
	for range atOnce {
		s.wg.Go(func() {
			for i := range next {
				s.live(ctx, i)
			}
		})
	}
}

// live is one device's story, each step until it succeeds.
func (s *storm) live(ctx context.Context, i int) {
	d := s.devices[i]
	again(ctx, func() error { return d.Enroll(ctx, s.w.enrollURL) })
	uuid := fmt.Sprintf("storm-command-%d", i)
	raw := strings.Replace(scenario.Command("ProfileList", ""), "<dict>", "<dict><key>CommandUUID</key><string>"+uuid+"</string>", 1)
	again(ctx, func() error {
		_, err := s.w.api.RunCommand(ctx, []byte(raw), []string{d.Spec().UDID})
		if client.StatusOf(err) == http.StatusConflict {
			return nil // it was taken before the crash
		}
		return err
	})
	s.mu.Lock()
	s.sent[uuid] = i
	s.mu.Unlock()
	again(ctx, func() error {
		if _, err := d.Poll(ctx); err != nil {
			return err
		}
		if _, results := s.observers[i].acknowledged(); results[uuid] == "" {
			return fmt.Errorf("%s is not answered", uuid)
		}
		return nil
	})
}

// again repeats a step until it succeeds or the storm is over. A refused
// connection fails at once, so there is a pause.
func again(ctx context.Context, step func() error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for step() != nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *storm) enrolled() int {
	n := 0
	for _, o := range s.observers {
		if on, _ := o.acknowledged(); on {
			n++
		}
	}
	return n
}

func (s *storm) answered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for uuid, i := range s.sent {
		if _, results := s.observers[i].acknowledged(); results[uuid] == "Acknowledged" {
			n++
		}
	}
	return n
}

// check holds what the server acknowledged against what it says.
func (s *storm) check(when string) {
	s.t.Helper()
	ctx := context.Background()
	hosts := map[string]apiv1.Host{}
	err := s.w.api.AllHosts(ctx, client.HostFilter{}, func(h apiv1.Host) error {
		if _, twice := hosts[h.HardwareSerial]; twice {
			s.t.Errorf("%s: two hosts with serial %s", when, h.HardwareSerial)
		}
		hosts[h.HardwareSerial] = h
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for i, d := range s.devices {
		on, results := s.observers[i].acknowledged()
		if h := hosts[d.Spec().Serial]; on && (h.MDM.EnrollmentStatus == nil || *h.MDM.EnrollmentStatus != "On (manual)") {
			s.t.Errorf("%s: the enrollment of %s was acknowledged and is lost", when, d.Spec().Serial)
		}
		for uuid, status := range results {
			if !strings.HasPrefix(uuid, "storm-") || status == "NotNow" {
				continue // vitals are erased with their answer
			}
			list, err := s.w.api.CommandResults(ctx, uuid, "")
			if err != nil || len(list) != 1 || list[0].Status != status {
				s.t.Errorf("%s: the answer %s to %s was acknowledged and is lost: %+v (%v)", when, status, uuid, list, err)
			}
		}
	}
}

// checkFile looks for what there must not be twice, in the database itself.
func (s *storm) checkFile(count int) {
	s.t.Helper()
	db, err := sql.Open("sqlite", "file:"+s.w.config.DatabaseFile())
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for query, want := range map[string]int{
		"SELECT COUNT(*) FROM hosts":                                                                                                       count,
		"SELECT COUNT(*) FROM enrollments WHERE parent_id = 0":                                                                             count,
		"SELECT COUNT(*) FROM enrollments WHERE parent_id = 0 AND state = 2":                                                               count,
		"SELECT COUNT(*) FROM commands WHERE purpose <> 2":                                                                                 count,
		"SELECT COUNT(*) FROM command_results WHERE status = 3":                                                                            count,
		"SELECT COUNT(*) FROM command_queue":                                                                                               0,
		"SELECT COUNT(*) FROM events WHERE kind = 'mdm_command_answered'":                                                                  count,
		"SELECT COUNT(DISTINCT command_id) FROM events WHERE kind = 'mdm_command_answered'":                                                count,
		"SELECT COUNT(*) FROM events WHERE kind = 'mdm_command_enqueued'":                                                                  count,
		"SELECT COUNT(*) FROM events WHERE kind = 'host_created'":                                                                          count,
		"SELECT COUNT(DISTINCT public_key_sha256 || profile_id || serial_hex) - COUNT(*) FROM identities":                                  0,
		"SELECT COUNT(*) FROM identities WHERE enrollment_id > 0 AND revoked_at = 0":                                                       count,
		"SELECT COUNT(*) FROM challenges c WHERE c.identity_id > 0 AND NOT EXISTS (SELECT 1 FROM identities i WHERE i.id = c.identity_id)": 0,
	} {
		var got int
		if err := db.QueryRow(query).Scan(&got); err != nil || got != want {
			s.t.Errorf("%s: %d, want %d (%v)", query, got, want, err)
		}
	}
}

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/sim/appledev"
)

// spread sends every request to the next of several servers, whatever server
// it names, as a load balancer does.
type spread struct {
	next    http.RoundTripper
	servers atomic.Pointer[[]string] // host:port
	turn    atomic.Uint64
}

func (s *spread) RoundTrip(r *http.Request) (*http.Response, error) {
	servers := *s.servers.Load()
	out := r.Clone(r.Context())
	out.URL.Host = servers[s.turn.Add(1)%uint64(len(servers))]
	return s.next.RoundTrip(out)
}

func (s *spread) use(t testing.TB, urls ...string) {
	t.Helper()
	servers := make([]string, 0, len(urls))
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, u.Host)
	}
	s.servers.Store(&servers)
}

func TestTwoReplicasShareTheWork(t *testing.T) {
	const count, workers = 30, 8
	ctx := context.Background()
	w := start(t, store.Postgres)
	other, stopOther := runApp(t, w.config, w.clock.now, &logBuffer{})
	balancer := &spread{next: w.devices.Transport}
	balancer.use(t, w.url, other)

	var devices []*appledev.Device
	var observers []*observer
	for _, spec := range appledev.NewSpecs(5, count, appledev.Mix{}) {
		o := w.simulated()
		watch := newObserver(balancer, nil)
		o.Client = &http.Client{Transport: watch, Timeout: patience}
		observers = append(observers, watch)
		devices = append(devices, appledev.New(spec, o))
	}
	fleet := &appledev.Population{Devices: devices}
	if err := fleet.EnrollAll(ctx, func(*appledev.Device) string { return w.enrollURL }, workers, nil); err != nil {
		t.Fatal(err)
	}
	if err := fleet.PollAll(ctx, workers); err != nil {
		t.Fatal(err)
	}
	var udids []string
	for _, d := range devices {
		udids = append(udids, d.Spec().UDID)
	}

	// Every device is pushed to once for what is sent at one time, because one
	// replica at a time pushes.
	pushes := len(w.push.Records())
	sent := []string{w.send(t, "ProfileList", udids...)}
	wanted := func() (bool, string) {
		n := w.number(t, "SELECT COUNT(*) FROM command_queue q JOIN pushes p ON p.enrollment_id = q.enrollment_id WHERE p.attempts > 0")
		return n == count, fmt.Sprintf("%d of %d devices were pushed to", n, count)
	}
	eventually(t, wanted)
	onceEach(t, w, pushes, count)
	for range 3 {
		sent = append(sent, w.send(t, "CertificateList", udids...))
	}
	// Two connections of a device at once are not real, repeated answers are.
	for _, d := range devices {
		d.Faults().Duplicate(2)
		d.Faults().LoseAnswers(1)
	}
	for range 4 {
		if err := fleet.PollAll(ctx, workers); err != nil && !errors.Is(err, appledev.ErrLost) {
			t.Fatal(err)
		}
	}
	checkAnswers(t, w, sent, count)
	for i, o := range observers {
		if _, results := o.acknowledged(); len(results) < len(sent) {
			t.Errorf("device %d answered %d commands", i, len(results))
		}
	}

	// One replica goes; the other goes on with pushes, even if the one that
	// went had not given the lease back.
	stopOther()
	balancer.use(t, w.url)
	if _, err := w.db.Exec("UPDATE leases SET holder = 'a replica that died', epoch = epoch + 1, expires_at = " +
		"CAST(EXTRACT(EPOCH FROM now()) * 1000000 AS BIGINT) + 5000000 WHERE name = 'job:apns_pusher'"); err != nil {
		t.Fatal(err)
	}
	pushes = len(w.push.Records())
	sent = []string{w.send(t, "SecurityInfo", udids...)}
	eventually(t, wanted)
	onceEach(t, w, pushes, count)
	if err := fleet.PollAll(ctx, workers); err != nil {
		t.Fatal(err)
	}
	checkAnswers(t, w, sent, count)
	for line := range strings.SplitSeq(w.log.String(), "\n") {
		if strings.Contains(line, `"level":"ERROR"`) {
			t.Error(line)
		}
	}
}

// onceEach checks the pushes since a time: one for each device.
func onceEach(t *testing.T, w *world, since, count int) {
	t.Helper()
	tokens := map[string]int{}
	for _, r := range w.push.Records()[since:] {
		tokens[string(r.Token)]++
	}
	if len(tokens) != count {
		t.Errorf("%d devices were pushed to, want %d", len(tokens), count)
	}
	for token, n := range tokens {
		if n != 1 {
			t.Errorf("%x was pushed to %d times", token[:4], n)
		}
	}
}

// checkAnswers checks that every command has one answer of every device, in
// the history and in the event log.
func checkAnswers(t *testing.T, w *world, commands []string, count int) {
	t.Helper()
	for _, uuid := range commands {
		list, err := w.api.CommandResults(context.Background(), uuid, "")
		if err != nil || len(list) != count {
			t.Fatalf("%s has %d results, want %d (%v)", uuid, len(list), count, err)
		}
		for _, r := range list {
			if !slices.Contains([]string{"Acknowledged", "Error"}, r.Status) {
				t.Errorf("%s on %s is %s", uuid, r.HostUUID, r.Status)
			}
		}
		events := w.number(t, "SELECT COUNT(*) FROM events e JOIN commands c ON c.id = e.command_id WHERE e.kind = 'mdm_command_answered' AND c.uuid = '"+uuid+"'")
		if events != int64(count) {
			t.Errorf("%s has %d answers in the event log, want %d", uuid, events, count)
		}
	}
}

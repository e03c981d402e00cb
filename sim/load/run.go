package load

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/sim/appledev"
)

// run is a run in progress.
type run struct {
	o       Options
	client  *http.Client
	devices *appledev.Population
	report  Report

	mu       sync.Mutex
	recorder *recorder // of the phase in progress; nil between phases
}

// Run performs a scenario and returns what it measured. Wrong answers are
// counted in the report; an error means that there is nothing to report.
func Run(ctx context.Context, o Options) (Report, error) {
	err := o.complete()
	if err != nil {
		return Report{}, err
	}
	r := &run{o: o, client: appledev.NewClient(o.Roots, o.Connections)}
	defer r.client.CloseIdleConnections()
	r.report = Report{Scenario: o.Scenario, Devices: o.Devices, Connections: o.Connections}
	o.Progress("keys", 0, o.Keys)
	keys, err := appledev.NewKeyPool(o.Keys, keyBits)
	if err != nil {
		return Report{}, fmt.Errorf("load: %w", err)
	}
	r.devices = appledev.NewPopulation(o.Seed, o.Devices, appledev.Mix{IPhone: 1, IPad: 1}, appledev.Options{
		Client: r.client, Keys: keys, OnRequest: r.onRequest, Clock: o.Clock,
	})
	r.report.YardstickBefore, err = Yardstick()
	if err != nil {
		return Report{}, fmt.Errorf("load: %w", err)
	}
	switch o.Scenario {
	case Idle:
		err = r.idle(ctx)
	case Drain:
		err = r.drain(ctx)
	case Storm:
		err = r.storm(ctx)
	}
	if err != nil {
		return Report{}, fmt.Errorf("load: %s: %w", o.Scenario, err)
	}
	r.report.YardstickAfter, err = Yardstick()
	if err != nil {
		return Report{}, fmt.Errorf("load: %w", err)
	}
	return r.report, nil
}

// keyBits is the size of the devices' keys.
const keyBits = 2048

// onRequest passes a device's request to the phase in progress.
func (r *run) onRequest(req appledev.Request) {
	r.mu.Lock()
	current := r.recorder
	r.mu.Unlock()
	if current != nil {
		current.hook(req)
	}
}

// phase measures f and adds it to the report. f notes its errors in the
// recorder; one that it returns ends the run.
func (r *run) phase(ctx context.Context, name string, f func(context.Context, *recorder) error) error {
	rec := newRecorder()
	serverBefore, err := measure(r.o.ServerPID)
	if err != nil {
		return err
	}
	databaseBefore, err := measure(r.o.DatabasePID)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.recorder = rec
	r.mu.Unlock()
	start := r.o.Clock()
	err = f(ctx, rec)
	wall := r.o.Clock().Sub(start)
	r.mu.Lock()
	r.recorder = nil
	r.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	server, err := measure(r.o.ServerPID)
	if err != nil {
		return err
	}
	database, err := measure(r.o.DatabasePID)
	if err != nil {
		return err
	}
	p := rec.phase(name, wall)
	p.ServerCPU, p.ServerRSS = server.cpu-serverBefore.cpu, server.rss
	p.DatabaseCPU, p.DatabaseRSS = database.cpu-databaseBefore.cpu, database.rss
	r.report.Phases = append(r.report.Phases, p)
	return nil
}

// each runs f for every device on as many workers as there are connections,
// counting progress. Errors go to the recorder.
func (r *run) each(ctx context.Context, stage string, rec *recorder, f func(context.Context, *appledev.Device) error) error {
	var done atomic.Int64
	// Errors are noted one by one; what Each joins of them is the same again.
	_ = r.devices.Each(ctx, r.o.Connections, func(ctx context.Context, d *appledev.Device) error {
		err := f(ctx, d)
		if err != nil {
			rec.fail(fmt.Errorf("%s: %w", d.Spec().Serial, err))
		}
		r.o.Progress(stage, int(done.Add(1)), len(r.devices.Devices))
		return nil
	})
	return ctx.Err()
}

// enroll prepares the other scenarios: every device enrolled and with an empty
// queue.
func (r *run) enroll(ctx context.Context) error {
	rec := newRecorder()
	err := r.each(ctx, "enroll", rec, func(ctx context.Context, d *appledev.Device) error {
		err := d.Enroll(ctx, r.o.ProfileURL)
		if err != nil {
			return err
		}
		_, err = d.Poll(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if rec.errors > 0 {
		return fmt.Errorf("%d of %d devices could not be enrolled, such as: %s", rec.errors, r.o.Devices, rec.texts[0])
	}
	return r.settle(ctx)
}

// Rounds of settle.
const (
	settleRound = 250 * time.Millisecond
	settleMost  = 2 * time.Minute
)

// settle polls until no device was sent anything for Options.Settle.
func (r *run) settle(ctx context.Context) error {
	if r.o.Settle == 0 {
		return nil
	}
	start := r.o.Clock()
	for quiet := start; r.o.Clock().Sub(quiet) < r.o.Settle; {
		if r.o.Clock().Sub(start) > settleMost {
			return fmt.Errorf("the server still sends commands of its own after %v: measure one that has nothing to do (desired.paused, refetch.paused, renewal.paused)", settleMost)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settleRound):
		}
		rec := newRecorder()
		var sent atomic.Int64
		err := r.each(ctx, "settle", rec, func(ctx context.Context, d *appledev.Device) error {
			n, err := d.Poll(ctx)
			sent.Add(int64(n))
			return err
		})
		if err != nil {
			return err
		}
		if rec.errors > 0 {
			return fmt.Errorf("%d devices could not poll, such as: %s", rec.errors, rec.texts[0])
		}
		if sent.Load() > 0 {
			quiet = r.o.Clock()
		}
	}
	return nil
}

// idle polls with requests signed beforehand.
func (r *run) idle(ctx context.Context) error {
	err := r.enroll(ctx)
	if err != nil {
		return err
	}
	prepared := make([]*appledev.Prepared, len(r.devices.Devices))
	for i, d := range r.devices.Devices {
		prepared[i], err = d.PrepareIdle()
		if err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	limit := rate.Inf
	if r.o.Rate > 0 {
		limit = rate.Limit(r.o.Rate)
	}
	limiter := rate.NewLimiter(limit, 1)
	return r.phase(ctx, "idle polls", func(ctx context.Context, rec *recorder) error {
		var next atomic.Int64
		total := len(prepared) * r.o.Rounds
		var workers sync.WaitGroup
		for range r.o.Connections {
			workers.Go(func() {
				for n := int(next.Add(1)) - 1; n < total && limiter.Wait(ctx) == nil; n = int(next.Add(1)) - 1 {
					r.pollOnce(ctx, rec, prepared[n%len(prepared)])
					r.o.Progress("poll", n+1, total)
				}
			})
		}
		workers.Wait()
		return ctx.Err()
	})
}

// pollOnce sends one prepared Idle and checks that nothing came back.
func (r *run) pollOnce(ctx context.Context, rec *recorder, p *appledev.Prepared) {
	start := r.o.Clock()
	status, body, err := p.Send(ctx, r.client)
	rec.request("Idle", r.o.Clock().Sub(start))
	switch {
	case err != nil:
		rec.fail(err)
	case status != http.StatusOK:
		rec.fail(fmt.Errorf("idle: HTTP %d", status))
	case len(body) != 0:
		rec.fail(fmt.Errorf("idle: answered with %d bytes where nothing was queued", len(body)))
	}
}

// storm enrolls all devices at once. Their certificates come first, measured
// apart.
func (r *run) storm(ctx context.Context) error {
	var mu sync.Mutex
	prepared := make(map[*appledev.Device]*appledev.PreparedEnrollment, r.o.Devices)
	err := r.phase(ctx, "profiles and certificates", func(ctx context.Context, rec *recorder) error {
		return r.each(ctx, "certificates", rec, func(ctx context.Context, d *appledev.Device) error {
			p, err := d.PrepareEnrollment(ctx, r.o.ProfileURL)
			if err != nil {
				return err
			}
			mu.Lock()
			prepared[d] = p
			mu.Unlock()
			return nil
		})
	})
	if err != nil {
		return err
	}
	return r.phase(ctx, "check-ins", func(ctx context.Context, rec *recorder) error {
		return r.each(ctx, "check-ins", rec, func(ctx context.Context, d *appledev.Device) error {
			mu.Lock()
			p := prepared[d]
			mu.Unlock()
			if p == nil {
				return errors.New("has no certificate")
			}
			return p.CheckIn(ctx)
		})
	})
}

// drainCommands are queued for every device.
func drainCommands() []string {
	return []string{"DeviceInformation", "InstalledApplicationList", "ProfileList", "CertificateList", "SecurityInfo"}
}

// drain queues commands by the REST API and has every device empty its queue,
// with answers signed beforehand.
func (r *run) drain(ctx context.Context) error {
	err := r.enroll(ctx)
	if err != nil {
		return err
	}
	queued := make(map[*appledev.Device][]command, r.o.Devices)
	err = r.phase(ctx, "enqueue", func(ctx context.Context, rec *recorder) error {
		return r.enqueueAll(ctx, rec, queued)
	})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	prepared := make(map[*appledev.Device][]*appledev.Prepared, r.o.Devices)
	unready := newRecorder()
	err = r.each(ctx, "sign", unready, func(ctx context.Context, d *appledev.Device) error {
		answers, err := d.PrepareDrain(ctx, bodies(queued[d]))
		mu.Lock()
		defer mu.Unlock()
		prepared[d] = answers
		return err
	})
	if err != nil {
		return err
	}
	if unready.errors > 0 {
		return fmt.Errorf("prepare: %s", unready.texts[0])
	}
	return r.phase(ctx, "drain", func(ctx context.Context, rec *recorder) error {
		return r.each(ctx, "drain", rec, func(ctx context.Context, d *appledev.Device) error {
			return r.drainOne(ctx, rec, prepared[d], queued[d])
		})
	})
}

// drainOne sends a prepared connection and checks that each answer brings the
// next command, and the last one nothing.
func (r *run) drainOne(ctx context.Context, rec *recorder, prepared []*appledev.Prepared, queued []command) error {
	for i, p := range prepared {
		start := r.o.Clock()
		status, body, err := p.Send(ctx, r.client)
		rec.request(p.Name(), r.o.Clock().Sub(start))
		var want command
		if i < len(queued) {
			want = queued[i]
		}
		switch {
		case err != nil:
			return err
		case status != http.StatusOK:
			return fmt.Errorf("%s: HTTP %d", p.Name(), status)
		case !want.is(body):
			const shown = 300
			return fmt.Errorf("request %d of a connection was answered with %q where %s %s was due", i+1, body[:min(len(body), shown)], want.kind, want.uuid)
		}
	}
	return nil
}

// enqueueAll sends every command to every device in batches, and notes what
// each device was sent.
func (r *run) enqueueAll(ctx context.Context, rec *recorder, queued map[*appledev.Device][]command) error {
	commands, devices := drainCommands(), r.devices.Devices
	done, total := 0, len(commands)*len(devices)
	for _, kind := range commands {
		for rest := devices; len(rest) > 0; {
			batch := rest[:min(r.o.Batch, len(rest))]
			rest = rest[len(batch):]
			c := newCommand(kind)
			uuids := make([]string, 0, len(batch))
			for _, d := range batch {
				uuids = append(uuids, d.Spec().UDID)
				queued[d] = append(queued[d], c)
			}
			start := r.o.Clock()
			err := r.enqueue(ctx, c, uuids)
			rec.request("commands/run", r.o.Clock().Sub(start))
			if err != nil {
				return err
			}
			done += len(batch)
			r.o.Progress("enqueue", done, total)
		}
	}
	return nil
}

// command is one that was sent; the zero value is none.
type command struct {
	kind, uuid string
	body       []byte
}

// newCommand is a command of the kind with a UUID of its own.
func newCommand(kind string) command {
	queries := ""
	if kind == "DeviceInformation" {
		queries = "<key>Queries</key><array><string>DeviceName</string><string>OSVersion</string><string>AvailableDeviceCapacity</string></array>"
	}
	c := command{kind: kind, uuid: uuid.NewString()}
	c.body = []byte(`<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict><key>CommandUUID</key><string>` + c.uuid +
		`</string><key>Command</key><dict><key>RequestType</key><string>` + kind + `</string>` + queries + `</dict></dict></plist>`)
	return c
}

// is tells whether a device was handed this command. A server may write the
// same property list in another way.
func (c command) is(answer []byte) bool {
	if c.uuid == "" {
		return len(answer) == 0
	}
	text := func(s string) []byte { return []byte("<string>" + s + "</string>") }
	return bytes.Contains(answer, text(c.uuid)) && bytes.Contains(answer, text(c.kind))
}

func bodies(commands []command) [][]byte {
	out := make([][]byte, 0, len(commands))
	for _, c := range commands {
		out = append(out, c.body)
	}
	return out
}

// enqueue is one call of the REST API.
func (r *run) enqueue(ctx context.Context, c command, uuids []string) error {
	body, err := json.Marshal(apiv1.RunCommandRequest{Command: base64.StdEncoding.EncodeToString(c.body), HostUUIDs: uuids})
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", c.kind, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.o.Server+"/api/v1/fleet/commands/run", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", c.kind, err)
	}
	req.Header.Set("Authorization", "Bearer "+r.o.Token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", c.kind, err)
	}
	defer func() { _ = resp.Body.Close() }()
	const maxAnswer = 4 << 20
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", c.kind, err)
	}
	if resp.StatusCode != http.StatusOK {
		const shown = 300
		return fmt.Errorf("enqueue %s: HTTP %d: %s", c.kind, resp.StatusCode, answer[:min(len(answer), shown)])
	}
	return nil
}

package load

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/muster-mdm/muster/sim/appledev"
)

// Bounds of what is kept of a run.
const (
	maxSamples = 5_000_000 // latencies per operation
	maxShown   = 10        // error texts
)

// Latency summarizes durations.
type Latency struct{ P50, P95, P99, Max time.Duration }

// Operation is one kind of request in a phase.
type Operation struct {
	Name     string
	Requests int
	Latency  Latency
}

// Phase is a measured stretch of a run.
type Phase struct {
	Name       string
	Requests   int
	Errors     int      // failed, or answered wrongly
	ErrorTexts []string // the first few
	Wall       time.Duration
	Latency    Latency
	Operations []Operation // by name
	// CPU of the server and the database during the phase; 0 when not read.
	ServerCPU   time.Duration
	DatabaseCPU time.Duration
	// Resident memory in bytes at its end; 0 when not read.
	ServerRSS   int64
	DatabaseRSS int64
}

// PerSecond is the throughput.
func (p Phase) PerSecond() float64 {
	if p.Wall <= 0 {
		return 0
	}
	return float64(p.Requests) / p.Wall.Seconds()
}

// CPUPerRequest is that of server and database together.
func (p Phase) CPUPerRequest() time.Duration {
	return perRequest(p.ServerCPU+p.DatabaseCPU, p.Requests)
}

func perRequest(d time.Duration, n int) time.Duration {
	if n == 0 {
		return 0
	}
	return d / time.Duration(n)
}

// Report is a finished run.
type Report struct {
	Scenario    Scenario
	Devices     int
	Connections int
	// YardstickBefore and YardstickAfter are CPU times; see Yardstick.
	YardstickBefore time.Duration
	YardstickAfter  time.Duration
	Phases          []Phase
}

// Errors counts those of all phases.
func (r Report) Errors() int {
	n := 0
	for _, p := range r.Phases {
		n += p.Errors
	}
	return n
}

// Yardsticks states a CPU time in yd.
func (r Report) Yardsticks(d time.Duration) float64 {
	yd := r.YardstickBefore + r.YardstickAfter
	if yd == 0 {
		return 0
	}
	return 2 * float64(d) / float64(yd)
}

// Write prints the report as text.
func (r Report) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "scenario %s, %d devices, %d connections; 1 yd = %v before, %v after\n",
		r.Scenario, r.Devices, r.Connections, micro(r.YardstickBefore), micro(r.YardstickAfter))
	for _, p := range r.Phases {
		r.writePhase(&b, p)
	}
	_, err := io.WriteString(w, b.String())
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// writePhase prints one phase.
func (r Report) writePhase(b *strings.Builder, p Phase) {
	fmt.Fprintf(b, "\n%s: %d requests in %v, %.0f/s, %d errors\n", p.Name, p.Requests, p.Wall.Round(time.Millisecond), p.PerSecond(), p.Errors)
	if p.ServerCPU+p.DatabaseCPU > 0 {
		server, database := perRequest(p.ServerCPU, p.Requests), perRequest(p.DatabaseCPU, p.Requests)
		fmt.Fprintf(b, "CPU per request: server %v (%.2f yd), database %v (%.2f yd), both %.2f yd\n",
			micro(server), r.Yardsticks(server), micro(database), r.Yardsticks(database), r.Yardsticks(p.CPUPerRequest()))
	}
	if p.ServerRSS > 0 {
		const mib = 1 << 20
		fmt.Fprintf(b, "memory: server %d MiB, database %d MiB\n", p.ServerRSS/mib, p.DatabaseRSS/mib)
	}
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	// Writes to a strings.Builder do not fail.
	_, _ = fmt.Fprintln(table, "operation\trequests\tp50\tp95\tp99\tmax")
	for _, o := range append(p.Operations, Operation{Name: "all", Requests: p.Requests, Latency: p.Latency}) {
		_, _ = fmt.Fprintf(table, "%s\t%d\t%v\t%v\t%v\t%v\n", o.Name, o.Requests, micro(o.Latency.P50), micro(o.Latency.P95), micro(o.Latency.P99), micro(o.Latency.Max))
	}
	_ = table.Flush()
	for _, text := range p.ErrorTexts {
		fmt.Fprintf(b, "error: %s\n", text)
	}
}

// micro rounds for the eye.
func micro(d time.Duration) time.Duration { return d.Round(time.Microsecond) }

// recorder collects one phase. It is safe for concurrent use.
type recorder struct {
	mu     sync.Mutex
	byOp   map[string][]time.Duration
	count  map[string]int
	errors int
	texts  []string
}

func newRecorder() *recorder {
	return &recorder{byOp: make(map[string][]time.Duration), count: make(map[string]int)}
}

// request notes one exchange; a failed one is the caller's to fail.
func (r *recorder) request(op string, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count[op]++
	if len(r.byOp[op]) < maxSamples {
		r.byOp[op] = append(r.byOp[op], d)
	}
}

// hook is request for appledev's Options.
func (r *recorder) hook(req appledev.Request) { r.request(req.Op, req.Duration) }

// fail notes an error or a wrong answer.
func (r *recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors++
	if len(r.texts) < maxShown {
		r.texts = append(r.texts, err.Error())
	}
}

// phase summarizes.
func (r *recorder) phase(name string, wall time.Duration) Phase {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := Phase{Name: name, Wall: wall, Errors: r.errors, ErrorTexts: r.texts}
	var all []time.Duration
	for _, op := range slices.Sorted(maps.Keys(r.byOp)) {
		samples := r.byOp[op]
		slices.Sort(samples)
		p.Operations = append(p.Operations, Operation{Name: op, Requests: r.count[op], Latency: latency(samples)})
		p.Requests += r.count[op]
		all = append(all, samples...)
	}
	slices.Sort(all)
	p.Latency = latency(all)
	return p
}

// latency reads percentiles off sorted samples.
func latency(sorted []time.Duration) Latency {
	if len(sorted) == 0 {
		return Latency{}
	}
	at := func(percent int) time.Duration { return sorted[(len(sorted)-1)*percent/100] }
	return Latency{P50: at(50), P95: at(95), P99: at(99), Max: sorted[len(sorted)-1]}
}

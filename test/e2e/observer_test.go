package e2e

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"sync"

	"github.com/muster-mdm/muster/internal/codec/plist"
)

// observer stands between a device and the network and keeps what the server
// acknowledged: the messages that it answered with HTTP 200.
type observer struct {
	next http.RoundTripper
	gate *gate // nil: always open

	mu       sync.Mutex
	enrolled bool              // a TokenUpdate was acknowledged, and no Authenticate sent since
	results  map[string]string // status by CommandUUID
	handed   map[string]int    // how often the command was received
}

func newObserver(next http.RoundTripper, g *gate) *observer {
	return &observer{next: next, gate: g, results: map[string]string{}, handed: map[string]int{}}
}

func (o *observer) RoundTrip(r *http.Request) (*http.Response, error) {
	if o.gate != nil {
		if err := o.gate.pass(r); err != nil {
			return nil, err
		}
	}
	var m plist.Dict
	if r.Method == http.MethodPut && r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		raw, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		m, _ = plist.ReadDict(raw) // what is no property list is not observed
	}
	kind, device := m.Text("MessageType"), m.Text("UserID") == ""
	if kind == "Authenticate" {
		o.mu.Lock()
		o.enrolled = false
		o.mu.Unlock()
	}
	res, err := o.next.RoundTrip(r)
	if err != nil || res.StatusCode != http.StatusOK {
		return res, err
	}
	answer, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(answer))
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case kind == "TokenUpdate" && device:
		o.enrolled = true
	case m.Text("CommandUUID") != "":
		o.results[m.Text("CommandUUID")] = m.Text("Status")
	}
	if m.Text("Status") != "" {
		if next, err := plist.ReadDict(answer); err == nil {
			o.handed[next.Text("CommandUUID")]++
		}
	}
	return res, err
}

// acknowledged is what the server has taken so far.
func (o *observer) acknowledged() (enrolled bool, results map[string]string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.enrolled, maps.Clone(o.results)
}

// gate holds requests back while it is closed.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // closed when the gate is open
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

func (g *gate) pass(r *http.Request) error {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.opened)
}

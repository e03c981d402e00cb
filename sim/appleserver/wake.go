package appleserver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Bounds of the endpoint for other processes.
const (
	maxSessions      = 64
	maxSubscribeBody = 8 << 20
	subscribeBatch   = 1000 // tokens per request of the client
	heartbeat        = 15 * time.Second
	reconnectAfter   = time.Second
	subscribeSettle  = 20 * time.Millisecond // lets many subscriptions travel together
	maxPerSession    = 200_000               // subscriptions
)

// wakeLine is one line of the stream, and one entry of a subscription.
type wakeLine struct {
	Token string `json:"token"` // hex; "" in a heartbeat
	Topic string `json:"topic,omitempty"`
}

// session is one simulator process that streams wakes.
type session struct {
	mu      sync.Mutex
	cancels map[device]func()
	pending map[device]struct{} // woken and not yet written: coalesced
	signal  chan struct{}
	closed  bool
}

// sessions are the simulators connected now.
type sessions struct {
	registry *registry

	mu   sync.Mutex
	byID map[string]*session
}

// wakeHandler serves other processes:
//
//	GET  /wakes?session=ID          a stream of JSON lines {"token","topic"}
//	POST /subscriptions?session=ID  a JSON array of the same: wake me for these
//
// A session lives as long as its stream.
func (p *Push) wakeHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /wakes", p.sessions.stream)
	mux.HandleFunc("POST /subscriptions", p.sessions.subscribe)
	return mux
}

// open starts a session, or fails when its name is taken or there are too many.
func (s *sessions) open(id string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.byID[id]; taken || id == "" || len(s.byID) >= maxSessions {
		return nil, errors.New("session name is taken or missing, or too many sessions")
	}
	if s.byID == nil {
		s.byID = make(map[string]*session)
	}
	c := &session{
		cancels: make(map[device]func()), pending: make(map[device]struct{}),
		signal: make(chan struct{}, 1),
	}
	s.byID[id] = c
	return c, nil
}

// close ends a session and its subscriptions.
func (s *sessions) close(id string) {
	s.mu.Lock()
	c := s.byID[id]
	delete(s.byID, id)
	s.mu.Unlock()
	c.mu.Lock()
	c.closed = true
	cancels := c.cancels
	c.mu.Unlock()
	// Outside of the lock: a delivery holds the registry's and waits for ours.
	for _, cancel := range cancels {
		cancel()
	}
}

// stream writes wakes until the client goes away.
func (s *sessions) stream(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("session")
	c, err := s.open(id)
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	defer s.close(id)
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	lines := []wakeLine{{}}
	for {
		for _, line := range lines {
			err = out.Encode(line)
			if err != nil {
				return
			}
		}
		err = flush.Flush()
		if err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
			lines = []wakeLine{{}}
		case <-c.signal:
			lines = c.take()
		}
	}
}

// take empties the set of pending wakes.
func (c *session) take() []wakeLine {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := make([]wakeLine, 0, len(c.pending))
	for d := range c.pending {
		lines = append(lines, wakeLine{Token: hex.EncodeToString([]byte(d.token)), Topic: d.topic})
	}
	clear(c.pending)
	return lines
}

// subscribe adds devices to a session.
func (s *sessions) subscribe(w http.ResponseWriter, r *http.Request) {
	var lines []wakeLine
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSubscribeBody)).Decode(&lines)
	if err != nil {
		http.Error(w, "not a list of subscriptions", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	c := s.byID[r.URL.Query().Get("session")]
	s.mu.Unlock()
	if c == nil {
		http.Error(w, "no such session", http.StatusNotFound)
		return
	}
	for _, line := range lines {
		token, ok := tokenOf(line.Token)
		if !ok {
			http.Error(w, "bad token", http.StatusBadRequest)
			return
		}
		c.add(s.registry, device{token: token, topic: line.Topic})
	}
	w.WriteHeader(http.StatusNoContent)
}

// add forwards the wakes of d to the session until it ends.
func (c *session) add(r *registry, d device) {
	c.mu.Lock()
	known := c.closed || c.cancels[d] != nil || len(c.cancels) >= maxPerSession
	c.mu.Unlock()
	if known {
		return
	}
	cancel := r.add(d, func() bool { return c.wake(d) })
	c.mu.Lock()
	if c.closed || c.cancels[d] != nil {
		c.mu.Unlock()
		cancel()
		return
	}
	c.cancels[d] = cancel
	c.mu.Unlock()
}

// wake notes that d is to be woken.
func (c *session) wake(d device) (merged bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, merged = c.pending[d]
	c.pending[d] = struct{}{}
	notify(c.signal)
	return merged
}

// Waker is a connection to a Push in another process. It offers the same
// Subscribe. It reconnects by itself. Every subscription that has reached the
// other side wakes once, because whatever was sent before is lost and a needless
// poll is cheap.
type Waker struct {
	base   string
	client *http.Client
	log    *slog.Logger
	local  *registry
	stop   context.CancelFunc
	done   chan struct{}
	added  chan struct{}

	mu    sync.Mutex
	known map[device]int // subscriptions per device
	fresh []device       // not yet sent in this session
}

// Dial connects to the WakeURL of a Push. Errors of the connection are logged
// and retried. Close must be called.
func Dial(ctx context.Context, wakeURL string, log *slog.Logger) *Waker {
	ctx, stop := context.WithCancel(ctx)
	w := &Waker{
		base: wakeURL, client: &http.Client{}, log: log, local: newRegistry(), stop: stop,
		done: make(chan struct{}), added: make(chan struct{}, 1), known: make(map[device]int),
	}
	go w.run(ctx)
	return w
}

// Close ends the connection and waits for it.
func (w *Waker) Close() {
	w.stop()
	<-w.done
	w.client.CloseIdleConnections()
}

// Subscribe is Push.Subscribe, from afar.
func (w *Waker) Subscribe(token []byte, topic string) (wake <-chan struct{}, cancel func()) {
	d := device{token: string(token), topic: topic}
	ch, cancelLocal := w.local.subscribe(d)
	w.mu.Lock()
	w.known[d]++
	if w.known[d] == 1 {
		w.fresh = append(w.fresh, d)
	}
	w.mu.Unlock()
	notify(w.added)
	return ch, func() {
		cancelLocal()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.known[d]--
		if w.known[d] <= 0 {
			delete(w.known, d)
		}
	}
}

// run keeps one session after the other.
func (w *Waker) run(ctx context.Context) {
	defer close(w.done)
	for ctx.Err() == nil {
		err := w.session(ctx)
		if ctx.Err() != nil {
			return
		}
		w.log.WarnContext(ctx, "connection to the simulated push service lost", slog.Any("error", err))
		select {
		case <-ctx.Done():
		case <-time.After(reconnectAfter):
		}
	}
}

// session streams until something fails.
func (w *Waker) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	id := uuid.NewString()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+"/wakes?session="+id, nil)
	if err != nil {
		return fmt.Errorf("wakes: %w", err)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return fmt.Errorf("wakes: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("wakes: %s", resp.Status)
	}
	w.restart()
	var sender sync.WaitGroup
	defer sender.Wait()
	defer cancel()
	sender.Go(func() { w.send(ctx, cancel, id) })
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		var line wakeLine
		err = json.Unmarshal(lines.Bytes(), &line)
		if err != nil {
			return fmt.Errorf("wakes: %w", err)
		}
		if token, ok := tokenOf(line.Token); ok {
			w.local.deliver(device{token: token, topic: line.Topic})
		}
	}
	if err = lines.Err(); err != nil {
		return fmt.Errorf("wakes: %w", err)
	}
	return io.ErrUnexpectedEOF
}

// restart subscribes everybody again.
func (w *Waker) restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fresh = w.fresh[:0]
	for d := range w.known {
		w.fresh = append(w.fresh, d)
	}
	notify(w.added)
}

// send passes fresh subscriptions on; a failure ends the session.
func (w *Waker) send(ctx context.Context, fail context.CancelFunc, id string) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.added:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(subscribeSettle):
		}
		for batch := w.next(); len(batch) > 0; batch = w.next() {
			err := w.post(ctx, id, batch)
			if err != nil {
				w.log.DebugContext(ctx, "subscription failed", slog.Any("error", err))
				fail()
				return
			}
			for _, line := range batch {
				if token, ok := tokenOf(line.Token); ok {
					w.local.deliver(device{token: token, topic: line.Topic})
				}
			}
		}
	}
}

// next takes a batch of fresh subscriptions.
func (w *Waker) next() []wakeLine {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.fresh), subscribeBatch)
	lines := make([]wakeLine, 0, n)
	for _, d := range w.fresh[:n] {
		lines = append(lines, wakeLine{Token: hex.EncodeToString([]byte(d.token)), Topic: d.topic})
	}
	w.fresh = append(w.fresh[:0], w.fresh[n:]...)
	return lines
}

// post sends one batch.
func (w *Waker) post(ctx context.Context, id string, batch []wakeLine) error {
	body, err := json.Marshal(batch)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.base+"/subscriptions?session="+id, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("subscribe: %s", resp.Status)
	}
	return nil
}

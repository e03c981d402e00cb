package appleserver

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Limits of a notification. Apple allows tokens of up to 100 bytes and payloads
// of 4 KiB.
const (
	maxTokenBytes = 100
	maxPayload    = 4 << 10
)

// maxRecords bounds the notifications remembered for tests.
const maxRecords = 10_000

// readHeaderTimeout bounds how long a client may take to say what it wants.
const readHeaderTimeout = 10 * time.Second

// Options of a Push. The zero value works.
type Options struct {
	// Listen is the address of the push service; "127.0.0.1:0" when empty.
	Listen string
	// WakeListen is the address of the endpoint for simulators in other
	// processes; "127.0.0.1:0" when empty.
	WakeListen string
	Log        *slog.Logger     // discarded when nil
	Clock      func() time.Time // time.Now when nil
}

// Push is a running push service.
type Push struct {
	log       *slog.Logger
	clock     func() time.Time
	authority *authority
	registry  *registry
	faults    faults
	sessions  sessions
	servers   []*http.Server
	running   sync.WaitGroup
	url       string
	wakeURL   string
	accepted  atomic.Int64

	mu      sync.Mutex
	records []Record
}

// Record is a notification as it was sent and answered.
type Record struct {
	Token      []byte
	Topic      string // of the certificate
	PushMagic  string
	PushType   string // apns-push-type
	Priority   string // apns-priority
	Expiration string // apns-expiration
	Status     int
	Reason     string // "" for a success
	Coalesced  bool   // merged into one the device had not taken yet
	At         time.Time
}

// StartPush starts the service on loopback. Close must be called.
func StartPush(ctx context.Context, o Options) (*Push, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	ca, err := newAuthority(o.Clock)
	if err != nil {
		return nil, err
	}
	p := &Push{log: o.Log, clock: o.Clock, authority: ca, registry: newRegistry()}
	p.sessions.registry = p.registry
	tlsConfig, err := ca.serverTLS()
	if err != nil {
		return nil, err
	}
	push := http.NewServeMux()
	push.HandleFunc("POST /3/device/{token}", p.notify)
	push.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		p.reply(w, Fault{Status: http.StatusNotFound, Reason: "BadPath"})
	})
	server := &http.Server{
		Handler: push, TLSConfig: tlsConfig, ReadHeaderTimeout: readHeaderTimeout,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	addr, err := p.serve(ctx, server, o.Listen)
	if err != nil {
		return nil, err
	}
	p.url = "https://" + addr
	addr, err = p.serve(ctx, &http.Server{Handler: p.wakeHandler(), ReadHeaderTimeout: readHeaderTimeout}, o.WakeListen)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.wakeURL = "http://" + addr
	return p, nil
}

// serve listens and serves in the background; with TLS when configured.
func (p *Push) serve(ctx context.Context, s *http.Server, addr string) (string, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("simulated push service: %w", err)
	}
	p.servers = append(p.servers, s)
	p.running.Go(func() {
		var err error
		if s.TLSConfig != nil {
			err = s.ServeTLS(l, "", "")
		} else {
			err = s.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("simulated push service stopped", slog.Any("error", err))
		}
	})
	return l.Addr().String(), nil
}

// Close stops the service and waits for it.
func (p *Push) Close() error {
	var errs []error
	for _, s := range p.servers {
		errs = append(errs, s.Close())
	}
	p.running.Wait()
	return errors.Join(errs...)
}

// URL is the base of the push service, "https://127.0.0.1:port", in place of
// https://api.push.apple.com.
func (p *Push) URL() string { return p.url }

// WakeURL is the base of the endpoint that Dial takes.
func (p *Push) WakeURL() string { return p.wakeURL }

// RootPEM is the certificate that a client of the service must trust.
func (p *Push) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.authority.cert.Raw})
}

// NewPushCertificate issues a push certificate for a topic,
// "com.apple.mgmt.External.<uuid>", and its key, both PEM.
func (p *Push) NewPushCertificate(topic string) (certPEM, keyPEM []byte, err error) {
	return p.authority.pushCertificate(topic)
}

// Subscribe registers a device: the channel gets a value after one or more
// notifications, at once when one came while it was away. cancel must be
// called; the channel is never closed.
func (p *Push) Subscribe(token []byte, topic string) (wake <-chan struct{}, cancel func()) {
	return p.registry.subscribe(device{token: string(token), topic: topic})
}

// Fail plans fault for the next count requests; a negative count: until
// another call.
func (p *Push) Fail(fault Fault, count int) { p.faults.set(fault, count) }

// FailToken plans fault for every request for this token; the zero Fault lifts
// it.
func (p *Push) FailToken(token []byte, fault Fault) { p.faults.setToken(string(token), fault) }

// Records returns the latest notifications, oldest first, at most 10,000.
func (p *Push) Records() []Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Record(nil), p.records...)
}

// Accepted counts the notifications answered with 200 since the start.
func (p *Push) Accepted() int64 { return p.accepted.Load() }

// notify serves POST /3/device/{token}.
func (p *Push) notify(w http.ResponseWriter, r *http.Request) {
	record := Record{
		PushType: r.Header.Get("apns-push-type"), Priority: r.Header.Get("apns-priority"),
		Expiration: r.Header.Get("apns-expiration"), At: p.clock(),
	}
	fault := p.judge(r, &record)
	if fault.Delay > 0 {
		select {
		case <-time.After(fault.Delay):
		case <-r.Context().Done():
			return
		}
	}
	record.Status, record.Reason = http.StatusOK, fault.Reason
	if fault.Status != 0 {
		record.Status = fault.Status
	} else {
		record.Coalesced = p.registry.deliver(device{token: string(record.Token), topic: record.Topic})
		p.accepted.Add(1)
	}
	p.remember(record)
	p.reply(w, fault)
}

// judge fills the record and says what is wrong with the request, in the order
// and words of Apple's "Handling notification responses from APNs".
func (p *Push) judge(r *http.Request, record *Record) Fault {
	topic, ok := p.authority.topicOf(r.TLS.PeerCertificates[0])
	if !ok {
		return BadCertificate()
	}
	record.Topic = topic
	if asked := r.Header.Get("apns-topic"); asked != "" && asked != topic {
		return Fault{Status: http.StatusForbidden, Reason: "TopicDisallowed"}
	}
	if record.PushType != "" && record.PushType != "mdm" {
		return Fault{Status: http.StatusBadRequest, Reason: "InvalidPushType"}
	}
	token, ok := tokenOf(r.PathValue("token"))
	if !ok {
		return BadDeviceToken()
	}
	record.Token = []byte(token)
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPayload+1))
	if err != nil {
		return Fault{Status: http.StatusBadRequest, Reason: "BadMessageId"}
	}
	if len(body) > maxPayload {
		return Fault{Status: http.StatusRequestEntityTooLarge, Reason: "PayloadTooLarge"}
	}
	record.PushMagic, ok = magicOf(body)
	if !ok {
		return Fault{Status: http.StatusBadRequest, Reason: "PayloadEmpty"}
	}
	return p.faults.take(token)
}

// magicOf reads {"mdm": magic}, and nothing else beside it.
func magicOf(body []byte) (string, bool) {
	var payload map[string]string
	err := json.Unmarshal(body, &payload)
	if err != nil || len(payload) != 1 || payload["mdm"] == "" {
		return "", false
	}
	return payload["mdm"], true
}

// reply writes the answer in Apple's form: apns-id, and for a failure a body
// with reason and, when the token is dead, since when in milliseconds.
func (p *Push) reply(w http.ResponseWriter, fault Fault) {
	w.Header().Set("apns-id", uuid.NewString())
	if fault.GoAway {
		// net/http turns this into a graceful GOAWAY on HTTP/2.
		w.Header().Set("Connection", "close")
	}
	if fault.Status == 0 {
		return
	}
	if fault.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(fault.RetryAfter.Seconds())))
	}
	body := struct {
		Reason    string `json:"reason"`
		Timestamp int64  `json:"timestamp,omitempty"`
	}{Reason: fault.Reason}
	if fault.Status == http.StatusGone {
		if fault.Timestamp.IsZero() {
			fault.Timestamp = p.clock()
		}
		body.Timestamp = fault.Timestamp.UnixMilli()
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(fault.Status)
	// A failed write means that the client is gone.
	_ = json.NewEncoder(w).Encode(body)
}

// remember keeps the latest records.
func (p *Push) remember(r Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.records) == maxRecords {
		p.records = append(p.records[:0], p.records[maxRecords/2:]...)
	}
	p.records = append(p.records, r)
}

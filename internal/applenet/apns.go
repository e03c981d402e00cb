package applenet

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// ProductionAPNs is Apple's push notification service.
const ProductionAPNs = "https://api.push.apple.com"

// Limits of pushing.
const (
	defaultWorkers = 32
	maxWorkers     = 512
	pushTimeout    = 20 * time.Second
	idleTimeout    = 10 * time.Minute
	maxReply       = 4 << 10 // bytes of an error body
	// pushLife is how long Apple keeps a push for a device that is offline.
	pushLife = 7 * 24 * time.Hour
)

// Credentials gives the push certificate.
type Credentials interface {
	// KeyPair returns the certificate. KindNotFound: there is none.
	KeyPair(ctx context.Context) (tls.Certificate, *fleet.PushCertificate, error)
	// Version changes when the certificate does; 0: there is none.
	Version(ctx context.Context) (int64, error)
}

// APNs sends pushes over one long-lived HTTP/2 connection, which is replaced
// when the certificate is.
type APNs struct {
	url     string
	roots   *x509.CertPool // nil: the system's
	workers int
	creds   Credentials
	clock   func() time.Time

	mu      sync.Mutex
	client  *http.Client
	topic   string
	version int64
}

// NewAPNs returns a sender to the service at url. roots nil: the system's.
func NewAPNs(url string, roots *x509.CertPool, workers int, creds Credentials, clock func() time.Time) *APNs {
	if url == "" {
		url = ProductionAPNs
	}
	if workers <= 0 {
		workers = defaultWorkers
	}
	return &APNs{url: strings.TrimRight(url, "/"), roots: roots, workers: min(workers, maxWorkers), creds: creds, clock: clock}
}

// Send pushes to all targets and returns a result for each, in order.
func (a *APNs) Send(ctx context.Context, targets []fleet.PushTarget) []fleet.PushResult {
	results := make([]fleet.PushResult, len(targets))
	client, topic, err := a.connect(ctx)
	if err != nil {
		for i := range results {
			results[i] = fleet.PushResult{Stop: true, Reason: err.Error()}
		}
		return results
	}
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(a.workers, len(targets)) {
		wg.Go(func() {
			for i := range next {
				results[i] = a.push(ctx, client, topic, targets[i])
			}
		})
	}
	for i := range targets {
		next <- i
	}
	close(next)
	wg.Wait()
	return results
}

// connect returns the present connection, made anew if the certificate
// changed.
func (a *APNs) connect(ctx context.Context) (*http.Client, string, error) {
	version, err := a.creds.Version(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("read the APNs certificate: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client != nil && a.version == version {
		return a.client, a.topic, nil
	}
	pair, cert, err := a.creds.KeyPair(ctx)
	if err != nil {
		return nil, "", err
	}
	a.close()
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	a.client = &http.Client{Timeout: pushTimeout, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: a.roots, MinVersion: tls.VersionTLS12},
		Protocols:         protocols,
		ForceAttemptHTTP2: true,
		IdleConnTimeout:   idleTimeout,
		MaxConnsPerHost:   4,
		Proxy:             http.ProxyFromEnvironment,
	}}
	a.topic, a.version = cert.Topic, cert.Version
	return a.client, a.topic, nil
}

func (a *APNs) close() {
	if a.client != nil {
		a.client.CloseIdleConnections()
		a.client = nil
	}
}

// Close gives the connection up.
func (a *APNs) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.close()
}

func (a *APNs) push(ctx context.Context, client *http.Client, topic string, t fleet.PushTarget) fleet.PushResult {
	if t.Topic != topic {
		return fleet.PushResult{Reason: fmt.Sprintf("enrolled for topic %s, but the certificate is for %s", t.Topic, topic)}
	}
	body, err := json.Marshal(map[string]string{"mdm": t.Magic})
	if err != nil {
		return fleet.PushResult{Reason: err.Error()}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+"/3/device/"+hex.EncodeToString(t.Token), bytes.NewReader(body))
	if err != nil {
		return fleet.PushResult{Reason: err.Error()}
	}
	req.Header.Set("apns-push-type", "mdm")
	req.Header.Set("apns-topic", topic)
	req.Header.Set("apns-priority", "10")
	req.Header.Set("apns-expiration", strconv.FormatInt(a.clock().Add(pushLife).Unix(), 10))
	res, err := client.Do(req)
	if err != nil {
		return fleet.PushResult{Stop: true, Reason: reasonOf(err)}
	}
	defer func() { _ = res.Body.Close() }() // read to the end below
	var reply struct {
		Reason    string `json:"reason"`
		Timestamp int64  `json:"timestamp"` // milliseconds
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err == nil && len(raw) > 0 {
		_ = json.Unmarshal(raw, &reply) // no reason then: the status says enough
	}
	return classify(res.StatusCode, reply.Reason, reply.Timestamp)
}

// reasonOf leaves the URL, which carries the push token, out of the text.
func reasonOf(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return "connection: " + err.Error()
}

// classify maps APNs' answers as contracts/apple.md 2 has them.
func classify(status int, reason string, timestamp int64) fleet.PushResult {
	if reason == "" {
		reason = http.StatusText(status)
	}
	r := fleet.PushResult{Reason: reason}
	switch {
	case status == http.StatusOK:
		return fleet.PushResult{OK: true}
	case status == http.StatusGone:
		r.Dead = true
		if timestamp > 0 {
			r.DeadAt = time.UnixMilli(timestamp).UTC()
		}
	case status == http.StatusBadRequest && (reason == "BadDeviceToken" || reason == "DeviceTokenNotForTopic"):
		r.Dead = true
	case status == http.StatusForbidden:
		r.Stop = true
	}
	return r
}

package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// Limits of the client.
const (
	maxAnswerBytes = 64 << 20
	maxTries       = 4 // of a GET, the first included
	firstPause     = 200 * time.Millisecond
	maxPause       = 5 * time.Second
	defaultTimeout = 60 * time.Second
	maxPages       = 10_000 // of one walk over a list
	pageSize       = 500
)

// prefix of the versioned routes.
const prefix = "/api/v1/fleet"

// Options say which server to talk to and how.
type Options struct {
	Address   string // https://host[:port]
	URLPrefix string // path below which the server is reached, such as /mdm
	Token     string // of a login or an API-only user; may be empty for setup, login and version

	RootCAFile    string // PEM roots to trust instead of the system's
	TLSSkipVerify bool   // trust any certificate: for trials only
	Headers       map[string]string
	UserAgent     string
	Timeout       time.Duration // of one try; 0: a minute

	// Transport replaces the network, for tests.
	Transport http.RoundTripper
}

// Client talks to one server. It is safe for concurrent use.
type Client struct {
	base    string
	token   string
	headers map[string]string
	http    *http.Client
	pause   func(ctx context.Context, d time.Duration) error
}

// New checks the options and returns a client; nothing is sent yet.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.Address)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return nil, fmt.Errorf("the server address %q is not a URL such as https://mdm.example.com", o.Address)
	}
	transport := o.Transport
	if transport == nil {
		transport, err = NewTransport(o)
		if err != nil {
			return nil, err
		}
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	headers := map[string]string{"User-Agent": "muster"}
	if o.UserAgent != "" {
		headers["User-Agent"] = o.UserAgent
	}
	for name, value := range o.Headers {
		headers[name] = value
	}
	base := strings.TrimRight(o.Address, "/")
	if p := strings.Trim(o.URLPrefix, "/"); p != "" {
		base += "/" + p
	}
	return &Client{
		base: base, token: o.Token, headers: headers, pause: pause,
		http: &http.Client{Transport: transport, Timeout: o.Timeout, CheckRedirect: sameHost(u)},
	}, nil
}

// NewTransport is the network transport that New uses, for wrapping.
func NewTransport(o Options) (http.RoundTripper, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()                                               //nolint:forcetypeassert // documented type
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.TLSSkipVerify} //nolint:gosec // only on request
	if o.RootCAFile == "" {
		return transport, nil
	}
	data, err := os.ReadFile(o.RootCAFile)
	if err != nil {
		return nil, fmt.Errorf("root certificates: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("root certificates: %s holds no certificate in PEM form", o.RootCAFile)
	}
	transport.TLSClientConfig.RootCAs = roots
	return transport, nil
}

// sameHost follows redirects only where the token may go.
func sameHost(base *url.URL) func(*http.Request, []*http.Request) error {
	const maxRedirects = 5
	return func(r *http.Request, via []*http.Request) error {
		if len(via) >= maxRedirects || r.URL.Host != base.Host || (base.Scheme == "https" && r.URL.Scheme != "https") {
			return http.ErrUseLastResponse
		}
		return nil
	}
}

// SetToken replaces the token of later requests. It must not be called while
// requests are under way.
func (c *Client) SetToken(token string) { c.token = token }

// request is one call.
type request struct {
	method, path string // path with its leading slash
	query        url.Values
	body         any    // sent as JSON; nil: none
	raw          []byte // sent as it is, with contentType
	contentType  string
	accept       func(kind string, body []byte) error // reads the answer; nil: into
	into         any                                  // decoded from JSON; nil: the answer is dropped
	once         bool                                 // a GET that must not be tried again
}

func (c *Client) do(ctx context.Context, r request) error {
	payload, contentType := r.raw, r.contentType
	if r.body != nil {
		data, err := json.Marshal(r.body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		payload, contentType = data, "application/json"
	}
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	for try := 1; ; try++ {
		status, kind, wait, data, err := c.send(ctx, r.method, target, contentType, payload)
		if try < maxTries && r.method == http.MethodGet && !r.once && ctx.Err() == nil && worthAnother(status, err) {
			if err := c.pause(ctx, max(wait, pauseBefore(try))); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return reachError(c.base, err)
		}
		return r.take(status, kind, data)
	}
}

// worthAnother tells what passes by itself.
func worthAnother(status int, err error) bool {
	if err != nil {
		var unknown x509.UnknownAuthorityError
		var host x509.HostnameError
		return !errors.As(err, &unknown) && !errors.As(err, &host)
	}
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// pauseBefore grows from try to try, with half of it by chance.
func pauseBefore(try int) time.Duration {
	d := min(firstPause<<(try-1), maxPause)
	return d/2 + rand.N(d/2+1)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) send(ctx context.Context, method, target, contentType string, payload []byte) (status int, kind string, wait time.Duration, data []byte, err error) {
	var body io.Reader
	if payload != nil {
		body = bytes.NewReader(payload)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return 0, "", 0, nil, err
	}
	return c.exchange(c.http, req, contentType)
}

// exchange sends a request and reads its answer.
func (c *Client) exchange(by *http.Client, req *http.Request, contentType string) (status int, kind string, wait time.Duration, data []byte, err error) {
	for name, value := range c.headers {
		req.Header.Set(name, value)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := by.Do(req)
	if err != nil {
		return 0, "", 0, nil, err
	}
	defer res.Body.Close()
	data, err = io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes+1))
	if err != nil {
		return 0, "", 0, nil, err
	}
	if len(data) > maxAnswerBytes {
		return 0, "", 0, nil, fmt.Errorf("the answer is larger than %d bytes", maxAnswerBytes)
	}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		wait = min(time.Duration(seconds)*time.Second, maxPause)
	}
	return res.StatusCode, res.Header.Get("Content-Type"), wait, data, nil
}

// take decodes the answer.
func (r request) take(status int, kind string, data []byte) error {
	if status < http.StatusOK || status >= http.StatusMultipleChoices {
		return answerError(r, status, kind, data)
	}
	if r.accept != nil {
		return r.accept(kind, data)
	}
	if r.into == nil || len(data) == 0 {
		return nil
	}
	if !strings.Contains(kind, "json") {
		return fmt.Errorf("%s %s: the answer is %s, not JSON: is the address that of a Muster server?", r.method, r.path, kind)
	}
	if err := json.Unmarshal(data, r.into); err != nil {
		return fmt.Errorf("%s %s: decode the answer: %w", r.method, r.path, err)
	}
	return nil
}

func (c *Client) get(ctx context.Context, path string, query url.Values, into any) error {
	return c.do(ctx, request{method: http.MethodGet, path: path, query: query, into: into})
}

// Version tells what the server runs. It needs no token.
func (c *Client) Version(ctx context.Context) (apiv1.Version, error) {
	var out apiv1.Version
	err := c.get(ctx, "/version", nil, &out)
	return out, err
}

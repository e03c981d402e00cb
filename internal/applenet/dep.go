package applenet

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
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

// ProductionDEP is Apple's device enrollment service.
const ProductionDEP = "https://mdmenrollment.apple.com"

// Limits of calls to the enrollment service.
const (
	depTimeout     = 90 * time.Second // a page of 1,000 devices takes Apple a while
	maxDEPReply    = 16 << 20
	maxDEPError    = 64 << 10
	maxDEPCode     = 200 // bytes of an error that is kept
	depProtocol    = "10"
	depContent     = "application/json;charset=UTF8"
	sessionHeader  = "X-ADM-Auth-Session"
	protocolHeader = "X-Server-Protocol-Version"
	maxRetryAfter  = 24 * time.Hour
)

// MaxDEPDevices is how many devices one call may have.
const MaxDEPDevices = 1000

// DEPCredentials gives the secrets of server tokens.
type DEPCredentials interface {
	// DEPCredentials returns them with a version that changes when they do.
	DEPCredentials(ctx context.Context, token fleet.ServerTokenID) (fleet.DEPCredentials, int64, error)
}

// DEP calls Apple's device enrollment service for many server tokens
// (contracts/apple.md 4.2, 4.3). It keeps a session for each. Every error of
// its methods that the service is to blame for is a *fleet.DEPError.
type DEP struct {
	url    string
	agent  string
	creds  DEPCredentials
	clock  func() time.Time
	client *http.Client

	mu       sync.Mutex
	sessions map[fleet.ServerTokenID]*depSession
}

// depSession is the session of one token. Its lock is held while one is
// opened, so that calls at the same time open one.
type depSession struct {
	mu      sync.Mutex
	version int64
	value   string
}

// NewDEP returns a client of the service at base. roots nil: the system's.
// agent is the User-Agent, which Apple insists on.
func NewDEP(base string, roots *x509.CertPool, agent string, creds DEPCredentials, clock func() time.Time) *DEP {
	if base == "" {
		base = ProductionDEP
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		IdleConnTimeout: idleTimeout, MaxConnsPerHost: 4, Proxy: http.ProxyFromEnvironment,
	}
	return &DEP{url: strings.TrimRight(base, "/"), agent: agent, creds: creds, clock: clock, sessions: map[fleet.ServerTokenID]*depSession{},
		client: &http.Client{Timeout: depTimeout, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // a session is for this server only
		}}}
}

// Close gives the connections up.
func (d *DEP) Close() { d.client.CloseIdleConnections() }

// Try returns what the service says about the holder of credentials that are
// not stored yet.
func (d *DEP) Try(ctx context.Context, c fleet.DEPCredentials) (fleet.DEPAccount, error) {
	session, err := d.open(ctx, c)
	if err != nil {
		return fleet.DEPAccount{}, err
	}
	body, _, err := d.send(ctx, session, http.MethodGet, "/account", nil)
	if err != nil {
		return fleet.DEPAccount{}, d.dated(err, c)
	}
	return decodeAccount(body)
}

// Account returns what the service says about the token's server.
func (d *DEP) Account(ctx context.Context, token fleet.ServerTokenID) (fleet.DEPAccount, error) {
	body, err := d.call(ctx, token, http.MethodGet, "/account", nil)
	if err != nil {
		return fleet.DEPAccount{}, err
	}
	return decodeAccount(body)
}

// FetchDevices returns a page of the full list. cursor "": the first.
func (d *DEP) FetchDevices(ctx context.Context, token fleet.ServerTokenID, cursor string, limit int) (fleet.DEPPage, error) {
	return d.page(ctx, token, "/server/devices", cursor, limit)
}

// SyncDevices returns a page of the changes since the cursor.
func (d *DEP) SyncDevices(ctx context.Context, token fleet.ServerTokenID, cursor string, limit int) (fleet.DEPPage, error) {
	return d.page(ctx, token, "/devices/sync", cursor, limit)
}

func (d *DEP) page(ctx context.Context, token fleet.ServerTokenID, path, cursor string, limit int) (fleet.DEPPage, error) {
	body, err := d.call(ctx, token, http.MethodPost, path, struct {
		Cursor string `json:"cursor,omitempty"`
		Limit  int    `json:"limit,omitempty"`
	}{cursor, min(limit, MaxDEPDevices)})
	if err != nil {
		return fleet.DEPPage{}, err
	}
	return decodePage(body)
}

// DeviceDetails returns what the service knows of devices by serial; those
// that are not the token's are missing.
func (d *DEP) DeviceDetails(ctx context.Context, token fleet.ServerTokenID, serials []string) (map[string]fleet.DEPDevice, error) {
	all := make(map[string]fleet.DEPDevice, len(serials))
	for chunk := range chunks(serials) {
		body, err := d.call(ctx, token, http.MethodPost, "/devices", devicesJSON{Devices: chunk})
		if err != nil {
			return nil, err
		}
		if err := decodeDetails(body, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// DefineProfile makes an enrollment profile at Apple and returns its UUID.
func (d *DEP) DefineProfile(ctx context.Context, token fleet.ServerTokenID, definition []byte) (string, error) {
	body, err := d.call(ctx, token, http.MethodPost, "/profile", json.RawMessage(definition))
	if err != nil {
		return "", err
	}
	var reply struct {
		ProfileUUID string `json:"profile_uuid"`
	}
	if err := decode(body, &reply); err != nil {
		return "", err
	}
	if reply.ProfileUUID == "" {
		return "", unreadable(errors.New("no profile_uuid"))
	}
	return reply.ProfileUUID, nil
}

// AssignProfile gives a profile to at most MaxDEPDevices devices.
func (d *DEP) AssignProfile(ctx context.Context, token fleet.ServerTokenID, profile string, serials []string) (fleet.DEPResults, error) {
	return d.results(ctx, token, http.MethodPost, devicesJSON{ProfileUUID: profile, Devices: serials})
}

// UnassignProfile takes profiles from at most MaxDEPDevices devices.
func (d *DEP) UnassignProfile(ctx context.Context, token fleet.ServerTokenID, serials []string) (fleet.DEPResults, error) {
	return d.results(ctx, token, http.MethodDelete, devicesJSON{Devices: serials})
}

func (d *DEP) results(ctx context.Context, token fleet.ServerTokenID, method string, request devicesJSON) (fleet.DEPResults, error) {
	if n := len(request.Devices); n == 0 || n > MaxDEPDevices {
		return fleet.DEPResults{}, fmt.Errorf("%d devices in one call, at most %d", n, MaxDEPDevices)
	}
	body, err := d.call(ctx, token, method, "/profile/devices", request)
	if err != nil {
		return fleet.DEPResults{}, err
	}
	return decodeResults(body)
}

// ActivationLock locks a device to the organization. escrowKey is what
// Apple's derivation makes of the bypass code; "": Apple's alone.
func (d *DEP) ActivationLock(ctx context.Context, token fleet.ServerTokenID, serial, escrowKey, message string) (fleet.DEPResult, error) {
	body, err := d.call(ctx, token, http.MethodPost, "/device/activationlock", struct {
		Device      string `json:"device"`
		EscrowKey   string `json:"escrow_key,omitempty"`
		LostMessage string `json:"lost_message,omitempty"`
	}{serial, escrowKey, message})
	if err != nil {
		return fleet.DEPNotTried, err
	}
	var reply struct {
		Status string `json:"response_status"`
	}
	if err := decode(body, &reply); err != nil {
		return fleet.DEPNotTried, err
	}
	return resultOf(reply.Status), nil
}

func (d *DEP) session(token fleet.ServerTokenID) *depSession {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sessions[token]
	if s == nil {
		s = &depSession{}
		d.sessions[token] = s
	}
	return s
}

// call sends a request within the token's session, which it opens if need be,
// and once more with a new one if Apple does not take it.
func (d *DEP) call(ctx context.Context, token fleet.ServerTokenID, method, path string, request any) ([]byte, error) {
	var payload []byte
	if request != nil {
		var err error
		payload, err = json.Marshal(request)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
	}
	creds, version, err := d.creds.DEPCredentials(ctx, token)
	if err != nil {
		return nil, fmt.Errorf("read the server token: %w", err)
	}
	s := d.session(token)
	var stale string
	for range 2 {
		value, err := d.enter(ctx, s, creds, version, stale)
		if err != nil {
			return nil, err
		}
		body, rolled, err := d.send(ctx, value, method, path, payload)
		s.roll(version, value, rolled)
		if err == nil {
			return body, nil
		}
		if !sessionEnded(err) || stale != "" {
			return nil, d.dated(err, creds)
		}
		stale = value
	}
	return nil, errors.New("unreachable: the second try returns")
}

// enter returns the present session value, or that of a new session when
// there is none, the token changed, or the present one is the stale one.
func (d *DEP) enter(ctx context.Context, s *depSession, creds fleet.DEPCredentials, version int64, stale string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.value != "" && s.version == version && s.value != stale {
		return s.value, nil
	}
	value, err := d.open(ctx, creds)
	if err != nil {
		return "", err
	}
	s.value, s.version = value, version
	return value, nil
}

// roll keeps the value that an answer carried for the requests to come.
func (s *depSession) roll(version int64, used, rolled string) {
	if rolled == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.version == version && s.value == used {
		s.value = rolled
	}
}

// open begins a session.
func (d *DEP) open(ctx context.Context, creds fleet.DEPCredentials) (string, error) {
	if !d.clock().Before(creds.Expiry) {
		return "", &fleet.DEPError{Kind: fleet.DEPTokenExpired, Code: "on " + creds.Expiry.UTC().Format(time.DateOnly)}
	}
	req, err := d.request(ctx, http.MethodGet, "/session", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", authorization(creds, http.MethodGet, d.url+"/session", newNonce(), d.clock()))
	body, _, err := d.do(req)
	if err != nil {
		return "", d.dated(err, creds)
	}
	var reply struct {
		Session string `json:"auth_session_token"`
	}
	if err := decode(body, &reply); err != nil {
		return "", err
	}
	if reply.Session == "" {
		return "", unreadable(errors.New("no auth_session_token"))
	}
	return reply.Session, nil
}

func (d *DEP) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, d.url+path, reader)
	if err != nil {
		return nil, fmt.Errorf("request to Apple: %w", err)
	}
	req.Header.Set("User-Agent", d.agent)
	req.Header.Set(protocolHeader, depProtocol)
	req.Header.Set("Content-Type", depContent)
	req.Header.Set("Accept", depContent)
	return req, nil
}

func (d *DEP) send(ctx context.Context, session, method, path string, payload []byte) (body []byte, rolled string, err error) {
	req, err := d.request(ctx, method, path, payload)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set(sessionHeader, session)
	return d.do(req)
}

// do sends a request and reads the whole answer, or says what is wrong.
func (d *DEP) do(req *http.Request) (body []byte, rolled string, err error) {
	res, err := d.client.Do(req)
	if err != nil {
		if req.Context().Err() != nil {
			return nil, "", req.Context().Err()
		}
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, "", &fleet.DEPError{Kind: fleet.DEPTemporary, Cause: err}
	}
	limit := int64(maxDEPReply)
	if res.StatusCode/100 != 2 {
		limit = maxDEPError
	}
	body, err = io.ReadAll(io.LimitReader(res.Body, limit+1))
	_ = res.Body.Close() // it was read to its end, or is given up
	rolled = res.Header.Get(sessionHeader)
	switch {
	case err != nil && req.Context().Err() != nil:
		return nil, rolled, req.Context().Err()
	case res.StatusCode/100 != 2:
		return nil, rolled, d.refusal(res, body)
	case err != nil:
		return nil, rolled, &fleet.DEPError{Kind: fleet.DEPTemporary, Cause: fmt.Errorf("the answer is cut off: %w", err)}
	case int64(len(body)) > limit:
		return nil, rolled, unreadable(fmt.Errorf("more than %d bytes", limit))
	}
	return body, rolled, nil
}

// refusal reads an answer that is not a success.
func (d *DEP) refusal(res *http.Response, body []byte) *fleet.DEPError {
	e := &fleet.DEPError{Status: res.StatusCode, Code: codeOf(body), RetryAfter: retryAfter(res.Header.Get("Retry-After"), d.clock())}
	e.Kind = kindOf(res.StatusCode, e.Code)
	return e
}

// codeOf is Apple's word: the body, which may be a JSON string or an object
// with a code in it.
func codeOf(body []byte) string {
	var text string
	var object struct {
		Code string `json:"code"`
	}
	switch {
	case json.Unmarshal(body, &text) == nil:
	case json.Unmarshal(body, &object) == nil && object.Code != "":
		text = object.Code
	default:
		text = string(body)
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	if len(text) > maxDEPCode {
		text = strings.ToValidUTF8(text[:maxDEPCode], "") + "..."
	}
	return text
}

// kindOf maps status and Apple's word (contracts/apple.md 4.2 and 4.3).
func kindOf(status int, code string) fleet.DEPErrorKind {
	has := func(word string) bool { return strings.Contains(code, word) }
	switch {
	case status == http.StatusTooManyRequests:
		return fleet.DEPTooMany
	case status >= 500 || status == http.StatusRequestTimeout:
		return fleet.DEPTemporary
	case status == http.StatusForbidden && has("T_C_NOT_SIGNED"):
		return fleet.DEPTerms
	case has("token_expired"):
		return fleet.DEPTokenExpired
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fleet.DEPTokenRejected
	case has("EXHAUSTED_CURSOR"):
		return fleet.DEPCursorExhausted
	case has("EXPIRED_CURSOR"):
		return fleet.DEPCursorExpired
	case has("CURSOR_REQUIRED"):
		return fleet.DEPCursorRequired
	case has("INVALID_CURSOR"):
		return fleet.DEPCursorInvalid
	}
	return fleet.DEPRefused
}

// retryAfter reads seconds or a date (RFC 9110 section 10.2.3); 0: not told.
func retryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	if n, err := strconv.ParseInt(value, 10, 32); err == nil {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// sessionEnded reports whether a new session may help: 401, or 403 with the
// one word FORBIDDEN.
func sessionEnded(err error) bool {
	var e *fleet.DEPError
	if !errors.As(err, &e) {
		return false
	}
	return e.Status == http.StatusUnauthorized || (e.Status == http.StatusForbidden && e.Code == "FORBIDDEN")
}

// dated tells an expired token from a rejected one.
func (d *DEP) dated(err error, creds fleet.DEPCredentials) error {
	var e *fleet.DEPError
	if errors.As(err, &e) && e.Kind == fleet.DEPTokenRejected && !d.clock().Before(creds.Expiry) {
		e.Kind = fleet.DEPTokenExpired
	}
	return err
}

func unreadable(cause error) *fleet.DEPError {
	return &fleet.DEPError{Kind: fleet.DEPTemporary, Cause: fmt.Errorf("the answer cannot be read: %w", cause)}
}

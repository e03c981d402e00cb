package appledev

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/codec/cms"
)

// maxAnswer bounds what a server may answer, in bytes.
const maxAnswer = 32 << 20

// Content types of contracts/apple.md 1.1.
const (
	typeCheckIn = "application/x-apple-aspen-mdm-checkin"
	typeCommand = "application/x-apple-aspen-mdm"
)

// opProfile is the Request.Op of an enrollment profile's download.
const opProfile = "profile"

// Request is one HTTP exchange, for measuring.
type Request struct {
	Op       string // "profile", "GetCACaps", "Authenticate", "Idle", "Acknowledged", ...
	Status   int    // HTTP status; 0 with Err
	Duration time.Duration
	Err      error
}

// call is a request to be sent.
type call struct {
	op          string
	method      string
	url         string
	contentType string
	signature   string    // Mdm-Signature
	header      [2]string // one more: its name and value; "" for none
	body        []byte
	limit       int64 // of the answer in bytes; maxAnswer when 0
}

// errTooLarge: the answer exceeds its limit.
var errTooLarge = errors.New("the answer is too large")

// response is what came back.
type response struct {
	status      int
	contentType string
	challenge   string // WWW-Authenticate
	body        []byte
}

// send does one exchange and reports it to the request hook.
func (d *Device) send(ctx context.Context, c call) (*response, error) {
	if d.faults.offline(d.o.Clock()) {
		return nil, ErrOffline
	}
	loseRequest, loseAnswer := d.faults.loses()
	if loseRequest {
		return nil, fmt.Errorf("%s: %w", c.op, ErrLost)
	}
	start := d.o.Clock()
	resp, err := transact(ctx, d.o.Client, c)
	r := Request{Op: c.op, Duration: d.o.Clock().Sub(start), Err: err}
	if resp != nil {
		r.Status = resp.status
	}
	if d.o.OnRequest != nil {
		d.o.OnRequest(r)
	}
	if loseAnswer && err == nil {
		return nil, fmt.Errorf("%s: %w", c.op, ErrLost)
	}
	return resp, err
}

// transact does one exchange.
func transact(ctx context.Context, client *http.Client, c call) (*response, error) {
	req, err := http.NewRequestWithContext(ctx, c.method, c.url, bytes.NewReader(c.body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.op, err)
	}
	req.Header.Set("User-Agent", "MDM/1.0")
	if c.contentType != "" {
		req.Header.Set("Content-Type", c.contentType)
	}
	if c.signature != "" {
		req.Header.Set("Mdm-Signature", c.signature)
	}
	if c.header[0] != "" {
		req.Header.Set(c.header[0], c.header[1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.op, err)
	}
	defer func() { _ = resp.Body.Close() }()
	limit := cmp.Or(c.limit, maxAnswer)
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = errTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("%s: read answer: %w", c.op, err)
	}
	contentType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return &response{status: resp.StatusCode, contentType: contentType, challenge: resp.Header.Get("WWW-Authenticate"), body: body}, nil
}

// StatusError is an HTTP status that is not 2xx.
type StatusError struct {
	Status int
	Body   string // the beginning
}

// Error implements error.
func (e *StatusError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.Status, e.Body) }

// ok reports a status of 2xx.
func (r *response) ok() bool { return r.status/100 == 2 }

// problem returns the status as an error.
func (r *response) problem() error {
	const shown = 200
	return &StatusError{Status: r.status, Body: string(r.body[:min(len(r.body), shown)])}
}

// must turns any status but 2xx into an error.
func (d *Device) must(r *response, err error) (*response, error) {
	if err != nil {
		return nil, err
	}
	if !r.ok() {
		return nil, r.problem()
	}
	return r, nil
}

// signedCall encodes a message and signs it with an identity, as SignMessage
// asks: the signature covers exactly the body.
func (d *Device) signedCall(op, url, contentType string, message dict, id *identity) (call, error) {
	body, err := message.encode()
	if err != nil {
		return call{}, err
	}
	signature, err := d.sign(body, id)
	if err != nil {
		return call{}, err
	}
	return call{
		op: op, method: http.MethodPut, url: url, contentType: contentType, body: body, signature: signature,
	}, nil
}

// sign makes the Mdm-Signature of a body.
func (d *Device) sign(body []byte, id *identity) (string, error) {
	signed := body
	if d.faults.wrongSignature() {
		signed = append([]byte(" "), body...)
	}
	der, err := cms.SignWith(signed, cms.Signing{Certificate: id.cert, Key: id.key, Detached: true, Digest: d.o.Digest})
	if err != nil {
		return "", fmt.Errorf("sign message: %w", err)
	}
	return base64.StdEncoding.EncodeToString(der), nil
}

package appleserver

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxCSR bounds a device's request for its certificate.
const maxCSR = 16 << 10

// adminHandler is the face of devices and of other processes. What changes
// something wants JSON, which a foreign web page in a browser cannot send.
func (e *Enrollment) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /device/activate", e.activate)
	mux.HandleFunc("POST /device/certificate", e.certify)
	mux.HandleFunc("GET /sim/servers", func(w http.ResponseWriter, _ *http.Request) { reply(w, e.Servers(), nil) })
	mux.HandleFunc("GET /sim/devices/{serial}", func(w http.ResponseWriter, r *http.Request) {
		state, err := e.Device(r.PathValue("serial"))
		reply(w, state, err)
	})
	mux.HandleFunc("POST /sim/{operation}", func(w http.ResponseWriter, r *http.Request) {
		o, err := readOrder(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		value, err := e.carryOut(r.PathValue("operation"), o)
		reply(w, value, err)
	})
	return mux
}

// order is what another process wants done; each operation uses some fields.
type order struct {
	Server      string    `json:"server,omitempty"`
	Name        string    `json:"name,omitempty"`
	Certificate string    `json:"certificate,omitempty"` // PEM
	Model       string    `json:"model,omitempty"`
	Count       int       `json:"count,omitempty"`
	Serials     []string  `json:"serials,omitempty"`
	AssetTag    string    `json:"asset_tag,omitempty"`
	Signed      bool      `json:"signed,omitempty"`
	Deadline    time.Time `json:"deadline,omitzero"`
}

// issuedToken is a download.
type issuedToken struct {
	Server string `json:"server_uuid"`
	P7M    []byte `json:"p7m"`
}

// errOperation: the order's name is unknown.
var errOperation = errors.New("no such operation")

// readOrder reads an order.
func readOrder(r *http.Request) (order, error) {
	var o order
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return o, errors.New("the content type is not application/json")
	}
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxRequestBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&o)
	if err != nil {
		return o, fmt.Errorf("order: %w", err)
	}
	return o, nil
}

// carryOut is the table of operations.
func (e *Enrollment) carryOut(operation string, o order) (any, error) {
	switch operation {
	case "create-server":
		id, p7m, err := e.CreateServer(o.Name, []byte(o.Certificate))
		return issuedToken{id, p7m}, err
	case "renew-token":
		p7m, err := e.RenewToken(o.Server, []byte(o.Certificate))
		return issuedToken{o.Server, p7m}, err
	case "expire-token":
		return nil, e.ExpireToken(o.Server)
	case "sign-terms":
		e.SignTerms(o.Signed)
		return nil, nil
	case "buy":
		return e.Buy(o.Server, o.Model, o.Count)
	case "assign":
		return nil, e.Assign(o.Server, o.Serials...)
	case "unassign":
		return nil, e.Unassign(o.Serials...)
	case "release":
		return nil, e.Release(o.Serials...)
	case "modify":
		return nil, e.Modify(o.AssetTag, o.Serials...)
	case "migrate":
		return nil, e.Migrate(o.Deadline, o.Serials...)
	}
	return nil, fmt.Errorf("%w: %q", errOperation, operation)
}

// reply writes a value or an error.
func reply(w http.ResponseWriter, value any, err error) {
	switch {
	case errors.Is(err, ErrNoServer), errors.Is(err, ErrNoDevice), errors.Is(err, errOperation):
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// A failed write means that the client is gone.
	_ = json.NewEncoder(w).Encode(value)
}

// activate is POST /device/activate {"serial_number"}: what a device that is
// being set up asks Apple. 200 is its profile, 404 that it has none.
func (e *Enrollment) activate(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Serial string `json:"serial_number"`
	}
	err := json.NewDecoder(io.LimitReader(r.Body, maxCSR)).Decode(&req)
	if err != nil {
		http.Error(w, "no serial_number", http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	var text json.RawMessage
	if d := e.records[req.Serial]; d != nil && d.profile != nil {
		text = d.profile.text
		d.status, d.pushed = profilePushed, e.clock()
		d.changed(d.pushed)
	}
	e.mu.Unlock()
	if text == nil {
		http.NotFound(w, r)
		return
	}
	reply(w, text, nil)
}

// certify is POST /device/certificate: what the factory does. The body is a
// certificate request in DER whose common name is the UDID, the answer PEM: the
// device's certificate, then the authority's.
func (e *Enrollment) certify(w http.ResponseWriter, r *http.Request) {
	der, err := io.ReadAll(io.LimitReader(r.Body, maxCSR))
	if err != nil {
		return // the client is gone
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	cert, err := e.devices.Issue(csr.Subject.CommonName, csr.PublicKey)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	// A failed write means that the client is gone.
	_, _ = w.Write(append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), e.devices.PEM()...))
}

// EnrollmentAdmin does from another process what people do at Apple's portal.
type EnrollmentAdmin struct {
	// URL is Enrollment.AdminURL.
	URL    string
	Client *http.Client // http.DefaultClient when nil
}

// Buy is Enrollment.Buy.
func (a EnrollmentAdmin) Buy(ctx context.Context, server, model string, count int) (bought []Bought, err error) {
	err = a.call(ctx, "buy", order{Server: server, Model: model, Count: count}, &bought)
	return bought, err
}

// CreateServer is Enrollment.CreateServer.
func (a EnrollmentAdmin) CreateServer(ctx context.Context, name string, certPEM []byte) (server string, p7m []byte, err error) {
	var out issuedToken
	err = a.call(ctx, "create-server", order{Name: name, Certificate: string(certPEM)}, &out)
	return out.Server, out.P7M, err
}

// RenewToken is Enrollment.RenewToken.
func (a EnrollmentAdmin) RenewToken(ctx context.Context, server string, certPEM []byte) (p7m []byte, err error) {
	var out issuedToken
	err = a.call(ctx, "renew-token", order{Server: server, Certificate: string(certPEM)}, &out)
	return out.P7M, err
}

// ExpireToken is Enrollment.ExpireToken.
func (a EnrollmentAdmin) ExpireToken(ctx context.Context, server string) error {
	return a.call(ctx, "expire-token", order{Server: server}, nil)
}

// SignTerms is Enrollment.SignTerms.
func (a EnrollmentAdmin) SignTerms(ctx context.Context, signed bool) error {
	return a.call(ctx, "sign-terms", order{Signed: signed}, nil)
}

// Assign is Enrollment.Assign.
func (a EnrollmentAdmin) Assign(ctx context.Context, server string, serials ...string) error {
	return a.call(ctx, "assign", order{Server: server, Serials: serials}, nil)
}

// Unassign is Enrollment.Unassign.
func (a EnrollmentAdmin) Unassign(ctx context.Context, serials ...string) error {
	return a.call(ctx, "unassign", order{Serials: serials}, nil)
}

// Release is Enrollment.Release.
func (a EnrollmentAdmin) Release(ctx context.Context, serials ...string) error {
	return a.call(ctx, "release", order{Serials: serials}, nil)
}

// Modify is Enrollment.Modify.
func (a EnrollmentAdmin) Modify(ctx context.Context, assetTag string, serials ...string) error {
	return a.call(ctx, "modify", order{AssetTag: assetTag, Serials: serials}, nil)
}

// Migrate is Enrollment.Migrate.
func (a EnrollmentAdmin) Migrate(ctx context.Context, deadline time.Time, serials ...string) error {
	return a.call(ctx, "migrate", order{Deadline: deadline, Serials: serials}, nil)
}

// Servers is Enrollment.Servers.
func (a EnrollmentAdmin) Servers(ctx context.Context) (servers []Server, err error) {
	err = a.do(ctx, http.MethodGet, "/sim/servers", nil, &servers)
	return servers, err
}

// Device is Enrollment.Device.
func (a EnrollmentAdmin) Device(ctx context.Context, serial string) (state State, err error) {
	err = a.do(ctx, http.MethodGet, "/sim/devices/"+serial, nil, &state)
	return state, err
}

// call has an operation carried out.
func (a EnrollmentAdmin) call(ctx context.Context, operation string, o order, out any) error {
	body, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return a.do(ctx, http.MethodPost, "/sim/"+operation, body, out)
}

// do is one exchange.
func (a EnrollmentAdmin) do(ctx context.Context, method, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, a.URL+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("simulated enrollment service: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := a.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("simulated enrollment service: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	const maxAnswer = 64 << 20
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("simulated enrollment service: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("simulated enrollment service: %s", strings.TrimSpace(string(text)))
	}
	if out == nil {
		return nil
	}
	err = json.Unmarshal(text, out)
	if err != nil {
		return fmt.Errorf("simulated enrollment service: %w", err)
	}
	return nil
}

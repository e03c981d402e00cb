package scep

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/codec/scepmsg"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/httpx"
	"github.com/muster-mdm/muster/internal/kit/ratelimit"
)

// Authority is what the endpoint needs of the certificate authority.
type Authority interface {
	// CertificateAuthority returns the RSA CA certificate and the key that
	// decrypts requests and signs replies. The key must be a crypto.Signer
	// and a crypto.Decrypter.
	CertificateAuthority(ctx context.Context) (*x509.Certificate, crypto.PrivateKey, error)
	// Issue checks the request against its challenge (or renewal binding) and
	// returns the certificate; *fleet.Error says why not.
	Issue(ctx context.Context, req fleet.CertificateRequest) (*x509.Certificate, error)
}

// capabilities are the lines of GetCACaps (RFC 8894 section 3.5.2). DES3 is
// for old clients, which otherwise fall back to single DES.
const capabilities = "POSTPKIOperation\nSHA-256\nSHA-512\nAES\nSCEPStandard\nRenewal\nDES3\n"

// Media types of RFC 8894 section 4.
const (
	typeCACert     = "application/x-x509-ca-cert"
	typePKIMessage = "application/x-pki-message"
)

// maxRefusals bounds the refused requests of one network in a minute: each
// costs operations with the authority's key. Who is served is not bounded, so
// that an office behind one address can enroll at once.
const maxRefusals = 300

// handler serves the endpoint.
type handler struct {
	auth     Authority
	log      *slog.Logger
	clock    func() time.Time
	refusals *ratelimit.Keyed
}

// New returns the endpoint. The clock measures how long issuing takes; what is
// logged as a warning here has no other place, because devices show no errors.
func New(auth Authority, log *slog.Logger, clock func() time.Time) http.Handler {
	return &handler{auth: auth, log: log, clock: clock, refusals: ratelimit.New(maxRefusals, time.Minute, clock)}
}

// ServeHTTP implements http.Handler: GET and POST with ?operation=
// (RFC 8894 section 4.1).
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	operation := r.URL.Query().Get("operation")
	switch operation {
	case "GetCACaps":
		answer(w, "text/plain", []byte(capabilities))
	case "GetCACert":
		h.certificate(w, r)
	case "PKIOperation":
		h.pkiOperation(w, r)
	default:
		http.Error(w, "unknown operation", http.StatusBadRequest)
	}
}

// answer writes a 200. A failed write means that the requester is gone.
func answer(w http.ResponseWriter, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(body)
}

// certificate answers GetCACert (RFC 8894 section 4.2) with the one CA
// certificate: clients encrypt to every certificate of a longer list.
func (h *handler) certificate(w http.ResponseWriter, r *http.Request) {
	ca, _, err := h.auth.CertificateAuthority(r.Context())
	if err != nil {
		h.unavailable(w, r, err)
		return
	}
	answer(w, typeCACert, ca.Raw)
}

// unavailable answers when there is no authority to answer with.
func (h *handler) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	h.log.ErrorContext(r.Context(), "scep authority is unavailable", slog.Any("error", err))
	http.Error(w, "certificate authority is unavailable", http.StatusInternalServerError)
}

// pkiOperation answers PKIOperation (RFC 8894 section 4.3).
func (h *handler) pkiOperation(w http.ResponseWriter, r *http.Request) {
	der, err := message(w, r)
	if errors.Is(err, httpx.ErrBodyTooLarge) {
		http.Error(w, "message is too large", http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(w, "message cannot be read", http.StatusBadRequest)
		return
	}
	from := ratelimit.Network(httpx.Address(r.Context()))
	if wait := h.refusals.Wait(from); wait > 0 {
		httpx.Add(r.Context(), slog.String("scep_result", "throttled"))
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		http.Error(w, "too many refused requests from this address: try again later", http.StatusTooManyRequests)
		return
	}
	ca, key, err := h.authority(r.Context())
	if err != nil {
		h.unavailable(w, r, err)
		return
	}
	req, err := scepmsg.Parse(der)
	if req == nil {
		httpx.Add(r.Context(), slog.String("scep_result", "malformed"))
		http.Error(w, "not a SCEP message", http.StatusBadRequest)
		return
	}
	httpx.Add(r.Context(), slog.String("scep_transaction", req.TransactionID), slog.String("scep_type", string(req.Type)))
	var reply []byte
	if err == nil {
		reply, err = h.issue(r.Context(), req, ca, key)
	}
	if err != nil {
		h.refusals.Take(from)
		reply, err = h.refuse(r.Context(), req, err, ca, key)
	}
	if err != nil {
		h.unavailable(w, r, err)
		return
	}
	answer(w, typePKIMessage, reply)
}

// authority returns the CA certificate and a key that can do both its jobs.
func (h *handler) authority(ctx context.Context) (*x509.Certificate, scepmsg.Key, error) {
	ca, private, err := h.auth.CertificateAuthority(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate authority: %w", err)
	}
	key, ok := private.(scepmsg.Key)
	if !ok {
		return nil, nil, fmt.Errorf("certificate authority: key of type %T cannot decrypt", private)
	}
	return ca, key, nil
}

// message returns the DER of a PKIOperation: the body of a POST, or the base64
// "message" of the query. Clients that repeat a POST's message in its query
// are heard by their body.
func message(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Method == http.MethodPost {
		body, err := httpx.ReadBody(w, r, scepmsg.MaxMessage)
		if err != nil || len(body) > 0 {
			return body, err
		}
	}
	text := r.URL.Query().Get("message")
	if len(text) > base64.StdEncoding.EncodedLen(scepmsg.MaxMessage) {
		return nil, httpx.ErrBodyTooLarge
	}
	// A plus sign that the client forgot to escape arrives as a space.
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, " ", "+"))
	if err != nil {
		return nil, fmt.Errorf("message parameter: %w", err)
	}
	return der, nil
}

// issue opens the request, has the authority decide and builds the success.
func (h *handler) issue(ctx context.Context, req *scepmsg.Request, ca *x509.Certificate, key scepmsg.Key) ([]byte, error) {
	err := req.Open(ca, key)
	if err != nil {
		return nil, err
	}
	start := h.clock()
	cert, err := h.auth.Issue(ctx, req.CertificateRequest())
	if err != nil {
		return nil, fmt.Errorf("issue: %w", err)
	}
	reply, err := req.Succeed(cert, ca, key)
	if err != nil {
		return nil, err
	}
	httpx.Add(ctx, slog.String("scep_result", "issued"), slog.Duration("scep_issue_time", h.clock().Sub(start)),
		slog.String("certificate_serial", cert.SerialNumber.Text(16)))
	return reply, nil
}

// refuse logs why and builds the CertRep FAILURE.
func (h *handler) refuse(ctx context.Context, req *scepmsg.Request, cause error, ca *x509.Certificate, key scepmsg.Key) ([]byte, error) {
	info := failInfo(cause)
	level := slog.LevelWarn
	var failure *scepmsg.Failure
	var known *fleet.Error
	if !errors.As(cause, &failure) && !errors.As(cause, &known) {
		level = slog.LevelError
	}
	httpx.Add(ctx, slog.String("scep_result", info.String()))
	h.log.LogAttrs(ctx, level, "scep request refused", slog.String("scep_transaction", req.TransactionID),
		slog.String("fail_info", info.String()), slog.Any("error", cause))
	return req.Fail(info, ca, key)
}

// failInfo translates a refusal; the table is in the package comment.
func failInfo(err error) scepmsg.FailInfo {
	var failure *scepmsg.Failure
	if errors.As(err, &failure) {
		return failure.Info
	}
	switch fleet.KindOf(err) {
	case fleet.KindUnsupported:
		return scepmsg.BadAlg
	case fleet.KindNotFound:
		return scepmsg.BadCertID
	case fleet.KindInternal, fleet.KindBadRequest, fleet.KindUnauthenticated, fleet.KindForbidden,
		fleet.KindConflict, fleet.KindPrecondition, fleet.KindTooLarge, fleet.KindInvalid,
		fleet.KindTooMany, fleet.KindUpstream, fleet.KindUnavailable:
		return scepmsg.BadRequest
	}
	return scepmsg.BadRequest
}

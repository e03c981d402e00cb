package apple

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/micromdm/nanomdm/mdm"
	"github.com/micromdm/nanomdm/service"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/httpx"
)

// DefaultMaxBody bounds a message: lists of applications are the largest.
const DefaultMaxBody = 8 << 20

// supersededGrace is how long an identity is taken after a renewed one was
// used: answers may be under way. It is short because whoever has the old key
// is the device until then.
const supersededGrace = 24 * time.Hour

// Limits of what a device can put into the log and into an answer, in bytes.
const (
	maxName   = 40
	maxReason = 300
)

// Content types of the protocol.
const (
	checkinType = "application/x-apple-aspen-mdm-checkin"
	plistType   = "application/xml"
	jsonType    = "application/json"
)

// Callers looks up who signed and sent a request.
type Callers interface {
	Caller(ctx context.Context, sha256 [32]byte, key string) (fleet.Caller, error)
}

// Seen takes note of hosts that were heard of.
type Seen interface {
	Note(id fleet.HostID)
}

// Handler is the endpoint.
type Handler struct {
	service    service.CheckinAndCommandService
	core       *Service
	callers    Callers
	seen       Seen
	verifier   *cms.Verifier
	certHeader string
	maxBody    int64
	everyPoll  bool
	decorated  bool // the service is not ours alone
	clock      func() time.Time
}

// Options are the parts of a Handler.
type Options struct {
	// Service is the core, decorated or not.
	Service service.CheckinAndCommandService
	Core    *Service
	Callers Callers
	Seen    Seen
	// Verifier knows the device authority.
	Verifier *cms.Verifier
	// CertHeader is where a trusted proxy puts the client's certificate;
	// empty: nowhere.
	CertHeader string
	MaxBody    int // bytes; 0: DefaultMaxBody
	// EveryPoll shows the service polls that have nothing to fetch, too.
	EveryPoll bool
	Clock     func() time.Time
}

// New returns the endpoint.
func New(o Options) *Handler {
	if o.Service == nil {
		o.Service = o.Core
	}
	if o.MaxBody <= 0 {
		o.MaxBody = DefaultMaxBody
	}
	decorated := o.Service != service.CheckinAndCommandService(o.Core)
	return &Handler{decorated: decorated, maxBody: int64(o.MaxBody), everyPoll: o.EveryPoll, service: o.Service, core: o.Core, callers: o.Callers, seen: o.Seen, verifier: o.Verifier,
		certHeader: o.CertHeader, clock: o.Clock}
}

// message is a decoded and identified request.
type message struct {
	checkin *mdmcmd.Checkin // or
	report  *mdmcmd.Report
	key     fleet.EnrollmentKey
	cert    *cms.Certificate
	caller  fleet.Caller
	expired bool // the identity's validity is over
}

type messageKey struct{}

// messageOf returns what the handler found out, for the service behind the
// seam, whose methods carry only NanoMDM's types.
func messageOf(ctx context.Context) (*message, error) {
	m, ok := ctx.Value(messageKey{}).(*message)
	if !ok {
		return nil, errors.New("the service was called from outside of the endpoint")
	}
	return m, nil
}

// ServeHTTP answers PUT and POST.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPut && r.Method != http.MethodPost {
		w.Header().Set("Allow", "PUT, POST")
		http.Error(w, "this is the MDM endpoint of Apple devices: PUT or POST a check-in or a command report", http.StatusMethodNotAllowed)
		return
	}
	body, err := httpx.ReadBody(w, r, h.maxBody)
	if errors.Is(err, httpx.ErrBodyTooLarge) {
		err = fleet.Errorf(fleet.KindTooLarge, "the message is larger than %d bytes", h.maxBody)
	} else if err != nil {
		err = fleet.Errorf(fleet.KindBadRequest, "the message could not be read to its end").WithCause(err)
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	m, err := h.identify(r, body)
	if err != nil {
		fail(w, r, err)
		return
	}
	answer, contentType, err := h.dispatch(r, m)
	if err != nil {
		fail(w, r, err)
		return
	}
	// Only now: an Authenticate may have claimed to be somebody else.
	h.seen.Note(m.caller.Enrollment.HostID)
	if len(answer) == 0 {
		w.WriteHeader(http.StatusOK)
		return
	}
	w.Header().Set("Content-Type", contentType)
	if _, err := w.Write(answer); err != nil {
		httpx.Add(r.Context(), slog.String("write_error", err.Error()))
	}
}

// identify decodes a request and establishes who sent it.
func (h *Handler) identify(r *http.Request, body []byte) (*message, error) {
	// The signature comes first: strangers get no further than it.
	cert, err := h.certificate(r, body)
	if err != nil {
		return nil, err
	}
	m := &message{cert: cert}
	if strings.HasPrefix(r.Header.Get("Content-Type"), checkinType) {
		if m.checkin, err = mdmcmd.DecodeCheckin(body); err == nil {
			m.key = m.checkin.Key
		}
	} else if m.report, err = mdmcmd.DecodeReport(body); err == nil {
		m.key = m.report.Key
	}
	if err != nil {
		return nil, fleet.Errorf(fleet.KindBadRequest, "%s", err.Error()).WithCause(err)
	}
	httpx.Add(r.Context(), slog.String("enrollment", m.key.ID), slog.String("message", m.name()))
	if m.caller, err = h.callers.Caller(r.Context(), cert.SHA256, m.key.ID); err != nil {
		return nil, err
	}
	m.expired = h.clock().After(cert.NotAfter)
	return m, h.admit(r.Context(), m)
}

func (m *message) name() string {
	if m.checkin != nil {
		return clip(m.checkin.Type, maxName)
	}
	return clip(m.report.Status, maxName)
}

// clip cuts a text that a device may have made longer than it should be.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// admit refuses senders whose identity does not belong to what they claim to
// be. An identity is bound to its enrollment by the first Authenticate, or was
// bound when it was issued to renew another.
func (h *Handler) admit(ctx context.Context, m *message) error {
	c := m.caller
	switch {
	case c.Identity.ID == 0:
		return fleet.Errorf(fleet.KindForbidden, "the certificate is not known to this server")
	case c.Identity.Purpose == fleet.PurposeOTA:
		return fleet.Errorf(fleet.KindForbidden, "the certificate is for asking for an enrollment profile over the air, not for MDM")
	case !c.Identity.RevokedAt.IsZero():
		return fleet.Errorf(fleet.KindForbidden, "the certificate was replaced by a newer enrollment of the device")
	case !c.Identity.SupersededAt.IsZero() && h.clock().After(c.Identity.SupersededAt.Add(supersededGrace)):
		return fleet.Errorf(fleet.KindForbidden, "the certificate was renewed %s, and the device used the newer one since", c.Identity.SupersededAt.UTC().Format(time.RFC3339))
	}
	expiry := m.cert.NotAfter.UTC().Format(time.RFC3339)
	switch {
	case m.expired && !c.Identity.SupersededAt.IsZero():
		return fleet.Errorf(fleet.KindForbidden, "the certificate expired %s, and the device has a newer one", expiry)
	case m.expired && m.checkin != nil:
		return fleet.Errorf(fleet.KindForbidden, "the certificate expired %s: the device gets nothing but its renewal. If that does not come, download a new enrollment profile", expiry)
	}
	if m.checkin != nil && m.checkin.Type == "Authenticate" {
		return nil // whether the identity fits is decided with the facts in hand
	}
	if !c.BoundTo() && !h.newUserOf(c, m.key) {
		return fleet.Errorf(fleet.KindForbidden, "the certificate does not belong to enrollment %s", m.key.ID)
	}
	if c.Identity.Purpose == fleet.PurposeRenew && c.Identity.UsedAt.IsZero() {
		return h.core.lifecycle.Renewed(ctx, m.key, c.Identity.ID)
	}
	return nil
}

// newUserOf tells whether an unknown user channel is one that the identity's
// device may open; the store looks the device up again when it does.
func (h *Handler) newUserOf(c fleet.Caller, key fleet.EnrollmentKey) bool {
	return c.Enrollment.ID == 0 && key.ParentID != "" && c.Identity.EnrollmentID != 0 && c.Identity.EnrollmentKey == key.ParentID
}

// dispatch calls the service through the seam.
func (h *Handler) dispatch(r *http.Request, m *message) (answer []byte, contentType string, err error) {
	if m.report != nil && m.report.Status == "Idle" && m.idle() && !h.everyPoll {
		return nil, "", nil
	}
	ctx := context.WithValue(r.Context(), messageKey{}, m)
	req := mdm.NewRequestWithContext(ctx, nil)
	if h.decorated {
		req.Certificate = m.cert.X509() // our own service has no use for it
	}
	req.EnrollID = &mdm.EnrollID{Type: mdm.EnrollType(m.key.Channel), ID: m.key.ID, ParentID: m.key.ParentID}
	if query := r.URL.Query(); len(query) > 0 {
		req.Params = make(map[string]string, len(query))
		for k, v := range query {
			req.Params[k] = v[0]
		}
	}
	if m.report != nil {
		answer, err = h.command(req, m)
		return answer, plistType, err
	}
	answer, err = h.checkin(req, m)
	if m.checkin.Type == "DeclarativeManagement" {
		return answer, jsonType, err
	}
	return answer, plistType, err
}

// idle tells that a poll has nothing to fetch and nothing to change: the
// common case, answered without calling the service.
func (m *message) idle() bool {
	return !m.caller.CommandsPending && m.caller.Enrollment.HostID != 0
}

// fail answers an error in the protocol's way and notes the cause in the log.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	var status int
	switch kind := fleet.KindOf(err); kind {
	case fleet.KindBadRequest, fleet.KindInvalid, fleet.KindUnsupported:
		status = http.StatusBadRequest
	case fleet.KindForbidden, fleet.KindUnauthenticated:
		status = http.StatusForbidden // never 401: the device would unenroll
	case fleet.KindNotFound:
		status = http.StatusNotFound
	case fleet.KindTooLarge:
		status = http.StatusRequestEntityTooLarge
	case fleet.KindUnavailable, fleet.KindTooMany:
		status = http.StatusServiceUnavailable
	default:
		status = http.StatusInternalServerError
	}
	var nano *service.HTTPStatusError
	if errors.As(err, &nano) && nano.Status != http.StatusUnauthorized {
		status = nano.Status
	}
	httpx.Add(r.Context(), slog.String("error", clip(err.Error(), maxReason)))
	if cause := errors.Unwrap(err); cause != nil {
		httpx.Add(r.Context(), slog.String("cause", clip(cause.Error(), maxReason)))
	}
	text := http.StatusText(status)
	var shown *fleet.Error
	if errors.As(err, &shown) && shown.Kind != fleet.KindInternal {
		text = clip(shown.Error(), maxReason)
		retryAfter(w, shown.RetryAfter)
	}
	http.Error(w, text, status)
}

// retryAfter says when to come again; 0: whenever.
func retryAfter(w http.ResponseWriter, wait time.Duration) {
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
}

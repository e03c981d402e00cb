package httpx

import (
	"context"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// Options configure Handler.
type Options struct {
	Logger  *slog.Logger
	Proxies Proxies
	Now     func() time.Time // nil: time.Now
	// HSTS tells browsers to use TLS only; set where the public URL is https.
	HSTS bool
	// Observe is called once a request is answered, for metrics. Nil: not.
	Observe func(route string, status int, took time.Duration)
}

// hstsValue is one year, without subdomains that are not ours to decide.
const hstsValue = "max-age=31536000"

// The header values are shared by all requests; net/http only reads them.
func securityHeaders(hsts bool) map[string][]string {
	h := map[string][]string{
		"X-Content-Type-Options": {"nosniff"},
		"X-Frame-Options":        {"DENY"},
		"Referrer-Policy":        {"no-referrer"},
		// Handlers that serve pages replace it.
		"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
	}
	if hsts {
		h["Strict-Transport-Security"] = []string{hstsValue}
	}
	return h
}

// Handler is the outermost handler of the server: it finds the client's
// address, sets the security headers, recovers from panics and logs one line
// a request.
func Handler(next http.Handler, o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	headers := securityHeaders(o.HSTS)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := o.Now()
		event := &Event{ResponseWriter: w, ID: requestID(), Address: o.Proxies.admit(r)}
		h := w.Header()
		for name, values := range headers {
			h[name] = values
		}
		h["X-Request-Id"] = []string{event.ID}
		// The mux sets Pattern on the request it gets, so keep that one.
		r = r.WithContext(context.WithValue(r.Context(), eventKey{}, event))
		defer func() {
			took := o.Now().Sub(start)
			if cause := recover(); cause != nil {
				if cause == http.ErrAbortHandler { //nolint:errorlint // net/http compares it like this too
					panic(cause)
				}
				event.recovered(r, o.Logger, cause)
			}
			event.log(o.Logger, r, took)
			if o.Observe != nil {
				o.Observe(r.Pattern, event.status, took)
			}
		}()
		next.ServeHTTP(event, r)
	})
}

// recovered logs a panic and answers 500 where nothing was answered yet.
func (e *Event) recovered(r *http.Request, logger *slog.Logger, cause any) {
	logger.ErrorContext(r.Context(), "panic",
		slog.Any("cause", cause), slog.String("stack", string(debug.Stack())),
		slog.String("route", r.Pattern), slog.String("request_id", e.ID))
	if e.status != 0 {
		return
	}
	if strings.HasPrefix(r.URL.Path, "/api/") {
		e.Header().Set("Content-Type", "application/json")
		e.WriteHeader(http.StatusInternalServerError)
		_, _ = e.Write([]byte(`{"message":"Internal Server Error","errors":[],"uuid":"` + e.ID + `"}`))
		return
	}
	http.Error(e, "Internal Server Error", http.StatusInternalServerError)
}

// requestID needs to be distinct, not secret.
func requestID() string {
	n := rand.Uint64()
	var raw [8]byte
	for i := range raw {
		raw[i] = byte(n >> (8 * i))
	}
	return hex.EncodeToString(raw[:])
}

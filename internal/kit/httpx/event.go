package httpx

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Event is what one request's log line says. It is also the response writer
// of the request, so that status and size are known.
type Event struct {
	http.ResponseWriter

	ID      string // 16 hex digits, also in the X-Request-Id header
	Address string // the client's address without a port

	status int
	bytes  int64

	mu    sync.Mutex // handlers may add from goroutines of their own
	level slog.Level
	attrs []slog.Attr
}

type eventKey struct{}

// EventOf returns the request's event; nil outside of Handler.
func EventOf(ctx context.Context) *Event {
	e, _ := ctx.Value(eventKey{}).(*Event)
	return e
}

// Add puts attributes on the request's log line. Never add secrets. Outside
// of Handler it does nothing.
func Add(ctx context.Context, attrs ...slog.Attr) {
	e := EventOf(ctx)
	if e == nil {
		return
	}
	e.mu.Lock()
	e.attrs = append(e.attrs, attrs...)
	e.mu.Unlock()
}

// SetLevel changes the level of the request's log line, which is info; a
// status of 500 or more makes it an error whatever was set. Idle polls use
// debug.
func SetLevel(ctx context.Context, level slog.Level) {
	e := EventOf(ctx)
	if e == nil {
		return
	}
	e.mu.Lock()
	e.level = level
	e.mu.Unlock()
}

// Address is the client's address as Handler found it; empty outside of it.
func Address(ctx context.Context) string {
	if e := EventOf(ctx); e != nil {
		return e.Address
	}
	return ""
}

// RequestID identifies the request in the log; empty outside of Handler.
func RequestID(ctx context.Context) string {
	if e := EventOf(ctx); e != nil {
		return e.ID
	}
	return ""
}

// WriteHeader remembers the status.
func (e *Event) WriteHeader(status int) {
	// Informational answers (1xx) precede the real one.
	if e.status == 0 && status >= http.StatusOK {
		e.status = status
	}
	e.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (e *Event) Write(p []byte) (int, error) {
	if e.status == 0 {
		e.status = http.StatusOK
	}
	n, err := e.ResponseWriter.Write(p)
	e.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (e *Event) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// Status is the status sent so far; 0 when none was.
func (e *Event) Status() int { return e.status }

// log writes the line. The query is left out on purpose: it may carry tokens.
func (e *Event) log(logger *slog.Logger, r *http.Request, took time.Duration) {
	e.mu.Lock()
	level, extra := e.level, e.attrs
	e.mu.Unlock()
	status := e.status
	if status == 0 {
		status = http.StatusOK // net/http sends it for a silent handler
	}
	if status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	ctx := r.Context()
	if !logger.Enabled(ctx, level) {
		return
	}
	const ownAttrs = 7
	attrs := make([]slog.Attr, 0, ownAttrs+len(extra))
	attrs = append(attrs,
		slog.String("method", r.Method),
		// The pattern, not the path: paths may carry tokens and would make
		// every line another route.
		slog.String("route", r.Pattern),
		slog.Int("status", status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.Int64("bytes", e.bytes),
		slog.String("address", e.Address),
		slog.String("request_id", e.ID),
	)
	logger.LogAttrs(ctx, level, "request", append(attrs, extra...)...)
}

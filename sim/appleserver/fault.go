package appleserver

import (
	"net/http"
	"sync"
	"time"
)

// Fault is an answer other than success, or a delay before one. The zero Fault
// is none.
type Fault struct {
	Status int    // HTTP status; 0: answer normally
	Reason string // the "reason" of the body
	// Timestamp is when the token died, with StatusGone; now when zero.
	Timestamp time.Time
	// RetryAfter is sent as that header when positive.
	RetryAfter time.Duration
	// GoAway shuts the connection down gracefully with this answer: the client
	// gets a GOAWAY frame, streams in flight complete.
	GoAway bool
	// Delay passes before the answer.
	Delay time.Duration
}

// The faults that contracts/apple.md section 2 lists, in Apple's words.

// Unregistered says that the token died at the given time; now when zero.
func Unregistered(at time.Time) Fault {
	return Fault{Status: http.StatusGone, Reason: "Unregistered", Timestamp: at}
}

// BadDeviceToken says that the token belongs to another environment or nobody.
func BadDeviceToken() Fault { return Fault{Status: http.StatusBadRequest, Reason: "BadDeviceToken"} }

// BadCertificate refuses the push certificate.
func BadCertificate() Fault { return Fault{Status: http.StatusForbidden, Reason: "BadCertificate"} }

// TooManyRequests throttles one token.
func TooManyRequests(retryAfter time.Duration) Fault {
	return Fault{Status: http.StatusTooManyRequests, Reason: "TooManyRequests", RetryAfter: retryAfter}
}

// InternalServerError is an outage of the 500 kind.
func InternalServerError() Fault {
	return Fault{Status: http.StatusInternalServerError, Reason: "InternalServerError"}
}

// Shutdown is an outage of the 503 kind, with GOAWAY.
func Shutdown() Fault {
	return Fault{Status: http.StatusServiceUnavailable, Reason: "Shutdown", GoAway: true}
}

// GoAway closes the connection gracefully after a success.
func GoAway() Fault { return Fault{GoAway: true} }

// Latency delays a success.
func Latency(d time.Duration) Fault { return Fault{Delay: d} }

// faults are what is planned: for single tokens until lifted, and for the next
// requests whoever they are for.
type faults struct {
	mu      sync.Mutex
	byToken map[string]Fault
	all     Fault
	left    int // requests that all applies to; negative: until replaced
}

// take returns the fault for a request to token.
func (f *faults) take(token string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fault, ok := f.byToken[token]; ok {
		return fault
	}
	if f.left == 0 {
		return Fault{}
	}
	if f.left > 0 {
		f.left--
	}
	return f.all
}

// set plans fault for the next count requests; negative: until replaced.
func (f *faults) set(fault Fault, count int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all, f.left = fault, count
}

// setToken plans fault for one token; the zero Fault lifts it.
func (f *faults) setToken(token string, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fault == (Fault{}) {
		delete(f.byToken, token)
		return
	}
	if f.byToken == nil {
		f.byToken = make(map[string]Fault)
	}
	f.byToken[token] = fault
}

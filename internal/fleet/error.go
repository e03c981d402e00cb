package fleet

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind classifies an error that a user or a device may see. Edges map it to
// their protocol: an HTTP status, a SCEP failInfo, an exit code.
// The values are never stored.
type Kind uint8

// Kinds, in the order of their HTTP statuses.
const (
	KindInternal        Kind = iota // 500: never shown in detail
	KindBadRequest                  // 400: not understood at all
	KindUnauthenticated             // 401: who are you
	KindForbidden                   // 403: known, and not allowed
	KindNotFound                    // 404
	KindConflict                    // 409: exists already, or in a state that forbids it
	KindPrecondition                // 412: the object is not ready for this
	KindTooLarge                    // 413
	KindUnsupported                 // 415: a body of a kind we do not read
	KindInvalid                     // 422: understood, and wrong
	KindTooMany                     // 429
	KindUpstream                    // 502: Apple or Microsoft refused
	KindUnavailable                 // 503: ask again later
)

// String names the kind in the words of the API's error bodies.
func (k Kind) String() string {
	switch k {
	case KindBadRequest:
		return "Bad request"
	case KindUnauthenticated:
		return "Authentication required"
	case KindForbidden:
		return "Permission Denied"
	case KindNotFound:
		return "Resource Not Found"
	case KindConflict:
		return "Conflict"
	case KindPrecondition:
		return "Precondition Failed"
	case KindTooLarge:
		return "Payload Too Large"
	case KindUnsupported:
		return "Unsupported Media Type"
	case KindInvalid:
		return "Validation Failed"
	case KindTooMany:
		return "Too Many Requests"
	case KindUpstream:
		return "Bad Gateway"
	case KindUnavailable:
		return "Service Unavailable"
	case KindInternal:
		return "Internal Server Error"
	}
	return "Internal Server Error"
}

// FieldError says what is wrong with one named input. Name is "base" when
// the fault belongs to no single field.
type FieldError struct {
	Name   string
	Reason string
}

// Error is the one error type whose text may be shown outside. Reasons say
// what is wrong and what to do; they never carry secrets or internals. The
// cause is for logs only.
type Error struct {
	Kind       Kind
	Fields     []FieldError
	RetryAfter time.Duration // with KindTooMany and KindUnavailable; 0: not known
	Cause      error
}

// Errorf builds an Error that belongs to no single field. The text is shown to
// the caller; attach what only the log may see with WithCause.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Fields: []FieldError{{Name: "base", Reason: fmt.Sprintf(format, args...)}}}
}

// FieldErrorf builds an Error about one field.
func FieldErrorf(kind Kind, field, format string, args ...any) *Error {
	return &Error{Kind: kind, Fields: []FieldError{{Name: field, Reason: fmt.Sprintf(format, args...)}}}
}

// WithCause returns e with the internal cause attached for the log.
func (e *Error) WithCause(cause error) *Error {
	e.Cause = cause
	return e
}

// Error joins the reasons; the cause stays inside.
func (e *Error) Error() string {
	reasons := make([]string, 0, len(e.Fields))
	for _, f := range e.Fields {
		if f.Name == "" || f.Name == "base" {
			reasons = append(reasons, f.Reason)
			continue
		}
		reasons = append(reasons, f.Name+": "+f.Reason)
	}
	if len(reasons) == 0 {
		return e.Kind.String()
	}
	return strings.Join(reasons, "; ")
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Cause }

// KindOf returns the kind of err; an error that is not an *Error is internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}

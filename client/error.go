package client

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// Error is a refusal of the server.
type Error struct {
	Status  int
	Message string
	Errors  []apiv1.FieldError
	UUID    string // identifies the request in the server's log
}

// Error joins the reasons.
func (e *Error) Error() string {
	reasons := make([]string, 0, len(e.Errors))
	for _, f := range e.Errors {
		if f.Name == "" || f.Name == "base" {
			reasons = append(reasons, f.Reason)
			continue
		}
		reasons = append(reasons, f.Name+": "+f.Reason)
	}
	text := strings.Join(reasons, "; ")
	if text == "" {
		text = e.Message
	}
	if e.Status >= http.StatusInternalServerError && e.UUID != "" {
		text += " (uuid " + e.UUID + ")"
	}
	return text
}

// StatusOf is the HTTP status of the server's refusal; 0 for other errors.
func StatusOf(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// ErrUnreachable is wrapped by errors of the way to the server.
var ErrUnreachable = errors.New("the server cannot be reached")

func answerError(r request, status int, kind string, data []byte) error {
	e := &Error{Status: status}
	var body apiv1.Error
	if strings.Contains(kind, "json") && json.Unmarshal(data, &body) == nil && (body.Message != "" || len(body.Errors) > 0) {
		e.Message, e.Errors, e.UUID = body.Message, body.Errors, body.UUID
		return e
	}
	// Not one of our answers: a proxy, or another server altogether.
	e.Message = fmt.Sprintf("%s %s was answered with %d %s, not by the API: is the address that of a Muster server?", r.method, r.path, status, http.StatusText(status))
	return e
}

// reachError says what to do about a way that is closed.
func reachError(base string, err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: the certificate of %s is not trusted; give its roots with --rootca, or --tls-skip-verify for a trial", ErrUnreachable, base)
	case errors.As(err, &host):
		return fmt.Errorf("%w: %w", ErrUnreachable, host)
	}
	return fmt.Errorf("%w at %s: %w", ErrUnreachable, base, err)
}

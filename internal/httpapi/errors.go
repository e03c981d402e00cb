package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/httpx"
)

// apiError is an answer with Fleet's error body.
type apiError struct {
	body    apiv1.Error
	status  int
	headers http.Header
}

func (e *apiError) Error() string           { return e.body.Message }
func (e *apiError) GetStatus() int          { return e.status }
func (e *apiError) GetHeaders() http.Header { return e.headers }

// MarshalJSON is the body.
func (e *apiError) MarshalJSON() ([]byte, error) { return json.Marshal(e.body) }

// Schema is the body's.
func (e *apiError) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[apiv1.Error](), true, "Error")
}

// statusOf is the HTTP status of a kind.
func statusOf(kind fleet.Kind) int {
	switch kind {
	case fleet.KindBadRequest:
		return http.StatusBadRequest
	case fleet.KindUnauthenticated:
		return http.StatusUnauthorized
	case fleet.KindForbidden:
		return http.StatusForbidden
	case fleet.KindNotFound:
		return http.StatusNotFound
	case fleet.KindConflict:
		return http.StatusConflict
	case fleet.KindPrecondition:
		return http.StatusPreconditionFailed
	case fleet.KindTooLarge:
		return http.StatusRequestEntityTooLarge
	case fleet.KindUnsupported:
		return http.StatusUnsupportedMediaType
	case fleet.KindInvalid:
		return http.StatusUnprocessableEntity
	case fleet.KindTooMany:
		return http.StatusTooManyRequests
	case fleet.KindUpstream:
		return http.StatusBadGateway
	case fleet.KindUnavailable:
		return http.StatusServiceUnavailable
	case fleet.KindInternal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// answerOf turns an error into its answer, and tells the log what the answer
// does not say.
func answerOf(ctx context.Context, err error) *apiError {
	var answered *apiError
	if errors.As(err, &answered) {
		answered.body.UUID = httpx.RequestID(ctx)
		return answered
	}
	var known *fleet.Error
	if !errors.As(err, &known) || known.Kind == fleet.KindInternal {
		httpx.Add(ctx, slog.String("error", err.Error()))
		known = fleet.Errorf(fleet.KindInternal, "The server failed. Its log says more under this uuid.")
	} else if known.Cause != nil {
		httpx.Add(ctx, slog.String("cause", known.Cause.Error()))
	}
	out := &apiError{status: statusOf(known.Kind), headers: http.Header{}}
	out.body.Message, out.body.UUID = known.Kind.String(), httpx.RequestID(ctx)
	out.body.Errors = make([]apiv1.FieldError, 0, len(known.Fields))
	for _, f := range known.Fields {
		out.body.Errors = append(out.body.Errors, apiv1.FieldError{Name: nameOr(f.Name), Reason: f.Reason})
	}
	switch {
	case known.RetryAfter > 0:
		out.headers.Set("Retry-After", strconv.Itoa(int(math.Ceil(known.RetryAfter.Seconds()))))
	case known.Kind == fleet.KindUnauthenticated:
		out.headers.Set("WWW-Authenticate", "Bearer")
	}
	return out
}

func nameOr(name string) string {
	if name == "" {
		return "base"
	}
	return name
}

// writeError answers outside of a typed handler.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	answer := answerOf(r.Context(), err)
	for name, values := range answer.headers {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(answer.status)
	// A client that went away needs no answer.
	_ = json.NewEncoder(w).Encode(answer)
}

// takeErrors makes huma answer in our shape. huma keeps the function in a
// variable of its own package, so this happens once per process.
var takeErrors = sync.OnceFunc(func() {
	huma.NewError = func(status int, words string, errs ...error) huma.StatusError {
		return validationError(status, words, errs)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, words string, errs ...error) huma.StatusError {
		e := validationError(status, words, errs)
		if ctx != nil {
			e.body.UUID = httpx.RequestID(ctx.Context())
		}
		return e
	}
})

// validationError is what huma found wrong with the input. It names the place
// and never the value. Faults in the path or the query are 400, as clients
// expect; faults in the body 422.
func validationError(status int, words string, errs []error) *apiError {
	e := &apiError{status: status}
	e.body.Errors = []apiv1.FieldError{}
	for _, err := range errs {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			e.status = http.StatusRequestEntityTooLarge
			continue
		}
		var detail huma.ErrorDetailer
		if !errors.As(err, &detail) {
			continue // only huma's own words are fit for an answer
		}
		d := detail.ErrorDetail()
		if status == http.StatusUnprocessableEntity && inURL(d.Location) {
			e.status = http.StatusBadRequest
		}
		e.body.Errors = append(e.body.Errors, apiv1.FieldError{Name: nameOr(fieldOf(d.Location)), Reason: d.Message})
	}
	switch e.status {
	case http.StatusRequestEntityTooLarge:
		e.body.Errors = []apiv1.FieldError{{Name: "base", Reason: "The request is larger than this route takes."}}
	case http.StatusInternalServerError:
		e.body.Errors = []apiv1.FieldError{{Name: "base", Reason: "The request could not be read or answered."}}
	}
	if len(e.body.Errors) == 0 {
		reason := http.StatusText(e.status)
		if e.status == http.StatusBadRequest && words != "" {
			reason = words
		}
		e.body.Errors = []apiv1.FieldError{{Name: "base", Reason: reason}}
	}
	e.body.Message = messageOf(e.status)
	return e
}

func inURL(location string) bool {
	return strings.HasPrefix(location, "path.") || strings.HasPrefix(location, "query.")
}

// fieldOf is the input's own name: body.admin.email is admin.email.
func fieldOf(location string) string {
	if location == "body" {
		return ""
	}
	for _, prefix := range []string{"body.", "query.", "path.", "form.", "header."} {
		if rest, ok := strings.CutPrefix(location, prefix); ok {
			return rest
		}
	}
	return location
}

// messageOf is the message of a status in the API's words.
func messageOf(status int) string {
	for _, kind := range []fleet.Kind{fleet.KindBadRequest, fleet.KindUnauthenticated, fleet.KindForbidden, fleet.KindNotFound,
		fleet.KindConflict, fleet.KindPrecondition, fleet.KindTooLarge, fleet.KindUnsupported, fleet.KindInvalid,
		fleet.KindTooMany, fleet.KindUpstream, fleet.KindUnavailable, fleet.KindInternal} {
		if statusOf(kind) == status {
			return kind.String()
		}
	}
	return http.StatusText(status)
}

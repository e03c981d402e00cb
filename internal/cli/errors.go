package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

// Exit codes of the process.
const (
	ExitOK        = 0
	ExitError     = 1
	ExitUsage     = 2
	ExitAuth      = 3
	ExitNotFound  = 4
	ExitForbidden = 5
	ExitChanges   = 7 // a plan found something to change
	ExitExpiring  = 8 // something expires
)

// ErrChanges ends a plan that found changes.
var ErrChanges = errors.New("there are changes")

// usageError is a command that was called wrongly.
type usageError struct{ cause error }

func (e *usageError) Error() string { return e.cause.Error() }
func (e *usageError) Unwrap() error { return e.cause }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// errNotLoggedIn is a command that needs a token where there is none.
var errNotLoggedIn = errors.New("not logged in: run muster login")

// Execute runs the command line and returns the exit code.
func Execute(ctx context.Context, d Deps, arguments []string) int {
	d = d.withDefaults()
	root := New(d)
	root.SetArgs(arguments)
	err := root.ExecuteContext(ctx)
	code := exitCode(err)
	if code != ExitOK && code != ExitChanges && code != ExitExpiring {
		fmt.Fprintln(d.Err, "Error:", printableLines(explain(err)))
	}
	return code
}

func exitCode(err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, ErrChanges):
		return ExitChanges
	case errors.Is(err, errExpiring):
		return ExitExpiring
	case errors.As(err, &usage):
		return ExitUsage
	case errors.Is(err, errNotLoggedIn):
		return ExitAuth
	}
	switch client.StatusOf(err) {
	case http.StatusUnauthorized:
		return ExitAuth
	case http.StatusNotFound:
		return ExitNotFound
	case http.StatusForbidden:
		return ExitForbidden
	}
	return ExitError
}

// explain adds what to do next where the server's words do not say it.
func explain(err error) string {
	text := err.Error()
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	switch client.StatusOf(err) {
	case http.StatusUnauthorized:
		return text + "\nLog in with: muster login"
	case http.StatusForbidden:
		if ofRole(err) {
			return text + "\nAsk an admin for a role that may do this."
		}
	}
	return text
}

// ofRole tells whether a refusal is of the request as a whole: one that names a
// part of it says itself who may.
func ofRole(err error) bool {
	var refusal *client.Error
	return !errors.As(err, &refusal) || !slices.ContainsFunc(refusal.Errors, func(f apiv1.FieldError) bool { return f.Name != "" && f.Name != "base" })
}

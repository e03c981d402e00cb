package apple

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/micromdm/nanomdm/mdm"
	"github.com/micromdm/nanomdm/service"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
)

// maxObserving bounds the messages that an observer has under way. What comes
// on top is not observed: devices never wait for an observer.
const maxObserving = 64

// Tee is a service that shows every message to an observer as well, such as
// NanoMDM's webhook, after the real service took it. What the observer
// answers counts for nothing, and it may panic. Tokens, codes and passwords
// that open a device are taken out before.
type Tee struct {
	next     service.CheckinAndCommandService
	observer service.CheckinAndCommandService
	log      *slog.Logger
	slots    chan struct{}
	wg       sync.WaitGroup
}

var _ service.CheckinAndCommandService = (*Tee)(nil)

// NewTee returns the service with an observer.
func NewTee(next, observer service.CheckinAndCommandService, log *slog.Logger) *Tee {
	return &Tee{next: next, observer: observer, log: log, slots: make(chan struct{}, maxObserving)}
}

// Wait returns when no message is under observation any more.
func (t *Tee) Wait() { t.wg.Wait() }

// observe shows a message that was taken.
func (t *Tee) observe(taken error, r *mdm.Request, show func(*mdm.Request) error) {
	if taken != nil {
		return
	}
	select {
	case t.slots <- struct{}{}:
	default:
		t.log.Warn("observer is too slow: a message is not observed", "enrollment", r.ID)
		return
	}
	// The device's request ends before the observer's.
	detached := mdm.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Certificate)
	detached.EnrollID, detached.Params = r.EnrollID, r.Params
	t.wg.Go(func() {
		defer func() {
			// Outside of the request's goroutine nobody else catches it.
			if cause := recover(); cause != nil {
				t.log.Error("observer panicked", "enrollment", r.ID, "cause", cause, "stack", string(debug.Stack()))
			}
			<-t.slots
		}()
		if err := show(detached); err != nil {
			t.log.Warn("observer failed", "enrollment", r.ID, "error", err)
		}
	})
}

// Authenticate implements service.Checkin.
func (t *Tee) Authenticate(r *mdm.Request, m *mdm.Authenticate) error {
	err := t.next.Authenticate(r, m)
	t.observe(err, r, func(r *mdm.Request) error { return t.observer.Authenticate(r, m) })
	return err
}

// TokenUpdate implements service.Checkin.
func (t *Tee) TokenUpdate(r *mdm.Request, m *mdm.TokenUpdate) error {
	err := t.next.TokenUpdate(r, m)
	t.observe(err, r, func(r *mdm.Request) error {
		shown := *m
		shown.UnlockToken, shown.Raw = nil, mdmcmd.Redacted(m.Raw)
		return t.observer.TokenUpdate(r, &shown)
	})
	return err
}

// CheckOut implements service.Checkin.
func (t *Tee) CheckOut(r *mdm.Request, m *mdm.CheckOut) error {
	err := t.next.CheckOut(r, m)
	t.observe(err, r, func(r *mdm.Request) error { return t.observer.CheckOut(r, m) })
	return err
}

// SetBootstrapToken implements service.Checkin.
func (t *Tee) SetBootstrapToken(r *mdm.Request, m *mdm.SetBootstrapToken) error {
	err := t.next.SetBootstrapToken(r, m)
	t.observe(err, r, func(r *mdm.Request) error {
		shown := *m
		shown.BootstrapToken, shown.Raw = mdm.BootstrapToken{}, mdmcmd.Redacted(m.Raw)
		return t.observer.SetBootstrapToken(r, &shown)
	})
	return err
}

// GetBootstrapToken implements service.Checkin.
func (t *Tee) GetBootstrapToken(r *mdm.Request, m *mdm.GetBootstrapToken) (*mdm.BootstrapToken, error) {
	token, err := t.next.GetBootstrapToken(r, m)
	t.observe(err, r, func(r *mdm.Request) error { _, err := t.observer.GetBootstrapToken(r, m); return err })
	return token, err
}

// UserAuthenticate implements service.UserAuthenticate.
func (t *Tee) UserAuthenticate(r *mdm.Request, m *mdm.UserAuthenticate) ([]byte, error) {
	answer, err := t.next.UserAuthenticate(r, m)
	t.observe(err, r, func(r *mdm.Request) error { _, err := t.observer.UserAuthenticate(r, m); return err })
	return answer, err
}

// DeclarativeManagement implements service.DeclarativeManagement.
func (t *Tee) DeclarativeManagement(r *mdm.Request, m *mdm.DeclarativeManagement) ([]byte, error) {
	answer, err := t.next.DeclarativeManagement(r, m)
	t.observe(err, r, func(r *mdm.Request) error { _, err := t.observer.DeclarativeManagement(r, m); return err })
	return answer, err
}

// GetToken implements service.GetToken.
func (t *Tee) GetToken(r *mdm.Request, m *mdm.GetToken) (*mdm.GetTokenResponse, error) {
	answer, err := t.next.GetToken(r, m)
	t.observe(err, r, func(r *mdm.Request) error { _, err := t.observer.GetToken(r, m); return err })
	return answer, err
}

// CommandAndReportResults implements service.CommandAndReportResults.
func (t *Tee) CommandAndReportResults(r *mdm.Request, m *mdm.CommandResults) (*mdm.Command, error) {
	cmd, err := t.next.CommandAndReportResults(r, m)
	t.observe(err, r, func(r *mdm.Request) error {
		shown := *m
		shown.Raw = mdmcmd.Redacted(m.Raw)
		_, err := t.observer.CommandAndReportResults(r, &shown)
		return err
	})
	return cmd, err
}

package apple

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/micromdm/nanomdm/mdm"
	"github.com/micromdm/nanomdm/service"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Lifecycle carries enrollment messages out.
type Lifecycle interface {
	Authenticate(ctx context.Context, identity fleet.IdentityID, m fleet.Authenticate) error
	TokenUpdate(ctx context.Context, m fleet.TokenUpdate) error
	CheckOut(ctx context.Context, key fleet.EnrollmentKey) error
	Renewed(ctx context.Context, key fleet.EnrollmentKey, identity fleet.IdentityID) error
	Revive(ctx context.Context, key fleet.EnrollmentKey) error
	// RenewalCommand returns what the device gets for a renewal, which the
	// queue holds without its secret. KindNotFound: it was taken back.
	RenewalCommand(ctx context.Context, key fleet.EnrollmentKey, next fleet.NextCommand) ([]byte, error)
	SetBootstrapToken(ctx context.Context, key fleet.EnrollmentKey, token []byte) error
	BootstrapToken(ctx context.Context, key fleet.EnrollmentKey) ([]byte, error)
}

// Commands is the queue and history.
type Commands interface {
	// Exchange stores a report (nil: Idle) as decide says and takes the next
	// command, in one transaction.
	Exchange(ctx context.Context, enrollment fleet.EnrollmentID, report *fleet.CommandReport, only fleet.CommandPurpose,
		decide func(fleet.CommandTarget) fleet.ReportOutcome) (*fleet.NextCommand, error)
}

// Decide is the pure decision about a report.
type Decide func(t fleet.CommandTarget, r fleet.CommandReport, answer plist.Dict) fleet.ReportOutcome

// Declarations answers the declarative management endpoints.
type Declarations interface {
	// Answer returns the JSON body; nil for an empty one. KindNotFound makes
	// the device drop a declaration.
	Answer(ctx context.Context, sender fleet.Enrollment, endpoint string, data []byte) ([]byte, error)
}

// Service is Muster's own service at NanoMDM's seam.
type Service struct {
	lifecycle    Lifecycle
	commands     Commands
	decide       Decide
	declarations Declarations
	contents     Contents
	refresh      func(context.Context) error
	clock        func() time.Time
}

var _ service.CheckinAndCommandService = (*Service)(nil)

// NewService returns the service. refresh reads the rules again that decide
// goes by.
func NewService(lifecycle Lifecycle, commands Commands, decide Decide, declarations Declarations, contents Contents,
	refresh func(context.Context) error, clock func() time.Time) *Service {
	return &Service{lifecycle: lifecycle, commands: commands, decide: decide, declarations: declarations, contents: contents, refresh: refresh, clock: clock}
}

// Authenticate begins an enrollment.
func (s *Service) Authenticate(r *mdm.Request, _ *mdm.Authenticate) error {
	m, err := messageOf(r.Context())
	if err != nil {
		return err
	}
	msg, err := m.checkin.Authenticate()
	if err != nil {
		return fleet.Errorf(fleet.KindBadRequest, "%s", err.Error())
	}
	return s.lifecycle.Authenticate(r.Context(), m.caller.Identity.ID, msg)
}

// TokenUpdate stores what pushes need.
func (s *Service) TokenUpdate(r *mdm.Request, _ *mdm.TokenUpdate) error {
	m, err := messageOf(r.Context())
	if err != nil {
		return err
	}
	msg, err := m.checkin.TokenUpdate()
	if err != nil {
		return fleet.Errorf(fleet.KindBadRequest, "%s", err.Error())
	}
	return s.lifecycle.TokenUpdate(r.Context(), msg)
}

// CheckOut ends an enrollment.
func (s *Service) CheckOut(r *mdm.Request, _ *mdm.CheckOut) error {
	m, err := messageOf(r.Context())
	if err != nil {
		return err
	}
	return s.lifecycle.CheckOut(r.Context(), m.key)
}

// UserAuthenticate declines to manage network users.
func (s *Service) UserAuthenticate(*mdm.Request, *mdm.UserAuthenticate) ([]byte, error) {
	return nil, declineUser
}

// SetBootstrapToken escrows a bootstrap token.
func (s *Service) SetBootstrapToken(r *mdm.Request, msg *mdm.SetBootstrapToken) error {
	m, err := messageOf(r.Context())
	if err != nil {
		return err
	}
	return s.lifecycle.SetBootstrapToken(r.Context(), m.key, msg.BootstrapToken.BootstrapToken)
}

// GetBootstrapToken returns the escrowed bootstrap token.
func (s *Service) GetBootstrapToken(r *mdm.Request, _ *mdm.GetBootstrapToken) (*mdm.BootstrapToken, error) {
	m, err := messageOf(r.Context())
	if err != nil {
		return nil, err
	}
	// It unlocks a volume: not for an identity that expired, nor for a device
	// that left.
	if m.expired {
		return nil, fleet.Errorf(fleet.KindForbidden, "the certificate expired: a bootstrap token is not given out for it")
	}
	if s := m.caller.Enrollment.State; s == fleet.EnrollmentOff {
		return &mdm.BootstrapToken{}, nil
	}
	token, err := s.lifecycle.BootstrapToken(r.Context(), m.key)
	if err != nil {
		return nil, err
	}
	return &mdm.BootstrapToken{BootstrapToken: token}, nil
}

// DeclarativeManagement answers the device's question about declarations.
func (s *Service) DeclarativeManagement(r *mdm.Request, msg *mdm.DeclarativeManagement) ([]byte, error) {
	m, err := messageOf(r.Context())
	if err != nil {
		return nil, err
	}
	return s.declarations.Answer(r.Context(), m.caller.Enrollment, msg.Endpoint, msg.Data)
}

// GetToken refuses: no token service is configured (contracts/apple.md 1.4).
func (s *Service) GetToken(_ *mdm.Request, msg *mdm.GetToken) (*mdm.GetTokenResponse, error) {
	return nil, service.NewHTTPStatusError(http.StatusBadRequest,
		fleet.Errorf(fleet.KindBadRequest, "there is no token service of type %.80q", msg.TokenServiceType))
}

// ReturnToService tells a device that it need not come back by itself.
func (s *Service) ReturnToService(context.Context, fleet.EnrollmentKey) ([]byte, error) {
	return plist.Marshal(map[string]any{"ReturnToService": map[string]any{"Enabled": false}})
}

// CommandAndReportResults stores a report and hands out the next command.
func (s *Service) CommandAndReportResults(r *mdm.Request, results *mdm.CommandResults) (*mdm.Command, error) {
	ctx := r.Context()
	m, err := messageOf(ctx)
	if err != nil {
		return nil, err
	}
	if m.caller.Enrollment.HostID == 0 {
		if err := s.lifecycle.Revive(ctx, m.key); err != nil {
			return nil, err
		}
	}
	var report *fleet.CommandReport
	var decide func(fleet.CommandTarget) fleet.ReportOutcome
	if status, ok := mdmcmd.ParseStatus(results.Status); ok {
		report = &fleet.CommandReport{Key: m.key, Identity: m.caller.Identity.ID, CommandUUID: results.CommandUUID, Status: status,
			ErrorChain: mdmcmd.ErrorChain(m.report.Dict), Body: m.report.Raw, At: s.clock()}
		if part := mdmcmd.RefetchPart(results.CommandUUID); part != 0 && status == fleet.CommandAcknowledged {
			report.Inventory = mdmcmd.Inventory(part, m.report.Dict) // lists are long: not while others wait for the store
		}
		decide = func(t fleet.CommandTarget) fleet.ReportOutcome { return s.decide(t, *report, m.report.Dict) }
	}
	// An expired identity gets nothing but the command that renews it.
	only := fleet.CommandPurpose(0)
	if m.expired {
		only = fleet.CommandRenew
	}
	for range maxUnfilled {
		next, err := s.exchange(ctx, m.caller.Enrollment.ID, report, only, decide)
		if err != nil || next == nil {
			return nil, err
		}
		body, err := s.filled(ctx, m.key, next)
		if err == nil {
			return &mdm.Command{CommandUUID: next.UUID, Raw: body}, nil
		}
		var shown *fleet.Error
		if !errors.As(err, &shown) {
			return nil, err
		}
		report, decide = s.unfilled(m, next.UUID, shown)
	}
	return nil, nil
}

// filled is the body of a command as the device gets it.
func (s *Service) filled(ctx context.Context, key fleet.EnrollmentKey, next *fleet.NextCommand) ([]byte, error) {
	switch {
	case next.Purpose == fleet.CommandRenew:
		return s.lifecycle.RenewalCommand(ctx, key, *next)
	case next.Expand:
		return s.contents.Command(ctx, next)
	}
	return next.Body, nil
}

// exchange carries a report out. Where another replica has planned items that
// are not known here yet, the rules are read again first.
func (s *Service) exchange(ctx context.Context, id fleet.EnrollmentID, report *fleet.CommandReport, only fleet.CommandPurpose,
	decide func(fleet.CommandTarget) fleet.ReportOutcome) (*fleet.NextCommand, error) {
	next, err := s.commands.Exchange(ctx, id, report, only, decide)
	if !errors.Is(err, fleet.ErrStaleRules) {
		return next, err
	}
	if err := s.refresh(ctx); err != nil {
		return nil, err
	}
	return s.commands.Exchange(ctx, id, report, only, decide)
}

// maxUnfilled bounds the commands of one exchange whose variables have lost
// their values since they were planned.
const maxUnfilled = 20

// unfilled is the report that stands for a command which could not be handed
// out: the item counts as refused, with our reason.
func (s *Service) unfilled(m *message, uuid string, reason *fleet.Error) (*fleet.CommandReport, func(fleet.CommandTarget) fleet.ReportOutcome) {
	report := &fleet.CommandReport{Key: m.key, Identity: m.caller.Identity.ID, CommandUUID: uuid, Status: fleet.CommandError, At: s.clock(),
		ErrorChain: []fleet.ErrorChainItem{{Domain: "Muster", USEnglish: reason.Error()}}, Body: []byte{}}
	return report, func(t fleet.CommandTarget) fleet.ReportOutcome { return s.decide(t, *report, plist.Dict{}) }
}

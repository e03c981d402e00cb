package apple

import (
	"context"
	"net/http"

	"github.com/micromdm/nanomdm/mdm"
	"github.com/micromdm/nanomdm/service"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

// returnToServicer is what a service may offer beyond NanoMDM's interface:
// the ReturnToService message of iOS 26.
type returnToServicer interface {
	ReturnToService(ctx context.Context, key fleet.EnrollmentKey) ([]byte, error)
}

func sender(m *message) mdm.Enrollment {
	d := m.dict()
	return mdm.Enrollment{UDID: d.Text("UDID"), UserID: d.Text("UserID"), UserShortName: d.Text("UserShortName"),
		UserLongName: d.Text("UserLongName"), EnrollmentID: d.Text("EnrollmentID"), EnrollmentUserID: d.Text("EnrollmentUserID")}
}

func (m *message) dict() plist.Dict {
	if m.checkin != nil {
		return m.checkin.Dict
	}
	return m.report.Dict
}

// checkin builds NanoMDM's message of the type and calls the service.
func (h *Handler) checkin(r *mdm.Request, m *message) ([]byte, error) {
	d, raw, e := m.checkin.Dict, m.checkin.Raw, sender(m)
	t := mdm.MessageType{MessageType: m.checkin.Type}
	switch m.checkin.Type {
	case "Authenticate":
		return nil, h.service.Authenticate(r, &mdm.Authenticate{Enrollment: e, MessageType: t, Topic: d.Text("Topic"), Raw: raw, SerialNumber: d.Text("SerialNumber")})
	case "TokenUpdate":
		msg := &mdm.TokenUpdate{Enrollment: e, MessageType: t, UnlockToken: d["UnlockToken"].Data(), Raw: raw}
		msg.PushMagic, msg.Topic, msg.Token = d.Text("PushMagic"), d.Text("Topic"), d["Token"].Data()
		return nil, h.service.TokenUpdate(r, msg)
	case "CheckOut":
		return nil, h.service.CheckOut(r, &mdm.CheckOut{Enrollment: e, MessageType: t, Raw: raw})
	case "UserAuthenticate":
		return h.service.UserAuthenticate(r, &mdm.UserAuthenticate{Enrollment: e, MessageType: t, DigestResponse: d.Text("DigestResponse"), Raw: raw})
	case "SetBootstrapToken":
		msg := &mdm.SetBootstrapToken{Enrollment: e, MessageType: t, Raw: raw}
		msg.BootstrapToken.BootstrapToken = d["BootstrapToken"].Data()
		return nil, h.service.SetBootstrapToken(r, msg)
	case "GetBootstrapToken":
		token, err := h.service.GetBootstrapToken(r, &mdm.GetBootstrapToken{Enrollment: e, MessageType: t, Raw: raw})
		if err != nil {
			return nil, err
		}
		answer := map[string]any{}
		if token != nil && len(token.BootstrapToken) > 0 {
			answer["BootstrapToken"] = []byte(token.BootstrapToken)
		}
		return plist.Marshal(answer)
	case "DeclarativeManagement":
		return h.service.DeclarativeManagement(r, &mdm.DeclarativeManagement{Enrollment: e, MessageType: t, Data: d["Data"].Data(), Endpoint: d.Text("Endpoint"), Raw: raw})
	case "GetToken":
		return h.getToken(r, &mdm.GetToken{Enrollment: e, MessageType: t, TokenServiceType: d.Text("TokenServiceType"), Raw: raw})
	case "ReturnToService":
		return h.returnToService(r, m)
	}
	return nil, fleet.Errorf(fleet.KindBadRequest, "check-in messages of type %.40q are not known", m.checkin.Type)
}

func (h *Handler) getToken(r *mdm.Request, msg *mdm.GetToken) ([]byte, error) {
	res, err := h.service.GetToken(r, msg)
	if err != nil {
		return nil, err
	}
	return plist.Marshal(map[string]any{"TokenData": res.TokenData})
}

func (h *Handler) returnToService(r *mdm.Request, m *message) ([]byte, error) {
	var s returnToServicer = h.core
	if decorated, ok := h.service.(returnToServicer); ok {
		s = decorated
	}
	return s.ReturnToService(r.Context(), m.key)
}

// command hands the report to the service and returns the next command.
func (h *Handler) command(r *mdm.Request, m *message) ([]byte, error) {
	results := &mdm.CommandResults{Enrollment: sender(m), CommandUUID: m.report.CommandUUID, Status: m.report.Status, Raw: m.report.Raw}
	cmd, err := h.service.CommandAndReportResults(r, results)
	if err != nil || cmd == nil {
		return nil, err
	}
	return cmd.Raw, nil
}

// declineUser tells a Mac that this network user is not managed.
var declineUser = service.NewHTTPStatusError(http.StatusGone, fleet.Errorf(fleet.KindNotFound, "network users are not managed"))

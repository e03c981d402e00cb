package apple

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/muster-mdm/muster/internal/codec/machineinfo"
	"github.com/muster-mdm/muster/internal/codec/mobileconfig"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/httpx"
	"github.com/muster-mdm/muster/internal/kit/ratelimit"
)

// headerDeviceInfo carries MachineInfo where a device opens a page
// (contracts/apple.md 4.6).
const headerDeviceInfo = "x-apple-aspen-deviceinfo"

// typeMachineInfo is the type of a body that holds MachineInfo.
const typeMachineInfo = "application/pkcs7-signature"

// codeUpdateRequired tells a device to update itself and to come back.
const codeUpdateRequired = "com.apple.softwareupdate.required"

// Admission lets devices in that say who they are.
type Admission interface {
	// Automatic returns the signed enrollment profile; KindNotFound: no such
	// enrollment; KindForbidden: not this device; *fleet.UpdateRequired.
	Automatic(ctx context.Context, token string, info fleet.MachineInfo, address string) ([]byte, error)
}

// Setup is the endpoint where Setup Assistant of an automatically enrolled
// device asks for its enrollment profile.
type Setup struct {
	admission Admission
	trusted   machineinfo.Authorities
	serials   *ratelimit.Keyed
}

// setupsPerHour bounds how often a device gets an enrollment profile: what it
// says about itself can be recorded and said again.
const setupsPerHour = 30

// NewSetup returns the endpoint. trusted are the authorities of devices.
func NewSetup(admission Admission, trusted machineinfo.Authorities, clock func() time.Time) *Setup {
	return &Setup{admission: admission, trusted: trusted, serials: ratelimit.New(setupsPerHour, time.Hour, clock)}
}

// ServeHTTP answers GET and POST.
func (s *Setup) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "this is where Setup Assistant of a device asks for its enrollment profile", http.StatusMethodNotAllowed)
		return
	}
	der, err := machineInfoOf(w, r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	info, err := machineinfo.Verify(der, s.trusted)
	if err != nil {
		s.refuse(w, r, fleet.Errorf(fleet.KindBadRequest, "%v: only Apple devices can ask for a profile here", err).WithCause(err))
		return
	}
	httpx.Add(r.Context(), slog.String("serial", info.Serial), slog.String("product", info.Product))
	if wait := s.serials.Take(info.Serial); wait > 0 {
		err := fleet.Errorf(fleet.KindTooMany, "device %.40s asks for too many enrollment profiles: again in %s", info.Serial, wait.Round(time.Second))
		err.RetryAfter = wait
		s.refuse(w, r, err)
		return
	}
	profile, err := s.admission.Automatic(r.Context(), r.URL.Query().Get("token"), info, httpx.Address(r.Context()))
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", mobileconfig.ContentType)
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(profile) // the device asks again
}

// machineInfoOf finds the message: in the body, the header or the query.
func machineInfoOf(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Method == http.MethodPost {
		kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || kind != typeMachineInfo {
			return nil, fleet.Errorf(fleet.KindUnsupported, "the body must be MachineInfo that a device signed, of type %s", typeMachineInfo)
		}
		body, err := httpx.ReadBody(w, r, machineinfo.MaxSize)
		if errors.Is(err, httpx.ErrBodyTooLarge) {
			return nil, fleet.Errorf(fleet.KindTooLarge, "MachineInfo has more than %d bytes", machineinfo.MaxSize)
		}
		if err != nil {
			return nil, fleet.Errorf(fleet.KindBadRequest, "the body did not arrive").WithCause(err)
		}
		return body, nil
	}
	text := r.Header.Get(headerDeviceInfo)
	if text == "" {
		text = r.URL.Query().Get("deviceinfo")
	}
	if text == "" {
		return nil, fleet.Errorf(fleet.KindBadRequest, "there is no MachineInfo: this page is for Setup Assistant of a device, not for a browser")
	}
	der, err := machineinfo.DecodeHeader(text)
	if err != nil {
		return nil, fleet.Errorf(fleet.KindBadRequest, "%v", err).WithCause(err)
	}
	return der, nil
}

// refuse answers with the error. Never 401: a device would give up its
// enrollment.
func (s *Setup) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var update *fleet.UpdateRequired
	if errors.As(err, &update) {
		s.wantUpdate(w, r, update)
		return
	}
	status, text := http.StatusInternalServerError, "something went wrong on the server; the device asks again"
	var e *fleet.Error
	if errors.As(err, &e) {
		text = e.Error()
		switch e.Kind {
		case fleet.KindForbidden:
			status = http.StatusForbidden
		case fleet.KindNotFound:
			status = http.StatusNotFound
		case fleet.KindTooMany:
			status = http.StatusTooManyRequests
			retryAfter(w, e.RetryAfter)
		case fleet.KindTooLarge:
			status = http.StatusRequestEntityTooLarge
		case fleet.KindUnsupported:
			status = http.StatusUnsupportedMediaType
		case fleet.KindPrecondition, fleet.KindUnavailable:
			status = http.StatusServiceUnavailable
		default:
			status = http.StatusBadRequest
		}
	}
	httpx.Add(r.Context(), slog.Any("error", err))
	http.Error(w, text, status)
}

// wantUpdate is the answer that makes a device update itself first
// (contracts/apple.md 1.6, 4.6).
func (s *Setup) wantUpdate(w http.ResponseWriter, r *http.Request, u *fleet.UpdateRequired) {
	type details struct {
		OSVersion    string `json:"OSVersion"`
		BuildVersion string `json:"BuildVersion,omitempty"`
	}
	body, err := json.Marshal(struct {
		Code        string  `json:"code"`
		Description string  `json:"description"`
		Message     string  `json:"message"`
		Details     details `json:"details"`
	}{codeUpdateRequired, u.Error(), "This device needs " + u.OSVersion + " before it can be set up.", details{OSVersion: u.OSVersion}})
	if err != nil {
		http.Error(w, "the answer cannot be written", http.StatusInternalServerError)
		return
	}
	httpx.Add(r.Context(), slog.String("update_required", u.OSVersion))
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(http.StatusForbidden)
	_, _ = w.Write(body) // the device asks again
}

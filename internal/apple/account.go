package apple

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/muster-mdm/muster/internal/codec/mobileconfig"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/httpx"
)

// AccountAdmission lets devices in whose owner signed in.
type AccountAdmission interface {
	// Base is the URL that devices reach the server by.
	Base(ctx context.Context) (string, error)
	// Profile returns the signed enrollment profile. KindUnauthenticated: sign
	// in again.
	Profile(ctx context.Context, token string, der []byte, address string) ([]byte, error)
}

// AccountPaths are the paths that devices are sent to.
type AccountPaths struct{ Enroll, SignIn string }

// Accounts are the endpoints of account-driven enrollment (contracts/apple.md
// 4.7).
type Accounts struct {
	admission AccountAdmission
	paths     AccountPaths
	setup     *Setup // answers errors as it does
}

// NewAccounts returns the endpoints.
func NewAccounts(admission AccountAdmission, paths AccountPaths) *Accounts {
	return &Accounts{admission: admission, paths: paths, setup: &Setup{}}
}

// Discover tells a device where to enroll.
func (a *Accounts) Discover(w http.ResponseWriter, r *http.Request) {
	base, err := a.admission.Base(r.Context())
	if err != nil {
		a.setup.refuse(w, r, err)
		return
	}
	type server struct{ Version, BaseURL string }
	body, err := json.Marshal(struct{ Servers []server }{[]server{{"mdm-byod", base + a.paths.Enroll}}})
	if err != nil {
		a.setup.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(body) // the device asks again
}

// Enroll answers a device that wants its enrollment profile: one whose owner did
// not sign in is sent to do so.
func (a *Accounts) Enroll(w http.ResponseWriter, r *http.Request) {
	token := bearer(r.Header.Get("Authorization"))
	if token == "" {
		a.signIn(w, r, errors.New("no token"))
		return
	}
	der, err := machineInfoOf(w, r)
	if err != nil {
		a.setup.refuse(w, r, err)
		return
	}
	profile, err := a.admission.Profile(r.Context(), token, der, httpx.Address(r.Context()))
	switch {
	case fleet.KindOf(err) == fleet.KindUnauthenticated:
		a.signIn(w, r, err)
		return
	case err != nil:
		a.setup.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", mobileconfig.ContentType)
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(profile) // the device asks again
}

// bearer takes the token out of an Authorization header.
func bearer(header string) string {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// signIn sends the device's owner to the page where people sign in.
func (a *Accounts) signIn(w http.ResponseWriter, r *http.Request, why error) {
	base, err := a.admission.Base(r.Context())
	if err != nil {
		a.setup.refuse(w, r, err)
		return
	}
	httpx.Add(r.Context(), slog.String("sign_in", why.Error()))
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer method="apple-as-web", url=%q`, base+a.paths.SignIn))
	http.Error(w, "sign in first", http.StatusUnauthorized)
}

// signedIn is where a device hears of the token.
const signedIn = "apple-remotemanagement-user-login://authentication-results?access-token="

var signInPage = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>Enroll</title>
<h1>Enroll this device</h1><form><label>Code from your administrator<br><input name="code" autocomplete="one-time-code" required></label> <button>Continue</button></form></html>
`))

// SignIn is the page where a person enters the code that an administrator made.
// It only hands the code to the device: whether it is good is judged when the
// device comes with it.
func (a *Accounts) SignIn(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if code := strings.TrimSpace(r.URL.Query().Get("code")); code != "" {
		w.Header().Set("Location", signedIn+url.QueryEscape(code))
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = signInPage.Execute(w, nil) // the page is asked for again
}

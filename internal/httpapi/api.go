package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/httpx"
	"github.com/muster-mdm/muster/internal/kit/ratelimit"
)

// Options are what the API is made of. Ports are required; limits of zero
// take the defaults.
type Options struct {
	Access      Access
	Users       Users
	Sessions    Sessions
	Hosts       Hosts
	Inventories Inventories
	Commands    Commands
	Actions     Actions
	Enrollments Enrollments
	Push        Push
	Guardian    Guardian
	Renewer     Renewer
	Settings    Settings
	Explainer   Explainer
	Planner     Planner
	Histories   Histories
	Teams       Teams
	Secrets     EnrollSecrets
	Labels      Labels
	Profiles    Profiles
	// ServerTokens and Assistants are about Apple's device enrollment service.
	ServerTokens ServerTokens
	Assistants   SetupAssistants
	Setups       Setups
	Packages     Packages
	OverTheAir   OverTheAir
	Accounts     Accounts
	Version      apiv1.Version
	Now          func() time.Time // nil: time.Now

	BodyBytes          int // largest body of a request without an upload; 0: DefaultBodyBytes
	PageSize           int // most rows in one page, and as many without per_page; 0: DefaultPageSize
	CommandTargets     int // most hosts of one command; 0: DefaultCommandTargets
	EnrollmentsPerHour int // profile downloads per address; 0: DefaultEnrollmentsPerHour
}

// Defaults of Options, and bounds that are not configured.
const (
	DefaultBodyBytes          = 1 << 20
	DefaultPageSize           = 10_000
	DefaultCommandTargets     = 100_000
	DefaultEnrollmentsPerHour = 600
	// uploadBytes bounds the files of a certificate upload together.
	uploadBytes = 1 << 20
	// commandBytes bounds a command: the largest that devices take, in base64,
	// and the UUIDs of very many hosts.
	commandBytes = 16 << 20
	// profileBytes bounds an upload; the profile in it is bounded where it is
	// read.
	profileBytes = 2 << 20
	// batchBytes bounds all profiles of a team, in base64.
	batchBytes = 64 << 20
	// hostsBytes bounds the ids or names of very many hosts.
	hostsBytes = 16 << 20
	// loginBytes bounds what anybody may send.
	loginBytes = 16 << 10
	// bodyTimeout is how long a body may take to arrive.
	bodyTimeout = 30 * time.Second
)

// api holds the handlers.
type api struct {
	access       Access
	users        Users
	sessions     Sessions
	hosts        Hosts
	inventories  Inventories
	commands     Commands
	actions      Actions
	enrollments  Enrollments
	push         Push
	guardian     Guardian
	renewer      Renewer
	settings     Settings
	explainer    Explainer
	planner      Planner
	histories    Histories
	teams        Teams
	secrets      EnrollSecrets
	labels       Labels
	profiles     Profiles
	serverTokens ServerTokens
	assistants   SetupAssistants
	setups       Setups
	packages     Packages
	overTheAir   OverTheAir
	accounts     Accounts
	version      apiv1.Version
	now          func() time.Time

	bodyBytes, pageSize, commandTargets int
	downloads                           *ratelimit.Keyed
}

// API is the REST API as an HTTP handler.
type API struct {
	main *http.ServeMux
	// exact is asked first for paths that contain one of its markers: ServeMux
	// refuses hosts/identifier/{x} next to hosts/{id}/mdm.
	exact   *http.ServeMux
	openAPI func() ([]byte, error) // made when it is first asked for
}

// exactMarkers are parts of every path in API.exact.
func exactMarkers() [2]string {
	return [2]string{"/hosts/identifier/", "/configuration_profiles/resend/"}
}

// muxOf is the mux for a path.
func (s *API) muxOf(path string) *http.ServeMux {
	for _, marker := range exactMarkers() {
		if strings.Contains(path, marker) {
			return s.exact
		}
	}
	return s.main
}

// New builds the API.
func New(o Options) (*API, error) {
	takeErrors()
	a := &api{
		access: o.Access, users: o.Users, sessions: o.Sessions, hosts: o.Hosts, inventories: o.Inventories, commands: o.Commands, actions: o.Actions,
		enrollments: o.Enrollments, push: o.Push, guardian: o.Guardian, renewer: o.Renewer, settings: o.Settings, version: o.Version, now: o.Now,
		explainer: o.Explainer, planner: o.Planner, histories: o.Histories,
		teams: o.Teams, secrets: o.Secrets, labels: o.Labels, profiles: o.Profiles,
		serverTokens: o.ServerTokens, assistants: o.Assistants, setups: o.Setups, packages: o.Packages, overTheAir: o.OverTheAir, accounts: o.Accounts,
		bodyBytes:      orDefault(o.BodyBytes, DefaultBodyBytes),
		pageSize:       orDefault(o.PageSize, DefaultPageSize),
		commandTargets: orDefault(o.CommandTargets, DefaultCommandTargets),
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.downloads = ratelimit.New(orDefault(o.EnrollmentsPerHour, DefaultEnrollmentsPerHour), time.Hour, a.now)
	out := &API{main: http.NewServeMux(), exact: http.NewServeMux()}
	h := huma.NewAPI(humaConfig(), out)
	for _, rt := range a.routes() {
		a.register(h, rt)
	}
	for _, schema := range h.OpenAPI().Components.Schemas.Map() {
		// It is what absence means, and generated clients are better without.
		if schema.AdditionalProperties == true {
			schema.AdditionalProperties = nil
		}
	}
	out.openAPI = sync.OnceValues(func() ([]byte, error) {
		document, err := json.MarshalIndent(h.OpenAPI(), "", "  ")
		if err != nil {
			return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
		}
		return append(document, '\n'), nil
	})
	out.serveDocs()
	out.main.HandleFunc("/", out.notFound)
	out.exact.HandleFunc("/", out.notFound)
	return out, nil
}

func orDefault(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

func humaConfig() huma.Config {
	config := huma.DefaultConfig("Muster", "v1")
	config.Info.Description = "The REST API of Muster. Paths under /api/v1/fleet are also served under /api/2022-04/fleet and /api/latest/fleet."
	// Clients send keys that we do not know, and they must not fail for it.
	config.AllowAdditionalPropertiesByDefault = true
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no $schema in answers
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "The token of a login or of an API-only user"},
	}
	return config
}

// Handle implements huma.Adapter.
func (s *API) Handle(op *huma.Operation, handler func(huma.Context)) {
	others, _ := op.Metadata[otherPaths].([]string)
	for _, path := range append([]string{op.Path}, others...) {
		s.muxOf(path).HandleFunc(op.Method+" "+path, func(w http.ResponseWriter, r *http.Request) {
			handler(humago.NewContext(op, r, w))
		})
	}
}

// ServeHTTP answers every path of the API; others with 404 in JSON.
func (s *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.muxOf(r.URL.Path).ServeHTTP(w, r)
}

// Mount puts the API on the server's mux.
func (s *API) Mount(mux *http.ServeMux) {
	for _, pattern := range []string{"/api/", "/version", "/mdm/apple/enroll/"} {
		mux.Handle(pattern, s)
	}
}

// OpenAPI is the OpenAPI 3.1 document of the API.
func (s *API) OpenAPI() ([]byte, error) { return s.openAPI() }

// notFound tells an unknown path from a known one with another method.
func (s *API) notFound(w http.ResponseWriter, r *http.Request) {
	mux := s.muxOf(r.URL.Path)
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := mux.Handler(probe); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeError(w, r, &apiError{status: http.StatusMethodNotAllowed, body: apiv1.Error{
			Message: http.StatusText(http.StatusMethodNotAllowed),
			Errors:  []apiv1.FieldError{{Name: "base", Reason: "This path takes " + strings.Join(allowed, ", ") + "."}},
		}})
		return
	}
	writeError(w, r, fleet.Errorf(fleet.KindNotFound, "There is no such path. The paths are listed at /api/docs."))
}

type viewerKey struct{}

// viewerOf is who is asking; the zero viewer on open routes.
func viewerOf(ctx context.Context) fleet.Viewer {
	v, _ := ctx.Value(viewerKey{}).(fleet.Viewer)
	return v
}

func actorOf(ctx context.Context) fleet.Actor { return viewerOf(ctx).Actor() }

// guard stands before every handler: who is it, may they, and how much may
// they send.
func (a *api) guard(rt route) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		if rt.permission != Open {
			viewer, err := a.admit(r, rt.permission)
			if err != nil {
				writeError(w, r, err)
				return
			}
			ctx = huma.WithValue(ctx, viewerKey{}, viewer)
			r, w = humago.Unwrap(ctx)
		}
		if rt.form != nil {
			next(huma.WithValue(ctx, exchangeKey{}, exchange{w, r}))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, int64(a.limitOf(rt)))
		if err := prepareBody(r, rt, int64(a.limitOf(rt))); err != nil {
			writeError(w, r, err)
			return
		}
		next(ctx)
	}
}

func (a *api) limitOf(rt route) int {
	if rt.bodyBytes != 0 {
		return rt.bodyBytes
	}
	return a.bodyBytes
}

func (a *api) admit(r *http.Request, permission Permission) (fleet.Viewer, error) {
	ctx := r.Context()
	viewer, err := a.access.Authenticate(ctx, bearer(r.Header.Get("Authorization")), httpx.Address(ctx))
	if err != nil {
		return fleet.Viewer{}, err
	}
	httpx.Add(ctx, slog.Int64("user_id", int64(viewer.User.ID)))
	if a.access.Can(viewer, string(permission)) {
		return viewer, nil
	}
	if viewer.User.ForceReset {
		return fleet.Viewer{}, fleet.Errorf(fleet.KindForbidden, "Password reset required: set a new password first.")
	}
	return fleet.Viewer{}, fleet.Errorf(fleet.KindForbidden, "The role %s lacks the permission %s.", viewer.User.Role, permission)
}

// bearer takes the token out of an Authorization header.
func bearer(header string) string {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// prepareBody reads uploads into memory, because they hold keys that must not
// touch a disk, and takes any other body for JSON, as curl -d sends it.
func prepareBody(r *http.Request, rt route, limit int64) error {
	if !rt.multipart {
		if r.Body != http.NoBody {
			r.Header.Set("Content-Type", "application/json")
		}
		return nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return fleet.Errorf(fleet.KindUnsupported, "Send the files as multipart/form-data.")
	}
	err = httpx.BodyError(r.ParseMultipartForm(limit))
	if err == httpx.ErrBodyTooLarge { //nolint:errorlint // BodyError returns the value itself
		return fleet.Errorf(fleet.KindTooLarge, "The files are larger than %d bytes together.", limit)
	}
	if err != nil {
		return fleet.Errorf(fleet.KindBadRequest, "The multipart form could not be read.").WithCause(err)
	}
	return nil
}

// binding registers a typed handler for an operation.
type binding func(api huma.API, op huma.Operation)

// handle binds a handler; its errors get Fleet's shape.
func handle[I, O any](fn func(context.Context, *I) (*O, error)) binding {
	return func(api huma.API, op huma.Operation) {
		huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
			out, err := fn(ctx, in)
			if err != nil {
				return nil, answerOf(ctx, err)
			}
			return out, nil
		})
	}
}

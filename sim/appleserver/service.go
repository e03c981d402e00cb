package appleserver

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Headers of contracts/apple.md 4.2.
const (
	headerSession = "X-ADM-Auth-Session"
	headerVersion = "X-Server-Protocol-Version"
)

// typeJSON is the media type of the service.
const typeJSON = "application/json;charset=UTF8"

// Codes of refusals that more than one endpoint gives.
const (
	codeMalformed = "MALFORMED_REQUEST_BODY"
	codeNotFound  = "NOT_FOUND"
)

// refusal is an answer other than 200: a status and, as the body, a code.
type refusal struct {
	status int
	code   string
}

func badRequest(code string) *refusal { return &refusal{http.StatusBadRequest, code} }

// admSession is what X-ADM-Auth-Session stands for.
type admSession struct {
	server  *mdmServer
	issued  time.Time
	expires time.Time
}

// caller is who calls, and what with.
type caller struct {
	server  *mdmServer
	version int // X-Server-Protocol-Version; 1 when it is not said
	now     time.Time
}

// endpoint answers a call with a value to be encoded, or refuses. It is called
// with mu held.
type endpoint func(c caller, r *http.Request, body []byte) (any, *refusal)

// serviceHandler is the face of MDM servers.
func (e *Enrollment) serviceHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /session", func(w http.ResponseWriter, r *http.Request) { e.answer(w, r, e.openSession) })
	for pattern, f := range map[string]endpoint{
		"GET /account":                e.account,
		"POST /server/devices":        e.fetch,
		"POST /devices/sync":          e.sync,
		"POST /devices":               e.details,
		"POST /devices/disown":        e.disown,
		"POST /profile":               e.defineProfile,
		"GET /profile":                e.readProfile,
		"POST /profile/devices":       e.assignProfile,
		"PUT /profile/devices":        e.assignProfile,
		"DELETE /profile/devices":     e.removeProfile,
		"POST /device/activationlock": e.activationLock,
		"GET /os-beta-enrollment/tokens": func(caller, *http.Request, []byte) (any, *refusal) {
			return nil, &refusal{http.StatusForbidden, "APPLE_SEED_FOR_IT_TURNED_OFF"}
		},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { e.answer(w, r, e.inSession(f)) })
	}
	return mux
}

// step makes an answer; it may set headers.
type step func(w http.ResponseWriter, r *http.Request, body []byte) (any, *refusal)

// answer reads a request, has the planned faults happen, and writes what f says.
func (e *Enrollment) answer(w http.ResponseWriter, r *http.Request, f step) {
	e.mu.Lock()
	e.calls[r.Method+" "+r.URL.Path]++
	e.mu.Unlock()
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBody+1))
	if err != nil {
		return // the client is gone
	}
	fault := e.plans.take(r.URL.Path)
	if fault.Delay > 0 {
		select {
		case <-time.After(fault.Delay):
		case <-r.Context().Done():
			return
		}
	}
	var value any
	refused := fault.refusal()
	switch {
	case refused != nil:
	case len(body) > maxRequestBody:
		refused = badRequest(codeMalformed)
	case len(r.Header.Values("User-Agent")) == 0 || r.Header.Get("User-Agent") == "":
		refused = badRequest("USER_AGENT_MISSING")
	default:
		e.mu.Lock()
		value, refused = f(w, r, body)
		e.mu.Unlock()
	}
	if refused != nil {
		w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
		w.WriteHeader(refused.status)
		_, err = io.WriteString(w, refused.code)
	} else {
		err = e.write(w, value, fault.Truncate)
	}
	if err != nil {
		e.log.Debug("enrollment service: client is gone", slog.Any("error", err))
	}
}

// write encodes an answer, or half of it.
func (e *Enrollment) write(w http.ResponseWriter, value any, truncate bool) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if e.plans.surprising() && bytes.HasPrefix(text, []byte("{")) && !bytes.Equal(text, []byte("{}")) {
		text = append([]byte(`{"simulated_future_field":{"of":["a","later","version"]},`), text[1:]...)
	}
	if truncate {
		text = text[:len(text)/2]
	}
	w.Header().Set("Content-Type", typeJSON)
	_, err = w.Write(text)
	return err
}

// openSession is GET /session.
func (e *Enrollment) openSession(_ http.ResponseWriter, r *http.Request, _ []byte) (any, *refusal) {
	s, refused := e.authorize(r)
	if refused != nil {
		return nil, refused
	}
	if !e.terms {
		return nil, &refusal{http.StatusForbidden, "T_C_NOT_SIGNED"}
	}
	return map[string]string{"auth_session_token": e.newSession(s)}, nil
}

// newSession issues a session and forgets those that have long expired. Call it
// with mu held.
func (e *Enrollment) newSession(s *mdmServer) string {
	now := e.clock()
	for token, old := range e.sessions {
		// For a while an expired one is told from one that never was.
		if now.Sub(old.expires) > time.Hour {
			delete(e.sessions, token)
		}
	}
	token := rand.Text() + rand.Text()
	e.sessions[token] = &admSession{server: s, issued: now, expires: now.Add(e.life)}
	return token
}

// endSessions expires the sessions of a server. Call it with mu held.
func (e *Enrollment) endSessions(s *mdmServer) {
	for _, old := range e.sessions {
		if old.server == s && old.expires.After(e.clock()) {
			old.expires = e.clock()
		}
	}
}

// ExpireSessions makes all sessions expire now.
func (e *Enrollment) ExpireSessions() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.order {
		e.endSessions(s)
	}
}

// inSession checks what all endpoints but /session want first.
func (e *Enrollment) inSession(f endpoint) step {
	return func(w http.ResponseWriter, r *http.Request, body []byte) (any, *refusal) {
		s := e.sessions[r.Header.Get(headerSession)]
		now := e.clock()
		switch {
		case s == nil:
			return nil, &refusal{http.StatusForbidden, "FORBIDDEN"}
		case !now.Before(s.expires):
			return nil, &refusal{http.StatusUnauthorized, "UNAUTHORIZED"}
		case !e.terms:
			return nil, &refusal{http.StatusForbidden, "T_C_NOT_SIGNED"}
		}
		version := 1
		if text := r.Header.Get(headerVersion); text != "" {
			var err error
			version, err = strconv.Atoi(text)
			if err != nil || version < 1 {
				return nil, badRequest("INVALID_PROTOCOL_VERSION")
			}
		}
		if len(body) > 0 && !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
			return nil, badRequest(codeMalformed)
		}
		if now.Sub(s.issued) > e.life/2 {
			w.Header().Set(headerSession, e.newSession(s.server))
			s.issued = now // one successor is enough
		}
		return f(caller{server: s.server, version: version, now: now}, r, body)
	}
}

// account is GET /account.
func (e *Enrollment) account(c caller, _ *http.Request, _ []byte) (any, *refusal) {
	out := map[string]any{
		"server_name": c.server.name, "server_uuid": c.server.uuid,
		"admin_id": "it@example.com", "facilitator_id": "it@example.com",
		"org_name": "Example Inc.", "org_email": "it@example.com", "org_phone": "+1 555 0100", "org_address": "1 Example Street",
	}
	if c.version >= 3 {
		out["org_id"], out["org_id_hash"], out["org_type"], out["org_version"] = e.orgID, hashed(e.orgID), "org", "v2"
		limit := map[string]int{"default": defaultPage, "maximum": maxPage}
		calls := map[string]int{"default": maxPage, "maximum": maxPage}
		out["urls"] = []map[string]any{
			{"uri": "/server/devices", "http_method": "POST", "limit": limit},
			{"uri": "/devices/sync", "http_method": "POST", "limit": limit},
			{"uri": "/devices", "http_method": "POST", "limit": calls},
			{"uri": "/profile/devices", "http_method": "PUT", "limit": calls},
			{"uri": "/profile/devices", "http_method": "POST", "limit": calls},
			{"uri": "/profile/devices", "http_method": "DELETE", "limit": calls},
			{"uri": "/devices/disown", "http_method": "POST", "limit": calls},
		}
	}
	return out, nil
}

// decode reads a request's body into v; fields that v does not have are ignored.
func decode(body []byte, v any) *refusal {
	err := json.Unmarshal(body, v)
	if err == nil {
		return nil
	}
	return badRequest(codeMalformed)
}

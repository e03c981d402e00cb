package appleserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
)

// depProfile is an enrollment profile as a server defined it. It never changes.
type depProfile struct {
	uuid string
	text json.RawMessage // without devices
}

// profileLimits are the lengths in characters of texts, and the code when one is
// longer.
func profileLimits() map[string]struct {
	max  int
	code string
} {
	type limit = struct {
		max  int
		code string
	}
	return map[string]limit{
		"profile_name": {125, "CONFIG_NAME_INVALID"}, "url": {2000, "CONFIG_URL_INVALID"},
		"configuration_web_url": {2000, "CONFIG_URL_INVALID"},
		"department":            {125, "DEPARTMENT_INVALID"}, "org_magic": {256, "MAGIC_INVALID"},
		"support_phone_number": {50, "SUPPORT_PHONE_INVALID"}, "support_email_address": {250, "SUPPORT_EMAIL_INVALID"},
	}
}

// judgeProfile says what is wrong with a profile; keys that nobody knows are
// fine.
func judgeProfile(p map[string]any) *refusal {
	for key, limit := range profileLimits() {
		value, is := p[key]
		text, ok := value.(string)
		if is && (!ok || len([]rune(text)) > limit.max) {
			return badRequest(limit.code)
		}
	}
	name, _ := p["profile_name"].(string)
	if strings.TrimSpace(name) == "" {
		return badRequest("CONFIG_NAME_REQUIRED")
	}
	address, _ := p["url"].(string)
	if address == "" {
		return badRequest("CONFIG_URL_REQUIRED")
	}
	for _, key := range []string{"url", "configuration_web_url"} {
		text, is := p[key].(string)
		u, err := url.Parse(text)
		// Apple wants https; loopback is excused.
		if is && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
			return badRequest("CONFIG_URL_INVALID")
		}
	}
	for _, key := range []string{"is_supervised", "is_mandatory", "is_mdm_removable", "is_multi_user", "await_device_configured",
		"auto_advance_setup", "allow_pairing", "is_return_to_service", "do_not_use_profile_from_backup"} {
		value, is := p[key]
		if _, ok := value.(bool); is && !ok {
			return badRequest("FLAGS_INVALID")
		}
	}
	if p["is_supervised"] == false && p["is_mdm_removable"] == false {
		return badRequest("FLAGS_INVALID")
	}
	return nil
}

// defineProfile is POST /profile.
func (e *Enrollment) defineProfile(c caller, _ *http.Request, body []byte) (any, *refusal) {
	var req devicesRequest
	if refused := decode(body, &req); refused != nil {
		return nil, refused
	}
	if len(req.Devices) > maxPage {
		return nil, badRequest(codeMalformed)
	}
	p, refused := e.define(c, body)
	if refused != nil {
		return nil, refused
	}
	return e.assignAll(c, p, req.Devices), nil
}

// define keeps a profile, whose devices are nothing of it.
func (e *Enrollment) define(c caller, body []byte) (*depProfile, *refusal) {
	var p map[string]any
	if refused := decode(body, &p); refused != nil {
		return nil, refused
	}
	if refused := judgeProfile(p); refused != nil {
		return nil, refused
	}
	if len(c.server.profiles) >= maxProfiles {
		return nil, badRequest(codeMalformed)
	}
	delete(p, "devices")
	d := &depProfile{uuid: strings.ToUpper(strings.ReplaceAll(uuid.NewString(), "-", ""))}
	p["profile_uuid"] = d.uuid
	text, err := json.Marshal(p)
	if err != nil {
		return nil, badRequest(codeMalformed)
	}
	d.text = text
	c.server.profiles[d.uuid] = d
	return d, nil
}

// readProfile is GET /profile.
func (e *Enrollment) readProfile(c caller, r *http.Request, _ []byte) (any, *refusal) {
	id := r.URL.Query().Get("profile_uuid")
	if id == "" {
		return nil, badRequest("PROFILE_UUID_REQUIRED")
	}
	p := c.server.profiles[id]
	if p == nil {
		return nil, &refusal{http.StatusNotFound, codeNotFound}
	}
	return p.text, nil
}

// assignProfile is POST and PUT /profile/devices.
func (e *Enrollment) assignProfile(c caller, _ *http.Request, body []byte) (any, *refusal) {
	req, refused := readDevices(body)
	if refused != nil {
		return nil, refused
	}
	if req.ProfileUUID == "" {
		return nil, badRequest("PROFILE_UUID_REQUIRED")
	}
	p := c.server.profiles[req.ProfileUUID]
	if p == nil {
		return nil, &refusal{http.StatusNotFound, codeNotFound}
	}
	return e.assignAll(c, p, req.Devices), nil
}

// assignAll assigns a profile and makes the answer.
func (e *Enrollment) assignAll(c caller, p *depProfile, serials []string) any {
	out := make(map[string]string, len(serials))
	throttled := false
	for _, serial := range serials {
		out[serial] = e.assignOne(c, p, serial)
		throttled = throttled || out[serial] == statusThrottled
	}
	answer := map[string]any{"profile_uuid": p.uuid, "devices": out}
	if wait := e.plans.retryAfter(); throttled && wait > 0 && c.version >= 10 {
		answer["retry_after_seconds"] = int(wait / time.Second)
	}
	return answer
}

// assignOne assigns a profile to a device, or says why not.
func (e *Enrollment) assignOne(c caller, p *depProfile, serial string) string {
	r := e.of(c.server, serial)
	switch {
	case r == nil:
		return statusNotAccessible
	case e.plans.use(&e.plans.failed):
		return statusFailed
	case e.plans.use(&e.plans.throttled):
		if c.version < 9 {
			return statusFailed
		}
		return statusThrottled
	}
	r.profile, r.status, r.assigned, r.pushed = p, profileAssigned, c.now, time.Time{}
	r.changed(c.now)
	return statusSuccess
}

// removeProfile is DELETE /profile/devices.
func (e *Enrollment) removeProfile(c caller, _ *http.Request, body []byte) (any, *refusal) {
	req, refused := readDevices(body)
	if refused != nil {
		return nil, refused
	}
	out := make(map[string]string, len(req.Devices))
	for _, serial := range req.Devices {
		r := e.of(c.server, serial)
		if r == nil {
			out[serial] = statusNotAccessible
			continue
		}
		out[serial] = statusSuccess
		if r.profile != nil {
			r.profile, r.status, r.assigned, r.pushed = nil, profileRemoved, time.Time{}, time.Time{}
			r.changed(c.now)
		}
	}
	return map[string]any{"devices": out}, nil
}

// AssignProfile defines a profile and assigns it to devices as their MDM server
// would, for tests of devices without one. It is JSON as in /profile.
func (e *Enrollment) AssignProfile(server string, profile []byte, serials ...string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.server(server)
	if err != nil {
		return err
	}
	c := caller{server: s, version: protocolVersion, now: e.clock()}
	id, refused := e.define(c, profile)
	if refused != nil {
		return fmt.Errorf("profile: %s", refused.code)
	}
	for _, serial := range serials {
		status := e.assignOne(c, id, serial)
		if status != statusSuccess {
			return fmt.Errorf("assign a profile to %s: %s", serial, status)
		}
	}
	return nil
}

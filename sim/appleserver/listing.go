package appleserver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"
)

// cursor is where a server is in its lists. It travels as an opaque text that
// only this service can make.
type cursor struct {
	Server string    `json:"s"`
	Fetch  bool      `json:"f"` // of a fetch that is not at its end
	Ended  bool      `json:"e"` // of a fetch that is
	Place  int64     `json:"p"` // of the last device, while Fetch
	Seq    int64     `json:"o"` // of the last operation that is known
	Issued time.Time `json:"t"`
	Salt   int64     `json:"n"` // no two cursors are equal
}

// seal makes the text of a cursor.
func (e *Enrollment) seal(c cursor) string {
	c.Salt = c.Issued.UnixNano()
	text, err := json.Marshal(c)
	if err != nil {
		return "" // a struct of plain fields
	}
	mac := hmac.New(sha256.New, e.secret)
	mac.Write(text)
	return base64.RawURLEncoding.EncodeToString(append(text, mac.Sum(nil)...))
}

// open reads the text of a cursor of a server.
func (e *Enrollment) open(text, server string) (cursor, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) < sha256.Size {
		return cursor{}, false
	}
	body, sum := raw[:len(raw)-sha256.Size], raw[len(raw)-sha256.Size:]
	mac := hmac.New(sha256.New, e.secret)
	mac.Write(body)
	var c cursor
	if !hmac.Equal(sum, mac.Sum(nil)) || json.Unmarshal(body, &c) != nil || c.Server != server {
		return cursor{}, false
	}
	return c, true
}

// listRequest is the body of /server/devices and /devices/sync.
type listRequest struct {
	Cursor string `json:"cursor"`
	Limit  *int   `json:"limit"`
}

// listAnswer is a page.
type listAnswer struct {
	Cursor       string        `json:"cursor"`
	FetchedUntil time.Time     `json:"fetched_until"`
	MoreToFollow bool          `json:"more_to_follow"`
	Devices      []deviceEntry `json:"devices"`
}

// deviceEntry is a device record (contracts/apple.md 4.4).
type deviceEntry struct {
	Serial         string     `json:"serial_number"`
	Model          string     `json:"model"`
	Description    string     `json:"description"`
	Color          string     `json:"color"`
	AssetTag       string     `json:"asset_tag,omitempty"`
	ProfileStatus  string     `json:"profile_status"`
	ProfileUUID    string     `json:"profile_uuid,omitempty"`
	ProfileAssign  *time.Time `json:"profile_assign_time,omitempty"`
	ProfilePush    *time.Time `json:"profile_push_time,omitempty"`
	Assigned       *time.Time `json:"device_assigned_date,omitempty"`
	AssignedBy     string     `json:"device_assigned_by,omitempty"`
	Family         string     `json:"device_family,omitempty"`
	OS             string     `json:"os,omitempty"`
	Deadline       *time.Time `json:"mdm_migration_deadline,omitempty"`
	OpType         opType     `json:"op_type,omitempty"`
	OpDate         *time.Time `json:"op_date,omitempty"`
	IMEI           []string   `json:"imei,omitempty"`
	MEID           []string   `json:"meid,omitempty"`
	EID            string     `json:"eid,omitempty"`
	WiFi           string     `json:"wifi_mac_address,omitempty"`
	Bluetooth      string     `json:"bluetooth_mac_address,omitempty"`
	Replacement    bool       `json:"is_replacement_device,omitempty"`
	ReplacedBy     bool       `json:"released_by_replacement,omitempty"`
	ResponseStatus string     `json:"response_status,omitempty"`
	Surprise       string     `json:"simulated_future_field,omitempty"`
}

// entry shows a device as a protocol version does.
func (e *Enrollment) entry(r *record, version int) deviceEntry {
	d := deviceEntry{
		Serial: r.Serial, Model: r.Model, Description: r.Description, Color: r.Color, AssetTag: r.AssetTag,
		ProfileStatus: string(r.status), ProfileAssign: when(r.assigned), ProfilePush: when(r.pushed),
	}
	if r.profile != nil {
		d.ProfileUUID = r.profile.uuid
	}
	if r.server != nil {
		d.Assigned, d.AssignedBy = when(r.since), "it@example.com"
	}
	if version >= 2 {
		d.Family, d.OS = r.Family, osOf(r.Family, version)
	}
	if version >= 8 {
		d.Deadline = when(r.deadline)
	}
	if version >= 10 {
		d.WiFi, d.Replacement, d.ReplacedBy = r.WiFi, r.replacement, r.replacedBy
		if r.IMEI != "" {
			d.IMEI, d.MEID, d.EID = []string{r.IMEI}, []string{r.IMEI[:14]}, "89049032"+r.IMEI+"000000000"
		}
	}
	if e.plans.surprising() {
		d.Surprise = "of a later version"
	}
	return d
}

// osOf is the os of a family (contracts/apple.md 4.2).
func osOf(family string, version int) string {
	switch family {
	case "Mac":
		return "OSX"
	case "AppleTV":
		return "tvOS"
	case "iPad":
		if version >= 7 {
			return "iPadOS"
		}
	}
	return "iOS"
}

// when is a time to the second, or nil for none.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// readList reads a request for a page.
func (e *Enrollment) readList(body []byte) (listRequest, int, *refusal) {
	var req listRequest
	if code := e.plans.cursorError(); code != "" {
		return req, 0, badRequest(code)
	}
	if len(body) > 0 {
		if refused := decode(body, &req); refused != nil {
			return req, 0, refused
		}
	}
	limit := defaultPage
	if req.Limit != nil && *req.Limit != 0 { // 0 is left out by some encoders' default
		limit = *req.Limit
	}
	if limit < 1 || limit > maxPage {
		return req, 0, badRequest(codeMalformed)
	}
	return req, limit, nil
}

// fetch is POST /server/devices: all devices, each once, with the changes that
// happen meanwhile left to a later sync.
func (e *Enrollment) fetch(c caller, _ *http.Request, body []byte) (any, *refusal) {
	req, limit, refused := e.readList(body)
	if refused != nil {
		return nil, refused
	}
	at := cursor{Server: c.server.uuid, Fetch: true, Seq: c.server.seq}
	if req.Cursor != "" {
		var ok bool
		at, ok = e.open(req.Cursor, c.server.uuid)
		switch {
		case !ok || !at.Fetch && !at.Ended || c.now.Sub(at.Issued) > cursorLife:
			return nil, badRequest("INVALID_CURSOR")
		case at.Ended:
			return nil, badRequest("EXHAUSTED_CURSOR")
		}
	}
	places, more := c.server.page(at.Place, limit)
	answer := listAnswer{FetchedUntil: c.now.UTC(), MoreToFollow: more, Devices: make([]deviceEntry, 0, len(places))}
	for _, p := range places {
		answer.Devices = append(answer.Devices, e.entry(p.record, c.version))
		at.Place = p.seq
	}
	at.Fetch, at.Ended, at.Issued = more, !more, c.now
	answer.Cursor = e.seal(at)
	return e.spoil(c.server, answer, req), nil
}

// sync is POST /devices/sync: the operations since the cursor.
func (e *Enrollment) sync(c caller, _ *http.Request, body []byte) (any, *refusal) {
	req, limit, refused := e.readList(body)
	if refused != nil {
		return nil, refused
	}
	if req.Cursor == "" {
		return nil, badRequest("CURSOR_REQUIRED")
	}
	at, ok := e.open(req.Cursor, c.server.uuid)
	switch {
	case !ok || at.Fetch:
		return nil, badRequest("INVALID_CURSOR")
	case c.now.Sub(at.Issued) > cursorLife:
		return nil, badRequest("EXPIRED_CURSOR")
	}
	ops, more := c.server.since(at.Seq, limit)
	answer := listAnswer{FetchedUntil: c.now.UTC(), MoreToFollow: more, Devices: make([]deviceEntry, 0, len(ops))}
	for _, op := range ops {
		d := e.entry(op.record, c.version)
		if op.record.server != c.server {
			// Its profile now, if any, is another server's affair.
			d.ProfileStatus, d.ProfileUUID, d.ProfileAssign, d.ProfilePush = string(profileEmpty), "", nil, nil
		}
		d.OpType, d.OpDate = op.kind, when(op.at)
		answer.Devices = append(answer.Devices, d)
		at.Seq = op.seq
	}
	at.Ended, at.Issued = false, c.now
	answer.Cursor = e.seal(at)
	return e.spoil(c.server, answer, req), nil
}

// spoil has the planned faults happen to a page.
func (e *Enrollment) spoil(s *mdmServer, a listAnswer, req listRequest) listAnswer {
	stale := s.stale
	s.stale = nil
	for _, d := range a.Devices {
		if !e.plans.use(&e.plans.later) {
			break
		}
		s.stale = append(s.stale, d)
	}
	a.Devices = append(a.Devices, stale...)
	for _, d := range a.Devices {
		if !e.plans.use(&e.plans.twice) {
			break
		}
		a.Devices = append(a.Devices, d)
	}
	if req.Cursor != "" && e.plans.use(&e.plans.repeated) {
		a.Cursor, a.MoreToFollow = req.Cursor, true
	}
	return a
}

// devicesRequest is a list of serial numbers, with a profile where it is about
// one.
type devicesRequest struct {
	ProfileUUID string   `json:"profile_uuid"`
	Devices     []string `json:"devices"`
}

// readDevices reads a list of serial numbers.
func readDevices(body []byte) (devicesRequest, *refusal) {
	var req devicesRequest
	if refused := decode(body, &req); refused != nil {
		return req, refused
	}
	if len(req.Devices) == 0 {
		return req, badRequest("DEVICE_ID_REQUIRED")
	}
	if len(req.Devices) > maxPage {
		return req, badRequest(codeMalformed)
	}
	return req, nil
}

// Results for a device.
const (
	statusSuccess       = "SUCCESS"
	statusNotAccessible = "NOT_ACCESSIBLE"
	statusFailed        = "FAILED"
	statusThrottled     = "THROTTLED"
)

// of returns a server's device, or nil.
func (e *Enrollment) of(s *mdmServer, serial string) *record {
	r := e.records[serial]
	if r == nil || r.server != s {
		return nil
	}
	return r
}

// details is POST /devices.
func (e *Enrollment) details(c caller, _ *http.Request, body []byte) (any, *refusal) {
	req, refused := readDevices(body)
	if refused != nil {
		return nil, refused
	}
	out := make(map[string]any, len(req.Devices))
	for _, serial := range req.Devices {
		r := e.of(c.server, serial)
		if r == nil {
			out[serial] = map[string]string{"serial_number": serial, "response_status": statusNotAccessible}
			continue
		}
		d := e.entry(r, c.version)
		d.ResponseStatus = statusSuccess
		out[serial] = d
	}
	return map[string]any{"devices": out}, nil
}

// disown is POST /devices/disown: for ever.
func (e *Enrollment) disown(c caller, _ *http.Request, body []byte) (any, *refusal) {
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
		r.remove(c.now)
		delete(e.records, serial)
		out[serial] = statusSuccess
	}
	return map[string]any{"devices": out}, nil
}

// activationLock is POST /device/activationlock.
func (e *Enrollment) activationLock(c caller, _ *http.Request, body []byte) (any, *refusal) {
	var req struct {
		Device  string `json:"device"`
		Key     string `json:"escrow_key"`
		Message string `json:"lost_message"`
	}
	if refused := decode(body, &req); refused != nil {
		return nil, refused
	}
	const keyBytes = 32
	key, err := hex.DecodeString(req.Key)
	if req.Device == "" || err != nil || len(key) != 0 && len(key) != keyBytes {
		return nil, badRequest(codeMalformed)
	}
	status := statusSuccess
	r := e.of(c.server, req.Device)
	switch {
	case r == nil:
		status = statusNotAccessible
	case r.Family == "AppleTV":
		status = "DEVICE_NOT_SUPPORTED"
	case r.lost:
		status = "DEVICE_ALREADY_LOCKED"
	default:
		r.lost, r.escrowKey, r.message = true, req.Key, req.Message
	}
	return map[string]string{"serial_number": req.Device, "response_status": status}, nil
}

// hashed is org_id_hash.
func hashed(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

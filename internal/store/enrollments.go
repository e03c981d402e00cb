package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Enrollments keeps the MDM channels of Apple devices. A check-in is one
// transaction: facts are read, the caller decides, the decision is written.
type Enrollments struct{ db *DB }

// NewEnrollments returns the enrollments of db.
func NewEnrollments(db *DB) *Enrollments { return &Enrollments{db} }

var enrollmentCols = []string{"id", "enroll_key", "host_id", "parent_id", "channel", "state", "generation", "topic",
	"push_magic", "push_token", "user_name", "serial", "model", "server_url", "checkin_url", "access_rights",
	"kind", "awaiting_configuration", "created_at", "enrolled_at", "token_updated_at"}

var enrollmentSelect = "SELECT e." + strings.Join(enrollmentCols, ", e.") +
	", COALESCE(p.broken_at, 0), COALESCE(p.last_reason, '') FROM enrollments e LEFT JOIN pushes p ON p.enrollment_id = e.id"

func scanEnrollment(rows *sql.Rows) (fleet.Enrollment, error) {
	var e fleet.Enrollment
	var created, enrolled, token, broken int64
	err := rows.Scan(&e.ID, &e.Key, &e.HostID, &e.ParentID, &e.Channel, &e.State, &e.Generation, &e.Topic,
		&e.PushMagic, &e.PushToken, &e.UserName, &e.Serial, &e.Model, &e.ServerURL, &e.CheckInURL, &e.AccessRights,
		&e.Kind, &e.AwaitingConfiguration, &created, &enrolled, &token, &broken, &e.PushReason)
	e.CreatedAt, e.EnrolledAt, e.TokenUpdatedAt, e.PushBrokenAt = timeOf(created), timeOf(enrolled), timeOf(token), timeOf(broken)
	return e, err
}

func (s *session) enrollment(cond string, args ...any) (*fleet.Enrollment, error) {
	list, err := collect(s, scanEnrollment, enrollmentSelect+" WHERE "+cond, args...)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	s.remember("enrollments", enrollmentValues(&list[0]))
	return &list[0], nil
}

// maxChannels bounds the channels that a host's detail lists.
const maxChannels = 100

func (s *session) enrollmentsOf(id fleet.HostID) ([]fleet.Enrollment, error) {
	return collect(s, scanEnrollment, enrollmentSelect+" WHERE e.host_id = ? ORDER BY e.parent_id, e.id LIMIT ?", int64(id), maxChannels)
}

// Caller looks up the sender of a request by the SHA-256 of its certificate
// and its enrollment key: one indexed read, the only one of an idle poll, or
// none with the embedded database (callercache.go).
func (e *Enrollments) Caller(ctx context.Context, sha256 [32]byte, key string) (fleet.Caller, error) {
	c, known, epoch := e.db.callers.get(sha256, key)
	if known {
		return c, nil
	}
	job := &callerRead{sha256: sha256, key: key}
	if err := e.db.callerReads.do(ctx, job); err != nil {
		return fleet.Caller{}, fmt.Errorf("look up caller: %w", err)
	}
	job.caller.Identity.SHA256 = sha256
	e.db.callers.put(epoch, key, &job.caller)
	return job.caller, nil
}

// callerRead is one call of Caller. Those that wait at the same time are read
// together.
type callerRead struct {
	sha256 [32]byte
	key    string
	caller fleet.Caller
}

func (*callerRead) claims() []string { return nil }

func (s *session) callersAll(jobs []*callerRead) error {
	if len(jobs) == 0 {
		return nil
	}
	type pair struct {
		sha256 [32]byte
		key    string
	}
	rows := make([][]any, 0, len(jobs))
	for _, j := range jobs {
		rows = append(rows, []any{j.key, j.sha256[:]})
	}
	values, args := s.db.dialect.valuesTable(bytesValue, rows)
	found := make(map[pair]fleet.Caller, len(jobs))
	_, err := collect(s, func(r *sql.Rows) (struct{}, error) {
		var p pair
		c, err := scanCaller(r, &p.key)
		p.sha256 = c.Identity.SHA256
		found[p] = c
		return struct{}{}, err
	}, fmt.Sprintf(callerQuery, values), args...)
	for _, j := range jobs {
		j.caller = found[pair{j.sha256, j.key}]
	}
	return err
}

const callerQuery = `SELECT v.column1, i.sha256, i.id, i.enrollment_id, COALESCE(own.enroll_key, ''), i.purpose, i.not_after, i.used_at,
	i.superseded_at, i.revoked_at,
	COALESCE(e.id, 0), COALESCE(e.host_id, 0), COALESCE(e.parent_id, 0), COALESCE(e.channel, 0), COALESCE(e.state, 0),
	EXISTS (SELECT 1 FROM command_queue q WHERE q.enrollment_id = e.id)
	FROM %s v JOIN identities i ON i.sha256 = v.column2 LEFT JOIN enrollments e ON e.enroll_key = v.column1 AND i.enrollment_id <> 0
	LEFT JOIN enrollments own ON own.id = i.enrollment_id AND own.id <> COALESCE(e.id, 0)`

func scanCaller(rows *sql.Rows, key *string) (fleet.Caller, error) {
	var c fleet.Caller
	var sum []byte
	var notAfter, used, superseded, revoked int64
	err := rows.Scan(key, &sum, &c.Identity.ID, &c.Identity.EnrollmentID, &c.Identity.EnrollmentKey, &c.Identity.Purpose, &notAfter, &used, &superseded, &revoked,
		&c.Enrollment.ID, &c.Enrollment.HostID, &c.Enrollment.ParentID, &c.Enrollment.Channel, &c.Enrollment.State,
		&c.CommandsPending)
	copy(c.Identity.SHA256[:], sum)
	c.Identity.NotAfter, c.Identity.UsedAt = timeOf(notAfter), timeOf(used)
	c.Identity.SupersededAt, c.Identity.RevokedAt = timeOf(superseded), timeOf(revoked)
	return c, err
}

// ByKey returns an enrollment; nil when there is none.
func (e *Enrollments) ByKey(ctx context.Context, key string) (*fleet.Enrollment, error) {
	return e.db.view(ctx).enrollment("e.enroll_key = ?", key)
}

// applyChange writes what a check-in or a person decided about an enrollment.
// signer is the identity that signed the check-in; nil: none did, or it is not
// told.
func (s *session) applyChange(c *fleet.EnrollmentChange, e *fleet.Enrollment, signer *fleet.Identity) error {
	made := c.Host != nil && c.Host.ID == 0
	if c.Host != nil {
		if err := s.putHost(c.Host); err != nil {
			return err
		}
		if e != nil && e.HostID != c.Host.ID {
			e.HostID = c.Host.ID
			if err := s.usersFollow(e); err != nil {
				return err
			}
		}
	}
	if c.Enrollment != nil {
		if err := s.putEnrollment(e); err != nil {
			return err
		}
	}
	if e == nil {
		return s.appendEvents(c.Events...)
	}
	if err := s.followEnrollment(c, e, made); err != nil {
		return err
	}
	if (c.Reset || c.CancelQueue) && e.Channel.IsDevice() {
		// First, so that a release which is being saved is waited for, and is
		// cancelled with what is queued.
		if err := s.forgetSetup(e); err != nil {
			return err
		}
	}
	if c.Reset || c.CancelQueue {
		if err := s.cancelChannels(e, c.Reset); err != nil {
			return fmt.Errorf("cancel what is queued: %w", err)
		}
	}
	if c.BeginSetup {
		if err := s.beginSetup(e); err != nil {
			return err
		}
	}
	if err := s.afterActions(e.HostID, c.ForgetActions, c.EndActions); err != nil {
		return err
	}
	if err := s.applyIdentities(c, e, signer); err != nil {
		return err
	}
	if c.FinishRenewal {
		if err := s.endRenewal(e.ID); err != nil {
			return err
		}
	}
	if c.Refetch && e.HostID != 0 {
		if err := s.refetchSoon(e.HostID); err != nil {
			return err
		}
	}
	if c.ClearPush {
		if err := s.clearPush(e.ID); err != nil {
			return err
		}
	}
	if err := s.writeSecrets(c.Secrets); err != nil {
		return err
	}
	for i := range c.Commands {
		targets := []fleet.Target{{EnrollmentID: e.ID, Host: fleet.HostRef{ID: e.HostID}}}
		if err := s.enqueue(&c.Commands[i], targets); err != nil {
			return err
		}
	}
	for i := range c.Events {
		if c.Events[i].HostID == 0 {
			c.Events[i].HostID = e.HostID
		}
		if c.Events[i].EnrollmentID == 0 {
			c.Events[i].EnrollmentID = e.ID
		}
	}
	return s.appendEvents(c.Events...)
}

// usersFollow puts the user channels of a device on its host.
func (s *session) usersFollow(e *fleet.Enrollment) error {
	if e.ID == 0 || !e.Channel.IsDevice() {
		return nil // it has none yet
	}
	n, err := s.changed("UPDATE enrollments SET host_id = ? WHERE parent_id = ? AND host_id <> ?", int64(e.HostID), int64(e.ID), int64(e.HostID))
	if err == nil && n > 0 {
		s.identitiesChanged() // all callers are looked up again
	}
	return err
}

// enrollmentValues are in the order of enrollmentCols.
func enrollmentValues(e *fleet.Enrollment) []any {
	token := e.PushToken
	if token == nil {
		token = []byte{}
	}
	return []any{int64(e.ID), e.Key, int64(e.HostID), int64(e.ParentID), int64(e.Channel), int64(e.State), e.Generation,
		e.Topic, e.PushMagic, token, clip(e.UserName, 255), clip(e.Serial, 100), clip(e.Model, 100), e.ServerURL, e.CheckInURL,
		int64(e.AccessRights), int64(max(e.Kind, fleet.EnrollmentManual)), e.AwaitingConfiguration, micros(e.CreatedAt), micros(e.EnrolledAt), micros(e.TokenUpdatedAt)}
}

// putEnrollment writes an enrollment that was made or loaded in this
// transaction.
func (s *session) putEnrollment(e *fleet.Enrollment) error {
	if e.ID == 0 {
		id, err := s.key("enrollments")
		if err != nil {
			return err
		}
		e.ID = fleet.EnrollmentID(id)
		e.CreatedAt = s.db.clock()
	}
	s.enrollmentIs(e)
	return enrollmentTaken(s.save("enrollments", enrollmentCols, enrollmentValues(e)), e.Key)
}

// enrollmentTaken turns the error of a key that exists already into an answer
// for the device.
func enrollmentTaken(err error, key any) error {
	if isDuplicate(err) {
		return fleet.Errorf(fleet.KindUnavailable, "enrollment %v: another message of the device is being handled: try again", key)
	}
	return err
}

// cancelChannels takes back everything queued on a device and its user
// channels, and turns the user channels off. Forgetting also drops the
// bootstrap token.
func (s *session) cancelChannels(e *fleet.Enrollment, forget bool) error {
	ids := []int64{int64(e.ID)}
	if e.Channel.IsDevice() {
		users, err := collect(s, func(r *sql.Rows) (id int64, err error) { return id, r.Scan(&id) },
			"SELECT id FROM enrollments WHERE parent_id = ?", int64(e.ID))
		if err != nil {
			return err
		}
		ids = append(ids, users...)
		for _, id := range users {
			s.enrollmentChanged(fleet.EnrollmentID(id))
		}
		if err := s.exec("UPDATE enrollments SET state = ? WHERE parent_id = ?", int64(fleet.EnrollmentOff), int64(e.ID)); err != nil {
			return err
		}
	}
	for _, id := range ids {
		if err := s.cancelQueue(id); err != nil {
			return err
		}
	}
	if err := s.endRenewal(e.ID); err != nil {
		return err
	}
	if !forget {
		return nil
	}
	return s.exec("DELETE FROM secrets WHERE scope = ? AND name = ?", string(fleet.ScopeBootstrapToken), e.Key)
}

// DeviceChannel returns the device channel of a host; nil when it has none. Of
// several devices with one serial, it is that of the one that enrolled last:
// the host has its UUID.
func (e *Enrollments) DeviceChannel(ctx context.Context, host fleet.HostID) (*fleet.Enrollment, error) {
	return e.db.view(ctx).enrollment("e.host_id = ? AND e.parent_id = 0"+
		" ORDER BY CASE WHEN e.enroll_key = (SELECT h.uuid FROM hosts h WHERE h.id = e.host_id) THEN 0 ELSE 1 END, e.state, e.id DESC LIMIT 1", int64(host))
}

// CountOnByTopic counts the device channels that are on and whose push topic
// is not the given one: those that a change of topic loses.
func (e *Enrollments) CountOnByTopic(ctx context.Context, other string) (int, error) {
	var n int
	_, err := e.db.view(ctx).get("SELECT COUNT(*) FROM enrollments WHERE parent_id = 0 AND state = ? AND topic <> ?",
		[]any{int64(fleet.EnrollmentOn), other}, &n)
	return n, err
}

// Targets finds the hosts of the given UUIDs with their device channels.
// UUIDs without a host are left out.
func (e *Enrollments) Targets(ctx context.Context, uuids []string) ([]fleet.Target, error) {
	uuids = slices.DeleteFunc(slices.Clone(uuids), func(v string) bool { return v == "" }) // of hosts that wait for their device
	return e.targets(ctx, "h.uuid", anys(uuids))
}

// TargetsByID is Targets by host key.
func (e *Enrollments) TargetsByID(ctx context.Context, ids []fleet.HostID) ([]fleet.Target, error) {
	values := make([]any, len(ids))
	for i, id := range ids {
		values[i] = int64(id)
	}
	return e.targets(ctx, "h.id", values)
}

func (e *Enrollments) targets(ctx context.Context, col string, values []any) ([]fleet.Target, error) {
	s := e.db.view(ctx)
	found := make([]channelRow, 0, len(values))
	err := chunked(values, func(chunk []any) error {
		list, err := collect(s, scanTarget, `SELECT h.id, h.uuid, h.hardware_serial, h.hostname, h.platform, h.team_id, h.mdm_status,
			COALESCE(e.id, 0), COALESCE(e.state, 0), e.enroll_key = h.uuid FROM hosts h LEFT JOIN enrollments e ON e.host_id = h.id AND e.parent_id = 0
			WHERE `+col+` IN (`+placeholders(len(chunk))+`)`, chunk...)
		found = append(found, list...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find hosts: %w", err)
	}
	return onePerHost(found), nil
}

// channelRow is a host with one of its device channels; own tells that it is
// the one of the host's UUID.
type channelRow struct {
	fleet.Target
	own sql.NullBool
}

func scanTarget(rows *sql.Rows) (t channelRow, err error) {
	return t, rows.Scan(&t.Host.ID, &t.Host.UUID, &t.Host.Serial, &t.Host.Hostname, &t.Host.Platform, &t.Host.TeamID, &t.Host.MDM,
		&t.EnrollmentID, &t.State, &t.own)
}

// onePerHost keeps one channel of a host that has several, as after a change of
// its UDID: that of its UUID, or the newest of those that are rather on. Sorting
// here is cheaper than in the database.
func onePerHost(list []channelRow) []fleet.Target {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int {
		a, b := &list[x], &list[y]
		if c := cmp.Compare(a.Host.ID, b.Host.ID); c != 0 {
			return c
		}
		switch {
		case a.own.Bool && !b.own.Bool:
			return -1
		case b.own.Bool && !a.own.Bool:
			return 1
		}
		return cmp.Or(cmp.Compare(a.State, b.State), cmp.Compare(b.EnrollmentID, a.EnrollmentID))
	})
	out := make([]fleet.Target, 0, len(list))
	for _, i := range order {
		if len(out) == 0 || out[len(out)-1].Host.ID != list[i].Host.ID {
			out = append(out, list[i].Target)
		}
	}
	return out
}

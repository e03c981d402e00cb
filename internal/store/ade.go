package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// ADE keeps the devices of server tokens of Apple's device enrollment service.
type ADE struct{ db *DB }

// NewADE returns the devices of db.
func NewADE(db *DB) *ADE { return &ADE{db} }

var syncCols = []string{"phase", "next_cursor", "round", "full_at", "ok_at", "failures", "restarts", "next_at", "error", "reason"}

var syncSelect = "SELECT id, macos_team_id, ios_team_id, ipados_team_id, expires_at, " + strings.Join(syncCols, ", ") + " FROM ade_tokens"

func scanSync(rows *sql.Rows, more ...any) (fleet.DEPSync, error) {
	var v fleet.DEPSync
	var mac, phone, pad fleet.TeamID
	var expires, full, ok, next int64
	err := rows.Scan(append([]any{&v.TokenID, &mac, &phone, &pad, &expires, &v.Phase, &v.Cursor, &v.Round, &full, &ok, &v.Failures, &v.Restarts, &next,
		&v.Error, &v.Reason}, more...)...)
	v.Teams = map[fleet.Platform]fleet.TeamID{fleet.PlatformDarwin: mac, fleet.PlatformIOS: phone, fleet.PlatformIPadOS: pad}
	v.Expiry, v.FullAt, v.OKAt, v.NextAt = timeOf(expires), timeOf(full), timeOf(ok), timeOf(next)
	return v, err
}

func (s *session) depSync(token fleet.ServerTokenID, lock string) (fleet.DEPSync, error) {
	list, err := collect(s, func(r *sql.Rows) (fleet.DEPSync, error) { return scanSync(r) }, syncSelect+" WHERE id = ?"+lock, int64(token))
	if err != nil {
		return fleet.DEPSync{}, fmt.Errorf("read server token %d: %w", token, err)
	}
	if len(list) == 0 {
		return fleet.DEPSync{}, fleet.Errorf(fleet.KindNotFound, "there is no server token %d", token)
	}
	return list[0], nil
}

func syncValues(v *fleet.DEPSync) []any {
	return []any{int64(v.Phase), v.Cursor, v.Round, micros(v.FullAt), micros(v.OKAt), v.Failures, v.Restarts, micros(v.NextAt), int64(v.Error), clip(v.Reason, 1024)}
}

// putSync writes what syncing moves.
func (s *session) putSync(v fleet.DEPSync) error {
	return s.exec("UPDATE ade_tokens SET "+strings.Join(syncCols, " = ?, ")+" = ?, updated_at = ? WHERE id = ?",
		append(syncValues(&v), s.db.now(), int64(v.TokenID))...)
}

// deviceRow is the stored form of a device. Fields are only ever added.
type deviceRow struct {
	Model, Description, Color, AssetTag, Family, OS string
	ProfileUUID, ProfileStatus                      string
	ProfileAssignTime, ProfilePushTime              int64 `json:",omitempty"`
	AssignedDate                                    int64 `json:",omitempty"`
	AssignedBy                                      string
	MigrationDeadline                               int64 `json:",omitempty"`
	Op                                              fleet.DEPOp
	OpDate                                          int64    `json:",omitempty"`
	IMEI, MEID                                      []string `json:",omitempty"`
	EID, WiFiMAC, BluetoothMAC                      string   `json:",omitempty"`
	EthernetMAC                                     []string `json:",omitempty"`
	Replacement, ReleasedByReplacement              bool     `json:",omitempty"`
}

func packDevice(d *fleet.DEPDevice) ([]byte, error) {
	return json.Marshal(deviceRow{Model: d.Model, Description: d.Description, Color: d.Color, AssetTag: d.AssetTag, Family: d.Family, OS: d.OS,
		ProfileUUID: d.ProfileUUID, ProfileStatus: d.ProfileStatus, ProfileAssignTime: micros(d.ProfileAssignTime), ProfilePushTime: micros(d.ProfilePushTime),
		AssignedDate: micros(d.AssignedDate), AssignedBy: d.AssignedBy, MigrationDeadline: micros(d.MigrationDeadline), Op: d.Op, OpDate: micros(d.OpDate),
		IMEI: d.IMEI, MEID: d.MEID, EID: d.EID, WiFiMAC: d.WiFiMAC, BluetoothMAC: d.BluetoothMAC, EthernetMAC: d.EthernetMAC,
		Replacement: d.Replacement, ReleasedByReplacement: d.ReleasedByReplacement})
}

func unpackDevice(serial string, body []byte) (fleet.DEPDevice, error) {
	var r deviceRow
	if err := json.Unmarshal(body, &r); err != nil {
		return fleet.DEPDevice{}, fmt.Errorf("decode device %s: %w", serial, err)
	}
	return fleet.DEPDevice{Serial: serial, Model: r.Model, Description: r.Description, Color: r.Color, AssetTag: r.AssetTag, Family: r.Family, OS: r.OS,
		ProfileUUID: r.ProfileUUID, ProfileStatus: r.ProfileStatus, ProfileAssignTime: timeOf(r.ProfileAssignTime), ProfilePushTime: timeOf(r.ProfilePushTime),
		AssignedDate: timeOf(r.AssignedDate), AssignedBy: r.AssignedBy, MigrationDeadline: timeOf(r.MigrationDeadline), Op: r.Op, OpDate: timeOf(r.OpDate),
		IMEI: r.IMEI, MEID: r.MEID, EID: r.EID, WiFiMAC: r.WiFiMAC, BluetoothMAC: r.BluetoothMAC, EthernetMAC: r.EthernetMAC,
		Replacement: r.Replacement, ReleasedByReplacement: r.ReleasedByReplacement}, nil
}

var depCols = []string{"token_id", "serial", "host_id", "body", "managed", "profile", "round", "deleted_at", "tried", "result", "tried_at", "failures", "next_at", "held"}

const depSelect = "SELECT d.serial, d.host_id, d.body, d.round, d.deleted_at, d.tried, d.result, d.tried_at, d.failures, d.next_at, d.held"

func depValues(token fleet.ServerTokenID, r *fleet.DEPRecord) ([]any, error) {
	body, err := packDevice(&r.Device)
	if err != nil {
		return nil, err
	}
	_, managed := r.Device.Platform()
	a := &r.Assign
	return []any{int64(token), clip(r.Device.Serial, 100), int64(r.HostID), body, managed, clip(r.Device.Profile(), 64), r.Round, micros(r.DeletedAt),
		clip(a.Tried, 64), int64(a.Result), micros(a.At), a.Failures, micros(a.NextAt), a.Held}, nil
}

func scanDEP(rows *sql.Rows, more ...any) (fleet.DEPRecord, error) {
	var r fleet.DEPRecord
	var serial string
	var body []byte
	var deleted, at, next int64
	a := &r.Assign
	err := rows.Scan(append([]any{&serial, &r.HostID, &body, &r.Round, &deleted, &a.Tried, &a.Result, &at, &a.Failures, &next, &a.Held}, more...)...)
	if err != nil {
		return r, err
	}
	r.DeletedAt, a.At, a.NextAt = timeOf(deleted), timeOf(at), timeOf(next)
	r.Device, err = unpackDevice(serial, body)
	return r, err
}

// Sync reads where syncing stands. KindNotFound: there is no such token.
func (a *ADE) Sync(ctx context.Context, token fleet.ServerTokenID) (fleet.DEPSync, error) {
	return a.db.view(ctx).depSync(token, "")
}

// PutProfile notes which profile at Apple a team's new devices are to have, and
// the hash of its definition.
func (a *ADE) PutProfile(ctx context.Context, token fleet.ServerTokenID, team fleet.TeamID, hash [32]byte, profile string) error {
	return a.db.update(ctx, func(s *session) error {
		cols := []string{"token_id", "team_id", "hash", "profile", "defined_at", "refused", "reason", "retry_at"}
		return s.upsertRows("ade_profiles", cols, 2, [][]any{{int64(token), int64(team), hash[:], profile, s.db.now(), "", "", 0}})
	})
}

// Change reads the facts about serials, lets decide say what changes, and
// writes that, in one transaction. Changes of one token take turns.
func (a *ADE) Change(ctx context.Context, token fleet.ServerTokenID, serials []string, decide func(fleet.DEPFacts) (fleet.DEPChange, error)) error {
	return a.db.update(ctx, func(s *session) error {
		f := fleet.DEPFacts{Records: make(map[string]fleet.DEPRecord, len(serials)), Hosts: make(map[string]fleet.Host, len(serials))}
		var err error
		if f.Sync, err = s.depSync(token, s.db.dialect.lockForUpdate()); err != nil {
			return err
		}
		if err := s.depFacts(token, serials, &f); err != nil {
			return fmt.Errorf("read devices of server token %d: %w", token, err)
		}
		c, err := decide(f)
		if err != nil {
			return err
		}
		c.Sync.TokenID = token
		if err := s.putSync(c.Sync); err != nil {
			return fmt.Errorf("write server token %d: %w", token, err)
		}
		return s.applyRecords(token, &c, f.Hosts)
	})
}

func (s *session) depFacts(token fleet.ServerTokenID, serials []string, f *fleet.DEPFacts) error {
	return chunked(serials, func(chunk []string) error {
		in, keys := inList(anys(chunk))
		records, err := collect(s, func(r *sql.Rows) (fleet.DEPRecord, error) { return scanDEP(r) },
			depSelect+" FROM ade_devices d WHERE d.token_id = ? AND d.serial IN "+in, append([]any{int64(token)}, keys...)...)
		if err != nil {
			return err
		}
		for _, r := range records {
			f.Records[r.Device.Serial] = r
		}
		hosts, err := s.hostsBy("h.hardware_serial", anys(chunk))
		for i := len(hosts) - 1; i >= 0; i-- { // the oldest of several wins
			f.Hosts[hosts[i].HardwareSerial] = hosts[i]
		}
		return err
	})
}

// statusMove is a change of a host's MDM status.
type statusMove struct{ from, to fleet.MDMStatus }

// applyRecords writes a decision. Of a host that is there already it writes the
// MDM status, and only where that is still what was decided about: the device
// may check in at this moment.
func (s *session) applyRecords(token fleet.ServerTokenID, c *fleet.DEPChange, before map[string]fleet.Host) error {
	var made []*fleet.Host
	moves := map[statusMove][]any{}
	for i := range c.Records {
		h := c.Records[i].Host
		switch {
		case h == nil:
		case h.ID == 0:
			made = append(made, h)
		default:
			move := statusMove{before[h.HardwareSerial].MDM.Status, h.MDM.Status}
			moves[move] = append(moves[move], int64(h.ID))
		}
	}
	if err := s.addHosts(made); err != nil {
		return err
	}
	for move, ids := range moves {
		err := chunked(ids, func(chunk []any) error {
			in, args := inList(chunk)
			return s.exec("UPDATE hosts SET mdm_status = ?, updated_at = ? WHERE mdm_status = ? AND id IN "+in,
				append([]any{int64(move.to), s.db.now(), int64(move.from)}, args...)...)
		})
		if err != nil {
			return fmt.Errorf("write MDM statuses: %w", err)
		}
	}
	rows := make([][]any, 0, len(c.Records))
	events := c.Events
	records := make([]*fleet.DEPRecord, 0, len(c.Records))
	for i := range c.Records {
		r := &c.Records[i]
		if r.Host != nil {
			r.Record.HostID = r.Host.ID
		}
		records = append(records, &r.Record)
	}
	if err := s.withoutGoneHosts(records); err != nil {
		return err
	}
	for i := range c.Records {
		r := &c.Records[i]
		row, err := depValues(token, &r.Record)
		if err != nil {
			return err
		}
		rows = append(rows, row)
		for _, e := range r.Events {
			e.HostID = r.Record.HostID
			events = append(events, e)
		}
	}
	if err := s.upsertRows("ade_devices", depCols, 2, rows); err != nil {
		return err
	}
	return s.appendEvents(events...)
}

// withoutGoneHosts keeps the hosts of records from others, and forgets those
// that were deleted since they were read: their devices get a new one.
func (s *session) withoutGoneHosts(records []*fleet.DEPRecord) error {
	lock := s.db.dialect.lockForUpdate()
	if lock == "" {
		return nil // one writer: nobody deleted any
	}
	ids := make([]int64, 0, len(records))
	for _, r := range records {
		if r.HostID != 0 {
			ids = append(ids, int64(r.HostID))
		}
	}
	slices.Sort(ids) // everyone locks in this order
	there := make(map[fleet.HostID]bool, len(ids))
	err := chunked(ids, func(chunk []int64) error {
		in, args := inList(anys(chunk))
		found, err := collect(s, scanKeyOf[fleet.HostID], "SELECT id FROM hosts WHERE id IN "+in+" ORDER BY id"+lock, args...)
		for _, id := range found {
			there[id] = true
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("lock hosts: %w", err)
	}
	for _, r := range records {
		if !there[r.HostID] {
			r.HostID = 0
		}
	}
	return nil
}

func (a *ADE) serials(ctx context.Context, cond string, args ...any) ([]string, error) {
	return collect(a.db.view(ctx), func(r *sql.Rows) (v string, err error) { return v, r.Scan(&v) },
		"SELECT d.serial FROM ade_devices d WHERE "+cond+" ORDER BY d.serial LIMIT ?", args...)
}

// Unseen lists devices, not deleted, whose round is lower than round.
func (a *ADE) Unseen(ctx context.Context, token fleet.ServerTokenID, round int64, limit int) ([]string, error) {
	return a.serials(ctx, "d.token_id = ? AND d.deleted_at = 0 AND d.round < ?", int64(token), round, limit)
}

// Homeless lists devices, not deleted and of a platform that has hosts, that
// have no host, or one that is not enrolled and not pending either.
func (a *ADE) Homeless(ctx context.Context, token fleet.ServerTokenID, limit int) ([]string, error) {
	list, err := a.serials(ctx, "d.host_id = 0 AND d.token_id = ? AND d.deleted_at = 0 AND d.managed = TRUE", int64(token), limit)
	if err != nil || len(list) > 0 {
		return list, err
	}
	return collect(a.db.view(ctx), func(r *sql.Rows) (v string, err error) { return v, r.Scan(&v) },
		"SELECT d.serial FROM hosts h JOIN ade_devices d ON d.host_id = h.id WHERE h.mdm_status IN (?, ?) AND d.token_id = ? AND d.deleted_at = 0"+
			" AND d.managed = TRUE ORDER BY d.serial LIMIT ?", int64(fleet.MDMUnknown), int64(fleet.MDMOff), int64(token), limit)
}

// Due lists devices that need a profile, by the rule of ade.NeedsProfile.
func (a *ADE) Due(ctx context.Context, token fleet.ServerTokenID, now time.Time, limit int) ([]fleet.DEPRecord, error) {
	list, err := collect(a.db.view(ctx), func(r *sql.Rows) (fleet.DEPRecord, error) {
		var want string
		v, err := scanDEP(r, &want)
		v.Want = want
		return v, err
	}, depSelect+", p.profile FROM ade_devices d JOIN hosts h ON h.id = d.host_id JOIN ade_profiles p ON p.token_id = d.token_id AND p.team_id = h.team_id"+
		" WHERE d.token_id = ? AND d.deleted_at = 0 AND d.managed = TRUE AND d.held = FALSE AND p.profile <> '' AND d.profile <> p.profile"+
		" AND (d.next_at <= ? OR d.next_at > ? OR (d.tried <> p.profile AND d.result <> ?)) ORDER BY d.serial LIMIT ?",
		int64(token), micros(now), micros(now.Add(fleet.DEPLongestPause)), int64(fleet.DEPThrottled), limit)
	if err != nil {
		return nil, fmt.Errorf("find devices that need a profile: %w", err)
	}
	return list, nil
}

// Record writes what became of devices, and events.
func (a *ADE) Record(ctx context.Context, token fleet.ServerTokenID, outcomes []fleet.DEPOutcome, events []fleet.Event) error {
	return a.db.update(ctx, func(s *session) error {
		f := fleet.DEPFacts{Records: make(map[string]fleet.DEPRecord, len(outcomes)), Hosts: map[string]fleet.Host{}}
		if _, err := s.depSync(token, s.db.dialect.lockForUpdate()); err != nil {
			return err
		}
		serials := make([]string, len(outcomes))
		for i, o := range outcomes {
			serials[i] = o.Serial
		}
		if err := s.depFacts(token, serials, &f); err != nil {
			return err
		}
		records := make([]*fleet.DEPRecord, 0, len(outcomes))
		for _, o := range outcomes {
			r, known := f.Records[o.Serial]
			if !known {
				continue
			}
			r.Assign = o.Assign
			if o.ProfileUUID != "" {
				r.Device.ProfileUUID = o.ProfileUUID
			}
			if o.ProfileStatus != "" {
				r.Device.ProfileStatus = o.ProfileStatus
			}
			records = append(records, &r)
		}
		if err := s.withoutGoneHosts(records); err != nil {
			return err
		}
		rows := make([][]any, 0, len(records))
		for _, r := range records {
			row, err := depValues(token, r)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		if err := s.upsertRows("ade_devices", depCols, 2, rows); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
}

// Devices lists devices with their hosts' keys and the profile that they should
// have, by serial.
func (a *ADE) Devices(ctx context.Context, f fleet.DEPFilter) ([]fleet.DEPRecord, fleet.PageMeta, error) {
	conds, args := []string{"1 = 1"}, []any{}
	cond := func(text string, values ...any) { conds, args = append(conds, text), append(args, values...) }
	if f.Token != 0 {
		cond("d.token_id = ?", int64(f.Token))
	}
	if !f.Deleted {
		cond("d.deleted_at = 0")
	}
	if len(f.Serials) > 0 {
		in, values := inList(anys(f.Serials))
		cond("d.serial IN "+in, values...)
	}
	if len(f.HostIDs) > 0 {
		keys := make([]any, 0, len(f.HostIDs))
		for _, id := range f.HostIDs {
			keys = append(keys, int64(id))
		}
		in, values := inList(keys)
		cond("d.host_id IN "+in, values...)
	}
	tail, limits := pageTail(f.Page)
	list, err := collect(a.db.view(ctx), func(r *sql.Rows) (fleet.DEPRecord, error) {
		var token fleet.ServerTokenID
		var want string
		var team fleet.TeamID
		v, err := scanDEP(r, &token, &want, &team)
		v.TokenID, v.Want, v.TeamID = token, want, team
		return v, err
	}, depSelect+", d.token_id, COALESCE(p.profile, ''), COALESCE(h.team_id, 0) FROM ade_devices d LEFT JOIN hosts h ON h.id = d.host_id"+
		" LEFT JOIN ade_profiles p ON p.token_id = d.token_id AND p.team_id = h.team_id WHERE "+strings.Join(conds, " AND ")+
		" ORDER BY d.token_id, d.serial"+tail, append(args, limits...)...)
	if err != nil {
		return nil, fleet.PageMeta{}, fmt.Errorf("list devices of server tokens: %w", err)
	}
	list, meta := cutPage(list, f.Page)
	return list, meta, nil
}

// Assigned tells which of the hosts Apple assigns to this server, and whether
// their enrollment profile could not be assigned.
func (a *ADE) Assigned(ctx context.Context, hosts []fleet.HostID) (map[fleet.HostID]bool, error) {
	type row struct {
		host   fleet.HostID
		failed bool
	}
	out := map[fleet.HostID]bool{}
	err := chunked(hosts, func(chunk []fleet.HostID) error {
		keys := make([]any, 0, len(chunk))
		for _, id := range chunk {
			keys = append(keys, int64(id))
		}
		in, args := inList(keys)
		list, err := collect(a.db.view(ctx), func(r *sql.Rows) (v row, err error) { return v, r.Scan(&v.host, &v.failed) },
			"SELECT host_id, result = ? OR held = TRUE FROM ade_devices WHERE deleted_at = 0 AND host_id IN "+in, append([]any{int64(fleet.DEPFailed)}, args...)...)
		for _, v := range list {
			out[v.host] = out[v.host] || v.failed
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find hosts that are assigned at Apple: %w", err)
	}
	return out, nil
}

// AskUpdate counts how often a device was told to update itself before it
// enrolls; ask false begins anew.
func (a *ADE) AskUpdate(ctx context.Context, token fleet.ServerTokenID, serial string, ask bool, events ...fleet.Event) (count int, err error) {
	err = a.db.update(ctx, func(s *session) error {
		next := "0"
		if ask {
			next = "update_asks + 1"
		}
		if err := s.exec("UPDATE ade_devices SET update_asks = "+next+" WHERE token_id = ? AND serial = ?", int64(token), serial); err != nil {
			return err
		}
		if _, err := s.get("SELECT update_asks FROM ade_devices WHERE token_id = ? AND serial = ?", []any{int64(token), serial}, &count); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
	if err != nil {
		return 0, fmt.Errorf("count updates asked of %s: %w", serial, err)
	}
	return count, nil
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Hosts keeps hosts and their last contact.
type Hosts struct{ db *DB }

// NewHosts returns the hosts of db.
func NewHosts(db *DB) *Hosts { return &Hosts{db} }

var hostCols = []string{"id", "team_id", "uuid", "hardware_serial", "hostname", "computer_name", "platform",
	"hardware_model", "hardware_vendor", "os_version", "build", "primary_mac", "disk_total_gb", "disk_available_gb",
	"supervised", "mdm_status", "mdm_server_url", "mdm_enrolled_at", "mdm_unenrolled_at", "bootstrap_held",
	"created_at", "updated_at", "detail_updated_at", "label_updated_at", "last_enrolled_at", "refetch_at"}

var hostSelect = "SELECT h." + strings.Join(hostCols, ", h.") + ", COALESCE(hs.seen_at, 0)" +
	", COALESCE(ha.host_id, 0), COALESCE(ha.status, 0), COALESCE(ha.pending, 0), COALESCE(ha.error, '') FROM hosts h" +
	" LEFT JOIN host_seen hs ON hs.host_id = h.id LEFT JOIN host_actions ha ON ha.host_id = h.id"

func scanHost(rows *sql.Rows) (fleet.Host, error) {
	var h fleet.Host
	var enrolled, unenrolled, created, updated, detail, label, lastEnrolled, refetch, seen, acted int64
	err := rows.Scan(&h.ID, &h.TeamID, &h.UUID, &h.HardwareSerial, &h.Hostname, &h.ComputerName, &h.Platform,
		&h.HardwareModel, &h.HardwareVendor, &h.OSVersion, &h.Build, &h.PrimaryMAC, &h.DiskTotalGB, &h.DiskAvailableGB,
		&h.Supervised, &h.MDM.Status, &h.MDM.ServerURL, &enrolled, &unenrolled, &h.MDM.BootstrapHeld,
		&created, &updated, &detail, &label, &lastEnrolled, &refetch, &seen,
		&acted, &h.MDM.Device, &h.MDM.Pending, &h.MDM.ActionError)
	h.MDM.Acted = acted != 0
	h.MDM.EnrolledAt, h.MDM.UnenrolledAt, h.MDM.CheckedInAt = timeOf(enrolled), timeOf(unenrolled), timeOf(seen)
	h.CreatedAt, h.UpdatedAt, h.DetailUpdatedAt, h.LabelUpdatedAt = timeOf(created), timeOf(updated), timeOf(detail), timeOf(label)
	h.LastEnrolledAt, h.RefetchAt, h.SeenAt = timeOf(lastEnrolled), timeOf(refetch), timeOf(seen)
	return h, err
}

// hostOrders maps the API's order keys to columns, each ending in the key so
// that pages never overlap.
var hostOrders = map[string]string{
	"":                          "h.id",
	"id":                        "h.id",
	"hostname":                  "h.hostname",
	"computer_name":             "h.computer_name",
	"display_name":              "h.computer_name",
	"platform":                  "h.platform",
	"uuid":                      "h.uuid",
	"hardware_serial":           "h.hardware_serial",
	"hardware_model":            "h.hardware_model",
	"os_version":                "h.os_version",
	"created_at":                "h.created_at",
	"updated_at":                "h.updated_at",
	"detail_updated_at":         "h.detail_updated_at",
	"last_enrolled_at":          "h.last_enrolled_at",
	"seen_time":                 "COALESCE(hs.seen_at, 0)",
	"team_id":                   "h.team_id",
	"gigs_disk_space_available": "h.disk_available_gb",
}

// hostWhere is the condition of a filter.
func (s *session) hostWhere(f fleet.HostFilter) (string, []any, error) {
	var conds []string
	var args []any
	add := func(cond string, values ...any) {
		conds = append(conds, cond)
		args = append(args, values...)
	}
	if f.Query != "" {
		cond, values, err := s.searchWhere(f.Query)
		if err != nil {
			return "", nil, err
		}
		add(cond, values...)
	}
	if len(f.Platforms) > 0 {
		add("h.platform IN ("+placeholders(len(f.Platforms))+")", anys(f.Platforms)...)
	}
	if f.TeamID != nil {
		add("h.team_id = ?", int64(*f.TeamID))
	}
	if f.LabelID != 0 {
		add("h.id IN (SELECT lm.host_id FROM label_members lm WHERE lm.label_id = ? AND lm.member = 1)", int64(f.LabelID))
	}
	if len(f.MDM) > 0 {
		values := make([]any, len(f.MDM))
		for i, m := range f.MDM {
			values[i] = int64(m)
		}
		add("h.mdm_status IN ("+placeholders(len(f.MDM))+")", values...)
	}
	if !f.SeenAfter.IsZero() {
		add("COALESCE(hs.seen_at, 0) >= ?", micros(f.SeenAfter))
	}
	if !f.SeenBefore.IsZero() {
		add("COALESCE(hs.seen_at, 0) < ?", micros(f.SeenBefore))
	}
	if !f.CreatedAfter.IsZero() {
		add("h.created_at >= ?", micros(f.CreatedAfter))
	}
	if f.Items != 0 {
		// The same words as those of ItemStatuses.Summary, whose numbers lead
		// people here.
		add("h.id IN (SELECT st.host_id FROM host_states st JOIN scopes sc ON sc.team_id = st.team_id WHERE "+worstItem("st")+" = ?)", int64(f.Items))
	}
	if f.ItemUUID != "" {
		cond := "h.id IN (SELECT hi.host_id FROM host_items hi JOIN items it ON it.id = hi.item_id WHERE it.uuid = ?"
		if f.ItemStatus == 0 {
			add(cond+")", f.ItemUUID)
		} else {
			add(cond+" AND hi.status = ?)", f.ItemUUID, int64(f.ItemStatus))
		}
	}
	if f.Package != 0 {
		add("h.id IN (SELECT su.host_id FROM setups su WHERE su.package_status = ? AND "+newestPackage+")", int64(f.Package))
	}
	if len(conds) == 0 {
		return "", nil, nil
	}
	return " WHERE " + strings.Join(conds, " AND "), args, nil
}

// escapeLike makes a text match itself in a LIKE with ESCAPE '!'.
func escapeLike(v string) string {
	return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(v)
}

// List returns one page of hosts. An unknown order key is refused.
func (h *Hosts) List(ctx context.Context, f fleet.HostFilter) ([]fleet.Host, fleet.PageMeta, error) {
	order, ok := hostOrders[f.Page.OrderKey]
	if !ok {
		return nil, fleet.PageMeta{}, fleet.FieldErrorf(fleet.KindInvalid, "order_key", "cannot order hosts by %q", f.Page.OrderKey)
	}
	s := h.db.view(ctx)
	where, args, err := s.hostWhere(f)
	if err != nil {
		return nil, fleet.PageMeta{}, err
	}
	if slices.Contains(f.MDM, fleet.MDMManual) || slices.Contains(f.MDM, fleet.MDMAutomatic) {
		// Most hosts match: reading in the page's order finds a page at once,
		// where the index on the status would have all of them sorted. The
		// plus keeps that index out.
		where = strings.Replace(where, "h.mdm_status IN", "+h.mdm_status IN", 1)
	}
	if f.Page.After != "" {
		cmp := ">"
		if f.Page.Desc {
			cmp = "<"
		}
		var after any = f.Page.After
		if n, err := parseInt(f.Page.After); err == nil && numericOrder(f.Page.OrderKey) {
			after = n
		}
		joiner := " WHERE "
		if where != "" {
			joiner = " AND "
		}
		where += joiner + order + " " + cmp + " ?"
		args = append(args, after)
	}
	dir := ""
	if f.Page.Desc {
		dir = " DESC"
	}
	query := hostSelect + where + " ORDER BY " + order + dir
	if order != "h.id" {
		query += ", h.id" + dir
	}
	tail, limits := pageTail(f.Page)
	hosts, err := collect(s, scanHost, query+tail, append(args, limits...)...)
	if err != nil {
		return nil, fleet.PageMeta{}, fmt.Errorf("list hosts: %w", err)
	}
	hosts, meta := cutPage(hosts, f.Page)
	return hosts, meta, nil
}

// numericOrder tells whether the order key is a number or a time.
func numericOrder(key string) bool {
	switch key {
	case "", "id", "team_id", "created_at", "updated_at", "detail_updated_at", "last_enrolled_at", "seen_time", "gigs_disk_space_available":
		return true
	}
	return false
}

// Count counts the hosts of a filter.
func (h *Hosts) Count(ctx context.Context, f fleet.HostFilter) (int, error) {
	s := h.db.view(ctx)
	where, args, err := s.hostWhere(f)
	if err != nil {
		return 0, err
	}
	from := "SELECT COUNT(*) FROM hosts h"
	if strings.Contains(where, "hs.") {
		from += " LEFT JOIN host_seen hs ON hs.host_id = h.id"
	}
	var n int
	if _, err := s.get(from+where, args, &n); err != nil {
		return 0, fmt.Errorf("count hosts: %w", err)
	}
	return n, nil
}

// IDs returns the keys of up to limit hosts of a filter.
func (h *Hosts) IDs(ctx context.Context, f fleet.HostFilter, limit int) ([]fleet.HostID, error) {
	s := h.db.view(ctx)
	where, args, err := s.hostWhere(f)
	if err != nil {
		return nil, err
	}
	from := "SELECT h.id FROM hosts h"
	if strings.Contains(where, "hs.") {
		from += " LEFT JOIN host_seen hs ON hs.host_id = h.id"
	}
	ids, err := collect(s, func(r *sql.Rows) (id fleet.HostID, err error) { return id, r.Scan(&id) },
		from+where+" ORDER BY h.id LIMIT ?", append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("find hosts: %w", err)
	}
	return ids, nil
}

// Exist returns those of the keys that are hosts'.
func (h *Hosts) Exist(ctx context.Context, ids []fleet.HostID) ([]fleet.HostID, error) {
	values := make([]any, len(ids))
	for i, id := range ids {
		values[i] = int64(id)
	}
	var out []fleet.HostID
	err := chunked(values, func(chunk []any) error {
		list, err := collect(h.db.view(ctx), func(r *sql.Rows) (id fleet.HostID, err error) { return id, r.Scan(&id) },
			"SELECT id FROM hosts WHERE id IN ("+placeholders(len(chunk))+") ORDER BY id", chunk...)
		out = append(out, list...)
		return err
	})
	return out, err
}

// Host returns a host with its labels and enrollments; nil when there is none.
func (h *Hosts) Host(ctx context.Context, id fleet.HostID) (*fleet.HostDetail, error) {
	s := h.db.view(ctx)
	host, err := s.host("h.id = ?", int64(id))
	if err != nil || host == nil {
		return nil, err
	}
	d := &fleet.HostDetail{Host: *host}
	if d.Labels, err = s.labelsOf(id); err != nil {
		return nil, err
	}
	if d.Enrollments, err = s.enrollmentsOf(id); err != nil {
		return nil, err
	}
	if d.Vitals, err = s.vitalsOf(id); err != nil {
		return nil, err
	}
	if _, err := s.get("SELECT fault FROM host_refetches WHERE host_id = ?", []any{int64(id)}, &d.RefetchFault); err != nil {
		return nil, err
	}
	if d.Package, err = s.packageOf(id); err != nil {
		return nil, err
	}
	if _, err := s.get("SELECT COUNT(*) FROM command_queue q JOIN enrollments e ON e.id = q.enrollment_id WHERE e.host_id = ?",
		[]any{int64(id)}, &d.PendingCommands); err != nil {
		return nil, err
	}
	return d, nil
}

// identifierLimit bounds the candidates that an ambiguous identifier lists.
const identifierLimit = 20

// ByIdentifier returns the hosts whose UUID, serial or host name is the
// identifier; the first of these that matches at all decides.
func (h *Hosts) ByIdentifier(ctx context.Context, identifier string) ([]fleet.HostRef, error) {
	if identifier == "" {
		return nil, nil // hosts that wait for their device have no UUID
	}
	s := h.db.view(ctx)
	if text, ok := strings.CutPrefix(identifier, fleet.IDPrefix); ok {
		id, _ := parseInt(text) // what is no number is nobody's
		refs, err := collect(s, scanHostRef, hostRefSelect+" WHERE h.id = ?", id)
		if err != nil {
			return nil, fmt.Errorf("find host: %w", err)
		}
		return refs, nil
	}
	for _, col := range []string{"h.uuid", "h.hardware_serial", "h.hostname", "h.computer_name"} {
		refs, err := collect(s, scanHostRef, hostRefSelect+" WHERE "+col+" = ? ORDER BY h.id LIMIT ?", identifier, identifierLimit)
		if err != nil {
			return nil, fmt.Errorf("find host: %w", err)
		}
		if len(refs) > 0 {
			return refs, nil
		}
	}
	return nil, nil
}

const hostRefSelect = "SELECT h.id, h.uuid, h.hardware_serial, h.hostname, h.computer_name, h.platform, h.team_id, h.mdm_status FROM hosts h"

func scanHostRef(rows *sql.Rows) (fleet.HostRef, error) {
	var r fleet.HostRef
	var computer string
	err := rows.Scan(&r.ID, &r.UUID, &r.Serial, &r.Hostname, &computer, &r.Platform, &r.TeamID, &r.MDM)
	if r.Hostname == "" {
		r.Hostname = computer
	}
	return r, err
}

// hostLeaves is what becomes of the rows of a host that is deleted.
var hostLeaves = []string{
	"DELETE FROM host_seen WHERE host_id = ?",
	"DELETE FROM host_search WHERE host_id = ?",
	"DELETE FROM host_refetches WHERE host_id = ?",
	"DELETE FROM host_vitals WHERE host_id = ?",
	"DELETE FROM host_lists WHERE host_id = ?",
	"DELETE FROM host_software WHERE host_id = ?",
	"DELETE FROM host_certificates WHERE host_id = ?",
	"DELETE FROM host_states WHERE host_id = ?",
	"DELETE FROM host_items WHERE host_id = ?",
	"DELETE FROM host_actions WHERE host_id = ?",
	"DELETE FROM ddm_status WHERE enrollment_id IN (SELECT enrollment_id FROM ddm_channels WHERE host_id = ?)",
	"DELETE FROM ddm_channels WHERE host_id = ?",
	"DELETE FROM label_members WHERE host_id = ?",
	"DELETE FROM command_queue WHERE enrollment_id IN (SELECT id FROM enrollments WHERE host_id = ?)",
	"DELETE FROM command_results WHERE host_id = ?",
	"UPDATE ade_devices SET host_id = 0 WHERE host_id = ?",
	"UPDATE enrollments SET host_id = 0 WHERE host_id = ?",
}

// Delete removes a host and everything that hangs on it, but archives what opens
// its device. Its enrollments stay, without a host: an enrolled device brings its record back when it next
// speaks. It reports false when there was no such host.
func (h *Hosts) Delete(ctx context.Context, id fleet.HostID, events []fleet.Event) (bool, error) {
	found := false
	err := h.db.update(ctx, func(s *session) error {
		if err := s.lockHosts([]any{int64(id)}); err != nil {
			return err
		}
		if _, err := s.archiveSecrets(id); err != nil {
			return err
		}
		if err := s.archiveBypassCode(id); err != nil {
			return err
		}
		n, err := s.changed("DELETE FROM hosts WHERE id = ?", int64(id))
		if err != nil || n == 0 {
			return err
		}
		found = true
		s.identitiesChanged()
		for _, query := range hostLeaves {
			if err := s.exec(query, int64(id)); err != nil {
				return err
			}
		}
		return s.appendEvents(events...)
	})
	if err != nil {
		return false, fmt.Errorf("delete host %d: %w", id, err)
	}
	return found, nil
}

// Seen notes the last contact of many hosts at once.
func (h *Hosts) Seen(ctx context.Context, at map[fleet.HostID]time.Time) error {
	rows := make([][]any, 0, len(at))
	for id, t := range at {
		rows = append(rows, []any{int64(id), micros(t)})
	}
	tail := h.db.dialect.keepLatest("host_seen", "host_id", "seen_at")
	for len(rows) > 0 {
		n := min(len(rows), inChunk)
		chunk := rows[:n]
		err := h.db.transact(ctx, func(s *session) error {
			return s.insertRows("host_seen", []string{"host_id", "seen_at"}, chunk, tail)
		})
		if err != nil {
			return fmt.Errorf("note last contact: %w", err)
		}
		rows = rows[n:]
	}
	return nil
}

// host returns the first host of a condition; nil when there is none.
func (s *session) host(cond string, args ...any) (*fleet.Host, error) {
	hosts, err := collect(s, scanHost, hostSelect+" WHERE "+cond+" ORDER BY h.id LIMIT 1", args...)
	if err != nil || len(hosts) == 0 {
		return nil, err
	}
	s.rememberHost(&hosts[0])
	return &hosts[0], nil
}

// hostsBy returns the hosts with one of the values in a column, oldest first.
func (s *session) hostsBy(column string, values []any) ([]fleet.Host, error) {
	if len(values) == 0 {
		return nil, nil
	}
	in, args := inList(values)
	hosts, err := collect(s, scanHost, hostSelect+" WHERE "+column+" IN "+in+" ORDER BY h.id", args...)
	for i := range hosts {
		s.rememberHost(&hosts[i])
	}
	return hosts, err
}

// lockedHostsBy is hostsBy of hosts that are kept from others from before they
// are read.
func (s *session) lockedHostsBy(column string, values []any) ([]fleet.Host, error) {
	lock := s.db.dialect.lockForUpdate()
	if lock == "" || len(values) == 0 {
		return s.hostsBy(column, values)
	}
	// The rows are locked apart from the join, which PostgreSQL refuses.
	in, args := inList(values)
	ids, err := collect(s, scanKey, "SELECT h.id FROM hosts h WHERE "+column+" IN "+in+" ORDER BY h.id"+lock, args...)
	if err != nil {
		return nil, err
	}
	return s.hostsBy("h.id", ids)
}

// lockHosts keeps hosts from others until the transaction ends, in the order of
// their keys. What is read afterwards is as it stays, and a host that is
// missing then was deleted.
func (s *session) lockHosts(ids []any) error {
	lock := s.db.dialect.lockForUpdate()
	if lock == "" || len(ids) == 0 {
		return nil
	}
	in, args := inList(ids)
	_, err := collect(s, scanKey, "SELECT id FROM hosts WHERE id IN "+in+" ORDER BY id"+lock, args...)
	return err
}

// rememberHost notes how a loaded host is stored.
func (s *session) rememberHost(h *fleet.Host) {
	s.remember("hosts", hostValues(h))
	s.remember("host_search", searchValues(h))
}

// hostValues are in the order of hostCols.
func hostValues(h *fleet.Host) []any {
	return []any{int64(h.ID), int64(h.TeamID), clip(h.UUID, 100), clip(h.HardwareSerial, 100), clip(h.Hostname, 255),
		clip(h.ComputerName, 255), string(h.Platform), clip(h.HardwareModel, 100), clip(h.HardwareVendor, 100), clip(h.OSVersion, 100),
		clip(h.Build, 40), clip(h.PrimaryMAC, 40), h.DiskTotalGB, h.DiskAvailableGB, int64(h.Supervised), int64(h.MDM.Status),
		clip(h.MDM.ServerURL, 1024), micros(h.MDM.EnrolledAt), micros(h.MDM.UnenrolledAt), h.MDM.BootstrapHeld,
		micros(h.CreatedAt), micros(h.UpdatedAt), micros(h.DetailUpdatedAt), micros(h.LabelUpdatedAt),
		micros(h.LastEnrolledAt), micros(h.RefetchAt)}
}

// putHost writes a host that was made or loaded in this transaction, making its key when it has none, and keeps its
// built-in labels.
func (s *session) putHost(h *fleet.Host) error {
	created := h.ID == 0
	if created {
		id, err := s.key("hosts")
		if err != nil {
			return err
		}
		h.ID = fleet.HostID(id)
		h.CreatedAt = s.db.clock()
	}
	h.UpdatedAt = s.db.clock()
	h.LabelUpdatedAt = h.UpdatedAt
	if err := s.save("hosts", hostCols, hostValues(h)); err != nil {
		return fmt.Errorf("write host: %w", err)
	}
	if err := s.save("host_search", searchCols, searchValues(h)); err != nil {
		return fmt.Errorf("write what a search finds a host by: %w", err)
	}
	if !created {
		return nil
	}
	if err := s.addHostState(h); err != nil {
		return err
	}
	return s.joinBuiltinLabels(h.ID, h.Platform)
}

// addHosts makes hosts together, which get their keys.
func (s *session) addHosts(hosts []*fleet.Host) error {
	if len(hosts) == 0 {
		return nil
	}
	next, err := s.keysInRow("hosts", int64(len(hosts)))
	if err != nil {
		return err
	}
	now := s.db.clock()
	var rows, words, states, members [][]any
	for _, h := range hosts {
		h.ID, h.CreatedAt, h.UpdatedAt, h.LabelUpdatedAt = fleet.HostID(next), now, now, now
		next++
		labels, err := s.builtinLabels(h.Platform)
		if err != nil {
			return fmt.Errorf("find built-in labels: %w", err)
		}
		for _, label := range labels {
			members = append(members, []any{label, int64(h.ID), int64(fleet.Yes)})
		}
		states = append(states, stateValues(&fleet.HostState{HostID: h.ID, TeamID: h.TeamID, DueAt: now}))
		rows, words = append(rows, hostValues(h)), append(words, searchValues(h))
	}
	for _, table := range []struct {
		name string
		cols []string
		rows [][]any
	}{{"hosts", hostCols, rows}, {"host_search", searchCols, words}, {"host_states", stateCols, states}, {"label_members", memberCols, members}} {
		if err := s.insertRows(table.name, table.cols, table.rows, ""); err != nil {
			return fmt.Errorf("write %s: %w", table.name, err)
		}
	}
	return nil
}

// noteRefetch keeps since when refetches of hosts are outstanding; 0: they are
// not any more.
func (s *session) noteRefetch(ids []any, at int64) error {
	return chunked(ids, func(chunk []any) error {
		in, args := inList(chunk)
		return s.exec("UPDATE hosts SET refetch_at = ? WHERE id IN "+in, append([]any{at}, args...)...)
	})
}

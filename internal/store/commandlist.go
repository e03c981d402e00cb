package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
)

// commandOrders maps the API's order keys to columns of the joined list.
var commandOrders = map[string]string{
	"":             "t.updated_at",
	"updated_at":   "t.updated_at",
	"created_at":   "t.created_at",
	"request_type": "t.request_type",
	"status":       "t.status",
	"command_uuid": "t.uuid",
	"hostname":     "h.hostname",
	"host_uuid":    "h.uuid",
}

// List returns commands, one entry for each enrollment, pending ones
// included. Without an order the latest change comes first.
func (c *Commands) List(ctx context.Context, f fleet.CommandFilter) ([]fleet.CommandResult, fleet.PageMeta, error) {
	order, ok := commandOrders[f.Page.OrderKey]
	if !ok {
		return nil, fleet.PageMeta{}, fleet.FieldErrorf(fleet.KindInvalid, "order_key", "cannot order commands by %q", f.Page.OrderKey)
	}
	dir := ""
	if f.Page.Desc || f.Page.OrderKey == "" {
		dir = " DESC"
	}
	f.Page.After = "" // paging is by number: the order is not unique
	tail, limits := pageTail(f.Page)
	// Each half needs to give no more than the page could show, as long as
	// the order is the one both halves have.
	bound := ""
	if order == "t.updated_at" {
		size, _ := limits[0].(int)
		offset, _ := limits[1].(int)
		bound = fmt.Sprintf(" ORDER BY updated_at%[1]s, command_id%[1]s, enrollment_id%[1]s LIMIT %[2]d", dir, size+offset)
	}
	queued, queuedArgs := commandHalf(f, "q", "CASE WHEN q.not_now_count > 0 THEN 2 ELSE 1 END",
		"CASE WHEN q.sent_at > 0 THEN q.sent_at ELSE c.created_at END")
	answered, answeredArgs := commandHalf(f, "r", "r.status", "r.updated_at")
	bodyCols := ""
	if f.WithBodies {
		bodyCols = ", c.body, COALESCE(r.result, '')"
	}
	query := "SELECT t.uuid, t.request_type, t.status, t.updated_at, t.created_at, COALESCE(e.channel, 0), COALESCE(e.enroll_key, '')," +
		" h.id, h.uuid, h.hardware_serial, h.hostname, h.computer_name, h.platform, h.team_id, h.mdm_status" + bodyCols +
		" FROM (SELECT * FROM (" + queued + bound + ") t1 UNION ALL SELECT * FROM (" + answered + bound + ") t2) t" +
		" JOIN hosts h ON h.id = t.host_id LEFT JOIN enrollments e ON e.id = t.enrollment_id"
	if f.WithBodies {
		query += " JOIN commands c ON c.id = t.command_id" +
			" LEFT JOIN command_results r ON r.command_id = t.command_id AND r.enrollment_id = t.enrollment_id"
	}
	query += " ORDER BY " + order + dir + ", t.command_id" + dir + ", t.enrollment_id" + dir + tail
	args := append(append(queuedArgs, answeredArgs...), limits...)
	var bodies bodyBudget
	list, err := collect(c.db.view(ctx), func(r *sql.Rows) (fleet.CommandResult, error) {
		result, err := scanCommandResult(r, f.WithBodies)
		bodies.charge(&result)
		return result, err
	}, query, args...)
	if err != nil {
		return nil, fleet.PageMeta{}, fmt.Errorf("list commands: %w", err)
	}
	list, meta := cutPage(list, f.Page)
	return list, meta, nil
}

// commandHalf selects from the queue (alias q) or the history (alias r).
func commandHalf(f fleet.CommandFilter, alias, status, updated string) (string, []any) {
	table := "command_queue"
	if alias == "r" {
		table = "command_results"
	}
	query := "SELECT c.id AS command_id, c.uuid AS uuid, c.request_type AS request_type, c.created_at AS created_at, " +
		alias + ".host_id AS host_id, " + alias + ".enrollment_id AS enrollment_id, " + status + " AS status, " + updated + " AS updated_at" +
		" FROM " + table + " " + alias + " JOIN commands c ON c.id = " + alias + ".command_id"
	conds := []string{"c.purpose NOT IN (" + ephemeral + ")"}
	var args []any
	if len(f.HostIDs) > 0 {
		in := "host_id IN (" + placeholders(len(f.HostIDs)) + ")"
		if alias == "q" { // the queue is found by enrollment
			in = "enrollment_id IN (SELECT own.id FROM enrollments own WHERE own." + in + ")"
		}
		conds = append(conds, alias+"."+in)
		for _, id := range f.HostIDs {
			args = append(args, int64(id))
		}
	}
	if f.CommandUUID != "" {
		conds = append(conds, "c.uuid = ?")
		args = append(args, f.CommandUUID)
	}
	if f.RequestType != "" {
		conds = append(conds, "c.request_type = ?")
		args = append(args, f.RequestType)
	}
	if len(f.Statuses) > 0 {
		conds = append(conds, status+" IN ("+placeholders(len(f.Statuses))+")")
		for _, v := range f.Statuses {
			args = append(args, int64(v))
		}
	}
	return query + " WHERE " + strings.Join(conds, " AND "), args
}

func scanCommandResult(rows *sql.Rows, bodies bool) (fleet.CommandResult, error) {
	var r fleet.CommandResult
	var computer string
	var updated, created int64
	dest := []any{&r.CommandUUID, &r.RequestType, &r.Status, &updated, &created, &r.Channel, &r.EnrollmentKey,
		&r.Host.ID, &r.Host.UUID, &r.Host.Serial, &r.Host.Hostname, &computer, &r.Host.Platform, &r.Host.TeamID, &r.Host.MDM}
	if bodies {
		dest = append(dest, &r.Payload, &r.Result)
	}
	err := rows.Scan(dest...)
	if r.Host.Hostname == "" {
		r.Host.Hostname = computer
	}
	r.UpdatedAt, r.CreatedAt = timeOf(updated), timeOf(created)
	return r, err
}

// Exists reports whether a command that may be listed has this UUID.
func (c *Commands) Exists(ctx context.Context, uuid string) (bool, error) {
	var id int64
	return c.db.view(ctx).get("SELECT id FROM commands WHERE uuid = ? AND purpose NOT IN ("+ephemeral+")", []any{uuid}, &id)
}

// maxBodies bounds the commands and answers that one list holds, in bytes.
const maxBodies = 32 << 20

// bodyBudget leaves bodies out once a list holds maxBodies of them, and keeps
// a command that went to many hosts once.
type bodyBudget struct {
	spent int
	uuid  string
	body  []byte
}

func (b *bodyBudget) charge(r *fleet.CommandResult) {
	if r.CommandUUID == b.uuid && len(r.Payload) == len(b.body) {
		r.Payload = b.body
	} else {
		b.uuid, b.body = r.CommandUUID, r.Payload
		b.spent += len(r.Payload)
	}
	b.spent += len(r.Result)
	if b.spent > maxBodies {
		r.Payload, r.Result = nil, nil
	}
}

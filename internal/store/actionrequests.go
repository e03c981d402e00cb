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

var requestCols = []string{"id", "uuid", "kind", "phase", "hosts", "targets", "actor_kind", "actor_id", "actor_name", "actor_email",
	"address", "decided_by", "decided_name", "decided_email", "created_at", "due_at", "decided_at", "detail", "lease_until"}

var requestSelect = "SELECT " + strings.Join(requestCols, ", ") + " FROM action_requests"

type targetRow struct {
	ID     int64  `json:"id"`
	Name   string `json:"name"`
	Serial string `json:"serial,omitempty"`
	Back   bool   `json:"taken_back,omitempty"`
}

func (s *session) putActionRequest(r *fleet.ActionRequest) error {
	if r.ID == 0 {
		id, err := s.key("action_requests")
		if err != nil {
			return err
		}
		r.ID = fleet.ActionRequestID(id)
	}
	rows := make([]targetRow, 0, len(r.Targets))
	for _, t := range r.Targets {
		rows = append(rows, targetRow{int64(t.ID), t.Name, t.Serial, t.TakenBack})
	}
	targets, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	values := []any{int64(r.ID), r.UUID, int64(r.Kind), int64(r.Phase), r.Hosts, targets,
		int64(r.Actor.Kind), int64(r.Actor.UserID), clip(r.Actor.Name, 255), clip(r.Actor.Email, 255), clip(r.Actor.Address, 100),
		int64(r.DecidedBy.UserID), clip(r.DecidedBy.Name, 255), clip(r.DecidedBy.Email, 255),
		micros(r.CreatedAt), micros(r.DueAt), micros(r.DecidedAt), clip(r.Detail, 1024), micros(r.LeaseUntil)}
	if err := s.put("action_requests", requestCols, [][]any{values}, s.db.dialect.onConflict(requestCols[:1], requestCols[3:]), 1); err != nil {
		return fmt.Errorf("write request: %w", err)
	}
	return nil
}

func scanRequest(rows *sql.Rows) (r fleet.ActionRequest, err error) {
	var targets []byte
	var created, due, decided, lease int64
	err = rows.Scan(&r.ID, &r.UUID, &r.Kind, &r.Phase, &r.Hosts, &targets, &r.Actor.Kind, &r.Actor.UserID, &r.Actor.Name, &r.Actor.Email,
		&r.Actor.Address, &r.DecidedBy.UserID, &r.DecidedBy.Name, &r.DecidedBy.Email, &created, &due, &decided, &r.Detail, &lease)
	if err != nil {
		return r, err
	}
	r.CreatedAt, r.DueAt, r.DecidedAt, r.LeaseUntil = timeOf(created), timeOf(due), timeOf(decided), timeOf(lease)
	if r.DecidedBy.UserID != 0 {
		r.DecidedBy.Kind = fleet.ActorUser
	}
	var list []targetRow
	if err := json.Unmarshal(targets, &list); err != nil {
		return r, fmt.Errorf("request %s: %w", r.UUID, err)
	}
	for _, t := range list {
		r.Targets = append(r.Targets, fleet.ActionTarget{ID: fleet.HostID(t.ID), Name: t.Name, Serial: t.Serial, TakenBack: t.Back})
	}
	return r, nil
}

// actionRequest reads a request, kept from others; nil when there is none.
func (s *session) actionRequest(uuid string) (*fleet.ActionRequest, error) {
	list, err := collect(s, scanRequest, requestSelect+" WHERE uuid = ?"+s.db.dialect.lockForUpdate(), uuid)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// actionsUsed counts the hosts of somebody's requests. Those that were taken
// back or came to nothing do not count.
func (s *session) actionsUsed(look fleet.ActionLookup) (used int, oldest time.Time, err error) {
	var first int64
	cast := s.db.dialect.castInt()
	_, err = s.get("SELECT CAST(COALESCE(SUM(hosts), 0) AS "+cast+"), COALESCE(MIN(created_at), 0) FROM action_requests"+
		" WHERE actor_id = ? AND kind = ? AND created_at > ? AND hosts > 0 AND phase IN (1, 2, 3, 8)",
		[]any{int64(look.Actor), int64(look.Kind), micros(look.Since)}, &used, &first)
	return used, timeOf(first), err
}

// maxUncounted bounds the requests that are looked through for the one of a
// command.
const maxUncounted = 1000

// uncount takes a host off the request by which its command came, which is taken
// back and which the device never had: the newest of the command's sender that
// still counts it. The request of a command that was sent as such may have more
// hosts than it names.
func (s *session) uncount(host fleet.HostID, c *fleet.WaitingCommand) error {
	kind := countedAs(c.RequestType)
	if kind == 0 || c.Sends > 0 {
		return nil
	}
	var actor fleet.UserID
	var at int64
	if _, err := s.get("SELECT actor_id, created_at FROM commands WHERE id = ?", []any{int64(c.ID)}, &actor, &at); err != nil {
		return err
	}
	list, err := collect(s, scanRequest, requestSelect+" WHERE actor_id = ? AND kind = ? AND created_at <= ? AND phase = ? ORDER BY created_at DESC, id DESC LIMIT ?",
		int64(actor), int64(kind), at, int64(fleet.ActionDone), maxUncounted)
	if err != nil {
		return err
	}
	for i := range list {
		if _, counts := countsOn(&list[i], host); !counts {
			continue
		}
		r, err := s.actionRequest(list[i].UUID)
		if err != nil || r == nil {
			return err
		}
		at, counts := countsOn(r, host)
		if !counts {
			continue // another command of it was taken back a moment ago
		}
		if at >= 0 {
			r.Targets[at].TakenBack = true
		}
		r.Hosts--
		return s.putActionRequest(r)
	}
	return nil
}

// countsOn tells whether a request still counts a host, and which of its targets
// that is; -1: one that it does not name.
func countsOn(r *fleet.ActionRequest, host fleet.HostID) (at int, counts bool) {
	at = slices.IndexFunc(r.Targets, func(t fleet.ActionTarget) bool { return t.ID == host })
	if at >= 0 {
		return at, !r.Targets[at].TakenBack
	}
	named := 0
	for _, t := range r.Targets {
		if !t.TakenBack {
			named++
		}
	}
	return at, r.Hosts > named
}

// countedAs is what the brake counts a command as; 0: as nothing.
func countedAs(requestType string) fleet.ActionKind {
	switch requestType {
	case "EraseDevice":
		return fleet.ActionWipe
	case "DeviceLock", "EnableLostMode":
		return fleet.ActionLock
	}
	return 0
}

// Request returns a request; nil when there is none.
func (a *HostActions) Request(ctx context.Context, uuid string) (*fleet.ActionRequest, error) {
	list, err := collect(a.db.view(ctx), scanRequest, requestSelect+" WHERE uuid = ?", uuid)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// Requests lists requests in some phases (none given: all), newest first.
func (a *HostActions) Requests(ctx context.Context, phases []fleet.ActionPhase, page fleet.Page) ([]fleet.ActionRequest, fleet.PageMeta, error) {
	query, args := requestSelect, []any{}
	if len(phases) > 0 {
		query += " WHERE phase IN (" + placeholders(len(phases)) + ")"
		for _, p := range phases {
			args = append(args, int64(p))
		}
	}
	tail, limits := pageTail(page)
	list, err := collect(a.db.view(ctx), scanRequest, query+" ORDER BY created_at DESC, id DESC"+tail, append(args, limits...)...)
	if err != nil {
		return nil, fleet.PageMeta{}, fmt.Errorf("list requests: %w", err)
	}
	list, meta := cutPage(list, page)
	return list, meta, nil
}

// DeleteRequests drops requests that ended before the time, in short
// transactions.
func (a *HostActions) DeleteRequests(ctx context.Context, before time.Time) error {
	for range maxCleanups {
		n := 0
		err := a.db.update(ctx, func(s *session) error {
			ids, err := collect(s, scanKey, "SELECT id FROM action_requests WHERE phase IN (1, 4, 5, 6, 7) AND due_at < ? AND decided_at < ?"+
				" ORDER BY due_at, id LIMIT ?", micros(before), micros(before), cleanChunk)
			if n = len(ids); err != nil || n == 0 {
				return err
			}
			return s.exec("DELETE FROM action_requests WHERE id IN ("+placeholders(n)+")", ids...)
		})
		if err != nil {
			return fmt.Errorf("delete old requests: %w", err)
		}
		if n < cleanChunk {
			break
		}
	}
	return nil
}

// RequestsDue returns up to limit requests in a phase whose time came.
func (a *HostActions) RequestsDue(ctx context.Context, phase fleet.ActionPhase, now time.Time, limit int) ([]fleet.ActionRequest, error) {
	return collect(a.db.view(ctx), scanRequest, requestSelect+" WHERE phase = ? AND due_at <= ? ORDER BY due_at, id LIMIT ?", int64(phase), micros(now), limit)
}

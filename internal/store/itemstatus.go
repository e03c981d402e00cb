package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
)

// ItemStatuses tells what became of items on hosts.
type ItemStatuses struct{ db *DB }

// NewItemStatuses returns the statuses of db.
func NewItemStatuses(db *DB) *ItemStatuses { return &ItemStatuses{db} }

type statusCount struct {
	status fleet.ItemStatus
	n      int
}

func scanStatusCount(r *sql.Rows) (v statusCount, err error) { return v, r.Scan(&v.status, &v.n) }

func countStatuses(rows []statusCount) fleet.ItemStatusCounts {
	var c fleet.ItemStatusCounts
	for _, r := range rows {
		switch r.status {
		case fleet.ItemVerified:
			c.Verified += r.n
		case fleet.ItemVerifying:
			c.Verifying += r.n
		case fleet.ItemPending:
			c.Pending += r.n
		case fleet.ItemFailed:
			c.Failed += r.n
		}
	}
	return c
}

// worstItem is the status that stands for a host, given the name of
// host_states and with scopes joined as sc: a host that is behind its scope's
// revision is pending.
func worstItem(states string) string {
	return strings.ReplaceAll("CASE WHEN @.revision < sc.revision AND @.status > 0 AND @.status <> 4 THEN 1 ELSE @.status END", "@", states)
}

// Summary counts a scope's hosts by their worst item. Hosts that are behind
// their scope's revision count as pending.
func (i *ItemStatuses) Summary(ctx context.Context, team fleet.TeamID) (fleet.ItemStatusCounts, error) {
	v := i.db.view(ctx)
	rows, err := collect(v, scanStatusCount, "SELECT status, COUNT(*) FROM host_states WHERE team_id = ? GROUP BY status", int64(team))
	if err != nil {
		return fleet.ItemStatusCounts{}, fmt.Errorf("summarize items: %w", err)
	}
	c := countStatuses(rows)
	// Who is behind is looked at only while somebody may be.
	behind, err := collect(v, scanStatusCount, "SELECT hs.status, COUNT(*) FROM scopes sc JOIN host_states hs ON hs.team_id = sc.team_id AND hs.revision < sc.revision"+
		" WHERE sc.team_id = ? AND sc.revision > sc.settled AND hs.status > 0 GROUP BY hs.status", int64(team))
	if err != nil {
		return fleet.ItemStatusCounts{}, fmt.Errorf("summarize items: %w", err)
	}
	late := countStatuses(behind)
	c.Pending += late.Verifying + late.Verified
	c.Verifying -= late.Verifying
	c.Verified -= late.Verified
	return c, nil
}

// ItemCounts counts the hosts of an item by status.
func (i *ItemStatuses) ItemCounts(ctx context.Context, id fleet.ItemID) (fleet.ItemStatusCounts, error) {
	rows, err := collect(i.db.view(ctx), scanStatusCount, "SELECT status, COUNT(*) FROM host_items WHERE item_id = ? GROUP BY status", int64(id))
	if err != nil {
		return fleet.ItemStatusCounts{}, fmt.Errorf("count hosts of item: %w", err)
	}
	return countStatuses(rows), nil
}

// RolloutCounts tells what came of one version of an item.
func (i *ItemStatuses) RolloutCounts(ctx context.Context, id fleet.ItemID, version int) (fleet.RolloutCounts, error) {
	rows, err := collect(i.db.view(ctx), scanStatusCount, "SELECT status, COUNT(*) FROM host_items WHERE item_id = ? AND version = ? GROUP BY status", int64(id), version)
	if err != nil {
		return fleet.RolloutCounts{}, fmt.Errorf("count hosts of rollout: %w", err)
	}
	c := countStatuses(rows)
	return fleet.RolloutCounts{Pending: c.Pending, Verifying: c.Verifying, Verified: c.Verified, Failed: c.Failed}, nil
}

// HostsOf returns one page of the hosts of an item, those on which it failed
// first.
func (i *ItemStatuses) HostsOf(ctx context.Context, f fleet.ItemHostFilter) ([]fleet.ItemHost, fleet.PageMeta, error) {
	conds, args := []string{"hi.item_id = ?"}, []any{int64(f.ItemID)}
	if f.Status != 0 {
		conds, args = append(conds, "hi.status = ?"), append(args, int64(f.Status))
	}
	if f.Query != "" {
		conds, args = append(conds, "LOWER(hi.detail) LIKE ? ESCAPE '!'"), append(args, "%"+escapeLike(strings.ToLower(f.Query))+"%")
	}
	tail, limits := pageTail(f.Page)
	rows, err := collect(i.db.view(ctx), func(r *sql.Rows) (v fleet.ItemHost, err error) {
		err = scanHostItemWith(r, &v.HostItem, &v.Host.UUID, &v.Host.Serial, &v.Host.Hostname, &v.Host.Platform, &v.Host.TeamID, &v.Host.MDM)
		v.Host.ID = v.HostID
		return v, err
	}, "SELECT hi."+strings.Join(hostItemCols, ", hi.")+", h.uuid, h.hardware_serial, h.hostname, h.platform, h.team_id, h.mdm_status"+
		" FROM host_items hi JOIN hosts h ON h.id = hi.host_id WHERE "+strings.Join(conds, " AND ")+
		" ORDER BY hi.status DESC, hi.version DESC, hi.host_id DESC"+tail, append(args, limits...)...)
	if err != nil {
		return nil, fleet.PageMeta{}, fmt.Errorf("list hosts of item: %w", err)
	}
	rows, meta := cutPage(rows, f.Page)
	return rows, meta, nil
}

// HostItems lists the items of a host by name, those on their way out
// included.
func (i *ItemStatuses) HostItems(ctx context.Context, host fleet.HostID) ([]fleet.HostItemDetail, error) {
	return collect(i.db.view(ctx), func(r *sql.Rows) (v fleet.HostItemDetail, err error) {
		err = scanHostItemWith(r, &v.HostItem, &v.UUID, &v.Name, &v.Identifier, &v.Kind, &v.Owner, &v.Scope)
		return v, err
	}, "SELECT hi."+strings.Join(hostItemCols, ", hi.")+", i.uuid, i.name, i.identifier, i.kind, i.owner, i.scope"+
		" FROM host_items hi JOIN items i ON i.id = hi.item_id WHERE hi.host_id = ? ORDER BY i.name, i.id", int64(host))
}

// Resend makes an item of a host pending again, without any try so far.
// KindNotFound: the host does not have it.
func (i *ItemStatuses) Resend(ctx context.Context, host fleet.HostID, item fleet.ItemID, events ...fleet.Event) error {
	return i.db.update(ctx, func(s *session) error {
		state, err := s.hostState(host, s.db.dialect.lockForUpdate())
		if err != nil || state == nil {
			return orNotFound(err, "there is no host %d", host)
		}
		n, err := s.changed("UPDATE host_items SET status = ?, fault = 0, tries = 0, command_id = 0, detail = '', next_at = ?, changed_at = ?"+
			" WHERE host_id = ? AND item_id = ?", int64(fleet.ItemPending), s.db.now(), s.db.now(), int64(host), int64(item))
		if err != nil || n == 0 {
			return orNotFound(err, "the profile is not for this host: see why with `muster explain`")
		}
		if err := s.hostsDue([]int64{int64(host)}); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
}

func orNotFound(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fleet.Errorf(fleet.KindNotFound, format, args...)
}

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/muster-mdm/muster/internal/fleet"
)

const labelSelect = `SELECT l.id, l.name, l.builtin, l.created_at, l.updated_at, COALESCE(r.kind, 0), COALESCE(r.description, ''),
	COALESCE(r.query, ''), COALESCE(r.platform, ''), r.criteria`

const labelFrom = " FROM labels l LEFT JOIN label_rules r ON r.label_id = l.id"

// labelCount counts a label's members by its index.
const labelCount = "(SELECT COUNT(*) FROM label_members m WHERE m.label_id = l.id AND m.member = 1)"

func scanLabel(rows *sql.Rows) (fleet.Label, error) {
	var l fleet.Label
	var builtin bool
	var created, updated int64
	var criteria []byte
	err := rows.Scan(&l.ID, &l.Name, &builtin, &created, &updated, &l.Kind, &l.Description, &l.Query, &l.Platform, &criteria, &l.HostCount)
	if err != nil {
		return l, err
	}
	l.CreatedAt, l.UpdatedAt = timeOf(created), timeOf(updated)
	if len(criteria) > 0 {
		l.Criteria = &fleet.Criteria{}
		if err := json.Unmarshal(criteria, l.Criteria); err != nil {
			return l, fmt.Errorf("decode criteria of label %d: %w", l.ID, err)
		}
	}
	return l, nil
}

// List returns one page of labels, built-in ones first. Counting members
// reads an index entry for each.
func (l *Labels) List(ctx context.Context, page fleet.Page, withCounts bool) ([]fleet.Label, fleet.PageMeta, error) {
	count := "0"
	if withCounts {
		count = labelCount
	}
	tail, args := pageTail(page)
	labels, err := collect(l.db.view(ctx), scanLabel, labelSelect+", "+count+labelFrom+" ORDER BY l.builtin DESC, l.name, l.id"+tail, args...)
	if err != nil {
		return nil, fleet.PageMeta{}, fmt.Errorf("list labels: %w", err)
	}
	labels, meta := cutPage(labels, page)
	return labels, meta, nil
}

// Label returns a label with its count; nil when there is none.
func (l *Labels) Label(ctx context.Context, id fleet.LabelID) (*fleet.Label, error) {
	return l.db.view(ctx).label("l.id = ?", int64(id))
}

// ByName returns a label with its count; nil when there is none.
func (l *Labels) ByName(ctx context.Context, name string) (*fleet.Label, error) {
	return l.db.view(ctx).label("l.name = ?", name)
}

func (s *session) label(cond string, args ...any) (*fleet.Label, error) {
	list, err := collect(s, scanLabel, labelSelect+", "+labelCount+labelFrom+" WHERE "+cond, args...)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// ByNames resolves names; those that do not exist are missing from the answer.
func (l *Labels) ByNames(ctx context.Context, names []string) (map[string]fleet.LabelID, error) {
	out := make(map[string]fleet.LabelID, len(names))
	type pair struct {
		name string
		id   fleet.LabelID
	}
	err := chunked(names, func(chunk []string) error {
		list, err := collect(l.db.view(ctx), func(r *sql.Rows) (p pair, err error) { return p, r.Scan(&p.name, &p.id) },
			"SELECT name, id FROM labels WHERE name IN ("+placeholders(len(chunk))+")", anys(chunk)...)
		for _, p := range list {
			out[p.name] = p.id
		}
		return err
	})
	return out, err
}

// Create makes a label; hosts are the members of a manual one. KindConflict:
// the name is taken. Hosts are planned again where vitals decide.
func (l *Labels) Create(ctx context.Context, label *fleet.Label, hosts []fleet.HostID, events ...fleet.Event) error {
	criteria, err := packCriteria(label.Criteria)
	if err != nil {
		return err
	}
	err = l.db.update(ctx, func(s *session) error {
		id, err := s.key("labels")
		if err != nil {
			return err
		}
		label.ID, label.CreatedAt = fleet.LabelID(id), s.db.clock()
		label.UpdatedAt = label.CreatedAt
		if err := s.exec("INSERT INTO labels (id, name, builtin, created_at, updated_at) VALUES (?, ?, FALSE, ?, ?)",
			id, label.Name, micros(label.CreatedAt), micros(label.CreatedAt)); err != nil {
			return err
		}
		if err := s.exec("INSERT INTO label_rules (label_id, kind, description, query, platform, criteria) VALUES (?, ?, ?, ?, ?, ?)",
			id, int64(label.Kind), label.Description, label.Query, string(label.Platform), criteria); err != nil {
			return err
		}
		if err := s.join(label.ID, hosts); err != nil {
			return err
		}
		if label.Kind == fleet.LabelVitals {
			if err := s.bump(fleet.EveryTeam); err != nil {
				return err
			}
		}
		return s.appendEvents(events...)
	})
	if isDuplicate(err) {
		return fleet.FieldErrorf(fleet.KindConflict, "name", "a label named %q exists already", label.Name)
	}
	return err
}

func packCriteria(c *fleet.Criteria) ([]byte, error) {
	if c == nil {
		return []byte{}, nil
	}
	return json.Marshal(c)
}

// Update changes name and description; hosts, if not nil, become the members
// of a manual label. Exactly the hosts that join or leave are due then.
func (l *Labels) Update(ctx context.Context, label *fleet.Label, hosts *[]fleet.HostID, events ...fleet.Event) error {
	err := l.db.update(ctx, func(s *session) error {
		label.UpdatedAt = s.db.clock()
		n, err := s.changed("UPDATE labels SET name = ?, updated_at = ? WHERE id = ? AND builtin = FALSE",
			label.Name, micros(label.UpdatedAt), int64(label.ID))
		if err == nil && n == 0 {
			return fleet.Errorf(fleet.KindNotFound, "there is no label %d that can be changed", label.ID)
		}
		if err != nil {
			return err
		}
		if err := s.exec("UPDATE label_rules SET description = ? WHERE label_id = ?", label.Description, int64(label.ID)); err != nil {
			return err
		}
		if err := s.exec("UPDATE item_labels SET name = ? WHERE label_id = ?", label.Name, int64(label.ID)); err != nil {
			return err
		}
		if hosts != nil {
			if err := s.setMembers(label.ID, *hosts); err != nil {
				return err
			}
		}
		return s.appendEvents(events...)
	})
	if isDuplicate(err) {
		return fleet.FieldErrorf(fleet.KindConflict, "name", "a label named %q exists already", label.Name)
	}
	return err
}

// setMembers makes the hosts the members, and nobody else.
func (s *session) setMembers(label fleet.LabelID, hosts []fleet.HostID) error {
	now, err := collect(s, func(r *sql.Rows) (id fleet.HostID, err error) { return id, r.Scan(&id) },
		"SELECT host_id FROM label_members WHERE label_id = ? AND member = 1", int64(label))
	if err != nil {
		return err
	}
	wanted := make(map[fleet.HostID]bool, len(hosts))
	for _, id := range hosts {
		wanted[id] = true
	}
	var leave []fleet.HostID
	for _, id := range now {
		if !wanted[id] {
			leave = append(leave, id)
		}
		delete(wanted, id)
	}
	var enter []fleet.HostID
	for _, id := range hosts {
		if wanted[id] {
			enter = append(enter, id)
		}
	}
	if err := s.leave(label, leave); err != nil {
		return err
	}
	return s.join(label, enter)
}

// join makes hosts members of a manual label, and due.
func (s *session) join(label fleet.LabelID, hosts []fleet.HostID) error {
	if len(hosts) == 0 {
		return nil
	}
	rows := make([][]any, len(hosts))
	ids := make([]int64, len(hosts))
	for i, id := range hosts {
		rows[i], ids[i] = []any{int64(label), int64(id), int64(fleet.Yes)}, int64(id)
	}
	tail := s.db.dialect.onConflict([]string{"label_id", "host_id"}, []string{"member"})
	if err := s.insertRows("label_members", memberCols, rows, tail); err != nil {
		return fmt.Errorf("join label: %w", err)
	}
	return s.hostsDue(ids)
}

var memberCols = []string{"label_id", "host_id", "member"}

func (s *session) leave(label fleet.LabelID, hosts []fleet.HostID) error {
	ids := make([]int64, len(hosts))
	for i, id := range hosts {
		ids[i] = int64(id)
	}
	err := chunked(ids, func(chunk []int64) error {
		return s.exec("DELETE FROM label_members WHERE label_id = ? AND host_id IN ("+placeholders(len(chunk))+")",
			append([]any{int64(label)}, anys(chunk)...)...)
	})
	if err != nil {
		return fmt.Errorf("leave label: %w", err)
	}
	return s.hostsDue(ids)
}

// AddHosts makes hosts members of a manual label, RemoveHosts ends that.
func (l *Labels) AddHosts(ctx context.Context, label fleet.LabelID, hosts []fleet.HostID, events ...fleet.Event) error {
	return l.db.update(ctx, func(s *session) error {
		if err := s.join(label, hosts); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
}

// RemoveHosts takes hosts out of a manual label.
func (l *Labels) RemoveHosts(ctx context.Context, label fleet.LabelID, hosts []fleet.HostID, events ...fleet.Event) error {
	return l.db.update(ctx, func(s *session) error {
		if err := s.leave(label, hosts); err != nil {
			return err
		}
		return s.appendEvents(events...)
	})
}

// Delete removes a label. Items that it scoped keep its name: they go to no
// further hosts, and their scopes are planned again.
func (l *Labels) Delete(ctx context.Context, id fleet.LabelID, events ...fleet.Event) error {
	return l.db.update(ctx, func(s *session) error {
		n, err := s.changed("DELETE FROM labels WHERE id = ? AND builtin = FALSE", int64(id))
		if err == nil && n == 0 {
			return fleet.Errorf(fleet.KindNotFound, "there is no label %d that can be deleted", id)
		}
		if err != nil {
			return err
		}
		teams, err := collect(s, scanID, "SELECT DISTINCT i.team_id FROM items i JOIN item_labels il ON il.item_id = i.id WHERE il.label_id = ?", int64(id))
		if err != nil {
			return err
		}
		for _, query := range []string{
			"UPDATE item_labels SET label_id = 0 WHERE label_id = ?",
			"DELETE FROM label_members WHERE label_id = ?",
			"DELETE FROM label_rules WHERE label_id = ?",
		} {
			if err := s.exec(query, int64(id)); err != nil {
				return err
			}
		}
		for _, team := range teams {
			if err := s.bump(fleet.TeamID(team)); err != nil {
				return err
			}
		}
		return s.appendEvents(events...)
	})
}

// putMemberships stores what vitals labels turned out to be.
func (s *session) putMemberships(host fleet.HostID, list []fleet.Membership) error {
	if len(list) == 0 {
		return nil
	}
	rows := make([][]any, 0, len(list))
	for _, m := range list {
		if m.Member == fleet.Unknown {
			if err := s.exec("DELETE FROM label_members WHERE label_id = ? AND host_id = ?", int64(m.LabelID), int64(host)); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []any{int64(m.LabelID), int64(host), int64(m.Member)})
	}
	if len(rows) == 0 {
		return nil
	}
	return s.insertRows("label_members", memberCols, rows, s.db.dialect.onConflict([]string{"label_id", "host_id"}, []string{"member"}))
}

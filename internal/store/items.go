package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Items keeps configuration profiles and declarations with their versions.
// Every change counts the revision of its scope up.
type Items struct{ db *DB }

// NewItems returns the items of db.
func NewItems(db *DB) *Items { return &Items{db} }

var itemCols = []string{"id", "uuid", "team_id", "kind", "owner", "identifier", "name", "scope", "platforms", "version", "previous",
	"rollout", "resend_at", "resend_match", "created_at", "uploaded_at", "deleted_at"}

// itemSelect joins the current version and, during a rollout, the previous.
var itemSelect = "SELECT i." + strings.Join(itemCols, ", i.") + ", v.sha256, v.spec, COALESCE(p.version, 0), p.sha256, p.spec" +
	" FROM items i JOIN item_versions v ON v.item_id = i.id AND v.version = i.version" +
	" LEFT JOIN item_versions p ON p.item_id = i.id AND p.version = i.previous AND i.previous > 0"

func scanItem(rows *sql.Rows) (*fleet.Item, error) {
	var i fleet.Item
	var previous, previousVersion int
	var rollout, sha, spec, previousSHA, previousSpec []byte
	var resend, created, uploaded, deleted int64
	err := rows.Scan(&i.ID, &i.UUID, &i.TeamID, &i.Kind, &i.Owner, &i.Identifier, &i.Name, &i.Scope, &i.Platforms, &i.Version, &previous,
		&rollout, &resend, &i.ResendMatch, &created, &uploaded, &deleted, &sha, &spec, &previousVersion, &previousSHA, &previousSpec)
	if err != nil {
		return nil, err
	}
	i.ResendAt, i.CreatedAt, i.UploadedAt, i.DeletedAt = timeOf(resend), timeOf(created), timeOf(uploaded), timeOf(deleted)
	copy(i.SHA256[:], sha)
	if err := json.Unmarshal(spec, &i.Spec); err != nil {
		return nil, fmt.Errorf("decode item %d: %w", i.ID, err)
	}
	if previousVersion > 0 {
		i.Previous = &fleet.ItemVersion{Version: previousVersion}
		copy(i.Previous.SHA256[:], previousSHA)
		if err := json.Unmarshal(previousSpec, &i.Previous.Spec); err != nil {
			return nil, fmt.Errorf("decode item %d: %w", i.ID, err)
		}
	}
	if len(rollout) > 0 {
		i.Rollout = &fleet.Rollout{}
		if err := json.Unmarshal(rollout, i.Rollout); err != nil {
			return nil, fmt.Errorf("decode rollout of item %d: %w", i.ID, err)
		}
	}
	return &i, nil
}

// items reads items of a condition with their labels.
func (s *session) items(tail string, args ...any) ([]*fleet.Item, error) {
	list, err := collect(s, scanItem, itemSelect+tail, args...)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	byID := make(map[fleet.ItemID]*fleet.Item, len(list))
	ids := make([]int64, len(list))
	for n, i := range list {
		byID[i.ID], ids[n] = i, int64(i.ID)
	}
	type row struct {
		item fleet.ItemID
		fleet.ItemLabel
	}
	err = chunked(ids, func(chunk []int64) error {
		labels, err := collect(s, func(r *sql.Rows) (v row, err error) { return v, r.Scan(&v.item, &v.Mode, &v.Name, &v.LabelID) },
			"SELECT item_id, mode, name, label_id FROM item_labels WHERE item_id IN ("+placeholders(len(chunk))+") ORDER BY item_id, mode, name",
			anys(chunk)...)
		for _, l := range labels {
			byID[l.item].Labels = append(byID[l.item].Labels, l.ItemLabel)
		}
		return err
	})
	return list, err
}

// List returns one page of live items by name.
func (i *Items) List(ctx context.Context, f fleet.ItemFilter) ([]*fleet.Item, fleet.PageMeta, error) {
	conds, args := []string{"i.team_id = ?", "i.deleted_at = 0"}, []any{int64(f.TeamID)}
	if !f.WithMuster {
		conds = append(conds, "i.owner = 0")
	}
	if len(f.Kinds) > 0 {
		conds = append(conds, "i.kind IN ("+placeholders(len(f.Kinds))+")")
		for _, k := range f.Kinds {
			args = append(args, int64(k))
		}
	}
	if f.Identifier != "" {
		conds, args = append(conds, "i.identifier = ?"), append(args, f.Identifier)
	}
	if f.Name != "" {
		conds, args = append(conds, "i.name = ?"), append(args, f.Name)
	}
	tail, limits := pageTail(f.Page)
	list, err := i.db.view(ctx).items(" WHERE "+strings.Join(conds, " AND ")+" ORDER BY i.name, i.id"+tail, append(args, limits...)...)
	if err != nil {
		return nil, fleet.PageMeta{}, fmt.Errorf("list items: %w", err)
	}
	list, meta := cutPage(list, f.Page)
	return list, meta, nil
}

// Item returns a live item by its UUID; nil when there is none.
func (i *Items) Item(ctx context.Context, uuid string) (*fleet.Item, error) {
	list, err := i.db.view(ctx).items(" WHERE i.uuid = ? AND i.deleted_at = 0", uuid)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// ItemByID returns a live item by its key; nil when there is none.
func (i *Items) ItemByID(ctx context.Context, id fleet.ItemID) (*fleet.Item, error) {
	list, err := i.db.view(ctx).items(" WHERE i.id = ? AND i.deleted_at = 0", int64(id))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// Content returns a content by its SHA-256; nil when there is none.
func (i *Items) Content(ctx context.Context, sha [32]byte) ([]byte, error) {
	return i.db.view(ctx).content(sha)
}

func (s *session) content(sha [32]byte) ([]byte, error) {
	var body []byte
	_, err := s.get("SELECT body FROM contents WHERE sha256 = ?", []any{sha[:]}, &body)
	return body, err
}

// Edit changes the items of one scope, all together or not at all: decide
// sees the live ones. With dry set nothing is written. KindConflict: two
// items would have one name or identifier, or the scope has not the revision
// that the edits are for.
func (i *Items) Edit(ctx context.Context, team fleet.TeamID, dry bool, decide func([]*fleet.Item) (fleet.ItemEdits, error)) error {
	if dry {
		live, err := i.db.view(ctx).items(" WHERE i.team_id = ? AND i.deleted_at = 0 ORDER BY i.id", int64(team))
		if err != nil {
			return err
		}
		_, err = decide(live)
		return err
	}
	err := i.db.update(ctx, func(s *session) error {
		revision, err := s.lockScope(team)
		if err != nil {
			return err
		}
		live, err := s.items(" WHERE i.team_id = ? AND i.deleted_at = 0 ORDER BY i.id", int64(team))
		if err != nil {
			return err
		}
		edits, err := decide(live)
		if err != nil {
			return err
		}
		if edits.Revision != 0 && edits.Revision != revision {
			return fleet.FieldErrorf(fleet.KindConflict, "revision",
				"the team's profiles changed since the plan was made (revision %d, now %d): plan again", edits.Revision, revision)
		}
		if !edits.Empty() {
			if err := s.editItems(&edits); err != nil {
				return err
			}
			if err := s.bump(team); err != nil {
				return err
			}
		}
		return s.appendEvents(edits.Events...)
	})
	if isDuplicate(err) {
		return fleet.FieldErrorf(fleet.KindConflict, "profile", "another profile or declaration of the team has that name or identifier")
	}
	return err
}

// lockScope lets edits of one scope take turns, and returns its revision.
// KindNotFound: there is no such team.
func (s *session) lockScope(team fleet.TeamID) (revision int64, err error) {
	if team == fleet.EveryTeam {
		return 0, nil
	}
	found, err := s.get("SELECT revision FROM scopes WHERE team_id = ?"+s.db.dialect.lockForUpdate(), []any{int64(team)}, &revision)
	if err == nil && found && team != fleet.NoTeam {
		var id int64
		found, err = s.get("SELECT id FROM teams WHERE id = ?", []any{int64(team)}, &id)
	}
	if err == nil && !found {
		err = fleet.FieldErrorf(fleet.KindNotFound, "team_id", "there is no team %d", team)
	}
	return revision, err
}

func (s *session) editItems(e *fleet.ItemEdits) error {
	// What goes makes room first: an item that comes may have its name.
	for _, id := range e.Remove {
		if err := s.dropItems("id = ?", int64(id)); err != nil {
			return err
		}
	}
	for n := range e.Edit {
		if err := s.editItem(&e.Edit[n]); err != nil {
			return err
		}
	}
	for n := range e.Add {
		if err := s.addItem(&e.Add[n]); err != nil {
			return err
		}
	}
	return nil
}

// dropItems deletes items for people; they stay until hosts have lost them.
func (s *session) dropItems(cond string, args ...any) error {
	return s.exec("UPDATE items SET deleted_at = ? WHERE deleted_at = 0 AND "+cond, append([]any{s.db.nextSeq()}, args...)...)
}

func itemValues(i *fleet.Item) ([]any, error) {
	rollout := []byte{}
	if i.Rollout != nil {
		var err error
		if rollout, err = json.Marshal(i.Rollout); err != nil {
			return nil, err
		}
	}
	previous := 0
	if i.Previous != nil {
		previous = i.Previous.Version
	}
	return []any{int64(i.ID), i.UUID, int64(i.TeamID), int64(i.Kind), int64(i.Owner), i.Identifier, i.Name, int64(i.Scope), int64(i.Platforms),
		i.Version, previous, rollout, micros(i.ResendAt), clip(i.ResendMatch, 255), micros(i.CreatedAt), micros(i.UploadedAt), micros(i.DeletedAt)}, nil
}

func (s *session) addItem(u *fleet.ItemUpload) error {
	id, err := s.key("items")
	if err != nil {
		return err
	}
	i := &u.Item
	i.ID, i.CreatedAt = fleet.ItemID(id), s.db.clock()
	i.UploadedAt = i.CreatedAt
	values, err := itemValues(i)
	if err != nil {
		return err
	}
	if err := s.insertRows("items", itemCols, [][]any{values}, ""); err != nil {
		return err
	}
	return s.putVersion(u)
}

func (s *session) editItem(u *fleet.ItemUpload) error {
	i := &u.Item
	if u.Content != nil {
		i.UploadedAt = s.db.clock()
	}
	values, err := itemValues(i)
	if err != nil {
		return err
	}
	if err := s.exec("UPDATE items SET "+strings.Join(itemCols[1:], " = ?, ")+" = ? WHERE id = ?", append(values[1:], values[0])...); err != nil {
		return err
	}
	if u.Content == nil {
		return s.putItemLabels(i)
	}
	return s.putVersion(u)
}

func (s *session) putVersion(u *fleet.ItemUpload) error {
	i := &u.Item
	spec, err := json.Marshal(i.Spec)
	if err != nil {
		return err
	}
	// One that is there is young again, and kept from whoever clears away.
	if err := s.exec("INSERT INTO contents (sha256, body, created_at) VALUES (?, ?, ?)"+s.db.dialect.onConflict([]string{"sha256"}, []string{"created_at"}),
		i.SHA256[:], u.Content, s.db.now()); err != nil {
		return fmt.Errorf("write content: %w", err)
	}
	if err := s.exec("INSERT INTO item_versions (item_id, version, sha256, spec, created_at, actor_id, actor_name) VALUES (?, ?, ?, ?, ?, 0, '')",
		int64(i.ID), i.Version, i.SHA256[:], spec, s.db.now()); err != nil {
		return fmt.Errorf("write version: %w", err)
	}
	return s.putItemLabels(i)
}

func (s *session) putItemLabels(i *fleet.Item) error {
	if err := s.exec("DELETE FROM item_labels WHERE item_id = ?", int64(i.ID)); err != nil {
		return err
	}
	rows := make([][]any, len(i.Labels))
	for n, l := range i.Labels {
		rows[n] = []any{int64(i.ID), int64(l.Mode), l.Name, int64(l.LabelID)}
	}
	return s.insertRows("item_labels", []string{"item_id", "mode", "name", "label_id"}, rows, "")
}

// Version returns one state of an item's content; nil when there is none.
func (i *Items) Version(ctx context.Context, id fleet.ItemID, version int) (*fleet.ItemVersion, error) {
	return i.db.view(ctx).version(id, version)
}

func (s *session) version(id fleet.ItemID, version int) (*fleet.ItemVersion, error) {
	v := fleet.ItemVersion{Version: version}
	var sha, spec []byte
	found, err := s.get("SELECT sha256, spec FROM item_versions WHERE item_id = ? AND version = ?", []any{int64(id), version}, &sha, &spec)
	if err != nil || !found {
		return nil, err
	}
	copy(v.SHA256[:], sha)
	return &v, json.Unmarshal(spec, &v.Spec)
}

// purgeItems drops up to limit deleted items that no host has any more, with
// their versions, and contents that nothing names. It reports how many.
func (s *session) purgeItems(before int64, limit int) (int, error) {
	ids, err := collect(s, scanID, "SELECT i.id FROM items i WHERE i.deleted_at > 0 AND i.deleted_at < ?"+
		" AND NOT EXISTS (SELECT 1 FROM host_items hi WHERE hi.item_id = i.id) ORDER BY i.id LIMIT ?", before, limit)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	in := " IN (" + placeholders(len(ids)) + ")"
	for _, query := range []string{"DELETE FROM item_labels WHERE item_id" + in, "DELETE FROM item_versions WHERE item_id" + in, "DELETE FROM items WHERE id" + in} {
		if err := s.exec(query, anys(ids)...); err != nil {
			return 0, err
		}
	}
	return len(ids), s.exec("DELETE FROM contents WHERE created_at < ? AND NOT EXISTS (SELECT 1 FROM item_versions v WHERE v.sha256 = contents.sha256)", before)
}

// DeleteGone forgets deleted items that no host has to lose any more.
func (i *Items) DeleteGone(ctx context.Context, keepSince int64) error {
	for range maxCleanups {
		n := 0
		err := i.db.update(ctx, func(s *session) (err error) {
			n, err = s.purgeItems(keepSince, cleanChunk)
			return err
		})
		if err != nil {
			return fmt.Errorf("forget deleted items: %w", err)
		}
		if n < cleanChunk {
			return nil
		}
	}
	return nil
}

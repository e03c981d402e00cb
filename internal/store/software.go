package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Software keeps which versions of titles hosts have.
type Software struct{ db *DB }

// NewSoftware returns the software of db.
func NewSoftware(db *DB) *Software { return &Software{db} }

// unusedLife is how long a version is remembered that no host has. It outlasts
// every transaction that may be about to give it to a host.
const unusedLife = 24 * time.Hour

// softwareKey is by what a version is found.
func softwareKey(i *fleet.Software) [32]byte {
	var b []byte
	for _, text := range []string{i.Name, i.Version, i.BundleID, i.Source} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return sha256.Sum256(b)
}

// hostSoftware is the software that a host has now.
type hostSoftware struct {
	host     fleet.HostID
	platform fleet.Platform
	list     *fleet.SoftwareList
}

// putSoftware stores the software of hosts whose list changed, as the
// difference to what is stored.
func (s *session) putSoftware(lists []hostSoftware) error {
	if len(lists) == 0 {
		return nil
	}
	wanted := map[[32]byte]fleet.Software{}
	for _, l := range lists {
		for _, i := range l.list.Items {
			i.Source = fleet.SoftwareSource(l.platform)
			wanted[softwareKey(&i)] = i
		}
	}
	ids, err := s.softwareIDs(wanted)
	if err != nil {
		return fmt.Errorf("name software: %w", err)
	}
	want := map[[2]int64]bool{}
	hosts := make([]any, 0, len(lists))
	for _, l := range lists {
		hosts = append(hosts, int64(l.host))
		for _, i := range l.list.Items {
			i.Source = fleet.SoftwareSource(l.platform)
			want[[2]int64{int64(l.host), ids[softwareKey(&i)]}] = true
		}
	}
	in, args := inList(hosts)
	held, err := collect(s, func(r *sql.Rows) (p [2]int64, err error) { return p, r.Scan(&p[0], &p[1]) },
		"SELECT host_id, software_id FROM host_software WHERE host_id IN "+in, args...)
	if err != nil {
		return err
	}
	var gone [][2]int64
	for _, pair := range held {
		if !want[pair] {
			gone = append(gone, pair)
		}
		delete(want, pair)
	}
	if err := chunked(gone, func(chunk [][2]int64) error {
		in, args := s.db.dialect.inPairs(chunk)
		return s.exec("DELETE FROM host_software WHERE (host_id, software_id) IN "+in, args...)
	}); err != nil {
		return err
	}
	rows := make([][]any, 0, len(want))
	for pair := range want {
		rows = append(rows, []any{pair[0], pair[1]})
	}
	slices.SortFunc(rows, func(a, b []any) int {
		return cmp.Or(cmp.Compare(a[0].(int64), b[0].(int64)), cmp.Compare(a[1].(int64), b[1].(int64)))
	})
	cols := []string{"host_id", "software_id"}
	return s.insertRows("host_software", cols, rows, s.db.dialect.onConflict(cols, nil))
}

// softwareIDs finds the keys of versions and makes those that are new. Those
// that nobody had for a while are in use again.
func (s *session) softwareIDs(wanted map[[32]byte]fleet.Software) (map[[32]byte]int64, error) {
	ids := make(map[[32]byte]int64, len(wanted))
	keys := make([][]byte, 0, len(wanted))
	for key := range wanted {
		keys = append(keys, key[:])
	}
	slices.SortFunc(keys, bytes.Compare)
	if err := s.findSoftware(keys, ids); err != nil {
		return nil, err
	}
	var rows [][]any
	var missing [][]byte
	for _, key := range keys {
		sum := [32]byte(key)
		if ids[sum] != 0 {
			continue
		}
		missing = append(missing, key)
		i := wanted[sum]
		rows = append(rows, []any{int64(0), key, clip(i.Name, 255), clip(i.Version, 255), clip(i.BundleID, 255), i.Source, 0})
	}
	if len(missing) == 0 {
		return ids, nil
	}
	next, err := s.keysInRow("software", int64(len(rows)))
	if err != nil {
		return nil, err
	}
	for i := range rows {
		rows[i][0] = next + int64(i)
	}
	// Another transaction may make the same ones: then its keys are found.
	if err := s.insertRows("software", []string{"id", "sha256", "name", "version", "bundle_id", "source", "unused_at"}, rows,
		s.db.dialect.onConflict([]string{"sha256"}, nil)); err != nil {
		return nil, err
	}
	return ids, s.findSoftware(missing, ids)
}

// findSoftware fills in the keys of known versions. Rows that are about to go
// are kept by taking their mark off; one that is gone already is not known.
func (s *session) findSoftware(keys [][]byte, ids map[[32]byte]int64) error {
	type row struct {
		id, unused int64
		sum        []byte
	}
	return chunked(keys, func(chunk [][]byte) error {
		in, args := inList(anys(chunk))
		list, err := collect(s, func(r *sql.Rows) (v row, err error) { return v, r.Scan(&v.id, &v.sum, &v.unused) },
			"SELECT id, sha256, unused_at FROM software WHERE sha256 IN "+in, args...)
		if err != nil {
			return err
		}
		for _, v := range list {
			if v.unused > 0 {
				n, err := s.changed("UPDATE software SET unused_at = 0 WHERE id = ? AND unused_at > 0", v.id)
				if err != nil {
					return err
				}
				if n == 0 {
					continue
				}
			}
			ids[[32]byte(v.sum)] = v.id
		}
		return nil
	})
}

// DeleteUnused drops versions that no host has had for a while. It works in
// short transactions.
func (w *Software) DeleteUnused(ctx context.Context, now time.Time) error {
	const has = "EXISTS (SELECT 1 FROM host_software hs WHERE hs.software_id = software.id)"
	for _, step := range []struct {
		find, change string
		args         []any
	}{
		{"unused_at > 0 AND " + has, "UPDATE software SET unused_at = 0", nil},
		{"unused_at = 0 AND NOT " + has, "UPDATE software SET unused_at = ?", []any{micros(now)}},
		{fmt.Sprintf("unused_at > 0 AND unused_at < %d AND NOT %s", micros(now.Add(-unusedLife)), has), "DELETE FROM software", nil},
	} {
		for range maxCleanups {
			n := 0
			err := w.db.update(ctx, func(s *session) error {
				ids, err := collect(s, scanKey, "SELECT id FROM software WHERE "+step.find+" ORDER BY id LIMIT ?", cleanChunk)
				if n = len(ids); err != nil || n == 0 {
					return err
				}
				in, args := inList(ids)
				return s.exec(step.change+" WHERE id IN "+in+" AND "+step.find, append(slices.Clone(step.args), args...)...)
			})
			if err != nil {
				return fmt.Errorf("delete unused software: %w", err)
			}
			if n < cleanChunk {
				break
			}
		}
	}
	return nil
}

// softwareOrders maps the API's order keys to columns.
var softwareOrders = map[string]string{"": "s.name", "name": "s.name", "id": "s.id", "version": "s.version", "source": "s.source"}

// List returns one page of the software of a host, or of all hosts, and how
// many versions there are in all.
func (w *Software) List(ctx context.Context, f fleet.SoftwareFilter) ([]fleet.SoftwareVersion, int, fleet.PageMeta, error) {
	order, ok := softwareOrders[f.Page.OrderKey]
	if !ok {
		return nil, 0, fleet.PageMeta{}, fleet.FieldErrorf(fleet.KindInvalid, "order_key", "cannot order software by %q", f.Page.OrderKey)
	}
	from, args := softwareFrom(f)
	dir := ""
	if f.Page.Desc {
		dir = " DESC"
	}
	s := w.db.view(ctx)
	total := 0
	if _, err := s.get("SELECT COUNT(*)"+from, args, &total); err != nil {
		return nil, 0, fleet.PageMeta{}, fmt.Errorf("count software: %w", err)
	}
	hosts := "0"
	if f.WithHosts {
		hosts = "(SELECT COUNT(*) FROM host_software n WHERE n.software_id = t.id)"
	}
	f.Page.After = "" // paging is by number: the order is not unique
	tail, limits := pageTail(f.Page)
	list, err := collect(s, func(r *sql.Rows) (v fleet.SoftwareVersion, err error) {
		return v, r.Scan(&v.ID, &v.Name, &v.Version, &v.BundleID, &v.Source, &v.Hosts)
	}, "SELECT t.id, t.name, t.version, t.bundle_id, t.source, "+hosts+" FROM (SELECT s.id, s.name, s.version, s.bundle_id, s.source"+
		from+" ORDER BY "+order+dir+", s.id"+dir+tail+") t ORDER BY "+strings.Replace(order, "s.", "t.", 1)+dir+", t.id"+dir, append(args, limits...)...)
	if err != nil {
		return nil, 0, fleet.PageMeta{}, fmt.Errorf("list software: %w", err)
	}
	list, meta := cutPage(list, f.Page)
	return list, total, meta, nil
}

func softwareFrom(f fleet.SoftwareFilter) (string, []any) {
	from, args := " FROM software s WHERE s.unused_at = 0", []any(nil)
	if f.HostID != 0 {
		from, args = " FROM host_software hs JOIN software s ON s.id = hs.software_id WHERE hs.host_id = ?", []any{int64(f.HostID)}
	}
	if f.Query != "" {
		like := "%" + escapeLike(strings.ToLower(f.Query)) + "%"
		from += " AND (LOWER(s.name) LIKE ? ESCAPE '!' OR LOWER(s.bundle_id) LIKE ? ESCAPE '!')"
		args = append(args, like, like)
	}
	return from, args
}

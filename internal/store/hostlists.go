package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"

	"github.com/muster-mdm/muster/internal/fleet"
)

// listKind is a list that hosts tell. Persisted: append only.
type listKind int64

const (
	softwareKind     listKind = 1
	certificatesKind listKind = 2
)

var listCols = []string{"host_id", "kind", "sha256", "entries", "updated_at"}

// takeInventories stores what answers told about hosts, with statements over
// all of them. A list that is as it was costs one read for all.
func (s *session) takeInventories(reports []*exchange) error {
	var vitals []told
	var lists []*exchange
	for _, x := range reports {
		if !x.known || x.out.Keep || x.out.Inventory == nil || x.target.HostID == 0 {
			continue
		}
		if v := x.out.Inventory.Vitals; v != nil {
			vitals = append(vitals, told{x.target.HostID, v})
		}
		if x.out.Inventory.Software != nil || x.out.Inventory.Certificates != nil {
			lists = append(lists, x)
		}
	}
	if err := s.learn(vitals); err != nil {
		return err
	}
	if err := s.takeLists(lists); err != nil {
		return fmt.Errorf("store lists of hosts: %w", err)
	}
	return s.refetched(reports)
}

// takeLists stores the lists that changed.
func (s *session) takeLists(reports []*exchange) error {
	if len(reports) == 0 {
		return nil
	}
	type key struct {
		host fleet.HostID
		kind listKind
	}
	hosts := make([]any, 0, len(reports))
	for _, x := range reports {
		hosts = append(hosts, int64(x.target.HostID))
	}
	held := map[key][]byte{}
	platforms := map[fleet.HostID]fleet.Platform{}
	in, args := inList(hosts)
	if _, err := collect(s, func(r *sql.Rows) (struct{}, error) {
		var k key
		var sum []byte
		var platform fleet.Platform
		err := r.Scan(&k.host, &platform, &k.kind, &sum)
		held[k], platforms[k.host] = sum, platform
		return struct{}{}, err
	}, "SELECT h.id, h.platform, COALESCE(l.kind, 0), COALESCE(l.sha256, '') FROM hosts h LEFT JOIN host_lists l ON l.host_id = h.id"+
		" WHERE h.id IN "+in, args...); err != nil {
		return err
	}
	var rows [][]any
	var software []hostSoftware
	var certificates []hostCertificates
	changed := func(host fleet.HostID, kind listKind, sum [32]byte, entries int) bool {
		k := key{host, kind}
		if bytes.Equal(held[k], sum[:]) {
			return false
		}
		held[k] = sum[:]
		rows = append(rows, []any{int64(host), int64(kind), sum[:], entries, s.db.now()})
		return true
	}
	for _, x := range reports {
		host := x.target.HostID
		platform, there := platforms[host]
		if !there {
			continue // it was deleted meanwhile
		}
		if l := x.out.Inventory.Software; l != nil && changed(host, softwareKind, l.SHA256, len(l.Items)) {
			software = append(software, hostSoftware{host, platform, l})
		}
		if l := x.out.Inventory.Certificates; l != nil && changed(host, certificatesKind, l.SHA256, len(l.Items)) {
			certificates = append(certificates, hostCertificates{host, l})
		}
	}
	if err := s.putSoftware(software); err != nil {
		return err
	}
	if err := s.putCertificates(certificates); err != nil {
		return err
	}
	return s.upsertRows("host_lists", listCols, 2, rows)
}

// Certificates keeps the certificates in hosts' keychains.
type Certificates struct{ db *DB }

// NewCertificates returns the certificates of hosts of db.
func NewCertificates(db *DB) *Certificates { return &Certificates{db} }

type hostCertificates struct {
	host fleet.HostID
	list *fleet.CertificateList
}

var certificateCols = []string{"host_id", "sha256", "common_name", "has_key", "not_after", "der"}

// putCertificates stores the certificates of hosts whose list changed, as the
// difference to what is stored.
func (s *session) putCertificates(lists []hostCertificates) error {
	if len(lists) == 0 {
		return nil
	}
	type row struct {
		name   string
		hasKey bool
	}
	type key struct {
		host fleet.HostID
		sum  [32]byte
	}
	hosts := make([]any, 0, len(lists))
	for _, l := range lists {
		hosts = append(hosts, int64(l.host))
	}
	held := map[key]row{}
	in, args := inList(hosts)
	if _, err := collect(s, func(r *sql.Rows) (struct{}, error) {
		var k key
		var v row
		var sum []byte
		err := r.Scan(&k.host, &sum, &v.name, &v.hasKey)
		copy(k.sum[:], sum)
		held[k] = v
		return struct{}{}, err
	}, "SELECT host_id, sha256, common_name, has_key FROM host_certificates WHERE host_id IN "+in, args...); err != nil {
		return err
	}
	var rows [][]any
	for _, l := range lists {
		for i := range l.list.Items {
			c := &l.list.Items[i]
			k, v := key{l.host, c.SHA256}, row{clip(c.CommonName, 255), c.HasKey}
			if old, has := held[k]; !has || old != v {
				rows = append(rows, []any{int64(l.host), c.SHA256[:], v.name, c.HasKey, micros(c.NotAfter), c.DER})
			}
			delete(held, k)
		}
	}
	for k := range held { // few: certificates come and go rarely
		if err := s.exec("DELETE FROM host_certificates WHERE host_id = ? AND sha256 = ?", int64(k.host), k.sum[:]); err != nil {
			return err
		}
	}
	return s.upsertRows("host_certificates", certificateCols, 2, rows)
}

// certificateOrders maps the API's order keys to columns.
var certificateOrders = map[string]string{"": "common_name", "common_name": "common_name", "not_valid_after": "not_after"}

// List returns one page of a host's certificates, and how many it has.
func (c *Certificates) List(ctx context.Context, host fleet.HostID, page fleet.Page) ([]fleet.HostCertificate, int, fleet.PageMeta, error) {
	order, ok := certificateOrders[page.OrderKey]
	if !ok {
		return nil, 0, fleet.PageMeta{}, fleet.FieldErrorf(fleet.KindInvalid, "order_key", "cannot order certificates by %q", page.OrderKey)
	}
	s := c.db.view(ctx)
	total := 0
	if _, err := s.get("SELECT COUNT(*) FROM host_certificates WHERE host_id = ?", []any{int64(host)}, &total); err != nil {
		return nil, 0, fleet.PageMeta{}, fmt.Errorf("count certificates: %w", err)
	}
	dir := ""
	if page.Desc {
		dir = " DESC"
	}
	page.After = "" // paging is by number: the order is not unique
	tail, limits := pageTail(page)
	list, err := collect(s, func(r *sql.Rows) (v fleet.HostCertificate, err error) {
		var sum []byte
		var notAfter int64
		err = r.Scan(&sum, &v.CommonName, &v.HasKey, &notAfter, &v.DER)
		copy(v.SHA256[:], sum)
		v.NotAfter = timeOf(notAfter)
		return v, err
	}, "SELECT sha256, common_name, has_key, not_after, der FROM host_certificates WHERE host_id = ? ORDER BY "+order+dir+", sha256"+dir+tail,
		append([]any{int64(host)}, limits...)...)
	if err != nil {
		return nil, 0, fleet.PageMeta{}, fmt.Errorf("list certificates: %w", err)
	}
	list, meta := cutPage(list, page)
	return list, total, meta, nil
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
)

// DescribeSchema lists tables, columns with their nullability, and indexes
// with their columns, in words that are the same for every database.
func (db *DB) DescribeSchema(ctx context.Context) ([]string, error) {
	columns, indexes := db.schemaQueries()
	s := &session{ctx: ctx, db: db, plain: db.read}
	type column struct {
		table, name string
		nullable    bool
	}
	cols, err := collect(s, func(r *sql.Rows) (c column, err error) { return c, r.Scan(&c.table, &c.name, &c.nullable) }, columns)
	if err != nil {
		return nil, fmt.Errorf("describe columns: %w", err)
	}
	var out []string
	for _, c := range cols {
		out = append(out, fmt.Sprintf("%s.%s nullable=%v", c.table, c.name, c.nullable))
	}
	type part struct {
		table, index, column string
		unique               bool
	}
	parts, err := collect(s, func(r *sql.Rows) (p part, err error) { return p, r.Scan(&p.table, &p.index, &p.unique, &p.column) }, indexes)
	if err != nil {
		return nil, fmt.Errorf("describe indexes: %w", err)
	}
	byIndex := map[string]string{}
	for _, p := range parts {
		key := fmt.Sprintf("index %s.%s unique=%v", p.table, p.index, p.unique)
		byIndex[key] += " " + p.column
	}
	for key, columns := range byIndex {
		out = append(out, key+columns)
	}
	slices.Sort(out)
	return out, nil
}

func (db *DB) schemaQueries() (columns, indexes string) {
	switch db.dialect {
	case Postgres:
		return `SELECT table_name, column_name, is_nullable = 'YES' FROM information_schema.columns WHERE table_schema = current_schema()`,
			`SELECT t.relname, i.relname, x.indisunique, a.attname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
			JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace AND n.nspname = current_schema()
			JOIN pg_attribute a ON a.attrelid = i.oid WHERE NOT x.indisprimary ORDER BY t.relname, i.relname, a.attnum`
	case MySQL:
		return `SELECT table_name, column_name, is_nullable = 'YES' FROM information_schema.columns WHERE table_schema = DATABASE()`,
			`SELECT table_name, index_name, non_unique = 0, column_name FROM information_schema.statistics
			WHERE table_schema = DATABASE() AND index_name <> 'PRIMARY' ORDER BY table_name, index_name, seq_in_index`
	case SQLite:
	}
	// SQLite says of a rowid key declared by the serial type that it may be
	// null; it never is.
	return `SELECT m.name, c.name, c."notnull" = 0 AND c.pk = 0 FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'`,
		`SELECT m.name, i.name, i."unique", c.name FROM sqlite_master m, pragma_index_list(m.name) i, pragma_index_info(i.name) c
		WHERE m.type = 'table' AND i.origin = 'c' ORDER BY m.name, i.name, c.seqno`
}

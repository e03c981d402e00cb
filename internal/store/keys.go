package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Tables whose integer keys are drawn in blocks, and the size of a block. A
// restart loses the rest of a block, nothing else.
var keyBlocks = map[string]int64{
	"hosts":               100,
	"labels":              20,
	"users":               10,
	"sessions":            50,
	"enrollments":         500,
	"enrollment_profiles": 10,
	"identities":          500,
	"commands":            500,
}

// lowWater is how many keys of each table are kept ready. A transaction that
// finds none is run again after a refill.
const lowWater = 8

var errNoKeys = errors.New("keys ran out inside a transaction")

// keySource hands out integer keys. Blocks are drawn in transactions of their
// own, before the one that uses them, so that a rollback never gives a key
// back.
type keySource struct {
	db     *DB
	mu     sync.Mutex
	ranges map[string]*keyRange
	ready  bool // every table has at least lowWater
}

type keyRange struct{ next, end int64 } // [next, end)

// refill makes sure that every table has lowWater keys.
func (k *keySource) refill(ctx context.Context) error {
	k.mu.Lock()
	ready := k.ready
	k.mu.Unlock()
	if ready {
		return nil
	}
	for table := range keyBlocks {
		if err := k.reserve(ctx, table, lowWater); err != nil {
			return err
		}
	}
	k.mu.Lock()
	k.ready = true
	k.mu.Unlock()
	return nil
}

// reserve makes sure that n keys of the table can be drawn.
func (k *keySource) reserve(ctx context.Context, table string, n int64) error {
	k.mu.Lock()
	have := int64(0)
	if r := k.ranges[table]; r != nil {
		have = r.end - r.next
	}
	k.mu.Unlock()
	if have >= n {
		return nil
	}
	size := max(keyBlocks[table], n)
	var first int64
	err := k.db.transact(ctx, func(s *session) error {
		tail := s.db.dialect.onConflict([]string{"name"}, nil)
		if err := s.exec("INSERT INTO sequences (name, next_id) VALUES (?, 1)"+tail, table); err != nil {
			return err
		}
		if err := s.exec("UPDATE sequences SET next_id = next_id + ? WHERE name = ?", size, table); err != nil {
			return err
		}
		_, err := s.get("SELECT next_id FROM sequences WHERE name = ?", []any{table}, &first)
		first -= size
		return err
	})
	if err != nil {
		return fmt.Errorf("draw keys for %s: %w", table, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ranges == nil {
		k.ranges = map[string]*keyRange{}
	}
	k.ranges[table] = &keyRange{next: first, end: first + size}
	return nil
}

// key draws one key inside a transaction.
func (s *session) key(table string) (int64, error) {
	k := &s.db.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.ranges[table]
	if r == nil || r.next == r.end {
		k.ready = false
		return 0, fmt.Errorf("%w: %s", errNoKeys, table)
	}
	id := r.next
	r.next++
	if r.end-r.next < lowWater {
		k.ready = false
	}
	return id, nil
}

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
	"hosts":               500,
	"labels":              20,
	"teams":               10,
	"items":               50,
	"host_moves":          10,
	"users":               10,
	"sessions":            50,
	"ade_tokens":          2,
	"bootstrap_packages":  2,
	"enrollments":         500,
	"enrollment_profiles": 10,
	"identities":          500,
	"commands":            500,
	"action_requests":     20,
	"software":            500,
}

// lowWater is how many keys of a table are kept ready: enough for a batch where
// batches draw. A transaction that finds none is run again after a refill.
func lowWater(table string) int64 {
	const part = 5 // of a block
	return min(max(keyBlocks[table]/part, 1), maxBatch)
}

// maxKeyTries bounds how often one transaction is run again for want of keys.
// Each time at least as many are drawn as were missed, so that two or three
// do, however many transactions run at once.
const maxKeyTries = 20

var errNoKeys = errors.New("keys ran out inside a transaction")

// keySource hands out integer keys. Blocks are drawn in transactions of their
// own, before the one that uses them, so that a rollback never gives a key
// back.
type keySource struct {
	db     *DB
	mu     sync.Mutex
	ranges map[string]*keyRange
	missed map[string]int64 // draws that found none since the last block
	ready  bool             // every table has its lowWater
	low    bool             // a table fell below it since the last look

	drawing sync.Mutex // held while blocks are drawn, one caller at a time
}

type keyRange struct{ next, end int64 } // [next, end)

// refill makes sure that every table has its lowWater of keys.
func (k *keySource) refill(ctx context.Context) error {
	if k.isReady() {
		return nil
	}
	k.drawing.Lock()
	defer k.drawing.Unlock()
	if k.isReady() {
		return nil // somebody else has drawn meanwhile
	}
	k.mu.Lock()
	k.low = false
	k.mu.Unlock()
	for table := range keyBlocks {
		if err := k.draw(ctx, table, lowWater(table)); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ready = !k.low
	return nil
}

func (k *keySource) isReady() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ready
}

// draw makes sure that n keys of the table are at hand. The caller holds
// drawing: two at once would each lose the other's block.
func (k *keySource) draw(ctx context.Context, table string, n int64) error {
	k.mu.Lock()
	have := int64(0)
	if r := k.ranges[table]; r != nil {
		have = r.end - r.next
	}
	missed := k.missed[table]
	k.mu.Unlock()
	if have >= n && missed == 0 {
		return nil
	}
	size := max(keyBlocks[table], n) + missed
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
	delete(k.missed, table)
	return nil
}

// key draws one key inside a transaction.
func (s *session) key(table string) (int64, error) { return s.keysInRow(table, 1) }

// keysInRow draws n keys that follow one another, and returns the first.
func (s *session) keysInRow(table string, n int64) (int64, error) {
	k := &s.db.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.ranges[table]
	if r == nil || r.end-r.next < n {
		k.ready, k.low = false, true
		if k.missed == nil {
			k.missed = map[string]int64{}
		}
		k.missed[table] += n
		return 0, fmt.Errorf("%w: %s", errNoKeys, table)
	}
	id := r.next
	r.next += n
	if r.end-r.next < lowWater(table) {
		k.ready, k.low = false, true
	}
	return id, nil
}

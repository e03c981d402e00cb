package store

import (
	"context"
	"testing"
)

// A transaction that holds its writes back sees them all the same, and of two
// for one row the later one counts.
func TestHeldWritesAreSeenByTheirTransaction(t *testing.T) {
	ctx := context.Background()
	db := openScratch(t)
	due := func(s *session, at int64) error { return s.pushDue([][]any{{int64(7), at, 0, 0, "", 0}}) }
	err := db.update(ctx, func(s *session) error {
		s.holdWrites()
		if err := due(s, 5); err != nil {
			return err
		}
		if err := due(s, 6); err != nil {
			return err
		}
		if _, err := s.get("SELECT COUNT(*) FROM hosts", nil, new(int64)); err != nil {
			return err
		}
		if len(s.held.groups) != 1 || len(s.held.groups[0].rows) != 2 {
			t.Error("a statement about another table wrote what is held")
		}
		var at, n int64
		if _, err := s.get("SELECT MAX(due_at), COUNT(*) FROM pushes", nil, &at, &n); err != nil {
			return err
		}
		if at != 6 || n != 1 {
			t.Errorf("the transaction sees %d rows, due at %d", n, at)
		}
		// Changed after it was written, and held again.
		if err := s.exec("UPDATE pushes SET due_at = 9 WHERE enrollment_id = 7"); err != nil {
			return err
		}
		if err := due(s, 10); err != nil {
			return err
		}
		return s.flush()
	})
	if err != nil {
		t.Fatal(err)
	}
	var at int64
	if _, err := db.view(ctx).get("SELECT due_at FROM pushes WHERE enrollment_id = 7", nil, &at); err != nil || at != 10 {
		t.Errorf("stored: due at %d, %v", at, err)
	}
}

func TestListsArePaddedToFewLengths(t *testing.T) {
	lengths := map[int]bool{}
	for n := 1; n <= inChunk; n++ {
		values := make([]any, n)
		for i := range values {
			values[i] = i
		}
		_, args := inList(values)
		lengths[len(args)] = true
		if len(args) < n || args[n-1] != n-1 || args[len(args)-1] != n-1 {
			t.Fatalf("%d values became %v", n, args)
		}
		for _, d := range []Dialect{SQLite, Postgres} {
			if chunk := d.insertChunk(n); chunk < 1 || chunk > n {
				t.Fatalf("%s inserts %d of %d rows", d, chunk, n)
			}
		}
	}
	if len(lengths) > len(listSizes) {
		t.Errorf("%d different lengths", len(lengths))
	}
}

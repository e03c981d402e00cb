package store

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
)

// A full disk makes SQLite roll the whole transaction back by itself. Then
// nobody in the group may be told of success, and the next group works.
func TestAGroupThatLosesItsTransactionFailsAsAWhole(t *testing.T) {
	ctx := context.Background()
	db, err := Open(ctx, Options{URL: "sqlite:" + filepath.Join(t.TempDir(), "group.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	insert := func(name string) func(*session) error {
		return func(s *session) error {
			return s.exec("INSERT INTO sequences (name, next_id) VALUES (?, 1)", name)
		}
	}
	// The first transaction holds the writer until the others wait behind it.
	var wg sync.WaitGroup
	begun, release := make(chan struct{}), make(chan struct{})
	wg.Go(func() {
		if err := db.transact(ctx, func(*session) error { close(begun); <-release; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-begun
	jobs := []*writeJob{
		{ctx: ctx, fn: insert("before"), done: make(chan struct{})},
		{ctx: ctx, fn: func(s *session) error { return s.exec("ROLLBACK") }, done: make(chan struct{})},
		{ctx: ctx, fn: insert("after"), done: make(chan struct{})},
	}
	for _, j := range jobs {
		db.writer.jobs <- j
	}
	close(release)
	wg.Wait()
	for i, j := range jobs {
		<-j.done
		if j.err == nil {
			t.Errorf("transaction %d was told of success", i)
		}
	}
	if err := db.transact(ctx, insert("later")); err != nil {
		t.Fatalf("the writer does not recover: %v", err)
	}
	var names string
	if _, err := db.view(ctx).get("SELECT GROUP_CONCAT(name) FROM sequences", nil, &names); err != nil || names != "later" {
		t.Fatalf("stored: %q, %v", names, err)
	}
}

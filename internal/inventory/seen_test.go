package inventory

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// page is a SeenStore that remembers, and fails when told to.
type page struct {
	mu     sync.Mutex
	at     map[fleet.HostID]time.Time
	writes int
	err    error
	during func() // runs inside of a write
}

func (p *page) Seen(_ context.Context, at map[fleet.HostID]time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes++
	if p.during != nil {
		p.during()
	}
	if p.err != nil {
		return p.err
	}
	if p.at == nil {
		p.at = map[fleet.HostID]time.Time{}
	}
	for id, t := range at {
		p.at[id] = t
	}
	return nil
}

// hands is a clock that tests move.
type hands struct {
	mu sync.Mutex
	at time.Time
}

func (h *hands) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at
}

func (h *hands) advance(d time.Duration) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = h.at.Add(d)
	return h.at
}

func newSeen() (*Seen, *page, *hands) {
	p, h := &page{}, &hands{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	return NewSeen(p, h.now), p, h
}

func TestAFlushWritesTheNewestContactOfEachHostOnce(t *testing.T) {
	s, p, clock := newSeen()
	s.Note(1)
	s.Note(2)
	last := clock.advance(time.Second)
	s.Note(1)
	s.Note(0) // nobody
	if got := s.Last(1); !got.Equal(last) {
		t.Errorf("last contact %v, want %v", got, last)
	}
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(p.at) != 2 || !p.at[1].Equal(last) || !p.at[2].Equal(last.Add(-time.Second)) {
		t.Errorf("written: %v", p.at)
	}
	if !s.Last(1).IsZero() {
		t.Error("what was written is still held")
	}
	if err := s.Flush(context.Background()); err != nil || p.writes != 1 {
		t.Errorf("a flush of nothing: %d writes, %v", p.writes, err)
	}
}

func TestAFlushThatFailsKeepsWhatItCouldNotWrite(t *testing.T) {
	s, p, clock := newSeen()
	first := clock.now()
	s.Note(1)
	s.Note(2)
	p.err = errors.New("disk full")
	var second time.Time
	p.during = func() { // a device is heard of while the write is under way
		second = clock.advance(time.Second)
		s.Note(1)
	}
	if err := s.Flush(context.Background()); !errors.Is(err, p.err) {
		t.Fatalf("got %v", err)
	}
	p.err, p.during = nil, nil
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !p.at[1].Equal(second) {
		t.Errorf("host 1: %v is written over the newer %v", p.at[1], second)
	}
	if !p.at[2].Equal(first) {
		t.Errorf("host 2 is lost: %v", p.at[2])
	}
}

func TestNotesAndFlushesAtOnceLoseNoHost(t *testing.T) {
	s, p, _ := newSeen()
	const workers, each = 8, 500
	storetest.Parallel(workers, func(w int) {
		for i := range each {
			s.Note(fleet.HostID(1 + w*each + i))
			if i%50 == 0 {
				if err := s.Flush(context.Background()); err != nil {
					t.Error(err)
				}
			}
		}
	})
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(p.at) != workers*each {
		t.Errorf("%d of %d hosts are written", len(p.at), workers*each)
	}
}

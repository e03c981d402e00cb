package inventory

import (
	"context"
	"sync"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// SeenStore writes last contacts.
type SeenStore interface {
	Seen(ctx context.Context, at map[fleet.HostID]time.Time) error
}

// Seen gathers last contacts between flushes. Its size is bounded by the
// number of hosts.
type Seen struct {
	store SeenStore
	clock func() time.Time
	mu    sync.Mutex
	at    map[fleet.HostID]time.Time
}

// NewSeen returns an empty gatherer.
func NewSeen(store SeenStore, clock func() time.Time) *Seen {
	return &Seen{store: store, clock: clock, at: map[fleet.HostID]time.Time{}}
}

// Note remembers that a host was heard of now.
func (s *Seen) Note(id fleet.HostID) {
	if id == 0 {
		return
	}
	now := s.clock()
	s.mu.Lock()
	s.at[id] = now
	s.mu.Unlock()
}

// Last returns the last contact that is not written yet; zero: none.
func (s *Seen) Last(id fleet.HostID) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[id]
}

// Flush writes what was gathered. What cannot be written is kept.
func (s *Seen) Flush(ctx context.Context) error {
	s.mu.Lock()
	at := s.at
	s.at = make(map[fleet.HostID]time.Time, len(at))
	s.mu.Unlock()
	if len(at) == 0 {
		return nil
	}
	err := s.store.Seen(ctx, at)
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, t := range at {
		if _, newer := s.at[id]; !newer {
			s.at[id] = t
		}
	}
	return err
}

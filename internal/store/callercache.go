package store

import (
	"sync"

	"github.com/muster-mdm/muster/internal/fleet"
)

// maxCallers bounds the callers kept in memory, some 300 bytes each.
const maxCallers = 200_000

// callerCache keeps who sent a request in memory, for the embedded database
// only: there one process writes, through one goroutine, which tells the cache
// after each commit and before anybody is told of it. SQLite's readers drop
// their pages whenever the writer commits, so that a look-up among writes
// costs ten times one among reads.
//
// An entry is dropped when its enrollment or identity changes. Whether
// commands wait is known only where the writer has just seen that none do.
type callerCache struct {
	mu    sync.RWMutex
	epoch uint64 // grows with every drop: what was read before is not put in
	byKey map[string]*callerEntry
	byID  map[fleet.EnrollmentID]string
}

type callerEntry struct {
	sha256 [32]byte
	caller fleet.Caller
	idle   bool // no command waits
}

func newCallerCache() *callerCache {
	return &callerCache{byKey: map[string]*callerEntry{}, byID: map[fleet.EnrollmentID]string{}}
}

// get returns a caller, and the epoch to put one with when there is none.
func (c *callerCache) get(sha256 [32]byte, key string) (fleet.Caller, bool, uint64) {
	if c == nil {
		return fleet.Caller{}, false, 0
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	e := c.byKey[key]
	if e == nil || e.sha256 != sha256 {
		return fleet.Caller{}, false, c.epoch
	}
	out := e.caller
	out.CommandsPending = !e.idle
	return out, true, 0
}

// put keeps a caller that was read after the epoch was.
func (c *callerCache) put(epoch uint64, sha256 [32]byte, key string, caller fleet.Caller) {
	if c == nil || caller.Identity.ID == 0 || caller.Enrollment.ID == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch {
		return
	}
	if len(c.byKey) >= maxCallers {
		c.clear()
	}
	c.byKey[key] = &callerEntry{sha256: sha256, caller: caller}
	c.byID[caller.Enrollment.ID] = key
}

func (c *callerCache) clear() {
	clear(c.byKey)
	clear(c.byID)
}

// callerNews is what one transaction changes for the cache.
type callerNews struct {
	all     bool // identities or many enrollments changed
	changed []fleet.EnrollmentID
	busy    []fleet.EnrollmentID // got commands
	idle    []fleet.EnrollmentID // have none left
}

// tell applies the news of a committed transaction. It is called by the
// writer, in the order of commits.
func (c *callerCache) tell(n *callerNews) {
	if c == nil || n == nil || !n.all && len(n.changed)+len(n.busy)+len(n.idle) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.all {
		c.epoch++
		c.clear()
		return
	}
	for _, id := range n.changed {
		c.epoch++
		if key, ok := c.byID[id]; ok {
			delete(c.byKey, key)
			delete(c.byID, id)
		}
	}
	for _, id := range n.idle {
		c.setIdle(id, true)
	}
	for _, id := range n.busy {
		c.setIdle(id, false)
	}
}

func (c *callerCache) setIdle(id fleet.EnrollmentID, idle bool) {
	if key, ok := c.byID[id]; ok {
		c.byKey[key].idle = idle
	}
}

// enrollmentChanged, identitiesChanged, commandsWait and nothingWaits note
// news for the cache.
func (s *session) enrollmentChanged(id fleet.EnrollmentID) {
	if s.news != nil {
		s.news.changed = append(s.news.changed, id)
	}
}

func (s *session) identitiesChanged() {
	if s.news != nil {
		s.news.all = true
	}
}

func (s *session) commandsWait(id fleet.EnrollmentID) {
	if s.news != nil {
		s.news.busy = append(s.news.busy, id)
	}
}

func (s *session) nothingWaits(id fleet.EnrollmentID) {
	if s.news != nil {
		s.news.idle = append(s.news.idle, id)
	}
}

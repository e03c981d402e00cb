package store

import (
	"sync"

	"github.com/muster-mdm/muster/internal/fleet"
)

// maxCallers bounds the callers kept in memory, some 300 bytes each with their
// place in the maps, and apart from them the identities that wait for their
// device.
const maxCallers = 200_000

// callerCache keeps who sent a request in memory, for the embedded database
// only: there one process writes, through one goroutine, which tells the cache
// after each commit and before anybody is told of it. SQLite's readers drop
// their pages whenever the writer commits, so that a look-up among writes
// costs ten times one among reads.
//
// An entry follows what a check-in writes, and is dropped when its enrollment
// or identity changes otherwise. Whether commands wait is known only where the
// writer has just seen that none do.
type callerCache struct {
	mu    sync.RWMutex
	epoch uint64 // grows with every change: what was read before is not put in
	byKey map[string]*callerEntry
	byID  map[fleet.EnrollmentID]string
	// issued are identities that nobody has used yet: their devices are about
	// to send an Authenticate, the one message that such an identity may send.
	issued map[[32]byte]callerIdentity
}

type callerEntry struct {
	identity   callerIdentity
	enrollment callerEnrollment
	idle       bool // no command waits
}

// callerIdentity and callerEnrollment are what a fleet.Caller says, a fifth as
// large.
type callerIdentity struct {
	sha256                              [32]byte
	id                                  fleet.IdentityID
	purpose                             fleet.Purpose
	enrollment                          fleet.EnrollmentID
	enrollmentKey                       string
	notAfter, used, superseded, revoked int64 // microseconds
}

type callerEnrollment struct {
	id, parent fleet.EnrollmentID
	host       fleet.HostID
	channel    fleet.Channel
	state      fleet.EnrollmentState
}

func newCallerIdentity(i *fleet.Identity) callerIdentity {
	return callerIdentity{sha256: i.SHA256, id: i.ID, purpose: i.Purpose, enrollment: i.EnrollmentID, enrollmentKey: i.EnrollmentKey,
		notAfter: micros(i.NotAfter), used: micros(i.UsedAt), superseded: micros(i.SupersededAt), revoked: micros(i.RevokedAt)}
}

func newCallerEnrollment(e *fleet.Enrollment) callerEnrollment {
	return callerEnrollment{id: e.ID, parent: e.ParentID, host: e.HostID, channel: e.Channel, state: e.State}
}

func (e *callerEntry) caller() fleet.Caller {
	i, to := &e.identity, &e.enrollment
	return fleet.Caller{
		Identity: fleet.Identity{ID: i.id, SHA256: i.sha256, Purpose: i.purpose, EnrollmentID: i.enrollment, EnrollmentKey: i.enrollmentKey,
			NotAfter: timeOf(i.notAfter), UsedAt: timeOf(i.used), SupersededAt: timeOf(i.superseded), RevokedAt: timeOf(i.revoked)},
		Enrollment:      fleet.Enrollment{ID: to.id, HostID: to.host, ParentID: to.parent, Channel: to.channel, State: to.state},
		CommandsPending: !e.idle && to.id != 0,
	}
}

func newCallerCache() *callerCache {
	return &callerCache{byKey: map[string]*callerEntry{}, byID: map[fleet.EnrollmentID]string{}, issued: map[[32]byte]callerIdentity{}}
}

// get returns a caller, and the epoch to put one with when there is none. One
// that comes with an identity that nobody has used yet has no enrollment, whether
// there is one of that key or not.
func (c *callerCache) get(sha256 [32]byte, key string) (fleet.Caller, bool, uint64) {
	if c == nil {
		return fleet.Caller{}, false, 0
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if e := c.byKey[key]; e != nil && e.identity.sha256 == sha256 {
		return e.caller(), true, 0
	}
	if i, ok := c.issued[sha256]; ok {
		return (&callerEntry{identity: i}).caller(), true, 0
	}
	return fleet.Caller{}, false, c.epoch
}

// put keeps a caller that was read after the epoch was.
func (c *callerCache) put(epoch uint64, key string, caller *fleet.Caller) {
	if c == nil || caller.Identity.ID == 0 || caller.Enrollment.ID == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch == epoch {
		c.keep(key, newCallerIdentity(&caller.Identity), newCallerEnrollment(&caller.Enrollment))
	}
}

// keep puts a caller of whom is not known whether commands wait.
func (c *callerCache) keep(key string, i callerIdentity, e callerEnrollment) {
	if len(c.byKey) >= maxCallers {
		c.clear()
	}
	c.byKey[key] = &callerEntry{identity: i, enrollment: e}
	c.byID[e.id] = key
}

func (c *callerCache) clear() {
	clear(c.byKey)
	clear(c.byID)
	clear(c.issued)
}

// callerNews is what one transaction changes for the cache.
type callerNews struct {
	all     bool // identities or many enrollments changed
	changes []callerChange
	busy    []fleet.EnrollmentID // got commands
	idle    []fleet.EnrollmentID // have none left
}

// callerChange is one of: an enrollment to look up again (only its id), an
// enrollment as it is now (with its key), the same with the identity that was
// bound to it, and an identity that was issued (without an enrollment).
type callerChange struct {
	enrollment callerEnrollment
	key        string
	identity   callerIdentity
}

// tell applies the news of a committed transaction. It is called by the
// writer, in the order of commits.
func (c *callerCache) tell(n *callerNews) {
	if c == nil || !n.all && len(n.changes)+len(n.busy)+len(n.idle) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.all {
		c.epoch++
		c.clear()
		return
	}
	for i := range n.changes {
		c.epoch++
		c.apply(&n.changes[i])
	}
	for _, id := range n.idle {
		c.setIdle(id, true)
	}
	for _, id := range n.busy {
		c.setIdle(id, false)
	}
}

func (c *callerCache) apply(n *callerChange) {
	if n.enrollment.id == 0 {
		if len(c.issued) >= maxCallers {
			clear(c.issued)
		}
		c.issued[n.identity.sha256] = n.identity
		return
	}
	key, known := c.byID[n.enrollment.id]
	if known && n.identity.id == 0 && n.key == key {
		c.byKey[key].enrollment = n.enrollment
		return
	}
	if known {
		delete(c.byKey, key)
		delete(c.byID, n.enrollment.id)
	}
	if n.identity.id != 0 {
		delete(c.issued, n.identity.sha256)
		c.keep(n.key, n.identity, n.enrollment)
	}
}

func (c *callerCache) setIdle(id fleet.EnrollmentID, idle bool) {
	if key, ok := c.byID[id]; ok {
		c.byKey[key].idle = idle
	}
}

func (s *session) callerChanged(n callerChange) {
	if s.news != nil {
		s.news.changes = append(s.news.changes, n)
	}
}

// enrollmentChanged, enrollmentIs, identityBound, identityIssued,
// identitiesChanged, commandsWait and nothingWaits note news for the cache.
func (s *session) enrollmentChanged(id fleet.EnrollmentID) {
	s.callerChanged(callerChange{enrollment: callerEnrollment{id: id}})
}

func (s *session) enrollmentIs(e *fleet.Enrollment) {
	s.callerChanged(callerChange{enrollment: newCallerEnrollment(e), key: e.Key})
}

func (s *session) identityBound(i *fleet.Identity, e *fleet.Enrollment, at int64) {
	bound := newCallerIdentity(i)
	bound.enrollment, bound.enrollmentKey, bound.used = e.ID, "", at
	s.callerChanged(callerChange{enrollment: newCallerEnrollment(e), key: e.Key, identity: bound})
}

func (s *session) identityIssued(i *fleet.Identity) {
	if i.Purpose == fleet.PurposeEnroll && i.EnrollmentID == 0 {
		s.callerChanged(callerChange{identity: newCallerIdentity(i)})
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

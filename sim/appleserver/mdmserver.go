package appleserver

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Errors of what people do at the portal.
var (
	// ErrNoServer: there is no MDM server with this UUID.
	ErrNoServer = errors.New("no such MDM server")
	// ErrNoDevice: the company has no device with this serial number.
	ErrNoDevice = errors.New("no such device")
)

// opType is the op_type of a sync answer.
type opType string

const (
	opAdded    opType = "added"
	opModified opType = "modified"
	opDeleted  opType = "deleted"
)

// profileStatus is the profile_status of a device.
type profileStatus string

const (
	profileEmpty    profileStatus = "empty"
	profileAssigned profileStatus = "assigned"
	profilePushed   profileStatus = "pushed"
	profileRemoved  profileStatus = "removed"
)

// mdmServer is what the portal calls an MDM server: a token, devices, profiles.
type mdmServer struct {
	name     string
	uuid     string
	token    serverToken
	profiles map[string]*depProfile
	devices  []place       // by seq
	gone     int           // of devices, that left
	ops      []operation   // by seq, those of the last seven days
	seq      int64         // of the last device or operation
	stale    []deviceEntry // to be listed again as they were
}

// place is a device's place in the list of a server. The device is there while
// its record says so.
type place struct {
	seq    int64
	record *record
}

// operation is one entry of what /devices/sync reads. What a device was like is
// not kept: the answer shows what it is like now, but for a deleted one, which
// shows no profile.
type operation struct {
	seq    int64
	kind   opType
	at     time.Time
	record *record
}

// record is a device of the company.
type record struct {
	Bought
	server    *mdmServer // nil: not assigned
	place     int64      // seq in server
	status    profileStatus
	profile   *depProfile // nil: none
	assigned  time.Time   // of the profile
	pushed    time.Time
	since     time.Time // on the server
	deadline  time.Time // of a migration
	lost      bool      // activation lock
	escrowKey string
	message   string
	// v10 (contracts/apple.md 4.2)
	replacement bool // came in place of another
	replacedBy  bool // left because another came
}

// log appends an operation and forgets those that no cursor can ask for.
func (s *mdmServer) log(r *record, kind opType, at time.Time) {
	s.seq++
	s.ops = append(s.ops, operation{seq: s.seq, kind: kind, at: at, record: r})
	old, _ := slices.BinarySearchFunc(s.ops, at.Add(-cursorLife), func(o operation, limit time.Time) int { return o.at.Compare(limit) })
	if old > len(s.ops)/2 {
		s.ops = append(s.ops[:0], s.ops[old:]...)
	}
}

// add puts a device on the server, with no profile.
func (s *mdmServer) add(r *record, now time.Time) {
	s.log(r, opAdded, now)
	r.server, r.place, r.since, r.status = s, s.seq, now, profileEmpty
	s.devices = append(s.devices, place{seq: s.seq, record: r})
}

// remove takes a device off its server and its profile with it.
func (r *record) remove(now time.Time) {
	s := r.server
	if s == nil {
		return
	}
	r.server, r.place, r.profile, r.status = nil, 0, nil, profileEmpty
	r.assigned, r.pushed, r.deadline = time.Time{}, time.Time{}, time.Time{}
	s.log(r, opDeleted, now)
	s.gone++
	if s.gone > len(s.devices)/2 {
		s.devices = slices.DeleteFunc(s.devices, func(p place) bool { return !s.holds(p) })
		s.gone = 0
	}
}

// holds says whether a place is still taken.
func (s *mdmServer) holds(p place) bool { return p.record.server == s && p.record.place == p.seq }

// page returns up to limit devices behind the place seq, and whether there are
// more.
func (s *mdmServer) page(seq int64, limit int) (records []place, more bool) {
	i, _ := slices.BinarySearchFunc(s.devices, seq+1, func(p place, want int64) int { return cmp.Compare(p.seq, want) })
	for _, p := range s.devices[i:] {
		if !s.holds(p) {
			continue
		}
		if len(records) == limit {
			return records, true
		}
		records = append(records, p)
	}
	return records, false
}

// since returns up to limit operations after seq, and whether there are more.
func (s *mdmServer) since(seq int64, limit int) (ops []operation, more bool) {
	i, _ := slices.BinarySearchFunc(s.ops, seq+1, func(o operation, want int64) int { return cmp.Compare(o.seq, want) })
	ops = s.ops[i:]
	if len(ops) > limit {
		return ops[:limit], true
	}
	return ops, false
}

// server finds an MDM server; "" is the only one. Call it with mu held.
func (e *Enrollment) server(id string) (*mdmServer, error) {
	if id == "" && len(e.order) == 1 {
		return e.order[0], nil
	}
	s := e.mdms[id]
	if s == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoServer, id)
	}
	return s, nil
}

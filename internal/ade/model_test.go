package ade

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

const token fleet.ServerTokenID = 7

var start = time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)

// watch is a clock that moves a little whenever it is read.
type watch struct{ at time.Time }

func (w *watch) now() time.Time { w.at = w.at.Add(time.Millisecond); return w.at }

// appleDevice is a device as the model of Apple has it.
type appleDevice struct {
	here    bool
	profile string
	// lost: the answer to the last call that assigned was lost, or somebody
	// changed it here and nobody may have told yet: one more is no fault.
	lost bool
}

// appleModel is Apple's service: what belongs to the server, a log of
// operations, cursors into it. Records of operations carry the state at their
// time. It does not model sessions or tokens.
type appleModel struct {
	clock   *watch
	page    int
	devices map[string]*appleDevice
	log     []fleet.DEPDevice
	fetches map[int][]string // serials of a full fetch, by number
	marks   map[int]int      // length of the log when it began
	faults  []error          // of the next calls
	results []fleet.DEPResult

	calls, errors, assigns int
	needless               []string
	assigned               []string
}

func newApple(w *watch) *appleModel {
	return &appleModel{clock: w, page: 3, devices: map[string]*appleDevice{}, fetches: map[int][]string{}, marks: map[int]int{}}
}

func (a *appleModel) describe(serial string, op fleet.DEPOp) fleet.DEPDevice {
	d := fleet.DEPDevice{Serial: serial, Model: "iPad", Family: "iPad", ProfileUUID: a.devices[serial].profile, ProfileStatus: "assigned", Op: op}
	if d.ProfileUUID == "" {
		d.ProfileStatus = "empty"
	}
	if op != "" {
		d.OpDate = a.clock.now()
	}
	return d
}

func (a *appleModel) note(serial string, op fleet.DEPOp) {
	a.log = append(a.log, a.describe(serial, op))
}

func (a *appleModel) add(serial string) {
	if d := a.devices[serial]; d == nil || !d.here {
		a.devices[serial] = &appleDevice{here: true}
		a.note(serial, fleet.DEPAdded)
	}
}

func (a *appleModel) remove(serial string) {
	if d := a.devices[serial]; d != nil && d.here {
		d.here, d.profile = false, ""
		a.note(serial, fleet.DEPDeleted)
	}
}

func (a *appleModel) edit(serial, profile string) {
	if d := a.devices[serial]; d != nil && d.here {
		d.profile, d.lost = profile, true
		a.note(serial, fleet.DEPModified)
	}
}

func (a *appleModel) fault() error {
	a.calls++
	if len(a.faults) == 0 {
		return nil
	}
	err := a.faults[0]
	a.faults = a.faults[1:]
	if err != nil {
		a.errors++
	}
	return err
}

func (a *appleModel) FetchDevices(_ context.Context, _ fleet.ServerTokenID, cursor string, _ int) (fleet.DEPPage, error) {
	if err := a.fault(); err != nil {
		return fleet.DEPPage{}, err
	}
	number, from := len(a.fetches), 0
	if cursor == "" {
		var list []string
		for serial, d := range a.devices {
			if d.here {
				list = append(list, serial)
			}
		}
		slices.Sort(list)
		a.fetches[number], a.marks[number] = list, len(a.log)
	} else if _, err := fmt.Sscanf(cursor, "fetch %d %d", &number, &from); err != nil {
		a.errors++
		return fleet.DEPPage{}, &fleet.DEPError{Kind: fleet.DEPCursorInvalid}
	}
	list := a.fetches[number]
	to := min(from+a.page, len(list))
	p := fleet.DEPPage{Cursor: fmt.Sprintf("fetch %d %d", number, to), More: to < len(list)}
	if !p.More {
		p.Cursor = fmt.Sprintf("sync %d", a.marks[number])
	}
	for _, serial := range list[from:to] {
		if a.devices[serial].here {
			p.Devices = append(p.Devices, a.describe(serial, ""))
		}
	}
	return p, nil
}

func (a *appleModel) SyncDevices(_ context.Context, _ fleet.ServerTokenID, cursor string, _ int) (fleet.DEPPage, error) {
	if err := a.fault(); err != nil {
		return fleet.DEPPage{}, err
	}
	from, err := strconv.Atoi(strings.TrimPrefix(cursor, "sync "))
	if err != nil {
		a.errors++
		return fleet.DEPPage{}, &fleet.DEPError{Kind: fleet.DEPCursorInvalid}
	}
	to := min(from+a.page, len(a.log))
	return fleet.DEPPage{Cursor: fmt.Sprintf("sync %d", to), More: to < len(a.log), Devices: slices.Clone(a.log[from:to])}, nil
}

func (a *appleModel) AssignProfile(_ context.Context, _ fleet.ServerTokenID, profile string, serials []string) (fleet.DEPResults, error) {
	a.assigns++
	if err := a.fault(); err != nil {
		return fleet.DEPResults{}, err
	}
	r := fleet.DEPResults{ProfileUUID: profile, Devices: map[string]fleet.DEPResult{}}
	for _, serial := range serials {
		a.assigned = append(a.assigned, serial)
		d := a.devices[serial]
		switch {
		case d == nil || !d.here:
			r.Devices[serial] = fleet.DEPNotAccessible
			continue
		case len(a.results) > 0:
			r.Devices[serial], a.results = a.results[0], a.results[1:]
			if r.Devices[serial] != fleet.DEPSuccess {
				continue
			}
		}
		if d.profile == profile && !d.lost {
			a.needless = append(a.needless, serial)
		}
		d.lost = false
		r.Devices[serial] = fleet.DEPSuccess
		d.profile = profile
		a.note(serial, fleet.DEPModified)
	}
	return r, nil
}

var errCrash = errors.New("the process died")

// memory is a Store whose transactions may die before they commit.
type memory struct {
	apple   *appleModel
	sync    fleet.DEPSync
	records map[string]fleet.DEPRecord
	hosts   map[string]fleet.Host
	want    map[fleet.TeamID]string
	events  []fleet.Event
	crash   int // the n-th write from now dies; 0: none
	lastID  fleet.HostID
	moved   bool // somebody asks for a full fetch before the next write
}

func newMemory(a *appleModel) *memory {
	return &memory{apple: a, records: map[string]fleet.DEPRecord{}, hosts: map[string]fleet.Host{},
		sync: fleet.DEPSync{TokenID: token, Teams: map[fleet.Platform]fleet.TeamID{fleet.PlatformIPadOS: 1}},
		want: map[fleet.TeamID]string{0: "P0", 1: "P1", 2: "P2"}}
}

func (m *memory) dies() bool {
	if m.crash > 0 {
		m.crash--
		return m.crash == 0
	}
	return false
}

func (m *memory) Sync(context.Context, fleet.ServerTokenID) (fleet.DEPSync, error) {
	return m.sync, nil
}

func (m *memory) Change(_ context.Context, _ fleet.ServerTokenID, serials []string, decide func(fleet.DEPFacts) (fleet.DEPChange, error)) error {
	f := fleet.DEPFacts{Sync: m.sync, Records: map[string]fleet.DEPRecord{}, Hosts: map[string]fleet.Host{}}
	if m.moved {
		m.moved, m.sync = false, Restarted(m.sync)
		f.Sync = m.sync
	}
	for _, serial := range serials {
		if r, ok := m.records[serial]; ok {
			f.Records[serial] = r
		}
		if h, ok := m.hosts[serial]; ok {
			f.Hosts[serial] = h
		}
	}
	c, err := decide(f)
	if err != nil {
		return err
	}
	if m.dies() {
		return errCrash
	}
	for _, r := range c.Records {
		if r.Host != nil {
			h := *r.Host
			if h.ID == 0 {
				m.lastID++
				h.ID = m.lastID
			}
			m.hosts[h.HardwareSerial], r.Record.HostID = h, h.ID
		}
		m.records[r.Record.Device.Serial] = r.Record
		m.events = append(m.events, r.Events...)
	}
	c.Sync.Teams, c.Sync.TokenID = m.sync.Teams, token
	m.sync, m.events = c.Sync, append(m.events, c.Events...)
	return nil
}

func (m *memory) list(limit int, fits func(fleet.DEPRecord) bool) []fleet.DEPRecord {
	var list []fleet.DEPRecord
	for _, serial := range slices.Sorted(maps.Keys(m.records)) {
		r := m.records[serial]
		r.Want = m.want[m.hosts[serial].TeamID]
		if r.DeletedAt.IsZero() && fits(r) && len(list) < limit {
			list = append(list, r)
		}
	}
	return list
}

func names(list []fleet.DEPRecord) []string {
	var serials []string
	for _, r := range list {
		serials = append(serials, r.Device.Serial)
	}
	return serials
}

func (m *memory) Unseen(_ context.Context, _ fleet.ServerTokenID, round int64, limit int) ([]string, error) {
	return names(m.list(limit, func(r fleet.DEPRecord) bool { return r.Round < round })), nil
}

func (m *memory) Homeless(_ context.Context, _ fleet.ServerTokenID, limit int) ([]string, error) {
	return names(m.list(limit, func(r fleet.DEPRecord) bool {
		_, managed := r.Device.Platform()
		h, housed := m.hosts[r.Device.Serial]
		return managed && (!housed || h.MDM.Status == fleet.MDMUnknown || h.MDM.Status == fleet.MDMOff)
	})), nil
}

func (m *memory) Due(_ context.Context, _ fleet.ServerTokenID, now time.Time, limit int) ([]fleet.DEPRecord, error) {
	return m.list(limit, func(r fleet.DEPRecord) bool { return NeedsProfile(r, now) }), nil
}

func (m *memory) Record(_ context.Context, _ fleet.ServerTokenID, outcomes []fleet.DEPOutcome, events []fleet.Event) error {
	if m.dies() {
		for _, o := range outcomes {
			if d := m.apple.devices[o.Serial]; d != nil {
				d.lost = true
			}
		}
		return errCrash
	}
	for _, o := range outcomes {
		r := m.records[o.Serial]
		r.Assign = o.Assign
		if o.ProfileUUID != "" {
			r.Device.ProfileUUID, r.Device.ProfileStatus = o.ProfileUUID, o.ProfileStatus
		}
		m.records[o.Serial] = r
	}
	m.events = append(m.events, events...)
	return nil
}

// defined is where every profile has been defined before.
type defined struct{}

func (defined) Define(context.Context, fleet.ServerTokenID) error { return nil }

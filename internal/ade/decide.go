package ade

import (
	"encoding/json"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// newest keeps of each serial what happened last: Apple repeats devices within
// a page (contracts/apple.md 4.4). Of two at the same time the later one in
// the page counts.
func newest(devices []fleet.DEPDevice) []fleet.DEPDevice {
	at := make(map[string]int, len(devices))
	list := make([]fleet.DEPDevice, 0, len(devices))
	for _, d := range devices {
		i, seen := at[d.Serial]
		switch {
		case !seen:
			at[d.Serial] = len(list)
			list = append(list, d)
		case !d.OpDate.Before(list[i].OpDate):
			list[i] = d
		}
	}
	return list
}

func serialsOf(devices []fleet.DEPDevice) []string {
	serials := make([]string, 0, len(devices))
	for i := range devices {
		serials = append(serials, devices[i].Serial)
	}
	return serials
}

// decidePage says what follows from devices that Apple spoke of, each once.
func decidePage(f fleet.DEPFacts, devices []fleet.DEPDevice, now time.Time) []fleet.DEPRecordChange {
	changes := make([]fleet.DEPRecordChange, 0, len(devices))
	for _, d := range devices {
		rec, known := f.Records[d.Serial]
		if known && d.Op != "" && d.OpDate.Before(rec.Device.OpDate) {
			continue // an older operation than one that was taken in
		}
		if d.Op == fleet.DEPDeleted {
			if known && rec.DeletedAt.IsZero() {
				changes = append(changes, forget(rec, host(f, rec), d.OpDate, now))
			}
			continue
		}
		changes = append(changes, take(f, rec, known, d, now))
	}
	return changes
}

// take notes a device that is this server's.
func take(f fleet.DEPFacts, rec fleet.DEPRecord, known bool, d fleet.DEPDevice, now time.Time) fleet.DEPRecordChange {
	arrived := !known || !rec.DeletedAt.IsZero()
	old := rec.Device
	if d.Op == "" || d.OpDate.After(old.OpDate) {
		rec.Assign.Held = false
	}
	rec.Device = d
	// What happened before our own successful try says nothing of its result.
	if d.Op != "" && rec.Assign.Result == fleet.DEPSuccess && rec.Assign.Tried == old.ProfileUUID && d.OpDate.Before(rec.Assign.At) {
		rec.Device.ProfileUUID, rec.Device.ProfileStatus = old.ProfileUUID, old.ProfileStatus
	}
	if d.OpDate.IsZero() {
		rec.Device.OpDate = old.OpDate // the full list has none
	}
	rec.Round, rec.DeletedAt = f.Sync.Round, time.Time{}
	c := fleet.DEPRecordChange{Record: rec}
	settle(&c, f, now)
	if arrived {
		c.Events = append(c.Events, deviceEvent(&c, "assigned", now))
	}
	return c
}

// settle gives the device a host: the one with its serial, or a new one that
// is pending in the token's team for its platform.
func settle(c *fleet.DEPRecordChange, f fleet.DEPFacts, now time.Time) {
	d := &c.Record.Device
	platform, ok := d.Platform()
	if !ok {
		return
	}
	h, found := f.Hosts[d.Serial]
	if !found {
		c.Record.HostID = 0
		c.Host = &fleet.Host{TeamID: f.Sync.Teams[platform], HardwareSerial: d.Serial, Platform: platform, HardwareModel: d.Model, HardwareVendor: "Apple",
			DiskTotalGB: -1, DiskAvailableGB: -1, MDM: fleet.HostMDM{Status: fleet.MDMPending}, CreatedAt: now, UpdatedAt: now}
		c.Events = append(c.Events, fleet.Event{Kind: fleet.EventHostCreated, At: now, Details: details(map[string]string{
			"serial": d.Serial, "model": d.Model, "how": "ade"})})
		return
	}
	c.Record.HostID = h.ID
	if h.MDM.Status == fleet.MDMUnknown || h.MDM.Status == fleet.MDMOff {
		h.MDM.Status, h.UpdatedAt = fleet.MDMPending, now
		c.Host = &h
	}
}

// forget notes that a device is this server's no more. The record stays, for
// history, and so does the host.
func forget(rec fleet.DEPRecord, h *fleet.Host, opDate, now time.Time) fleet.DEPRecordChange {
	rec.DeletedAt, rec.Assign = now, fleet.DEPAssignment{}
	if !opDate.IsZero() {
		rec.Device.Op, rec.Device.OpDate = fleet.DEPDeleted, opDate
	}
	c := fleet.DEPRecordChange{Record: rec}
	if h != nil && h.MDM.Status == fleet.MDMPending {
		h.MDM.Status, h.UpdatedAt = fleet.MDMUnknown, now
		if !h.MDM.EnrolledAt.IsZero() {
			h.MDM.Status = fleet.MDMOff
		}
		c.Host = h
	}
	c.Events = append(c.Events, deviceEvent(&c, "removed", now))
	return c
}

// decideMissing forgets devices that a full fetch did not have.
func decideMissing(f fleet.DEPFacts, serials []string, now time.Time) []fleet.DEPRecordChange {
	var changes []fleet.DEPRecordChange
	for _, serial := range serials {
		rec, known := f.Records[serial]
		if known && rec.DeletedAt.IsZero() && rec.Round < f.Sync.Round {
			changes = append(changes, forget(rec, host(f, rec), time.Time{}, now))
		}
	}
	return changes
}

// decideHomeless gives devices a host again whose host was deleted.
func decideHomeless(f fleet.DEPFacts, serials []string, now time.Time) []fleet.DEPRecordChange {
	var changes []fleet.DEPRecordChange
	for _, serial := range serials {
		rec, known := f.Records[serial]
		if !known || !rec.DeletedAt.IsZero() {
			continue
		}
		c := fleet.DEPRecordChange{Record: rec}
		settle(&c, f, now)
		if c.Host != nil || c.Record.HostID != rec.HostID {
			changes = append(changes, c)
		}
	}
	return changes
}

func host(f fleet.DEPFacts, rec fleet.DEPRecord) *fleet.Host {
	h, ok := f.Hosts[rec.Device.Serial]
	if !ok {
		return nil
	}
	return &h
}

func deviceEvent(c *fleet.DEPRecordChange, what string, now time.Time) fleet.Event {
	return fleet.Event{Kind: fleet.EventDEPDevice, At: now, HostID: c.Record.HostID, Details: details(map[string]string{
		"serial": c.Record.Device.Serial, "model": c.Record.Device.Model, "change": what})}
}

func details(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return nil // maps of plain values always marshal
	}
	return b
}

package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
)

var vitalCols = []string{"host_id", "model_name", "model_number", "bluetooth_mac", "ethernet_mac", "time_zone", "imei", "meid",
	"battery_level", "battery_health", "secure_boot", "update_state", "update_version", "update_failure", "lost_mode", "activation_lock",
	"find_my", "cloud_backup", "passcode_present", "passcode_compliant", "filevault", "firewall", "sip", "recovery_lock", "updated_at"}

var vitalSelect = "SELECT " + strings.Join(vitalCols[:len(vitalCols)-1], ", ") + " FROM host_vitals"

// hostVitals is a row of host_vitals.
type hostVitals struct {
	host fleet.HostID
	fleet.VitalDetails
}

// noLevel stands for a battery level that is not known.
const noLevel = -1.0

func scanVitals(rows *sql.Rows) (hostVitals, error) {
	var v hostVitals
	var level float64
	var u fleet.SoftwareUpdate
	err := rows.Scan(&v.host, &v.ModelName, &v.ModelNumber, &v.BluetoothMAC, &v.EthernetMAC, &v.TimeZone, &v.IMEI, &v.MEID,
		&level, &v.BatteryHealth, &v.SecureBoot, &u.State, &u.Version, &u.Failure, &v.LostMode, &v.ActivationLock,
		&v.FindMy, &v.CloudBackup, &v.PasscodePresent, &v.PasscodeCompliant, &v.FileVault, &v.Firewall, &v.SIP, &v.RecoveryLock)
	if level >= 0 {
		v.BatteryLevel = &level
	}
	if u != (fleet.SoftwareUpdate{}) {
		v.Update = &u
	}
	return v, err
}

func (s *session) vitalValues(v *hostVitals) []any {
	level, u := noLevel, fleet.SoftwareUpdate{}
	if v.BatteryLevel != nil {
		level = *v.BatteryLevel
	}
	if v.Update != nil {
		u = *v.Update
	}
	return []any{int64(v.host), clip(v.ModelName, 100), clip(v.ModelNumber, 100), clip(v.BluetoothMAC, 40), clip(v.EthernetMAC, 40),
		clip(v.TimeZone, 100), clip(v.IMEI, 40), clip(v.MEID, 40), level, clip(v.BatteryHealth, 40), clip(v.SecureBoot, 40),
		clip(u.State, 40), clip(u.Version, 40), clip(u.Failure, 255), int64(v.LostMode), int64(v.ActivationLock), int64(v.FindMy),
		int64(v.CloudBackup), int64(v.PasscodePresent), int64(v.PasscodeCompliant), int64(v.FileVault), int64(v.Firewall), int64(v.SIP),
		int64(v.RecoveryLock), s.db.now()}
}

// told is what one host told about itself.
type told struct {
	host   fleet.HostID
	vitals *fleet.Vitals
}

// learn stores what hosts told about themselves, with statements over all of
// them. Only what changed is written, and only hosts of which something changed
// are planned again: profiles and labels may depend on it.
func (s *session) learn(list []told) error {
	if len(list) == 0 {
		return nil
	}
	slices.SortStableFunc(list, func(a, b told) int { return int(a.host - b.host) })
	ids := make([]any, len(list))
	for i := range list {
		ids[i] = int64(list[i].host)
	}
	// Hosts are written together, as rows that are made where there are none:
	// one that is deleted meanwhile would be back.
	if err := s.lockHosts(ids); err != nil {
		return err
	}
	hosts, err := s.hostsBy("h.id", ids)
	if err != nil {
		return err
	}
	byID := make(map[fleet.HostID]*fleet.Host, len(hosts))
	for i := range hosts {
		byID[hosts[i].ID] = &hosts[i]
	}
	if err := s.learnHosts(list, byID); err != nil {
		return fmt.Errorf("store vitals of hosts: %w", err)
	}
	if err := s.learnDetails(list, byID, ids); err != nil {
		return fmt.Errorf("store details of hosts: %w", err)
	}
	return nil
}

func (s *session) learnHosts(list []told, hosts map[fleet.HostID]*fleet.Host) error {
	s.holdWrites()
	defer func() { s.held = nil }()
	var due []int64
	var events []fleet.Event
	for _, t := range list {
		h := hosts[t.host]
		if h == nil {
			continue // it was deleted meanwhile
		}
		before := *h
		h.Apply(t.vitals, s.db.clock())
		changed, notable := differ(before, *h)
		if changed {
			due = append(due, int64(h.ID))
		}
		if notable {
			events = append(events, vitalsEvent(h))
		}
		if h.Platform != before.Platform {
			if err := s.leaveBuiltinLabels(h.ID); err != nil {
				return err
			}
			if err := s.joinBuiltinLabels(h.ID, h.Platform); err != nil {
				return err
			}
		}
		if err := s.putHost(h); err != nil {
			return err
		}
	}
	if err := s.hostsDue(due); err != nil {
		return err
	}
	if err := s.appendEvents(events...); err != nil {
		return err
	}
	return s.flush()
}

// differ tells whether anything changed of a host, and whether that is worth
// an entry in the log, which free space is not: it changes all the time.
func differ(before, after fleet.Host) (changed, notable bool) {
	after.DetailUpdatedAt = before.DetailUpdatedAt
	changed = before != after
	after.DiskAvailableGB = before.DiskAvailableGB
	return changed, before != after
}

// vitalsEvent says what a host is now of which something changed.
func vitalsEvent(h *fleet.Host) fleet.Event {
	details, err := json.Marshal(map[string]string{"computer_name": h.ComputerName, "os_version": h.OSVersion, "build": h.Build, "hardware_model": h.HardwareModel})
	if err != nil {
		details = nil // texts always marshal
	}
	return fleet.Event{Kind: fleet.EventVitalsReceived, HostID: h.ID, Details: details,
		Actor: fleet.Actor{Kind: fleet.ActorDevice, Name: firstText(h.HardwareSerial, h.UUID)}}
}

func (s *session) learnDetails(list []told, hosts map[fleet.HostID]*fleet.Host, ids []any) error {
	in, args := inList(ids)
	held, err := collect(s, scanVitals, vitalSelect+" WHERE host_id IN "+in+" ORDER BY host_id"+s.db.dialect.lockForUpdate(), args...)
	if err != nil {
		return err
	}
	byID := make(map[fleet.HostID]*hostVitals, len(held))
	for i := range held {
		byID[held[i].host] = &held[i]
	}
	changed := make(map[fleet.HostID]bool, len(list))
	for _, t := range list {
		if hosts[t.host] == nil {
			continue
		}
		v := byID[t.host]
		if v == nil {
			v = &hostVitals{host: t.host}
			byID[t.host] = v
		}
		if v.Learn(&t.vitals.Details) {
			changed[t.host] = true
		}
	}
	var rows [][]any
	for _, t := range list {
		if changed[t.host] {
			changed[t.host] = false // a host that told twice
			rows = append(rows, s.vitalValues(byID[t.host]))
		}
	}
	return s.upsertRows("host_vitals", vitalCols, 1, rows)
}

// vitalsOf returns the details of a host.
func (s *session) vitalsOf(id fleet.HostID) (fleet.VitalDetails, error) {
	list, err := collect(s, scanVitals, vitalSelect+" WHERE host_id = ?", int64(id))
	if err != nil || len(list) == 0 {
		return fleet.VitalDetails{}, err
	}
	return list[0].VitalDetails, nil
}

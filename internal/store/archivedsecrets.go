package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

var archiveCols = []string{"command_uuid", "kind", "device_uuid", "serial", "archived_at"}

var archiveSelect = "SELECT " + strings.Join(archiveCols, ", ") + " FROM archived_secrets"

func scanArchived(rows *sql.Rows) (v fleet.ArchivedSecret, err error) {
	var at int64
	err = rows.Scan(&v.CommandUUID, &v.Kind, &v.DeviceUUID, &v.Serial, &at)
	v.ArchivedAt = timeOf(at)
	return v, err
}

// archiveSecrets keeps what opens a device before its host forgets it, and
// returns what actions left on the host.
func (s *session) archiveSecrets(host fleet.HostID) (fleet.HostActionState, error) {
	states, err := s.actionStates([]any{int64(host)})
	v := states[host]
	if err != nil || v.PINUUID == "" && v.RecoveryUUID == "" && v.RecoveryNext == "" {
		return v, err
	}
	var device, serial string
	if _, err := s.get("SELECT uuid, hardware_serial FROM hosts WHERE id = ?", []any{int64(host)}, &device, &serial); err != nil {
		return v, err
	}
	var rows [][]any
	for _, secret := range []struct {
		kind fleet.ArchivedKind
		uuid string
	}{{fleet.ArchivedPIN, v.PINUUID}, {fleet.ArchivedRecoveryLock, v.RecoveryUUID}, {fleet.ArchivedUnconfirmed, v.RecoveryNext}} {
		if secret.uuid != "" {
			rows = append(rows, []any{secret.uuid, int64(secret.kind), device, serial, s.db.now()})
		}
	}
	if err := s.put("archived_secrets", archiveCols, rows, s.db.dialect.onConflict(archiveCols[:1], archiveCols[1:]), 1); err != nil {
		return v, fmt.Errorf("archive secrets of host %d: %w", host, err)
	}
	return v, nil
}

// archiveBypassCode keeps the bypass code of a device findable whose host is
// deleted. The code itself is the enrollment's, which stays.
func (s *session) archiveBypassCode(host fleet.HostID) error {
	rows, err := collect(s, func(r *sql.Rows) ([]any, error) {
		var key, device, serial string
		err := r.Scan(&key, &device, &serial)
		return []any{key, int64(fleet.ArchivedBypassCode), device, serial, s.db.now()}, err
	}, "SELECT e.enroll_key, h.uuid, h.hardware_serial FROM enrollments e JOIN hosts h ON h.id = e.host_id JOIN secrets b ON b.scope = ? AND b.name = e.enroll_key"+
		" WHERE e.host_id = ? AND e.parent_id = 0", string(fleet.ScopeBypassCode), int64(host))
	if err != nil {
		return err
	}
	if err := s.put("archived_secrets", archiveCols, rows, s.db.dialect.onConflict(archiveCols[:1], archiveCols[1:]), 1); err != nil {
		return fmt.Errorf("archive the bypass code of host %d: %w", host, err)
	}
	return nil
}

// inherit gives hosts that nothing was done to the recovery lock passwords that
// their devices had before.
func (s *session) inherit(hosts []fleet.ActionHost) error {
	at := map[string]int{}
	var devices []any
	for i := range hosts {
		if hosts[i].Action.UpdatedAt.IsZero() && hosts[i].Host.UUID != "" {
			at[hosts[i].Host.UUID] = i
			devices = append(devices, hosts[i].Host.UUID)
		}
	}
	return chunked(devices, func(chunk []any) error {
		in, args := inList(chunk)
		list, err := collect(s, scanArchived, archiveSelect+" WHERE kind = ? AND device_uuid IN "+in+" ORDER BY archived_at, command_uuid",
			append([]any{int64(fleet.ArchivedRecoveryLock)}, args...)...)
		for _, v := range list {
			hosts[at[v.DeviceUUID]].Action.RecoveryUUID = v.CommandUUID // the last one it is
		}
		return err
	})
}

// Archived returns up to limit archived secrets of a serial number, the newest
// first.
func (a *HostActions) Archived(ctx context.Context, serial string, limit int) ([]fleet.ArchivedSecret, error) {
	list, err := collect(a.db.view(ctx), scanArchived, archiveSelect+" WHERE serial = ? ORDER BY archived_at DESC, command_uuid LIMIT ?", serial, limit)
	if err != nil {
		return nil, fmt.Errorf("read archived secrets: %w", err)
	}
	return list, nil
}

// DropArchived forgets secrets that were archived before the time.
func (a *HostActions) DropArchived(ctx context.Context, before time.Time) error {
	return a.db.update(ctx, func(s *session) error {
		return s.exec("DELETE FROM archived_secrets WHERE archived_at < ?", micros(before))
	})
}

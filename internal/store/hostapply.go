package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Apply carries plans out in one transaction, but for hosts that changed
// since their facts were read: those stay due. It returns how many were
// carried out.
func (p *Plans) Apply(ctx context.Context, plans []fleet.HostPlan) (int, error) {
	applied := 0
	err := p.db.update(ctx, func(s *session) error {
		good, err := s.unchanged(plans)
		if err != nil {
			return err
		}
		applied = len(good)
		if applied == 0 {
			return nil
		}
		return s.applyPlans(good)
	})
	if err != nil {
		return 0, fmt.Errorf("carry out plans: %w", err)
	}
	return applied, nil
}

// unchanged keeps the plans whose host is as it was planned for: nothing was
// answered meanwhile, and nothing to be cancelled was sent.
func (s *session) unchanged(plans []fleet.HostPlan) ([]fleet.HostPlan, error) {
	ids := make([]int64, len(plans))
	for i := range plans {
		ids[i] = int64(plans[i].HostID)
	}
	slices.Sort(ids)
	type row struct {
		host fleet.HostID
		seq  int64
	}
	seqs := make(map[fleet.HostID]int64, len(plans))
	err := chunked(ids, func(chunk []int64) error {
		list, err := collect(s, func(r *sql.Rows) (v row, err error) { return v, r.Scan(&v.host, &v.seq) },
			"SELECT host_id, seq FROM host_states WHERE host_id IN ("+placeholders(len(chunk))+") ORDER BY host_id"+s.db.dialect.lockForUpdate(),
			anys(chunk)...)
		for _, v := range list {
			seqs[v.host] = v.seq
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	good := make([]fleet.HostPlan, 0, len(plans))
	for i := range plans {
		seq, there := seqs[plans[i].HostID]
		if !there || seq != plans[i].Seq {
			continue
		}
		sent, err := s.anySent(plans[i].Cancel)
		if err != nil {
			return nil, err
		}
		if !sent {
			good = append(good, plans[i])
		}
	}
	return good, nil
}

// anySent tells whether one of the commands has gone out; the rows are kept
// from doing so until the transaction ends.
func (s *session) anySent(list []fleet.QueuedCommand) (bool, error) {
	for _, q := range list {
		var sends int
		if _, err := s.get("SELECT sends FROM command_queue WHERE command_id = ? AND enrollment_id = ?"+s.db.dialect.lockForUpdate(),
			[]any{int64(q.CommandID), int64(q.EnrollmentID)}, &sends); err != nil {
			return false, err
		}
		if sends > 0 {
			return true, nil
		}
	}
	return false, nil
}

func (s *session) applyPlans(plans []fleet.HostPlan) error {
	ids, err := s.planCommands(plans)
	if err != nil {
		return err
	}
	if err := s.cancelPlanned(plans); err != nil {
		return err
	}
	if err := s.queuePlanned(plans, ids); err != nil {
		return err
	}
	var items, states, channels [][]any
	var events []fleet.Event
	for i := range plans {
		plan := &plans[i]
		for n := range plan.Put {
			items = append(items, hostItemValues(&plan.Put[n]))
		}
		if err := s.dropHostItems(plan.HostID, plan.Drop); err != nil {
			return err
		}
		if err := s.putMemberships(plan.HostID, plan.Labels); err != nil {
			return err
		}
		for n := range plan.DDM {
			row, err := ddmValues(&plan.DDM[n])
			if err != nil {
				return err
			}
			channels = append(channels, row)
		}
		states = append(states, stateValues(&plan.State))
		events = append(events, plan.Events...)
	}
	if err := s.upsertRows("host_items", hostItemCols, 2, items); err != nil {
		return err
	}
	if err := s.upsertRows("ddm_channels", ddmCols, 1, channels); err != nil {
		return err
	}
	if err := s.upsertRows("host_states", stateCols, 1, states); err != nil {
		return err
	}
	return s.appendEvents(events...)
}

// upsertRows writes rows whose first columns are the key.
func (s *session) upsertRows(table string, cols []string, key int, rows [][]any) error {
	if err := s.insertRows(table, cols, rows, s.db.dialect.onConflict(cols[:key], cols[key:])); err != nil {
		return fmt.Errorf("write %s: %w", table, err)
	}
	return nil
}

var ddmCols = []string{"enrollment_id", "host_id", "manifest", "previous", "fetched", "announced", "nonce", "reported_at", "updated_at"}

func ddmValues(v *fleet.DDMChannel) ([]any, error) {
	manifest, err := json.Marshal(v.Manifest)
	if err != nil {
		return nil, err
	}
	previous, err := json.Marshal(v.Previous)
	if err != nil {
		return nil, err
	}
	return []any{int64(v.EnrollmentID), int64(v.HostID), manifest, previous, v.Fetched, v.Announced, v.Nonce, micros(v.ReportedAt), micros(v.UpdatedAt)}, nil
}

func (s *session) dropHostItems(host fleet.HostID, items []fleet.ItemID) error {
	if len(items) == 0 {
		return nil
	}
	args := []any{int64(host)}
	for _, id := range items {
		args = append(args, int64(id))
	}
	return s.exec("DELETE FROM host_items WHERE host_id = ? AND item_id IN ("+placeholders(len(items))+")", args...)
}

// planCommands stores the commands of the plans that are new, each once, and
// returns the keys of all by UUID. Those that are there are kept from whoever
// clears away.
func (s *session) planCommands(plans []fleet.HostPlan) (map[string]fleet.CommandID, error) {
	wanted := map[string]*fleet.Command{}
	var uuids []string
	for i := range plans {
		for _, q := range plans[i].Queue {
			if wanted[q.Command.UUID] == nil {
				wanted[q.Command.UUID] = q.Command
				uuids = append(uuids, q.Command.UUID)
			}
		}
	}
	ids := make(map[string]fleet.CommandID, len(uuids))
	type row struct {
		uuid string
		id   fleet.CommandID
	}
	err := chunked(uuids, func(chunk []string) error {
		list, err := collect(s, func(r *sql.Rows) (v row, err error) { return v, r.Scan(&v.uuid, &v.id) },
			"SELECT uuid, id FROM commands WHERE uuid IN ("+placeholders(len(chunk))+")"+s.db.dialect.lockForShare(), anys(chunk)...)
		for _, v := range list {
			ids[v.uuid] = v.id
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, uuid := range uuids {
		if ids[uuid] != 0 {
			continue
		}
		cmd := *wanted[uuid] // the caller's is shared
		if err := s.putCommand(&cmd); err != nil {
			return nil, fmt.Errorf("store command: %w", err)
		}
		ids[uuid] = cmd.ID
	}
	return ids, nil
}

func (s *session) cancelPlanned(plans []fleet.HostPlan) error {
	for i := range plans {
		for _, q := range plans[i].Cancel {
			if err := s.exec("DELETE FROM command_queue WHERE command_id = ? AND enrollment_id = ?", int64(q.CommandID), int64(q.EnrollmentID)); err != nil {
				return fmt.Errorf("cancel command: %w", err)
			}
		}
	}
	return nil
}

// queuePlanned queues the plans' commands, in their order on each channel.
func (s *session) queuePlanned(plans []fleet.HostPlan, ids map[string]fleet.CommandID) error {
	var rows, due [][]any
	for i := range plans {
		plan := &plans[i]
		woken := map[fleet.EnrollmentID]bool{}
		for _, q := range plan.Queue {
			id := ids[q.Command.UUID]
			for n := range plan.Put {
				if q.ItemID != 0 && plan.Put[n].ItemID == q.ItemID {
					plan.Put[n].CommandID = id
				}
			}
			s.commandsWait(q.EnrollmentID)
			rows = append(rows, []any{int64(q.EnrollmentID), s.db.nextSeq(), int64(id), int64(plan.HostID), false, 0, 0, 0})
			if !woken[q.EnrollmentID] {
				woken[q.EnrollmentID] = true
				due = append(due, []any{int64(q.EnrollmentID), s.db.now(), 0, 0, "", 0})
			}
		}
	}
	tail := s.db.dialect.onConflict([]string{"command_id", "enrollment_id"}, nil)
	if err := s.insertRows("command_queue", queueCols, rows, tail); err != nil {
		return fmt.Errorf("queue commands: %w", err)
	}
	return s.pushDue(due)
}

// followEnrollment makes a host due whose enrollment changed; one that was made
// is. After a reset or at its end the device has nothing of ours any more.
func (s *session) followEnrollment(c *fleet.EnrollmentChange, e *fleet.Enrollment, made bool) error {
	if e.HostID == 0 || (c.Enrollment == nil && c.Host == nil) {
		return nil
	}
	if (c.Reset || c.CancelQueue) && e.Channel.IsDevice() {
		for _, query := range []string{
			"DELETE FROM host_items WHERE host_id = ?",
			"DELETE FROM ddm_status WHERE enrollment_id IN (SELECT enrollment_id FROM ddm_channels WHERE host_id = ?)",
			"DELETE FROM ddm_channels WHERE host_id = ?",
			"UPDATE host_states SET status = 0, pending = 0, verifying = 0, verified = 0, failed = 0, revision = 0, verify_at = 0, asked_at = 0, listed_at = 0 WHERE host_id = ?",
		} {
			if err := s.exec(query, int64(e.HostID)); err != nil {
				return fmt.Errorf("forget the host's items: %w", err)
			}
		}
	}
	set, args := "seq = seq + 1", []any(nil)
	switch {
	case made:
		return nil // it is due since it was made
	case c.Host != nil:
		// Behind every revision: that it is to be planned again is seen by
		// replicas with other clocks, too.
		set, args = "team_id = ?, revision = 0, seq = seq + 1", []any{int64(c.Host.TeamID)}
	}
	return s.makeDue("host_states", "host_id", set, args, int64(e.HostID))
}

// itemOutcome is what something that a device said means for items.
type itemOutcome struct {
	target *fleet.CommandTarget // with its state and the items before
	items  []fleet.HostItem
	gone   []fleet.ItemID
	listed bool
	due    time.Time
}

func (o *itemOutcome) empty() bool {
	return o.target.State.HostID == 0 || len(o.items)+len(o.gone) == 0 && !o.listed && o.due.IsZero()
}

// applyItemOutcomes stores what answers say about items, and counts. states
// collects the hosts' states, which are written at the end.
func (s *session) applyItemOutcomes(states map[fleet.HostID]*fleet.HostState, list []itemOutcome) error {
	var rows [][]any
	var gone [][2]int64
	for n := range list {
		o := &list[n]
		if o.empty() {
			continue
		}
		state := states[o.target.HostID]
		if state == nil {
			copied := o.target.State
			state = &copied
			states[o.target.HostID] = state
		}
		o.count(state)
		for i := range o.items {
			rows = append(rows, hostItemValues(&o.items[i]))
		}
		for _, id := range o.gone {
			gone = append(gone, [2]int64{int64(o.target.HostID), int64(id)})
		}
		if o.listed {
			state.ListedAt = s.db.clock()
		}
		if !o.due.IsZero() && (state.DueAt.IsZero() || o.due.Before(state.DueAt)) {
			state.DueAt = o.due
		}
	}
	if err := s.upsertRows("host_items", hostItemCols, 2, rows); err != nil {
		return err
	}
	if len(gone) > 0 {
		in, args := s.db.dialect.inPairs(gone)
		if err := s.exec("DELETE FROM host_items WHERE (host_id, item_id) IN "+in, args...); err != nil {
			return err
		}
	}
	return s.putStates(states)
}

// count moves the host's items from their status before to that after.
func (o *itemOutcome) count(state *fleet.HostState) {
	before := make(map[fleet.ItemID]fleet.ItemStatus, len(o.target.Items))
	for _, i := range o.target.Items {
		before[i.ItemID] = i.Status
	}
	for i := range o.items {
		state.Counts.Add(before[o.items[i].ItemID], -1)
		state.Counts.Add(o.items[i].Status, 1)
	}
	for _, id := range o.gone {
		state.Counts.Add(before[id], -1)
	}
}

// putStates writes states that were read and locked in this transaction, and
// counts their changes.
func (s *session) putStates(states map[fleet.HostID]*fleet.HostState) error {
	rows := make([][]any, 0, len(states))
	for _, v := range states {
		v.Seq++
		rows = append(rows, stateValues(v))
	}
	slices.SortFunc(rows, func(a, b []any) int { return int(a[0].(int64) - b[0].(int64)) })
	return s.upsertRows("host_states", stateCols, 1, rows)
}

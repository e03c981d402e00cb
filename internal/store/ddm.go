package store

import (
	"context"
	"fmt"

	"github.com/muster-mdm/muster/internal/fleet"
)

// DDM keeps what each channel should declare and what it reported.
type DDM struct{ db *DB }

// NewDDM returns the declarative management of db.
func NewDDM(db *DB) *DDM { return &DDM{db} }

// Channel returns a channel; nil when nothing was planned for it yet.
func (d *DDM) Channel(ctx context.Context, id fleet.EnrollmentID) (*fleet.DDMChannel, error) {
	return d.db.view(ctx).ddmChannel(id, "")
}

func (s *session) ddmChannel(id fleet.EnrollmentID, lock string) (*fleet.DDMChannel, error) {
	list, err := collect(s, scanDDM, ddmSelect+" WHERE d.enrollment_id = ?"+lock, int64(id))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// Apply carries out what follows from something that the device did on a
// channel, in one transaction. It does nothing for an unknown channel.
func (d *DDM) Apply(ctx context.Context, id fleet.EnrollmentID, decide func(fleet.DDMFacts) (fleet.DDMOutcome, error)) error {
	return d.db.update(ctx, func(s *session) error {
		facts, err := s.ddmFacts(id)
		if err != nil || facts == nil {
			return err
		}
		out, err := decide(*facts)
		if err != nil {
			return err
		}
		if out.Channel != nil {
			row, err := ddmValues(out.Channel)
			if err != nil {
				return err
			}
			if err := s.upsertRows("ddm_channels", ddmCols, 1, [][]any{row}); err != nil {
				return err
			}
		}
		if out.Status != nil {
			if err := s.upsertRows("ddm_status", []string{"enrollment_id", "report", "updated_at"}, 1,
				[][]any{{int64(id), out.Status, s.db.now()}}); err != nil {
				return err
			}
		}
		if out.Vitals != nil {
			if err := s.learn([]told{{facts.Channel.HostID, out.Vitals}}); err != nil {
				return err
			}
			// Vitals made the host due: the state is read again.
			again, err := s.hostState(facts.Channel.HostID, "")
			if err != nil || again == nil {
				return err
			}
			facts.State = *again
		}
		// The state is written in any case: whoever plans at this moment plans
		// again.
		target := fleet.CommandTarget{HostID: facts.Channel.HostID, EnrollmentID: id, State: facts.State, Items: facts.Items}
		states := map[fleet.HostID]*fleet.HostState{target.HostID: &facts.State}
		if err := s.applyItemOutcomes(states, []itemOutcome{{target: &target, items: out.Items, gone: out.Gone, due: out.DueAt}}); err != nil {
			return err
		}
		return s.appendEvents(out.Events...)
	})
}

func (s *session) hostState(id fleet.HostID, lock string) (*fleet.HostState, error) {
	list, err := collect(s, scanState, stateSelect+" WHERE hs.host_id = ?"+lock, int64(id))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// ddmFacts locks the host's state first, as planning does.
func (s *session) ddmFacts(id fleet.EnrollmentID) (*fleet.DDMFacts, error) {
	c, err := s.ddmChannel(id, "")
	if err != nil || c == nil {
		return nil, err
	}
	state, err := s.hostState(c.HostID, s.db.dialect.lockForUpdate())
	if err != nil || state == nil {
		return nil, err
	}
	// What was planned before the lock was had is read again.
	if c, err = s.ddmChannel(id, s.db.dialect.lockForUpdate()); err != nil || c == nil {
		return nil, err
	}
	f := &fleet.DDMFacts{Channel: *c, State: *state}
	if f.Items, err = collect(s, scanHostItem, hostItemSelect+" WHERE hi.host_id = ? AND hi.enrollment_id = ?", int64(c.HostID), int64(id)); err != nil {
		return nil, fmt.Errorf("read the channel's items: %w", err)
	}
	_, err = s.get("SELECT report FROM ddm_status WHERE enrollment_id = ?", []any{int64(id)}, &f.Status)
	return f, err
}

// Status returns the merged status of a channel, JSON; nil when it never
// reported.
func (d *DDM) Status(ctx context.Context, id fleet.EnrollmentID) ([]byte, error) {
	var report []byte
	_, err := d.db.view(ctx).get("SELECT report FROM ddm_status WHERE enrollment_id = ?", []any{int64(id)}, &report)
	return report, err
}

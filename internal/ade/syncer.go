package ade

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Limits of a round.
const (
	pageSize = 1000
	// maxSteps bounds the pages of a round: a million devices.
	maxSteps  = 1000
	sweepSize = 500
	dueSize   = 2 * MaxChunk
	maxBatch  = 500
)

// Apple is the device enrollment service. Errors of the service are
// *fleet.DEPError.
type Apple interface {
	FetchDevices(ctx context.Context, token fleet.ServerTokenID, cursor string, limit int) (fleet.DEPPage, error)
	SyncDevices(ctx context.Context, token fleet.ServerTokenID, cursor string, limit int) (fleet.DEPPage, error)
	AssignProfile(ctx context.Context, token fleet.ServerTokenID, profile string, serials []string) (fleet.DEPResults, error)
}

// Store keeps the devices of server tokens.
type Store interface {
	// Sync reads where syncing stands.
	Sync(ctx context.Context, token fleet.ServerTokenID) (fleet.DEPSync, error)
	// Change reads the facts about serials (at most pageSize), lets decide say
	// what changes, and writes that, all in one transaction. An error of
	// decide is returned and nothing is written.
	Change(ctx context.Context, token fleet.ServerTokenID, serials []string, decide func(fleet.DEPFacts) (fleet.DEPChange, error)) error
	// Unseen lists devices, not deleted, whose round is lower than round.
	Unseen(ctx context.Context, token fleet.ServerTokenID, round int64, limit int) ([]string, error)
	// Homeless lists devices, not deleted and of a platform that has hosts,
	// that have no host, or one that is not enrolled and not pending either.
	Homeless(ctx context.Context, token fleet.ServerTokenID, limit int) ([]string, error)
	// Due lists devices for which NeedsProfile holds.
	Due(ctx context.Context, token fleet.ServerTokenID, now time.Time, limit int) ([]fleet.DEPRecord, error)
	// Record writes what became of devices, and events, in one transaction.
	Record(ctx context.Context, token fleet.ServerTokenID, outcomes []fleet.DEPOutcome, events []fleet.Event) error
}

// Profiles has the teams' enrollment profiles defined at Apple. It returns
// errors of the service that concern the token.
type Profiles interface {
	Define(ctx context.Context, token fleet.ServerTokenID) error
}

// Syncer drives server tokens. One replica at a time drives one token, under
// a lease; should two do so for a moment, one of them gives way.
type Syncer struct {
	apple    Apple
	store    Store
	profiles Profiles
	clock    func() time.Time
}

// NewSyncer returns a syncer.
func NewSyncer(apple Apple, store Store, profiles Profiles, clock func() time.Time) *Syncer {
	return &Syncer{apple: apple, store: store, profiles: profiles, clock: clock}
}

// errMoved: somebody else moved the cursor while we asked Apple.
var errMoved = errors.New("another replica syncs this server token")

// Round reads what is new, gives devices their hosts, and assigns profiles.
// Errors of Apple's become state and events; what it returns is ours.
func (s *Syncer) Round(ctx context.Context, token fleet.ServerTokenID) error {
	state, err := s.read(ctx, token)
	if errors.Is(err, errMoved) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.house(ctx, token); err != nil {
		return err
	}
	if waits(s.clock(), state.NextAt) {
		return nil
	}
	if err = s.profiles.Define(ctx, token); err != nil {
		err = s.pause(ctx, state, err)
	} else {
		err = s.assign(ctx, token, state)
	}
	if errors.Is(err, errMoved) {
		return nil
	}
	return err
}

// read goes through the phases until there is nothing more, or a pause.
func (s *Syncer) read(ctx context.Context, token fleet.ServerTokenID) (fleet.DEPSync, error) {
	state, err := s.store.Sync(ctx, token)
	if err != nil {
		return state, fmt.Errorf("read the state of server token %d: %w", token, err)
	}
	for range maxSteps {
		if waits(s.clock(), state.NextAt) {
			return state, nil
		}
		var again bool
		state, again, err = s.step(ctx, state)
		if err != nil || !again {
			return state, err
		}
	}
	return state, nil // the next round goes on
}

// step does one page or one batch of the sweep.
func (s *Syncer) step(ctx context.Context, state fleet.DEPSync) (fleet.DEPSync, bool, error) {
	now := s.clock()
	state = prepare(state, now)
	if state.Phase == fleet.DEPSweep {
		return s.sweep(ctx, state, now)
	}
	page, err := s.ask(ctx, state)
	if err != nil {
		e := depError(err)
		if e == nil {
			return state, false, err
		}
		return s.move(ctx, state, now, nil, func(f fleet.DEPFacts) (fleet.DEPSync, bool, []fleet.DEPRecordChange) {
			next, again := afterError(f.Sync, e, now)
			return next, again, nil
		})
	}
	devices := newest(page.Devices)
	return s.move(ctx, state, now, serialsOf(devices), func(f fleet.DEPFacts) (fleet.DEPSync, bool, []fleet.DEPRecordChange) {
		next, again := afterPage(f.Sync, page, now)
		return next, again, decidePage(f, devices, now)
	})
}

// ask calls Apple for the next page.
func (s *Syncer) ask(ctx context.Context, state fleet.DEPSync) (fleet.DEPPage, error) {
	if state.Phase == fleet.DEPFetch {
		return s.apple.FetchDevices(ctx, state.TokenID, state.Cursor, pageSize)
	}
	if state.Cursor == "" {
		return fleet.DEPPage{}, &fleet.DEPError{Kind: fleet.DEPCursorRequired, Code: "there is no cursor"}
	}
	return s.apple.SyncDevices(ctx, state.TokenID, state.Cursor, pageSize)
}

// sweep forgets a batch of what the full fetch did not have.
func (s *Syncer) sweep(ctx context.Context, state fleet.DEPSync, now time.Time) (fleet.DEPSync, bool, error) {
	serials, err := s.store.Unseen(ctx, state.TokenID, state.Round, sweepSize)
	if err != nil {
		return state, false, fmt.Errorf("find devices that are gone: %w", err)
	}
	return s.move(ctx, state, now, serials, func(f fleet.DEPFacts) (fleet.DEPSync, bool, []fleet.DEPRecordChange) {
		if len(serials) == 0 {
			return afterSweep(f.Sync, now), true, nil
		}
		return f.Sync, true, decideMissing(f, serials, now)
	})
}

// move writes a step, unless somebody else went on from where it began. What
// people may change meanwhile, teams and the time of the next call, is taken
// from the facts.
func (s *Syncer) move(ctx context.Context, from fleet.DEPSync, now time.Time, serials []string,
	decide func(fleet.DEPFacts) (fleet.DEPSync, bool, []fleet.DEPRecordChange)) (next fleet.DEPSync, again bool, err error) {
	err = s.store.Change(ctx, from.TokenID, serials, func(f fleet.DEPFacts) (fleet.DEPChange, error) {
		before := f.Sync
		f.Sync = prepare(f.Sync, now)
		if f.Sync.Phase != from.Phase || f.Sync.Cursor != from.Cursor || f.Sync.Round != from.Round {
			return fleet.DEPChange{}, errMoved
		}
		var records []fleet.DEPRecordChange
		next, again, records = decide(f)
		return fleet.DEPChange{Sync: next, Records: records, Events: told(before, next, now)}, nil
	})
	if err != nil {
		return from, false, fmt.Errorf("save a step of server token %d: %w", from.TokenID, err)
	}
	return next, again, nil
}

// house gives devices a host again whose host was deleted.
func (s *Syncer) house(ctx context.Context, token fleet.ServerTokenID) error {
	now := s.clock()
	for range maxSteps {
		serials, err := s.store.Homeless(ctx, token, maxBatch)
		if err != nil {
			return fmt.Errorf("find devices without a host: %w", err)
		}
		if len(serials) == 0 {
			return nil
		}
		err = s.store.Change(ctx, token, serials, func(f fleet.DEPFacts) (fleet.DEPChange, error) {
			return fleet.DEPChange{Sync: f.Sync, Records: decideHomeless(f, serials, now)}, nil
		})
		if err != nil {
			return fmt.Errorf("make hosts again: %w", err)
		}
		if len(serials) < maxBatch {
			return nil
		}
	}
	return nil
}

// assign gives profiles to whoever is due.
func (s *Syncer) assign(ctx context.Context, token fleet.ServerTokenID, state fleet.DEPSync) error {
	for range maxSteps {
		now := s.clock()
		due, err := s.store.Due(ctx, token, now, dueSize)
		if err != nil {
			return fmt.Errorf("find devices without their profile: %w", err)
		}
		calls := callsFor(due, now)
		for _, c := range calls {
			goOn, err := s.carryOut(ctx, state, c)
			if err != nil || !goOn {
				return err
			}
		}
		if len(due) < dueSize || len(calls) == 0 {
			return nil
		}
	}
	return nil
}

// carryOut makes one call and remembers what came of it. An error that
// concerns the token pauses it; one about this profile, its devices.
func (s *Syncer) carryOut(ctx context.Context, state fleet.DEPSync, c call) (goOn bool, err error) {
	results, err := s.apple.AssignProfile(ctx, state.TokenID, c.profile, c.serials())
	now := s.clock()
	if err != nil {
		e := depError(err)
		if e == nil {
			return false, err
		}
		if e.Kind != fleet.DEPRefused {
			return false, s.pause(ctx, state, err)
		}
		results = fleet.DEPResults{} // everybody failed
	}
	list := outcomes(c, results, now)
	err = s.store.Record(ctx, state.TokenID, list, []fleet.Event{countEvent(c, list, now)})
	if err != nil {
		return false, fmt.Errorf("save who has a profile: %w", err)
	}
	return true, nil
}

// pause waits after an error of Apple's that concerns the token; any other
// error is returned.
func (s *Syncer) pause(ctx context.Context, state fleet.DEPSync, err error) error {
	e := depError(err)
	if e == nil {
		return err
	}
	now := s.clock()
	_, _, err = s.move(ctx, state, now, nil, func(f fleet.DEPFacts) (fleet.DEPSync, bool, []fleet.DEPRecordChange) {
		return pause(f.Sync, e, now), false, nil
	})
	return err
}

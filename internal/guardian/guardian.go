package guardian

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Limits of a list.
const (
	// MaxDays bounds how far a list looks ahead.
	MaxDays = 3650
	// nearest is how many identities a list names.
	nearest = 20
	day     = 24 * time.Hour
)

// thresholds are the days before its end at which a thing is warned of
// (contracts/apple.md section 2), the last one first.
func thresholds() []int { return []int{0, 1, 7, 14, 30} }

// Source tells dated things of one kind.
type Source func(ctx context.Context) ([]fleet.DatedThing, error)

// Identities tells when device identities expire.
type Identities interface {
	Expiries(ctx context.Context, now, before time.Time, nearest int) (fleet.IdentityExpiry, error)
}

// Warnings keeps what was warned of.
type Warnings interface {
	// Warn appends the events of those warnings that were not given before, in
	// one transaction.
	Warn(ctx context.Context, list []fleet.ExpiryWarning) error
}

// Service lists what expires, and warns of it.
type Service struct {
	sources    []Source
	identities Identities
	warnings   Warnings
	clock      func() time.Time
}

// New returns the guardian of these things.
func New(identities Identities, warnings Warnings, clock func() time.Time, sources ...Source) *Service {
	return &Service{sources, identities, warnings, clock}
}

// Expiring lists what expires within so many days, or has expired.
func (s *Service) Expiring(ctx context.Context, days int) (fleet.Expiry, error) {
	if days < 0 || days > MaxDays {
		return fleet.Expiry{}, fleet.FieldErrorf(fleet.KindBadRequest, "days", "must be 0 to %d", MaxDays)
	}
	now := s.clock()
	before := now.Add(time.Duration(days) * day)
	things, err := s.Things(ctx)
	if err != nil {
		return fleet.Expiry{}, err
	}
	out := fleet.Expiry{Things: slices.DeleteFunc(things, func(t fleet.DatedThing) bool { return t.NotAfter.After(before) })}
	out.Identities, err = s.identities.Expiries(ctx, now, before, nearest)
	return out, err
}

// Things lists everything dated of the server's own, the nearest first.
func (s *Service) Things(ctx context.Context) ([]fleet.DatedThing, error) {
	var things []fleet.DatedThing
	for _, source := range s.sources {
		list, err := source(ctx)
		if err != nil {
			return nil, err
		}
		things = append(things, list...)
	}
	slices.SortStableFunc(things, func(a, b fleet.DatedThing) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Name, b.Name))
	})
	return things, nil
}

// Round warns of what has come nearer.
func (s *Service) Round(ctx context.Context) error {
	things, err := s.Things(ctx)
	if err != nil {
		return err
	}
	now := s.clock()
	var list []fleet.ExpiryWarning
	for _, t := range things {
		days, reached := threshold(t.NotAfter.Sub(now))
		if !reached {
			continue
		}
		details, err := json.Marshal(map[string]any{"kind": t.Kind, "name": t.Name, "not_after": t.NotAfter.UTC().Format(time.RFC3339), "days": days})
		if err != nil {
			return err
		}
		list = append(list, fleet.ExpiryWarning{Thing: t, Days: days, Event: fleet.Event{Kind: fleet.EventExpiryWarning, At: now, Details: details}})
	}
	if len(list) == 0 {
		return nil
	}
	return s.warnings.Warn(ctx, list)
}

// threshold is the nearest one that is reached with so much time left.
func threshold(left time.Duration) (days int, reached bool) {
	for _, days := range thresholds() {
		if left <= time.Duration(days)*day {
			return days, true
		}
	}
	return 0, false
}

package setup

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// Limits of a round.
const (
	batch     = 200
	maxRounds = 50
)

// Store keeps setups.
type Store interface {
	// Open reads the facts of setups that are not done, after a key.
	Open(ctx context.Context, now time.Time, after fleet.EnrollmentID, limit int) ([]fleet.SetupFacts, error)
	// Late reads the facts of setups that are done whose device answered about
	// its package only now.
	Late(ctx context.Context, limit int) ([]fleet.SetupFacts, error)
	// OfHost reads the facts of a host's setup; nil: it never waited.
	OfHost(ctx context.Context, host fleet.HostID) (*fleet.SetupFacts, error)
	// Save writes a decision unless the setup changed since its facts were
	// read; then it reports false.
	Save(ctx context.Context, c *fleet.SetupChange) (bool, error)
}

// TeamSettings tells what a scope asks of its hosts.
type TeamSettings interface {
	TeamSettings(ctx context.Context, team fleet.TeamID) (fleet.TeamSettings, error)
}

// Service looks after devices in Setup Assistant.
type Service struct{ o Options }

// Options are the parts of a Service.
type Options struct {
	Store Store
	Teams TeamSettings
	// Links makes URLs of bootstrap packages.
	Links  func(context.Context) (Links, error)
	Clock  func() time.Time
	Pushes *wake.Bell // rung when a command waits; may be nil
	// ItemsPaused: nothing is installed now, so that nothing is waited for.
	ItemsPaused bool
}

// New returns the service.
func New(o Options) *Service { return &Service{o} }

// Round decides about every device that waits.
func (s *Service) Round(ctx context.Context) error {
	var after fleet.EnrollmentID
	settings := map[fleet.TeamID]fleet.SetupSettings{}
	var links Links
	for range maxRounds {
		list, err := s.o.Store.Open(ctx, s.o.Clock(), after, batch)
		if err != nil {
			return fmt.Errorf("read who waits in Setup Assistant: %w", err)
		}
		if len(list) > 0 && links == nil {
			if links, err = s.o.Links(ctx); err != nil {
				return err
			}
		}
		for _, f := range list {
			after = f.Setup.EnrollmentID
			if err := s.one(ctx, f, settings, links); err != nil {
				return fmt.Errorf("setup of host %s: %w", f.Host.HardwareSerial, err)
			}
		}
		if len(list) < batch {
			break
		}
	}
	return s.late(ctx)
}

// late notes answers that came after the end of a setup.
func (s *Service) late(ctx context.Context) error {
	list, err := s.o.Store.Late(ctx, batch)
	if err != nil {
		return fmt.Errorf("read who answers late about a package: %w", err)
	}
	for _, f := range list {
		c, err := Decide(f, fleet.SetupSettings{}, nil, ids.UUID, s.o.Clock())
		if err != nil {
			return err
		}
		if err := s.save(ctx, &c); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) one(ctx context.Context, f fleet.SetupFacts, known map[fleet.TeamID]fleet.SetupSettings, links Links) error {
	settings, ok := known[f.Host.TeamID]
	if !ok {
		team, err := s.o.Teams.TeamSettings(ctx, f.Host.TeamID)
		var e *fleet.Error
		if errors.As(err, &e) && e.Kind == fleet.KindNotFound {
			team, err = fleet.TeamSettings{}, nil // deleted a moment ago
		}
		if err != nil {
			return err
		}
		settings = team.Setup
		known[f.Host.TeamID] = settings
	}
	if s.o.ItemsPaused {
		f.Planned, f.Pending, f.Failed = true, 0, 0
	}
	c, err := Decide(f, settings, links, ids.UUID, s.o.Clock())
	if err != nil || unchanged(f, &c) {
		return err
	}
	return s.save(ctx, &c)
}

func unchanged(f fleet.SetupFacts, c *fleet.SetupChange) bool {
	return c.Bootstrap == nil && c.Release == nil && len(c.Events) == 0 && reflect.DeepEqual(c.Setup, f.Setup)
}

func (s *Service) save(ctx context.Context, c *fleet.SetupChange) error {
	_, err := s.o.Store.Save(ctx, c)
	if err == nil && (c.Bootstrap != nil || c.Release != nil) {
		s.o.Pushes.Ring()
	}
	return err
}

// Setup returns what a device waits for, or waited for. KindNotFound: it never
// did.
func (s *Service) Setup(ctx context.Context, host fleet.HostID) (*fleet.SetupFacts, error) {
	f, err := s.o.Store.OfHost(ctx, host)
	if err == nil && f == nil {
		err = fleet.Errorf(fleet.KindNotFound, "host %d did not wait in Setup Assistant when it enrolled", host)
	}
	return f, err
}

// Release lets a device go on.
func (s *Service) Release(ctx context.Context, actor fleet.Actor, host fleet.HostID) error {
	f, err := s.Setup(ctx, host)
	if err != nil {
		return err
	}
	c, err := Release(*f, actor, ids.UUID, s.o.Clock())
	if err != nil {
		return err
	}
	saved, err := s.o.Store.Save(ctx, &c)
	switch {
	case err != nil:
		return err
	case !saved:
		return fleet.Errorf(fleet.KindConflict, "the setup of %s changed meanwhile: look again", f.Host.DisplayName())
	}
	s.o.Pushes.Ring()
	return nil
}

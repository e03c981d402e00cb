package setup

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
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
	// Open reads the facts of setups that are not done and whose time has come,
	// after a key.
	Open(ctx context.Context, now time.Time, after fleet.EnrollmentID, limit int) ([]fleet.SetupFacts, error)
	// Late reads the facts of setups that are done whose device answered about
	// its package only now.
	Late(ctx context.Context, limit int) ([]fleet.SetupFacts, error)
	// OfHost reads the facts of a host's setup; nil: it never waited.
	OfHost(ctx context.Context, host fleet.HostID) (*fleet.SetupFacts, error)
	// Rest notes when to look at setups again that are as they were, but for
	// those that changed since their facts were read.
	Rest(ctx context.Context, setups []fleet.Setup) error
	// Save writes a decision unless the setup changed since its facts were
	// read; then it reports false.
	Save(ctx context.Context, c *fleet.SetupChange) (bool, error)
}

// TeamSettings tells what a scope asks of its hosts.
type TeamSettings interface {
	TeamSettings(ctx context.Context, team fleet.TeamID) (fleet.TeamSettings, error)
}

// Service looks after devices in Setup Assistant.
type Service struct {
	o Options

	mu    sync.Mutex
	after fleet.EnrollmentID // that the last round came to
}

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
func New(o Options) *Service { return &Service{o: o} }

// Round decides about devices that wait and whose time has come. It goes on
// where the last one ended: neither many devices nor one about which nothing can
// be decided keep it from those behind them.
func (s *Service) Round(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	settings := map[fleet.TeamID]fleet.SetupSettings{}
	var links Links
	for range maxRounds {
		list, err := s.o.Store.Open(ctx, s.o.Clock(), s.after, batch)
		if err != nil {
			return fmt.Errorf("read who waits in Setup Assistant: %w", err)
		}
		if len(list) > 0 && links == nil {
			if links, err = s.o.Links(ctx); err != nil {
				return err
			}
		}
		if err := s.all(ctx, list, settings, links); err != nil {
			return err
		}
		if len(list) < batch {
			s.after = 0
			break
		}
	}
	return s.late(ctx)
}

func (s *Service) all(ctx context.Context, list []fleet.SetupFacts, settings map[fleet.TeamID]fleet.SetupSettings, links Links) error {
	var rest []fleet.Setup
	for _, f := range list {
		s.after = f.Setup.EnrollmentID
		c, err := s.one(ctx, f, settings, links)
		if err != nil {
			return fmt.Errorf("setup of host %s: %w", f.Host.HardwareSerial, err)
		}
		if c != nil && !c.Setup.NextAt.Equal(f.Setup.NextAt) {
			rest = append(rest, c.Setup)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return s.o.Store.Rest(ctx, rest)
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

// one decides about a device. It returns the decision if that changes nothing
// but when to look again.
func (s *Service) one(ctx context.Context, f fleet.SetupFacts, known map[fleet.TeamID]fleet.SetupSettings, links Links) (*fleet.SetupChange, error) {
	settings, ok := known[f.Host.TeamID]
	if !ok {
		team, err := s.o.Teams.TeamSettings(ctx, f.Host.TeamID)
		var e *fleet.Error
		if errors.As(err, &e) && e.Kind == fleet.KindNotFound {
			team, err = fleet.TeamSettings{}, nil // deleted a moment ago
		}
		if err != nil {
			return nil, err
		}
		settings = team.Setup
		known[f.Host.TeamID] = settings
	}
	if s.o.ItemsPaused {
		f.Planned, f.Pending, f.Failed = true, 0, 0
	}
	c, err := Decide(f, settings, links, ids.UUID, s.o.Clock())
	switch {
	case err != nil:
		return nil, err
	case unchanged(f, &c):
		return &c, nil
	}
	return nil, s.save(ctx, &c)
}

func unchanged(f fleet.SetupFacts, c *fleet.SetupChange) bool {
	f.Setup.NextAt = c.Setup.NextAt
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

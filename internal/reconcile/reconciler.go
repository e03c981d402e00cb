package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// Limits of a round of planning.
const (
	planBatch   = 200   // hosts planned and written at once: short for other writers
	maxBatches  = 2_000 // of one round; the job goes on with the next
	moveBatch   = 500
	maxCommands = 200 // bodies kept from batch to batch of a round
)

// noStamp is that of no catalog.
const noStamp int64 = -1

// Plans is what planning reads and writes.
type Plans interface {
	// Current reads the facts of hosts and, if its stamp is not that one any
	// more, the catalog: both as of one moment.
	Current(ctx context.Context, stamp int64, ids []fleet.HostID) (*fleet.Catalog, []fleet.HostFacts, error)
	Claim(ctx context.Context, now time.Time, limit int) ([]fleet.HostID, error)
	Apply(ctx context.Context, plans []fleet.HostPlan) (int, error)
}

// Contents returns contents by their SHA-256.
type Contents interface {
	Content(ctx context.Context, sha [32]byte) ([]byte, error)
}

// Moves carries out transfers of many hosts.
type Moves interface {
	MoveSome(ctx context.Context, batch int) (bool, error)
}

// Reconciler plans hosts. One replica at a time runs its rounds, under a
// lease; every replica judges answers with it.
type Reconciler struct {
	plans    Plans
	contents Contents
	moves    Moves
	clock    func() time.Time
	log      *slog.Logger
	pushes   *wake.Bell
	rules    atomic.Pointer[Rules]
}

// New returns a reconciler that has read the catalog.
func New(ctx context.Context, plans Plans, contents Contents, moves Moves, clock func() time.Time, log *slog.Logger, pushes *wake.Bell) (*Reconciler, error) {
	r := &Reconciler{plans: plans, contents: contents, moves: moves, clock: clock, log: log, pushes: pushes}
	return r, r.Refresh(ctx)
}

// Rules are the rules of the catalog that was read last.
func (r *Reconciler) Rules() *Rules { return r.rules.Load() }

// Refresh reads the catalog again if it changed. Replicas do so every few
// seconds, to judge answers about items that are new.
func (r *Reconciler) Refresh(ctx context.Context) error {
	_, _, err := r.facts(ctx, nil)
	return err
}

// facts reads hosts with the rules of the same moment. With older ones, a host
// that just came into a scope would lose what is as new there as itself.
func (r *Reconciler) facts(ctx context.Context, hosts []fleet.HostID) (*Rules, []fleet.HostFacts, error) {
	held := r.rules.Load()
	stamp := noStamp
	if held != nil {
		stamp = held.catalog.Stamp
	}
	c, facts, err := r.plans.Current(ctx, stamp, hosts)
	if err != nil || c == nil {
		return held, facts, err
	}
	// Somebody else may have read newer ones meanwhile: those stay. A stamp may
	// go back otherwise, as after a database was restored.
	rules := NewRules(c)
	for !r.rules.CompareAndSwap(held, rules) {
		if held = r.rules.Load(); held.catalog.Stamp >= c.Stamp {
			break
		}
	}
	return rules, facts, nil
}

// Outcome judges an answer to a command about items.
func (r *Reconciler) Outcome(t fleet.CommandTarget, rep fleet.CommandReport, answer plist.Dict) fleet.ReportOutcome {
	return r.rules.Load().Outcome(t, rep, answer)
}

// Move carries out the transfers that are noted. Round does so by itself.
func (r *Reconciler) Move(ctx context.Context) error {
	for more := true; more && ctx.Err() == nil; {
		var err error
		if more, err = r.moves.MoveSome(ctx, moveBatch); err != nil {
			return fmt.Errorf("move hosts: %w", err)
		}
	}
	return ctx.Err()
}

// Round plans hosts until none is due or behind.
func (r *Reconciler) Round(ctx context.Context) error {
	if err := r.Move(ctx); err != nil {
		return err
	}
	s := newStock(r)
	for range maxBatches {
		planned, err := r.batch(ctx, s)
		if err != nil || planned == 0 || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// batch plans one batch and reports how many hosts it was.
func (r *Reconciler) batch(ctx context.Context, s *stock) (int, error) {
	now := r.clock()
	hosts, err := r.plans.Claim(ctx, now, planBatch)
	if err != nil || len(hosts) == 0 {
		return 0, err
	}
	rules, facts, err := r.facts(ctx, hosts)
	if err != nil {
		return 0, err
	}
	s.fresh()
	plans := make([]fleet.HostPlan, 0, len(facts))
	queued := 0
	for i := range facts {
		p := rules.Plan(&facts[i], now, s)
		queued += len(p.Queue)
		plans = append(plans, p)
	}
	if err := s.fill(ctx, plans); err != nil {
		return 0, err
	}
	applied, err := r.plans.Apply(ctx, plans)
	if err != nil {
		return 0, err
	}
	if queued > 0 {
		r.pushes.Ring()
	}
	if applied == 0 && len(facts) > 0 {
		return 0, nil // all of them changed meanwhile: the next round has them
	}
	return applied, nil
}

// stock makes the commands of a round, each once.
type stock struct {
	r     *Reconciler
	byID  map[string]*made
	list  *fleet.Command
	told  *fleet.Command
	stamp time.Time
}

// made is a command with what its body is made of.
type made struct {
	cmd  *fleet.Command
	item *fleet.Item
	sha  [32]byte
}

func newStock(r *Reconciler) *stock { return &stock{r: r, byID: map[string]*made{}} }

// fresh begins a batch: commands that are erased on answer are not shared with
// an earlier one, which may be erased by now.
func (s *stock) fresh() {
	s.list, s.told, s.stamp = nil, nil, s.r.clock()
	if len(s.byID) > maxCommands {
		clear(s.byID)
	}
}

func (s *stock) item(uuid string, op fleet.ItemOp, i *fleet.Item, version int) *fleet.Command {
	if m := s.byID[uuid]; m != nil {
		return m.cmd
	}
	m := &made{item: i, cmd: &fleet.Command{UUID: uuid, RequestType: "InstallProfile", Purpose: fleet.CommandInstall, Platform: fleet.PlatformDarwin,
		ItemID: i.ID, ItemVersion: version, CreatedAt: s.stamp}}
	if op == fleet.OpRemove {
		m.cmd.RequestType, m.cmd.Purpose = "RemoveProfile", fleet.CommandRemove
	} else if v := versionOf(i, version); v != nil {
		m.sha, m.cmd.Expand = v.SHA256, v.Spec.Expands()
	}
	s.byID[uuid] = m
	return m.cmd
}

func (s *stock) listProfiles() *fleet.Command {
	if s.list == nil {
		s.list = &fleet.Command{UUID: ids.UUID(), RequestType: "ProfileList", Purpose: fleet.CommandListProfiles, Platform: fleet.PlatformDarwin, CreatedAt: s.stamp}
	}
	return s.list
}

func (s *stock) declare() *fleet.Command {
	if s.told == nil {
		s.told = &fleet.Command{UUID: ids.UUID(), RequestType: "DeclarativeManagement", Purpose: fleet.CommandDeclare, Platform: fleet.PlatformDarwin, CreatedAt: s.stamp}
	}
	return s.told
}

// fill makes the bodies of the commands that the plans queue.
func (s *stock) fill(ctx context.Context, plans []fleet.HostPlan) error {
	for i := range plans {
		for _, q := range plans[i].Queue {
			if q.Command.Body != nil {
				continue
			}
			body, err := s.body(ctx, q.Command)
			if err != nil {
				return fmt.Errorf("make %s: %w", q.Command.RequestType, err)
			}
			q.Command.Body = body
		}
	}
	return nil
}

func (s *stock) body(ctx context.Context, c *fleet.Command) ([]byte, error) {
	var cmd *mdmcmd.Command
	var err error
	switch c.Purpose {
	case fleet.CommandListProfiles:
		cmd, err = mdmcmd.NewProfileList(c.UUID)
	case fleet.CommandDeclare:
		cmd, err = mdmcmd.NewDeclarativeManagement(c.UUID)
	case fleet.CommandRemove:
		cmd, err = mdmcmd.NewRemoveProfile(c.UUID, s.byID[c.UUID].item.Identifier)
	default:
		var content []byte
		content, err = s.r.contents.Content(ctx, s.byID[c.UUID].sha)
		if err == nil && content == nil {
			err = fmt.Errorf("the content of item %d is missing", c.ItemID)
		}
		if err == nil {
			cmd, err = mdmcmd.NewInstallProfile(c.UUID, content)
		}
	}
	if err != nil {
		return nil, err
	}
	return cmd.Raw, nil
}

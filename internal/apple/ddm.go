package apple

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/codec/ddm"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ratelimit"
)

// Channels keeps what each MDM channel should declare.
type Channels interface {
	Channel(ctx context.Context, id fleet.EnrollmentID) (*fleet.DDMChannel, error)
	// Apply carries out what follows from something the device did, in one
	// transaction.
	Apply(ctx context.Context, id fleet.EnrollmentID, decide func(fleet.DDMFacts) (fleet.DDMOutcome, error)) error
}

// Judge decides what follows from what devices do about declarations.
// ErrStaleRules: the channel has items that it does not know yet.
type Judge interface {
	Fetched(f fleet.DDMFacts, at time.Time) (fleet.DDMOutcome, error)
	Reported(f fleet.DDMFacts, raw []byte, at time.Time) (fleet.DDMOutcome, error)
}

// Contents returns the content of items, with the host's variables filled in.
type Contents interface {
	// Declaration returns nil when there is none of that version any more.
	Declaration(ctx context.Context, host fleet.HostID, item fleet.ItemID, version int) ([]byte, error)
	// Command fills in what a command lacks: the host's variables, or a secret.
	Command(ctx context.Context, next *fleet.NextCommand) ([]byte, error)
}

// Declarative answers the endpoints of declarative management
// (contracts/apple.md 5.1).
type Declarative struct {
	channels Channels
	judge    func(context.Context) (Judge, error)
	contents Contents
	clock    func() time.Time
	reports  *ratelimit.Keyed
}

// maxReports bounds the status reports of a channel in a minute. A device sends
// a few when declarations change.
const maxReports = 60

// NewDeclarative returns the endpoints. judge is asked for the newest rules:
// another replica may have planned what a report is about.
func NewDeclarative(channels Channels, judge func(context.Context) (Judge, error), contents Contents, clock func() time.Time) *Declarative {
	return &Declarative{channels: channels, judge: judge, contents: contents, clock: clock,
		reports: ratelimit.New(maxReports, time.Minute, clock)}
}

// emptySince is when the empty set began: a time that never changes.
var emptySince = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Answer implements Declarations.
func (d *Declarative) Answer(ctx context.Context, sender fleet.Enrollment, endpoint string, data []byte) ([]byte, error) {
	if endpoint == "status" {
		if wait := d.reports.Take(strconv.FormatInt(int64(sender.ID), 10)); wait > 0 {
			err := fleet.Errorf(fleet.KindTooMany, "more than %d status reports in a minute", maxReports)
			err.RetryAfter = wait
			return nil, err
		}
		return nil, d.apply(ctx, sender.ID, func(judge Judge, f fleet.DDMFacts) (fleet.DDMOutcome, error) {
			return judge.Reported(f, data, d.clock())
		})
	}
	c, err := d.channels.Channel(ctx, sender.ID)
	if err != nil {
		return nil, err
	}
	if c == nil {
		empty := ddm.NewManifest(nil)
		c = &fleet.DDMChannel{Manifest: empty, Fetched: empty.Token, UpdatedAt: emptySince}
	}
	rest, isDeclaration := strings.CutPrefix(endpoint, "declaration/")
	switch {
	case endpoint == "tokens":
		return ddm.Tokens(c.Manifest.Token, c.UpdatedAt)
	case endpoint == "declaration-items":
		return d.items(ctx, sender, c)
	case isDeclaration:
		kind, identifier, _ := strings.Cut(rest, "/")
		return d.declaration(ctx, sender, c, kind, identifier)
	}
	return nil, fleet.Errorf(fleet.KindBadRequest, "declarative management has no endpoint %.80q", endpoint)
}

// apply carries out what the newest rules decide. Where more was planned since
// they were read, they are read once more.
func (d *Declarative) apply(ctx context.Context, id fleet.EnrollmentID, decide func(Judge, fleet.DDMFacts) (fleet.DDMOutcome, error)) error {
	for retried := false; ; retried = true {
		judge, err := d.judge(ctx)
		if err != nil {
			return err
		}
		err = d.channels.Apply(ctx, id, func(f fleet.DDMFacts) (fleet.DDMOutcome, error) { return decide(judge, f) })
		if retried || !errors.Is(err, fleet.ErrStaleRules) {
			return err
		}
	}
}

// items hands the manifest out, and notes which one the device has now: bodies
// are served from the same.
func (d *Declarative) items(ctx context.Context, sender fleet.Enrollment, c *fleet.DDMChannel) ([]byte, error) {
	manifest := c.Manifest
	if c.Fetched != manifest.Token {
		err := d.apply(ctx, sender.ID, func(judge Judge, f fleet.DDMFacts) (fleet.DDMOutcome, error) {
			manifest = f.Channel.Manifest
			return judge.Fetched(f, d.clock())
		})
		if err != nil {
			return nil, err
		}
	}
	return ddm.Items(manifest)
}

func (d *Declarative) declaration(ctx context.Context, sender fleet.Enrollment, c *fleet.DDMChannel, kind, identifier string) ([]byte, error) {
	manifest := c.Manifest
	if c.Fetched == c.Previous.Token && c.Previous.Token != "" {
		manifest = c.Previous
	}
	for _, e := range manifest.Entries {
		if e.Kind != kind || e.Identifier != identifier {
			continue
		}
		content := e.Body
		if e.ItemID != 0 {
			var err error
			if content, err = d.contents.Declaration(ctx, sender.HostID, e.ItemID, e.Version); err != nil {
				return nil, err
			}
		}
		if content == nil {
			break
		}
		return ddm.Serve(content, e.ServerToken)
	}
	return nil, fleet.Errorf(fleet.KindNotFound, "the device is to have no %.20s %.80q", kind, identifier)
}

package apple

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/codec/ddm"
	"github.com/muster-mdm/muster/internal/fleet"
)

// channels hold one channel, or none.
type channels struct{ c *fleet.DDMChannel }

func (c *channels) Channel(context.Context, fleet.EnrollmentID) (*fleet.DDMChannel, error) {
	if c.c == nil {
		return nil, nil
	}
	copied := *c.c
	return &copied, nil
}

func (c *channels) Apply(_ context.Context, _ fleet.EnrollmentID, decide func(fleet.DDMFacts) (fleet.DDMOutcome, error)) error {
	if c.c == nil {
		return nil
	}
	out, err := decide(fleet.DDMFacts{Channel: *c.c})
	if out.Channel != nil {
		c.c = out.Channel
	}
	return err
}

// follower notes what was fetched.
type follower struct{}

func (follower) Fetched(f fleet.DDMFacts, _ time.Time) (fleet.DDMOutcome, error) {
	f.Channel.Fetched = f.Channel.Manifest.Token
	return fleet.DDMOutcome{Channel: &f.Channel}, nil
}

func (follower) Reported(fleet.DDMFacts, []byte, time.Time) (fleet.DDMOutcome, error) {
	return fleet.DDMOutcome{}, nil
}

func noDeclarations() *Declarative {
	return NewDeclarative(&channels{}, func(context.Context) (Judge, error) { return follower{}, nil }, nil, time.Now)
}

// manifest has one configuration with the given body.
func manifest(t *testing.T, value string) fleet.DDMManifest {
	t.Helper()
	body, err := ddm.Make("com.apple.configuration.test", "c", map[string]any{"Value": value})
	if err != nil {
		t.Fatal(err)
	}
	return ddm.NewManifest([]fleet.DDMEntry{{Kind: ddm.KindConfiguration, Identifier: "c", ServerToken: ddm.Token(body), Body: body}})
}

// A device in the middle of fetching goes on with what it began with.
func TestBodiesComeFromTheManifestThatTheDeviceFetched(t *testing.T) {
	ctx := context.Background()
	store := &channels{&fleet.DDMChannel{Manifest: manifest(t, "old"), UpdatedAt: time.Unix(1e9, 0)}}
	d := NewDeclarative(store, func(context.Context) (Judge, error) { return follower{}, nil }, nil, time.Now)
	ask := func(endpoint string) string {
		t.Helper()
		b, err := d.Answer(ctx, fleet.Enrollment{ID: 1, HostID: 1}, endpoint, nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	value := func() string {
		t.Helper()
		var body struct{ Payload struct{ Value string } }
		if err := json.Unmarshal([]byte(ask("declaration/configuration/c")), &body); err != nil {
			t.Fatal(err)
		}
		return body.Payload.Value
	}
	first := ask("tokens")
	ask("declaration-items")
	store.c.Previous, store.c.Manifest = store.c.Manifest, manifest(t, "new")
	if got := value(); got != "old" {
		t.Errorf("in the middle of fetching: %q", got)
	}
	if ask("tokens") == first {
		t.Error("the token stayed the same after a change")
	}
	ask("declaration-items")
	if got := value(); got != "new" {
		t.Errorf("after fetching the new manifest: %q", got)
	}
}

// Every report costs as much as all that was reported before.
func TestADeviceReportsSoOftenAndNotMore(t *testing.T) {
	now := time.Now()
	d := NewDeclarative(&channels{}, func(context.Context) (Judge, error) { return follower{}, nil }, nil, func() time.Time { return now })
	report := func(id fleet.EnrollmentID) error {
		_, err := d.Answer(t.Context(), fleet.Enrollment{ID: id}, "status", []byte(`{}`))
		return err
	}
	for range maxReports {
		if err := report(1); err != nil {
			t.Fatal(err)
		}
	}
	if err := report(1); fleet.KindOf(err) != fleet.KindTooMany {
		t.Error("one more:", err)
	}
	if err := report(2); err != nil {
		t.Error("another device:", err)
	}
	now = now.Add(time.Minute)
	if err := report(1); err != nil {
		t.Error("a minute later:", err)
	}
}

package profile

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// Limits.
const (
	maxItems  = 1000 // of one scope
	maxNamed  = 5    // things that an error names
	maxLabels = 50   // of one item
)

// Items keeps items.
type Items interface {
	List(ctx context.Context, f fleet.ItemFilter) ([]*fleet.Item, fleet.PageMeta, error)
	Item(ctx context.Context, uuid string) (*fleet.Item, error)
	ItemByID(ctx context.Context, id fleet.ItemID) (*fleet.Item, error)
	Content(ctx context.Context, sha [32]byte) ([]byte, error)
	Version(ctx context.Context, id fleet.ItemID, version int) (*fleet.ItemVersion, error)
	// Edit changes a scope's items as decide says after seeing the live ones,
	// all together; dry changes nothing.
	Edit(ctx context.Context, team fleet.TeamID, dry bool, decide func([]*fleet.Item) (fleet.ItemEdits, error)) error
}

// Statuses tells what became of items on hosts.
type Statuses interface {
	Summary(ctx context.Context, team fleet.TeamID) (fleet.ItemStatusCounts, error)
	ItemCounts(ctx context.Context, id fleet.ItemID) (fleet.ItemStatusCounts, error)
	HostsOf(ctx context.Context, f fleet.ItemHostFilter) ([]fleet.ItemHost, fleet.PageMeta, error)
	HostItems(ctx context.Context, host fleet.HostID) ([]fleet.HostItemDetail, error)
	// Resend makes an item of a host pending again. KindNotFound: the host
	// does not have it.
	Resend(ctx context.Context, host fleet.HostID, item fleet.ItemID, events ...fleet.Event) error
}

// Labels finds labels.
type Labels interface {
	ByNames(ctx context.Context, names []string) (map[string]fleet.LabelID, error)
}

// Secrets are the custom secrets, sealed.
type Secrets interface {
	Variables(ctx context.Context) ([]fleet.Variable, error)
	Secret(ctx context.Context, ref fleet.SecretRef) (*fleet.StoredSecret, error)
	PutVariables(ctx context.Context, writes []fleet.SecretWrite, inUse func(name string, items []*fleet.Item) error, events ...fleet.Event) error
}

// Sealer seals and opens secrets.
type Sealer interface {
	Seal(ref fleet.SecretRef, secret []byte) (fleet.Sealed, error)
	Open(ref fleet.SecretRef, sealed fleet.Sealed) ([]byte, error)
}

// Service keeps what people define.
type Service struct {
	items    Items
	statuses Statuses
	labels   Labels
	secrets  Secrets
	sealer   Sealer
	clock    func() time.Time
	plan     *wake.Bell // rung when hosts are to be planned
}

// New returns the service.
func New(items Items, statuses Statuses, labels Labels, secrets Secrets, sealer Sealer, clock func() time.Time, plan *wake.Bell) *Service {
	return &Service{items: items, statuses: statuses, labels: labels, secrets: secrets, sealer: sealer, clock: clock, plan: plan}
}

// Upload is a file with its scope.
type Upload = fleet.ProfileUpload

// prepare reads a file and resolves its labels.
func (s *Service) prepare(ctx context.Context, team fleet.TeamID, uploads []Upload, o fleet.ItemSetOptions) ([]fleet.ItemUpload, error) {
	var names []string
	for _, u := range uploads {
		for _, l := range u.Labels {
			names = append(names, l.Name)
		}
	}
	known, err := s.labels.ByNames(ctx, names)
	if err != nil {
		return nil, err
	}
	for n, name := range o.AssumeLabels {
		if _, there := known[name]; !there {
			known[name] = fleet.LabelID(-1 - n) // stands for one that comes
		}
	}
	set, err := s.secretNames(ctx, o.AssumeSecrets)
	if err != nil {
		return nil, err
	}
	out := make([]fleet.ItemUpload, 0, len(uploads))
	for _, u := range uploads {
		item, err := Read(u.FileName, u.Content)
		if err != nil {
			return nil, named(u, err)
		}
		if u.Name != "" && item.Item.Kind == fleet.ItemDeclaration {
			item.Item.Name = u.Name
		}
		if item.Item.Labels, err = scope(u.Labels, known); err != nil {
			return nil, named(u, err)
		}
		for _, name := range item.Item.Spec.Secrets {
			if !set[name] {
				return nil, named(u, invalid("the secret $FLEET_SECRET_%s is not set: set it first, as custom variable %s", name, name))
			}
		}
		if err := checkRollout(u.Rollout); err != nil {
			return nil, named(u, err)
		}
		item.Item.Rollout, item.Item.TeamID = u.Rollout, team
		out = append(out, item)
	}
	return out, nil
}

// named says which file of several an error is about.
func named(u Upload, err error) error {
	e, ok := err.(*fleet.Error) //nolint:errorlint // our own, not wrapped
	if !ok || u.FileName == "" {
		return err
	}
	for i := range e.Fields {
		e.Fields[i].Reason = u.FileName + ": " + e.Fields[i].Reason
	}
	return e
}

func (s *Service) secretNames(ctx context.Context, assumed []string) (map[string]bool, error) {
	list, err := s.secrets.Variables(ctx)
	if err != nil {
		return nil, err
	}
	set := make(map[string]bool, len(list)+len(assumed))
	for _, v := range list {
		set[v.Name] = true
	}
	for _, name := range assumed {
		set[name] = true
	}
	return set, nil
}

// scope resolves labels. Include-all and include-any exclude one another.
func scope(labels []fleet.ItemLabel, known map[string]fleet.LabelID) ([]fleet.ItemLabel, error) {
	if len(labels) > maxLabels {
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "labels", "%d labels, at most %d are taken", len(labels), maxLabels)
	}
	modes := map[fleet.LabelMode]bool{}
	seen := map[string]fleet.LabelMode{}
	out := make([]fleet.ItemLabel, 0, len(labels))
	for _, l := range labels {
		id, ok := known[l.Name]
		if !ok {
			return nil, fleet.FieldErrorf(fleet.KindBadRequest, l.Mode.String(), "there is no label named %q", l.Name)
		}
		if mode, twice := seen[l.Name]; twice {
			if mode == l.Mode {
				continue
			}
			return nil, fleet.FieldErrorf(fleet.KindBadRequest, l.Mode.String(), "the label %q is in %s as well", l.Name, mode)
		}
		seen[l.Name], modes[l.Mode] = l.Mode, true
		out = append(out, fleet.ItemLabel{LabelID: id, Name: l.Name, Mode: l.Mode})
	}
	if modes[fleet.IncludeAll] && modes[fleet.IncludeAny] {
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "labels", "give labels_include_all or labels_include_any, not both")
	}
	slices.SortFunc(out, func(a, b fleet.ItemLabel) int {
		if a.Mode != b.Mode {
			return int(a.Mode) - int(b.Mode)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out, nil
}

// Create adds an item. KindConflict: the scope has one of that name or
// identifier.
func (s *Service) Create(ctx context.Context, actor fleet.Actor, team fleet.TeamID, u Upload) (*fleet.Item, error) {
	prepared, err := s.prepare(ctx, team, []Upload{u}, fleet.ItemSetOptions{})
	if err != nil {
		return nil, err
	}
	item := prepared[0]
	item.Item.UUID = item.Item.Kind.Letter() + ids.UUID()
	s.open(&item.Item, nil)
	err = s.items.Edit(ctx, team, false, func(live []*fleet.Item) (fleet.ItemEdits, error) {
		for _, other := range live {
			if same := clash(other, &item.Item); same != "" {
				return fleet.ItemEdits{}, fleet.FieldErrorf(fleet.KindConflict, "profile", "%q has the same %s: delete it or change it (PATCH)", other.Name, same)
			}
		}
		edits := fleet.ItemEdits{Add: []fleet.ItemUpload{item}, Events: []fleet.Event{s.event(fleet.EventItemCreated, actor, &item.Item)}}
		return edits, check(live, &edits)
	})
	if err != nil {
		return nil, err
	}
	s.plan.Ring()
	return s.Item(ctx, item.Item.UUID)
}

// clash says what two items of a scope may not have in common; "" when they
// get along.
func clash(a, b *fleet.Item) string {
	switch {
	case a.Kind == b.Kind && a.Identifier == b.Identifier:
		return "identifier"
	case a.Name == b.Name:
		return "name"
	}
	return ""
}

// open begins a rollout, if the item has one.
func (s *Service) open(i *fleet.Item, previous *fleet.ItemVersion) {
	i.Previous = nil
	if i.Rollout == nil {
		return
	}
	r := *i.Rollout
	r.State, r.Ring, r.OpenedAt, r.Why = fleet.RolloutRunning, 0, s.clock(), ""
	i.Rollout, i.Previous = &r, previous
}

// Replace changes an item's content, labels or both.
func (s *Service) Replace(ctx context.Context, actor fleet.Actor, uuid string, u Upload) (*fleet.Item, error) {
	old, err := s.Item(ctx, uuid)
	if err != nil {
		return nil, err
	}
	keepsContent, keepsLabels := u.Content == nil, u.Labels == nil
	if keepsContent {
		if u.Content, err = s.items.Content(ctx, old.SHA256); err != nil {
			return nil, err
		}
		if u.FileName == "" {
			u.FileName = old.Name
		}
		if u.Name == "" {
			u.Name = old.Name // a name may end like a file's
		}
	}
	if keepsLabels {
		u.Labels = keptLabels(old)
	}
	prepared, err := s.prepare(ctx, old.TeamID, []Upload{u}, fleet.ItemSetOptions{})
	if err != nil {
		return nil, err
	}
	next := prepared[0]
	if next.Item.Kind != old.Kind || next.Item.Identifier != old.Identifier {
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "profile", "the identifier is %s and was %s: an item keeps its kind and identifier; delete it and create another",
			next.Item.Identifier, old.Identifier)
	}
	err = s.items.Edit(ctx, old.TeamID, false, func(live []*fleet.Item) (fleet.ItemEdits, error) {
		var edits fleet.ItemEdits
		for _, i := range live {
			if i.UUID == uuid {
				if keepsContent && i.SHA256 != old.SHA256 || keepsLabels && !slices.Equal(keptLabels(i), keptLabels(old)) {
					return edits, fleet.FieldErrorf(fleet.KindConflict, "profile", "%q was changed by somebody else at this moment: look at it and try again", i.Name)
				}
				if e := s.change(i, next); e != nil {
					edits.Edit = append(edits.Edit, *e)
					edits.Events = append(edits.Events, s.event(fleet.EventItemChanged, actor, &e.Item))
				}
			} else if same := clash(i, &next.Item); same != "" {
				return edits, fleet.FieldErrorf(fleet.KindConflict, "profile", "%q has the same %s", i.Name, same)
			}
		}
		return edits, check(live, &edits)
	})
	if err != nil {
		return nil, err
	}
	s.plan.Ring()
	return s.Item(ctx, uuid)
}

// keptLabels are an item's labels that still exist.
func keptLabels(i *fleet.Item) []fleet.ItemLabel {
	return slices.DeleteFunc(slices.Clone(i.Labels), func(l fleet.ItemLabel) bool { return l.LabelID == 0 })
}

// change is what makes an item like the upload; nil when it is already.
func (s *Service) change(i *fleet.Item, u fleet.ItemUpload) *fleet.ItemUpload {
	next := *i
	out := &fleet.ItemUpload{Item: next}
	sameContent := i.SHA256 == u.Item.SHA256
	if sameContent && i.Name == u.Item.Name && i.Scope == u.Item.Scope && slices.Equal(i.Labels, u.Item.Labels) && i.Owner == u.Item.Owner && i.Platforms == u.Item.Platforms {
		return nil
	}
	out.Item.Name, out.Item.Scope, out.Item.Labels, out.Item.Platforms = u.Item.Name, u.Item.Scope, u.Item.Labels, u.Item.Platforms
	if sameContent {
		return out
	}
	out.Item.ItemVersion = u.Item.ItemVersion
	out.Item.Version = i.Version + 1
	out.Item.Rollout = u.Item.Rollout
	out.Content = u.Content
	// While an earlier rollout is not done, its previous version is what most
	// hosts have.
	previous := &i.ItemVersion
	if i.Rollout != nil && i.Rollout.State != fleet.RolloutDone {
		previous = i.Previous
	}
	s.open(&out.Item, previous)
	return out
}

// Delete removes an item: hosts lose it.
func (s *Service) Delete(ctx context.Context, actor fleet.Actor, uuid string) error {
	i, err := s.Item(ctx, uuid)
	if err != nil {
		return err
	}
	if i.Owner != fleet.OwnedByAdmin {
		return fleet.Errorf(fleet.KindBadRequest, "%q follows from settings: change those instead", i.Name)
	}
	err = s.items.Edit(ctx, i.TeamID, false, func(live []*fleet.Item) (fleet.ItemEdits, error) {
		edits := fleet.ItemEdits{Remove: []fleet.ItemID{i.ID}, Events: []fleet.Event{s.event(fleet.EventItemDeleted, actor, i)}}
		return edits, check(live, &edits)
	})
	if err == nil {
		s.plan.Ring()
	}
	return err
}

// Item returns an item. KindNotFound: there is none.
func (s *Service) Item(ctx context.Context, uuid string) (*fleet.Item, error) {
	i, err := s.items.Item(ctx, uuid)
	if err != nil {
		return nil, err
	}
	if i == nil {
		return nil, fleet.Errorf(fleet.KindNotFound, "there is no profile or declaration %.60q", uuid)
	}
	return i, nil
}

// ItemByID returns an item by the key that older clients know. KindNotFound:
// there is none.
func (s *Service) ItemByID(ctx context.Context, id fleet.ItemID) (*fleet.Item, error) {
	i, err := s.items.ItemByID(ctx, id)
	if err == nil && i == nil {
		err = fleet.Errorf(fleet.KindNotFound, "there is no profile or declaration %d", id)
	}
	return i, err
}

// List returns one page of a scope's items.
func (s *Service) List(ctx context.Context, f fleet.ItemFilter) ([]*fleet.Item, fleet.PageMeta, error) {
	return s.items.List(ctx, f)
}

// Content returns an item with its file, as it was uploaded but for a
// signature.
func (s *Service) Content(ctx context.Context, uuid string) (*fleet.Item, []byte, error) {
	i, err := s.Item(ctx, uuid)
	if err != nil {
		return nil, nil, err
	}
	content, err := s.items.Content(ctx, i.SHA256)
	return i, content, err
}

func (s *Service) event(kind fleet.EventKind, actor fleet.Actor, i *fleet.Item) fleet.Event {
	details, err := json.Marshal(map[string]any{"profile_uuid": i.UUID, "name": i.Name, "identifier": i.Identifier, "team_id": int64(i.TeamID),
		"version": i.Version, "sha256": fmt.Sprintf("%x", i.SHA256[:8])})
	if err != nil {
		details = nil // texts and numbers always marshal
	}
	return fleet.Event{Kind: kind, At: s.clock(), Actor: actor, Details: details}
}

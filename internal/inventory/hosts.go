package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// Hosts keeps host records.
type Hosts interface {
	List(ctx context.Context, f fleet.HostFilter) ([]fleet.Host, fleet.PageMeta, error)
	Count(ctx context.Context, f fleet.HostFilter) (int, error)
	Host(ctx context.Context, id fleet.HostID) (*fleet.HostDetail, error)
	ByIdentifier(ctx context.Context, identifier string) ([]fleet.HostRef, error)
	Delete(ctx context.Context, id fleet.HostID, events []fleet.Event) (bool, error)
}

// Service answers about hosts.
type Service struct {
	hosts Hosts
	seen  *Seen
	bells []*wake.Bell
}

// NewService returns the inventory over a store, and what seen knows beyond
// it. The bells ring when a host is deleted: one that Apple still assigns to
// this server comes back.
func NewService(hosts Hosts, seen *Seen, bells ...*wake.Bell) *Service {
	return &Service{hosts: hosts, seen: seen, bells: bells}
}

// List returns one page of hosts.
func (s *Service) List(ctx context.Context, f fleet.HostFilter) ([]fleet.Host, fleet.PageMeta, error) {
	list, meta, err := s.hosts.List(ctx, f)
	for i := range list {
		s.freshen(&list[i])
	}
	return list, meta, err
}

// freshen puts in the last contact that is not written yet.
func (s *Service) freshen(h *fleet.Host) {
	if at := s.seen.Last(h.ID); at.After(h.SeenAt) {
		h.SeenAt, h.MDM.CheckedInAt = at, at
	}
}

// Count counts hosts.
func (s *Service) Count(ctx context.Context, f fleet.HostFilter) (int, error) {
	return s.hosts.Count(ctx, f)
}

// Host returns a host. KindNotFound: there is none.
func (s *Service) Host(ctx context.Context, id fleet.HostID) (*fleet.HostDetail, error) {
	h, err := s.hosts.Host(ctx, id)
	if err == nil && h == nil {
		err = fleet.Errorf(fleet.KindNotFound, "there is no host with id %d", id)
	}
	if err != nil {
		return nil, err
	}
	s.freshen(&h.Host)
	return h, nil
}

// HostByIdentifier returns the host with the UUID, serial or name.
// KindNotFound: none. KindConflict: several, which are listed.
func (s *Service) HostByIdentifier(ctx context.Context, identifier string) (*fleet.HostDetail, error) {
	refs, err := s.hosts.ByIdentifier(ctx, identifier)
	if err != nil {
		return nil, err
	}
	switch len(refs) {
	case 0:
		return nil, fleet.FieldErrorf(fleet.KindNotFound, "identifier", "there is no host with UUID, serial or name %.100q", identifier)
	case 1:
		return s.Host(ctx, refs[0].ID)
	}
	names := make([]string, 0, len(refs))
	for _, r := range refs {
		names = append(names, fmt.Sprintf("%s%d (%s, serial %s, UUID %s)", fleet.IDPrefix, r.ID, orNone(r.Hostname), orNone(r.Serial), orNone(r.UUID)))
	}
	return nil, fleet.FieldErrorf(fleet.KindConflict, "identifier", "%.100q is the name of several hosts: %s. Use one of these ids", identifier, strings.Join(names, "; "))
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// Delete removes a host's record. An enrolled device brings a new one when it
// next connects. KindNotFound: there is none.
func (s *Service) Delete(ctx context.Context, actor fleet.Actor, id fleet.HostID) error {
	h, err := s.Host(ctx, id)
	if err != nil {
		return err
	}
	details, err := json.Marshal(map[string]any{"host_id": id, "display_name": h.DisplayName(), "serial": h.HardwareSerial, "uuid": h.UUID})
	if err != nil {
		return err
	}
	found, err := s.hosts.Delete(ctx, id, []fleet.Event{{Kind: fleet.EventHostDeleted, Actor: actor, HostID: id, Details: details}})
	if err == nil && !found {
		err = fleet.Errorf(fleet.KindNotFound, "there is no host with id %d", id)
	}
	if err == nil {
		for _, b := range s.bells {
			b.Ring()
		}
	}
	return err
}

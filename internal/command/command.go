package command

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/codec/mobileconfig"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/ids"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// Limits of one call.
const (
	maxTargets = 200_000 // hosts of one command
	maxNamed   = 10      // hosts that an error names
)

// Commands keeps commands and answers.
type Commands interface {
	// Enqueue accepts a command for all targets or none, and returns those
	// that were no longer enrolled.
	Enqueue(ctx context.Context, cmd *fleet.Command, targets []fleet.Target, events ...fleet.Event) ([]fleet.Target, error)
	List(ctx context.Context, f fleet.CommandFilter) ([]fleet.CommandResult, fleet.PageMeta, error)
	Exists(ctx context.Context, uuid string) (bool, error)
}

// Targets finds hosts with their device channels.
type Targets interface {
	Targets(ctx context.Context, uuids []string) ([]fleet.Target, error)
	TargetsByID(ctx context.Context, ids []fleet.HostID) ([]fleet.Target, error)
}

// HostFinder finds hosts by UUID, serial or name.
type HostFinder interface {
	ByIdentifier(ctx context.Context, identifier string) ([]fleet.HostRef, error)
}

// Brake watches what cannot be taken back.
type Brake interface {
	// Admit counts a command that is sent as such (bare) against the limits of
	// the action that it is, or refuses it.
	Admit(ctx context.Context, actor fleet.Actor, kind fleet.ActionKind, hosts []fleet.HostID, bare bool) (*fleet.ActionRequest, error)
}

// Service sends commands and lists them.
type Service struct {
	commands Commands
	targets  Targets
	hosts    HostFinder
	brake    Brake
	envelope *Envelope
	clock    func() time.Time
	bells    []*wake.Bell // rung when there is something to push
}

// NewService returns the sender of commands.
func NewService(commands Commands, targets Targets, hosts HostFinder, brake Brake, envelope *Envelope, clock func() time.Time, bells ...*wake.Bell) *Service {
	return &Service{commands: commands, targets: targets, hosts: hosts, brake: brake, envelope: envelope, clock: clock, bells: bells}
}

// Run sends a command to hosts named by UUID. All hosts must exist, be
// enrolled, and be of one platform family; otherwise nothing is sent. It
// returns the UUIDs of hosts that left in the meantime.
func (s *Service) Run(ctx context.Context, sender fleet.Sender, hostUUIDs []string, raw []byte) (fleet.Command, []string, error) {
	uuids := slices.Clone(hostUUIDs)
	slices.Sort(uuids)
	uuids = slices.Compact(uuids)
	if err := checkCount(len(uuids), "host_uuids"); err != nil {
		return fleet.Command{}, nil, err
	}
	if uuids[0] == "" {
		return fleet.Command{}, nil, fleet.FieldErrorf(fleet.KindInvalid, "host_uuids", "has an empty UUID, which names no host")
	}
	targets, err := s.targets.Targets(ctx, uuids)
	if err != nil {
		return fleet.Command{}, nil, err
	}
	found := make(map[string]bool, len(targets))
	for _, t := range targets {
		found[t.Host.UUID] = true
	}
	var missing []string
	for _, u := range uuids {
		if !found[u] {
			missing = append(missing, u)
		}
	}
	if len(missing) > 0 {
		return fleet.Command{}, nil, fleet.FieldErrorf(fleet.KindNotFound, "host_uuids", "there is no host with UUID %s", some(missing))
	}
	return s.run(ctx, sender, targets, raw)
}

// RunByID is Run for hosts named by key.
func (s *Service) RunByID(ctx context.Context, sender fleet.Sender, hostIDs []fleet.HostID, raw []byte) (fleet.Command, []string, error) {
	wanted := slices.Clone(hostIDs)
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
	if err := checkCount(len(wanted), "host_ids"); err != nil {
		return fleet.Command{}, nil, err
	}
	targets, err := s.targets.TargetsByID(ctx, wanted)
	if err != nil {
		return fleet.Command{}, nil, err
	}
	if len(targets) < len(wanted) {
		var missing []string
		for _, id := range wanted {
			if !slices.ContainsFunc(targets, func(t fleet.Target) bool { return t.Host.ID == id }) {
				missing = append(missing, fmt.Sprint(id))
			}
		}
		return fleet.Command{}, nil, fleet.FieldErrorf(fleet.KindNotFound, "host_ids", "there is no host with id %s", some(missing))
	}
	return s.run(ctx, sender, targets, raw)
}

func checkCount(n int, field string) error {
	if n == 0 {
		return fleet.FieldErrorf(fleet.KindInvalid, field, "name at least one host: an empty list never means all of them")
	}
	if n > maxTargets {
		return fleet.FieldErrorf(fleet.KindInvalid, field, "%d hosts are more than one command may go to, %d", n, maxTargets)
	}
	return nil
}

// some joins names, at most maxNamed of them.
func some(names []string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
}

func (s *Service) run(ctx context.Context, sender fleet.Sender, targets []fleet.Target, raw []byte) (fleet.Command, []string, error) {
	if err := checkTargets(targets); err != nil {
		return fleet.Command{}, nil, err
	}
	decoded, err := mdmcmd.DecodeCommand(raw, ids.UUID())
	if err != nil {
		return fleet.Command{}, nil, fleet.FieldErrorf(fleet.KindUnsupported, "command", "not a command that Apple devices understand: %v", err)
	}
	if err := s.admit(ctx, sender, decoded, targets); err != nil {
		return fleet.Command{}, nil, err
	}
	cmd := fleet.Command{UUID: decoded.UUID, RequestType: decoded.RequestType, Platform: fleet.PlatformDarwin,
		Purpose: fleet.CommandCustom, Body: decoded.Raw, CreatedAt: s.clock(), CreatedBy: sender.Actor}
	if err := s.envelope.close(&cmd); err != nil {
		return fleet.Command{}, nil, err
	}
	details, err := json.Marshal(map[string]any{"command_uuid": cmd.UUID, "request_type": cmd.RequestType, "hosts": len(targets)})
	if err != nil {
		return fleet.Command{}, nil, err
	}
	event := fleet.Event{Kind: fleet.EventCommandEnqueued, At: s.clock(), Actor: sender.Actor, Details: details}
	if len(targets) == 1 {
		event.HostID, event.EnrollmentID = targets[0].Host.ID, targets[0].EnrollmentID
	}
	left, err := s.commands.Enqueue(ctx, &cmd, targets, event)
	if err != nil {
		return fleet.Command{}, nil, err
	}
	for _, b := range s.bells {
		b.Ring()
	}
	failed := make([]string, 0, len(left))
	for _, t := range left {
		failed = append(failed, t.Host.UUID)
	}
	return cmd, failed, nil
}

// admit refuses commands that are actions under another name to whoever may not
// act and on devices that belong to a person, and takes them through the brake.
func (s *Service) admit(ctx context.Context, sender fleet.Sender, cmd *mdmcmd.Command, targets []fleet.Target) error {
	if !actsOnHosts(cmd) {
		return nil
	}
	if !sender.MayAct {
		return fleet.FieldErrorf(fleet.KindForbidden, "command", "a %s does what the actions on hosts do, which your role may not", cmd.RequestType)
	}
	kind := actionOf(cmd)
	if kind == 0 {
		return nil
	}
	var personal []string
	hosts := make([]fleet.HostID, 0, len(targets))
	for _, t := range targets {
		hosts = append(hosts, t.Host.ID)
		if t.Host.MDM == fleet.MDMPersonal {
			personal = append(personal, hostName(t.Host))
		}
	}
	if len(personal) > 0 && kind != fleet.ActionUnenroll {
		return fleet.FieldErrorf(fleet.KindInvalid, "host_uuids", "a %s is not for devices that belong to a person, as %s: only the organization's own can be locked or wiped",
			cmd.RequestType, some(personal))
	}
	_, err := s.brake.Admit(ctx, sender.Actor, kind, hosts, true)
	return err
}

// actsOnHosts tells whether there is an action that does what a command does.
func actsOnHosts(cmd *mdmcmd.Command) bool {
	switch cmd.RequestType {
	case "DisableLostMode", "DeviceLocation", "PlayLostModeSound", "ClearPasscode", "SetRecoveryLock", "ActivationLockBypassCode", "ClearActivationLockBypassCode":
		return true
	}
	return actionOf(cmd) != 0
}

// actionOf is the action that a command is; 0: none that the brake watches.
func actionOf(cmd *mdmcmd.Command) fleet.ActionKind {
	switch cmd.RequestType {
	case "EraseDevice":
		return fleet.ActionWipe
	case "DeviceLock", "EnableLostMode":
		return fleet.ActionLock
	case "RemoveProfile":
		if mdmcmd.Field(cmd.Raw, "Identifier") == mobileconfig.EnrollmentIdentifier {
			return fleet.ActionUnenroll
		}
	}
	return 0
}

// checkTargets refuses mixed platforms and hosts that are not enrolled.
func checkTargets(targets []fleet.Target) error {
	var off []string
	apple, other := 0, 0
	for _, t := range targets {
		if t.Host.Platform.Apple() {
			apple++
		} else {
			other++
		}
		if t.EnrollmentID == 0 || t.State != fleet.EnrollmentOn {
			off = append(off, hostName(t.Host))
		}
	}
	if apple > 0 && other > 0 {
		return fleet.FieldErrorf(fleet.KindInvalid, "host_uuids", "the hosts are of different platforms (%d Apple, %d others): send one command to each kind", apple, other)
	}
	if len(off) > 0 {
		return fleet.FieldErrorf(fleet.KindPrecondition, "host_uuids", "MDM is not on for %s: enroll first", some(off))
	}
	if other > 0 {
		return fleet.FieldErrorf(fleet.KindInvalid, "host_uuids", "commands can be sent to Apple devices only")
	}
	return nil
}

func hostName(h fleet.HostRef) string {
	for _, v := range []string{h.Hostname, h.Serial, h.UUID} {
		if v != "" {
			return v
		}
	}
	return fmt.Sprint("host ", h.ID)
}

// maxResults bounds the answers of one command that are returned at once.
const maxResults = 1000

// Results returns a command on each host it went to, with payload and answer.
// Where a device is, only those are told who may act on it. KindNotFound: no
// such command.
func (s *Service) Results(ctx context.Context, reader fleet.Sender, commandUUID, hostIdentifier string) ([]fleet.CommandResult, error) {
	exists, err := s.commands.Exists(ctx, commandUUID)
	if err != nil {
		return nil, err
	}
	if !exists {
		return nil, fleet.FieldErrorf(fleet.KindNotFound, "command_uuid", "there is no command with UUID %.100q", commandUUID)
	}
	f := fleet.CommandFilter{CommandUUID: commandUUID, WithBodies: true, Page: fleet.Page{Size: maxResults}}
	if f.HostIDs, err = s.hostIDs(ctx, hostIdentifier); err != nil {
		return nil, err
	}
	list, _, err := s.commands.List(ctx, f)
	for i := range list {
		list[i].Payload, list[i].Result = mdmcmd.Redacted(list[i].Payload), mdmcmd.Redacted(list[i].Result)
		if !reader.MayAct {
			list[i].Result = mdmcmd.Placeless(list[i].Result)
		}
	}
	return list, err
}

// List returns commands, one entry for each channel they went to.
func (s *Service) List(ctx context.Context, f fleet.CommandFilter, hostIdentifier string) ([]fleet.CommandResult, fleet.PageMeta, error) {
	ids, err := s.hostIDs(ctx, hostIdentifier)
	if err != nil {
		return nil, fleet.PageMeta{}, err
	}
	f.HostIDs = append(f.HostIDs, ids...)
	return s.commands.List(ctx, f)
}

// hostIDs resolves an identifier; an unknown one is an error, never everyone.
func (s *Service) hostIDs(ctx context.Context, identifier string) ([]fleet.HostID, error) {
	if identifier == "" {
		return nil, nil
	}
	refs, err := s.hosts.ByIdentifier(ctx, identifier)
	if err != nil {
		return nil, err
	}
	if len(refs) == 0 {
		return nil, fleet.FieldErrorf(fleet.KindNotFound, "host_identifier", "there is no host with UUID, serial or name %.100q", identifier)
	}
	out := make([]fleet.HostID, 0, len(refs))
	for _, r := range refs {
		out = append(out, r.ID)
	}
	return out, nil
}

package httpapi

import (
	"context"
	"encoding/base64"
	"strings"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

// decodeCommand reads base64 in either alphabet, with or without padding and
// line breaks.
func decodeCommand(text string) ([]byte, error) {
	clean := strings.NewReplacer("\n", "", "\r", "", " ", "", "-", "+", "_", "/").Replace(text)
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(clean, "="))
	if err != nil || len(raw) == 0 {
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "command", "must be the base64 of a command")
	}
	return raw, nil
}

func (a *api) checkTargets(field string, n int) error {
	if n == 0 {
		return fleet.FieldErrorf(fleet.KindInvalid, field, "must name at least one host")
	}
	if n > a.commandTargets {
		return fleet.FieldErrorf(fleet.KindInvalid, field, "must name at most %d hosts", a.commandTargets)
	}
	return nil
}

// sender is who asks, as somebody who sends commands and reads answers.
func (a *api) sender(ctx context.Context) fleet.Sender {
	return fleet.Sender{Actor: actorOf(ctx), MayAct: a.access.Can(viewerOf(ctx), string(actionsRun))}
}

func (a *api) runCommand(ctx context.Context, in *body[apiv1.RunCommandRequest]) (*body[apiv1.RunCommandResponse], error) {
	req := in.Body
	raw, err := decodeCommand(req.Command)
	if err != nil {
		return nil, err
	}
	if len(req.HostIDs) > 0 && len(req.HostUUIDs) > 0 {
		return nil, fleet.FieldErrorf(fleet.KindInvalid, "host_ids", "must not be given together with host_uuids")
	}
	if err := a.checkTargets("host_uuids", max(len(req.HostIDs), len(req.HostUUIDs))); err != nil {
		return nil, err
	}
	var command fleet.Command
	var failed []string
	if len(req.HostIDs) > 0 {
		ids := make([]fleet.HostID, 0, len(req.HostIDs))
		for _, id := range req.HostIDs {
			ids = append(ids, fleet.HostID(id))
		}
		command, failed, err = a.commands.RunByID(ctx, a.sender(ctx), ids, raw)
	} else {
		command, failed, err = a.commands.Run(ctx, a.sender(ctx), req.HostUUIDs, raw)
	}
	if err != nil {
		return nil, err
	}
	return reply(apiv1.RunCommandResponse{
		CommandUUID: command.UUID, RequestType: command.RequestType, Platform: string(command.Platform), FailedUUIDs: failed,
	}), nil
}

func toCommandResult(r fleet.CommandResult) apiv1.CommandResult {
	return apiv1.CommandResult{
		HostUUID: r.Host.UUID, CommandUUID: r.CommandUUID, Status: r.Status.String(), UpdatedAt: timeOrNever(r.UpdatedAt),
		RequestType: r.RequestType, Hostname: r.Host.Hostname,
	}
}

func base64OrNull(data []byte) *string {
	if data == nil {
		return nil
	}
	text := base64.StdEncoding.EncodeToString(data)
	return &text
}

type resultsInput struct {
	CommandUUID    string `query:"command_uuid" required:"true" minLength:"1" maxLength:"255"`
	HostIdentifier string `query:"host_identifier" maxLength:"255" doc:"Only this host, by host name, UUID or serial number"`
}

func (a *api) commandResults(ctx context.Context, in *resultsInput) (*body[apiv1.CommandResultsResponse], error) {
	results, err := a.commands.Results(ctx, a.sender(ctx), in.CommandUUID, in.HostIdentifier)
	if err != nil {
		return nil, err
	}
	out := apiv1.CommandResultsResponse{Results: make([]apiv1.CommandResult, 0, len(results))}
	for _, r := range results {
		row := toCommandResult(r)
		payload, answer := base64.StdEncoding.EncodeToString(r.Payload), base64.StdEncoding.EncodeToString(r.Result)
		row.Payload, row.Result = &payload, &answer // clients expect both keys
		out.Results = append(out.Results, row)
	}
	return reply(out), nil
}

type listCommandsInput struct {
	PageInput
	HostIdentifier string `query:"host_identifier" maxLength:"255" doc:"Only this host, by host name, UUID or serial number"`
	RequestType    string `query:"request_type" maxLength:"255"`
	CommandStatus  string `query:"command_status" maxLength:"255" doc:"Comma list of Pending, NotNow, Acknowledged, Error, CommandFormatError, Cancelled"`
}

func (a *api) listCommands(ctx context.Context, in *listCommandsInput) (*body[apiv1.CommandsResponse], error) {
	page, err := a.page(in.PageInput)
	if err != nil {
		return nil, err
	}
	statuses, err := commandStatuses(in.CommandStatus)
	if err != nil {
		return nil, err
	}
	results, meta, err := a.commands.List(ctx, fleet.CommandFilter{Page: page, RequestType: in.RequestType, Statuses: statuses}, in.HostIdentifier)
	if err != nil {
		return nil, err
	}
	out := apiv1.CommandsResponse{Results: make([]apiv1.CommandResult, 0, len(results)), Meta: toMeta(meta)}
	for _, r := range results {
		out.Results = append(out.Results, toCommandResult(r))
	}
	return reply(out), nil
}

func commandStatuses(list string) ([]fleet.CommandStatus, error) {
	var out []fleet.CommandStatus
next:
	for _, name := range splitComma(list) {
		for s := fleet.CommandPending; s <= fleet.CommandCancelled; s++ {
			if strings.EqualFold(s.String(), name) {
				out = append(out, s)
				continue next
			}
		}
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, "command_status",
			"must list some of Pending, NotNow, Acknowledged, Error, CommandFormatError, Cancelled")
	}
	return out, nil
}

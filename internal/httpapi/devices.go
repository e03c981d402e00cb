package httpapi

import (
	"context"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

// The oldest forms of the command routes, which speak of devices.

func (a *api) enqueue(ctx context.Context, in *body[apiv1.EnqueueRequest]) (*body[apiv1.EnqueueResponse], error) {
	raw, err := decodeCommand(in.Body.Command)
	if err != nil {
		return nil, err
	}
	if err := a.checkTargets("device_ids", len(in.Body.DeviceIDs)); err != nil {
		return nil, err
	}
	command, failed, err := a.commands.Run(ctx, a.sender(ctx), in.Body.DeviceIDs, raw)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.EnqueueResponse{CommandUUID: command.UUID, RequestType: command.RequestType, FailedUUIDs: failed}), nil
}

func toDeviceResult(r fleet.CommandResult) apiv1.DeviceCommandResult {
	return apiv1.DeviceCommandResult{
		DeviceID: r.Host.UUID, CommandUUID: r.CommandUUID, Status: r.Status.String(), UpdatedAt: timeOrNever(r.UpdatedAt),
		RequestType: r.RequestType, Hostname: r.Host.Hostname, Result: base64OrNull(r.Result),
	}
}

func (a *api) deviceCommandResults(ctx context.Context, in *resultsInput) (*body[apiv1.DeviceCommandResultsResponse], error) {
	results, err := a.commands.Results(ctx, a.sender(ctx), in.CommandUUID, in.HostIdentifier)
	if err != nil {
		return nil, err
	}
	out := apiv1.DeviceCommandResultsResponse{Results: make(map[string]apiv1.DeviceCommandResult, len(results))}
	for _, r := range results {
		out.Results[r.Host.UUID] = toDeviceResult(r)
	}
	return reply(out), nil
}

func (a *api) deviceCommands(ctx context.Context, in *listCommandsInput) (*body[apiv1.DeviceCommandsResponse], error) {
	commands, err := a.listCommands(ctx, in)
	if err != nil {
		return nil, err
	}
	out := apiv1.DeviceCommandsResponse{Results: make([]apiv1.DeviceCommandResult, 0, len(commands.Body.Results))}
	for _, r := range commands.Body.Results {
		out.Results = append(out.Results, apiv1.DeviceCommandResult{
			DeviceID: r.HostUUID, CommandUUID: r.CommandUUID, Status: r.Status, UpdatedAt: r.UpdatedAt, RequestType: r.RequestType, Hostname: r.Hostname,
		})
	}
	return reply(out), nil
}

func (a *api) devices(ctx context.Context, in *PageInput) (*body[apiv1.DevicesResponse], error) {
	page, err := a.page(*in)
	if err != nil {
		return nil, err
	}
	hosts, _, err := a.hosts.List(ctx, fleet.HostFilter{
		Page: page, Platforms: []fleet.Platform{fleet.PlatformDarwin, fleet.PlatformIOS, fleet.PlatformIPadOS},
	})
	if err != nil {
		return nil, err
	}
	out := apiv1.DevicesResponse{Devices: make([]apiv1.Device, 0, len(hosts))}
	for i := range hosts {
		h := &hosts[i]
		out.Devices = append(out.Devices, apiv1.Device{ID: h.UUID, SerialNumber: h.HardwareSerial, Enabled: h.MDM.Status.On()})
	}
	return reply(out), nil
}

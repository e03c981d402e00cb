package apiv1

import "time"

// RunCommandRequest sends a command to hosts.
type RunCommandRequest struct {
	Command   string   `json:"command" doc:"Base64 of the property list; padding is optional"`
	HostUUIDs []string `json:"host_uuids,omitempty"`
	HostIDs   []int64  `json:"host_ids,omitempty" doc:"Muster's own: hosts by id instead of by UUID"`
}

// RunCommandResponse names the command.
type RunCommandResponse struct {
	CommandUUID string   `json:"command_uuid"`
	RequestType string   `json:"request_type"`
	Platform    string   `json:"platform"`
	FailedUUIDs []string `json:"failed_uuids,omitempty" doc:"Hosts that the command could not be queued for or that could not be woken"`
}

// CommandResult is one command on one host.
type CommandResult struct {
	HostUUID    string    `json:"host_uuid"`
	CommandUUID string    `json:"command_uuid"`
	Status      string    `json:"status" doc:"Pending, NotNow, Acknowledged, Error, CommandFormatError or Cancelled"`
	UpdatedAt   time.Time `json:"updated_at"`
	RequestType string    `json:"request_type"`
	Hostname    string    `json:"hostname"`
	Payload     *string   `json:"payload,omitempty" doc:"Base64 of the command"`
	Result      *string   `json:"result,omitempty" doc:"Base64 of the answer"`
}

// CommandResultsResponse lists command results.
type CommandResultsResponse struct {
	Results []CommandResult `json:"results" nullable:"false"`
}

// CommandsResponse lists commands by host.
type CommandsResponse struct {
	Results []CommandResult `json:"results" nullable:"false"`
	Meta    Meta            `json:"meta"`
}

// EnqueueRequest is RunCommandRequest in its oldest form.
type EnqueueRequest struct {
	Command   string   `json:"command" doc:"Base64 of the property list; padding is optional"`
	DeviceIDs []string `json:"device_ids" doc:"Host UUIDs"`
}

// EnqueueResponse answers EnqueueRequest.
type EnqueueResponse struct {
	CommandUUID string   `json:"command_uuid"`
	RequestType string   `json:"request_type"`
	FailedUUIDs []string `json:"failed_uuids,omitempty"`
}

// DeviceCommandResult is CommandResult in its oldest form.
type DeviceCommandResult struct {
	DeviceID    string    `json:"device_id"`
	CommandUUID string    `json:"command_uuid"`
	Status      string    `json:"status"`
	UpdatedAt   time.Time `json:"updated_at"`
	RequestType string    `json:"request_type"`
	Hostname    string    `json:"hostname"`
	Result      *string   `json:"result,omitempty"`
}

// DeviceCommandResultsResponse maps devices to results.
type DeviceCommandResultsResponse struct {
	Results map[string]DeviceCommandResult `json:"results"`
}

// DeviceCommandsResponse lists commands by device.
type DeviceCommandsResponse struct {
	Results []DeviceCommandResult `json:"results" nullable:"false"`
}

// Device is an enrolled Apple device in the oldest form.
type Device struct {
	ID           string `json:"id"`
	SerialNumber string `json:"serial_number"`
	Enabled      bool   `json:"enabled"`
}

// DevicesResponse lists devices.
type DevicesResponse struct {
	Devices []Device `json:"devices" nullable:"false"`
}

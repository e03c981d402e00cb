package appledev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// maxCommands bounds one connection.
const maxCommands = 10_000

// Statuses of contracts/apple.md 1.5.
const (
	statusIdle         = "Idle"
	statusAcknowledged = "Acknowledged"
	statusError        = "Error"
	statusFormatError  = "CommandFormatError"
	statusNotNow       = "NotNow"
)

// report is a status message: Idle, or the result of a command.
type report struct {
	status      string
	commandUUID string // "" for Idle
	requestType string
	fields      dict
	after       func(context.Context) error // once the server has it
	mute        bool                        // never sent
}

// command is what the server hands out.
type command struct {
	uuid        string
	requestType string
	body        dict
}

// Poll is one connection per channel: results kept from before, or Idle, then
// commands until the server answers with nothing, then what declarative
// management owes. It returns how many commands were executed or refused.
func (d *Device) Poll(ctx context.Context) (int, error) {
	return d.poll(ctx, DeviceChannel, UserChannel)
}

// poll is Poll for some channels.
func (d *Device) poll(ctx context.Context, which ...Channel) (int, error) {
	d.talking.Lock()
	defer d.talking.Unlock()
	e := d.current()
	if e == nil {
		return 0, ErrNotEnrolled
	}
	if d.Locked() {
		return 0, ErrLocked
	}
	n := 0
	for _, c := range e.channels() {
		if d.current() != e || d.Locked() || !slices.Contains(which, c.which) {
			continue
		}
		more, err := d.drain(ctx, e, c)
		n += more
		if err == nil && d.current() == e && !d.Locked() {
			err = d.settle(ctx, e, c)
		}
		if err != nil {
			return n, d.failed(err)
		}
	}
	return n, nil
}

// drain runs one channel's connection.
func (d *Device) drain(ctx context.Context, e *enrollment, c *channel) (int, error) {
	next := c.unsent
	if next == nil {
		next = &report{status: statusIdle}
	}
	for n := 0; ; n++ {
		answer, err := d.tell(ctx, e, c, next)
		if err != nil {
			return n, err
		}
		if next.after != nil {
			err = next.after(ctx)
			if err != nil {
				return n, err
			}
		}
		if d.current() != e || d.Locked() || len(answer) == 0 {
			return n, nil
		}
		if n == maxCommands {
			return n, fmt.Errorf("more than %d commands in one connection", maxCommands)
		}
		cmd, err := parseCommand(answer)
		if err != nil {
			return n, err
		}
		next = d.handle(ctx, e, c, cmd)
		if next.mute {
			return n + 1, nil
		}
	}
}

// parseCommand reads {CommandUUID, Command{RequestType, ...}}.
func parseCommand(raw []byte) (*command, error) {
	m, err := parseDict(raw)
	if err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	body := m.dict("Command")
	return &command{uuid: m.text("CommandUUID"), requestType: body.text("RequestType"), body: body}, nil
}

// tell sends a report and returns the answer. A result stays unsent until it
// was answered with 2xx.
func (d *Device) tell(ctx context.Context, e *enrollment, c *channel, r *report) ([]byte, error) {
	result := r.commandUUID != ""
	if result {
		c.unsent = r
	}
	if result && d.faults.dropResult() {
		c.unsent = nil
		return nil, d.drop(ctx, r)
	}
	signed, err := d.reportCall(e, c, r)
	if err != nil {
		return nil, err
	}
	answer, err := d.send(ctx, signed)
	if err == nil && result && d.faults.duplicate() {
		answer, err = d.send(ctx, signed)
	}
	if err != nil {
		return nil, err
	}
	if result && d.faults.loseAnswer() {
		return nil, ErrLost
	}
	if !answer.ok() {
		if unrecognized(answer) {
			d.unenroll(fmt.Sprintf("HTTP %d", answer.status))
		}
		return nil, fmt.Errorf("%s: %w", r.status, answer.problem())
	}
	c.unsent = nil
	c.notNow = r.status == statusNotNow
	return answer.body, nil
}

// reportCall is the signed request of a report.
func (d *Device) reportCall(e *enrollment, c *channel, r *report) (call, error) {
	message := d.sender(e, c)
	message["Status"] = r.status
	if r.commandUUID != "" {
		message["CommandUUID"] = r.commandUUID
	}
	for k, v := range r.fields {
		message[k] = v
	}
	return d.signedCall(r.status, e.profile.mdm.serverURL, typeCommand, message, e.identity)
}

// drop ends a connection instead of sending a result; its effects stay.
func (d *Device) drop(ctx context.Context, r *report) error {
	if r.after == nil {
		return ErrLost
	}
	return errors.Join(ErrLost, r.after(ctx))
}

// unrecognized reports an answer after which a device removes its management
// (contracts/apple.md 1.6).
func unrecognized(r *response) bool {
	return r.status == http.StatusUnauthorized ||
		r.status == http.StatusForbidden && bytes.Contains(r.body, []byte("com.apple.unrecognized.device"))
}

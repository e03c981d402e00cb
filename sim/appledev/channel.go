package appledev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
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
// commands until the server answers with nothing. It returns how many commands
// were executed or refused.
func (d *Device) Poll(ctx context.Context) (int, error) {
	d.talking.Lock()
	defer d.talking.Unlock()
	e := d.current()
	if e == nil {
		return 0, ErrNotEnrolled
	}
	n, err := d.drain(ctx, e, &e.device)
	if err == nil && e.user != nil && d.current() == e {
		var more int
		more, err = d.drain(ctx, e, e.user)
		n += more
	}
	if err != nil {
		return n, d.failed(err)
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
		if d.current() != e || len(answer) == 0 {
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
	message := d.sender(c)
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

// Run polls at once, then when woken, at the interval, and again after errors
// and NotNow. It ends with ctx (its error is returned) or when the device is no
// longer enrolled: nil, unless Options say to enroll again.
func (d *Device) Run(ctx context.Context) error {
	for {
		// An enrollment in progress is waited for, so that its channels are
		// complete.
		d.talking.Lock()
		e := d.current()
		d.talking.Unlock()
		var err error
		switch {
		case e != nil:
			err = d.runEnrollment(ctx, e)
		case d.o.Reenroll != nil:
			err = d.o.Reenroll(ctx, d)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// runEnrollment is Run for one enrollment and one pair of tokens.
func (d *Device) runEnrollment(ctx context.Context, e *enrollment) error {
	token, topic := d.PushToken()
	var wake, userWake <-chan struct{}
	if d.o.Wakes != nil && token != nil {
		var cancel func()
		wake, cancel = d.o.Wakes.Subscribe(token, topic)
		defer cancel()
		if e.user != nil {
			userWake, cancel = d.o.Wakes.Subscribe(e.user.token, topic)
			defer cancel()
		}
	}
	for {
		_, err := d.Poll(ctx)
		now, _ := d.PushToken()
		if d.current() != e || !bytes.Equal(now, token) {
			return nil
		}
		timer := time.NewTimer(d.pause(e, err))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("device stopped: %w", ctx.Err())
		case <-wake:
		case <-userWake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// forever is longer than any simulation.
const forever = 365 * 24 * time.Hour

// pause is the time to the next poll that no push asks for.
func (d *Device) pause(e *enrollment, err error) time.Duration {
	d.talking.Lock()
	defer d.talking.Unlock()
	wait := forever
	if d.o.PollInterval > 0 {
		wait = d.o.PollInterval
	}
	if err != nil || e.device.notNow || (e.user != nil && e.user.notNow) {
		wait = min(wait, d.o.RetryAfter)
	}
	return wait
}

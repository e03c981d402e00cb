package appledev

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Prepared is a request signed beforehand, so that a measurement spends no CPU
// on signing. It can be sent any number of times.
type Prepared struct{ c call }

// PrepareIdle signs an Idle of the device channel for later.
func (d *Device) PrepareIdle() (*Prepared, error) {
	d.talking.Lock()
	defer d.talking.Unlock()
	e := d.current()
	if e == nil {
		return nil, ErrNotEnrolled
	}
	c, err := d.signedCall(statusIdle, e.profile.mdm.serverURL, typeCommand, dict{"Status": statusIdle, "UDID": d.spec.UDID}, e.identity)
	if err != nil {
		return nil, err
	}
	return &Prepared{c: c}, nil
}

// Name is the message's type or the report's status.
func (p *Prepared) Name() string { return p.c.op }

// Send sends the request and returns status and answer.
func (p *Prepared) Send(ctx context.Context, client *http.Client) (status int, body []byte, err error) {
	resp, err := transact(ctx, client, p.c)
	if err != nil {
		return 0, nil, err
	}
	return resp.status, resp.body, nil
}

// PrepareDrain signs a whole connection of the device channel for later: an
// Idle and the answers to commands that the server will hand out in this
// order.
func (d *Device) PrepareDrain(ctx context.Context, commands [][]byte) ([]*Prepared, error) {
	d.talking.Lock()
	defer d.talking.Unlock()
	e := d.current()
	if e == nil {
		return nil, ErrNotEnrolled
	}
	reports := []*report{{status: statusIdle}}
	for _, raw := range commands {
		cmd, err := parseCommand(raw)
		if err != nil {
			return nil, err
		}
		reports = append(reports, d.handle(ctx, e, &e.device, cmd))
	}
	out := make([]*Prepared, 0, len(reports))
	for _, r := range reports {
		c, err := d.reportCall(e, &e.device, r)
		if err != nil {
			return nil, err
		}
		out = append(out, &Prepared{c: c})
	}
	return out, nil
}

// PreparedEnrollment is an enrollment whose profile is read, whose identity is
// issued and whose check-ins are signed, but not sent.
type PreparedEnrollment struct {
	device                    *Device
	e                         *enrollment
	authenticate, tokenUpdate call
}

// PrepareEnrollment does what comes before the check-ins of Enroll.
func (d *Device) PrepareEnrollment(ctx context.Context, profileURL string) (*PreparedEnrollment, error) {
	d.talking.Lock()
	defer d.talking.Unlock()
	answer, err := d.must(d.send(ctx, call{op: opProfile, method: http.MethodGet, url: profileURL}))
	if err != nil {
		return nil, fmt.Errorf("download enrollment profile: %w", err)
	}
	p, err := parseProfile(answer.body)
	if err != nil {
		return nil, err
	}
	if p.mdm == nil {
		return nil, errors.New("profile: without MDM payload")
	}
	id, err := d.requestIdentity(ctx, p.scep)
	if err != nil {
		return nil, err
	}
	e := &enrollment{profile: p, identity: id, device: d.newChannel()}
	prepared := &PreparedEnrollment{device: d, e: e}
	prepared.authenticate, err = d.checkInCall(e, nil, "Authenticate", d.authenticateFields(e))
	if err != nil {
		return nil, err
	}
	prepared.tokenUpdate, err = d.checkInCall(e, &e.device, "TokenUpdate", d.tokenFields(e, &e.device))
	if err != nil {
		return nil, err
	}
	return prepared, nil
}

// CheckIn sends Authenticate and TokenUpdate. Macs open no user channel and
// escrow no bootstrap token this way.
func (p *PreparedEnrollment) CheckIn(ctx context.Context) error {
	d := p.device
	d.talking.Lock()
	defer d.talking.Unlock()
	for _, c := range []call{p.authenticate, p.tokenUpdate} {
		_, err := d.must(d.send(ctx, c))
		if err != nil {
			return fmt.Errorf("%s: %w", c.op, err)
		}
	}
	d.install(p.e)
	return nil
}

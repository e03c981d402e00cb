package appledev

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"
)

// Run polls at once, then when woken, at the interval, and again after errors
// and NotNow. With a Service it boots first, and again after every erasure. It
// ends with ctx (its error is returned) or when the device is no longer
// enrolled: nil, unless Options say to enroll again.
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
		case d.boots():
			err = d.runBoot(ctx)
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

// boots says whether the device will set itself up.
func (d *Device) boots() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.boxed && (d.o.Service != "" || d.returning != nil)
}

// runBoot boots, and waits when that failed; only the end of ctx is an error. A
// device that nobody assigned yet waits in the same way, as if a person tried
// again later.
func (d *Device) runBoot(ctx context.Context) error {
	if d.Boot(ctx) == nil {
		return nil
	}
	timer := time.NewTimer(d.o.RetryAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("device stopped: %w", ctx.Err())
	case <-timer.C:
		return nil
	}
}

// runEnrollment is Run for one enrollment and one set of tokens. A push wakes
// the channel that it is for and no other, so that a server which forgets one
// is found out.
func (d *Device) runEnrollment(ctx context.Context, e *enrollment) error {
	tokens, topic := d.tokens(e)
	wakes := make([]<-chan struct{}, channels)
	if d.o.Wakes != nil {
		for c, token := range tokens {
			if token == nil {
				continue
			}
			wake, cancel := d.o.Wakes.Subscribe(token, topic)
			defer cancel()
			wakes[c] = wake
		}
	}
	which := []Channel{DeviceChannel, UserChannel}
	for {
		_, err := d.poll(ctx, which...)
		now, _ := d.tokens(e)
		if d.current() != e || !slices.EqualFunc(now, tokens, bytes.Equal) {
			return nil
		}
		timer := time.NewTimer(d.pause(e, err))
		which = []Channel{DeviceChannel, UserChannel}
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("device stopped: %w", ctx.Err())
		case <-wakes[DeviceChannel]:
			which = which[:1]
		case <-wakes[UserChannel]:
			which = which[1:]
		case <-d.nudged:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// tokens returns the push tokens by channel, nil for one that is not there, and
// the topic.
func (d *Device) tokens(e *enrollment) (tokens [][]byte, topic string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	tokens = make([][]byte, channels)
	for _, c := range e.channels() {
		tokens[c.which] = c.token
	}
	return tokens, e.profile.mdm.topic
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

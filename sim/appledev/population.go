package appledev

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// Population is many devices.
type Population struct{ Devices []*Device }

// NewPopulation makes n mixed devices from a seed; equal seeds make equal
// devices.
func NewPopulation(seed uint64, n int, mix Mix, o Options) *Population {
	if o.Client == nil {
		o.Client = NewClient(nil, DefaultConnections)
	}
	if o.Library == nil {
		o.Library = new(Library)
	}
	p := &Population{}
	for _, spec := range NewSpecs(seed, n, mix) {
		p.Devices = append(p.Devices, New(spec, o))
	}
	return p
}

// DefaultConnections is how many connections a population shares unless its
// Options bring a client.
const DefaultConnections = 64

// EnrollAll enrolls every device from the profile its URL function returns,
// workers at a time. progress, which may be nil, is told after each device; it
// must be safe for concurrent use. Failures do not stop the others; they are
// joined, at most maxReported of them.
func (p *Population) EnrollAll(ctx context.Context, profileURL func(*Device) string, workers int, progress func(done, failed, total int)) error {
	var done, failed atomic.Int64
	return p.Each(ctx, workers, func(ctx context.Context, d *Device) error {
		err := d.Enroll(ctx, profileURL(d))
		if err != nil {
			failed.Add(1)
		}
		if progress != nil {
			progress(int(done.Add(1)), int(failed.Load()), len(p.Devices))
		}
		return err
	})
}

// PollAll has every device poll once.
func (p *Population) PollAll(ctx context.Context, workers int) error {
	return p.Each(ctx, workers, func(ctx context.Context, d *Device) error {
		_, err := d.Poll(ctx)
		return err
	})
}

// RunAll runs every device until ctx ends or it is no longer enrolled. It
// returns when all have stopped.
func (p *Population) RunAll(ctx context.Context) {
	var running sync.WaitGroup
	for _, d := range p.Devices {
		// The error is that of ctx; faults are reported as events.
		running.Go(func() { _ = d.Run(ctx) })
	}
	running.Wait()
}

// maxReported bounds the errors that Each keeps.
const maxReported = 20

// Each calls f for every device, workers at a time, and returns the joined
// errors, at most maxReported of them.
func (p *Population) Each(ctx context.Context, workers int, f func(context.Context, *Device) error) error {
	var next atomic.Int64
	var mu sync.Mutex
	var errs []error
	var running sync.WaitGroup
	for range max(workers, 1) {
		running.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(p.Devices) {
					return
				}
				err := f(ctx, p.Devices[i])
				if err == nil {
					continue
				}
				mu.Lock()
				if len(errs) < maxReported {
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

package slogx

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// MaxBuffered bounds the bytes that wait for the sink.
	MaxBuffered = 4 << 20
	// flushEvery bounds how long a line waits when few are written.
	flushEvery = 100 * time.Millisecond
	// flushAt wakes the flusher before the interval is over.
	flushAt = 64 << 10
)

// Writer buffers lines and writes them to its sink from a goroutine of its
// own. It is safe for concurrent use.
type Writer struct {
	sink io.Writer

	mu      sync.Mutex
	buf     []byte
	dropped uint64
	closed  bool

	flushing sync.Mutex // one flush at a time; held while the sink is written
	spare    []byte     // the buffer not in use; guarded by flushing

	wake chan struct{}
	stop chan struct{}
	done chan struct{}
}

// NewWriter starts a writer. Close stops it.
func NewWriter(sink io.Writer) *Writer {
	w := &Writer{
		sink: sink,
		wake: make(chan struct{}, 1),
		stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	go w.run()
	return w
}

// Write takes one whole line and never blocks on the sink. It drops the line
// when the buffer is full.
func (w *Writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		// After Close only the last words of the process come; write through.
		return w.sink.Write(line)
	}
	if len(w.buf)+len(line) > MaxBuffered {
		w.dropped++
		return len(line), nil
	}
	before := len(w.buf)
	w.buf = append(w.buf, line...)
	if before < flushAt && len(w.buf) >= flushAt {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return len(line), nil
}

// Flush writes everything buffered so far.
func (w *Writer) Flush() error {
	w.flushing.Lock()
	defer w.flushing.Unlock()
	w.mu.Lock()
	full, dropped := w.buf, w.dropped
	w.buf, w.dropped = w.spare[:0], 0
	w.mu.Unlock()
	w.spare = full
	if dropped > 0 {
		// The same words in both formats: a JSON line is also readable text.
		full = fmt.Appendf(full, "{\"level\":\"WARN\",\"msg\":\"log lines dropped\",\"count\":%d}\n", dropped)
	}
	if len(full) == 0 {
		return nil
	}
	_, err := w.sink.Write(full)
	return err
}

// Close flushes and stops the goroutine. Lines written later go straight to
// the sink.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	w.mu.Unlock()
	close(w.stop)
	<-w.done
	return w.Flush()
}

func (w *Writer) run() {
	defer close(w.done)
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-ticker.C:
		case <-w.wake:
		}
		// A sink that fails has nobody to tell but itself; the next flush
		// tries again with the next lines.
		_ = w.Flush()
	}
}

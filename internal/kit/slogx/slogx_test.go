package slogx

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestLinesCarryTheContextsAttributes(t *testing.T) {
	var out bytes.Buffer
	logger := New(Options{Format: "text", Level: "debug", Out: &out})
	ctx := With(context.Background(), slog.Int("host", 7))
	ctx = With(ctx, slog.String("command_uuid", "u"))
	logger.With("a", 1).DebugContext(ctx, "sent")
	if line := out.String(); !strings.Contains(line, "host=7 command_uuid=u") || !strings.Contains(line, "a=1") {
		t.Errorf("got %s", line)
	}
}

func TestLevelsBelowTheConfiguredAreQuiet(t *testing.T) {
	var out bytes.Buffer
	New(Options{Out: &out}).Debug("x")
	if out.Len() != 0 {
		t.Errorf("got %s", out.String())
	}
}

func TestEveryLineReachesTheSinkInOrder(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	for _, line := range []string{"one\n", "two\n"} {
		if _, err := io.WriteString(w, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "three\n"); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "one\ntwo\nthree\n" {
		t.Errorf("got %q", got)
	}
}

// stalled is a sink that blocks until it is released.
type stalled struct {
	release chan struct{}
	mu      sync.Mutex
	bytes.Buffer
}

func (s *stalled) Write(p []byte) (int, error) {
	<-s.release
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Buffer.Write(p)
}

func TestAStalledSinkDropsLinesAndSaysSo(t *testing.T) {
	sink := &stalled{release: make(chan struct{})}
	w := NewWriter(sink)
	line := bytes.Repeat([]byte("x"), 1<<20)
	for range 3 * MaxBuffered / len(line) {
		if _, err := w.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	close(sink.release)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(sink.String(), "log lines dropped") {
		t.Error("the loss is not told")
	}
}

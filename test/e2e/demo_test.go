package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"testing"
	"time"
)

func TestTheDemoPlaysItsWholeStory(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t), "demo", "--check", "-o", "json", "--address", "127.0.0.1:0", "--devices", "20")
	cmd.Env = environment("HOME=" + t.TempDir())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.Bytes(), errs.Bytes())
	}
	var summary struct {
		Steps []struct {
			Name, Detail string
			OK           bool
		}
	}
	if err := json.Unmarshal(out.Bytes(), &summary); err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	const least = 29 // a step that is no longer played is no longer verified
	if len(summary.Steps) < least {
		t.Errorf("only %d steps", len(summary.Steps))
	}
	for _, s := range summary.Steps {
		if !s.OK {
			t.Errorf("%s: %s", s.Name, s.Detail)
		}
	}
}

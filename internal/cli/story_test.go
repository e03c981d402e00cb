package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/app"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/appleserver"
	"github.com/muster-mdm/muster/sim/scenario"
)

const (
	storyPassword = "Correct-horse-1"
	storyPatience = 60 * time.Second
)

// story is what the README tells, with a real server and a simulated Mac.
type story struct {
	t     *testing.T
	dir   string
	url   string
	push  *appleserver.Push
	apple *appleserver.Enrollment
	mac   *appledev.Device
}

func newStory(t *testing.T) *story {
	t.Helper()
	s := &story{t: t, dir: t.TempDir()}
	ctx, stop := context.WithCancel(context.Background())
	push, err := appleserver.StartPush(ctx, appleserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.push = push
	if s.apple, err = appleserver.StartEnrollment(ctx, appleserver.EnrollmentOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.apple.Close() })
	s.file("apns-root.pem", push.RootPEM())
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + listener.Addr().String()
	settings := config.Config{DataDir: filepath.Join(s.dir, "data")}.WithDefaults()
	settings.Server.URL = s.url
	settings.Apple.APNSURL, settings.Apple.APNSRootCAFile = push.URL(), filepath.Join(s.dir, "apns-root.pem")
	settings.Apple.DEPURL, settings.Apple.DEPSyncEvery = s.apple.URL(), time.Second
	a, err := app.New(ctx, app.Options{Config: settings, Version: apiv1.Version{Version: "1.0.0"}, Log: slog.New(slog.DiscardHandler), Listener: listener})
	if err != nil {
		t.Fatal(err)
	}
	devices := appledev.NewClient(nil, 2)
	s.mac = appledev.New(appledev.NewSpecs(1, 1, appledev.Mix{Mac: 1})[0], appledev.Options{Client: devices, Wakes: push, RetryAfter: 50 * time.Millisecond})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		devices.CloseIdleConnections()
		stop()
		wg.Wait()
		if err := push.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *story) file(name string, content []byte) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// run types a command and what it asks for.
func (s *story) run(input string, arguments ...string) string {
	s.t.Helper()
	var out, errs bytes.Buffer
	code := Execute(s.t.Context(), Deps{In: strings.NewReader(input), Out: &out, Err: &errs, HomeDir: s.dir, Zone: time.UTC,
		Getenv: func(string) string { return "" }, Version: apiv1.Version{Version: "1.0.0"}}, arguments)
	if code != ExitOK {
		s.t.Fatalf("muster %s: exit %d: %s%s", strings.Join(arguments, " "), code, out.String(), errs.String())
	}
	return out.String() + errs.String()
}

// follow runs the commands of a chapter of the README in their order, with
// what is an example there replaced by what is there.
func (s *story) follow(chapter string, replace map[string][]string, step func(command, output string), skip ...string) {
	s.t.Helper()
	page := pages(s.t)["README.md"]
	_, page, found := strings.Cut(page, "\n## "+chapter+"\n")
	page, _, _ = strings.Cut(page, "\n## ")
	blocks, _ := fenced(page)
	if !found || len(blocks) == 0 {
		s.t.Fatalf("the README has no commands under %q", chapter)
	}
	for _, b := range blocks {
		for _, e := range commandsOf("README.md", b.text) {
			command := strings.Join(e.words, " ")
			if skipped(command, skip) {
				continue
			}
			var arguments []string
			for _, w := range e.words[1:] {
				if with, ok := replace[w]; ok {
					arguments = append(arguments, with...)
				} else {
					arguments = append(arguments, w)
				}
			}
			step(command, s.run(storyPassword+"\n", arguments...))
		}
	}
}

func skipped(command string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(command, p) {
			return true
		}
	}
	return false
}

func (s *story) contains(command, output string, wants ...string) {
	s.t.Helper()
	for _, want := range wants {
		if !strings.Contains(output, want) {
			s.t.Errorf("%s: %q is missing:\n%s", command, want, output)
		}
	}
}

// enroll opens the enrollment's URL on the Mac, and keeps the Mac alive.
func (s *story) enroll(output string) {
	s.t.Helper()
	url := regexp.MustCompile(regexp.QuoteMeta(s.url) + `/mdm/apple/enroll/\S+`).FindString(output)
	if url == "" {
		s.t.Fatalf("no URL to open:\n%s", output)
	}
	if err := s.mac.Enroll(s.t.Context(), url); err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.mac.Run(ctx) }()
	s.t.Cleanup(func() { stop(); <-done })
}

// result waits for the Mac's answer, which a push makes it give.
func (s *story) result(uuid string) {
	s.t.Helper()
	deadline := time.Now().Add(storyPatience)
	for {
		out := s.run("", "get", "mdm-command-results", "--id="+uuid)
		if strings.Contains(out, "STATUS: Acknowledged") {
			s.contains("get mdm-command-results", out, "RestartDevice", "RESULTS:", s.mac.Spec().UDID)
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("no answer: %s", out)
		}
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // a real server in real time
	}
}

func TestTheREADMEsFirstMacEnrollsAndAnswers(t *testing.T) {
	s := newStory(t)
	cert, key, err := s.push.NewPushCertificate(scenario.Topic)
	if err != nil {
		t.Fatal(err)
	}
	serial := s.mac.Spec().Serial
	csr := filepath.Join(s.dir, "muster-mdm-csr.csr")
	replace := map[string][]string{
		"https://mdm.example.com": {s.url},
		"muster-mdm-csr.csr":      {csr},
		// The simulated portal makes the key as well.
		"MDM_Muster_Certificate.pem": {s.file("push.pem", cert), "--key", s.file("push.key", key)},
		"C02XK1ABJGH5":               {serial},
		"restart.plist":              {s.file("restart.plist", []byte(scenario.Command("RestartDevice", "")))},
	}
	order := []string{"muster config set", "muster setup", "muster generate mdm-apple", "muster apns upload", "muster apple-mdm enrollments create",
		"muster get hosts", "muster mdm run-command", "muster get mdm-commands"}
	var told []string
	s.follow("A first real Mac", replace, func(command, out string) {
		for _, o := range order {
			if strings.HasPrefix(command, o) {
				told = append(told, o)
			}
		}
		switch {
		case strings.HasPrefix(command, "muster setup"):
			s.contains(command, out, "logged in as ada@example.com")
			s.contains("login", s.run(storyPassword+"\n", "login", "--email", "ada@example.com"), "Logged in")
		case strings.HasPrefix(command, "muster generate"):
			if text, err := os.ReadFile(csr); err != nil || !bytes.HasPrefix(text, []byte("-----BEGIN CERTIFICATE REQUEST")) {
				t.Errorf("%s: %s %v", command, text, err)
			}
		case strings.HasPrefix(command, "muster apns upload"):
			s.contains(command, out, scenario.Topic)
		case strings.HasPrefix(command, "muster apple-mdm enrollments create"):
			s.contains(command, out, "Macs")
			s.enroll(out)
			profile := filepath.Join(s.dir, "other.mobileconfig")
			s.run("", "apple-mdm", "enrollments", "profile", "--out", profile)
			if info, err := os.Stat(profile); err != nil || info.Size() == 0 || info.Mode().Perm() != 0o600 {
				t.Errorf("the profile: %v %v", info, err)
			}
		case strings.HasPrefix(command, "muster get hosts"):
			s.contains(command, out, serial, "On (manual)")
		case strings.HasPrefix(command, "muster mdm run-command"):
			_, uuid, _ := strings.Cut(out, "Command UUID: ")
			uuid, _, _ = strings.Cut(uuid, "\n")
			s.result(uuid)
		case strings.HasPrefix(command, "muster get mdm-commands"):
			s.contains(command, out, "RestartDevice", "Acknowledged")
		}
	}, "make build", "muster serve")
	if strings.Join(told, "\n") != strings.Join(order, "\n") {
		t.Errorf("the README tells\n%s\nand this test knows\n%s", strings.Join(told, "\n"), strings.Join(order, "\n"))
	}
	s.program(serial)
}

// program is what the README says about programs: a user with a token only.
func (s *story) program(serial string) {
	s.t.Helper()
	var out struct{ Token string }
	text := s.run("", "user", "create", "--api-only", "--name", "CI", "--email", "ci@example.com", "--global-role", "observer", "-o", "json")
	if err := json.Unmarshal([]byte(text), &out); err != nil || out.Token == "" {
		s.t.Fatalf("%v: %s", err, text)
	}
	s.run("", "config", "set", "--context", "ci", "--address", s.url, "--token", out.Token)
	s.contains("as the program", s.run("", "get", "hosts", "--context", "ci"), serial)
}

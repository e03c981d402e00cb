package apple

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/micromdm/nanomdm/mdm"
	"github.com/micromdm/nanomdm/service"
)

// voice is a service that says its name and answers what it is told to.
type voice struct {
	service.CheckinAndCommandService // methods that are not here are not called
	calls
	name string
	err  error
	do   func(*mdm.Request)
}

func (v *voice) say(r *mdm.Request, what string) error {
	v.add("%s", what)
	if v.do != nil {
		v.do(r)
	}
	return v.err
}

func (v *voice) Authenticate(r *mdm.Request, _ *mdm.Authenticate) error {
	return v.say(r, "Authenticate")
}
func (v *voice) TokenUpdate(r *mdm.Request, _ *mdm.TokenUpdate) error {
	return v.say(r, "TokenUpdate")
}
func (v *voice) CheckOut(r *mdm.Request, _ *mdm.CheckOut) error { return v.say(r, "CheckOut") }
func (v *voice) SetBootstrapToken(r *mdm.Request, _ *mdm.SetBootstrapToken) error {
	return v.say(r, "SetBootstrapToken")
}

func (v *voice) GetBootstrapToken(r *mdm.Request, _ *mdm.GetBootstrapToken) (*mdm.BootstrapToken, error) {
	return &mdm.BootstrapToken{BootstrapToken: []byte(v.name)}, v.say(r, "GetBootstrapToken")
}

func (v *voice) UserAuthenticate(r *mdm.Request, _ *mdm.UserAuthenticate) ([]byte, error) {
	return []byte(v.name), v.say(r, "UserAuthenticate")
}

func (v *voice) DeclarativeManagement(r *mdm.Request, _ *mdm.DeclarativeManagement) ([]byte, error) {
	return []byte(v.name), v.say(r, "DeclarativeManagement")
}

func (v *voice) GetToken(r *mdm.Request, _ *mdm.GetToken) (*mdm.GetTokenResponse, error) {
	return &mdm.GetTokenResponse{TokenData: []byte(v.name)}, v.say(r, "GetToken")
}

func (v *voice) CommandAndReportResults(r *mdm.Request, _ *mdm.CommandResults) (*mdm.Command, error) {
	return &mdm.Command{CommandUUID: v.name}, v.say(r, "CommandAndReportResults")
}

// messages calls every method of the service and returns what was answered.
func messages() map[string]func(s service.CheckinAndCommandService, r *mdm.Request) (string, error) {
	type svc = service.CheckinAndCommandService
	return map[string]func(svc, *mdm.Request) (string, error){
		"Authenticate": func(s svc, r *mdm.Request) (string, error) { return "real", s.Authenticate(r, nil) },
		"TokenUpdate":  func(s svc, r *mdm.Request) (string, error) { return "real", s.TokenUpdate(r, &mdm.TokenUpdate{}) },
		"CheckOut":     func(s svc, r *mdm.Request) (string, error) { return "real", s.CheckOut(r, nil) },
		"SetBootstrapToken": func(s svc, r *mdm.Request) (string, error) {
			return "real", s.SetBootstrapToken(r, &mdm.SetBootstrapToken{})
		},
		"GetBootstrapToken": func(s svc, r *mdm.Request) (string, error) {
			t, err := s.GetBootstrapToken(r, nil)
			return string(t.BootstrapToken), err
		},
		"UserAuthenticate": func(s svc, r *mdm.Request) (string, error) {
			a, err := s.UserAuthenticate(r, nil)
			return string(a), err
		},
		"DeclarativeManagement": func(s svc, r *mdm.Request) (string, error) {
			a, err := s.DeclarativeManagement(r, nil)
			return string(a), err
		},
		"GetToken": func(s svc, r *mdm.Request) (string, error) {
			a, err := s.GetToken(r, nil)
			return string(a.TokenData), err
		},
		"CommandAndReportResults": func(s svc, r *mdm.Request) (string, error) {
			c, err := s.CommandAndReportResults(r, &mdm.CommandResults{})
			return c.CommandUUID, err
		},
	}
}

// tee returns a service with an observer, and the log.
func tee() (t *Tee, next, observer *voice, log *bytes.Buffer) {
	next, observer, log = &voice{name: "real"}, &voice{name: "observer"}, &bytes.Buffer{}
	return NewTee(next, observer, slog.New(slog.NewTextHandler(log, nil))), next, observer, log
}

func deviceRequest(ctx context.Context) *mdm.Request {
	r := mdm.NewRequestWithContext(ctx, nil)
	r.EnrollID = &mdm.EnrollID{ID: "A"}
	return r
}

func TestTheObserverSeesWhatTheServiceTookAndItsAnswerCountsForNothing(t *testing.T) {
	refusal := errors.New("no")
	for name, send := range messages() {
		t.Run(name, func(t *testing.T) {
			tee, next, observer, log := tee()
			observer.err = errors.New("the observer's trouble")
			answer, err := send(tee, deviceRequest(t.Context()))
			tee.Wait()
			if answer != "real" || err != nil {
				t.Errorf("answered %q, %v", answer, err)
			}
			if got := observer.take(); len(got) != 1 || got[0] != name {
				t.Errorf("observed %q", got)
			}
			if !strings.Contains(log.String(), "the observer's trouble") {
				t.Errorf("log: %s", log)
			}
			next.err = refusal
			_, err = send(tee, deviceRequest(t.Context()))
			tee.Wait()
			if got := observer.take(); !errors.Is(err, refusal) || len(got) != 0 {
				t.Errorf("refused with %v, and observed %q", err, got)
			}
		})
	}
}

func TestAnObserverThatPanicsTakesNothingWithIt(t *testing.T) {
	tee, _, observer, log := tee()
	observer.do = func(*mdm.Request) { panic("observer fell over") }
	for range 2 * maxObserving {
		if err := tee.Authenticate(deviceRequest(t.Context()), nil); err != nil {
			t.Fatal(err)
		}
		tee.Wait()
	}
	if n := strings.Count(log.String(), "observer fell over"); n != 2*maxObserving {
		t.Errorf("logged %d times", n)
	}
}

func TestAnObserverOutlivesTheRequestAndWaitWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tee, _, observer, _ := tee()
		release := make(chan struct{})
		var ended error
		observer.do = func(r *mdm.Request) {
			<-release
			ended = r.Context().Err()
		}
		ctx, cancel := context.WithCancel(context.Background())
		if err := tee.TokenUpdate(deviceRequest(ctx), &mdm.TokenUpdate{}); err != nil { // is not delayed
			t.Fatal(err)
		}
		cancel()
		waited := false
		go func() { tee.Wait(); waited = true }()
		synctest.Wait()
		if waited {
			t.Error("Wait returned while the observer was at work")
		}
		close(release)
		synctest.Wait()
		if !waited || ended != nil {
			t.Errorf("waited %t; the observer's request: %v", waited, ended)
		}
	})
}

func TestWhatComesOnTopOfTheLimitIsNotObservedAndStillAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tee, next, observer, log := tee()
		release := make(chan struct{})
		observer.do = func(*mdm.Request) { <-release }
		const extra = 3
		for range maxObserving + extra {
			if cmd, err := tee.CommandAndReportResults(deviceRequest(t.Context()), &mdm.CommandResults{}); err != nil || cmd.CommandUUID != "real" {
				t.Fatalf("%v, %v", cmd, err)
			}
		}
		synctest.Wait()
		if got := len(observer.take()); got != maxObserving {
			t.Errorf("%d messages are under observation", got)
		}
		if got := len(next.take()); got != maxObserving+extra {
			t.Errorf("%d messages were taken", got)
		}
		if n := strings.Count(log.String(), "too slow"); n != extra {
			t.Errorf("%d warnings", n)
		}
		close(release)
		tee.Wait()
		if err := tee.CheckOut(deviceRequest(t.Context()), nil); err != nil {
			t.Fatal(err)
		}
		tee.Wait()
		if got := observer.take(); len(got) != 1 {
			t.Errorf("afterwards: observed %q", got)
		}
	})
}

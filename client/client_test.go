package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// serve answers with handler; pauses between tries take no time.
func serve(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := New(Options{Address: server.URL, Token: "tok", URLPrefix: "/sub/", Headers: map[string]string{"X-Extra": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	c.pause = func(context.Context, time.Duration) error { return nil }
	return c
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func TestRequestsCarryTokenPrefixAndHeaders(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() != "/sub/api/v1/fleet/hosts/identifier/a%2Fb%20c" || r.Header.Get("Authorization") != "Bearer tok" || r.Header.Get("X-Extra") != "1" {
			t.Errorf("got %s %v", r.URL.EscapedPath(), r.Header)
		}
		writeJSON(w, 200, map[string]any{"host": map[string]any{"id": 7}})
	})
	host, err := c.HostByIdentifier(t.Context(), "a/b c")
	if err != nil || host.ID != 7 {
		t.Errorf("got %+v, %v", host, err)
	}
}

func TestOnlyReadsAreTriedAgain(t *testing.T) {
	for _, tt := range []struct {
		name string
		call func(*Client) error
		want int
	}{
		{"a list", func(c *Client) error { _, err := c.Users(t.Context(), ""); return err }, maxTries},
		{"a command", func(c *Client) error { _, err := c.RunCommand(t.Context(), []byte("x"), []string{"a"}); return err }, 1},
		{"a request that makes a key", func(c *Client) error { _, err := c.RequestCSR(t.Context()); return err }, 1},
		{"a deletion", func(c *Client) error { return c.DeleteHost(t.Context(), 1) }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tries := 0
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				tries++
				w.WriteHeader(http.StatusServiceUnavailable)
			})
			if err := tt.call(c); StatusOf(err) != http.StatusServiceUnavailable || tries != tt.want {
				t.Errorf("%d tries, want %d: %v", tries, tt.want, err)
			}
		})
	}
}

func TestATryThatSucceedsIsTheAnswer(t *testing.T) {
	tries := 0
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if tries++; tries < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		writeJSON(w, 200, map[string]any{"count": 5})
	})
	if n, err := c.CountHosts(t.Context(), HostFilter{}); err != nil || n != 5 {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestErrorsCarryEveryReason(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, 422, apiv1.Error{Message: "Validation Failed", Errors: []apiv1.FieldError{{Name: "email", Reason: "bad"}, {Name: "base", Reason: "worse"}}})
	})
	_, err := c.Login(t.Context(), "a", "b")
	var e *Error
	if !errors.As(err, &e) || e.Status != 422 || len(e.Errors) != 2 || err.Error() != "email: bad; worse" {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerThatIsNotTheAPIsSaysSo(t *testing.T) {
	for _, status := range []int{200, 404} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<html>router</html>")
		})
		if _, err := c.Me(t.Context()); err == nil || !strings.Contains(err.Error(), "is the address that of a Muster server?") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestAListIsWalkedToItsEnd(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		page := r.URL.Query().Get("page")
		writeJSON(w, 200, map[string]any{"hosts": []map[string]any{{"hostname": "host" + page}}, "meta": map[string]any{"has_next_results": page != "2"}})
	})
	var names []string
	err := c.AllHosts(t.Context(), HostFilter{ConnectedToFleet: true}, func(h apiv1.Host) error {
		names = append(names, h.Hostname)
		return nil
	})
	if err != nil || strings.Join(names, " ") != "host0 host1 host2" {
		t.Errorf("got %v, %v", names, err)
	}
}

func TestUploadsAreForms(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			t.Error(err)
		}
		if len(r.MultipartForm.File["pkcs12"]) != 1 || len(r.MultipartForm.File["certificate"]) != 0 || r.FormValue("password") != "pw" || r.FormValue("force") != "true" {
			t.Errorf("got %+v", r.MultipartForm)
		}
		writeJSON(w, 202, map[string]any{"common_name": "APSP"})
	})
	out, err := c.UploadPushCertificate(t.Context(), PushUpload{PKCS12: []byte("x"), Password: "pw", Force: true})
	if err != nil || out.CommonName != "APSP" {
		t.Errorf("got %+v, %v", out, err)
	}
}

func TestTheTokenStaysWithItsServer(t *testing.T) {
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer stranger.Close()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, stranger.URL, http.StatusFound) })
	if _, err := c.Me(t.Context()); err == nil {
		t.Error("no error")
	}
}

func TestTLSIsCheckedUnlessToldNotTo(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, apiv1.Version{Version: "1"}) }))
	defer server.Close()
	server.Config.ErrorLog = nil
	for _, skip := range []bool{false, true} {
		c, err := New(Options{Address: server.URL, TLSSkipVerify: skip})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Version(t.Context())
		if skip != (err == nil) {
			t.Errorf("skip %v: %v", skip, err)
		}
		if !skip && (!errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "--rootca")) {
			t.Errorf("the error does not say what to do: %v", err)
		}
	}
}

func TestAddressesMustBeURLs(t *testing.T) {
	for _, address := range []string{"", "mdm.example.com", "ftp://x", "https://"} {
		if _, err := New(Options{Address: address}); err == nil {
			t.Errorf("%q is taken", address)
		}
	}
}

package httpx

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func serve(t *testing.T, o Options, handler http.HandlerFunc, r *http.Request) (*httptest.ResponseRecorder, map[string]any) {
	t.Helper()
	var out bytes.Buffer
	o.Logger = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	mux := http.NewServeMux()
	mux.HandleFunc("/api/things/{id}", handler)
	w := httptest.NewRecorder()
	Handler(mux, o).ServeHTTP(w, r)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	line := map[string]any{}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
		t.Fatalf("last line %q: %v", lines[len(lines)-1], err)
	}
	return w, line
}

func TestOneLineTellsTheRequestAndWhatHandlersAdded(t *testing.T) {
	r := httptest.NewRequest("POST", "/api/things/7?token=hunter2", nil)
	w, line := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		Add(r.Context(), slog.Int("host", 7))
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "hello")
	}, r)
	want := map[string]any{"msg": "request", "level": "INFO", "method": "POST", "route": "/api/things/{id}", "status": 202.0, "bytes": 5.0, "address": "192.0.2.1", "host": 7.0}
	for key, value := range want {
		if line[key] != value {
			t.Errorf("%s: got %v, want %v", key, line[key], value)
		}
	}
	if line["request_id"] != w.Header().Get("X-Request-Id") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers: %v", w.Header())
	}
	if text, _ := json.Marshal(line); strings.Contains(string(text), "hunter2") {
		t.Error("the query is logged")
	}
}

func TestLevelsOfTheLine(t *testing.T) {
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"a quiet request asks for debug", func(_ http.ResponseWriter, r *http.Request) { SetLevel(r.Context(), slog.LevelDebug) }, "DEBUG"},
		{"a failure is an error whatever was asked", func(w http.ResponseWriter, r *http.Request) {
			SetLevel(r.Context(), slog.LevelDebug)
			w.WriteHeader(http.StatusBadGateway)
		}, "ERROR"},
		{"a panic is an error", func(http.ResponseWriter, *http.Request) { panic("boom") }, "ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, line := serve(t, Options{}, tt.handler, httptest.NewRequest("GET", "/api/things/7", nil)); line["level"] != tt.want {
				t.Errorf("got %v", line)
			}
		})
	}
}

func TestAPanicAnswers500WithTheRequestsID(t *testing.T) {
	w, _ := serve(t, Options{}, func(http.ResponseWriter, *http.Request) { panic("secret detail") }, httptest.NewRequest("GET", "/api/things/7", nil))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") || !strings.Contains(w.Body.String(), w.Header().Get("X-Request-Id")) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestTheClientsAddress(t *testing.T) {
	proxies := Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}, ClientCertHeader: "X-Client-Cert"}
	for _, tt := range []struct {
		name      string
		peer      string
		forwarded []string
		want      string
		wantCert  string
	}{
		{"a stranger's header is not believed", "198.51.100.1:1", []string{"203.0.113.9"}, "198.51.100.1", ""},
		{"a trusted proxy's is", "10.0.0.1:1", []string{"203.0.113.9"}, "203.0.113.9", "cert"},
		{"what the client wrote left of it is not", "10.0.0.1:1", []string{"1.1.1.1, 203.0.113.9"}, "203.0.113.9", "cert"},
		{"a chain of our proxies is walked", "10.0.0.1:1", []string{"203.0.113.9, 10.2.2.2", "10.3.3.3"}, "203.0.113.9", "cert"},
		{"without the header the proxy itself stands", "10.0.0.1:1", nil, "10.0.0.1", "cert"},
		{"rubbish stops the walk", "10.0.0.1:1", []string{"203.0.113.9, unknown"}, "10.0.0.1", "cert"},
		{"IPv6 with a port", "[fd00::1]:443", []string{"[2001:db8::1]:999"}, "2001:db8::1", "cert"},
		{"IPv4 within IPv6", "[::ffff:10.0.0.1]:1", []string{"203.0.113.9"}, "203.0.113.9", "cert"},
		{"a Unix socket has no address", "@", []string{"203.0.113.9"}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = tt.peer
			r.Header["X-Forwarded-For"] = tt.forwarded
			r.Header.Set("X-Client-Cert", "cert")
			if got := proxies.admit(r); got != tt.want {
				t.Errorf("address: got %q, want %q", got, tt.want)
			}
			if got := r.Header.Get("X-Client-Cert"); got != tt.wantCert {
				t.Errorf("certificate header: got %q, want %q", got, tt.wantCert)
			}
		})
	}
}

func TestBodiesOverTheLimitAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name    string
		body    string
		chunked bool
		want    error
	}{
		{"a body at the limit is read", "12345678", false, nil},
		{"a chunked body at the limit is read", "12345678", true, nil},
		{"a larger one is refused by its length", "123456789", false, ErrBodyTooLarge},
		{"a larger chunked one is refused while it is read", "123456789", true, ErrBodyTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", strings.NewReader(tt.body))
			if tt.chunked {
				r.ContentLength = -1
			}
			data, err := ReadBody(httptest.NewRecorder(), r, 8)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil && string(data) != tt.body {
				t.Errorf("got %q", data)
			}
		})
	}
}

func BenchmarkHandler(b *testing.B) {
	logger := slog.New(slog.NewJSONHandler(io.Discard, nil))
	handler := Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }), Options{Logger: logger})
	r := httptest.NewRequest("PUT", "/mdm/apple/mdm", nil)
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(httptest.NewRecorder(), r)
	}
}

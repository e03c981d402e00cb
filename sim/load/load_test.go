package load_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"howett.net/plist"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/codec/scepmsg"
	"github.com/muster-mdm/muster/sim/load"
)

// server takes every device and trusts every signature.
type server struct {
	t    *testing.T
	url  string
	ca   *x509.Certificate
	key  *rsa.PrivateKey
	nag  bool // answer an Idle with a command nobody queued
	mu   sync.Mutex
	next int64
	todo map[string][][]byte // by UDID
	seen []string            // UDIDs that polled
}

func start(t *testing.T) *server {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, key: key, todo: map[string][][]byte{}}
	tmpl := template(1)
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	s.ca = s.sign(tmpl, tmpl, key.Public())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /enroll", s.profile)
	mux.HandleFunc("/scep", s.scep)
	mux.HandleFunc("PUT /mdm", s.mdm)
	mux.HandleFunc("POST /api/v1/fleet/commands/run", s.enqueue)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func template(serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "load"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

func (s *server) sign(tmpl, parent *x509.Certificate, pub any) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, s.key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

func (s *server) profile(w http.ResponseWriter, _ *http.Request) {
	b, err := plist.Marshal(map[string]any{
		"PayloadType": "Configuration", "PayloadIdentifier": "e", "PayloadUUID": "E", "PayloadVersion": 1,
		"PayloadContent": []any{
			map[string]any{
				"PayloadType": "com.apple.mdm", "PayloadIdentifier": "m", "PayloadUUID": "M", "PayloadVersion": 1,
				"IdentityCertificateUUID": "S", "Topic": "t", "ServerURL": s.url + "/mdm", "SignMessage": true,
			},
			map[string]any{
				"PayloadType": "com.apple.security.scep", "PayloadIdentifier": "s", "PayloadUUID": "S", "PayloadVersion": 1,
				"PayloadContent": map[string]any{"URL": s.url + "/scep", "Keysize": 2048},
			},
		},
	}, plist.XMLFormat)
	if err != nil {
		s.t.Error(err)
	}
	_, _ = w.Write(b)
}

func (s *server) scep(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Query().Get("operation") {
	case "GetCACaps":
		_, _ = io.WriteString(w, "POSTPKIOperation\nAES\n")
	case "GetCACert":
		w.Header().Set("Content-Type", "application/x-x509-ca-cert")
		_, _ = w.Write(s.ca.Raw)
	default:
		der, err := io.ReadAll(r.Body)
		if err != nil {
			s.t.Error(err)
		}
		req, err := scepmsg.Parse(der)
		if err == nil {
			err = req.Open(s.ca, s.key)
		}
		if err != nil {
			s.t.Error(err)
			return
		}
		s.mu.Lock()
		s.next++
		cert := s.sign(template(s.next+1), s.ca, req.CSR.PublicKey)
		s.mu.Unlock()
		reply, err := req.Succeed(cert, s.ca, s.key)
		if err != nil {
			s.t.Error(err)
		}
		_, _ = w.Write(reply)
	}
}

func (s *server) mdm(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	var m struct{ UDID, Status, CommandUUID, MessageType string }
	_, err = plist.Unmarshal(body, &m)
	if err != nil {
		s.t.Error(err)
	}
	if m.MessageType != "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.todo[m.UDID]
	if m.Status == "Idle" && !slices.Contains(s.seen, m.UDID) {
		s.seen = append(s.seen, m.UDID)
	}
	if m.CommandUUID != "" && len(queue) > 0 {
		queue = queue[1:]
		s.todo[m.UDID] = queue
	}
	if len(queue) > 0 {
		_, _ = w.Write(queue[0])
	}
	if s.nag && m.Status == "Idle" {
		_, _ = fmt.Fprint(w, `<plist version="1.0"><dict><key>CommandUUID</key><string>x</string><key>Command</key><dict><key>RequestType</key><string>SecurityInfo</string></dict></dict></plist>`)
	}
}

func (s *server) enqueue(w http.ResponseWriter, r *http.Request) {
	var req apiv1.RunCommandRequest
	err := json.NewDecoder(r.Body).Decode(&req)
	if err != nil || r.Header.Get("Authorization") != "Bearer token" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	raw, err := base64.StdEncoding.DecodeString(req.Command)
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range req.HostUUIDs {
		s.todo[id] = append(s.todo[id], raw)
	}
	_, _ = io.WriteString(w, `{}`)
}

func options(s *server, scenario load.Scenario) load.Options {
	return load.Options{
		Scenario: scenario, Server: s.url, ProfileURL: s.url + "/enroll", Token: "token",
		Devices: 12, Connections: 4, Rounds: 3, Keys: 2, Batch: 5, ServerPID: os.Getpid(),
	}
}

func TestEveryScenarioMeasuresAndChecks(t *testing.T) {
	for scenario, want := range map[load.Scenario]map[string]int{
		load.Idle:  {"idle polls": 36},
		load.Drain: {"enqueue": 15, "drain": 72},
		load.Storm: {"profiles and certificates": 48, "check-ins": 24},
	} {
		t.Run(string(scenario), func(t *testing.T) {
			report, err := load.Run(t.Context(), options(start(t), scenario))
			if err != nil {
				t.Fatal(err)
			}
			if report.Errors() != 0 || report.YardstickBefore <= 0 || len(report.Phases) != len(want) {
				t.Fatalf("%+v", report)
			}
			for _, p := range report.Phases {
				if p.Requests != want[p.Name] || p.Latency.Max <= 0 || p.ServerRSS <= 0 || p.PerSecond() <= 0 {
					t.Errorf("%+v", p)
				}
			}
			var b bytes.Buffer
			err = report.Write(&b)
			if err != nil || !strings.Contains(b.String(), "1 yd = ") {
				t.Fatalf("%s, %v", &b, err)
			}
		})
	}
}

func TestWrongAnswersAreCounted(t *testing.T) {
	s := start(t)
	o := options(s, load.Idle)
	o.Progress = func(stage string, _, _ int) {
		if stage == "poll" {
			s.mu.Lock()
			s.nag = true
			s.mu.Unlock()
		}
	}
	report, err := load.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if report.Errors() == 0 {
		t.Fatal("commands that nobody queued went unnoticed")
	}
}

func TestOptionsThatCannotRunAreRefused(t *testing.T) {
	for name, o := range map[string]load.Options{
		"no scenario":         {ProfileURL: "x"},
		"no profile":          {Scenario: load.Idle},
		"drain without token": {Scenario: load.Drain, ProfileURL: "x", Server: "x"},
	} {
		if _, err := load.Run(t.Context(), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A device that is handed another command than the one that was sent is
// noticed, and one whose server has work of its own is waited for.
func TestCommandsOfTheServerAreWaitedForAndForeignOnesCounted(t *testing.T) {
	own := []byte(`<plist version="1.0"><dict><key>CommandUUID</key><string>own</string><key>Command</key><dict><key>RequestType</key><string>SecurityInfo</string></dict></dict></plist>`)
	for settle, wrong := range map[time.Duration]bool{0: true, time.Second: false} {
		s := start(t)
		o := options(s, load.Drain)
		o.Settle = settle
		var once sync.Once
		o.Progress = func(stage string, done, total int) {
			if stage == "enroll" && done == total {
				once.Do(func() {
					s.mu.Lock()
					defer s.mu.Unlock()
					for _, udid := range s.seen {
						s.todo[udid] = append(s.todo[udid], own)
					}
				})
			}
		}
		report, err := load.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if (report.Errors() > 0) != wrong {
			t.Errorf("settle %v: %d errors: %+v", settle, report.Errors(), report.Phases)
		}
	}
}

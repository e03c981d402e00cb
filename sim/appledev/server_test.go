package appledev_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"howett.net/plist"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/codec/scepmsg"
	"github.com/muster-mdm/muster/sim/appledev"
)

// message is what a device sent and with which certificate.
type message struct {
	body   map[string]any
	signer string // hex of the certificate's serial
}

// kind is "Authenticate", "Idle", ...
func (m message) kind() string {
	if s, ok := m.body["MessageType"].(string); ok {
		return s
	}
	s, _ := m.body["Status"].(string)
	return s
}

// server is the least MDM server: SCEP, check-ins, a queue without persistence.
type server struct {
	t        *testing.T
	url      string
	ca       *x509.Certificate
	key      *rsa.PrivateKey
	verifier *cms.Verifier

	mu         sync.Mutex
	serial     int64
	challenges map[string]bool
	log        []message
	queue      []command // in front: in flight
	status     int       // answered instead of 200 when set, for results only
	bootstrap  []byte
	unlock     []byte // of the last TokenUpdate
	noUsers    bool
	onward     bool              // hand out another command after a NotNow
	refused    string            // that one does not come again
	ddm        map[string]string // endpoint to JSON, behind "user " for the user channel
	ddmFailing string            // the endpoint that is answered 500
	downloads  int               // of files
	files      map[string]file   // what /files serves
	extra      http.Handler      // serves /ade
}

// file is what a device may download.
type file struct {
	contentType string
	body        []byte
	signed      bool // only with a valid Mdm-Signature
}

type command struct {
	uuid string
	user bool // for the user channel
	body map[string]any
}

var caKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

var pool = sync.OnceValue(func() *appledev.KeyPool {
	p, err := appledev.NewKeyPool(3, 2048)
	if err != nil {
		panic(err)
	}
	return p
})

func start(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, key: caKey(), verifier: cms.NewVerifier(0), challenges: make(map[string]bool), serial: 1}
	s.ca = s.certificate(nil, s.key.Public())
	s.verifier.SetAuthorities([]*x509.Certificate{s.ca})
	mux := http.NewServeMux()
	mux.HandleFunc("/scep", s.scep)
	mux.HandleFunc("PUT /mdm", s.mdm)
	mux.HandleFunc("GET /files/{name}", s.file)
	mux.HandleFunc("/ade", func(w http.ResponseWriter, r *http.Request) { s.extra.ServeHTTP(w, r) })
	mux.HandleFunc("GET /enroll", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-apple-aspen-config")
		_, _ = w.Write(s.profile(nil))
	})
	mux.HandleFunc("GET /signed", func(w http.ResponseWriter, _ *http.Request) {
		der, err := cms.Sign(s.profile(nil), s.ca, nil, s.key)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(der)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *server) certificate(parent *x509.Certificate, pub any) *x509.Certificate {
	s.serial++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(s.serial), Subject: pkix.Name{CommonName: fmt.Sprintf("certificate %d", s.serial)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if parent == nil {
		tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage, parent = true, true, x509.KeyUsageCertSign, tmpl
	}
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

// profile is a fresh enrollment profile; change edits the MDM payload.
func (s *server) profile(change func(mdm map[string]any)) []byte {
	s.mu.Lock()
	challenge := fmt.Sprintf("challenge-%d", len(s.challenges))
	s.challenges[challenge] = true
	s.mu.Unlock()
	fingerprint := sha256.Sum256(s.ca.Raw)
	mdm := map[string]any{
		"PayloadType": "com.apple.mdm", "PayloadIdentifier": "test.mdm", "PayloadUUID": "MDM", "PayloadVersion": 1,
		"IdentityCertificateUUID": "SCEP", "Topic": topic, "ServerURL": s.url + "/mdm", "SignMessage": true,
		"AccessRights": 8191, "CheckOutWhenRemoved": true,
		"ServerCapabilities": []string{"com.apple.mdm.per-user-connections", "com.apple.mdm.bootstraptoken"},
	}
	if change != nil {
		change(mdm)
	}
	return encode(map[string]any{
		"PayloadType": "Configuration", "PayloadIdentifier": "test.enrollment", "PayloadUUID": challenge, "PayloadVersion": 1,
		"PayloadContent": []any{mdm, map[string]any{
			"PayloadType": "com.apple.security.scep", "PayloadIdentifier": "test.scep", "PayloadUUID": "SCEP", "PayloadVersion": 1,
			"PayloadContent": map[string]any{
				"URL": s.url + "/scep", "Name": "Test", "Challenge": challenge, "Keysize": 2048, "Key Type": "RSA",
				"CAFingerprint": fingerprint[:], "Subject": []any{[]any{[]any{"CN", "device"}}, []any{[]any{"2.5.4.10", "Test"}}},
			},
		}},
	})
}

const topic = "com.apple.mgmt.External.test"

func encode(v map[string]any) []byte {
	b, err := plist.Marshal(v, plist.XMLFormat)
	if err != nil {
		panic(err)
	}
	return b
}

func (s *server) scep(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Query().Get("operation") {
	case "GetCACaps":
		_, _ = io.WriteString(w, "POSTPKIOperation\nSHA-256\nAES\n")
	case "GetCACert":
		w.Header().Set("Content-Type", "application/x-x509-ca-cert")
		_, _ = w.Write(s.ca.Raw)
	case "PKIOperation":
		der, err := io.ReadAll(r.Body)
		if err != nil {
			s.t.Error(err)
		}
		_, _ = w.Write(s.issue(der))
	}
}

func (s *server) issue(der []byte) []byte {
	req, err := scepmsg.Parse(der)
	if err == nil {
		err = req.Open(s.ca, s.key)
	}
	if err != nil {
		s.t.Error(err)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var reply []byte
	if s.challenges[req.Challenge] {
		s.challenges[req.Challenge] = false
		reply, err = req.Succeed(s.certificate(s.ca, req.CSR.PublicKey), s.ca, s.key)
	} else {
		reply, err = req.Fail(scepmsg.BadRequest, s.ca, s.key)
	}
	if err != nil {
		s.t.Error(err)
	}
	return reply
}

func (s *server) mdm(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	cert, err := s.verifier.VerifyHeader(r.Header.Get("Mdm-Signature"), body)
	if err == nil {
		err = s.verifier.CheckIssued(cert)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m := message{body: map[string]any{}, signer: cert.X509().SerialNumber.Text(16)}
	_, err = plist.Unmarshal(body, &m.body)
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	checkIn := strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-apple-aspen-mdm-checkin")
	if _, is := m.body["MessageType"]; is != checkIn {
		s.t.Errorf("%s came as %s", m.kind(), r.Header.Get("Content-Type"))
	}
	s.log = append(s.log, m)
	if checkIn {
		s.checkIn(w, m)
		return
	}
	s.result(w, m)
}

func (s *server) checkIn(w http.ResponseWriter, m message) {
	switch m.kind() {
	case "SetBootstrapToken":
		s.bootstrap, _ = m.body["BootstrapToken"].([]byte)
	case "GetBootstrapToken":
		_, _ = w.Write(encode(map[string]any{"BootstrapToken": s.bootstrap}))
	case "TokenUpdate":
		s.unlock, _ = m.body["UnlockToken"].([]byte)
		if m.body["UserID"] != nil && s.noUsers {
			http.Error(w, "no users here", http.StatusGone)
		}
	case "DeclarativeManagement":
		endpoint, _ := m.body["Endpoint"].(string)
		if endpoint == s.ddmFailing {
			http.Error(w, "later", http.StatusInternalServerError)
			return
		}
		key := endpoint
		if m.body["UserID"] != nil {
			key = "user " + key
		}
		answer, ok := s.ddm[key]
		if !ok && endpoint != "status" {
			http.NotFound(w, nil)
			return
		}
		_, _ = io.WriteString(w, answer)
	}
}

func (s *server) file(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.downloads++
	f, ok := s.files[r.PathValue("name")]
	signature := r.Header.Get("Mdm-Signature")
	if f.signed != (signature != "") {
		http.Error(w, "signed or not", http.StatusForbidden)
		return
	}
	if f.signed {
		if _, err := s.verifier.VerifyHeader(signature, nil); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", f.contentType)
	_, _ = w.Write(f.body)
}

func (s *server) result(w http.ResponseWriter, m message) {
	id, _ := m.body["CommandUUID"].(string)
	if id != "" && s.status != 0 {
		http.Error(w, "later", s.status)
		return
	}
	if id != "" && m.kind() != "NotNow" {
		s.queue = slices.DeleteFunc(s.queue, func(c command) bool { return c.uuid == id })
	}
	if m.kind() == "NotNow" {
		if !s.onward {
			return
		}
		s.refused = id
	}
	for _, c := range s.queue {
		if c.uuid != s.refused && c.user == (m.body["UserID"] != nil) {
			_, _ = w.Write(encode(map[string]any{"CommandUUID": c.uuid, "Command": c.body}))
			return
		}
	}
}

// enqueue adds a command for the device channel and returns its UUID.
func (s *server) enqueue(requestType string, fields map[string]any) string {
	return s.enqueueOn(appledev.DeviceChannel, requestType, fields)
}

func (s *server) enqueueOn(c appledev.Channel, requestType string, fields map[string]any) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	body := map[string]any{"RequestType": requestType}
	for k, v := range fields {
		body[k] = v
	}
	id := fmt.Sprintf("command-%d-%d", len(s.log), len(s.queue))
	s.queue = append(s.queue, command{uuid: id, user: c == appledev.UserChannel, body: body})
	return id
}

// ask sends a command on a channel and returns the device's answer.
func (s *server) ask(t *testing.T, d *appledev.Device, c appledev.Channel, requestType string, fields map[string]any) map[string]any {
	t.Helper()
	s.take()
	id := s.enqueueOn(c, requestType, fields)
	if _, err := d.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range s.take() {
		if m.body["CommandUUID"] == id {
			return m.body
		}
	}
	t.Fatalf("%s was not answered", requestType)
	return nil
}

// kinds empties the log and returns what kinds of messages were in it.
func (s *server) kinds() []string {
	var out []string
	for _, m := range s.take() {
		kind := m.kind()
		if m.body["UserID"] != nil {
			kind = "user " + kind
		}
		out = append(out, kind)
	}
	return out
}

func (s *server) take() []message {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

// spec is a device of a family.
func spec(f appledev.Family) appledev.Spec {
	specs := appledev.NewSpecs(7, 50, appledev.Mix{})
	return specs[slices.IndexFunc(specs, func(s appledev.Spec) bool { return s.Model.Family == f })]
}

// device makes an enrolled device of a family.
func (s *server) device(t *testing.T, f appledev.Family, o appledev.Options) *appledev.Device {
	t.Helper()
	return s.deviceOf(t, spec(f), o)
}

func (s *server) deviceOf(t *testing.T, spec appledev.Spec, o appledev.Options) *appledev.Device {
	t.Helper()
	o.Keys = pool()
	d := appledev.New(spec, o)
	err := d.Enroll(t.Context(), s.url+"/enroll")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

package app_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/app"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/codec/scepmsg"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/sim/appleserver"
	"github.com/muster-mdm/muster/sim/scenario"
)

// running is a server on a loopback port.
type running struct {
	url  string
	http *http.Client
	stop context.CancelFunc
	done chan error
	once sync.Once
}

func start(t *testing.T, c config.Config) *running {
	t.Helper()
	return startOn(t, c, listen(t))
}

// listen takes a port of this machine.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func startOn(t *testing.T, c config.Config, l net.Listener) *running {
	t.Helper()
	a, err := app.New(t.Context(), app.Options{Config: c, Log: slog.New(slog.DiscardHandler), Listener: l})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{url: "http://" + l.Addr().String(), http: http.DefaultClient, stop: stop, done: make(chan error, 1)}
	if c.TLS.Mode == config.TLSFiles {
		r.url = "https://" + l.Addr().String()
	}
	go func() { r.done <- a.Run(ctx) }()
	t.Cleanup(func() { r.end(t) })
	return r
}

// end drains the server and waits for it, once.
func (r *running) end(t *testing.T) {
	t.Helper()
	r.once.Do(func() {
		r.stop()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
	})
}

func (r *running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// identity enrolls nothing: it gets a device certificate by SCEP, as an
// enrollment profile allows.
func (r *running) identity(t *testing.T) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	ctx := t.Context()
	push, err := appleserver.StartPush(ctx, appleserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = push.Close() }()
	c, err := client.New(client.Options{Address: r.url, Transport: r.http.Transport})
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Setup(ctx, apiv1.SetupRequest{Admin: apiv1.SetupAdmin{Email: "a@b.example", Name: "A", Password: "Test-password-1"}, ServerURL: r.url})
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(res.Token)
	cert, key, err := push.NewPushCertificate(scenario.Topic)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.UploadPushCertificate(ctx, client.PushUpload{Certificate: cert, PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	profile, err := c.EnrollmentProfile(ctx, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	return r.scep(t, challengeOf(t, profile))
}

func challengeOf(t *testing.T, profile []byte) string {
	t.Helper()
	v, err := plist.Read(profile)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range v.(map[string]any)["PayloadContent"].([]any) {
		if m := p.(map[string]any); m["PayloadType"] == "com.apple.security.scep" {
			return m["PayloadContent"].(map[string]any)["Challenge"].(string)
		}
	}
	t.Fatal("the profile has no SCEP payload")
	return ""
}

func (r *running) scep(t *testing.T, challenge string) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	_, der := r.get(t, "/mdm/apple/scep?operation=GetCACert")
	ca, err := x509.ParseCertificate([]byte(der))
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	self, err := scepmsg.SelfSigned(key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	csr, err := scepmsg.NewCSR(key, pkix.Name{CommonName: "device"}, challenge)
	if err != nil {
		t.Fatal(err)
	}
	pending, err := scepmsg.NewRequest(scepmsg.Enrollment{Type: scepmsg.PKCSReq, CSR: csr, Authorities: []*x509.Certificate{ca}, Signer: self, SignerKey: key})
	if err != nil {
		t.Fatal(err)
	}
	status, body := r.post(t, "/mdm/apple/scep?operation=PKIOperation", "application/x-pki-message", pending.DER, nil)
	reply, err := pending.ParseReply([]byte(body))
	if err != nil || status != http.StatusOK {
		t.Fatal(status, err)
	}
	return key, reply.Certificate
}

func (r *running) post(t *testing.T, path, kind string, body []byte, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", kind)
	res, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

const checkinType = "application/x-apple-aspen-mdm-checkin"

func message(fields string) []byte {
	return []byte(`<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict><key>UDID</key><string>UDID-1</string>` + fields + `</dict></plist>`)
}

var authenticate = message(`<key>MessageType</key><string>Authenticate</string><key>Topic</key><string>` + scenario.Topic +
	`</string><key>SerialNumber</key><string>C02TEST00001</string><key>Model</key><string>Mac15,3</string>`)

var idle = message(`<key>Status</key><string>Idle</string>`)

func TestADeviceMayProveItselfByItsTLSCertificate(t *testing.T) {
	dir := t.TempDir()
	roots := writeServerCertificate(t, dir)
	c := config.Config{DataDir: dir}.WithDefaults()
	c.TLS = config.TLS{Mode: config.TLSFiles, CertFile: filepath.Join(dir, "tls.pem"), KeyFile: filepath.Join(dir, "tls.key")}
	r := start(t, c)
	r.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	key, cert := r.identity(t)
	if status, body := r.post(t, "/mdm/apple/mdm", checkinType, authenticate, nil); status != http.StatusBadRequest {
		t.Fatalf("without a certificate: %d %s", status, body)
	}
	r.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}}}
	if status, body := r.post(t, "/mdm/apple/mdm", checkinType, authenticate, nil); status != http.StatusOK {
		t.Fatalf("Authenticate: %d %s", status, body)
	}
	if status, body := r.post(t, "/mdm/apple/mdm", "", idle, nil); status != http.StatusOK || body != "" {
		t.Fatalf("Idle: %d %s", status, body)
	}
}

// writeServerCertificate makes a certificate for loopback and returns what
// trusts it.
func writeServerCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.pem": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}

func TestACertificateHeaderCountsOnlyFromATrustedProxy(t *testing.T) {
	for name, test := range map[string]struct {
		trusted []netip.Prefix
		want    int
	}{
		"loopback is trusted":     {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, http.StatusOK},
		"another network is":      {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, http.StatusBadRequest},
		"nobody is, as it starts": {nil, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			c := config.Config{DataDir: t.TempDir()}.WithDefaults()
			c.Proxy = config.Proxy{Trusted: test.trusted, ClientCertHeader: "Client-Cert"}
			r := start(t, c)
			_, cert := r.identity(t)
			header := http.Header{"Client-Cert": {":" + base64.StdEncoding.EncodeToString(cert.Raw) + ":"}}
			if status, body := r.post(t, "/mdm/apple/mdm", checkinType, authenticate, header); status != test.want {
				t.Fatalf("%d %s", status, body)
			}
		})
	}
}

func TestADatabaseServerWithoutAKeyIsRefused(t *testing.T) {
	c := config.Config{DataDir: t.TempDir()}.WithDefaults()
	c.Database.URL = "postgres://nobody@127.0.0.1:1/none"
	_, err := app.New(t.Context(), app.Options{Config: c, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "MUSTER_PRIVATE_KEY") {
		t.Fatalf("err = %v", err)
	}
}

func TestAWrongKeyIsNoticedAtTheStart(t *testing.T) {
	c := config.Config{DataDir: t.TempDir()}.WithDefaults()
	a, err := app.New(t.Context(), app.Options{Config: c, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.KeyFile()); err != nil {
		t.Fatal(err)
	}
	if _, err := app.New(t.Context(), app.Options{Config: c, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "private_keys_old") {
		t.Fatalf("err = %v", err)
	}
}

func TestAServerDrainsBeforeItStops(t *testing.T) {
	r := start(t, config.Config{DataDir: t.TempDir()}.WithDefaults())
	for _, path := range []string{"/healthz", "/readyz", "/version", "/metrics"} {
		if status, body := r.get(t, path); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	// A request whose body is still on its way when the stop comes is answered.
	reader, writer := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/api/v1/fleet/login", reader)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	// The body starts when the server asks for it: the request is under way.
	req.Header.Set("Expect", "100-continue")
	patient := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	answered := make(chan error, 1)
	go func() {
		res, err := patient.Do(req)
		if err == nil {
			err = res.Body.Close()
			if res.StatusCode != http.StatusNotFound { // setup comes first
				err = errors.Join(err, errors.New(res.Status))
			}
		}
		answered <- err
	}()
	if _, err := writer.Write([]byte(`{"email":"a@b.example",`)); err != nil {
		t.Fatal(err)
	}
	r.stop()
	if _, err := writer.Write([]byte(`"password":"wrong"}`)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	r.done <- nil // for the clean-up
}

func TestMetricsAskForTheirToken(t *testing.T) {
	c := config.Config{DataDir: t.TempDir()}.WithDefaults()
	c.Metrics.Token = "sesame"
	r := start(t, c)
	if status, _ := r.get(t, "/metrics"); status != http.StatusForbidden {
		t.Errorf("without the token: %d", status)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer sesame")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || !strings.Contains(string(body), "muster_http_requests_total") ||
		!strings.Contains(string(body), `muster_expiry_timestamp_seconds{kind="certificate_authority"`) || !strings.Contains(string(body), "muster_identities_expiring 0") {
		t.Errorf("with the token: %d", res.StatusCode)
	}
}

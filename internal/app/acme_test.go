package app_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pebbleca "github.com/letsencrypt/pebble/v2/ca"
	pebbledb "github.com/letsencrypt/pebble/v2/db"
	pebbleva "github.com/letsencrypt/pebble/v2/va"
	pebblewfe "github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"github.com/muster-mdm/muster/internal/app"
	"github.com/muster-mdm/muster/internal/config"
)

const acmeDomain = "mdm.muster.example"

// acmeAuthority is Let's Encrypt's test authority, which looks for the server
// at a port of this machine, whatever the name.
type acmeAuthority struct {
	*httptest.Server
	roots  *x509.CertPool
	orders atomic.Int64
}

func startACME(t *testing.T, serverPort int) *acmeAuthority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0") // else some requests are sent again, and counted twice
	quiet, db := slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), pebbledb.NewMemoryStore()
	ca := pebbleca.New(quiet, db, "", "ecdsa", 0, 1, map[string]pebbleca.Profile{"default": {Description: "of the test"}})
	va := pebbleva.New(quiet, 0, serverPort, false, resolver(t), db)
	wfe := pebblewfe.New(quiet, db, va, ca, nil, false, false, 1, 1)
	handler := wfe.Handler()
	a := &acmeAuthority{roots: x509.NewCertPool()}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "order-plz") {
			a.orders.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(a.Close)
	if !a.roots.AppendCertsFromPEM(ca.GetRootCert(0).PEM()) {
		t.Fatal("the authority has no root")
	}
	return a
}

// resolver is a DNS server that knows every name as this machine.
func resolver(t *testing.T) string {
	t.Helper()
	l := listen(t)
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)})
		}
		_ = w.WriteMsg(m) // the asker went
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.ActivateAndServe(); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		if err := s.ShutdownContext(context.Background()); err != nil {
			t.Error(err)
		}
		<-done
	})
	return l.Addr().String()
}

func TestACertificateComesFromAnACMEAuthority(t *testing.T) {
	l := listen(t)
	authority := startACME(t, l.Addr().(*net.TCPAddr).Port)
	dir := t.TempDir()
	root := filepath.Join(dir, "root.pem")
	if err := os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config.Config{DataDir: dir, TLS: config.TLS{Mode: config.TLSACME, ACMEDomains: []string{acmeDomain},
		ACMEDirectoryURL: authority.URL + "/dir", ACMERootCAFile: root, ACMEEmail: "ops@muster.example"}}.WithDefaults()

	// answer asks as a client that goes by the authority's roots.
	answer := func(addr, name string) (*http.Response, error) {
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{RootCAs: authority.roots, ServerName: name, MinVersion: tls.VersionTLS12}}}
		defer client.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+"/healthz", http.NoBody)
		if err != nil {
			return nil, err
		}
		res, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		return res, res.Body.Close()
	}

	first := startOn(t, c, l)
	res, err := answer(l.Addr().String(), acmeDomain)
	if err != nil || res.StatusCode != http.StatusOK || res.ProtoMajor != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	if _, err := answer(l.Addr().String(), "other.muster.example"); err == nil {
		t.Error("a name that is not configured got a certificate")
	}
	if n := authority.orders.Load(); n != 1 {
		t.Errorf("%d orders for one certificate", n)
	}
	first.end(t)

	// It is kept: the next start needs no authority.
	authority.Close()
	again := listen(t)
	startOn(t, c, again)
	if res, err := answer(again.Addr().String(), acmeDomain); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("after a start without the authority: %+v, %v", res, err)
	}
}

func TestARootFileThatIsNoneStopsTheStart(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "root.pem")
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config.Config{DataDir: dir, TLS: config.TLS{Mode: config.TLSACME, ACMEDomains: []string{acmeDomain}, ACMERootCAFile: file}}.WithDefaults()
	a, err := app.New(t.Context(), app.Options{Config: c, Log: slog.New(slog.DiscardHandler), Listener: listen(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "tls.acme_root_ca_file") || !strings.Contains(err.Error(), file) {
		t.Errorf("it says %v", err)
	}
}

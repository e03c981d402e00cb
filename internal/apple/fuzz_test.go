package apple

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

// FuzzProxyHeader: whatever a proxy hands over is a certificate or an error.
func FuzzProxyHeader(f *testing.F) {
	cert := newAuthority(f, "CA").cert
	pem := string(pemOf(cert))
	for _, seed := range []string{"", ":", "::", ":AAAA:", "%", "%zz", "nonsense", "-----BEGIN CERTIFICATE-----", url.QueryEscape(pem), pem, url.QueryEscape(pem + pem),
		":" + base64.StdEncoding.EncodeToString(cert.Raw) + ":", url.QueryEscape(strings.ReplaceAll(pem, "CERTIFICATE", "RSA PRIVATE KEY"))} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, err := parseProxyHeader(value)
		if (got == nil) != (err != nil) {
			t.Errorf("%v, %v", got, err)
		}
		if got != nil && len(got.Raw) == 0 {
			t.Error("a certificate without bytes")
		}
	})
}

// memory stands for the store: databases work in the background, which a
// fuzzer takes for news.
type memory struct{ sha256 [32]byte }

func (m memory) Caller(_ context.Context, sha [32]byte, key string) (fleet.Caller, error) {
	if sha != m.sha256 {
		return fleet.Caller{}, nil
	}
	c := fleet.Caller{Identity: fleet.Identity{ID: 1, EnrollmentID: 1, EnrollmentKey: "A"}, CommandsPending: true}
	if key == "A" {
		c.Enrollment = fleet.Enrollment{ID: 1, HostID: 1}
	}
	return c, nil
}

func (memory) Exchange(_ context.Context, _ fleet.EnrollmentID, r *fleet.CommandReport, _ fleet.CommandPurpose,
	decide func(fleet.CommandTarget) fleet.ReportOutcome) (*fleet.NextCommand, error) {
	if r != nil {
		decide(fleet.CommandTarget{})
	}
	return &fleet.NextCommand{UUID: "x", Body: []byte("<plist/>")}, nil
}

func (memory) Note(fleet.HostID) {}

// FuzzServeHTTP: whatever arrives, the endpoint does not fall over and never
// answers 401. A known device's certificate, by TLS, leads past the signature.
func FuzzServeHTTP(f *testing.F) {
	ca := newAuthority(f, "Device CA")
	s := ca.device(f)
	verifier := cms.NewVerifier(0)
	verifier.SetAuthorities([]*x509.Certificate{ca.cert})
	m := memory{sha256.Sum256(s.cert.Raw)}
	decide := func(fleet.CommandTarget, fleet.CommandReport, plist.Dict) fleet.ReportOutcome {
		return fleet.ReportOutcome{}
	}
	verbs := &lifecycle{}
	h := New(Options{Core: NewService(verbs, m, decide, noDeclarations(), nil, nil, time.Now), Callers: m, Seen: m, Verifier: verifier,
		CertHeader: proxyHeader, MaxBody: 1 << 16, Clock: time.Now})
	for _, body := range [][]byte{report("Idle", "A"), report("Error", "A", "CommandUUID", "x"), authenticate("A"), tokenUpdate("A"),
		tokenUpdate("A", "UserID", "u"), checkin("DeclarativeManagement", "A", "Endpoint", "tokens"), checkin("GetToken", "A"), checkin("UserAuthenticate", "A"),
		checkin("SetBootstrapToken", "A", "BootstrapToken", "eA=="), checkin("GetBootstrapToken", "A"), checkin("ReturnToService", "A"), checkin("CheckOut", "B"), nil, []byte("bplist00")} {
		f.Add(body, s.header(f, body), checkinType, "", http.MethodPut, false)
		f.Add(body, "", "application/xml", ":AAAA:", http.MethodPost, true)
		f.Add(body, "", checkinType, "", http.MethodPut, true)
	}
	f.Fuzz(func(t *testing.T, body []byte, signature, contentType, proxied, method string, known bool) {
		r := httptest.NewRequest(http.MethodPut, "/mdm/apple/mdm", bytes.NewReader(body))
		r.Method = method
		if known {
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{s.cert}}
		}
		for name, value := range map[string]string{signatureHeader: signature, "Content-Type": contentType, proxyHeader: proxied} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusUnauthorized || w.Code >= http.StatusInternalServerError {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		verbs.take()
	})
}

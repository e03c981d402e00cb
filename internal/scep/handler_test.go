package scep_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/codec/scepmsg"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/scep"
)

// authority issues to whoever knows the challenge.
type authority struct {
	cert   *x509.Certificate
	key    crypto.PrivateKey
	err    error // of CertificateAuthority
	refuse error // of Issue
	last   fleet.CertificateRequest
}

func (a *authority) CertificateAuthority(context.Context) (*x509.Certificate, crypto.PrivateKey, error) {
	return a.cert, a.key, a.err
}

func (a *authority) Issue(_ context.Context, req fleet.CertificateRequest) (*x509.Certificate, error) {
	a.last = req
	if a.refuse != nil {
		return nil, a.refuse
	}
	if req.Challenge != "s3cret" {
		return nil, fleet.Errorf(fleet.KindForbidden, "challenge is wrong")
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(99), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, req.CSR.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

var keys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var out [2]*rsa.PrivateKey
	for i := range out {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		out[i] = key
	}
	return out
})

// bench is a running endpoint and what its log says.
type bench struct {
	auth *authority
	url  string
	log  *bytes.Buffer
}

func start(t testing.TB) bench {
	t.Helper()
	key := keys()[0]
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "SCEP CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	b := bench{auth: &authority{cert: cert, key: key}, log: &bytes.Buffer{}}
	server := httptest.NewServer(scep.New(b.auth, slog.New(slog.NewTextHandler(b.log, nil)), time.Now))
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

func (b bench) request(t testing.TB, challenge string) *scepmsg.Pending {
	t.Helper()
	key := keys()[1]
	csr, err := scepmsg.NewCSR(key, pkix.Name{CommonName: "whatever"}, challenge)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := scepmsg.SelfSigned(key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := scepmsg.NewRequest(scepmsg.Enrollment{CSR: csr, Signer: signer, SignerKey: key, Authorities: []*x509.Certificate{b.auth.cert}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (b bench) do(t *testing.T, method, query string, body []byte) (int, string, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.url+"/?"+query, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), data
}

func TestCapabilitiesAndCertificateAreServed(t *testing.T) {
	b := start(t)
	status, kind, body := b.do(t, http.MethodGet, "operation=GetCACaps", nil)
	if status != http.StatusOK || kind != "text/plain" {
		t.Fatalf("%d %s", status, kind)
	}
	want := []string{"POSTPKIOperation", "SHA-256", "SHA-512", "AES", "SCEPStandard", "Renewal", "DES3"}
	if got := strings.Fields(string(body)); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Fatalf("capabilities %q", got)
	}
	status, kind, body = b.do(t, http.MethodGet, "operation=GetCACert&message=anything", nil)
	if status != http.StatusOK || kind != "application/x-x509-ca-cert" || !bytes.Equal(body, b.auth.cert.Raw) {
		t.Fatalf("%d %s", status, kind)
	}
}

func TestEveryWayOfSendingAMessageEnrolls(t *testing.T) {
	b := start(t)
	for name, send := range map[string]func(der []byte) (string, string, []byte){
		"POST": func(der []byte) (string, string, []byte) { return http.MethodPost, "", der },
		"GET": func(der []byte) (string, string, []byte) {
			return http.MethodGet, "&message=" + url.QueryEscape(base64.StdEncoding.EncodeToString(der)), nil
		},
		"GET with plus signs left as they are": func(der []byte) (string, string, []byte) {
			return http.MethodGet, "&message=" + base64.StdEncoding.EncodeToString(der), nil
		},
		"POST that repeats the message in the query": func(der []byte) (string, string, []byte) {
			return http.MethodPost, "&message=" + url.QueryEscape(base64.StdEncoding.EncodeToString(der)), der
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.request(t, "s3cret")
			method, query, body := send(p.DER)
			status, kind, answer := b.do(t, method, "operation=PKIOperation"+query, body)
			if status != http.StatusOK || kind != "application/x-pki-message" {
				t.Fatalf("%d %s %s", status, kind, answer)
			}
			reply, err := p.ParseReply(answer)
			if err != nil || reply.Status != scepmsg.StatusSuccess {
				t.Fatalf("%+v, %v", reply, err)
			}
		})
	}
}

func TestRefusalsAreCertReps(t *testing.T) {
	for name, c := range map[string]struct {
		refuse error
		want   scepmsg.FailInfo
	}{
		"a wrong challenge":      {nil, scepmsg.BadRequest},
		"forbidden":              {fleet.Errorf(fleet.KindForbidden, "used"), scepmsg.BadRequest},
		"an unknown certificate": {fleet.Errorf(fleet.KindNotFound, "unknown"), scepmsg.BadCertID},
		"an unsupported key":     {fleet.Errorf(fleet.KindUnsupported, "key"), scepmsg.BadAlg},
		"a fault inside":         {errors.New("disk on fire"), scepmsg.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			b.auth.refuse = c.refuse
			p := b.request(t, "wr0ng-challenge")
			status, _, answer := b.do(t, http.MethodPost, "operation=PKIOperation", p.DER)
			reply, err := p.ParseReply(answer)
			if status != http.StatusOK || err != nil || reply.Status != scepmsg.StatusFailure || reply.FailInfo != c.want {
				t.Fatalf("%d %+v, %v", status, reply, err)
			}
			if !strings.Contains(b.log.String(), "refused") || strings.Contains(b.log.String(), "wr0ng") {
				t.Fatalf("log: %s", b.log)
			}
		})
	}
}

func TestWhatCannotBeAnsweredIsAnHTTPError(t *testing.T) {
	b := start(t)
	good := b.request(t, "s3cret").DER
	for name, c := range map[string]struct {
		method, query string
		body          []byte
		want          int
	}{
		"no operation":         {http.MethodGet, "", nil, http.StatusBadRequest},
		"an unknown operation": {http.MethodGet, "operation=GetNextCACert", nil, http.StatusBadRequest},
		"PUT":                  {http.MethodPut, "operation=PKIOperation", good, http.StatusMethodNotAllowed},
		"rubbish":              {http.MethodPost, "operation=PKIOperation", []byte("hello"), http.StatusBadRequest},
		"half a message":       {http.MethodPost, "operation=PKIOperation", good[:900], http.StatusBadRequest},
		"not base64":           {http.MethodGet, "operation=PKIOperation&message=%25", nil, http.StatusBadRequest},
		"no message":           {http.MethodGet, "operation=PKIOperation", nil, http.StatusBadRequest},
		"a huge message":       {http.MethodPost, "operation=PKIOperation", make([]byte, scepmsg.MaxMessage+1), http.StatusRequestEntityTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if status, _, _ := b.do(t, c.method, c.query, c.body); status != c.want {
				t.Fatalf("got %d, want %d", status, c.want)
			}
		})
	}
	b.auth.err = errors.New("locked")
	for _, query := range []string{"operation=GetCACert", "operation=PKIOperation"} {
		if status, _, _ := b.do(t, http.MethodPost, query, good); status != http.StatusInternalServerError {
			t.Fatalf("without an authority: %d", status)
		}
	}
}

func FuzzPKIOperation(f *testing.F) {
	b := start(f)
	handler := scep.New(b.auth, slog.New(slog.DiscardHandler), time.Now)
	f.Add(b.request(f, "s3cret").DER)
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/?operation=PKIOperation", bytes.NewReader(der)))
		if rec.Code == http.StatusInternalServerError {
			t.Fatalf("500: %s", rec.Body)
		}
	})
}

func TestAStrangerWhoIsRefusedTooOftenHasToWait(t *testing.T) {
	b := start(t)
	p := b.request(t, "wr0ng-challenge")
	refused := 0
	for range 1000 {
		status, _, answer := b.do(t, http.MethodPost, "operation=PKIOperation", p.DER)
		if status == http.StatusTooManyRequests {
			if !strings.Contains(string(answer), "try again later") {
				t.Errorf("it is not told what to do: %s", answer)
			}
			break
		}
		refused++
	}
	if refused < 100 || refused == 1000 {
		t.Fatalf("throttled after %d refusals", refused)
	}
}

package appleserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/muster-mdm/muster/sim/appleserver"
)

const topic = "com.apple.mgmt.External.00000000-0000-4000-8000-000000000001"

var token = bytes.Repeat([]byte{0xab}, 32)

func start(t *testing.T) *appleserver.Push {
	t.Helper()
	p, err := appleserver.StartPush(t.Context(), appleserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// client is an HTTP/2 client that presents a push certificate.
func client(t *testing.T, p, issuer *appleserver.Push, forTopic string) *http.Client {
	t.Helper()
	cert, key, err := issuer.NewPushCertificate(forTopic)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.RootPEM())
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
		RootCAs: roots, MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

type answer struct {
	status    int
	reason    string
	timestamp int64
	proto     int
}

func push(t *testing.T, c *http.Client, p *appleserver.Push, path, body string, header map[string]string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL()+path, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, proto: resp.ProtoMajor}
	if resp.StatusCode != http.StatusOK {
		var parsed struct {
			Reason    string
			Timestamp int64
		}
		err = json.Unmarshal(data, &parsed)
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		a.reason, a.timestamp = parsed.Reason, parsed.Timestamp
	}
	if resp.Header.Get("apns-id") == "" {
		t.Fatal("no apns-id")
	}
	return a
}

func devicePath(token []byte) string { return "/3/device/" + hex.EncodeToString(token) }

const goodBody = `{"mdm":"magic-1"}`

func wait(t *testing.T, wake <-chan struct{}) {
	t.Helper()
	select {
	case <-wake:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was woken")
	}
}

func TestANotificationWakesTheDeviceOnce(t *testing.T) {
	p := start(t)
	c := client(t, p, p, topic)
	wake, cancel := p.Subscribe(token, topic)
	defer cancel()
	for range 3 {
		a := push(t, c, p, devicePath(token), goodBody, map[string]string{"apns-topic": topic, "apns-push-type": "mdm"})
		if a.status != http.StatusOK || a.proto != 2 {
			t.Fatalf("%+v", a)
		}
	}
	wait(t, wake)
	select {
	case <-wake:
		t.Fatal("three notifications did not coalesce")
	default:
	}
	records := p.Records()
	if len(records) != 3 || records[0].PushMagic != "magic-1" || records[0].Coalesced || !records[2].Coalesced || p.Accepted() != 3 {
		t.Fatalf("%+v", records)
	}
}

func TestADeviceThatWasAwayGetsTheLastNotification(t *testing.T) {
	p := start(t)
	c := client(t, p, p, topic)
	push(t, c, p, devicePath(token), goodBody, nil)
	push(t, c, p, devicePath(token), goodBody, nil)
	wake, cancel := p.Subscribe(token, topic)
	defer cancel()
	wait(t, wake)
	again, cancelAgain := p.Subscribe(token, topic)
	defer cancelAgain()
	select {
	case <-again:
		t.Fatal("held twice")
	default:
	}
}

func TestWhatAppleRefusesIsRefusedInItsWords(t *testing.T) {
	p, stranger := start(t), start(t)
	good := client(t, p, p, topic)
	for name, c := range map[string]struct {
		client *http.Client
		path   string
		body   string
		header map[string]string
		status int
		reason string
	}{
		"a foreign certificate":  {client(t, p, stranger, topic), devicePath(token), goodBody, nil, 403, "BadCertificate"},
		"another topic":          {good, devicePath(token), goodBody, map[string]string{"apns-topic": "com.example"}, 403, "TopicDisallowed"},
		"an alert":               {good, devicePath(token), goodBody, map[string]string{"apns-push-type": "alert"}, 400, "InvalidPushType"},
		"a token that is no hex": {good, "/3/device/xyz", goodBody, nil, 400, "BadDeviceToken"},
		"no magic":               {good, devicePath(token), `{}`, nil, 400, "PayloadEmpty"},
		"an aps beside it":       {good, devicePath(token), `{"mdm":"m","aps":"x"}`, nil, 400, "PayloadEmpty"},
		"a huge body":            {good, devicePath(token), string(make([]byte, 5000)), nil, 413, "PayloadTooLarge"},
		"another path":           {good, "/4/x", goodBody, nil, 404, "BadPath"},
	} {
		t.Run(name, func(t *testing.T) {
			a := push(t, c.client, p, c.path, c.body, c.header)
			if a.status != c.status || a.reason != c.reason {
				t.Fatalf("%+v", a)
			}
		})
	}
}

func TestPlannedFaultsComeInTheirNumber(t *testing.T) {
	p := start(t)
	c := client(t, p, p, topic)
	died := time.UnixMilli(1_700_000_000_000)
	p.FailToken(token, appleserver.Unregistered(died))
	if a := push(t, c, p, devicePath(token), goodBody, nil); a.status != 410 || a.reason != "Unregistered" || a.timestamp != died.UnixMilli() {
		t.Fatalf("%+v", a)
	}
	p.FailToken(token, appleserver.Fault{})
	for _, f := range []appleserver.Fault{
		appleserver.BadDeviceToken(), appleserver.BadCertificate(), appleserver.TooManyRequests(time.Second),
		appleserver.InternalServerError(), appleserver.Shutdown(), appleserver.GoAway(), appleserver.Latency(time.Millisecond),
	} {
		p.Fail(f, 1)
		want := f.Status
		if want == 0 {
			want = http.StatusOK
		}
		if a := push(t, c, p, devicePath(token), goodBody, nil); a.status != want || a.reason != f.Reason {
			t.Fatalf("%+v: %+v", f, a)
		}
		if a := push(t, c, p, devicePath(token), goodBody, nil); a.status != http.StatusOK {
			t.Fatalf("after %+v: %+v", f, a)
		}
	}
}

func TestASimulatorInAnotherProcessIsWoken(t *testing.T) {
	p := start(t)
	c := client(t, p, p, topic)
	w := appleserver.Dial(context.Background(), p.WakeURL(), slog.New(slog.DiscardHandler))
	defer w.Close()
	wake, cancel := w.Subscribe(token, topic)
	defer cancel()
	// The connection greets with a wake; from then on notifications count.
	wait(t, wake)
	for range 3 {
		push(t, c, p, devicePath(token), goodBody, nil)
		wait(t, wake)
	}
	other := bytes.Repeat([]byte{0xcd}, 32)
	push(t, c, p, devicePath(other), goodBody, nil)
	late, cancelLate := w.Subscribe(other, topic)
	defer cancelLate()
	wait(t, late)
}

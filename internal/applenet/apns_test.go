package applenet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/sim/appleserver"
)

func TestMain(m *testing.M) {
	if os.Getenv(apart) != "" {
		if err := servePushes(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

const topic = "com.apple.mgmt.External.5a17d2b0-0000-4000-8000-000000000001"

// pair is a push certificate that a test replaces.
type pair struct {
	mu      sync.Mutex
	cert    tls.Certificate
	topic   string
	version int64
	reads   int
	err     error
}

func (p *pair) KeyPair(context.Context) (tls.Certificate, *fleet.PushCertificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads++
	return p.cert, &fleet.PushCertificate{Topic: p.topic, Version: p.version}, p.err
}

func (p *pair) Version(context.Context) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version, nil
}

// set puts another certificate of the service in place.
func (p *pair) set(t *testing.T, push *appleserver.Push, topic string) {
	t.Helper()
	certPEM, keyPEM, err := push.NewPushCertificate(topic)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cert, p.topic, p.version = cert, topic, p.version+1
}

// bench is a sender and a push service.
type bench struct {
	*APNs
	t     *testing.T
	push  *appleserver.Push
	creds *pair
}

func newBench(t *testing.T, workers int) *bench {
	t.Helper()
	push, err := appleserver.StartPush(context.Background(), appleserver.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, push: push, creds: &pair{}}
	b.creds.set(t, push, topic)
	b.APNs = NewAPNs(push.URL(), roots(t, push), workers, b.creds, time.Now)
	t.Cleanup(func() {
		b.Close()
		if err := push.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func roots(t *testing.T, push *appleserver.Push) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(push.RootPEM()) {
		t.Fatal("no root")
	}
	return pool
}

func targets(n int) []fleet.PushTarget {
	list := make([]fleet.PushTarget, n)
	for i := range list {
		list[i] = fleet.PushTarget{EnrollmentID: fleet.EnrollmentID(i + 1), Topic: topic, Magic: fmt.Sprint("magic-", i), Token: fmt.Appendf(nil, "secret-token-%06d", i)}
	}
	return list
}

// send pushes and checks that no reason names a token.
func (b *bench) send(list []fleet.PushTarget) []fleet.PushResult {
	b.t.Helper()
	results := b.Send(context.Background(), list)
	if len(results) != len(list) {
		b.t.Fatalf("%d results for %d targets", len(results), len(list))
	}
	for i, r := range results {
		for _, form := range []string{string(list[i].Token), hex.EncodeToString(list[i].Token), base64.StdEncoding.EncodeToString(list[i].Token), list[i].Magic} {
			if strings.Contains(r.Reason, form) {
				b.t.Errorf("the reason names a secret: %s", r.Reason)
			}
		}
	}
	return results
}

func TestEachAnswerOfAPNsIsUnderstood(t *testing.T) {
	died := time.Date(2026, 3, 4, 5, 6, 7, 8_000_000, time.UTC)
	for _, c := range []struct {
		name  string
		fault appleserver.Fault
		want  fleet.PushResult
	}{
		{"a success", appleserver.Fault{}, fleet.PushResult{OK: true}},
		{"a success with GOAWAY", appleserver.GoAway(), fleet.PushResult{OK: true}},
		{"a token that died", appleserver.Unregistered(died), fleet.PushResult{Dead: true, DeadAt: died, Reason: "Unregistered"}},
		{"a bad token", appleserver.BadDeviceToken(), fleet.PushResult{Dead: true, Reason: "BadDeviceToken"}},
		{"a token for another topic", appleserver.Fault{Status: 400, Reason: "DeviceTokenNotForTopic"}, fleet.PushResult{Dead: true, Reason: "DeviceTokenNotForTopic"}},
		{"a fault of ours", appleserver.Fault{Status: 400, Reason: "BadExpirationDate"}, fleet.PushResult{Reason: "BadExpirationDate"}},
		{"a bad certificate", appleserver.BadCertificate(), fleet.PushResult{Stop: true, Reason: "BadCertificate"}},
		{"a certificate for elsewhere", appleserver.Fault{Status: 403, Reason: "BadCertificateEnvironment"}, fleet.PushResult{Stop: true, Reason: "BadCertificateEnvironment"}},
		{"too many for one token", appleserver.TooManyRequests(time.Second), fleet.PushResult{Reason: "TooManyRequests"}},
		{"a fault of Apple's", appleserver.InternalServerError(), fleet.PushResult{Reason: "InternalServerError"}},
		{"an outage with GOAWAY", appleserver.Shutdown(), fleet.PushResult{Reason: "Shutdown"}},
		{"a status without a reason", appleserver.Fault{Status: 502}, fleet.PushResult{Reason: "Bad Gateway"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 1)
			b.push.Fail(c.fault, 1)
			if got := b.send(targets(1))[0]; got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if got := b.send(targets(1))[0]; !got.OK {
				t.Errorf("the next one: %+v", got)
			}
		})
	}
}

func TestAPushSaysWhatAppleAsksFor(t *testing.T) {
	b := newBench(t, 1)
	list := targets(1)
	list[0].Magic = `magic "with quotes" \ and ü`
	b.send(list)
	records := b.push.Records()
	if len(records) != 1 {
		t.Fatalf("%d pushes", len(records))
	}
	r := records[0]
	if string(r.Token) != string(list[0].Token) || r.PushMagic != list[0].Magic || r.PushType != "mdm" || r.Priority != "10" || r.Expiration == "" || r.Expiration == "0" || r.Topic != topic {
		t.Errorf("%+v", r)
	}
}

func TestADeviceOfAnotherTopicIsNotPushedTo(t *testing.T) {
	b := newBench(t, 1)
	list := targets(1)
	list[0].Topic = "com.apple.mgmt.External.other"
	got := b.send(list)[0]
	if got.OK || got.Stop || got.Dead || !strings.Contains(got.Reason, list[0].Topic) || len(b.push.Records()) != 0 {
		t.Errorf("%+v, %d pushes", got, len(b.push.Records()))
	}
}

func TestFaultsOfSomeDevicesLeaveTheOthersAlone(t *testing.T) {
	b := newBench(t, 8)
	list := targets(60)
	for i := range list {
		switch i % 6 {
		case 1:
			b.push.FailToken(list[i].Token, appleserver.GoAway())
		case 2:
			b.push.FailToken(list[i].Token, appleserver.Unregistered(time.Time{}))
		case 3:
			b.push.FailToken(list[i].Token, appleserver.InternalServerError())
		}
	}
	for i, r := range b.send(list) {
		switch i % 6 {
		case 2:
			if !r.Dead || r.DeadAt.IsZero() {
				t.Errorf("device %d: %+v", i, r)
			}
		case 3:
			if r.OK || r.Dead || r.Stop {
				t.Errorf("device %d: %+v", i, r)
			}
		default:
			if !r.OK {
				t.Errorf("device %d: %+v", i, r)
			}
		}
	}
}

func TestACertificateIsReadAgainWhenItChanges(t *testing.T) {
	b := newBench(t, 2)
	for range 3 {
		b.send(targets(2))
	}
	if b.creds.reads != 1 {
		t.Errorf("it was read %d times", b.creds.reads)
	}
	const other = "com.apple.mgmt.External.5a17d2b0-0000-4000-8000-000000000002"
	b.creds.set(t, b.push, other)
	list := targets(1)
	if got := b.send(list)[0]; got.OK {
		t.Error("a device of the earlier topic was pushed to with the new certificate")
	}
	list[0].Topic = other
	if got := b.send(list)[0]; !got.OK || b.creds.reads != 2 {
		t.Errorf("%+v, the certificate was read %d times", got, b.creds.reads)
	}
	records := b.push.Records()
	if last := records[len(records)-1]; last.Topic != other {
		t.Errorf("the last push came with topic %s", last.Topic)
	}
	b.creds.mu.Lock()
	b.creds.version, b.creds.err = b.creds.version+1, fleet.Errorf(fleet.KindNotFound, "there is no APNs certificate")
	b.creds.mu.Unlock()
	if got := b.send(list)[0]; !got.Stop || !strings.Contains(got.Reason, "there is no APNs certificate") {
		t.Errorf("without a certificate: %+v", got)
	}
}

func TestAServiceThatIsAwayStopsPushesAndNamesNoToken(t *testing.T) {
	b := newBench(t, 4)
	if !b.send(targets(1))[0].OK {
		t.Fatal("the first push failed")
	}
	if err := b.push.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.send(targets(20)) {
		if !r.Stop || !strings.HasPrefix(r.Reason, "connection: ") || strings.Contains(r.Reason, "/3/device") {
			t.Errorf("%+v", r)
		}
	}
	other := NewAPNs(b.push.URL(), x509.NewCertPool(), 1, b.creds, time.Now)
	defer other.Close()
	if got := other.Send(context.Background(), targets(1))[0]; !got.Stop {
		t.Errorf("a service that is not trusted: %+v", got)
	}
}

func TestPushesEndWithTheirContext(t *testing.T) {
	b := newBench(t, 4)
	b.push.Fail(appleserver.Latency(time.Hour), -1)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	for _, r := range b.Send(ctx, targets(40)) {
		if r.OK {
			t.Error("a push succeeded")
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestTwoThousandPushesShareFewWorkersAndConnections(t *testing.T) {
	const workers, count = 16, 2000
	b := newBench(t, workers)
	var flying, most, dials atomic.Int64
	if _, _, err := b.connect(context.Background()); err != nil {
		t.Fatal(err)
	}
	transport, ok := b.client.Transport.(*http.Transport)
	if !ok {
		t.Fatalf("the transport is a %T", b.client.Transport)
	}
	dialer := &net.Dialer{}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return dialer.DialContext(ctx, network, address)
	}
	b.client.Transport = counting{transport, &flying, &most}
	for i, r := range b.send(targets(count)) {
		if !r.OK {
			t.Fatalf("push %d: %+v", i, r)
		}
	}
	seen := map[string]bool{}
	for _, r := range b.push.Records() {
		seen[string(r.Token)] = true
	}
	if len(seen) != count || b.push.Accepted() != count {
		t.Errorf("%d devices were pushed to, %d times", len(seen), b.push.Accepted())
	}
	if most.Load() > workers {
		t.Errorf("%d pushes at once, with %d workers", most.Load(), workers)
	}
	if dials.Load() > 4 {
		t.Errorf("%d connections", dials.Load())
	}
}

// counting counts requests under way.
type counting struct {
	next         *http.Transport
	flying, most *atomic.Int64
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	now := c.flying.Add(1)
	defer c.flying.Add(-1)
	for was := c.most.Load(); now > was && !c.most.CompareAndSwap(was, now); was = c.most.Load() {
	}
	return c.next.RoundTrip(r)
}

func (c counting) CloseIdleConnections() { c.next.CloseIdleConnections() }

func TestAReasonLeavesTheURLOut(t *testing.T) {
	_, err := http.Get("http://127.0.0.1:1/3/device/5ec4e7")
	if err == nil {
		t.Fatal("something listens on port 1")
	}
	for _, e := range []error{err, fmt.Errorf("wrapped: %w", err), errors.New("plain")} {
		if got := reasonOf(e); strings.Contains(got, "5ec4e7") {
			t.Errorf("%v becomes %s", e, got)
		}
	}
}

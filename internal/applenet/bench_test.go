package applenet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/sim/appleserver"
)

// apart is set for a process of the tests that is a push service for a
// benchmark, so that its work does not count.
const apart = "MUSTER_TEST_PUSH_SERVICE"

// pushService is what such a process says of itself.
type pushService struct {
	URL             string
	Root, Cert, Key []byte // PEM
}

// servePushes is a push service until standard input ends.
func servePushes() error {
	push, err := appleserver.StartPush(context.Background(), appleserver.Options{})
	if err != nil {
		return err
	}
	cert, key, err := push.NewPushCertificate(topic)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(pushService{URL: push.URL(), Root: push.RootPEM(), Cert: cert, Key: key}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return push.Close()
}

// startPushService starts one and waits for its end after the benchmark.
func startPushService(b *testing.B) pushService {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), apart+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	var s pushService
	if err := json.NewDecoder(out).Decode(&s); err != nil {
		b.Fatal(err)
	}
	return s
}

// Pushes to devices by the 500, as the pusher sends them.
func BenchmarkSend(b *testing.B) {
	s := startPushService(b)
	cert, err := tls.X509KeyPair(s.Cert, s.Key)
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.Root) {
		b.Fatal("no root")
	}
	sender := NewAPNs(s.URL, roots, 0, &pair{cert: cert, topic: topic}, time.Now)
	defer sender.Close()
	const batch = 500
	list := make([]fleet.PushTarget, batch)
	for i := range list {
		list[i] = fleet.PushTarget{EnrollmentID: fleet.EnrollmentID(i + 1), Topic: topic, Magic: "6A2D2B6C-0000-4000-8000-000000000001", Token: fmt.Appendf(nil, "%032d", i)}
	}
	begun := cpu()
	for b.Loop() {
		for i, r := range sender.Send(context.Background(), list) {
			if !r.OK {
				b.Fatal(i, r)
			}
		}
	}
	b.ReportMetric(float64((cpu()-begun).Microseconds())/float64(b.N*batch), "cpu-us/push")
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "pushes/s")
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

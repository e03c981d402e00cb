package appledev_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"howett.net/plist"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/appleserver"
)

var deviceCA = sync.OnceValue(func() *appleserver.DeviceAuthority {
	ca, err := appleserver.NewDeviceAuthority(appleserver.DeviceAuthorityOptions{})
	if err != nil {
		panic(err)
	}
	return ca
})

// ade is a server that a device comes to by automated enrollment.
type ade struct {
	*server
	apple *appleserver.Enrollment
	// need is the OS version that the server wants, of stubborn ones even from
	// devices that have it; page has it answer with one.
	mu       sync.Mutex
	need     string
	stubborn bool
	page     bool
	requests []string // "POST application/pkcs7-signature"
	infos    []map[string]any
	raw      []byte // the last MachineInfo
}

// startADE makes an MDM server at Apple and a device that is assigned to it, with
// no profile.
func startADE(t *testing.T, product string, o appledev.Options) (*ade, *appledev.Device) {
	t.Helper()
	a := &ade{server: start(t)}
	apple, err := appleserver.StartEnrollment(t.Context(), appleserver.EnrollmentOptions{Devices: deviceCA()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = apple.Close() })
	a.apple = apple
	a.extra = http.HandlerFunc(a.serve)
	o.Keys, o.Service = pool(), apple.DeviceURL()
	model := map[byte]string{'i': "ipad", 'M': "mac"}[product[0]]
	if strings.HasPrefix(product, "iPhone") {
		model = "iphone"
	}
	cert := certificatePEM(a.ca)
	if _, _, err = apple.CreateServer("Muster", cert); err != nil {
		t.Fatal(err)
	}
	bought, err := apple.Buy("", model, 1)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := appledev.SpecOf(bought[0].Serial, product)
	if err != nil {
		t.Fatal(err)
	}
	return a, appledev.New(spec, o)
}

// keys of a profile whose url is this server's.
func (a *ade) keys(more map[string]any) map[string]any {
	out := map[string]any{"profile_name": "Muster", "url": a.url + "/ade"}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// assign gives a device a profile.
func (a *ade) assign(t *testing.T, d *appledev.Device, more map[string]any) {
	t.Helper()
	text, err := json.Marshal(a.keys(more))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.apple.AssignProfile("", text, d.Spec().Serial); err != nil {
		t.Fatal(err)
	}
}

// serve is the enrollment endpoint: it checks MachineInfo like a server, the
// expired authority included.
func (a *ade) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Error(err)
	}
	if r.Method == http.MethodGet {
		body, err = base64.StdEncoding.DecodeString(r.Header.Get("x-apple-aspen-deviceinfo"))
	}
	var info map[string]any
	if err == nil {
		info, err = openMachineInfo(body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, strings.TrimSpace(r.Method+" "+r.Header.Get("Content-Type")))
	a.infos, a.raw = append(a.infos, info), body
	switch {
	case a.page:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<html>")
	case a.need != "" && (info["OS_VERSION"] != a.need || a.stubborn):
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"code":"com.apple.softwareupdate.required","details":{"OSVersion":"`+a.need+`","BuildVersion":"24A1"}}`)
	default:
		w.Header().Set("Content-Type", "application/x-apple-aspen-config")
		_, _ = w.Write(a.profile(nil))
	}
}

// openMachineInfo verifies as contracts/apple.md 4.6 says.
func openMachineInfo(der []byte) (map[string]any, error) {
	signed, err := cms.Open(der)
	if err != nil {
		return nil, err
	}
	if len(signed.Certificates) == 0 {
		return nil, errors.New("no certificate")
	}
	leaf, ca := signed.Certificates[0], deviceCA().Certificate()
	if err := ca.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature); err != nil {
		return nil, fmt.Errorf("foreign device: %w", err)
	}
	var info map[string]any
	_, err = plist.Unmarshal(signed.Content, &info)
	return info, err
}

// last is the device's last TokenUpdate.
func lastTokenUpdate(t *testing.T, s *server) map[string]any {
	t.Helper()
	log := s.take()
	for _, m := range slices.Backward(log) {
		if m.kind() == "TokenUpdate" {
			return m.body
		}
	}
	t.Fatal("no TokenUpdate")
	return nil
}

func TestADeviceBootsWaitsAndIsReleasedOnce(t *testing.T) {
	a, d := startADE(t, "iPad14,8", appledev.Options{})
	if err := d.Boot(t.Context()); !errors.Is(err, appledev.ErrUnassigned) {
		t.Fatalf("without a profile: %v", err)
	}
	a.assign(t, d, map[string]any{"await_device_configured": true, "is_mdm_removable": false})
	if err := d.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	info := a.infos[0]
	for key, want := range map[string]any{
		"SERIAL": d.Spec().Serial, "UDID": d.Spec().UDID, "PRODUCT": "iPad14,8", "OS_VERSION": "18.6.2", "VERSION": "22G100",
		"MDM_CAN_REQUEST_SOFTWARE_UPDATE": true,
	} {
		if info[key] != want {
			t.Errorf("MachineInfo: %s is %v, want %v", key, info[key], want)
		}
	}
	if want := []string{"POST application/pkcs7-signature"}; !slices.Equal(a.requests, want) {
		t.Fatalf("%q", a.requests)
	}
	if lastTokenUpdate(t, a.server)["AwaitingConfiguration"] != true || !d.AwaitingConfiguration() {
		t.Fatal("the device does not wait")
	}
	if state, _ := a.apple.Device(d.Spec().Serial); state.ProfileStatus != "pushed" {
		t.Fatalf("%+v", state)
	}
	if got := a.ask(t, d, appledev.DeviceChannel, "DeviceConfigured", nil); got["Status"] != "Acknowledged" || d.AwaitingConfiguration() {
		t.Fatalf("%v", got)
	}
	if got := a.ask(t, d, appledev.DeviceChannel, "DeviceConfigured", nil); got["Status"] != "Error" || got["ErrorChain"] == nil {
		t.Fatalf("the second time: %v", got)
	}
	if err := d.ResendTokenUpdate(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if lastTokenUpdate(t, a.server)["AwaitingConfiguration"] != false {
		t.Fatal("a released device still waits")
	}
	if err := d.Leave(t.Context()); !errors.Is(err, appledev.ErrNotRemovable) || !d.Enrolled() {
		t.Fatalf("removal of what is not removable: %v", err)
	}
}

func TestAWebViewGetsMachineInfoInAHeader(t *testing.T) {
	a, d := startADE(t, "Mac14,2", appledev.Options{})
	a.assign(t, d, map[string]any{"configuration_web_url": a.url + "/ade", "url": a.url + "/nowhere"})
	a.page = true
	if err := d.Boot(t.Context()); !errors.Is(err, appledev.ErrWebLogin) || d.Enrolled() {
		t.Fatalf("a page: %v", err)
	}
	a.page = false
	if err := d.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"GET", "GET"}; !slices.Equal(a.requests, want) {
		t.Fatalf("%q", a.requests)
	}
	if d.AwaitingConfiguration() || lastTokenUpdate(t, a.server)["UserID"] == nil {
		t.Fatal("a Mac waits unasked, or has no user")
	}
	if err := d.Leave(t.Context()); err != nil || d.Enrolled() {
		t.Fatalf("removal of what is removable: %v", err)
	}
}

func TestADeviceUpdatesBeforeItEnrolls(t *testing.T) {
	for name, c := range map[string]struct {
		product, need string
		fail          bool
		err           error
		os            string
		requests      int
	}{
		"to a newer version":    {"iPad14,8", "18.7", false, nil, "18.7", 2},
		"not to an older one":   {"iPad14,8", "17.0", false, appledev.ErrUpdate, "18.6.2", 1},
		"not when it fails":     {"iPad14,8", "18.7", true, appledev.ErrUpdate, "18.6.2", 1},
		"not twice to the same": {"iPad14,8", "19", false, appledev.ErrUpdate, "19", 2},
	} {
		t.Run(name, func(t *testing.T) {
			a, d := startADE(t, c.product, appledev.Options{})
			a.assign(t, d, nil)
			a.need = c.need
			a.stubborn = c.requests == 2 && c.err != nil
			d.Faults().FailUpdate(c.fail)
			if err := d.Boot(t.Context()); !errors.Is(err, c.err) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if d.OSVersion() != c.os || len(a.infos) != c.requests || d.Enrolled() != (c.err == nil) {
				t.Fatalf("runs %s after %d requests, enrolled %v", d.OSVersion(), len(a.infos), d.Enrolled())
			}
		})
	}
	t.Run("but not when it is too old to", func(t *testing.T) {
		a, d := startADE(t, "iPad14,8", appledev.Options{})
		a.assign(t, d, nil)
		a.need = "18.7"
		d.UpdateOS("16.7", "")
		if err := d.Boot(t.Context()); !errors.Is(err, appledev.ErrUpdate) || a.infos[0]["MDM_CAN_REQUEST_SOFTWARE_UPDATE"] != nil {
			t.Fatalf("%v, %v", err, a.infos)
		}
	})
}

func TestLiesAboutTheMachineAreFoundOut(t *testing.T) {
	a, d := startADE(t, "iPad14,8", appledev.Options{})
	a.assign(t, d, nil)
	for lie, want := range map[appledev.MachineLie]string{
		appledev.Unsigned: "HTTP 403", appledev.ForeignSigner: "foreign device", appledev.Tampered: "HTTP 403",
	} {
		d.Faults().LieAboutMachine(lie, "")
		err := d.Boot(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || d.Enrolled() {
			t.Errorf("lie %d: %v", lie, err)
		}
	}
	d.Faults().LieAboutMachine(appledev.OtherSerial, "DMPOTHER0001")
	if err := d.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a.infos[0]["SERIAL"] != "DMPOTHER0001" {
		t.Fatalf("%v", a.infos[0])
	}
}

func TestMachineInfoIsWhatOpenSSLTakes(t *testing.T) {
	for _, digest := range []crypto.Hash{crypto.SHA256, crypto.SHA1} {
		t.Run(digest.String(), func(t *testing.T) {
			a, d := startADE(t, "iPhone17,1", appledev.Options{Digest: digest})
			a.assign(t, d, nil)
			// Within the built-in certificate's three years: the test's server is
			// strict about that.
			d.Faults().ClockSkew(400 * 24 * time.Hour)
			if err := d.Boot(t.Context()); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for name, content := range map[string][]byte{"info": a.raw, "ca": deviceCA().PEM()} {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			openssl := func(args ...string) string {
				cmd := exec.CommandContext(t.Context(), "openssl", args...)
				cmd.Dir = dir
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("openssl: %v: %s", err, stderr.String())
				}
				return string(out)
			}
			plain := openssl("cms", "-verify", "-inform", "DER", "-in", "info", "-CAfile", "ca", "-no_check_time", "-purpose", "any", "-partial_chain")
			if !strings.Contains(plain, d.Spec().Serial) || !strings.Contains(plain, d.Spec().IMEI) {
				t.Fatalf("%q", plain)
			}
			want := time.Now().Add(400 * 24 * time.Hour).UTC().Format(" 2006 GMT")
			if printed := openssl("cms", "-cmsout", "-print", "-inform", "DER", "-in", "info"); !strings.Contains(printed, "signingTime") || !strings.Contains(printed, want) {
				t.Fatalf("the signing time is not that of the device, %s: %s", want, printed)
			}
		})
	}
}

func TestAnErasedDeviceComesBack(t *testing.T) {
	events := make(chan appledev.Event, 100)
	a, d := startADE(t, "iPad14,8", appledev.Options{
		RetryAfter: 10 * time.Millisecond, PollInterval: 20 * time.Millisecond, OnEvent: func(e appledev.Event) {
			select {
			case events <- e:
			default:
			}
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	wait := func(kind appledev.EventKind) appledev.Event {
		t.Helper()
		for {
			select {
			case e := <-events:
				if e.Kind == kind {
					return e
				}
			case err := <-ended:
				t.Fatalf("the device stopped: %v", err)
			case <-time.After(20 * time.Second):
				t.Fatalf("no event %d", kind)
			}
		}
	}
	// Bought and unboxed, not yet assigned: it asks until it is.
	if e := wait(appledev.EventError); !errors.Is(e.Err, appledev.ErrUnassigned) {
		t.Fatalf("%+v", e)
	}
	a.assign(t, d, map[string]any{"await_device_configured": true})
	wait(appledev.EventEnrolled)
	a.enqueue("DeviceConfigured", nil)
	wait(appledev.EventCommand)
	first, _ := d.PushToken()
	a.enqueue("EraseDevice", nil)
	wait(appledev.EventUnenrolled)
	wait(appledev.EventEnrolled)
	second, _ := d.PushToken()
	if bytes.Equal(first, second) || !d.AwaitingConfiguration() {
		t.Fatal("the device is the one from before the erasure")
	}
	a.enqueue("DeviceConfigured", nil)
	wait(appledev.EventCommand)
	d.Wipe()
	wait(appledev.EventUnenrolled)
	wait(appledev.EventEnrolled)
	// A return to service brings its profile along and asks nobody.
	n := a.asked()
	a.enqueue("EraseDevice", map[string]any{"ReturnToService": map[string]any{"Enabled": true, "MDMProfileData": a.profile(nil)}})
	wait(appledev.EventUnenrolled)
	wait(appledev.EventEnrolled)
	if a.asked() != n || d.AwaitingConfiguration() {
		t.Fatalf("%d requests, before %d", a.asked(), n)
	}
	// Who removes the profile has a device that is set up and stays out.
	if err := d.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the device goes on without management")
	}
	stop()
}

func TestADeviceThatIsErasedByHandDoesNotWaitForAPush(t *testing.T) {
	enrolled := make(chan struct{}, 10)
	a, d := startADE(t, "iPad14,8", appledev.Options{OnEvent: func(e appledev.Event) {
		if e.Kind == appledev.EventEnrolled {
			enrolled <- struct{}{}
		}
	}})
	a.assign(t, d, nil)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	for i := range 3 {
		select {
		case <-enrolled:
		case <-time.After(20 * time.Second):
			t.Fatalf("after %d erasures the device does not come back", i)
		}
		d.Wipe()
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func (a *ade) asked() int { a.mu.Lock(); defer a.mu.Unlock(); return len(a.infos) }

func TestARenewalIsIgnoredOrRejectedAsPlanned(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.IPad, appledev.Options{})
	before := d.Certificate()
	renewal := map[string]any{"Payload": s.profile(nil)}
	s.take()
	d.Faults().IgnoreRenewal(true)
	id := s.enqueue("InstallProfile", renewal)
	poll(t, d)
	wantKinds(t, s, "Idle")
	d.Faults().IgnoreRenewal(false)
	d.Faults().RejectPayload("com.apple.mdm")
	poll(t, d)
	if log := s.take(); len(log) != 2 || log[1].kind() != "Error" || log[1].body["CommandUUID"] != id {
		t.Fatalf("%+v", log)
	}
	if !before.Equal(d.Certificate()) {
		t.Fatal("the identity is another")
	}
	d.Faults().RejectPayload()
	s.enqueue("InstallProfile", renewal)
	poll(t, d)
	wantKinds(t, s, "Idle", "Authenticate", "TokenUpdate", "Acknowledged")
	if before.Equal(d.Certificate()) {
		t.Fatal("the identity is still the old one")
	}
}

func TestTheDeviceOfASerialNumberIsAlwaysTheSame(t *testing.T) {
	a, err := appledev.SpecOf("DMP000000001", "iPad14,8")
	if err != nil || a.Serial != "DMP000000001" || a.Model.Product != "iPad14,8" || !a.Supervised {
		t.Fatalf("%+v, %v", a, err)
	}
	if b, _ := appledev.SpecOf("DMP000000001", "iPad14,8"); a != b {
		t.Fatalf("%+v and %+v", a, b)
	}
	if b, _ := appledev.SpecOf("DMP000000002", "iPad14,8"); a.UDID == b.UDID {
		t.Fatal("two serial numbers, one UDID")
	}
	if _, err := appledev.SpecOf("X", "AppleTV14,1"); err == nil {
		t.Fatal("an Apple TV is modeled")
	}
}

// certificatePEM is for what only wants some RSA certificate.
func certificatePEM(cert *x509.Certificate) []byte {
	return fmt.Appendf(nil, "-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n", base64.StdEncoding.EncodeToString(cert.Raw))
}

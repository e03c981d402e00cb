package e2e

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/micromdm/nanomdm/test/protocol"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/codec/scepmsg"
	"github.com/muster-mdm/muster/sim/scenario"
)

// Content types of the protocol.
const (
	typeCheckin = "application/x-apple-aspen-mdm-checkin"
	typeCommand = "application/x-apple-aspen-mdm; charset=UTF-8"
)

type fields = map[string]any

// wire is a device that sends exactly what a test says, message by message.
type wire struct {
	w    *world
	t    testing.TB
	udid string
	id   identity
}

type identity struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// challenge mints one by downloading an enrollment profile.
func (w *world) challenge(t testing.TB) string {
	t.Helper()
	raw, err := w.api.EnrollmentProfile(context.Background(), 0, false)
	if err != nil {
		t.Fatal(err)
	}
	profile, err := plist.Read(raw)
	if err != nil {
		t.Fatal(err)
	}
	payloads, _ := profile.(map[string]any)["PayloadContent"].([]any)
	for _, p := range payloads {
		p, _ := p.(map[string]any)
		if p["PayloadType"] == "com.apple.security.scep" {
			content, _ := p["PayloadContent"].(map[string]any)
			text, _ := content["Challenge"].(string)
			return text
		}
	}
	t.Fatal("the enrollment profile has no SCEP payload")
	return ""
}

// authority is the server's certificate for SCEP.
func (w *world) authority(t testing.TB) *x509.Certificate {
	t.Helper()
	res, err := w.devices.Get(w.url + "/mdm/apple/scep?operation=GetCACert")
	if err != nil {
		t.Fatal(err)
	}
	der, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := keys().Key(2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// scepCase is one request for a certificate.
type scepCase struct {
	key       *rsa.PrivateKey
	challenge string
	kind      scepmsg.MessageType // PKCSReq when ""
	signer    *identity           // nil: self-signed
}

// scep sends a request and returns the reply, which must come as a CertRep
// with HTTP 200 whatever it says.
func (w *world) scep(t testing.TB, c scepCase) *scepmsg.Reply {
	t.Helper()
	csr, err := scepmsg.NewCSR(c.key, pkix.Name{CommonName: "what a device asks for"}, c.challenge)
	if err != nil {
		t.Fatal(err)
	}
	signer := identity{key: c.key}
	if c.signer != nil {
		signer = *c.signer
	} else if signer.cert, err = scepmsg.SelfSigned(c.key, time.Now()); err != nil {
		t.Fatal(err)
	}
	p, err := scepmsg.NewRequest(scepmsg.Enrollment{Type: c.kind, CSR: csr, Authorities: []*x509.Certificate{w.authority(t)},
		Signer: signer.cert, SignerKey: signer.key})
	if err != nil {
		t.Fatal(err)
	}
	res, err := w.devices.Post(w.url+"/mdm/apple/scep?operation=PKIOperation", "application/x-pki-message", bytes.NewReader(p.DER))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	der, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("SCEP: %s: %s", res.Status, der)
	}
	reply, err := p.ParseReply(der)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// identity gets a certificate with a fresh challenge.
func (w *world) identity(t testing.TB) identity {
	t.Helper()
	key := newKey(t)
	reply := w.scep(t, scepCase{key: key, challenge: w.challenge(t)})
	if reply.Status != scepmsg.StatusSuccess {
		t.Fatalf("SCEP: refused, %s", reply.FailInfo)
	}
	return identity{reply.Certificate, key}
}

// wire enrolls a device that is played by hand, a Mac, and fetches its first
// vitals, so that its queue is empty.
func (w *world) wire(t testing.TB, udid, serial string) *wire {
	t.Helper()
	d := &wire{w: w, t: t, udid: udid, id: w.identity(t)}
	d.enroll(serial)
	d.drain()
	return d
}

// enroll does both check-ins of an enrollment.
func (d *wire) enroll(serial string) {
	d.t.Helper()
	d.must(d.checkin("Authenticate", fields{"Topic": scenario.Topic, "SerialNumber": serial, "ProductName": "Mac14,2", "OSVersion": "15.1", "DeviceName": "Mac of " + serial}))
	d.must(d.checkin("TokenUpdate", d.token()))
}

// token is what a TokenUpdate says.
func (d *wire) token() fields {
	return fields{"Topic": scenario.Topic, "Token": []byte("token of " + d.udid), "PushMagic": "magic of " + d.udid}
}

func (d *wire) must(status int, body []byte) []byte {
	d.t.Helper()
	if status != http.StatusOK {
		d.t.Fatalf("HTTP %d: %s", status, body)
	}
	return body
}

// drain acknowledges commands until there are none.
func (d *wire) drain() {
	d.t.Helper()
	for cmd := d.idle(); cmd != ""; cmd = commandOf(d.t, d.must(d.answer("Acknowledged", cmd))) {
	}
}

// idle polls and returns the UUID of the command that came; "": none.
func (d *wire) idle() string {
	d.t.Helper()
	return commandOf(d.t, d.must(d.report(fields{"Status": "Idle"})))
}

// commandOf reads the CommandUUID of an answer on the command channel.
func commandOf(t testing.TB, answer []byte) string {
	t.Helper()
	if len(answer) == 0 {
		return ""
	}
	m, err := plist.ReadDict(answer)
	if err != nil || m.Text("CommandUUID") == "" {
		t.Fatalf("not a command (%v): %s", err, answer)
	}
	return m.Text("CommandUUID")
}

// answer reports on a command.
func (d *wire) answer(status, commandUUID string) (int, []byte) {
	d.t.Helper()
	return d.report(fields{"Status": status, "CommandUUID": commandUUID})
}

func (d *wire) report(f fields) (int, []byte) {
	d.t.Helper()
	return d.message(typeCommand, f)
}

func (d *wire) checkin(kind string, f fields) (int, []byte) {
	d.t.Helper()
	m := fields{"MessageType": kind}
	maps.Copy(m, f)
	return d.message(typeCheckin, m)
}

// message sends a signed property list; the sender is filled in.
func (d *wire) message(contentType string, f fields) (int, []byte) {
	d.t.Helper()
	m := fields{"UDID": d.udid}
	maps.Copy(m, f)
	body, err := plist.Marshal(m)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.signed(contentType, body)
}

// signed sends any body with the signature of it.
func (d *wire) signed(contentType string, body []byte) (int, []byte) {
	d.t.Helper()
	return d.w.put(d.t, contentType, d.id.sign(d.t, body), body)
}

// sign is the value of Mdm-Signature, as NanoMDM's device makes it.
func (i identity) sign(t testing.TB, body []byte) string {
	t.Helper()
	signature, err := i.transport().SignMessage(context.Background(), body)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// transport is NanoMDM's device with this identity.
func (i identity) transport(more ...protocol.TransportOption) *protocol.Transport {
	own := func(context.Context) (*x509.Certificate, crypto.PrivateKey, error) { return i.cert, i.key, nil }
	return protocol.NewTransport(append(more, protocol.WithSignMessage(), protocol.WithIdentityProvider(own))...)
}

// put sends a message to the MDM endpoint; no signature when it is "".
func (w *world) put(t testing.TB, contentType, signature string, body []byte) (int, []byte) {
	t.Helper()
	status, answer, err := w.request(http.MethodPut, "/mdm/apple/mdm", map[string]string{"Content-Type": contentType, "Mdm-Signature": signature}, body)
	if err != nil {
		t.Fatal(err)
	}
	return status, answer
}

// request sends anything anywhere.
func (w *world) request(method, path string, headers map[string]string, body []byte) (int, []byte, error) {
	req, err := http.NewRequest(method, w.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	for name, value := range headers {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	res, err := w.devices.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("read answer: %w", err)
	}
	return res.StatusCode, answer, nil
}

// user is the user channel of a device.
func userFields(user string) fields {
	return fields{"UserID": user, "UserShortName": strings.ToLower(user), "Topic": scenario.Topic, "Token": []byte("token of " + user),
		"PushMagic": "magic of " + user}
}

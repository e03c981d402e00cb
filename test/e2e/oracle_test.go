package e2e

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/micromdm/nanomdm/test/protocol"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/sim/scenario"
)

// NanoMDM's own device enrolls, is handed a command and answers it.
func TestNanoMDMsDeviceSpeaksWithTheServer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		transport := w.identity(t).transport(protocol.WithMDMURLs(w.url+"/mdm/apple/mdm", ""), protocol.WithClient(w.devices))
		send := func(do func(context.Context, io.Reader) (*http.Response, error), f fields) []byte {
			t.Helper()
			f["UDID"] = "UDID-NANO"
			body, err := plist.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			res, err := do(ctx, bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			answer, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatalf("%v: %s: %s (%v)", f["MessageType"], res.Status, answer, err)
			}
			return answer
		}
		send(transport.DoCheckIn, fields{"MessageType": "Authenticate", "Topic": scenario.Topic, "SerialNumber": "SERIALNANO", "ProductName": "iPad14,8"})
		send(transport.DoCheckIn, fields{"MessageType": "TokenUpdate", "Topic": scenario.Topic, "PushMagic": "magic", "Token": []byte("token")})
		if h := w.host(t, "SERIALNANO"); h.Platform != "ipados" || enrollmentStatus(h) != "On (manual)" {
			t.Errorf("the host is %s, %s", h.Platform, enrollmentStatus(h))
		}
		vitals := commandOf(t, send(transport.DoReportResultsAndFetchNext, fields{"Status": "Idle"}))
		send(transport.DoReportResultsAndFetchNext, fields{"Status": "Acknowledged", "CommandUUID": vitals,
			"QueryResponses": map[string]any{"OSVersion": "18.6.2", "DeviceName": "Nano"}})
		if h := w.host(t, "SERIALNANO"); h.ComputerName != "Nano" || h.OSVersion != "iPadOS 18.6.2" {
			t.Errorf("the vitals are %s, %s", h.ComputerName, h.OSVersion)
		}
		cmd := w.send(t, "ProfileList", "UDID-NANO")
		if got := commandOf(t, send(transport.DoReportResultsAndFetchNext, fields{"Status": "Idle"})); got != cmd {
			t.Fatalf("it is handed %q", got)
		}
		if got := send(transport.DoReportResultsAndFetchNext, fields{"Status": "Acknowledged", "CommandUUID": cmd}); len(got) > 0 {
			t.Errorf("its answer was answered with %s", got)
		}
		if s := w.status(t, cmd); s != "Acknowledged" {
			t.Errorf("the command is %s", s)
		}
	})
}

// scepclient builds MicroMDM's SCEP client in a module of its own.
func scepclient(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "scepclient")
	for _, args := range [][]string{
		{"mod", "init", "oracle"},
		{"get", "github.com/micromdm/scep/v2/cmd/scepclient@v2.3.0"},
		{"build", "-o", path, "github.com/micromdm/scep/v2/cmd/scepclient"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return path
}

// MicroMDM's SCEP client is older than the specification: it signs with SHA-1
// and encrypts with single DES. Devices in the field do too.
func TestMicroMDMsSCEPClientIsServed(t *testing.T) {
	binary := scepclient(t)
	w := start(t, "sqlite")
	request := func(t *testing.T, dir, challenge string) (string, error) {
		t.Helper()
		cmd := exec.Command(binary, "-server-url", w.url+"/mdm/apple/scep", "-private-key", filepath.Join(dir, "key.pem"),
			"-certificate", filepath.Join(dir, "cert.pem"), "-challenge", challenge, "-cn", "scepclient")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	own, first := t.TempDir(), w.challenge(t)
	if out, err := request(t, own, first); err != nil {
		t.Fatalf("enroll: %v\n%s", err, out)
	}
	id := readIdentity(t, own)
	if err := id.cert.CheckSignatureFrom(w.authority(t)); err != nil {
		t.Error(err)
	}
	d := &wire{w: w, t: t, udid: "UDID-SCEP", id: id}
	d.enroll("SERIALSCEP")
	d.drain()
	for name, challenge := range map[string]string{"a wrong challenge": "wrong", "a challenge that was used": first} {
		dir := t.TempDir()
		out, err := request(t, dir, challenge)
		if err == nil || !strings.Contains(out, "failInfo: badRequest") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if _, err := os.Stat(filepath.Join(dir, "cert.pem")); err == nil {
			t.Errorf("%s: a certificate was issued", name)
		}
	}
	// With a certificate in place it sends a RenewalReq: with the request it
	// kept, whose challenge was used for this key, and then with a new one.
	if out, err := request(t, own, ""); err != nil {
		t.Fatalf("repeat: %v\n%s", err, out)
	}
	if again := readIdentity(t, own); !again.cert.Equal(id.cert) {
		t.Error("the same request gave another certificate")
	}
	if err := os.Remove(filepath.Join(own, "csr.pem")); err != nil {
		t.Fatal(err)
	}
	if out, err := request(t, own, w.challenge(t)); err != nil {
		t.Fatalf("renew: %v\n%s", err, out)
	}
	if renewed := readIdentity(t, own); renewed.cert.Equal(id.cert) || !renewed.key.Equal(id.key) {
		t.Error("the renewal gave no new certificate for the key")
	}
	w.alive(t)
}

// readIdentity reads what scepclient left.
func readIdentity(t testing.TB, dir string) identity {
	t.Helper()
	block := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := pem.Decode(raw)
		if b == nil {
			t.Fatalf("%s holds no PEM", name)
		}
		return b.Bytes
	}
	cert, err := x509.ParseCertificate(block("cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := parseRSA(block("key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return identity{cert, key}
}

func parseRSA(der []byte) (*rsa.PrivateKey, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	k, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a key of type %T", key)
	}
	return k, nil
}

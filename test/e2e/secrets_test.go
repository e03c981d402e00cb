package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/sim/appleserver"
	"github.com/muster-mdm/muster/sim/scenario"
)

func TestSecretsStandNowhereInPlainText(t *testing.T) {
	hook := newHook(t)
	w := unprepared(t, "sqlite", func(c *config.Config) { c.Webhook = config.Webhook{URL: hook.URL, Secret: hookSecret} })
	w.run(t)
	w.openDatabase(t)
	w.prepare(t)
	random := func() []byte {
		b := make([]byte, 33)
		_, _ = rand.Read(b)
		return b
	}
	unlock, bootstrap, token, magic := random(), random(), random(), hex.EncodeToString(random())
	challenge := w.challenge(t)
	key := newKey(t)
	d := &wire{w: w, t: t, udid: "UDID-S", id: identity{w.scep(t, scepCase{key: key, challenge: challenge}).Certificate, key}}
	d.must(d.checkin("Authenticate", fields{"Topic": scenario.Topic, "SerialNumber": "SERIALS", "ProductName": "Mac14,2"}))
	d.must(d.checkin("TokenUpdate", fields{"Topic": scenario.Topic, "Token": token, "PushMagic": magic, "UnlockToken": unlock}))
	d.must(d.checkin("SetBootstrapToken", fields{"BootstrapToken": bootstrap}))
	d.must(d.checkin("GetBootstrapToken", nil))
	d.drain()
	cmd := w.send(t, "ProfileList", d.udid)
	d.drain()
	// What a person's command holds reaches the device and nobody else; so it is
	// with what the device answers.
	password, code := hex.EncodeToString(random()), hex.EncodeToString(random())
	run, err := w.api.RunCommand(t.Context(), []byte(scenario.Command("SetFirmwarePassword", "<key>NewPassword</key><string>"+password+"</string>")), []string{d.udid})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.must(d.report(fields{"Status": "Idle"})); !bytes.Contains(got, []byte(password)) {
		t.Errorf("the device gets the command as %s", got)
	}
	d.must(d.report(fields{"Status": "Acknowledged", "CommandUUID": run.CommandUUID, "ActivationLockBypassCode": code}))
	// Pushes that fail are logged; what is logged must not name the token.
	w.push.FailToken(token, appleserver.Unregistered(time.Time{}))
	w.send(t, "ProfileList", d.udid)
	eventually(t, func() (bool, string) {
		e := w.host(t, d.udid).Enrollments[0]
		return e.PushBrokenAt != nil, "the push is not marked as broken"
	})
	wrong := scepCase{key: otherKey(t, key.N), challenge: challenge}
	w.scep(t, wrong)

	forbidden := map[string][]byte{"the unlock token": unlock, "the bootstrap token": bootstrap, "the admin's password": []byte(adminPassword),
		"the admin's session": []byte(w.token), "the challenge": []byte(challenge), "a private key": []byte("PRIVATE KEY"),
		"a command's password": []byte(password), "an answer's code": []byte(code), "the webhook's secret": []byte(hookSecret)}
	inFiles := forbidden
	elsewhere := map[string][]byte{"the push token": token, "the push magic": []byte(magic)}
	for name, value := range forbidden {
		elsewhere[name] = value
	}
	for _, path := range []string{"/api/v1/fleet/hosts", "/api/v1/fleet/hosts/identifier/" + d.udid, "/api/v1/fleet/commands",
		"/api/v1/fleet/commands/results?command_uuid=" + cmd, "/api/v1/fleet/commands/results?command_uuid=" + run.CommandUUID,
		"/api/v1/fleet/config", "/api/v1/fleet/me", "/metrics"} {
		status, answer, err := w.request(http.MethodGet, path, w.admin(), nil)
		if err != nil || status != http.StatusOK {
			t.Fatalf("%s: HTTP %d, %v", path, status, err)
		}
		scan(t, path, answer, elsewhere)
	}
	w.stop()
	posts := hook.take()
	for _, topic := range []string{"mdm.TokenUpdate", "mdm.SetBootstrapToken", "mdm.Connect"} {
		if len(posts[topic]) == 0 {
			t.Errorf("the webhook got no %s", topic)
		}
		for _, message := range posts[topic] {
			scan(t, "the webhook's "+topic, message, forbidden)
		}
	}
	scan(t, "the log", []byte(w.log.String()), elsewhere)
	files, err := filepath.Glob(w.config.DatabaseFile() + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no database files: %v", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		scan(t, filepath.Base(file), raw, inFiles)
	}
	// What the scan looks for is what would be there without sealing.
	raw, err := os.ReadFile(w.config.DatabaseFile())
	if err != nil || !bytes.Contains(raw, []byte(d.udid)) {
		t.Errorf("the database file does not even hold the UDID (%v): the scan proves nothing", err)
	}
}

// scan fails where a text holds a secret, as it is or encoded.
func scan(t *testing.T, where string, text []byte, secrets map[string][]byte) {
	t.Helper()
	for name, value := range secrets {
		for form, encoded := range map[string][]byte{
			"as it is":     value,
			"as base64":    []byte(base64.RawStdEncoding.EncodeToString(value)),
			"as base64url": []byte(base64.RawURLEncoding.EncodeToString(value)),
			"as hex":       []byte(hex.EncodeToString(value)),
			"as HEX":       bytes.ToUpper([]byte(hex.EncodeToString(value))),
		} {
			if bytes.Contains(text, encoded) {
				t.Errorf("%s holds %s %s", where, name, form)
			}
		}
	}
}

const hookSecret = "what signs webhooks"

// hook receives what is posted to a webhook.
type hook struct {
	*httptest.Server
	mu    sync.Mutex
	posts map[string][][]byte
}

// newHook starts a receiver that takes only what is signed.
func newHook(t *testing.T) *hook {
	h := &hook{posts: map[string][][]byte{}}
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		sum := hmac.New(sha256.New, []byte(hookSecret))
		sum.Write(body)
		if got := r.Header.Get("X-Hmac-Signature"); got != base64.StdEncoding.EncodeToString(sum.Sum(nil)) {
			t.Errorf("a post is signed with %q", got)
		}
		type event struct {
			RawPayload []byte `json:"raw_payload"`
		}
		var post struct {
			Topic   string
			Checkin event `json:"checkin_event"`
			Report  event `json:"acknowledge_event"`
		}
		if err := json.Unmarshal(body, &post); err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.posts[post.Topic] = append(h.posts[post.Topic], slices.Concat(post.Checkin.RawPayload, post.Report.RawPayload))
	}))
	t.Cleanup(h.Close)
	return h
}

// take returns the messages that came, by their topic.
func (h *hook) take() map[string][][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.posts)
}

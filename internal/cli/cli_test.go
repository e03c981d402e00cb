package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/httpapi"
	"github.com/muster-mdm/muster/internal/httpapi/httpapitest"
)

// bench is the command line against the API over stand-ins.
type bench struct {
	t           *testing.T
	url         string
	dir         string
	env         map[string]string
	input       string
	terminal    bool
	access      *httpapitest.Access
	users       *httpapitest.Users
	hosts       *httpapitest.Hosts
	inventories *httpapitest.Inventories
	guardian    *httpapitest.Guardian
	commands    *httpapitest.Commands
	enrollments *httpapitest.Enrollments
	push        *httpapitest.Push
	teams       *httpapitest.Teams
	secrets     *httpapitest.EnrollSecrets
	labels      *httpapitest.Labels
	profiles    *httpapitest.Profiles
	tokens      *httpapitest.ServerTokens
	assistants  *httpapitest.Assistants
	setups      *httpapitest.Setups
	renewer     *httpapitest.Renewer
	packages    *httpapitest.Packages
	actions     *httpapitest.Actions
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{actions: &httpapitest.Actions{}, t: t, dir: t.TempDir(), env: map[string]string{}, access: &httpapitest.Access{}, users: &httpapitest.Users{}, hosts: &httpapitest.Hosts{}, inventories: &httpapitest.Inventories{}, guardian: &httpapitest.Guardian{},
		commands: &httpapitest.Commands{}, enrollments: &httpapitest.Enrollments{}, push: &httpapitest.Push{}, teams: &httpapitest.Teams{}, secrets: &httpapitest.EnrollSecrets{}, labels: &httpapitest.Labels{}, profiles: &httpapitest.Profiles{}}
	b.tokens, b.assistants = &httpapitest.ServerTokens{Tokens: []fleet.ServerToken{httpapitest.ServerToken()}}, &httpapitest.Assistants{}
	b.setups, b.renewer, b.packages = &httpapitest.Setups{}, &httpapitest.Renewer{}, &httpapitest.Packages{}
	explainer := &httpapitest.Explainer{}
	api, err := httpapi.New(httpapi.Options{Explainer: explainer, Planner: explainer, Histories: explainer, ServerTokens: b.tokens, Assistants: b.assistants, Setups: b.setups, Renewer: b.renewer, Packages: b.packages, OverTheAir: &httpapitest.OverTheAir{}, Accounts: &httpapitest.OverTheAir{}, Access: b.access, Users: b.users, Sessions: httpapitest.Sessions{}, Hosts: b.hosts, Inventories: b.inventories, Guardian: b.guardian, Commands: b.commands, Actions: b.actions,
		Enrollments: b.enrollments, Push: b.push, Teams: b.teams, Secrets: b.secrets, Labels: b.labels, Profiles: b.profiles, Settings: &httpapitest.Settings{Current: fleet.Settings{OrgName: "Acme"}},
		Version: apiv1.Version{Version: "2.0.0"}, Now: httpapitest.Now})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

// run executes a command line and returns what it printed and its exit code.
func (b *bench) run(arguments ...string) (stdout, stderr string, code int) {
	b.t.Helper()
	var out, errs bytes.Buffer
	code = Execute(context.Background(), Deps{
		In: strings.NewReader(b.input), Out: &out, Err: &errs, HomeDir: b.dir, Terminal: b.terminal, Zone: time.UTC,
		Getenv: func(name string) string { return b.env[name] }, Now: httpapitest.Now, Version: apiv1.Version{Version: "1.0.0"},
		ReadSecret: func(string) (string, error) { return "right", nil },
	}, arguments)
	return out.String(), errs.String(), code
}

// ok runs a command that must succeed and returns its output.
func (b *bench) ok(arguments ...string) string {
	b.t.Helper()
	out, errs, code := b.run(arguments...)
	if code != ExitOK {
		b.t.Fatalf("muster %s: exit %d: %s", strings.Join(arguments, " "), code, errs)
	}
	return out
}

// loggedIn is a bench with a token of the role.
func loggedIn(t *testing.T, role string) *bench {
	t.Helper()
	b := newBench(t)
	b.ok("config", "set", "--address", b.url+"/", "--token", "token-"+role)
	return b
}

func (b *bench) file(name, content string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func TestSetupLoginAndLogoutKeepTheTokenPrivate(t *testing.T) {
	b := newBench(t)
	b.ok("config", "set", "--address", b.url)
	path := filepath.Join(b.dir, ".muster", "config")
	b.input = "a long password 1!\n"
	b.ok("setup", "--email", "ada@example.com", "--name", "Ada", "--org-name", "Acme")
	if b.access.Applied.OrgName != "Acme" || b.access.Applied.ServerURL != b.url {
		t.Errorf("settings: %+v", b.access.Applied)
	}
	if token := b.ok("config", "get", "token"); token != "token-admin\n" {
		t.Errorf("token %q", token)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	_, errs, code := b.run("setup", "--email", "eve@example.com")
	if code != ExitError || !strings.Contains(errs, "muster login") {
		t.Errorf("a second setup: %d %s", code, errs)
	}
	b.ok("logout")
	if _, errs, code := b.run("get", "hosts"); code != ExitAuth || !strings.Contains(errs, "muster login") {
		t.Errorf("without a token: %d %s", code, errs)
	}
	b.input = "wrong\n"
	if _, errs, code := b.run("login", "--email", "ada@example.com"); code != ExitAuth || strings.Contains(errs, "wrong") {
		t.Errorf("a wrong password: %d %s", code, errs)
	}
	b.input = "right\n"
	_, errs, code = b.run("login")
	if code != ExitOK || !strings.Contains(errs, "this program is version 1.0.0 and the server 2.0.0") {
		t.Errorf("login: %d %s", code, errs)
	}
}

func TestContextsAndTheEnvironment(t *testing.T) {
	b := loggedIn(t, "admin")
	b.ok("config", "set", "--context", "lab", "--address", "https://lab.example.com", "--tls-skip-verify", "--custom-header", "X-A: b")
	if got := b.ok("config", "get", "address", "--context", "lab"); got != "https://lab.example.com\n" {
		t.Errorf("lab: %q", got)
	}
	b.env["MUSTER_CONTEXT"] = "lab"
	if got := b.ok("config", "get", "tls-skip-verify"); got != "true\n" {
		t.Errorf("by environment: %q", got)
	}
	delete(b.env, "MUSTER_CONTEXT")
	b.env["MUSTER_URL"] = "https://other.example.com"
	if got := b.ok("config", "get", "token"); got != "\n" {
		t.Errorf("a token went to another server: %q", got)
	}
	b.env["MUSTER_URL"], b.env["MUSTER_TOKEN"] = b.url, "token-observer"
	b.ok("get", "hosts")
	if _, errs, code := b.run("get", "hosts", "--context", "nowhere"); code != ExitError || !strings.Contains(errs, "muster config set --context nowhere") {
		t.Errorf("an unknown context: %d %s", code, errs)
	}
	delete(b.env, "MUSTER_URL")
	delete(b.env, "MUSTER_TOKEN")
	b.ok("config", "set", "--address", "https://new.example.com")
	if got := b.ok("config", "get", "token"); got != "\n" {
		t.Errorf("the token stayed with a new address: %q", got)
	}
}

func TestAFileOthersMayReadIsWarnedOf(t *testing.T) {
	b := loggedIn(t, "admin")
	if err := os.Chmod(filepath.Join(b.dir, ".muster", "config"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, errs, _ := b.run("get", "hosts"); !strings.Contains(errs, "chmod 600") {
		t.Errorf("no warning: %s", errs)
	}
}

func TestHostsInEveryFormat(t *testing.T) {
	b := loggedIn(t, "admin")
	table := b.ok("get", "hosts")
	if !strings.Contains(table, "| UUID   | HOSTNAME  | PLATFORM | OSQUERY VERSION | STATUS | SERIAL | MDM         |") ||
		!strings.Contains(table, "| UDID-7 | Ada's Mac | darwin   |                 | online | C02ABC | On (manual) |") {
		t.Errorf("table:\n%s", table)
	}
	var hosts []apiv1.Host
	if err := json.Unmarshal([]byte(b.ok("get", "hosts", "-o", "json")), &hosts); err != nil || len(hosts) == 0 || hosts[0].ID != 7 {
		t.Errorf("json: %v", err)
	}
	text := b.ok("get", "hosts", "--yaml")
	var generic []map[string]any
	if err := yaml.Unmarshal([]byte(text), &generic); err != nil || generic[0]["hardware_serial"] != "C02ABC" || strings.Contains(text, "{") {
		t.Errorf("yaml: %v\n%s", err, text)
	}
	rows, err := csv.NewReader(strings.NewReader(b.ok("get", "hosts", "-o", "csv"))).ReadAll()
	if err != nil || rows[0][3] != "osquery_version" || rows[1][0] != "UDID-7" {
		t.Errorf("csv: %v %v", rows, err)
	}
	for _, arguments := range [][]string{{"-o", "xml"}, {"--json", "--yaml"}, {"-o", "csv", "--json"}} {
		if _, _, code := b.run(append([]string{"get", "hosts"}, arguments...)...); code != ExitUsage {
			t.Errorf("%v: exit %d", arguments, code)
		}
	}
}

func TestHostFiltersAreSent(t *testing.T) {
	b := loggedIn(t, "admin")
	b.ok("get", "hosts", "--mdm", "--query", "mac")
	if len(b.hosts.Filter.MDM) != 3 || b.hosts.Filter.Query != "mac" {
		t.Errorf("--mdm: %+v", b.hosts.Filter)
	}
	b.ok("get", "hosts", "--mdm-pending")
	if len(b.hosts.Filter.MDM) != 1 || b.hosts.Filter.MDM[0] != fleet.MDMPending {
		t.Errorf("--mdm-pending: %+v", b.hosts.Filter)
	}
	if _, _, code := b.run("get", "hosts", "--mdm", "--mdm-pending"); code != ExitUsage {
		t.Errorf("both: exit %d", code)
	}
}

func TestAHostByAnyName(t *testing.T) {
	b := loggedIn(t, "admin")
	for _, arguments := range [][]string{{"get", "host", "C02ABC"}, {"get", "hosts", "a/b"}} {
		if out := b.ok(arguments...); !strings.Contains(out, "Serial number:") || !strings.Contains(out, "On (manual)") || !strings.Contains(out, "2026-01-02 03:04:05 UTC") {
			t.Errorf("%v:\n%s", arguments, out)
		}
	}
	_, errs, code := b.run("get", "host", "nobody")
	if code != ExitNotFound || !strings.Contains(errs, "muster get hosts") {
		t.Errorf("an unknown host: %d %s", code, errs)
	}
}

const restartPlist = `<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict><key>Command</key><dict><key>RequestType</key><string>RestartDevice</string></dict></dict></plist>`

func TestCommandsAreSentWithAnIdentifierOfTheirOwn(t *testing.T) {
	b := loggedIn(t, "admin")
	for name, plist := range map[string]string{
		"none": restartPlist,
		"old":  strings.Replace(restartPlist, "<dict><key>Command<", "<dict><key>CommandUUID</key>\n<string>fixed</string><key>Command<", 1),
	} {
		path := b.file(name+".plist", plist)
		out := b.ok("mdm", "run-command", "--hosts", "C02ABC", "--payload", path)
		if !strings.Contains(out, "muster get mdm-command-results --id=cmd-2") {
			t.Errorf("%s: %s", name, out)
		}
		sent := string(b.commands.Raw)
		if strings.Count(sent, "<key>CommandUUID</key>") != 1 || strings.Contains(sent, "fixed") || !strings.HasSuffix(sent, "</dict></plist>") {
			t.Errorf("%s: sent %s", name, sent)
		}
		if len(b.commands.IDs) != 1 || b.commands.IDs[0] != 7 {
			t.Errorf("%s: to %v", name, b.commands.IDs)
		}
	}
	path := b.file("c.plist", restartPlist)
	_, errs, code := b.run("apple-mdm", "commands", "send", "--target-hosts=7, 8", "--command="+path, "--json")
	if code != ExitOK || len(b.commands.IDs) != 2 || !strings.Contains(errs, "UDID-8") {
		t.Errorf("by id: %d %s %v", code, errs, b.commands.IDs)
	}
	for _, arguments := range [][]string{
		{"mdm", "run-command", "--hosts", "C02ABC"},
		{"mdm", "run-command", "--payload", path},
		{"apple-mdm", "commands", "send", "--target-hosts=x", "--command", path},
	} {
		if _, _, code := b.run(arguments...); code != ExitUsage {
			t.Errorf("%v: exit %d", arguments, code)
		}
	}
	if _, errs, code := b.run("mdm", "run-command", "--hosts", "C02ABC", "--payload", b.file("bad", "not xml <")); code != ExitError || !strings.Contains(errs, "not a property list") {
		t.Errorf("no property list: %d %s", code, errs)
	}
	if _, _, code := b.run("mdm", "run-command", "--hosts", "C02ABC,nobody", "--payload", path); code != ExitNotFound {
		t.Errorf("an unknown host: exit %d", code)
	}
}

func TestCommandListsAndResults(t *testing.T) {
	b := loggedIn(t, "observer")
	list := b.ok("get", "mdm-commands", "--host", "C02ABC", "--type", "DeviceLock")
	if !strings.Contains(list, "The list of 1 most recent commands:") || !strings.Contains(list, "| UUID  | TIME | TYPE              | STATUS  | HOSTNAME |") {
		t.Errorf("list:\n%s", list)
	}
	if b.commands.Filter.RequestType != "DeviceLock" {
		t.Errorf("filter: %+v", b.commands.Filter)
	}
	results := b.ok("get", "mdm-command-results", "--id=cmd-1")
	for _, want := range []string{"ID: cmd-1", "STATUS: Acknowledged", "PAYLOAD:\n<c/>", "RESULTS:\n<r/>"} {
		if !strings.Contains(results, want) {
			t.Errorf("%q is missing:\n%s", want, results)
		}
	}
	if _, _, code := b.run("get", "mdm-command-results", "--id=unknown"); code != ExitNotFound {
		t.Errorf("an unknown command: exit %d", code)
	}
	if out := b.ok("apple-mdm", "commands", "list", "-o", "csv"); !strings.HasPrefix(out, "uuid,time,type") {
		t.Errorf("csv: %s", out)
	}
}

func TestThePushCertificate(t *testing.T) {
	b := loggedIn(t, "admin")
	out, errs, _ := b.run("get", "mdm-apple")
	if !strings.Contains(out, "Common name (CN):  APSP:x") || !strings.Contains(errs, "has expired") {
		t.Errorf("%s %s", out, errs)
	}
	csr := filepath.Join(b.dir, "r.csr")
	if _, errs, code := b.run("generate", "mdm-apple", "--csr", csr); code != ExitOK || !strings.Contains(errs, "muster apns upload") {
		t.Errorf("%d %s", code, errs)
	}
	if data, err := os.ReadFile(csr); err != nil || string(data) != "csr" {
		t.Errorf("%q %v", data, err)
	}
	b.ok("apns", "upload", "--cert", b.file("c.pem", "PEM"), "--key", b.file("k.pem", "KEY"), "--force")
	if string(b.push.Cert) != "PEM" || string(b.push.Key) != "KEY" || !b.push.Force {
		t.Errorf("%+v", b.push)
	}
	b.ok("apns", "upload", "--p12", "../httpapi/testdata/push.p12", "--p12-password", "test")
	if !bytes.HasPrefix(b.push.Key, []byte("-----BEGIN")) {
		t.Errorf("%s", b.push.Key)
	}
	if _, _, code := b.run("apns", "upload"); code != ExitUsage {
		t.Errorf("nothing: exit %d", code)
	}
	if _, _, code := b.run("apns", "delete"); code != ExitUsage {
		t.Errorf("an unconfirmed deletion: exit %d", code)
	}
	b.ok("apns", "delete", "--yes")
}

func TestEnrollments(t *testing.T) {
	b := loggedIn(t, "admin")
	if out := b.ok("apple-mdm", "enrollments", "create", "--name", "Lab"); !strings.Contains(out, "https://mdm.example.com/mdm/apple/enroll/tok") {
		t.Errorf("create: %s", out)
	}
	if out := b.ok("apple-mdm", "enrollments", "list"); !strings.Contains(out, "| 3  | Office | manual |") {
		t.Errorf("list:\n%s", out)
	}
	if out := b.ok("apple-mdm", "enrollments", "profile", "3", "--out", "-", "--unsigned"); out != "profile" || b.enrollments.Signed {
		t.Errorf("profile: %q", out)
	}
	b.terminal, b.input = true, "n\n"
	if _, errs, code := b.run("apple-mdm", "enrollments", "delete", "3"); code != ExitError || b.enrollments.Deleted != 0 || !strings.Contains(errs, "nothing was changed") {
		t.Errorf("declined: %d %s", code, errs)
	}
	b.input = "y\n"
	b.ok("apple-mdm", "enrollments", "delete", "3")
	if b.enrollments.Deleted != 3 {
		t.Error("not deleted")
	}
	b.ok("mdm", "unenroll", "--host", "C02ABC", "--yes")
	if b.enrollments.TurnedOff != 7 {
		t.Error("not turned off")
	}
}

func TestUsers(t *testing.T) {
	b := loggedIn(t, "admin")
	out, errs, code := b.run("user", "create", "--name", "CI", "--email", "ci@example.com", "--global-role", "gitops", "--api-only")
	if code != ExitOK || out != "api-token\n" || !strings.Contains(errs, "not shown again") || b.users.Created.Role != fleet.RoleGitOps {
		t.Errorf("%d %q %s", code, out, errs)
	}
	b.input = "first password 1!\n"
	b.ok("user", "create", "--name", "Bob", "--email", "bob@example.com")
	if !b.users.Created.ForceReset || b.users.Created.APIOnly {
		t.Errorf("%+v", b.users.Created)
	}
	if out := b.ok("user", "list"); !strings.Contains(out, "ada@example.com") {
		t.Errorf("list:\n%s", out)
	}
	b.ok("user", "delete", "--email", "ADA@example.com", "--yes")
	if _, _, code := b.run("user", "delete", "--email", "nobody@example.com", "--yes"); code != ExitNotFound {
		t.Errorf("an unknown user: exit %d", code)
	}
}

func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing wrong", nil, ExitOK},
		{"anything else", errors.New("x"), ExitError},
		{"called wrongly", usagef("x"), ExitUsage},
		{"no token", errNotLoggedIn, ExitAuth},
		{"a token that ended", &client.Error{Status: 401}, ExitAuth},
		{"not there", &client.Error{Status: 404}, ExitNotFound},
		{"not allowed", &client.Error{Status: 403}, ExitForbidden},
		{"a plan with changes", ErrChanges, ExitChanges},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := exitCode(tt.err); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
	b := newBench(t)
	for _, arguments := range [][]string{{"nonsense"}, {"get", "nonsense"}, {"get", "hosts", "--nonsense"}, {"get", "host"}, {"config", "set"}} {
		if _, errs, code := b.run(arguments...); code != ExitUsage || !strings.HasPrefix(errs, "Error: ") {
			t.Errorf("%v: exit %d: %s", arguments, code, errs)
		}
	}
	if _, errs, code := b.run("get", "hosts"); code != ExitError || !strings.Contains(errs, "muster config set --address") {
		t.Errorf("no server: %d %s", code, errs)
	}
}

func TestVersionAndConfig(t *testing.T) {
	b := loggedIn(t, "admin")
	if out := b.ok("version"); !strings.Contains(out, "| client | 1.0.0") || !strings.Contains(out, "| server | 2.0.0") {
		t.Errorf("version:\n%s", out)
	}
	if out := b.ok("get", "config"); !strings.Contains(out, "org_name: Acme") {
		t.Errorf("config:\n%s", out)
	}
	_, errs, _ := b.run("get", "config", "--debug")
	if !strings.Contains(errs, "GET "+b.url+"/api/v1/fleet/config: 200") || strings.Contains(errs, "token-admin") {
		t.Errorf("debug: %s", errs)
	}
}

func TestCompletionOffersHostsAndContexts(t *testing.T) {
	b := loggedIn(t, "admin")
	if out := b.ok("__complete", "mdm", "run-command", "--hosts", "x,c02"); !strings.HasPrefix(out, "x,C02ABC\tAda's Mac") {
		t.Errorf("hosts: %s", out)
	}
	if out := b.ok("__complete", "get", "host", ""); !strings.HasPrefix(out, "C02ABC") {
		t.Errorf("host: %s", out)
	}
	if out := b.ok("__complete", "get", "hosts", "--context", ""); !strings.HasPrefix(out, "default") {
		t.Errorf("contexts: %s", out)
	}
	if out := b.ok("completion", "bash"); !strings.Contains(out, "__start_muster") {
		t.Error("no script")
	}
}

func TestDevicesCannotSteerTheTerminalOrASpreadsheet(t *testing.T) {
	var out bytes.Buffer
	if err := writeGrid(&out, []string{"A"}, [][]string{{"x\x1b[2J\ny"}}); err != nil || strings.Contains(out.String(), "\x1b") || strings.Count(out.String(), "\n") != 5 {
		t.Errorf("%q %v", out.String(), err)
	}
	out.Reset()
	if err := writeCSV(&out, []string{"A"}, [][]string{{"=cmd()"}}); err != nil || !strings.Contains(out.String(), "'=cmd()") {
		t.Errorf("%q %v", out.String(), err)
	}
}

func TestServerFlagsBeatTheEnvironmentAndTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "muster.yml")
	if err := os.WriteFile(path, []byte("server:\n  address: :1\nlog:\n  level: warn\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &cli{Deps: Deps{Environ: []string{"MUSTER_SERVER_ADDRESS=:2", "MUSTER_DATA_DIR=/env"}}.withDefaults()}
	cmd := group("serve", "")
	load := c.serverFlags(cmd)
	if err := cmd.ParseFlags([]string{"--config", path, "--server-address", ":3", "--jobs-disabled", "--database-url=mysql://u:hunter2@h/d", "--private-key-file", filepath.Join(dir, "key")}); err != nil {
		t.Fatal(err)
	}
	if _, err := load(); err == nil || !strings.Contains(err.Error(), "--private-key-file") {
		t.Errorf("a missing key file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte(strings.Repeat("A", 42)+"E=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if got.Server.Address != ":3" || got.DataDir != "/env" || got.Log.Level != "warn" || !got.Jobs.Disabled || got.Database.URL.Reveal() != "mysql://u:hunter2@h/d" {
		t.Errorf("got %+v", got)
	}
	if usage := cmd.Flags().FlagUsages(); strings.Contains(usage, "hunter2") || !strings.Contains(usage, `(default ":8080")`) {
		t.Errorf("help:\n%s", usage)
	}
}

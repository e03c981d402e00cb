package cli

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestThePageOnAutomatedEnrollmentIsTrue(t *testing.T) {
	blocks, _ := fenced(pages(t)["docs/automated-enrollment.md"])
	e := newEstate(t)
	t.Chdir(e.dir) // where the page's commands write their files
	cert, key, err := e.push.NewPushCertificate("com.apple.mgmt.External.story")
	e.must(err)
	e.story.run("", "apns", "upload", "--cert", e.file("push.pem", cert), "--key", e.file("push.key", key))
	var server, enrollment string
	read := func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(name)
		e.must(err)
		return data
	}
	buy := func(server string) {
		t.Helper()
		_, err := e.apple.Buy(server, "ipad", 2)
		e.must(err)
	}
	// A company that uploads a key at Apple gets a token.
	token := func(name, key, file string) {
		t.Helper()
		id, p7m, err := e.apple.CreateServer(name, read(key))
		e.must(err)
		server = id
		e.must(os.WriteFile(file, p7m, 0o600))
	}
	// What each command of the page says, and what happens before and then.
	told := []struct {
		command      string
		before, then func()
		says         string
	}{
		{"generate mdm-apple-bm", nil, func() { token("Muster", "muster-apple-bm-public-key.pem", "Muster_Token_smime.p7m") }, "public key is in"},
		{"abm upload", nil, nil, "Apple took the token"},
		{"get mdm-apple-bm", nil, nil, "Muster"},
		{"teams create", nil, nil, "Classroom"},
		{"abm teams", nil, func() { buy(server) }, "Classroom"},
		{"get hosts", func() { e.eventually("get hosts --mdm-pending", "DMP000000001") }, nil, "Pending"},
		{"abm devices", func() { e.eventually("abm devices", "assigned") }, nil, "DMP000000001"},
		{"setup-assistant get", nil, func() {
			e.must(os.WriteFile("classroom.json", []byte(`{"profile_name": "Classroom", "is_supervised": true, "is_mdm_removable": false, "skip_setup_items": ["Siri", "AppleID"]}`), 0o600))
		}, "skip_setup_items"},
		{"setup-assistant set", nil, nil, `the profile "Classroom"`},
		{"abm renew", func() {
			p7m, err := e.apple.RenewToken(server, read("muster-apple-bm-public-key.pem"))
			e.must(err)
			e.must(os.WriteFile("Muster_Token_renewed.p7m", p7m, 0o600))
		}, nil, "Apple took the token"},
		{"abm resync", nil, nil, "are read from Apple anew"},
		{"apple-mdm enrollments create", nil, func() {
			list, err := e.connection.Enrollments(t.Context())
			e.must(err)
			for _, one := range list {
				if one.Name == "Warehouse" {
					enrollment = strconv.FormatInt(one.ID, 10)
				}
			}
		}, "set-token setup"},
		{"apple-mdm enrollments dep set-token setup", nil, func() { token("Warehouse", "muster-apple-dep.pem", "Warehouse.p7m") }, "The certificate is in"},
		{"apple-mdm enrollments dep set-token finalize", nil, func() { buy(server) }, "Apple took the token"},
		{"apple-mdm enrollments dep list", func() { e.eventually("apple-mdm enrollments dep list "+enrollment, "assigned") }, nil, "DMP000000003"},
		{"apple-mdm enrollments dep sync-profiles", nil, nil, "are read from Apple anew"},
		{"abm delete", nil, nil, "is deleted"},
	}
	ran := 0
	for _, b := range blocks {
		for _, x := range commandsOf("docs/automated-enrollment.md", b.text) {
			line := strings.Join(x.words[1:], " ")
			if ran >= len(told) || !strings.HasPrefix(line, told[ran].command) {
				t.Fatalf("docs/automated-enrollment.md:%d: this test does not know %v", b.line, x.words)
			}
			one := told[ran]
			if one.before != nil {
				one.before()
			}
			e.wants(ExitOK, strings.ReplaceAll(line, "ENROLLMENT", enrollment), one.says)
			if one.then != nil {
				one.then()
			}
			ran++
		}
	}
	if ran != len(told) {
		t.Errorf("the page has %d of %d commands", ran, len(told))
	}
	if contexts := string(read(e.dir + "/.muster/config")); strings.Contains(contexts, "PRIVATE KEY") {
		t.Error("the key is still in the configuration after finalize")
	}
}

var digits = regexp.MustCompile(`\d+`)

// eventually runs a command until it says something.
func (e *estate) eventually(arguments, says string) {
	e.t.Helper()
	deadline := time.Now().Add(storyPatience)
	for !strings.Contains(e.wants(ExitOK, arguments), says) {
		if time.Now().After(deadline) {
			e.t.Fatalf("muster %s never says %q", arguments, says)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestEnrollmentsOfDevicesAreChecked(t *testing.T) {
	e := newEstate(t)
	t.Chdir(e.dir)
	manual := digits.FindString(e.wants(ExitOK, "apple-mdm enrollments create --name Office -o csv", "Office"))
	e.wants(ExitUsage, "apple-mdm enrollments dep set-token setup --enrollment "+manual, "is manual", "--type automatic")
	e.wants(ExitNotFound, "apple-mdm enrollments dep set-token setup --enrollment 999", "there is no enrollment 999")
	e.wants(ExitError, "apple-mdm enrollments dep set-token finalize --enrollment 999 --encrypted-auth-token x", "there is no key for enrollment 999")
	automatic := digits.FindString(e.wants(ExitOK, "apple-mdm enrollments create --type automatic --name Given-up -o csv", "Given-up"))
	e.wants(ExitOK, "apple-mdm enrollments dep set-token setup --enrollment "+automatic, "The certificate is in")
	e.wants(ExitError, "apple-mdm enrollments dep set-token finalize --enrollment "+automatic+" --encrypted-auth-token nowhere.p7m", "--encrypted-auth-token: ")
	e.wants(ExitOK, "apple-mdm enrollments delete "+automatic+" --yes", "is deleted")
	if contexts, err := os.ReadFile(e.dir + "/.muster/config"); err != nil || strings.Contains(string(contexts), "PRIVATE KEY") {
		t.Errorf("the key is still in the configuration after the enrollment was deleted: %v", err)
	}
	e.wants(ExitUsage, "apple-mdm enrollments create --name X --type magic", "manual or automatic")
	e.wants(ExitError, "abm upload --token nowhere.p7m", "nowhere.p7m")
	e.wants(ExitUsage, "abm upload", "--token is required")
	e.must(os.WriteFile("foreign.p7m", []byte("nonsense"), 0o600))
	e.wants(ExitError, "abm upload --token foreign.p7m", "muster generate mdm-apple-bm")
	e.wants(ExitOK, "generate mdm-apple-bm", "public key")
	e.wants(ExitError, "abm upload --token foreign.p7m", "not a server token")
	e.wants(ExitNotFound, "abm renew 7 --token foreign.p7m", "there is no server token 7")
	e.wants(ExitNotFound, "abm teams 7 --macos ''", "there is no server token 7")
	e.wants(ExitNotFound, "abm delete 7 --yes", "there is no server token 7")
	e.must(os.WriteFile("bad.json", []byte(`{"profile_name":"X","url":"https://elsewhere"}`), 0o600))
	e.wants(ExitError, "setup-assistant set --file bad.json", "url: is set by the server")
	e.must(os.WriteFile("bad.json", []byte("{\n\"profile_name\":\n}"), 0o600))
	e.wants(ExitError, "setup-assistant set --file bad.json", "bad.json:3 is not JSON", "invalid character")
	e.wants(ExitOK, "setup-assistant get -o yaml", "profile_name: ")
	e.wants(ExitNotFound, "abm devices --token 99", "there is no server token 99")
	e.wants(ExitOK, "abm devices --serial NOSUCH", "No device fits that")
	e.wants(ExitOK, "abm devices", "No devices. Assign some")
	e.wants(ExitError, "sim buy ipad", "no demo is running: start `muster demo`\n")
	e.wants(ExitOK, "get mdm-apple-bm", "No server tokens yet")
}

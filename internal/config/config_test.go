package config

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

var testKey = base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", PrivateKeyBytes)))

func load(files map[string]string, environ []string, flags map[string]string) (Config, error) {
	tree := fstest.MapFS{}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	src := Sources{Flags: flags, Environ: environ, Open: func(path string) (fs.File, error) { return tree.Open(path) }}
	if _, ok := files["muster.yml"]; ok {
		src.File = "muster.yml"
	}
	return Load(src)
}

func TestNothingGivenIsValid(t *testing.T) {
	c, err := load(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Embedded() || c.Server.Address != ":8080" || c.Session.Duration != 120*time.Hour || c.TLS.ACMECache != "data/acme" {
		t.Errorf("unexpected defaults: %+v", c)
	}
}

func TestEveryDefaultParses(t *testing.T) {
	for _, s := range Settings() {
		var c Config
		if s.Default == "" {
			continue
		}
		if err := s.bind(&c).Set(s.Default); err != nil {
			t.Errorf("%s: default %q: %v", s.Name, s.Default, err)
		}
		if s.bind(&c).zero() {
			t.Errorf("%s: default %q reads as not set", s.Name, s.Default)
		}
	}
}

func TestPrecedence(t *testing.T) {
	file := map[string]string{"muster.yml": "server:\n  address: :1\n"}
	for _, tt := range []struct {
		name    string
		environ []string
		flags   map[string]string
		want    string
	}{
		{"the file beats the default", nil, nil, ":1"},
		{"the environment beats the file", []string{"MUSTER_SERVER_ADDRESS=:2"}, nil, ":2"},
		{"a flag beats the environment", []string{"MUSTER_SERVER_ADDRESS=:2"}, map[string]string{"server.address": ":3"}, ":3"},
		{"an empty variable counts as not given", []string{"MUSTER_SERVER_ADDRESS="}, nil, ":1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(file, tt.environ, tt.flags)
			if err != nil {
				t.Fatal(err)
			}
			if c.Server.Address != tt.want {
				t.Errorf("got %s, want %s", c.Server.Address, tt.want)
			}
		})
	}
}

func TestFaultsSayWhereAndWhat(t *testing.T) {
	for _, tt := range []struct {
		name    string
		yaml    string
		environ []string
		want    string
	}{
		{"an unknown key names its line and the nearest key", "server:\n  adress: :1\n", nil, "muster.yml:2: unknown key server.adress; did you mean server.address?"},
		{"an unknown group too", "databse:\n  url: x\n", nil, "did you mean data"},
		{"a repeated key", "log:\n  level: info\n  level: debug\n", nil, "muster.yml:3"},
		{"a second document", "data_dir: a\n---\ndata_dir: b\n", nil, "more than one document"},
		{"an unknown variable names the nearest", "", []string{"MUSTER_DATABASE_ULR=x"}, "MUSTER_DATABASE_ULR: unknown variable; did you mean MUSTER_DATABASE_URL?"},
		{"a number out of bounds", "", []string{"MUSTER_LOGIN_RATE_PER_MINUTE=0"}, "MUSTER_LOGIN_RATE_PER_MINUTE: must be a whole number from 1"},
		{"a wrong choice lists the choices", "tls:\n  mode: maybe\n", nil, "muster.yml:2: tls.mode: must be one of off, files, acme"},
		{"a secret given twice", "", []string{"MUSTER_PRIVATE_KEY=" + testKey, "MUSTER_PRIVATE_KEY_FILE=k"}, "both set"},
		{"a server database without a key", "", []string{"MUSTER_DATABASE_URL=postgres://u:p@h/d"}, "private_key: is required with a database server"},
		{"a database of an unknown kind", "", []string{"MUSTER_DATABASE_URL=oracle://h/d", "MUSTER_PRIVATE_KEY=" + testKey}, `scheme "oracle" is not known`},
		{"a short key", "", []string{"MUSTER_PRIVATE_KEY=c2hvcnQ="}, "private_key: must be the base64 of 32 random bytes"},
		{"a zero key", "", []string{"MUSTER_PRIVATE_KEY=" + base64.StdEncoding.EncodeToString(make([]byte, 32))}, "all zero"},
		{"files without files", "", []string{"MUSTER_TLS_MODE=files"}, "tls.key_file: is required"},
		{"acme without names", "", []string{"MUSTER_TLS_MODE=acme"}, "tls.acme_domains: is required"},
		{"a client certificate header that anybody could send", "", []string{"MUSTER_PROXY_CLIENT_CERT_HEADER=X-Cert"}, "needs proxy.trusted"},
		{"a public address that is no URL", "", []string{"MUSTER_SERVER_URL=mdm.example.com"}, "server.url: must be an absolute URL"},
		{"a network that is none", "", []string{"MUSTER_PROXY_TRUSTED=10.0.0.0/99"}, "is not a network"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(map[string]string{"muster.yml": tt.yaml}, tt.environ, nil)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestSecretsComeFromFilesAndNeverPrint(t *testing.T) {
	c, err := load(map[string]string{
		"muster.yml": "database:\n  url: mysql://user:hunter2@db/muster\nprivate_key_file: key\nprivate_keys_old_file: old\n",
		"key":        testKey + "\n",
		"old":        testKey + "\n" + testKey + "\n",
	}, []string{"MUSTER_METRICS_TOKEN=hunter2"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.PrivateKeysOld) != 2 || c.PrivateKey.Reveal() != testKey {
		t.Errorf("keys not read: %d old", len(c.PrivateKeysOld))
	}
	printed := fmt.Sprintf("%v %+v %#v %v", c, c, c, c.Lines())
	for _, secret := range []string{"hunter2", testKey} {
		if strings.Contains(printed, secret) {
			t.Errorf("a secret is printed: %s", printed)
		}
	}
}

func TestClientAndClusterVariablesAreNotFaults(t *testing.T) {
	_, err := load(nil, []string{"MUSTER_SERVICE_HOST=10.0.0.1", "MUSTER_PORT=tcp://10.0.0.1:80", "MUSTER_PORT_80_TCP=x", "MUSTER_TOKEN=t", "MUSTER_CONTEXT=c"}, nil)
	if err != nil {
		t.Error(err)
	}
}

func TestListsInYAML(t *testing.T) {
	c, err := load(map[string]string{"muster.yml": "proxy:\n  trusted: [10.0.0.0/8, 192.0.2.1]\ntls:\nserver:\n  url: https://mdm.example.com/\n"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Proxy.Trusted) != 2 || c.Proxy.Trusted[1].String() != "192.0.2.1/32" || c.Server.URL != "https://mdm.example.com" {
		t.Errorf("got %+v %s", c.Proxy.Trusted, c.Server.URL)
	}
}

func TestEverySettingIsInTheTable(t *testing.T) {
	table := Markdown()
	for _, s := range Settings() {
		if !strings.Contains(table, "`"+s.Name+"`") || !strings.Contains(table, s.Env()) {
			t.Errorf("%s is missing", s.Name)
		}
		if s.Help == "" || strings.HasSuffix(s.Help, ".") {
			t.Errorf("%s: help is empty or ends in a period", s.Name)
		}
	}
}

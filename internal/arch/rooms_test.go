package arch

// room is a row of the table: what a package may import.
type room struct {
	// path is a directory of the module; "x/*" are all directories below x.
	// The first room that fits is a package's room.
	path string
	// ours are packages of the module that it may import, as paths like the
	// above.
	ours []string
	// doors are libraries and guarded parts of the standard library.
	doors []string
	// test files may import all of that, testDoors of everybody, and these.
	testOurs  []string
	testDoors []string
	// planned rooms need not have a package yet.
	planned bool
}

// guarded are parts of the standard library that want a door like a library.
var guarded = []string{
	"crypto/x509", "database/sql", "encoding/asn1", "encoding/xml", "net/http", "net/rpc", "net/smtp",
	"expvar", "os/exec", "plugin", "testing", "unsafe", "log", "C",
}

// Doors that every test file has.
var testDoors = []string{
	"testing", "net/http", "crypto/x509", "encoding/asn1",
	"github.com/google/go-cmp/cmp", "go.uber.org/goleak", "pgregory.net/rapid",
}

// Groups of rooms that rows name together.
var (
	nouns      = "internal/fleet"
	kit        = "internal/kit/*"
	codec      = "internal/codec/*"
	api        = "api/v1"
	everything = []string{"api/*", "internal/*"}
	// withStore is for tests of rules: they run on the real store.
	withStore = []string{"internal/store", "internal/store/storetest"}
)

// rooms is the table "who may import whom" of docs/ARCHITECTURE.md.
var rooms = []room{
	// Leaves.
	{path: "internal/kit/httpx", ours: []string{kit}, doors: []string{"net/http"}},
	{path: "internal/kit/ratelimit", ours: []string{kit}, doors: []string{"golang.org/x/time/rate"}},
	{path: "internal/kit/*", ours: []string{kit}},

	// Nouns. Identities carry parsed certificates.
	{path: nouns, ours: []string{"internal/kit/ids"}, doors: []string{"crypto/x509"}},

	// Bytes to structs and back.
	{path: "internal/codec/cms", ours: []string{nouns, kit},
		doors:     []string{"crypto/x509", "encoding/asn1", "github.com/smallstep/pkcs7", "golang.org/x/crypto/cryptobyte"},
		testDoors: []string{"os/exec"}}, // openssl as a second opinion
	{path: "internal/codec/plist", ours: []string{nouns, kit}, doors: []string{"howett.net/plist"}},
	{path: "internal/codec/mdmcmd", ours: []string{nouns, kit, "internal/codec/plist"}, doors: []string{"crypto/x509"}, testDoors: []string{"os/exec"}},
	{path: "internal/codec/mobileconfig", ours: []string{nouns, kit, "internal/codec/plist", "internal/codec/cms"}, doors: []string{"crypto/x509"}},
	{path: "internal/codec/pushcsr", ours: []string{nouns, kit, "internal/codec/plist"}, doors: []string{"crypto/x509"}},
	{path: "internal/codec/deptoken", ours: []string{nouns, kit, "internal/codec/cms"}, doors: []string{"crypto/x509"},
		testDoors: []string{"os/exec", "github.com/smallstep/pkcs7"}}, // openssl as a second opinion
	{path: "internal/codec/xarpkg", ours: []string{nouns, kit, "internal/codec/cms"}, doors: []string{"crypto/x509", "encoding/xml"},
		testOurs: []string{"sim/installer"}}, // makes packages
	{path: "internal/codec/adeprofile", ours: []string{nouns, kit}},
	{path: "internal/codec/machineinfo", ours: []string{nouns, kit, "internal/codec/plist", "internal/codec/cms"}, doors: []string{"crypto/x509"},
		testDoors: []string{"os/exec", "github.com/smallstep/pkcs7"}}, // openssl as a second opinion
	{path: "internal/codec/variables", ours: []string{nouns, kit}, doors: []string{"encoding/xml"}},
	{path: "internal/codec/ddm", ours: []string{nouns, kit}},
	{path: "internal/codec/scepmsg", ours: []string{nouns, kit, "internal/codec/cms"},
		doors: []string{"crypto/x509", "encoding/asn1", "github.com/smallstep/scep/x509util"}, testDoors: []string{"github.com/smallstep/scep"}},

	// Verbs: never each other, no transport, no SQL.
	{path: "internal/access", ours: []string{nouns, kit}, doors: []string{"golang.org/x/crypto/argon2"}, testOurs: withStore},
	{path: "internal/ade", ours: []string{nouns, kit, codec}, testOurs: withStore},
	{path: "internal/bootstrap", ours: []string{nouns, kit, codec}, testOurs: append([]string{"sim/installer"}, withStore...)},
	{path: "internal/command", ours: []string{nouns, kit, codec}, testOurs: withStore},
	{path: "internal/enroll", ours: []string{nouns, kit, codec}, doors: []string{"crypto/x509"}, testOurs: withStore},
	{path: "internal/guardian", ours: []string{nouns, kit, codec}, testOurs: withStore},
	{path: "internal/hostaction", ours: []string{nouns, kit, codec}, testOurs: withStore},
	{path: "internal/inventory", ours: []string{nouns, kit, codec}, testOurs: withStore},
	{path: "internal/pki", ours: []string{nouns, kit, codec}, doors: []string{"crypto/x509", "encoding/asn1"}, testOurs: withStore},
	{path: "internal/profile", ours: []string{nouns, kit, codec}, testOurs: withStore},
	{path: "internal/reconcile", ours: []string{nouns, kit, codec}, testOurs: withStore},
	{path: "internal/settings", ours: []string{nouns, kit, codec}, testOurs: withStore},
	{path: "internal/setup", ours: []string{nouns, kit, codec}, testOurs: withStore},
	{path: "internal/vault", ours: []string{nouns, kit, codec}, testOurs: withStore},

	// Edges that devices call.
	{path: "internal/apple", ours: []string{nouns, kit, codec},
		doors:    []string{"crypto/x509", "net/http", "github.com/micromdm/nanomdm/http/mdm", "github.com/micromdm/nanomdm/mdm", "github.com/micromdm/nanomdm/service"},
		testOurs: withStore},
	{path: "internal/scep", ours: []string{nouns, kit, codec}, doors: []string{"crypto/x509", "net/http"}},

	// Edges that people call. Access's table of roles is walked by a test.
	{path: "internal/httpapi", ours: []string{nouns, kit, api},
		doors:    []string{"crypto/x509", "net/http", "github.com/danielgtaylor/huma/v2", "software.sslmate.com/src/go-pkcs12"},
		testOurs: []string{"internal/access", "internal/httpapi/httpapitest"}},
	{path: "internal/httpapi/httpapitest", ours: []string{nouns, kit, api}},
	// What a repository of YAML says; no server.
	{path: "internal/gitops", ours: []string{api, kit, "internal/codec/variables"}, doors: []string{"gopkg.in/yaml.v3"}},
	// The command line reaches a server through client only. app and sim are
	// for the commands that are a server or devices themselves, store and vault
	// for those that work on the database without a server (db, keys).
	{path: "internal/cli", ours: []string{api, "client", kit, "internal/config", "internal/app", "internal/gitops", "internal/store", "internal/vault", "sim/*"},
		doors: []string{"encoding/xml", "net/http", "os/exec", "github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term", "gopkg.in/yaml.v3"},
		// Tests run it against the real API over stand-ins for its ports.
		testOurs: []string{nouns, "internal/access", "internal/httpapi", "internal/httpapi/httpapitest"}},
	{path: "client", ours: []string{api}, doors: []string{"crypto/x509", "net/http"},
		testOurs: []string{nouns, "internal/access", "internal/httpapi", "internal/httpapi/httpapitest"}},
	{path: "api/v1"},

	// Edges that are called.
	{path: "internal/store", ours: []string{nouns, kit},
		doors:    []string{"database/sql", "github.com/go-sql-driver/mysql", "github.com/jackc/pgx/v5", "modernc.org/sqlite"},
		testOurs: withStore},
	{path: "internal/store/storetest", ours: []string{nouns, kit, "internal/store"}, doors: []string{"database/sql", "testing"}},
	{path: "internal/applenet", ours: []string{nouns, kit, codec}, doors: []string{"crypto/x509", "net/http"},
		testOurs: []string{"sim/appleserver"}, testDoors: []string{"os/exec"}}, // the push service of a benchmark is a process

	// Glue.
	{path: "internal/jobs", ours: []string{kit}},
	{path: "internal/config", ours: []string{kit}, doors: []string{"gopkg.in/yaml.v3"}},
	{path: "internal/app", ours: everything,
		doors: []string{"crypto/x509", "net/http", "github.com/prometheus/client_golang/prometheus", "golang.org/x/crypto/acme",
			"github.com/micromdm/nanomdm/service"},
		testOurs: []string{"client", "sim/*"}, testDoors: []string{"github.com/letsencrypt/pebble/v2", "github.com/miekg/dns"}},
	{path: "internal/arch", testOurs: []string{"internal/config"}},
	{path: "cmd/muster", ours: []string{api, "internal/cli"}, planned: true},

	// Simulators share encodings with the server and no rules.
	{path: "sim/appledev", ours: []string{codec, kit}, doors: []string{"crypto/x509", "encoding/asn1", "net/http", "howett.net/plist"},
		// Its tests boot it through Apple's side; openssl is a second opinion.
		testOurs: []string{"sim/appleserver"}, testDoors: []string{"os/exec"}},
	{path: "sim/appleserver", ours: []string{codec, kit}, doors: []string{"crypto/x509", "encoding/asn1", "net/http", "github.com/google/uuid"},
		testDoors: []string{"os/exec"}},
	{path: "sim/installer", ours: []string{codec, kit}, doors: []string{"crypto/x509"}},
	{path: "sim/load", ours: []string{codec, kit, api, "client", "sim/*"},
		doors:     []string{"crypto/x509", "net/http", "github.com/google/uuid", "github.com/smallstep/pkcs7", "golang.org/x/time/rate"},
		testDoors: []string{"howett.net/plist"}},
	{path: "sim/scenario", ours: []string{codec, kit, api, "client", "sim/*"}, doors: []string{"net/http"}, planned: true},

	// The whole from outside.
	// It plays devices by hand where simulated ones are too well-behaved, and
	// NanoMDM's device is a second opinion.
	{path: "test/e2e", ours: []string{api, "client", codec, "sim/*", "internal/app", "internal/config"}, testOurs: withStore,
		testDoors: []string{"os/exec", "database/sql", "github.com/micromdm/nanomdm/test/protocol"}},
}

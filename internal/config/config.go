package config

import (
	"encoding/base64"
	"net/netip"
	"path/filepath"
	"time"
)

// Config is how one process runs. The zero value is valid; WithDefaults shows
// what it means.
type Config struct {
	DataDir        string
	Database       Database
	Server         Server
	TLS            TLS
	Proxy          Proxy
	PrivateKey     Secret // base64 of PrivateKeyBytes bytes; empty with the embedded database: KeyFile
	PrivateKeysOld Secrets
	Log            Log
	Apple          Apple
	Session        Session
	Login          Login
	Limits         Limits
	Metrics        Metrics
	Shutdown       Shutdown
	Webhook        Webhook
	Desired        Desired
	Refetch        Refetch
	Renewal        Renewal
	Jobs           Jobs
}

// Database says where state is kept.
type Database struct {
	URL          Secret // may carry a password; empty: SQLite in DataDir
	MaxOpenConns int
}

// Server says where the process listens and how it is reached.
type Server struct {
	Address string
	URL     string // public base URL without a trailing slash; may be empty until setup
}

// TLS modes.
const (
	TLSOff   = "off"
	TLSFiles = "files"
	TLSACME  = "acme"
)

// TLS says how the process terminates TLS.
type TLS struct {
	Mode             string
	CertFile         string
	KeyFile          string
	ACMEDomains      []string
	ACMEEmail        string
	ACMEDirectoryURL string
	ACMERootCAFile   string // PEM; empty: the system's roots
	ACMECache        string
}

// Proxy says which peers may speak for others.
type Proxy struct {
	Trusted          []netip.Prefix
	ClientCertHeader string
}

// Log formats and what to log.
type Log struct {
	Format string
	Level  string
}

// Apple holds the settings of Apple's services.
type Apple struct {
	APNSURL        string
	APNSRootCAFile string
	PushWorkers    int
	PushSignerURL  string
	DEPURL         string
	DEPRootCAFile  string
	DEPSyncEvery   time.Duration
	DeviceCAFile   string
}

// Session says how long a login lasts.
type Session struct{ Duration time.Duration }

// Login bounds password guessing.
type Login struct{ RatePerMinute int }

// Limits are the sizes and rates that protect the server.
type Limits struct {
	APIBodyBytes       int
	DeviceBodyBytes    int
	PageSize           int
	CommandTargets     int
	EnrollmentsPerHour int
	PackageBytes       int
}

// Metrics says who may read /metrics.
type Metrics struct {
	Disabled bool
	Token    Secret
}

// Shutdown bounds the graceful stop.
type Shutdown struct{ DrainTimeout time.Duration }

// Desired is about what hosts should have.
type Desired struct{ Paused bool }

// Refetch is about asking hosts for their vitals.
type Refetch struct {
	Interval time.Duration
	Paused   bool
}

// Renewal is about renewing device identities.
type Renewal struct {
	Window  time.Duration
	PerHour int
	Paused  bool
}

// Webhook is where device events go. With a secret, what is posted is signed.
type Webhook struct {
	URL    string
	Secret Secret
}

// Jobs says whether this process runs background work.
type Jobs struct{ Disabled bool }

// PrivateKeyBytes is the length of a decoded server private key.
const PrivateKeyBytes = 32

// Embedded reports whether the database is the embedded SQLite.
func (c Config) Embedded() bool { return c.Database.URL == "" }

// DatabaseFile is the path of the embedded database.
func (c Config) DatabaseFile() string { return filepath.Join(c.DataDir, "muster.db") }

// KeyFile is where the server key is kept when none is configured. It is used
// with the embedded database only: replicas must share one key.
func (c Config) KeyFile() string { return filepath.Join(c.DataDir, "muster.key") }

// PrivateKeyValue decodes PrivateKey; nil when none is set.
func (c Config) PrivateKeyValue() ([]byte, error) {
	if c.PrivateKey == "" {
		return nil, nil
	}
	return decodeKey(c.PrivateKey)
}

// PrivateKeysOldValues decodes the keys that may still open, but no longer
// seal, records.
func (c Config) PrivateKeysOldValues() ([][]byte, error) {
	keys := make([][]byte, 0, len(c.PrivateKeysOld))
	for _, s := range c.PrivateKeysOld {
		key, err := decodeKey(s)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// WithDefaults fills every zero field with its default.
func (c Config) WithDefaults() Config {
	for _, s := range Settings() {
		v := s.bind(&c)
		if s.Default == "" || !v.zero() {
			continue
		}
		// Defaults are constants of this package; a test parses each one.
		_ = v.Set(s.Default)
	}
	if c.TLS.ACMECache == "" {
		c.TLS.ACMECache = filepath.Join(c.DataDir, "acme")
	}
	return c
}

func decodeKey(s Secret) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(s.Reveal())
	if err != nil {
		return nil, errKeyForm
	}
	if len(key) != PrivateKeyBytes {
		return nil, errKeyForm
	}
	for _, b := range key {
		if b != 0 {
			return key, nil
		}
	}
	return nil, errKeyZero
}

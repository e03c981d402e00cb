package config

import (
	"strings"
	"time"
)

// EnvPrefix begins every environment variable that is ours.
const EnvPrefix = "MUSTER_"

// fileSuffix marks the variant of a secret's name that points to a file.
const fileSuffix = "_file"

// Bounds of settings whose default is not the only sane value.
const (
	maxConns          = 10_000
	minBodyBytes      = 64 << 10
	maxBodyBytes      = 1 << 30
	maxPackageBytes   = 4 << 30
	maxPageSize       = 100_000
	maxTargets        = 1_000_000
	maxWorkers        = 1_024
	maxPerMinute      = 100_000
	maxDrain          = time.Hour
	minSession        = time.Minute
	maxSession        = 365 * 24 * time.Hour
	minDrain          = time.Second
	minSync           = time.Second
	maxSync           = 24 * time.Hour
	defaultDEPURL     = "https://mdmenrollment.apple.com"
	minRenewal        = 24 * time.Hour
	maxRenewal        = 360 * 24 * time.Hour
	minRefetch        = time.Minute
	maxRefetch        = 30 * 24 * time.Hour
	defaultAPNSURL    = "https://api.push.apple.com"
	defaultACMEServer = "https://acme-v02.api.letsencrypt.org/directory"
)

// Setting describes one setting. Every other form of it follows from Name.
type Setting struct {
	Name    string // dotted YAML path, such as "database.url"
	Default string // empty: none
	Help    string // one sentence without a final period
	Secret  bool   // never printed; has a _file variant
	// NoFlag keeps keys and tokens off the command line, where every user of
	// the machine can read them; the flag that names a file remains.
	NoFlag bool

	bind func(*Config) Value
}

// Env is the environment variable of the setting.
func (s Setting) Env() string { return envName(s.Name) }

// Flag is the command line flag of the setting without dashes.
func (s Setting) Flag() string { return flagName(s.Name) }

// FileName is the name of the variant that points to a file; empty for a
// setting that is not secret.
func (s Setting) FileName() string {
	if !s.Secret {
		return ""
	}
	return s.Name + fileSuffix
}

// Value binds the setting to c.
func (s Setting) Value(c *Config) Value { return s.bind(c) }

func envName(name string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

func flagName(name string) string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(name)
}

// Settings lists every setting in the order of the documentation.
func Settings() []Setting {
	var all []Setting
	all = append(all, serverSettings()...)
	all = append(all, secretSettings()...)
	all = append(all, appleSettings()...)
	return append(all, operationSettings()...)
}

func serverSettings() []Setting {
	return []Setting{
		{Name: "data_dir", Default: "./data", Help: "Directory of the embedded database, the generated server key and the ACME cache",
			bind: func(c *Config) Value { return textValue{&c.DataDir} }},
		{Name: "database.url", Secret: true, Help: "postgres://… or mysql://… URL; empty: embedded SQLite in data_dir",
			bind: func(c *Config) Value { return secretValue{&c.Database.URL} }},
		{Name: "database.max_open_conns", Default: "25", Help: "Most connections to a database server",
			bind: func(c *Config) Value { return intValue{&c.Database.MaxOpenConns, 1, maxConns} }},
		{Name: "server.address", Default: ":8080", Help: "Address to listen on, host:port",
			bind: func(c *Config) Value { return textValue{&c.Server.Address} }},
		{Name: "server.url", Help: "Public URL that devices and people use, such as https://mdm.example.com; setup may set it later",
			bind: func(c *Config) Value { return urlValue{&c.Server.URL} }},
		{Name: "tls.mode", Default: TLSOff, Help: "off (plain HTTP behind a TLS proxy), files (tls.cert_file and tls.key_file) or acme",
			bind: func(c *Config) Value { return choiceValue{&c.TLS.Mode, []string{TLSOff, TLSFiles, TLSACME}} }},
		{Name: "tls.cert_file", Help: "Certificate chain in PEM form; read again when it changes",
			bind: func(c *Config) Value { return textValue{&c.TLS.CertFile} }},
		{Name: "tls.key_file", Help: "Private key of the certificate in PEM form",
			bind: func(c *Config) Value { return textValue{&c.TLS.KeyFile} }},
		{Name: "tls.acme_domains", Help: "Host names to get certificates for",
			bind: func(c *Config) Value { return listValue{&c.TLS.ACMEDomains} }},
		{Name: "tls.acme_email", Help: "Contact that the certificate authority writes to",
			bind: func(c *Config) Value { return textValue{&c.TLS.ACMEEmail} }},
		{Name: "tls.acme_directory_url", Default: defaultACMEServer, Help: "ACME directory of the certificate authority",
			bind: func(c *Config) Value { return textValue{&c.TLS.ACMEDirectoryURL} }},
		{Name: "tls.acme_root_ca_file", Help: "Roots in PEM form to trust for the ACME directory instead of the system's, for an authority of your own",
			bind: func(c *Config) Value { return textValue{&c.TLS.ACMERootCAFile} }},
		{Name: "tls.acme_cache", Help: "Directory of ACME account and certificates; empty: data_dir/acme",
			bind: func(c *Config) Value { return textValue{&c.TLS.ACMECache} }},
		{Name: "proxy.trusted", Help: "Networks of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8",
			bind: func(c *Config) Value { return prefixesValue{&c.Proxy.Trusted} }},
		{Name: "proxy.client_cert_header", Help: "Header in which a trusted proxy hands over the client certificate",
			bind: func(c *Config) Value { return textValue{&c.Proxy.ClientCertHeader} }},
	}
}

func secretSettings() []Setting {
	return []Setting{
		{Name: "private_key", Secret: true, NoFlag: true, Help: "Base64 of 32 random bytes that seals every secret in the database; required with a database server",
			bind: func(c *Config) Value { return secretValue{&c.PrivateKey} }},
		{Name: "private_keys_old", Secret: true, NoFlag: true, Help: "Earlier private keys that may still open records until `muster keys rotate` is through",
			bind: func(c *Config) Value { return secretsValue{&c.PrivateKeysOld} }},
	}
}

func appleSettings() []Setting {
	return []Setting{
		{Name: "apple.apns_url", Default: defaultAPNSURL, Help: "Apple's push service; a simulator's address for tests",
			bind: func(c *Config) Value { return urlValue{&c.Apple.APNSURL} }},
		{Name: "apple.apns_root_ca_file", Help: "Roots in PEM form to trust for the push service instead of the system's",
			bind: func(c *Config) Value { return textValue{&c.Apple.APNSRootCAFile} }},
		{Name: "apple.push_workers", Default: "8", Help: "Pushes in flight at once",
			bind: func(c *Config) Value { return intValue{&c.Apple.PushWorkers, 1, maxWorkers} }},
		{Name: "apple.push_signer_url", Help: "Service that countersigns push certificate requests with an MDM vendor certificate; empty: the request is given out unsigned",
			bind: func(c *Config) Value { return urlValue{&c.Apple.PushSignerURL} }},
		{Name: "apple.dep_url", Default: defaultDEPURL, Help: "Apple's device enrollment service; a simulator's address for tests",
			bind: func(c *Config) Value { return urlValue{&c.Apple.DEPURL} }},
		{Name: "apple.dep_root_ca_file", Help: "Roots in PEM form to trust for the device enrollment service instead of the system's",
			bind: func(c *Config) Value { return textValue{&c.Apple.DEPRootCAFile} }},
		{Name: "apple.dep_sync_every", Default: "1m", Help: "How often changes are read from the device enrollment service",
			bind: func(c *Config) Value { return durationValue{&c.Apple.DEPSyncEvery, minSync, maxSync} }},
		{Name: "apple.device_ca_file", Help: "Authorities in PEM form to trust besides Apple's for what devices say before they enroll, such as a simulator's",
			bind: func(c *Config) Value { return textValue{&c.Apple.DeviceCAFile} }},
	}
}

func operationSettings() []Setting {
	return []Setting{
		{Name: "desired.paused", Help: "Hold everything that makes hosts what they should be, as during a migration: nothing is installed, removed or verified",
			bind: func(c *Config) Value { return boolValue{&c.Desired.Paused} }},
		{Name: "log.format", Default: "json", Help: "json or text",
			bind: func(c *Config) Value { return choiceValue{&c.Log.Format, []string{"json", "text"}} }},
		{Name: "log.level", Default: "info", Help: "debug, info, warn or error",
			bind: func(c *Config) Value { return choiceValue{&c.Log.Level, []string{"debug", "info", "warn", "error"}} }},
		{Name: "refetch.interval", Default: "1h", Help: "After what time enrolled hosts are asked again for their vitals, software and certificates",
			bind: func(c *Config) Value { return durationValue{&c.Refetch.Interval, minRefetch, maxRefetch} }},
		{Name: "refetch.paused", Help: "Ask hosts only when a person wants it, and not by the clock",
			bind: func(c *Config) Value { return boolValue{&c.Refetch.Paused} }},
		{Name: "renewal.window", Default: "4320h", Help: "How long before they expire device identities are renewed; they are good for a year",
			bind: func(c *Config) Value { return durationValue{&c.Renewal.Window, minRenewal, maxRenewal} }},
		{Name: "renewal.per_hour", Default: "500", Help: "How many renewals of device identities begin in an hour at most",
			bind: func(c *Config) Value { return intValue{&c.Renewal.PerHour, 1, maxTargets} }},
		{Name: "renewal.paused", Help: "Begin no renewals of device identities, as during a migration",
			bind: func(c *Config) Value { return boolValue{&c.Renewal.Paused} }},
		{Name: "session.duration", Default: "120h", Help: "How long a login lasts without use",
			bind: func(c *Config) Value { return durationValue{&c.Session.Duration, minSession, maxSession} }},
		{Name: "login.rate_per_minute", Default: "10", Help: "Login attempts per minute for one address and e-mail",
			bind: func(c *Config) Value { return intValue{&c.Login.RatePerMinute, 1, maxPerMinute} }},
		{Name: "limits.api_body_bytes", Default: "1048576", Help: "Largest body of an API request; uploads have limits of their own",
			bind: func(c *Config) Value { return intValue{&c.Limits.APIBodyBytes, minBodyBytes, maxBodyBytes} }},
		{Name: "limits.device_body_bytes", Default: "16777216", Help: "Largest message of a device",
			bind: func(c *Config) Value { return intValue{&c.Limits.DeviceBodyBytes, minBodyBytes, maxBodyBytes} }},
		{Name: "limits.page_size", Default: "10000", Help: "Most rows in one page of a list",
			bind: func(c *Config) Value { return intValue{&c.Limits.PageSize, 1, maxPageSize} }},
		{Name: "limits.command_targets", Default: "100000", Help: "Most hosts of one command",
			bind: func(c *Config) Value { return intValue{&c.Limits.CommandTargets, 1, maxTargets} }},
		{Name: "limits.enrollments_per_hour", Default: "600", Help: "Enrollment profile downloads per hour from one address",
			bind: func(c *Config) Value { return intValue{&c.Limits.EnrollmentsPerHour, 1, maxTargets} }},
		{Name: "limits.package_bytes", Default: "524288000", Help: "Largest bootstrap package; it is kept in the database",
			bind: func(c *Config) Value { return intValue{&c.Limits.PackageBytes, minBodyBytes, maxPackageBytes} }},
		{Name: "metrics.disabled", Help: "Do not serve /metrics",
			bind: func(c *Config) Value { return boolValue{&c.Metrics.Disabled} }},
		{Name: "metrics.token", Secret: true, NoFlag: true, Help: "Bearer token that /metrics asks for; empty: only the machine itself may read it",
			bind: func(c *Config) Value { return secretValue{&c.Metrics.Token} }},
		{Name: "shutdown.drain_timeout", Default: "30s", Help: "How long requests may go on after a stop was asked for",
			bind: func(c *Config) Value { return durationValue{&c.Shutdown.DrainTimeout, minDrain, maxDrain} }},
		{Name: "webhook.url", Help: "Where device check-ins and command results are posted, in MicroMDM's webhook form",
			bind: func(c *Config) Value { return urlValue{&c.Webhook.URL} }},
		{Name: "webhook.secret", Secret: true, NoFlag: true, Help: "Signs what is posted to the webhook: base64 of its HMAC-SHA256 in X-Hmac-Signature",
			bind: func(c *Config) Value { return secretValue{&c.Webhook.Secret} }},
		{Name: "jobs.disabled", Help: "Only serve; other replicas run the background jobs",
			bind: func(c *Config) Value { return boolValue{&c.Jobs.Disabled} }},
	}
}

package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
)

var (
	errKeyForm = fmt.Errorf("must be the base64 of %d random bytes; make one with: openssl rand -base64 %d", PrivateKeyBytes, PrivateKeyBytes)
	errKeyZero = errors.New("must not be all zero bytes; make one with: openssl rand -base64 32")
)

// Validate reports every fault of a configuration with defaults filled in. It
// opens no file and no connection.
func (c Config) Validate() error {
	return errors.Join(
		c.validateDatabase(),
		c.validateKeys(),
		c.validateServer(),
		c.validateTLS(),
		c.validateURLs(),
	)
}

func (c Config) validateDatabase() error {
	if c.Embedded() {
		return nil
	}
	u, err := url.Parse(c.Database.URL.Reveal())
	if err != nil {
		// The parse error would repeat the URL with its password.
		return errors.New("database.url: is not a URL such as postgres://user:password@host:5432/muster")
	}
	switch u.Scheme {
	case "postgres", "postgresql", "mysql":
	default:
		return fmt.Errorf("database.url: scheme %q is not known; use postgres:// or mysql://, or leave it empty for the embedded database", u.Scheme)
	}
	if c.PrivateKey == "" {
		return errors.New("private_key: is required with a database server, because replicas must share it; " +
			"make one with: openssl rand -base64 32, and set MUSTER_PRIVATE_KEY or MUSTER_PRIVATE_KEY_FILE")
	}
	return nil
}

func (c Config) validateKeys() error {
	var faults []error
	if _, err := c.PrivateKeyValue(); err != nil {
		faults = append(faults, fmt.Errorf("private_key: %w", err))
	}
	if _, err := c.PrivateKeysOldValues(); err != nil {
		faults = append(faults, fmt.Errorf("private_keys_old: each %w", err))
	}
	return errors.Join(faults...)
}

func (c Config) validateServer() error {
	var faults []error
	if _, _, err := net.SplitHostPort(c.Server.Address); err != nil {
		faults = append(faults, errors.New("server.address: must be host:port or :port, such as :8080"))
	}
	if c.Proxy.ClientCertHeader != "" && len(c.Proxy.Trusted) == 0 {
		faults = append(faults, errors.New("proxy.client_cert_header: needs proxy.trusted, or anybody could send the header"))
	}
	return errors.Join(faults...)
}

func (c Config) validateTLS() error {
	var faults []error
	switch c.TLS.Mode {
	case TLSFiles:
		if c.TLS.CertFile == "" {
			faults = append(faults, errors.New("tls.cert_file: is required with tls.mode files"))
		}
		if c.TLS.KeyFile == "" {
			faults = append(faults, errors.New("tls.key_file: is required with tls.mode files"))
		}
	case TLSACME:
		if len(c.TLS.ACMEDomains) == 0 {
			faults = append(faults, errors.New("tls.acme_domains: is required with tls.mode acme"))
		}
	case TLSOff:
		if c.TLS.CertFile != "" || c.TLS.KeyFile != "" {
			faults = append(faults, errors.New("tls.cert_file: is set while tls.mode is off; set tls.mode to files"))
		}
	}
	return errors.Join(faults...)
}

func (c Config) validateURLs() error {
	var faults []error
	for _, u := range []struct{ name, text string }{
		{"server.url", c.Server.URL},
		{"apple.apns_url", c.Apple.APNSURL},
		{"apple.dep_url", c.Apple.DEPURL},
		{"apple.push_signer_url", c.Apple.PushSignerURL},
		{"webhook.url", c.Webhook.URL},
		{"tls.acme_directory_url", c.TLS.ACMEDirectoryURL},
	} {
		if u.text == "" || isWebURL(u.text) {
			continue
		}
		faults = append(faults, fmt.Errorf("%s: must be an absolute URL such as https://mdm.example.com", u.name))
	}
	if u, err := url.Parse(c.Server.URL); err == nil && (u.RawQuery != "" || u.Fragment != "" || u.User != nil) {
		faults = append(faults, errors.New("server.url: must not have a user, a query or a fragment"))
	}
	return errors.Join(faults...)
}

func isWebURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	return (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

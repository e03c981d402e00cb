package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/internal/jobs"
)

// Limits of connections.
const (
	headerTimeout  = 15 * time.Second
	readTimeout    = 2 * time.Minute
	writeTimeout   = 5 * time.Minute
	keepAlive      = 2 * time.Minute
	maxHeaderBytes = 32 << 10 // SCEP repeats whole messages in query strings
	defaultDrain   = 30 * time.Second
	// certCheckEvery is how often certificate files are looked at for changes.
	certCheckEvery = time.Minute
	acmeTimeout    = time.Minute // of one request to an authority of one's own
)

// Run serves and works until ctx ends, then drains: no new work, requests
// under way finish, what is in memory is written.
func (a *App) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, a.Close()) }()
	listener := a.options.Listener
	if listener == nil {
		if listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", a.config.Server.Address); err != nil {
			return fmt.Errorf("listen on %s: %w (is another server running, or the port reserved?)", a.config.Server.Address, err)
		}
	}
	server := &http.Server{Handler: a.Handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: keepAlive, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}
	if server.TLSConfig, err = a.tlsConfig(); err != nil {
		return errors.Join(err, listener.Close())
	}
	working, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	work := a.Jobs
	if a.config.Jobs.Disabled {
		// What a replica needs to answer is its own.
		work = slices.DeleteFunc(slices.Clone(work), func(j jobs.Job) bool { return !j.Local })
	}
	wg.Go(func() { a.runner.Run(working, work) })
	failed := make(chan error, 1)
	wg.Go(func() { failed <- serve(server, listener) })
	a.log.Info("serving", "address", listener.Addr().String(), "tls", a.config.TLS.Mode, "database", string(a.db.Dialect()))
	if a.options.Ready != nil {
		a.options.Ready(listener.Addr())
	}
	select {
	case err = <-failed:
	case <-ctx.Done():
		err = a.drain(ctx, server)
	}
	stopWork()
	wg.Wait()
	return errors.Join(err, a.seen.Flush(context.WithoutCancel(ctx)))
}

func serve(s *http.Server, l net.Listener) error {
	var err error
	if s.TLSConfig != nil {
		err = s.ServeTLS(l, "", "")
	} else {
		err = s.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (a *App) drain(ctx context.Context, server *http.Server) error {
	a.draining.Store(true)
	timeout := a.config.Shutdown.DrainTimeout
	if timeout <= 0 {
		timeout = defaultDrain
	}
	a.log.Info("draining", "timeout", timeout.String())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests were still under way after %s: %w", timeout, err), server.Close())
	}
	return nil
}

// tlsConfig returns nil for plain HTTP. Client certificates are asked for and
// not demanded: most routes have none, and devices' own authority is checked
// where they are used.
func (a *App) tlsConfig() (*tls.Config, error) {
	c := a.config.TLS
	out := &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert}
	switch c.Mode {
	case config.TLSFiles:
		files := &certFiles{cert: c.CertFile, key: c.KeyFile, clock: a.clock}
		if _, err := files.get(nil); err != nil {
			return nil, err
		}
		out.GetCertificate = files.get
		return out, nil
	case config.TLSACME:
		cache := c.ACMECache
		if cache == "" {
			cache = filepath.Join(a.config.DataDir, "acme")
		}
		roots, err := rootsFrom("tls.acme_root_ca_file", c.ACMERootCAFile)
		if err != nil {
			return nil, err
		}
		client := &acme.Client{DirectoryURL: c.ACMEDirectoryURL, UserAgent: "muster"}
		if roots != nil {
			client.HTTPClient = &http.Client{Timeout: acmeTimeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment,
				TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, IdleConnTimeout: keepAlive}}
		}
		m := &autocert.Manager{Prompt: autocert.AcceptTOS, HostPolicy: autocert.HostWhitelist(c.ACMEDomains...),
			Cache: autocert.DirCache(cache), Email: c.ACMEEmail, Client: client}
		out.GetCertificate = m.GetCertificate
		out.NextProtos = []string{"h2", "http/1.1", acme.ALPNProto}
		return out, nil
	}
	return nil, nil
}

// certFiles serves a certificate from files and reads them again when they
// change.
type certFiles struct {
	cert, key string
	clock     func() time.Time
	mu        sync.Mutex
	pair      *tls.Certificate
	changed   time.Time
	checked   time.Time
}

func (f *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock()
	if f.pair != nil && now.Sub(f.checked) < certCheckEvery {
		return f.pair, nil
	}
	f.checked = now
	info, err := os.Stat(f.cert)
	if err == nil && f.pair != nil && info.ModTime().Equal(f.changed) {
		return f.pair, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.pair, f.changed = &pair, info.ModTime()
		}
	}
	if f.pair != nil {
		return f.pair, nil // a half-written file: the old pair still serves
	}
	return nil, fmt.Errorf("tls.cert_file and tls.key_file: %w", err)
}

package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/muster-mdm/muster/client"
)

// anonymous connects without asking for a token.
func (c *cli) anonymous() (*client.Client, serverContext, error) {
	ctx, err := c.current()
	if err != nil {
		return nil, ctx, err
	}
	if ctx.Address == "" {
		return nil, ctx, errors.New("no server is set; run: muster config set --address https://your.server")
	}
	options := client.Options{
		Address: ctx.Address, URLPrefix: ctx.URLPrefix, Token: ctx.Token, RootCAFile: ctx.RootCA,
		TLSSkipVerify: ctx.TLSSkipVerify, Headers: ctx.CustomHeaders, UserAgent: "muster/" + c.Version.Version, Transport: c.Transport,
	}
	if c.debug {
		if options.Transport == nil {
			options.Transport, err = client.NewTransport(options)
			if err != nil {
				return nil, ctx, err
			}
		}
		options.Transport = &tracer{next: options.Transport, out: c.Err, now: c.Now}
	}
	connection, err := client.New(options)
	return connection, ctx, err
}

// connect is for commands that need a login.
func (c *cli) connect() (*client.Client, error) {
	connection, ctx, err := c.anonymous()
	if err != nil {
		return nil, err
	}
	if ctx.Token == "" {
		return nil, errNotLoggedIn
	}
	return connection, nil
}

// tracer tells each request, without what it carries.
type tracer struct {
	next http.RoundTripper
	out  io.Writer
	now  func() time.Time
}

// RoundTrip implements http.RoundTripper.
func (t *tracer) RoundTrip(r *http.Request) (*http.Response, error) {
	start := t.now()
	res, err := t.next.RoundTrip(r)
	took := t.now().Sub(start).Round(time.Millisecond)
	if err != nil {
		fmt.Fprintf(t.out, "%s %s: %v (%v)\n", r.Method, r.URL.Redacted(), err, took)
		return nil, err
	}
	fmt.Fprintf(t.out, "%s %s: %d, request %s (%v)\n", r.Method, r.URL.Redacted(), res.StatusCode, res.Header.Get("X-Request-Id"), took)
	return res, nil
}

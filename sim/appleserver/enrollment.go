package appleserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Limits of the enrollment service (contracts/apple.md 4.3).
const (
	defaultPage    = 100
	maxPage        = 1000 // devices in a page and in a call
	maxRequestBody = 4 << 20
	maxProfiles    = 10_000 // per MDM server
	// protocolVersion is the latest X-Server-Protocol-Version.
	protocolVersion = 10
)

// Lives of what the service issues.
const (
	DefaultSessionLife = 3 * time.Minute
	cursorLife         = 7 * 24 * time.Hour
	tokenLife          = 365 * 24 * time.Hour
)

// EnrollmentOptions of an Enrollment. The zero value works.
type EnrollmentOptions struct {
	// Listen is where MDM servers call; "127.0.0.1:0" when empty.
	Listen string
	// AdminListen is where devices and other processes call; "127.0.0.1:0"
	// when empty.
	AdminListen string
	// SessionLife is how long a session lasts; DefaultSessionLife when 0. In
	// its second half answers carry a new one.
	SessionLife time.Duration
	// Devices issues the devices' certificates; one whose own certificate has
	// expired, like Apple's, when nil.
	Devices *DeviceAuthority
	// OnBuy is told of every purchase, after it and outside of locks, whoever
	// made it: the devices want to be switched on.
	OnBuy func(server string, bought []Bought)
	Log   *slog.Logger     // discarded when nil
	Clock func() time.Time // time.Now when nil
}

// Enrollment is a running enrollment service with one company's account.
type Enrollment struct {
	log     *slog.Logger
	clock   func() time.Time
	onBuy   func(string, []Bought)
	life    time.Duration
	devices *DeviceAuthority
	orgID   string
	secret  []byte // of cursors
	plans   enrollmentPlans
	servers []*http.Server
	running sync.WaitGroup
	url     string
	admin   string

	mu       sync.Mutex // guards what follows
	terms    bool       // signed
	mdms     map[string]*mdmServer
	order    []*mdmServer
	records  map[string]*record // by serial number
	sessions map[string]*admSession
	nonces   map[string]time.Time // when they may be forgotten
	next     int                  // counts serial numbers
	calls    map[string]int       // by method and path
}

// StartEnrollment starts the service on loopback. Close must be called.
func StartEnrollment(ctx context.Context, o EnrollmentOptions) (*Enrollment, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.SessionLife == 0 {
		o.SessionLife = DefaultSessionLife
	}
	if o.Devices == nil {
		ca, err := NewDeviceAuthority(DeviceAuthorityOptions{Clock: o.Clock})
		if err != nil {
			return nil, err
		}
		o.Devices = ca
	}
	e := &Enrollment{
		log: o.Log, clock: o.Clock, onBuy: o.OnBuy, life: o.SessionLife, devices: o.Devices,
		orgID: uuid.NewString(), secret: []byte(rand.Text()), terms: true,
		mdms: make(map[string]*mdmServer), records: make(map[string]*record),
		sessions: make(map[string]*admSession), nonces: make(map[string]time.Time), calls: make(map[string]int),
	}
	addr, err := e.serve(ctx, e.serviceHandler(), o.Listen)
	if err != nil {
		return nil, err
	}
	e.url = "http://" + addr
	addr, err = e.serve(ctx, e.adminHandler(), o.AdminListen)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.admin = "http://" + addr
	return e, nil
}

// serve listens and serves in the background.
func (e *Enrollment) serve(ctx context.Context, h http.Handler, addr string) (string, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("simulated enrollment service: %w", err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: readHeaderTimeout}
	e.servers = append(e.servers, s)
	e.running.Go(func() {
		err := s.Serve(l)
		if !errors.Is(err, http.ErrServerClosed) {
			e.log.Error("simulated enrollment service stopped", slog.Any("error", err))
		}
	})
	return l.Addr().String(), nil
}

// Close stops the service and waits for it.
func (e *Enrollment) Close() error {
	var errs []error
	for _, s := range e.servers {
		errs = append(errs, s.Close())
	}
	e.running.Wait()
	return errors.Join(errs...)
}

// URL is the base for MDM servers, "http://127.0.0.1:port", in place of
// https://mdmenrollment.apple.com.
func (e *Enrollment) URL() string { return e.url }

// DeviceURL is the base for devices.
func (e *Enrollment) DeviceURL() string { return e.admin }

// AdminURL is the base for EnrollmentAdmin.
func (e *Enrollment) AdminURL() string { return e.admin }

// DeviceAuthority issues the devices' certificates.
func (e *Enrollment) DeviceAuthority() *DeviceAuthority { return e.devices }

// Calls counts the requests of MDM servers by "METHOD /path" since the start,
// whatever they were answered.
func (e *Enrollment) Calls(call string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[call]
}

package appledev

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of a device.
var (
	// ErrNotEnrolled: the device has no MDM enrollment.
	ErrNotEnrolled = errors.New("device is not enrolled")
	// ErrOffline: the device has no network just now.
	ErrOffline = errors.New("device is offline")
	// ErrLocked: the Mac asks for a PIN and runs nothing until it has it.
	ErrLocked = errors.New("device is locked by a PIN")
	// ErrLost: a planned fault swallowed a result or its answer.
	ErrLost = errors.New("a planned fault lost the message")
)

// Wakes tells devices of push notifications; sim/appleserver has two.
type Wakes interface {
	// Subscribe returns a channel that gets a value after one or more
	// notifications for this token and topic. cancel must be called.
	Subscribe(token []byte, topic string) (wake <-chan struct{}, cancel func())
}

// EventKind says what happened to a device.
type EventKind uint8

// Kinds of events.
const (
	EventEnrolled   EventKind = iota + 1
	EventUnenrolled           // Detail says why
	EventRenewed
	EventCommand // RequestType and Status are set
	EventError   // Err is set
)

// Event is something a device did, for demonstrations and tests.
type Event struct {
	Kind        EventKind
	Serial      string
	UDID        string
	At          time.Time
	RequestType string
	CommandUUID string
	Status      string
	Detail      string
	Err         error
}

// Defaults of Options.
const (
	DefaultRetryAfter = 5 * time.Second
	DefaultTimeout    = 30 * time.Second
)

// Options are what devices share. The zero value works but for trust in the
// server's certificate and pushes.
type Options struct {
	// Client sends every request; NewClient(nil, 0) when nil.
	Client *http.Client
	// Wakes are the pushes; nil: the device only polls.
	Wakes Wakes
	// PollInterval is how often Run polls without a push; 0: never.
	PollInterval time.Duration
	// RetryAfter is when Run tries again after an error or a NotNow.
	RetryAfter time.Duration
	Keys       Keys        // FreshKeys when nil
	Library    *Library    // what devices share; one of its own when nil
	Digest     crypto.Hash // of Mdm-Signature; SHA-256 when 0
	// OnEvent and OnRequest are called synchronously and must be fast and safe
	// for concurrent use.
	OnEvent   func(Event)
	OnRequest func(Request)
	// Service is the base URL of Apple's service for devices, which sim/appleserver
	// has; "": none. With it Run boots a device that is out of its box, and one
	// that was erased.
	Service string
	// Reenroll is called by Run on a device that is no longer enrolled and does
	// not boot by itself, and is expected to enroll it; nil: Run ends.
	Reenroll func(context.Context, *Device) error
	Clock    func() time.Time // time.Now when nil
}

// NewClient makes a client whose devices share connections, at most maxConns of
// them per host (0: no bound), and trust roots (nil: the system's). It follows
// redirects like Apple's devices, remembering none.
func NewClient(roots *x509.CertPool, maxConns int) *http.Client {
	return &http.Client{Timeout: DefaultTimeout, Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxConnsPerHost:     maxConns,
		MaxIdleConnsPerHost: max(maxConns, 2),
		Proxy:               http.ProxyFromEnvironment,
	}}
}

// Device is one simulated device. Its methods are safe for concurrent use; one
// connection runs at a time.
type Device struct {
	spec   Spec
	o      Options
	faults Faults

	defects atomic.Int64  // of the server
	nudged  chan struct{} // something is to be told without a push

	talking sync.Mutex // held through an enrollment or a connection

	mu        sync.Mutex // guards what follows
	random    *rand.Rand
	name      string
	awaiting  bool
	boxed     bool     // not set up since it was made or erased
	bought    bool     // its organization supervises it: Apple told it in Setup Assistant
	returning []byte   // enrollment profile of a return to service
	hardware  *builtIn // nil: not yet asked for
	enrolled  *enrollment
	stores    [channels]store
	settings  map[string]dict
	osVersion string
	build     string
	passcode  bool
	pin       string // a Mac that asks for it runs nothing; "": it does not
	lost      *LostMode
	recovery  string // password of the recovery lock; "": none
	packages  []string
}

// enrollment is a device under management. Fields change only while talking and
// mu are held, so that either is enough to read them.
type enrollment struct {
	profile  *profile
	identity *identity
	device   channel
	user     *channel // nil: no user channel
	fixed    bool     // nobody at the device may remove it
	// pseudonym is the EnrollmentID of a personal device.
	pseudonym string
}

// personal reports a device that its owner enrolled with an account. It tells
// nothing that would name it elsewhere.
func (e *enrollment) personal() bool { return e.profile.mdm != nil && e.profile.mdm.account != "" }

// channel is what pushes and commands go through.
type channel struct {
	which     Channel
	userID    string // "" on the device channel
	shortName string
	token     []byte
	magic     string
	unlock    []byte
	unsent    *report   // a result the server has not confirmed
	notNow    bool      // the last status sent was NotNow: poll again later
	ddm       *declared // nil: declarative management was never turned on
}

// channels are the device channel and, where there is one, the user's.
func (e *enrollment) channels() []*channel {
	if e.user == nil {
		return []*channel{&e.device}
	}
	return []*channel{&e.device, e.user}
}

// New makes a device that is not enrolled.
func New(spec Spec, o Options) *Device {
	if o.Client == nil {
		o.Client = NewClient(nil, 0)
	}
	if o.Keys == nil {
		o.Keys = FreshKeys{}
	}
	if o.Library == nil {
		o.Library = new(Library)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = DefaultRetryAfter
	}
	d := &Device{spec: spec, o: o, osVersion: spec.Model.OSVersion, build: spec.Model.Build, nudged: make(chan struct{}, 1)}
	d.reset()
	return d
}

// reset is the state of a device out of its box. Tokens differ from those
// before, as after a real wipe.
func (d *Device) reset() {
	seed := d.spec.Seed
	if d.random != nil {
		seed = d.random.Uint64()
	}
	d.random = rand.New(rand.NewPCG(seed, d.spec.Seed)) // repeatable, not secret
	d.name = d.spec.Name
	d.awaiting = d.spec.AwaitingConfiguration
	d.boxed, d.bought, d.returning = true, false, nil
	d.enrolled = nil
	d.stores = [channels]store{}
	d.settings = make(map[string]dict)
	d.passcode = true
	d.pin, d.lost, d.recovery = "", nil, ""
	d.packages = nil
}

// supervised reports whether an organization supervises the device: as it was
// made, or because it came by automated enrollment. It wants mu.
func (d *Device) supervised() bool { return d.spec.Supervised || d.bought }

// Spec returns what the device is.
func (d *Device) Spec() Spec { return d.spec }

// Faults returns the device's planned faults.
func (d *Device) Faults() *Faults { return &d.faults }

// Enrolled reports whether the device is under management.
func (d *Device) Enrolled() bool { return d.current() != nil }

// Certificate returns the MDM identity, or nil.
func (d *Device) Certificate() *x509.Certificate {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.enrolled == nil {
		return nil
	}
	return d.enrolled.identity.cert
}

// PushToken returns the device channel's token and topic; nil when not enrolled.
func (d *Device) PushToken() (token []byte, topic string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.enrolled == nil {
		return nil, ""
	}
	return d.enrolled.device.token, d.enrolled.profile.mdm.topic
}

// now is what the device's clock shows.
func (d *Device) now() time.Time { return d.o.Clock().Add(d.faults.skew()) }

// current returns the enrollment, or nil.
func (d *Device) current() *enrollment {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.enrolled
}

// emit completes and reports an event.
func (d *Device) emit(e Event) {
	if d.o.OnEvent == nil {
		return
	}
	e.Serial, e.UDID, e.At = d.spec.Serial, d.spec.UDID, d.o.Clock()
	d.o.OnEvent(e)
}

// forget drops the enrollment and what it brought. Call it with mu held.
func (d *Device) forget() {
	d.enrolled = nil
	d.lost, d.recovery = nil, "" // both go with the management
	for c := range d.stores {
		d.stores[c].remove(func(p installed) bool { return p.managed || p.profile.mdm != nil })
	}
}

// unenroll forgets the management. Managed profiles go with it; the rest of the
// device stays.
func (d *Device) unenroll(reason string) {
	d.mu.Lock()
	was := d.enrolled != nil
	d.forget()
	d.mu.Unlock()
	if was {
		d.emit(Event{Kind: EventUnenrolled, Detail: reason})
	}
}

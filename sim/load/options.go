package load

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Scenario is what is measured.
type Scenario string

// Scenarios.
const (
	Idle  Scenario = "idle"
	Drain Scenario = "drain"
	Storm Scenario = "storm"
)

// Defaults of Options.
const (
	DefaultDevices     = 200
	DefaultConnections = 64
	DefaultRounds      = 10
	DefaultKeys        = 32
	DefaultBatch       = 500
	DefaultSettle      = 6 * time.Second // of the command line; a server looks every 5 s for hosts to ask
)

// Options of a run. Server, ProfileURL and, for Drain, Token are required.
type Options struct {
	Scenario Scenario
	// Server is the base URL of the REST API, without a trailing slash.
	Server string
	// Token is a bearer token that may send commands.
	Token string
	// ProfileURL answers a GET with a fresh enrollment profile.
	ProfileURL  string
	Devices     int
	Connections int     // that devices share, and requests in flight
	Rounds      int     // of Idle: polls a device
	Rate        float64 // requests a second of Idle; 0: as fast as they go
	Batch       int     // devices per call of the REST API
	Keys        int     // RSA keys made beforehand and shared by the devices
	Seed        uint64  // equal seeds make equal devices
	// Settle is how long the devices must have been sent nothing before Idle
	// and Drain are measured: a server with work of its own would answer with
	// that; 0: not waited for.
	Settle time.Duration
	// ServerPID and DatabasePID are the processes whose CPU is read, with all
	// their children; 0: not read.
	ServerPID   int
	DatabasePID int
	Roots       *x509.CertPool                      // trusted for the server; nil: the system's
	Progress    func(stage string, done, total int) // may be nil; must be safe for concurrent use
	Clock       func() time.Time                    // time.Now when nil
}

// complete fills in defaults and refuses what cannot run.
func (o *Options) complete() error {
	setDefault(&o.Devices, DefaultDevices)
	setDefault(&o.Connections, DefaultConnections)
	setDefault(&o.Rounds, DefaultRounds)
	setDefault(&o.Batch, DefaultBatch)
	setDefault(&o.Keys, min(DefaultKeys, o.Devices))
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	switch o.Scenario {
	case Idle, Storm:
	case Drain:
		if o.Server == "" || o.Token == "" {
			return errors.New("load: drain needs the server's URL and a token")
		}
	default:
		return fmt.Errorf("load: no scenario %q; there are idle, drain and storm", o.Scenario)
	}
	if o.ProfileURL == "" {
		return errors.New("load: no URL of an enrollment profile")
	}
	return nil
}

// setDefault replaces zero and less.
func setDefault(field *int, value int) {
	if *field <= 0 {
		*field = value
	}
}

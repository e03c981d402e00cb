// Package app puts the parts together: New builds the server from a
// configuration, Run serves and works until it is told to stop.
//
// It is the only place that knows every capability and every adapter. Wiring
// stands in wire_*.go, one file per family of devices.
package app

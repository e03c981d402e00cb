// Package e2e tests the whole server from outside: the real program or the
// real App on a loopback listener, real databases, simulated devices and a
// simulated push service.
package e2e

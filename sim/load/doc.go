// Package load measures a running server with simulated Apple devices: what one
// request costs in CPU on the server and the database, how long it takes, and
// whether every answer is right.
//
// Three scenarios:
//
//	idle   enrolled devices with nothing to do poll with requests signed
//	       beforehand; every answer must be 200 and empty
//	drain  five commands for every device through the REST API; every device
//	       must get all of them and have its results accepted
//	storm  devices with certificates and signed messages at hand enroll at
//	       once; Authenticate and TokenUpdate must be accepted
//
// CPU is read from /proc, so the server (and the database) must run on this
// machine for those figures; the simulator's own work is not in them. Because
// machines differ and drift, a run also measures the yardstick (yd): the CPU
// time of decoding and verifying one RSA-2048 CMS signature with
// smallstep/pkcs7, before and after, and states costs in it.
//
// It does not model think time, radio networks or the cost of TLS handshakes:
// connections are few and kept.
package load

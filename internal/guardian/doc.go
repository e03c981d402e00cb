// Package guardian watches what expires: the push certificate, the device
// authority, server tokens, and the identities of devices. It warns once at
// each threshold; renewing is somebody else's.
package guardian

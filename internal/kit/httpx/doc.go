// Package httpx is what every HTTP edge shares: one log line a request that
// handlers add attributes to, the real client address behind trusted proxies,
// body limits, recovery from panics, and security headers.
//
// It knows no API: error bodies belong to the edges. Its cost per request is
// a few microseconds, because devices poll through it.
package httpx

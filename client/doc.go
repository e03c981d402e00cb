// Package client is the typed Go client of Muster's REST API.
//
// Every method is one request, except the All methods, which walk pages. GETs
// are tried again when the server or the way to it is briefly gone; nothing
// else is, because it may have happened. Errors from the server are *Error.
package client

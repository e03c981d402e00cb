// Package deptoken opens the server tokens of Apple's device enrollment
// service (contracts/apple.md 4.1): the .p7m file is MIME headers and a base64
// CMS EnvelopedData for the key whose certificate was uploaded at Apple; inside
// are MIME headers again, and JSON between message markers.
//
// It reads bytes and refuses; what a token is good for is asked elsewhere. No
// error of it carries a part of the token.
package deptoken

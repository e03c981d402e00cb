package deptoken

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/fleet"
)

// MaxSize bounds a token file in bytes; Apple's have about 3,000.
const MaxSize = 64 << 10

// Errors that callers tell apart.
var (
	ErrTooLarge   = fmt.Errorf("the server token has more than %d bytes: upload the .p7m file that Apple gave", MaxSize)
	ErrNotToken   = errors.New("this is not a server token: upload the .p7m file that Apple gave")
	ErrTruncated  = errors.New("the server token is cut off: download it again")
	ErrForeignKey = errors.New("the server token was made for another key: upload the present public key at Apple and download a new token")
	// ErrExpired comes with the token.
	ErrExpired = errors.New("the server token has expired: download a new one from Apple")
)

const (
	beginMessage = "-----BEGIN MESSAGE-----"
	endMessage   = "-----END MESSAGE-----"
)

// Decode opens a token file with the key of the certificate that was uploaded
// at Apple. The credentials are complete, and also returned with ErrExpired.
func Decode(file []byte, cert *x509.Certificate, key crypto.Decrypter, now time.Time) (fleet.DEPCredentials, error) {
	if len(file) > MaxSize {
		return fleet.DEPCredentials{}, ErrTooLarge
	}
	der, err := envelope(file)
	if err != nil {
		return fleet.DEPCredentials{}, err
	}
	plain, _, err := cms.Decrypt(der, cert, key)
	switch {
	case errors.Is(err, cms.ErrDecrypt):
		return fleet.DEPCredentials{}, ErrForeignKey
	case err != nil:
		return fleet.DEPCredentials{}, ErrNotToken
	}
	c, err := credentials(plain)
	if err != nil {
		return fleet.DEPCredentials{}, err
	}
	if !now.Before(c.Expiry) {
		return c, fmt.Errorf("%w (on %s)", ErrExpired, c.Expiry.UTC().Format(time.DateOnly))
	}
	return c, nil
}

// envelope takes the headers and the base64 off. Bare DER is taken as well:
// some browsers unpack what they download.
func envelope(file []byte) ([]byte, error) {
	if len(file) > 1 && file[0] == 0x30 && file[1]&0x80 != 0 {
		return whole(file)
	}
	headers, body, ok := split(file)
	if !ok || !bytes.Contains(bytes.ToLower(headers), []byte("pkcs7-mime")) {
		return nil, ErrNotToken
	}
	text := strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == ' ' || r == '\t' {
			return -1
		}
		return r
	}, string(body))
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		var corrupt base64.CorruptInputError
		if len(text)%4 != 0 || (errors.As(err, &corrupt) && int(corrupt) >= len(text)) {
			return nil, ErrTruncated
		}
		return nil, ErrNotToken
	}
	return whole(der)
}

// whole checks that the outermost element, if its length is told, is all there.
func whole(der []byte) ([]byte, error) {
	if len(der) < 2 || der[0] != 0x30 {
		return nil, ErrNotToken
	}
	n := int(der[1] & 0x7f)
	if der[1]&0x80 == 0 || n == 0 || n > 3 { // short, indefinite, or absurd: the decoder's matter
		return der, nil
	}
	if len(der) < 2+n {
		return nil, ErrTruncated
	}
	length := 0
	for _, b := range der[2 : 2+n] {
		length = length<<8 | int(b)
	}
	if len(der) < 2+n+length {
		return nil, ErrTruncated
	}
	return der, nil
}

// split parts headers from body at the first empty line.
func split(message []byte) (headers, body []byte, ok bool) {
	for _, gap := range []string{"\r\n\r\n", "\n\n"} {
		if h, b, found := bytes.Cut(message, []byte(gap)); found && !ok {
			headers, body, ok = h, b, true
		} else if found && len(h) < len(headers) {
			headers, body = h, b
		}
	}
	return headers, body, ok
}

// credentials reads the JSON between the markers. Its lines are joined: Apple
// breaks them anywhere (contracts/apple.md 4.1).
func credentials(plain []byte) (fleet.DEPCredentials, error) {
	_, rest, found := bytes.Cut(plain, []byte(beginMessage))
	if !found {
		return fleet.DEPCredentials{}, ErrNotToken
	}
	text, _, found := bytes.Cut(rest, []byte(endMessage))
	if !found {
		return fleet.DEPCredentials{}, ErrTruncated
	}
	text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r"), nil), []byte("\n"), nil)
	var token struct {
		ConsumerKey    string    `json:"consumer_key"`
		ConsumerSecret string    `json:"consumer_secret"`
		AccessToken    string    `json:"access_token"`
		AccessSecret   string    `json:"access_secret"`
		Expiry         time.Time `json:"access_token_expiry"`
	}
	if json.Unmarshal(text, &token) != nil { // its error would quote the token
		return fleet.DEPCredentials{}, fmt.Errorf("%w (what is inside cannot be read)", ErrNotToken)
	}
	for _, f := range []struct {
		name  string
		there bool
	}{
		{"consumer_key", token.ConsumerKey != ""}, {"consumer_secret", token.ConsumerSecret != ""},
		{"access_token", token.AccessToken != ""}, {"access_secret", token.AccessSecret != ""},
		{"access_token_expiry", !token.Expiry.IsZero()},
	} {
		if !f.there {
			return fleet.DEPCredentials{}, fmt.Errorf("%w (it has no %s)", ErrNotToken, f.name)
		}
	}
	return fleet.DEPCredentials{ConsumerKey: token.ConsumerKey, ConsumerSecret: token.ConsumerSecret,
		AccessToken: token.AccessToken, AccessSecret: token.AccessSecret, Expiry: token.Expiry}, nil
}

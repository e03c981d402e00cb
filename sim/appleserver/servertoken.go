package appleserver

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/muster-mdm/muster/internal/codec/cms"
)

// serverToken is what an MDM server signs with (contracts/apple.md 4.1).
type serverToken struct {
	consumerKey    string
	consumerSecret string
	accessToken    string
	accessSecret   string
	expiry         time.Time
}

// newServerToken draws one that is valid for a year.
func newServerToken(now time.Time) serverToken {
	return serverToken{
		consumerKey: "CK_" + strings.ToLower(rand.Text()), consumerSecret: "CS_" + strings.ToLower(rand.Text()),
		accessToken: "AT_" + rand.Text() + rand.Text(), accessSecret: "AS_" + strings.ToLower(rand.Text()),
		expiry: now.Add(tokenLife).UTC().Truncate(time.Second),
	}
}

// Widths of the lines of a downloaded token.
const (
	base64Width  = 64
	messageWidth = 76
)

// download is the .p7m: MIME headers around a base64 CMS EnvelopedData, whose
// plaintext is MIME headers around the JSON between markers, broken into lines
// (contracts/apple.md 4.1).
func (t serverToken) download(cert *x509.Certificate) ([]byte, error) {
	text, err := json.Marshal(map[string]any{
		"consumer_key": t.consumerKey, "consumer_secret": t.consumerSecret, "access_token": t.accessToken,
		"access_secret": t.accessSecret, "access_token_expiry": t.expiry,
	})
	if err != nil {
		return nil, fmt.Errorf("server token: %w", err)
	}
	var plain bytes.Buffer
	plain.WriteString("Content-Type: text/plain;charset=UTF-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n-----BEGIN MESSAGE-----\r\n")
	lines(&plain, string(text), messageWidth)
	plain.WriteString("-----END MESSAGE-----\r\n")
	der, err := cms.EncryptWith(cms.CipherTripleDES, plain.Bytes(), []*x509.Certificate{cert})
	if err != nil {
		return nil, fmt.Errorf("server token: %w", err)
	}
	var out bytes.Buffer
	out.WriteString("Content-Type: application/pkcs7-mime; name=\"smime.p7m\"; smime-type=enveloped-data\r\n" +
		"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"smime.p7m\"\r\n" +
		"Content-Description: S/MIME Encrypted Message\r\n\r\n")
	lines(&out, base64.StdEncoding.EncodeToString(der), base64Width)
	return out.Bytes(), nil
}

// lines breaks text into lines.
func lines(w *bytes.Buffer, text string, width int) {
	for len(text) > 0 {
		n := min(width, len(text))
		w.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
}

// readCertificate reads the public key that is uploaded at the portal: a PEM
// certificate with an RSA key.
func readCertificate(certPEM []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("public key: no PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	if _, ok := cert.PublicKey.(*rsa.PublicKey); !ok {
		return nil, errors.New("public key: not RSA")
	}
	return cert, nil
}

// CreateServer makes an MDM server from an uploaded certificate and returns its
// UUID and the encrypted server token for download.
func (e *Enrollment) CreateServer(name string, certPEM []byte) (server string, p7m []byte, err error) {
	cert, err := readCertificate(certPEM)
	if err != nil {
		return "", nil, err
	}
	s := &mdmServer{
		name: name, uuid: strings.ToUpper(strings.ReplaceAll(uuid.NewString(), "-", "")),
		token: newServerToken(e.clock()), profiles: make(map[string]*depProfile),
	}
	p7m, err = s.token.download(cert)
	if err != nil {
		return "", nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mdms[s.uuid] = s
	e.order = append(e.order, s)
	return s.uuid, p7m, nil
}

// RenewToken replaces an MDM server's token, from the same or another
// certificate. The one before and its sessions end.
func (e *Enrollment) RenewToken(server string, certPEM []byte) (p7m []byte, err error) {
	cert, err := readCertificate(certPEM)
	if err != nil {
		return nil, err
	}
	fresh := newServerToken(e.clock())
	p7m, err = fresh.download(cert)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.server(server)
	if err != nil {
		return nil, err
	}
	s.token = fresh
	e.endSessions(s)
	return p7m, nil
}

// ExpireToken makes an MDM server's token expire now, and its sessions with it.
func (e *Enrollment) ExpireToken(server string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.server(server)
	if err != nil {
		return err
	}
	s.token.expiry = e.clock()
	e.endSessions(s)
	return nil
}

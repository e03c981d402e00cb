package applenet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Limits of the signer.
const (
	signerTimeout = 30 * time.Second
	maxSigned     = 1 << 20
)

// Signer asks the holder of an MDM vendor certificate to countersign a push
// certificate request. It posts the DER request (application/pkcs10) and
// takes the body of a 200 answer as what Apple's push portal accepts.
type Signer struct {
	url    string
	client *http.Client
}

// NewSigner returns a signer at the URL.
func NewSigner(url string) *Signer {
	return &Signer{url: url, client: &http.Client{Timeout: signerTimeout}}
}

// SignCSR returns the base64 property list to upload at Apple.
func (s *Signer) SignCSR(ctx context.Context, csrDER []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(csrDER))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/pkcs10")
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxSigned+1))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	switch {
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("it answered %s", res.Status)
	case len(body) == 0 || len(body) > maxSigned:
		return nil, fmt.Errorf("its answer has %d bytes", len(body))
	}
	return body, nil
}

package httpx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// ErrBodyTooLarge is returned when a body is larger than its limit.
var ErrBodyTooLarge = errors.New("body is larger than the limit")

// trustedLength is how many bytes a body may claim to have and get room for
// before it comes. Beyond it memory is taken as bytes arrive: a stranger's
// claim costs nothing.
const trustedLength = 64 << 10

// ReadBody reads at most limit bytes of the body. A larger one gives
// ErrBodyTooLarge, and the connection is closed after the answer.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, ErrBodyTooLarge
	}
	body := http.MaxBytesReader(w, r.Body, limit)
	if r.ContentLength < 0 {
		data, err := io.ReadAll(body)
		return data, BodyError(err)
	}
	if r.ContentLength > trustedLength {
		var data bytes.Buffer
		n, err := data.ReadFrom(body)
		if err == nil && n < r.ContentLength {
			err = io.ErrUnexpectedEOF
		}
		return data.Bytes(), BodyError(err)
	}
	// The size is known and small: one allocation.
	data := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(body, data); err != nil {
		return nil, BodyError(err)
	}
	return data, nil
}

// BodyError turns net/http's error about a body over its limit into
// ErrBodyTooLarge; others are wrapped, nil stays nil.
func BodyError(err error) error {
	if err == nil {
		return nil
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return ErrBodyTooLarge
	}
	return fmt.Errorf("read body: %w", err)
}

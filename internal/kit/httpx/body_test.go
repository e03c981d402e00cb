package httpx

import (
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

func TestABodyComesWholeOrNotAtAll(t *testing.T) {
	const limit = 1 << 20
	for _, tt := range []struct {
		name    string
		size    int
		claimed int64 // -1: in chunks
		want    error // nil: the whole body
	}{
		{"nothing", 0, 0, nil},
		{"a small one", 100, 100, nil},
		{"a small one in chunks", 100, -1, nil},
		{"as long as is trusted", trustedLength, trustedLength, nil},
		{"longer than is trusted", trustedLength + 1, trustedLength + 1, nil},
		{"as long as the limit", limit, limit, nil},
		{"as long as the limit in chunks", limit, -1, nil},
		{"longer than the limit", limit + 1, limit + 1, ErrBodyTooLarge},
		{"longer than the limit in chunks", limit + 1, -1, ErrBodyTooLarge},
		{"a small one that breaks off", 99, 100, io.ErrUnexpectedEOF},
		{"a large one that breaks off", trustedLength, 2 * trustedLength, io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := bytes.Repeat([]byte("x"), tt.size)
			r := httptest.NewRequest("PUT", "/", bytes.NewReader(body))
			r.ContentLength = tt.claimed
			got, err := ReadBody(httptest.NewRecorder(), r, limit)
			if !errors.Is(err, tt.want) || tt.want == nil && !bytes.Equal(got, body) {
				t.Errorf("%d bytes, %v; want %v", len(got), err, tt.want)
			}
		})
	}
}

func TestAClaimedLengthTakesNoMemoryBeforeItComes(t *testing.T) {
	const claimed, requests = 16 << 20, 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range requests {
		r := httptest.NewRequest("PUT", "/", strings.NewReader("only this"))
		r.ContentLength = claimed
		if _, err := ReadBody(httptest.NewRecorder(), r, claimed); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > requests*trustedLength {
		t.Errorf("%d bytes for %d requests of 9 bytes", took, requests)
	}
}

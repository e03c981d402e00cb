package ids

import (
	"encoding/base64"
	"regexp"
	"testing"
	"time"
)

func TestUUIDsDifferAndFollowTheClock(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	const many = 1000
	first := UUID()
	time.Sleep(2 * time.Millisecond)
	for range many {
		id := UUID()
		if !form.MatchString(id) {
			t.Fatalf("%q is no version 7 UUID in lower case", id)
		}
		if id <= first {
			t.Fatalf("%s came after %s", id, first)
		}
		seen[id] = true
	}
	if len(seen) != many {
		t.Errorf("%d of %d UUIDs differ", len(seen), many)
	}
}

func TestDerivedUUIDsAreTheSameForTheSameBytesAndOfVersion8(t *testing.T) {
	for _, tt := range []struct {
		name string
		sum  [16]byte
		want string
	}{
		{"zeros get version and variant", [16]byte{}, "00000000-0000-8000-8000-000000000000"},
		{"version and variant replace six bits only",
			[16]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "ffffffff-ffff-8fff-bfff-ffffffffffff"},
		{"bytes keep their order", [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, "00010203-0405-8607-8809-0a0b0c0d0e0f"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := DerivedUUID(tt.sum); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestTokensAre256RandomBitsThatFitIntoAURL(t *testing.T) {
	first, second := Token(), Token()
	if first == second {
		t.Error("two tokens are the same")
	}
	raw, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil || len(raw) != TokenBytes {
		t.Errorf("%q: %d bytes, %v", first, len(raw), err)
	}
}

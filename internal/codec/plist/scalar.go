package plist

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"time"
)

func scalar(tag string, t []byte) (any, error) {
	switch tag {
	case "string":
		return string(t), nil
	case "true", "false":
		if len(bytes.TrimSpace(t)) > 0 {
			return nil, fmt.Errorf("%w: text inside <%s>", ErrNotPlist, tag)
		}
		return tag == "true", nil
	case "data":
		return decodeData(t)
	case "integer":
		return integer(string(bytes.TrimSpace(t)))
	case "real":
		f, err := strconv.ParseFloat(string(bytes.TrimSpace(t)), 64)
		if err != nil || math.IsInf(f, 0) && !bytes.ContainsAny(t, "iI") {
			return nil, fmt.Errorf("%w: real %q", ErrNotPlist, t)
		}
		return f, nil
	}
	at, err := time.Parse(time.RFC3339, string(bytes.TrimSpace(t)))
	if err != nil {
		return nil, fmt.Errorf("%w: date %q", ErrNotPlist, t)
	}
	return at.UTC(), nil
}

func integer(t string) (any, error) {
	base := 10
	digits := t
	sign := ""
	if len(digits) > 0 && (digits[0] == '-' || digits[0] == '+') {
		sign, digits = digits[:1], digits[1:]
	}
	if len(digits) > 2 && (digits[:2] == "0x" || digits[:2] == "0X") {
		digits, base = digits[2:], 16
	}
	if sign == "-" {
		n, err := strconv.ParseInt("-"+digits, base, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: integer %q", ErrNotPlist, t)
		}
		return n, nil
	}
	n, err := strconv.ParseUint(digits, base, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: integer %q", ErrNotPlist, t)
	}
	if n > math.MaxInt64 {
		return n, nil
	}
	return int64(n), nil
}

// decodeData reads base64 broken by white space, as Apple writes it.
func decodeData(t []byte) ([]byte, error) {
	clean := make([]byte, 0, len(t))
	for _, c := range t {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			clean = append(clean, c)
		}
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(clean)))
	n, err := base64.StdEncoding.Decode(out, clean)
	if err != nil {
		return nil, fmt.Errorf("%w: data is not base64", ErrNotPlist)
	}
	return out[:n], nil
}

package applenet

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // OAuth 1.0a HMAC-SHA1 (RFC 5849 section 3.4.2) is what Apple takes
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// authorization returns the OAuth 1.0a header (RFC 5849 section 3.5.1) of a
// request to u, which has no query.
func authorization(c fleet.DEPCredentials, method, u, nonce string, at time.Time) string {
	params := [][2]string{
		{"oauth_consumer_key", c.ConsumerKey}, {"oauth_nonce", nonce}, {"oauth_signature_method", "HMAC-SHA1"},
		{"oauth_timestamp", strconv.FormatInt(at.Unix(), 10)}, {"oauth_token", c.AccessToken}, {"oauth_version", "1.0"},
	}
	params = append(params, [2]string{"oauth_signature", signature(c, method, u, params)})
	var b strings.Builder
	b.WriteString(`OAuth realm="ADM"`)
	for _, p := range params {
		b.WriteString(", " + p[0] + `="` + escape(p[1]) + `"`)
	}
	return b.String()
}

// signature is HMAC-SHA1 (section 3.4.2) over the base string (3.4.1), in which
// parameters are sorted by their encoded names and realm takes no part.
func signature(c fleet.DEPCredentials, method, u string, params [][2]string) string {
	pairs := make([]string, 0, len(params))
	for _, p := range params {
		pairs = append(pairs, escape(p[0])+"="+escape(p[1]))
	}
	slices.Sort(pairs)
	base := method + "&" + escape(baseURI(u)) + "&" + escape(strings.Join(pairs, "&"))
	mac := hmac.New(sha1.New, []byte(escape(c.ConsumerSecret)+"&"+escape(c.AccessSecret)))
	mac.Write([]byte(base))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// baseURI is the base string URI of section 3.4.1.2: scheme and host in lower
// case, without the scheme's own port.
func baseURI(u string) string {
	parsed, err := url.Parse(u)
	if err != nil {
		return u // the request was built from it
	}
	scheme, host := strings.ToLower(parsed.Scheme), strings.ToLower(parsed.Host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + host + parsed.EscapedPath()
}

// escape is the percent encoding of section 3.6.
func escape(s string) string {
	const upper = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(upper[c>>4])
			b.WriteByte(upper[c&15])
		}
	}
	return b.String()
}

// newNonce is random and never fails.
func newNonce() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // crashes the process before it returns an error
	return hex.EncodeToString(b)
}

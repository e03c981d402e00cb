package appleserver

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // OAuth 1.0a, which Apple demands, signs with it
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oauthWindow is how far a timestamp may be off, and how long a nonce is
// remembered.
const oauthWindow = 5 * time.Minute

// oauthFields reads "Authorization: OAuth k="v", ..." (RFC 5849 section 3.5.1).
func oauthFields(header string) (map[string]string, bool) {
	rest, ok := strings.CutPrefix(header, "OAuth ")
	if !ok {
		return nil, false
	}
	fields := make(map[string]string)
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
			return nil, false
		}
		value, err := url.PathUnescape(value[1 : len(value)-1])
		if _, twice := fields[name]; err != nil || twice {
			return nil, false
		}
		fields[name] = value
	}
	return fields, true
}

// escape is the percent-encoding of RFC 5849 section 3.6.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// oauthSignature is the HMAC-SHA1 signature of RFC 5849 section 3.4 of a GET of
// a URL without query or body.
func oauthSignature(r *http.Request, fields map[string]string, t serverToken) []byte {
	var pairs []string
	for name, value := range fields {
		if name != "oauth_signature" && name != "realm" {
			pairs = append(pairs, escape(name)+"="+escape(value))
		}
	}
	slices.Sort(pairs)
	base := r.Method + "&" + escape("http://"+strings.ToLower(r.Host)+r.URL.Path) + "&" + escape(strings.Join(pairs, "&"))
	mac := hmac.New(sha1.New, []byte(escape(t.consumerSecret)+"&"+escape(t.accessSecret)))
	mac.Write([]byte(base))
	return mac.Sum(nil)
}

// authorize verifies a request for a session and says whose it is, or what is
// wrong in the words of OAuth's problem reporting. Call it with mu held.
func (e *Enrollment) authorize(r *http.Request) (*mdmServer, *refusal) {
	fields, ok := oauthFields(r.Header.Get("Authorization"))
	if !ok {
		return nil, &refusal{http.StatusUnauthorized, "parameter_absent"}
	}
	for _, name := range []string{"oauth_consumer_key", "oauth_token", "oauth_signature_method", "oauth_timestamp", "oauth_nonce", "oauth_signature"} {
		if fields[name] == "" {
			return nil, &refusal{http.StatusBadRequest, "parameter_absent"}
		}
	}
	if version, is := fields["oauth_version"]; is && version != "1.0" || r.URL.RawQuery != "" {
		return nil, &refusal{http.StatusBadRequest, "parameter_rejected"}
	}
	if fields["oauth_signature_method"] != "HMAC-SHA1" {
		return nil, &refusal{http.StatusBadRequest, "signature_method_rejected"}
	}
	i := slices.IndexFunc(e.order, func(s *mdmServer) bool { return s.token.consumerKey == fields["oauth_consumer_key"] })
	if i < 0 {
		return nil, &refusal{http.StatusUnauthorized, "consumer_key_unknown"}
	}
	s := e.order[i]
	if s.token.accessToken != fields["oauth_token"] {
		return nil, &refusal{http.StatusUnauthorized, "token_rejected"}
	}
	signature, err := base64.StdEncoding.DecodeString(fields["oauth_signature"])
	if err != nil || !hmac.Equal(signature, oauthSignature(r, fields, s.token)) {
		return nil, &refusal{http.StatusUnauthorized, "signature_invalid"}
	}
	if !e.clock().Before(s.token.expiry) {
		return nil, &refusal{http.StatusUnauthorized, "token_expired"}
	}
	return s, e.once(fields)
}

// once refuses requests that are old or were seen. Call it with mu held.
func (e *Enrollment) once(fields map[string]string) *refusal {
	now := e.clock()
	seconds, err := strconv.ParseInt(fields["oauth_timestamp"], 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > oauthWindow {
		return &refusal{http.StatusUnauthorized, "timestamp_refused"}
	}
	for nonce, until := range e.nonces {
		if now.After(until) {
			delete(e.nonces, nonce)
		}
	}
	key := fields["oauth_token"] + " " + fields["oauth_timestamp"] + " " + fields["oauth_nonce"]
	if _, used := e.nonces[key]; used {
		return &refusal{http.StatusUnauthorized, "nonce_used"}
	}
	// A timestamp may lie that far in the future and be acceptable for twice
	// the window.
	e.nonces[key] = now.Add(2 * oauthWindow)
	return nil
}

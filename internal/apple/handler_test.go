package apple

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/micromdm/nanomdm/service"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/httpx"
	"github.com/muster-mdm/muster/internal/store"
)

func TestEveryKindOfErrorHasAStatusAndNoneIs401(t *testing.T) {
	want := map[fleet.Kind]int{
		fleet.KindInternal: 500, fleet.KindBadRequest: 400, fleet.KindUnauthenticated: 403, fleet.KindForbidden: 403, fleet.KindNotFound: 404,
		fleet.KindConflict: 500, fleet.KindPrecondition: 500, fleet.KindTooLarge: 413, fleet.KindUnsupported: 400, fleet.KindInvalid: 400,
		fleet.KindTooMany: 503, fleet.KindUpstream: 500, fleet.KindUnavailable: 503,
	}
	b := newBench(t)
	s, _ := b.enroll("A")
	for kind := fleet.KindInternal; kind <= fleet.KindUnavailable; kind++ {
		t.Run(kind.String(), func(t *testing.T) {
			cause := fleet.Errorf(kind, "what is wrong").WithCause(errors.New("inside"))
			if kind == fleet.KindTooMany {
				cause.RetryAfter = 1500 * time.Millisecond
			}
			b.lifecycle.err = fmt.Errorf("wrapped: %w", cause)
			w := b.send(s, tokenUpdate("A"))
			if after := w.Header().Get("Retry-After"); (after == "2") != (kind == fleet.KindTooMany) {
				t.Errorf("Retry-After is %q", after)
			}
			if w.Code != want[kind] {
				t.Errorf("status %d, want %d", w.Code, want[kind])
			}
			if strings.Contains(w.Body.String(), "inside") {
				t.Errorf("the cause is shown: %s", w.Body)
			}
			if shown := strings.Contains(w.Body.String(), "what is wrong"); shown != (kind != fleet.KindInternal) {
				t.Errorf("answer: %s", w.Body)
			}
		})
	}
}

func TestAServicesOwnStatusIsSentUnlessItIs401(t *testing.T) {
	b := newBench(t)
	s, _ := b.enroll("A")
	for _, tt := range []struct {
		name string
		err  error
		want int
	}{
		{"gone", service.NewHTTPStatusError(http.StatusGone, errors.New("x")), http.StatusGone},
		{"401, which would unenroll", service.NewHTTPStatusError(http.StatusUnauthorized, errors.New("x")), http.StatusInternalServerError},
		{"401 about something forbidden", service.NewHTTPStatusError(http.StatusUnauthorized, fleet.Errorf(fleet.KindForbidden, "x")), http.StatusForbidden},
		{"an error that nobody knows", errors.New("disk on fire"), http.StatusInternalServerError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.lifecycle.err = tt.err
			w := b.send(s, tokenUpdate("A"))
			if w.Code != tt.want || strings.Contains(w.Body.String(), "disk") {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

func TestOnlyPUTAndPOSTAreTaken(t *testing.T) {
	b := newBench(t)
	s, _ := b.enroll("A")
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions, http.MethodPatch} {
		if w := b.serve(request(method, nil)); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "PUT, POST" {
			t.Errorf("%s: %d %v", method, w.Code, w.Header())
		}
	}
	body := report("Idle", "A")
	r := request(http.MethodPost, body)
	r.Header.Set(signatureHeader, s.header(t, body))
	if w := b.serve(r); w.Code != http.StatusOK {
		t.Errorf("POST: %d %s", w.Code, w.Body)
	}
}

func TestAMessageOverTheLimitIs413(t *testing.T) {
	b := newBench(t, func(o *Options) { o.MaxBody = 1000 })
	s, _ := b.enroll("A")
	long := report("Idle", "A", "Padding", strings.Repeat("x", 1000))
	b.expect(b.send(s, long), http.StatusRequestEntityTooLarge)
	r := request(http.MethodPut, long)
	r.ContentLength = -1 // in chunks
	r.Header.Set(signatureHeader, s.header(t, long))
	b.expect(b.serve(r), http.StatusRequestEntityTooLarge)
	if got := b.watch.take(); len(got) != 0 {
		t.Errorf("called %q", got)
	}
}

func TestStrangersGetNoFurtherThanTheSignature(t *testing.T) {
	b := newBench(t)
	known, _ := b.enroll("A")
	foreign := newAuthority(t, "Device CA") // the same name and another key
	selfSigned := makeSigner(t, &x509.Certificate{SerialNumber: known.cert.SerialNumber, Subject: b.ca.cert.Subject,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotAfter: time.Now().Add(time.Hour)}, nil)
	for _, body := range [][]byte{report("Idle", "A"), authenticate("A"), []byte("no property list"), nil} {
		for _, tt := range []struct {
			name   string
			header string
			want   int
		}{
			{"no signature", "", 400},
			{"no base64", "%%%", 400},
			{"no signature inside", "AAAA", 400},
			{"the signature of another message", known.header(t, []byte("another")), 400},
			{"an authority of the same name", foreign.device(t).header(t, body), 403},
			{"a certificate that signed itself", selfSigned.header(t, body), 403},
			{"the authority itself", b.ca.header(t, body), 403},
		} {
			t.Run(fmt.Sprintf("%s over %.20q", tt.name, body), func(t *testing.T) {
				b.watch.take()
				r := request(http.MethodPut, body)
				if tt.header != "" {
					r.Header.Set(signatureHeader, tt.header)
				}
				b.expect(b.serve(r), tt.want)
				if got := b.watch.take(); len(got) != 0 {
					t.Errorf("called %q", got)
				}
			})
		}
	}
}

func TestASignatureIsNotOverruledByAnotherWayToShowACertificate(t *testing.T) {
	b := newBench(t)
	s, _ := b.enroll("A")
	r := request(http.MethodPut, report("Idle", "A"))
	r.Header.Set(signatureHeader, "AAAA")
	r.Header.Set(proxyHeader, url.QueryEscape(string(pemOf(s.cert))))
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{s.cert}}
	b.expect(b.serve(r), http.StatusBadRequest)
}

func pemOf(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func TestTheCertificateMayComeByTLSOrFromAProxy(t *testing.T) {
	var s signer
	show := map[string]func(*http.Request){
		"by TLS":             func(r *http.Request) { r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{s.cert}} },
		"as URL-escaped PEM": func(r *http.Request) { r.Header.Set(proxyHeader, url.QueryEscape(string(pemOf(s.cert)))) },
		"as RFC 9440 says": func(r *http.Request) {
			r.Header.Set(proxyHeader, ":"+base64.StdEncoding.EncodeToString(s.cert.Raw)+":")
		},
		"in an unknown shape": func(r *http.Request) { r.Header.Set(proxyHeader, "nonsense") },
		"empty":               func(r *http.Request) { r.Header.Set(proxyHeader, "") },
	}
	for name, present := range show {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			s, _ = b.enroll("A")
			want := http.StatusOK
			if name == "in an unknown shape" || name == "empty" {
				want = http.StatusBadRequest
			}
			r := request(http.MethodPut, report("Idle", "A"))
			present(r)
			b.expect(b.serve(r), want)
			// Without a configured header it is a header like any other.
			bare := newBench(t, func(o *Options) { o.CertHeader = "" })
			s, _ = bare.enroll("A")
			if name != "by TLS" {
				want = http.StatusBadRequest
			}
			r = request(http.MethodPut, report("Idle", "A"))
			present(r)
			bare.expect(bare.serve(r), want)
		})
	}
}

func TestWhatCannotBeReadIs400AndNotLookedUp(t *testing.T) {
	b := newBench(t)
	s, _ := b.enroll("A")
	for _, body := range [][]byte{[]byte("nonsense"), []byte("bplist00"), dictOf("MessageType", "TokenUpdate"), report("Sleepy", "A"),
		report("Acknowledged", "A"), dictOf("Status", "Idle"), nil} {
		b.expect(b.send(s, body), http.StatusBadRequest)
		if got := b.watch.take(); len(got) != 0 {
			t.Errorf("%s: called %q", body, got)
		}
	}
	b.expect(b.send(s, checkin("Surprise", "A")), http.StatusBadRequest)
	b.expect(b.send(s, checkin("TokenUpdate", "A")), http.StatusBadRequest) // without a token
	fresh := b.issue(fleet.PurposeEnroll, nil)
	b.expect(b.send(fresh, checkin("Authenticate", "B")), http.StatusBadRequest) // without a topic
}

// The rows are who signs and what; udid B is another enrolled device.
func TestAnIdentitySpeaksForItsEnrollmentOnly(t *testing.T) {
	b := newBench(t)
	a, enrollment := b.enroll("A")
	other, _ := b.enroll("B")
	b.enrollUser(enrollment, "known")
	unclaimed := b.issue(fleet.PurposeEnroll, nil)
	forgotten := b.ca.device(t)
	user := func(name string) []string { return []string{"UserID", name, "UserShortName", name} }
	for _, tt := range []struct {
		name   string
		signer signer
		body   []byte
		status int
		called []string
	}{
		{"a device for itself", a, tokenUpdate("A"), 200, []string{"TokenUpdate A"}},
		{"a device for another one", other, tokenUpdate("A"), 403, nil},
		{"a device polls for another one", other, report("Idle", "A"), 403, nil},
		{"a device for one that nobody knows", other, tokenUpdate("C"), 403, nil},
		{"a new identity that never authenticated", unclaimed, tokenUpdate("A"), 403, nil},
		{"a new identity polls", unclaimed, report("Idle", "A"), 403, nil},
		{"a new identity authenticates", unclaimed, authenticate("C"), 200, []string{fmt.Sprintf("Authenticate C with %d", unclaimed.id)}},
		{"an identity that the store does not know", forgotten, authenticate("C"), 403, nil},
		{"a known user of the device", a, tokenUpdate("A", user("known")...), 200, []string{"TokenUpdate A:known"}},
		{"a known user of the device polls", a, report("Idle", "A", user("known")...), 200, nil},
		{"a new user of the device", a, tokenUpdate("A", user("new")...), 200, []string{"TokenUpdate A:new"}},
		{"a known user of another device", other, tokenUpdate("A", user("known")...), 403, nil},
		{"a new user of another device", other, tokenUpdate("A", user("new")...), 403, nil},
		{"a new user with a new identity", unclaimed, tokenUpdate("A", user("new")...), 403, nil},
		{"a network user, who is not managed", a, checkin("UserAuthenticate", "A", user("new")...), 410, nil},
		{"a user cannot begin an enrollment", a, checkin("Authenticate", "A", append(user("known"), "Topic", "topic")...), 400, nil},
		{"checking out", a, checkin("CheckOut", "A"), 200, []string{"CheckOut A"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.t = t
			b.expect(b.send(tt.signer, tt.body), tt.status, tt.called...)
		})
	}
}

func TestARevokedIdentityIs403WhateverItSays(t *testing.T) {
	b := newBench(t)
	old, _ := b.enroll("A")
	fresh, e := b.enroll("A") // enrolls again, which revokes the old one
	b.queue(e, fleet.CommandCustom, fleet.CommandRenew)
	for _, body := range [][]byte{report("Idle", "A"), tokenUpdate("A"), authenticate("A"), authenticate("B"), checkin("CheckOut", "A"),
		checkin("GetBootstrapToken", "A"), report("Acknowledged", "A", "CommandUUID", "cmd-1"), tokenUpdate("A", "UserID", "new")} {
		b.expect(b.send(old, body), http.StatusForbidden)
		if slices.ContainsFunc(b.watch.take(), func(c string) bool { return strings.HasPrefix(c, "seen") }) {
			t.Errorf("%s: counts as a contact", body)
		}
	}
	b.expect(b.send(fresh, tokenUpdate("A")), http.StatusOK, "TokenUpdate A")
}

func TestAnExpiredIdentityGetsNothingButTheCommandThatRenewsIt(t *testing.T) {
	b := newBench(t)
	s, e := b.enroll("A")
	b.queue(e, fleet.CommandCustom, fleet.CommandVitals, fleet.CommandRenew)
	b.ahead = 2 * time.Hour
	w := b.send(s, report("Idle", "A"))
	if w.Code != 200 || w.Body.String() != "<command 3>" {
		t.Fatalf("an expired identity: %d %s", w.Code, w.Body)
	}
	if w = b.send(s, report("Acknowledged", "A", "CommandUUID", "cmd-3")); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("and then: %d %s", w.Code, w.Body)
	}
	b.expect(b.send(s, authenticate("A")), http.StatusForbidden)
	b.ahead = 0
	if w = b.send(s, report("Idle", "A")); w.Body.String() != "<command 1>" || w.Header().Get("Content-Type") != plistType {
		t.Errorf("a valid identity: %d %s %v", w.Code, w.Body, w.Header())
	}
}

func TestTheFirstUseOfARenewedIdentityIsNotedOnce(t *testing.T) {
	b := newBench(t)
	old, e := b.enroll("A")
	renewed := b.issue(fleet.PurposeRenew, e)
	noted := fmt.Sprintf("Renewed A with %d", renewed.id)
	b.expect(b.send(old, report("Idle", "A")), 200)
	b.lifecycle.err = fleet.Errorf(fleet.KindUnavailable, "later")
	b.expect(b.send(renewed, report("Idle", "A")), 503, noted) // and the device comes again
	b.lifecycle.err = nil
	b.expect(b.send(renewed, tokenUpdate("A")), 200, noted, "TokenUpdate A")
	// An Authenticate decides with the facts in hand.
	b.expect(b.send(renewed, authenticate("A")), 200, fmt.Sprintf("Authenticate A with %d", renewed.id))
	b.apply(device("A"), func(fleet.EnrollmentFacts) fleet.EnrollmentChange {
		return fleet.EnrollmentChange{Supersede: renewed.id}
	})
	b.expect(b.send(renewed, report("Idle", "A")), 200)
	b.expect(b.send(old, report("Idle", "A")), 200) // what was under way
	b.ahead = supersededGrace + time.Minute
	for _, body := range [][]byte{report("Idle", "A"), authenticate("A"), tokenUpdate("A"), checkin("CheckOut", "A")} {
		w := b.send(old, body)
		b.expect(w, http.StatusForbidden)
		if !strings.Contains(w.Body.String(), "was renewed") {
			t.Errorf("the reason is %s", w.Body)
		}
	}
}

func TestAPollOfADeletedHostBringsItBack(t *testing.T) {
	b := newBench(t)
	s, e := b.enroll("A")
	if _, err := store.NewHosts(b.db).Delete(context.Background(), e.HostID, nil); err != nil {
		t.Fatal(err)
	}
	b.expect(b.send(s, report("Idle", "A")), 200, "Revive A")
	b.lifecycle.err = errors.New("disk full")
	b.expect(b.send(s, report("Idle", "A")), 500, "Revive A")
}

func TestAPollWithNothingToFetchNeverReachesTheService(t *testing.T) {
	for _, every := range []bool{false, true} {
		t.Run(fmt.Sprintf("every poll shown: %t", every), func(t *testing.T) {
			b := newBench(t, func(o *Options) { o.EveryPoll = every })
			s, e := b.enroll("A")
			polled := func(body []byte) (bool, *httptest.ResponseRecorder) {
				w := b.send(s, body)
				return slices.ContainsFunc(b.watch.take(), func(c string) bool { return strings.HasPrefix(c, "poll") }), w
			}
			for range 3 { // a store that keeps callers in memory learns that nothing waits
				_, _ = polled(report("Idle", "A"))
			}
			if called, w := polled(report("Idle", "A")); called != every || w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Type") != "" {
				t.Errorf("idle: called %t, %d %s %v", called, w.Code, w.Body, w.Header())
			}
			if called, _ := polled(report("Acknowledged", "A", "CommandUUID", "unknown")); !called {
				t.Error("an answer is not a poll")
			}
			b.queue(e, fleet.CommandCustom)
			if called, w := polled(report("Idle", "A")); !called || w.Body.String() != "<command 1>" {
				t.Errorf("with a command: called %t, %s", called, w.Body)
			}
		})
	}
}

func TestEveryRequestOfAKnownDeviceCountsAsAContact(t *testing.T) {
	b := newBench(t)
	s, e := b.enroll("A")
	want := []string{"look up A", fmt.Sprintf("seen %d", e.HostID)}
	b.send(s, report("Idle", "A"))
	if got := b.watch.take(); len(got) < 2 || !slices.Equal(got[:2], want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCheckInsAreAnsweredInTheirForm(t *testing.T) {
	b := newBench(t)
	s, _ := b.enroll("A")
	b.lifecycle.token = []byte("bootstrap")
	declare := func(endpoint string) []byte { return checkin("DeclarativeManagement", "A", "Endpoint", endpoint) }
	for _, tt := range []struct {
		name     string
		body     []byte
		status   int
		kind     string
		contains string
		called   []string
	}{
		{"an escrowed token is returned", checkin("GetBootstrapToken", "A"), 200, plistType, "Ym9vdHN0cmFw", []string{"BootstrapToken A"}},
		{"a token is escrowed", checkin("SetBootstrapToken", "A", "BootstrapToken", "bmV3"), 200, "", "", []string{"SetBootstrapToken A new"}},
		{"no token removes it", checkin("SetBootstrapToken", "A"), 200, "", "", []string{"SetBootstrapToken A "}},
		{"declaration tokens", declare("tokens"), 200, jsonType, `"DeclarationsToken":"`, nil},
		{"declaration items", declare("declaration-items"), 200, jsonType, `"Activations":[]`, nil},
		{"a status report", declare("status"), 200, "", "", nil},
		{"a declaration that is not there", declare("declaration/activation/x"), 404, "text/plain; charset=utf-8", "is to have no activation", nil},
		{"an endpoint that is not there", declare("nonsense"), 400, "text/plain; charset=utf-8", "nonsense", nil},
		{"a token service that is not there", checkin("GetToken", "A", "TokenServiceType", "com.apple.maid"), 400, "text/plain; charset=utf-8", "no token service", nil},
		{"return to service", checkin("ReturnToService", "A"), 200, plistType, "<false", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.t = t
			w := b.send(s, tt.body)
			b.expect(w, tt.status, tt.called...)
			if w.Header().Get("Content-Type") != tt.kind || !strings.Contains(w.Body.String(), tt.contains) {
				t.Errorf("%s %s", w.Header().Get("Content-Type"), w.Body)
			}
		})
	}
	b.lifecycle.token = nil
	w := b.send(s, checkin("GetBootstrapToken", "A"))
	if d, err := plist.ReadDict(w.Body.Bytes()); w.Code != 200 || err != nil || len(d) != 0 {
		t.Errorf("no token: %d %s %v", w.Code, w.Body, err)
	}
}

func TestADeviceCannotFloodTheLogOrTheAnswer(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t)
	s, _ := b.enroll("A")
	outer := httpx.Handler(b.handler, httpx.Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	long := strings.Repeat("\x01x", 100_000)
	for _, body := range [][]byte{checkin(long, "A"), []byte("<plist><dict><key>Status</key><" + long + "/></dict></plist>"), report("Idle", "A", "N", "&"+long+";"),
		[]byte("<plist><dict><key>MessageType</key><string>&" + long + ";</string></dict></plist>")} {
		log.Reset()
		r, w := request(http.MethodPut, body), httptest.NewRecorder()
		r.Header.Set(signatureHeader, s.header(t, body))
		outer.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest && w.Code != http.StatusOK {
			t.Errorf("%.80q: status %d", body, w.Code)
		}
		const most = 4000
		if w.Body.Len() > most || log.Len() > most || log.Len() == 0 {
			t.Errorf("%.80q: %d bytes of answer, %d of log", body, w.Body.Len(), log.Len())
		}
	}
}

func TestTheServiceCannotBeCalledFromOutsideOfTheEndpoint(t *testing.T) {
	if _, err := messageOf(context.Background()); err == nil {
		t.Error("no error")
	}
}

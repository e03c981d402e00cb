package e2e

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

// enterCode is a person who enters a code on the page where people sign in.
func enterCode(code string) func(context.Context, string) (string, error) {
	return func(ctx context.Context, page string) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, page+"?code="+url.QueryEscape(code), nil)
		if err != nil {
			return "", err
		}
		alone := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := alone.Do(req)
		if err != nil {
			return "", err
		}
		_ = resp.Body.Close()
		at, err := url.Parse(resp.Header.Get("Location"))
		if err != nil || resp.StatusCode != http.StatusPermanentRedirect || at.Scheme != "apple-remotemanagement-user-login" || at.Host != "authentication-results" {
			return "", errors.New("the page does not tell the device: " + resp.Status + " " + resp.Header.Get("Location"))
		}
		return at.Query().Get("access-token"), nil
	}
}

func TestAPersonEnrollsTheirOwnDeviceWithAnAccount(t *testing.T) {
	t.Parallel()
	eachBusiness(t, func(t *testing.T, b *business) {
		ctx := t.Context()
		team, err := b.api.CreateTeam(ctx, apiv1.CreateTeamRequest{Name: "BYOD"})
		if err != nil {
			t.Fatal(err)
		}
		invited, err := b.api.InviteAccount(ctx, apiv1.AccountEnrollmentRequest{ManagedAppleID: "ada@example.com", TeamID: &team.ID})
		if err != nil {
			t.Fatal(err)
		}
		d := b.unassigned(t, "iphone")
		if err := d.EnrollWithAccount(ctx, b.url, "ada@example.com", enterCode(invited.Token)); err != nil {
			t.Fatal(err)
		}
		h := b.host(t, d.EnrollmentID())
		if enrollmentStatus(h) != "On (personal)" || h.TeamID == nil || *h.TeamID != team.ID || h.HardwareSerial != "" {
			t.Errorf("%q in team %v, serial %q", enrollmentStatus(h), h.TeamID, h.HardwareSerial)
		}
		if _, err := d.Poll(ctx); err != nil {
			t.Errorf("the device itself: %v", err)
		}
		_, err = b.api.WipeHost(ctx, h.ID, apiv1.WipeRequest{})
		if client.StatusOf(err) != http.StatusBadRequest {
			t.Errorf("wiping somebody's own device: %v", err)
		}

		// The token is good for one profile, and for a day.
		if err := b.unassigned(t, "iphone").EnrollWithAccount(ctx, b.url, "ada@example.com", enterCode(invited.Token)); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("a second device: %v", err)
		}
		late, err := b.api.InviteAccount(ctx, apiv1.AccountEnrollmentRequest{ManagedAppleID: "ada@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		mac := b.unassigned(t, "mac")
		if err := mac.EnrollWithAccount(ctx, b.url, "ada@example.com", enterCode(late.Token)); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("a Mac: %v", err)
		}
		b.clock.advance(25 * time.Hour)
		if err := b.unassigned(t, "ipad").EnrollWithAccount(ctx, b.url, "ada@example.com", enterCode(late.Token)); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("a day later: %v", err)
		}
		if _, err := b.api.InviteAccount(ctx, apiv1.AccountEnrollmentRequest{ManagedAppleID: "ada"}); client.StatusOf(err) != http.StatusUnprocessableEntity {
			t.Errorf("an account without a domain: %v", err)
		}
		if n := b.number(t, "SELECT COUNT(*) FROM account_tokens WHERE managed_apple_id = 'ada@example.com' AND used_at > 0"); n != 1 {
			t.Errorf("%d tokens were used", n)
		}
	})
}

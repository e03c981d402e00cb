package httpapi

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Guardian tells what expires.
type Guardian interface {
	// Expiring lists what expires within so many days, or has expired.
	Expiring(ctx context.Context, days int) (fleet.Expiry, error)
}

// Renewer renews identities of devices.
type Renewer interface {
	// Now begins a renewal; KindConflict: one is under way, or the host has no
	// identity.
	Now(ctx context.Context, actor fleet.Actor, host fleet.HostID) error
}

type expiringInput struct {
	Days int `query:"days" minimum:"0" maximum:"3650" default:"30" doc:"How far to look ahead"`
}

func (a *api) expiring(ctx context.Context, in *expiringInput) (*body[apiv1.ExpiringResponse], error) {
	expiry, err := a.guardian.Expiring(ctx, in.Days)
	if err != nil {
		return nil, err
	}
	now := a.now()
	out := apiv1.ExpiringResponse{Days: in.Days, Expiring: []apiv1.ExpiringThing{}, Refused: []apiv1.RefusedToken{},
		Identities: apiv1.ExpiringIdentities{Weeks: []apiv1.ExpiringWeek{}, Nearest: []apiv1.ExpiringIdentity{}}}
	for _, t := range expiry.Things {
		const hours = 24
		left := int(math.Floor(t.NotAfter.Sub(now).Round(time.Second).Hours() / hours))
		out.Expiring = append(out.Expiring, apiv1.ExpiringThing{Kind: t.Kind, Name: t.Name, NotAfter: t.NotAfter.UTC(), DaysLeft: left})
	}
	for week, n := range expiry.Identities.Weeks {
		out.Identities.Count += n
		out.Identities.Weeks = append(out.Identities.Weeks, apiv1.ExpiringWeek{Week: week, Count: n})
	}
	slices.SortFunc(out.Identities.Weeks, func(a, b apiv1.ExpiringWeek) int { return cmp.Compare(a.Week, b.Week) })
	for _, i := range expiry.Identities.Nearest {
		out.Identities.Nearest = append(out.Identities.Nearest, apiv1.ExpiringIdentity{HostID: int64(i.Host.ID), HostUUID: i.Host.UUID, HardwareSerial: i.Host.Serial,
			Hostname: i.Host.Hostname, NotAfter: i.NotAfter.UTC(), Renewing: i.Renewing, FailedAttempts: i.Attempts, Fault: i.Fault})
	}
	tokens, err := a.serverTokens.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range tokens {
		switch t.Sync.Error {
		case fleet.DEPTerms, fleet.DEPTokenExpired, fleet.DEPTokenRejected:
			out.Refused = append(out.Refused, apiv1.RefusedToken{ID: int64(t.Sync.TokenID), Name: t.Account.ServerName, Reason: t.Sync.Reason})
		case fleet.DEPOK, fleet.DEPTemporary, fleet.DEPCursorExhausted, fleet.DEPCursorExpired, fleet.DEPCursorInvalid, fleet.DEPCursorRequired, fleet.DEPTooMany, fleet.DEPRefused:
		}
	}
	return reply(out), nil
}

func (a *api) renewIdentity(ctx context.Context, in *IDInput) (*body[apiv1.Empty], error) {
	if _, err := a.hosts.Host(ctx, fleet.HostID(in.ID)); err != nil {
		return nil, err
	}
	if err := a.renewer.Now(ctx, actorOf(ctx), fleet.HostID(in.ID)); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

package httpapi

import (
	"context"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

// Accounts enrolls devices of people who have a managed Apple account.
type Accounts interface {
	// Invite makes a token with which a person enrolls one device, once.
	Invite(ctx context.Context, actor fleet.Actor, account string, team fleet.TeamID) (token string, expires time.Time, err error)
}

type accountInput struct {
	Body apiv1.AccountEnrollmentRequest
}

func (a *api) inviteAccount(ctx context.Context, in *accountInput) (*body[apiv1.AccountEnrollmentResponse], error) {
	team, err := oneTeam(in.Body.TeamID, in.Body.FleetID)
	if err != nil {
		return nil, err
	}
	token, expires, err := a.accounts.Invite(ctx, actorOf(ctx), in.Body.ManagedAppleID, team)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.AccountEnrollmentResponse{Token: token, ExpiresAt: expires.UTC()}), nil
}

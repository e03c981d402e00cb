package httpapi

import (
	"context"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

func toSession(s fleet.Session) apiv1.Session {
	return apiv1.Session{SessionID: int64(s.ID), UserID: int64(s.UserID), CreatedAt: s.CreatedAt.UTC(), UsedAt: s.UsedAt.UTC(), ExpiresAt: timeOrNull(s.ExpiresAt)}
}

func (a *api) listUserSessions(ctx context.Context, in *IDInput) (*body[apiv1.SessionsResponse], error) {
	sessions, err := a.sessions.SessionsOf(ctx, fleet.UserID(in.ID))
	if err != nil {
		return nil, err
	}
	out := apiv1.SessionsResponse{Sessions: make([]apiv1.Session, 0, len(sessions))}
	for _, s := range sessions {
		out.Sessions = append(out.Sessions, toSession(s))
	}
	return reply(out), nil
}

func (a *api) deleteUserSessions(ctx context.Context, in *IDInput) (*body[apiv1.Empty], error) {
	if err := a.sessions.DeleteSessionsOf(ctx, actorOf(ctx), fleet.UserID(in.ID)); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

func (a *api) getSession(ctx context.Context, in *IDInput) (*body[apiv1.Session], error) {
	session, err := a.sessions.Session(ctx, fleet.SessionID(in.ID))
	if err != nil {
		return nil, err
	}
	return reply(toSession(session)), nil
}

func (a *api) deleteSession(ctx context.Context, in *IDInput) (*body[apiv1.Empty], error) {
	if err := a.sessions.DeleteSession(ctx, actorOf(ctx), fleet.SessionID(in.ID)); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

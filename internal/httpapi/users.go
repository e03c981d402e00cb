package httpapi

import (
	"context"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

func toUser(u fleet.User) apiv1.User {
	return apiv1.User{
		ID: int64(u.ID), Name: u.Name, Email: u.Email, GlobalRole: string(u.Role), Teams: []apiv1.UserTeam{},
		APIOnly: u.APIOnly, ForcePasswordReset: u.ForceReset, AdminForcedPasswordReset: u.ForceReset,
		CreatedAt: u.CreatedAt.UTC(), UpdatedAt: u.UpdatedAt.UTC(),
	}
}

type listUsersInput struct {
	PageInput
	Query string `query:"query" maxLength:"255" doc:"Part of name or e-mail"`
}

func (a *api) listUsers(ctx context.Context, in *listUsersInput) (*body[apiv1.UsersResponse], error) {
	page, err := a.page(in.PageInput)
	if err != nil {
		return nil, err
	}
	users, err := a.users.Users(ctx, page, in.Query)
	if err != nil {
		return nil, err
	}
	out := apiv1.UsersResponse{Users: make([]apiv1.User, 0, len(users))}
	for _, u := range users {
		out.Users = append(out.Users, toUser(u))
	}
	return reply(out), nil
}

func (a *api) getUser(ctx context.Context, in *IDInput) (*body[apiv1.UserResponse], error) {
	user, err := a.users.User(ctx, fleet.UserID(in.ID))
	if err != nil {
		return nil, err
	}
	return reply(apiv1.UserResponse{User: toUser(user)}), nil
}

func (a *api) createUser(ctx context.Context, in *body[apiv1.CreateUserRequest]) (*body[apiv1.UserResponse], error) {
	req := in.Body
	user := fleet.User{
		Name: req.Name, Email: req.Email, Role: fleet.Role(req.GlobalRole), APIOnly: req.APIOnly,
		ForceReset: req.AdminForcedPasswordReset == nil || *req.AdminForcedPasswordReset,
	}
	created, token, err := a.users.CreateUser(ctx, actorOf(ctx), user, req.Password)
	if err != nil {
		return nil, err
	}
	out := apiv1.UserResponse{User: toUser(created)}
	if token != "" {
		out.Token = &token
	}
	return reply(out), nil
}

type modifyUserInput struct {
	IDInput
	Body apiv1.ModifyUserRequest
}

func (a *api) modifyUser(ctx context.Context, in *modifyUserInput) (*body[apiv1.UserResponse], error) {
	req := in.Body
	password := ""
	if req.NewPassword != nil {
		password = *req.NewPassword
	}
	user, err := a.users.UpdateUser(ctx, actorOf(ctx), fleet.UserID(in.ID), func(u *fleet.User) error {
		if req.Name != nil {
			u.Name = *req.Name
		}
		if req.Email != nil {
			u.Email = *req.Email
		}
		if req.GlobalRole != nil {
			u.Role = fleet.Role(*req.GlobalRole)
		}
		return nil
	}, password)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.UserResponse{User: toUser(user)}), nil
}

func (a *api) deleteUser(ctx context.Context, in *IDInput) (*body[apiv1.Empty], error) {
	if err := a.users.DeleteUser(ctx, actorOf(ctx), fleet.UserID(in.ID)); err != nil {
		return nil, err
	}
	return reply(apiv1.Empty{}), nil
}

type requireResetInput struct {
	IDInput
	Body apiv1.RequirePasswordResetRequest
}

func (a *api) requireReset(ctx context.Context, in *requireResetInput) (*body[apiv1.UserResponse], error) {
	user, err := a.users.RequirePasswordReset(ctx, actorOf(ctx), fleet.UserID(in.ID), in.Body.Require)
	if err != nil {
		return nil, err
	}
	return reply(apiv1.UserResponse{User: toUser(user)}), nil
}

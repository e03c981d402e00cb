package httpapi

import (
	"context"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

func (a *api) getVersion(context.Context, *noInput) (*body[apiv1.Version], error) {
	return reply(a.version), nil
}

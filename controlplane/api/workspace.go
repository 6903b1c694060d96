package api

import (
	"context"
	"net/http"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// createWorkspace takes no workspace_slug: the workspace has its own.
func (h *Handler) createWorkspace(x *exchange) (*reply, error) {
	var in controlplane.NewWorkspace
	if err := x.decode(&in); err != nil {
		return nil, err
	}
	return tagged(written[controlplane.CreatedWorkspace](http.StatusCreated)(h.service.CreateWorkspace(x.ctx(), x.caller, in)))
}

// inside moves the caller into the workspace whose slug is in the path before the operation is done.
func inside(do operation) operation {
	return func(x *exchange) (*reply, error) {
		slug := x.r.PathValue("id")
		if !oneLine(slug) {
			return nil, authority.NotFound("path")
		}
		if err := x.enter(slug); err != nil {
			return nil, err
		}
		return do(x)
	}
}

// deleteWorkspace waits for the gateways as long as the query says.
func (h *Handler) deleteWorkspace(x *exchange) (*reply, error) {
	q := readQuery(x.r.URL.RawQuery)
	wait := q.wait(controlplane.DefaultRevocationWait)
	if err := q.end(); err != nil {
		return nil, err
	}
	if err := x.decodeOptional(&struct{}{}); err != nil {
		return nil, err
	}
	deletion, err := h.service.DeleteWorkspace(x.ctx(), x.caller, x.r.PathValue("id"), wait)
	return written[controlplane.Deletion](revocationStatus(deletion.Value.State))(deletion, err)
}

// usage answers the quotas of a workspace as a list.
func (h *Handler) usage(x *exchange) (*reply, error) {
	slug, err := named[string](x)
	if err != nil {
		return nil, err
	}
	return listAll(func(ctx context.Context, c controlplane.Caller) ([]controlplane.Quota, error) {
		return h.service.Usage(ctx, c, slug)
	})(x)
}

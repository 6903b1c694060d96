package api

import (
	"net/http"

	"github.com/caracal-gateway/caracal/controlplane"
)

// rotateSigningKeys takes a body that may be absent.
func (h *Handler) rotateSigningKeys(x *exchange) (*reply, error) {
	var in struct {
		controlplane.KeyRotation
		WorkspaceSlug string `json:"workspace_slug"`
	}
	if err := x.decodeOptional(&in); err != nil {
		return nil, err
	}
	if in.WorkspaceSlug != "" {
		if err := x.enter(in.WorkspaceSlug); err != nil {
			return nil, err
		}
	}
	if err := x.within(readQuery(x.r.URL.RawQuery)); err != nil {
		return nil, err
	}
	return written[controlplane.SigningKeys](http.StatusOK)(h.service.RotateSigningKeys(x.ctx(), x.caller, in.KeyRotation))
}

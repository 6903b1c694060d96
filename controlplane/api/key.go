package api

import (
	"net/http"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// rotate answers the successor of a key. The body may be left out.
func (h *Handler) rotate(x *exchange) (*reply, error) {
	id, err := named[authority.KeyID](x)
	if err != nil {
		return nil, err
	}
	var in controlplane.Rotation
	if err := x.decodeOptional(&in); err != nil {
		return nil, err
	}
	return written[controlplane.RotatedKey](http.StatusCreated)(h.service.RotateKey(x.ctx(), x.caller, id, in))
}

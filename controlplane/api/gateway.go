package api

import (
	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// revokeGateway waits for the lease of a gateway process to be over, as long as the body says.
func (h *Handler) revokeGateway(x *exchange) (*reply, error) {
	id, err := named[authority.GatewayID](x)
	if err != nil {
		return nil, err
	}
	var in struct {
		Wait *float64 `json:"wait"`
	}
	if err := x.decodeOptional(&in); err != nil {
		return nil, err
	}
	wait, err := patience(in.Wait)
	if err != nil {
		return nil, err
	}
	revoked, err := h.service.RevokeGateway(x.ctx(), x.caller, id, wait)
	return tagged(written[controlplane.RevokedGateway](revocationStatus(revoked.Value.Receipt.State))(revoked, err))
}

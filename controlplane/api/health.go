package api

import (
	"context"
	"net/http"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/replica"
)

// pingTimeout bounds how long a question about health waits for the database.
const pingTimeout = 2 * time.Second

// health is what the process says of itself.
type health struct {
	Status   string `json:"status"`   // ok, or degraded: alive without its database
	Database string `json:"database"` // ok or unavailable
	// Limits say how far what is counted reaches: all replicas, or this process.
	Limits replica.State `json:"limits"`
	// SignIn says how people sign in: at a provider, by one-time links only, or not at all.
	SignIn  controlplane.SignInWay `json:"sign_in"`
	Version string                 `json:"version"` // of the program
}

// health answers 200 while the process lives.
func (h *Handler) health(x *exchange) (*reply, error) {
	state := h.well()
	if h.ping(x) != nil {
		state.Status, state.Database = "degraded", "unavailable"
	}
	return &reply{status: http.StatusOK, body: state}, nil
}

// ready answers 200 when the control plane can do its work, and a problem that says why not.
func (h *Handler) ready(x *exchange) (*reply, error) {
	if h.ping(x) != nil {
		return nil, &authority.Error{Code: authority.CodeUnavailable, Message: "the database does not answer or is not migrated"}
	}
	return &reply{status: http.StatusOK, body: h.well()}, nil
}

// well is what there is to say while the database answers.
func (h *Handler) well() health {
	return health{Status: "ok", Database: "ok", Limits: h.service.Replica().State(), SignIn: h.service.SignInWay(), Version: h.version}
}

func (h *Handler) ping(x *exchange) error {
	ctx, cancel := context.WithTimeout(x.ctx(), pingTimeout)
	defer cancel()
	return h.service.Ping(ctx)
}

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
	Status   string `json:"status"`   // ok, or degraded: alive without its database, or with one that is not relied on
	Database string `json:"database"` // ok, unavailable or restored
	// Restored says what gateways know and the database does not; absent where they know nothing.
	Restored *restored `json:"restored,omitempty"`
	// Limits say how far what is counted reaches: all replicas, or this process.
	Limits replica.State `json:"limits"`
	// SignIn says how people sign in: at a provider, by one-time links only, or not at all.
	SignIn  controlplane.SignInWay `json:"sign_in"`
	Version string                 `json:"version"` // of the program
}

// restored is what there is to say to anybody of a database that was restored from a backup: no names, and nothing of what
// is in it.
type restored struct {
	Since    *time.Time      `json:"since"` // nil where it is relied on, and a gateway that was away has reported since
	Gateways []restoredBelow `json:"gateways"`
}

// restoredBelow is how far a gateway is beyond the database.
type restoredBelow struct {
	Gateway          authority.GatewayID `json:"gateway_id"`
	Revision         uint64              `json:"revision"`
	DatabaseRevision uint64              `json:"database_revision"`
	Proven           bool                `json:"proven"`
}

// maxRestoredShown bounds how many gateways health names.
const maxRestoredShown = 100

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
	if err := h.service.Relied(); err != nil {
		return nil, err
	}
	return &reply{status: http.StatusOK, body: h.well()}, nil
}

// well is what there is to say while the database answers.
func (h *Handler) well() health {
	state := health{Status: "ok", Database: "ok", Limits: h.service.Replica().State(), SignIn: h.service.SignInWay(), Version: h.version}
	r := h.service.LastRestoration()
	if r.Since == nil && len(r.Reports) == 0 {
		return state
	}
	if r.Since != nil {
		state.Status, state.Database = "degraded", "restored"
	}
	state.Restored = &restored{Since: r.Since, Gateways: []restoredBelow{}}
	for _, g := range r.Reports[:min(len(r.Reports), maxRestoredShown)] {
		state.Restored.Gateways = append(state.Restored.Gateways, restoredBelow{g.GatewayID, g.Revision, g.DatabaseRevision, g.Proven})
	}
	return state
}

func (h *Handler) ping(x *exchange) error {
	ctx, cancel := context.WithTimeout(x.ctx(), pingTimeout)
	defer cancel()
	return h.service.Ping(ctx)
}

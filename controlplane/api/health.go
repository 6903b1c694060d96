package api

import (
	"context"
	"net/http"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// pingTimeout bounds how long a question about health waits for the database.
const pingTimeout = 2 * time.Second

// health is what the process says of itself.
type health struct {
	Status   string `json:"status"`   // ok, or degraded: alive without its database
	Database string `json:"database"` // ok or unavailable
}

// health answers 200 while the process lives.
func (h *Handler) health(x *exchange) (*reply, error) {
	state := health{"ok", "ok"}
	if h.ping(x) != nil {
		state = health{"degraded", "unavailable"}
	}
	return &reply{status: http.StatusOK, body: state}, nil
}

// ready answers 200 when the control plane can do its work, and a problem that says why not.
func (h *Handler) ready(x *exchange) (*reply, error) {
	if h.ping(x) != nil {
		return nil, &authority.Error{Code: authority.CodeUnavailable, Message: "the database does not answer or is not migrated"}
	}
	return &reply{status: http.StatusOK, body: health{"ok", "ok"}}, nil
}

func (h *Handler) ping(x *exchange) error {
	ctx, cancel := context.WithTimeout(x.ctx(), pingTimeout)
	defer cancel()
	return h.service.Ping(ctx)
}

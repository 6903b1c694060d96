package api

import (
	"net/http"

	"github.com/caracal-gateway/caracal/controlplane"
)

// accepting lets a change of the catalog say in accept_changes which report it accepts.
func accepting(do operation) operation {
	return func(x *exchange) (*reply, error) {
		q := readQuery(x.r.URL.RawQuery)
		digest := q.text("accept_changes")
		if q.err != nil {
			return nil, q.err
		}
		x.caller = x.caller.Accepting(digest)
		delete(q.values, "accept_changes")
		r := new(http.Request)
		*r = *x.r
		url := *x.r.URL
		url.RawQuery = q.values.Encode()
		r.URL = &url
		x.r = r
		return do(x)
	}
}

func (h *Handler) testDestination(x *exchange) (*reply, error) {
	var in controlplane.Trial
	if err := x.decodeAt(&in); err != nil {
		return nil, err
	}
	if err := x.within(readQuery(x.r.URL.RawQuery)); err != nil {
		return nil, err
	}
	answer, err := h.service.TestDestination(x.ctx(), x.caller, in)
	if err != nil {
		return nil, err
	}
	return &reply{status: http.StatusOK, body: answer}, nil
}

package api

import (
	"net/http"

	"github.com/caracal-gateway/caracal/authority"
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
	var in trial
	if err := x.decodeAt(&in); err != nil {
		return nil, err
	}
	asked, err := in.read()
	if err != nil {
		return nil, err
	}
	if err := x.within(readQuery(x.r.URL.RawQuery)); err != nil {
		return nil, err
	}
	answer, err := h.service.TestDestination(x.ctx(), x.caller, asked)
	if err != nil {
		return nil, err
	}
	return &reply{status: http.StatusOK, body: answer}, nil
}

// trial is a controlplane.Trial as it is sent, in which what is left out is not what is empty.
type trial struct {
	URL         string `json:"url"`
	Method      given  `json:"method"`
	PrincipalID given  `json:"principal_id"`
	MandateID   given  `json:"mandate_id"`
}

func (t trial) read() (controlplane.Trial, error) {
	asked := controlplane.Trial{URL: t.URL}
	var err error
	if asked.Method = t.Method.text; t.Method.is && asked.Method == "" {
		return asked, authority.Invalid("method", "is empty: name a method, or leave it out")
	}
	if t.PrincipalID.is {
		if asked.PrincipalID, err = authority.ParseID[authority.PrincipalID](t.PrincipalID.text); err != nil {
			return asked, authority.Invalid("principal_id", "is not the id of a principal")
		}
	}
	if t.MandateID.is {
		if asked.MandateID, err = authority.ParseID[authority.MandateID](t.MandateID.text); err != nil {
			return asked, authority.Invalid("mandate_id", "is not the id of a mandate")
		}
	}
	return asked, nil
}

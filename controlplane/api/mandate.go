package api

import (
	"context"
	"net/http"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// mandate is the wire form of a mandate: also how long it holds, as it was asked for.
type mandate struct {
	authority.Mandate
	ValiditySeconds int64 `json:"validity_seconds"`
}

func withValidity(m authority.Mandate) mandate {
	return mandate{m, int64(m.ValidUntil.Sub(m.ValidFrom) / time.Second)}
}

func lasting(w controlplane.Written[authority.Mandate], err error) (controlplane.Written[mandate], error) {
	return controlplane.Written[mandate]{Value: withValidity(w.Value), Revision: w.Revision}, err
}

func (h *Handler) issue(ctx context.Context, c controlplane.Caller, r controlplane.MandateRequest) (controlplane.Written[mandate], error) {
	return lasting(h.service.RequestMandate(ctx, c, r))
}

func (h *Handler) mandate(ctx context.Context, c controlplane.Caller, id authority.MandateID) (mandate, error) {
	m, err := h.service.Mandate(ctx, c, id)
	return withValidity(m), err
}

func (h *Handler) mandates(ctx context.Context, c controlplane.Caller, f controlplane.MandateFilter, p controlplane.Page) (controlplane.List[mandate], error) {
	l, err := h.service.Mandates(ctx, c, f, p)
	all := controlplane.List[mandate]{NextCursor: l.NextCursor}
	for _, m := range l.Items {
		all.Items = append(all.Items, withValidity(m))
	}
	return all, err
}

func (h *Handler) validate(x *exchange) (*reply, error) {
	var in controlplane.Validation
	var said struct {
		PresenterID    *string `json:"presenter_id"`
		PresenterToken *string `json:"presenter_token"`
	}
	if err := x.decode(&in, &said); err != nil {
		return nil, err
	}
	// A service that lost who presented the mandate would be answered as somebody who merely asks.
	if said.PresenterToken != nil && in.PresenterToken == "" {
		return nil, authority.Invalid("presenter_token", "is empty; without a presenter leave it out")
	}
	if err := x.enterHolding(string(in.MandateID)); err != nil {
		return nil, err
	}
	if in.MandateID == "" {
		return nil, authority.Invalid("mandate_id", "says which mandate is presented")
	}
	if said.PresenterID != nil {
		if _, err := authority.ParseID[authority.PrincipalID](string(in.PresenterID)); err != nil {
			return nil, authority.Within("presenter_id", err)
		}
	}
	answer, err := h.service.ValidateMandate(x.ctx(), x.caller, in)
	if err != nil {
		return nil, err
	}
	return &reply{status: http.StatusOK, body: answer}, nil
}

func (h *Handler) delegate(x *exchange) (*reply, error) {
	var in controlplane.Delegation
	if err := x.decode(&in); err != nil {
		return nil, err
	}
	parent, err := same(x, "parent_mandate_id", in.ParentMandateID)
	if err != nil {
		return nil, err
	}
	in.ParentMandateID = parent
	return written[mandate](http.StatusCreated)(lasting(h.service.DelegateMandate(x.ctx(), x.caller, in)))
}

// same is the mandate in the path. A body may name it once more, but no other.
func same(x *exchange, field string, inBody authority.MandateID) (authority.MandateID, error) {
	inPath, err := named[authority.MandateID](x)
	if err == nil && inBody != "" && inBody != inPath {
		err = authority.Invalid(field, "names another mandate than the path")
	}
	return inPath, err
}

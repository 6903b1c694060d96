package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// revocationStatus tells by the status whether a revocation is in force everywhere.
func revocationStatus(r authority.ReceiptState) int {
	if r == authority.ReceiptEnforced {
		return http.StatusOK
	}
	return http.StatusAccepted
}

// patience is for how long a caller wants to wait for the gateways.
func patience(wait *float64) (time.Duration, error) {
	if wait == nil {
		return controlplane.DefaultRevocationWait, nil
	}
	if limit := controlplane.MaxRevocationWait.Seconds(); !(*wait >= 0 && *wait <= limit) {
		return 0, authority.Invalid("wait", "must be from 0 to %v seconds", limit)
	}
	return time.Duration(*wait * float64(time.Second)), nil
}

func (h *Handler) revoke(x *exchange) (*reply, error) {
	var in struct {
		MandateID authority.MandateID `json:"mandate_id"`
		Wait      *float64            `json:"wait"`
	}
	if err := x.decodeOptional(&in); err != nil {
		return nil, err
	}
	id, err := same(x, "mandate_id", in.MandateID)
	if err != nil {
		return nil, err
	}
	wait, err := patience(in.Wait)
	if err != nil {
		return nil, err
	}
	receipt, err := h.service.RevokeMandate(x.ctx(), x.caller, id, wait)
	return written[controlplane.Receipt](revocationStatus(receipt.Value.State))(receipt, err)
}

func (h *Handler) revokeAll(x *exchange) (*reply, error) {
	var in struct {
		controlplane.RevocationFilter
		Wait          *float64 `json:"wait"`
		WorkspaceSlug string   `json:"workspace_slug"`
	}
	if err := x.decode(&in); err != nil {
		return nil, err
	}
	wait, err := patience(in.Wait)
	if err != nil {
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
	receipt, err := h.service.RevokeMandates(x.ctx(), x.caller, in.RevocationFilter, wait)
	return written[controlplane.Receipt](revocationStatus(receipt.Value.State))(receipt, err)
}

func (h *Handler) suspend(x *exchange) (*reply, error) {
	id, err := named[authority.PrincipalID](x)
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
	suspension, err := h.service.SuspendPrincipal(x.ctx(), x.caller, id, wait)
	return tagged(written[controlplane.Suspension](revocationStatus(suspension.Value.Receipt.State))(suspension, err))
}

// receipt waits for the gateways as long as the query says.
func (h *Handler) receipt(x *exchange) (*reply, error) {
	id := x.r.PathValue("id")
	if !oneLine(id) {
		return nil, authority.NotFound("path")
	}
	q := readQuery(x.r.URL.RawQuery)
	wait := q.wait(0)
	if err := q.end(); err != nil {
		return nil, err
	}
	if err := x.enterHolding(id); err != nil {
		return nil, err
	}
	receipt, err := h.service.AwaitReceipt(x.ctx(), x.caller, authority.ReceiptID(id), wait)
	if err != nil {
		return nil, err
	}
	return x.unlessKnown(&reply{status: http.StatusOK, tag: controlplane.Tag(receipt), body: receipt})
}

// wait reads for how long the caller wants to wait for gateways.
func (q *query) wait(unlessTold time.Duration) time.Duration {
	text := q.text("wait")
	if text == "" {
		return unlessTold
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		seconds = -1
	}
	wait, err := patience(&seconds)
	if err != nil {
		q.refuse(err)
	}
	return wait
}

func receiptFilter(q *query) controlplane.ReceiptFilter {
	return controlplane.ReceiptFilter{
		State:       authority.ReceiptState(q.choice("state", "pending", "enforced", "withdrawn")),
		Kind:        authority.ReceiptKind(q.choice("kind", "mandate", "mandates", "principal", "workspace", "gateway")),
		RequestedBy: id(q, "requested_by", authority.ParseID[authority.PrincipalID]),
		Created:     q.created(),
	}
}

// receiptMandates answers one page of the ids of the mandates that a receipt's revocation ended.
func (h *Handler) receiptMandates(x *exchange) (*reply, error) {
	q := readQuery(x.r.URL.RawQuery)
	page := q.page()
	if err := q.end(); err != nil {
		return nil, err
	}
	id := x.r.PathValue("id")
	if !oneLine(id) {
		return nil, authority.NotFound("path")
	}
	if err := x.enterHolding(id); err != nil {
		return nil, err
	}
	l, err := h.service.ReceiptMandates(x.ctx(), x.caller, authority.ReceiptID(id), page)
	if err != nil {
		return nil, err
	}
	return &reply{status: http.StatusOK, body: toListed(l.Items, l.NextCursor)}, nil
}

// single answers the one thing of its kind that a workspace has.
func single[Out any](method func(context.Context, controlplane.Caller) (Out, error)) operation {
	return func(x *exchange) (*reply, error) {
		if err := x.within(readQuery(x.r.URL.RawQuery)); err != nil {
			return nil, err
		}
		thing, err := method(x.ctx(), x.caller)
		if err != nil {
			return nil, err
		}
		return &reply{status: http.StatusOK, body: thing}, nil
	}
}

// receiptRoutes are revocations by filter, and the receipts of all.
func (h *Handler) receiptRoutes() []route {
	s := h.service
	return slices.Concat(
		[]route{
			{method: http.MethodPost, path: root + "workspaces/{workspace}/revocations", do: h.revokeAll, wait: controlplane.MaxRevocationWait},
			{method: http.MethodPost, path: root + "revocations", do: h.revokeAll, wait: controlplane.MaxRevocationWait},
		},
		collection("receipts", list(receiptFilter, s.Receipts), nil),
		[]route{
			{method: http.MethodGet, path: root + "receipts/{id}", do: h.receipt, wait: controlplane.MaxRevocationWait},
			{method: http.MethodGet, path: root + "receipts/{id}/mandates", do: h.receiptMandates},
			{method: http.MethodGet, path: root + "workspaces/{workspace}/key-set", do: single(s.KeySet)},
			{method: http.MethodGet, path: root + "key-set", do: single(s.KeySet)},
		},
	)
}

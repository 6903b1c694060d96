package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// Receipt tells what a revocation did, and where it is in force since when. Mandates are the first of those that it ended.
type Receipt struct {
	authority.Receipt
	Mandates   []authority.MandateID      `json:"mandates"`
	Gateways   []authority.GatewayReceipt `json:"gateways"`
	StreamsCut uint64                     `json:"streams_cut"`
}

// waiting is the body of what waits for gateways.
func waiting(wait time.Duration) map[string]any { return map[string]any{"wait": wait.Seconds()} }

// RevokeMandate ends a mandate and all that was delegated from it, and waits for the gateways as long as it is told.
func (c *Client) RevokeMandate(ctx context.Context, id authority.MandateID, wait time.Duration) (Receipt, error) {
	return post[Receipt](ctx, c, single("mandates", id, "revoke"), waiting(wait))
}

// MassRevocation names mandates: those that every given field admits, and all that was delegated from them.
type MassRevocation struct {
	SubjectID      authority.PrincipalID `json:"subject_id,omitempty"`
	IssuerID       authority.PrincipalID `json:"issuer_id,omitempty"`
	UnderMandateID authority.MandateID   `json:"under_mandate_id,omitempty"`
}

// RevokeMandates ends all mandates that are named, and waits for the gateways as long as it is told.
func (c *Client) RevokeMandates(ctx context.Context, r MassRevocation, wait time.Duration) (Receipt, error) {
	return post[Receipt](ctx, c, c.collection("revocations"), struct {
		MassRevocation
		Wait float64 `json:"wait"`
	}{r, wait.Seconds()})
}

// Suspension is a suspended principal, with the receipt of its suspension.
type Suspension struct {
	authority.Principal
	Receipt Receipt `json:"receipt"`
}

// SuspendPrincipal makes nothing hold that passes through the principal, until it is resumed, and waits for the gateways as
// long as it is told.
func (c *Client) SuspendPrincipal(ctx context.Context, id authority.PrincipalID, wait time.Duration) (Suspension, error) {
	return post[Suspension](ctx, c, single("principals", id, "suspend"), waiting(wait))
}

// Receipts lists receipts without their gateways, at most limit of them; 0 means all.
func (c *Client) Receipts(ctx context.Context, f Filter, limit int) ([]authority.Receipt, error) {
	return list[authority.Receipt](ctx, c, "receipts", f, limit)
}

// Receipt finds a receipt in its present state.
func (c *Client) Receipt(ctx context.Context, id authority.ReceiptID) (Receipt, error) {
	return c.AwaitReceipt(ctx, id, 0)
}

// AwaitReceipt finds a receipt once it is not pending any more, or as it is when the wait is over.
func (c *Client) AwaitReceipt(ctx context.Context, id authority.ReceiptID, wait time.Duration) (Receipt, error) {
	path := single("receipts", id, "")
	if wait > 0 {
		path += "?wait=" + strconv.FormatFloat(wait.Seconds(), 'f', -1, 64)
	}
	return get[Receipt](ctx, c, path)
}

// ReceiptMandates lists all mandates that a receipt's revocation ended.
func (c *Client) ReceiptMandates(ctx context.Context, id authority.ReceiptID) ([]authority.MandateID, error) {
	all := []authority.MandateID{}
	path := single("receipts", id, "mandates") + "?limit=" + strconv.Itoa(pageSize)
	for cursor := ""; ; {
		next, err := call[page[struct {
			MandateID authority.MandateID `json:"mandate_id"`
		}]](ctx, c, http.MethodGet, path+cursor, nil)
		if err != nil {
			return nil, err
		}
		for _, m := range next.Items {
			all = append(all, m.MandateID)
		}
		if next.NextCursor == nil {
			return all, nil
		}
		cursor = "&cursor=" + url.QueryEscape(*next.NextCursor)
	}
}

// KeySet is what the workspace signs is verified with: a JWS by the workspace's root, and the root's fingerprint.
type KeySet struct {
	Sealed string `json:"key_set"`
	Root   string `json:"root"`
}

// KeySet reads the workspace's key set.
func (c *Client) KeySet(ctx context.Context) (KeySet, error) {
	return get[KeySet](ctx, c, c.collection("key-set"))
}

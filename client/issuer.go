package client

import (
	"context"
	"net/http"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// Issuer is a trusted issuer, and how its keys stand.
type Issuer struct {
	authority.TrustedIssuer
	Keys *IssuerKeys `json:"keys,omitempty"`
}

// IssuerKeys tell which keys are in force, and how fetching them goes. A time is nil where there is none.
type IssuerKeys struct {
	KeyIDs        []string   `json:"key_ids"`
	FetchedAt     *time.Time `json:"fetched_at"`
	UsableUntil   *time.Time `json:"usable_until"`
	NextAttemptAt *time.Time `json:"next_attempt_at"`
	Failure       string     `json:"failure,omitempty"` // of the last attempt
}

// CreateIssuer trusts an issuer.
func (c *Client) CreateIssuer(ctx context.Context, i Issuer) (Issuer, error) {
	return post[Issuer](ctx, c, c.collection("issuers"), i)
}

// Issuers lists the trusted issuers, the oldest first.
func (c *Client) Issuers(ctx context.Context) ([]Issuer, error) {
	all, err := get[page[Issuer]](ctx, c, c.collection("issuers"))
	return all.Items, err
}

// Issuer finds one issuer.
func (c *Client) Issuer(ctx context.Context, id authority.TrustedIssuerID) (Issuer, error) {
	return get[Issuer](ctx, c, single("issuers", id, ""))
}

// EditIssuer puts a changed issuer in the place of the one that is there now.
func (c *Client) EditIssuer(ctx context.Context, id authority.TrustedIssuerID, change func(Issuer) (Issuer, error)) (Issuer, error) {
	return edit(ctx, c, http.MethodPut, single("issuers", id, ""), change)
}

// DeleteIssuer trusts an issuer no more.
func (c *Client) DeleteIssuer(ctx context.Context, id authority.TrustedIssuerID) (Issuer, error) {
	return call[Issuer](ctx, c, http.MethodDelete, single("issuers", id, ""), nil)
}

// RefreshIssuer lets the control plane fetch an issuer's keys now.
func (c *Client) RefreshIssuer(ctx context.Context, id authority.TrustedIssuerID) (Issuer, error) {
	return post[Issuer](ctx, c, single("issuers", id, "refresh"), nil)
}

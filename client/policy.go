package client

import (
	"context"
	"net/http"

	"github.com/caracal-gateway/caracal/authority"
)

// NewPolicy asks for an authority policy.
type NewPolicy struct {
	PrincipalID        authority.PrincipalID `json:"principal_id"`
	AllowedResources   []string              `json:"allowed_resources"`
	AllowedActions     []string              `json:"allowed_actions"`
	MaxValiditySeconds int64                 `json:"max_validity_seconds"`
	DelegationDepth    int                   `json:"delegation_depth"`
}

// CreatePolicy makes an authority policy, whose first grantor is the caller.
func (c *Client) CreatePolicy(ctx context.Context, n NewPolicy) (authority.Policy, error) {
	return call[authority.Policy](ctx, c, http.MethodPost, c.collection("policies"), n)
}

// Policies lists policies, at most limit of them; 0 means all.
func (c *Client) Policies(ctx context.Context, f Filter, limit int) ([]authority.Policy, error) {
	return list[authority.Policy](ctx, c, "policies", f, limit)
}

// Policy finds one policy.
func (c *Client) Policy(ctx context.Context, id authority.PolicyID) (authority.Policy, error) {
	return get[authority.Policy](ctx, c, single("policies", id, ""))
}

// PolicyChange says what becomes different about a policy; what is nil stays.
type PolicyChange struct {
	AllowedResources   []string `json:"allowed_resources,omitempty"`
	AllowedActions     []string `json:"allowed_actions,omitempty"`
	MaxValiditySeconds *int64   `json:"max_validity_seconds,omitempty"`
	DelegationDepth    *int     `json:"delegation_depth,omitempty"`
}

// EditPolicy changes a policy as it is now; mandates that exist already keep what they were issued with.
func (c *Client) EditPolicy(ctx context.Context, id authority.PolicyID, change func(authority.Policy) (PolicyChange, error)) (authority.Policy, error) {
	return edit(ctx, c, http.MethodPatch, single("policies", id, ""), change)
}

// JoinPolicy makes the caller a grantor of the policy: it consents in advance to be named as issuer.
func (c *Client) JoinPolicy(ctx context.Context, id authority.PolicyID) (authority.Policy, error) {
	return post[authority.Policy](ctx, c, single("policies", id, "join"), nil)
}

// DeactivatePolicy lets nothing more be issued under the policy.
func (c *Client) DeactivatePolicy(ctx context.Context, id authority.PolicyID) (authority.Policy, error) {
	return post[authority.Policy](ctx, c, single("policies", id, "deactivate"), nil)
}

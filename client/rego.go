package client

import (
	"context"
	"net/http"

	"github.com/caracal-gateway/caracal/authority"
)

// RegoPush is a new version of the Rego policy. Modules maps paths to texts, tests included.
type RegoPush struct {
	Modules  map[string]string `json:"modules"`
	Data     map[string]any    `json:"data,omitempty"`
	Message  string            `json:"message"`
	Activate bool              `json:"activate"`
}

// PushRego stores a version once it compiles and its tests pass; otherwise the *Error has the problems.
func (c *Client) PushRego(ctx context.Context, p RegoPush) (authority.RegoVersion, error) {
	return call[authority.RegoVersion](ctx, c, http.MethodPost, c.collection("rego-versions"), p)
}

// RegoVersions lists versions, newest first, at most limit of them; 0 means all.
func (c *Client) RegoVersions(ctx context.Context, f Filter, limit int) ([]authority.RegoVersion, error) {
	return list[authority.RegoVersion](ctx, c, "rego-versions", f, limit)
}

// ActivateRego makes a version the one that every decision evaluates.
func (c *Client) ActivateRego(ctx context.Context, id authority.RegoVersionID) (authority.RegoVersion, error) {
	return call[authority.RegoVersion](ctx, c, http.MethodPost, single("rego-versions", id, "activate"), nil)
}

// RegoVersion finds one version, with its texts.
func (c *Client) RegoVersion(ctx context.Context, id authority.RegoVersionID) (authority.RegoVersion, error) {
	return get[authority.RegoVersion](ctx, c, single("rego-versions", id, ""))
}

package client

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// NewWorkspace asks for a workspace.
type NewWorkspace struct {
	Name        string `json:"name"`
	Slug        string `json:"slug"`
	Description string `json:"description"`
}

// CreatedWorkspace is a new workspace with its owner, and the owner's key, which is told this once.
type CreatedWorkspace struct {
	authority.Workspace
	Owner  authority.Principal `json:"owner"`
	APIKey string              `json:"api_key"`
}

// CreateWorkspace makes a workspace. It needs the deployment's setup key.
func (c *Client) CreateWorkspace(ctx context.Context, n NewWorkspace) (CreatedWorkspace, error) {
	return call[CreatedWorkspace](ctx, c, http.MethodPost, "/api/v1/workspaces", n)
}

// Workspaces lists the workspaces that the key may see.
func (c *Client) Workspaces(ctx context.Context) ([]authority.Workspace, error) {
	all, err := call[page[authority.Workspace]](ctx, c, http.MethodGet, "/api/v1/workspaces", nil)
	return all.Items, err
}

// WorkspaceChange says what becomes different about a workspace; what is nil stays.
type WorkspaceChange struct {
	Name        *string         `json:"name,omitempty"`
	Description *string         `json:"description,omitempty"`
	Settings    *SettingsChange `json:"settings,omitempty"`
}

// SettingsChange says which settings become different; what is nil stays.
type SettingsChange struct {
	MaxStreamSeconds   *int64 `json:"max_stream_seconds,omitempty"`
	EventRetentionDays *int   `json:"event_retention_days,omitempty"`

	LeaseSeconds        *int64 `json:"lease_seconds,omitempty"`
	ShortRequestSeconds *int64 `json:"short_request_seconds,omitempty"`
}

// EditWorkspace changes a workspace as it is now; its slug stays.
func (c *Client) EditWorkspace(ctx context.Context, slug string, change func(authority.Workspace) (WorkspaceChange, error)) (authority.Workspace, error) {
	return edit(ctx, c, http.MethodPatch, single("workspaces", slug, ""), change)
}

// ArchiveWorkspace makes a workspace read-only.
func (c *Client) ArchiveWorkspace(ctx context.Context, slug string) (authority.Workspace, error) {
	return post[authority.Workspace](ctx, c, single("workspaces", slug, "archive"), nil)
}

// UnarchiveWorkspace opens an archived workspace again.
func (c *Client) UnarchiveWorkspace(ctx context.Context, slug string) (authority.Workspace, error) {
	return post[authority.Workspace](ctx, c, single("workspaces", slug, "unarchive"), nil)
}

// Deletion tells what a deletion did.
type Deletion struct {
	Workspace authority.Workspace `json:"workspace"`
	Receipt   Receipt             `json:"receipt"`
}

// DeleteWorkspace denies everything in a workspace, and waits for its gateways as long as it is told.
func (c *Client) DeleteWorkspace(ctx context.Context, slug string, wait time.Duration) (Deletion, error) {
	path := single("workspaces", slug, "") + "?wait=" + strconv.FormatFloat(wait.Seconds(), 'f', -1, 64)
	return call[Deletion](ctx, c, http.MethodDelete, path, nil)
}

// RestoreWorkspace undoes a deletion, until the workspace is erased.
func (c *Client) RestoreWorkspace(ctx context.Context, slug string) (authority.Workspace, error) {
	return post[authority.Workspace](ctx, c, single("workspaces", slug, "restore"), nil)
}

// Quota tells how much of what a workspace may have is used.
type Quota struct {
	Quota string `json:"quota"`
	Count int    `json:"count"`
	Limit int    `json:"limit"`
}

// WorkspaceUsage lists the quotas of a workspace.
func (c *Client) WorkspaceUsage(ctx context.Context, slug string) ([]Quota, error) {
	all, err := get[page[Quota]](ctx, c, single("workspaces", slug, "usage"))
	return all.Items, err
}

// Workspace finds one workspace by its slug.
func (c *Client) Workspace(ctx context.Context, slug string) (authority.Workspace, error) {
	return get[authority.Workspace](ctx, c, single("workspaces", slug, ""))
}

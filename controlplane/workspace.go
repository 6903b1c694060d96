package controlplane

import "github.com/caracal-gateway/caracal/authority"

// NewWorkspace asks for a workspace.
type NewWorkspace struct {
	Name        string `json:"name"`
	Slug        string `json:"slug"`
	Description string `json:"description"`
}

// CreatedWorkspace is a new workspace with its first member, and that member's key, which is told this once.
type CreatedWorkspace struct {
	authority.Workspace
	Owner  authority.Principal `json:"owner"`
	APIKey string              `json:"api_key"`
}

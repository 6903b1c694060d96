package authority

import "time"

// PrincipalType says what kind of party a principal is.
type PrincipalType string

// The types of principals.
const (
	Agent   PrincipalType = "agent"
	User    PrincipalType = "user"
	Service PrincipalType = "service"
)

// Role is what a user principal may do as a member of its workspace; empty for everyone else.
type Role string

// RoleOwner may do everything in its workspace.
const RoleOwner Role = "owner"

// Principal takes part in authority: it can be issuer or subject of mandates.
type Principal struct {
	ID          PrincipalID       `json:"principal_id"`
	WorkspaceID WorkspaceID       `json:"workspace_id"`
	Name        string            `json:"name"`
	Type        PrincipalType     `json:"principal_type"`
	Role        Role              `json:"role,omitempty"`
	Metadata    map[string]string `json:"metadata"`
	Suspended   bool              `json:"suspended"`
	CreatedAt   time.Time         `json:"created_at"`
}

// Administers reports whether the principal may act for others in its workspace: an active user with a role that
// says so.
func (p Principal) Administers() bool { return !p.Suspended && p.Type == User && p.Role == RoleOwner }

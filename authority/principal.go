package authority

import (
	"maps"
	"slices"
	"time"
)

const (
	maxMetadataEntries = 32
	maxMetadataKey     = 64
	maxMetadataValue   = 512
)

// PrincipalType says what kind of party a principal is.
type PrincipalType string

// The types of principals.
const (
	Agent   PrincipalType = "agent"
	User    PrincipalType = "user"
	Service PrincipalType = "service"
)

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
func (p Principal) Administers() bool {
	return !p.Suspended && p.Type == User && p.Role.administers()
}

// IsMember reports whether the principal is an active member of its workspace, with whatever role.
func (p Principal) IsMember() bool { return !p.Suspended && p.Type == User && p.Role != "" }

// Validate reports the first thing that is wrong with what a caller says about a principal, as an invalid_request whose
// Field says where.
func (p Principal) Validate() error {
	if problem := nameProblem(p.Name, maxNameLength); problem != "" {
		return Invalid("name", "the name %s", problem)
	}
	switch p.Type {
	case Agent, User, Service:
	default:
		return Invalid("principal_type", "%q is not a type of principal: agent, user or service", clip(string(p.Type)))
	}
	if p.Role != "" {
		if _, err := ParseRole(string(p.Role)); err != nil {
			return err
		}
		if p.Type != User {
			return Invalid("role", "a role is for a user; this is a principal of the type %s", p.Type)
		}
	}
	if len(p.Metadata) > maxMetadataEntries {
		return Invalid("metadata", "has more than %d entries", maxMetadataEntries)
	}
	for _, key := range slices.Sorted(maps.Keys(p.Metadata)) {
		if problem := nameProblem(key, maxMetadataKey); problem != "" {
			return Invalid("metadata", "the key %q %s", clip(key), problem)
		}
		if problem := textProblem(p.Metadata[key], maxMetadataValue); problem != "" {
			return Invalid("metadata."+key, "%s", problem)
		}
	}
	return nil
}

// describe names a principal in a message.
func (p Principal) describe() string {
	return string(p.Type) + " " + string(p.ID)
}

package authority

import "time"

// SessionKind says how a session's secret comes with a request.
type SessionKind string

// The kinds of sessions.
const (
	SessionBrowser SessionKind = "browser" // as a cookie
	SessionCLI     SessionKind = "cli"     // as a bearer token
)

// Session is what a person has opened by signing in. Its secret is told once, to the browser or the command line; only its
// hash is kept.
type Session struct {
	ID       SessionID   `json:"session_id"`
	Kind     SessionKind `json:"kind"`
	PersonID PersonID    `json:"person_id"`
	// KeyID is the key whose one-time link opened the session, which may do what the key may and ends with it; empty where
	// the OpenID provider said who it is.
	KeyID      KeyID     `json:"key_id,omitempty"`
	Issuer     string    `json:"issuer,omitempty"` // the OpenID provider
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at"` // to the minute
	ExpiresAt  time.Time `json:"expires_at"`   // at the latest; earlier when it is not used
	UserAgent  string    `json:"user_agent"`
	Address    string    `json:"address"` // where it was opened from
	Current    bool      `json:"current"` // whether it is the one that asks
}

// GroupRole gives the members of a group of the OpenID provider a role in a workspace.
type GroupRole struct {
	Group string `json:"group"`
	Role  Role   `json:"role"`
}

// The bounds of the groups of one workspace.
const (
	MaxGroupRoles = 100
	maxGroupName  = 256
)

// ValidateGroupRoles reports the first thing that is wrong with a list of groups, as an invalid_request.
func ValidateGroupRoles(list []GroupRole) error {
	if len(list) > MaxGroupRoles {
		return Invalid("group_roles", "has more than %d groups", MaxGroupRoles)
	}
	seen := map[string]bool{}
	for _, g := range list {
		if problem := nameProblem(g.Group, maxGroupName); problem != "" {
			return Invalid("group_roles", "the group %q %s", clip(g.Group), problem)
		}
		if seen[g.Group] {
			return Invalid("group_roles", "the group %q is there twice", clip(g.Group))
		}
		seen[g.Group] = true
		if _, err := ParseRole(string(g.Role)); err != nil {
			return Invalid("group_roles", "%q is not a role: owner, admin, operator, policy_author, auditor or viewer", clip(string(g.Role)))
		}
	}
	return nil
}

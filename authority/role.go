package authority

import "slices"

// Role is what a user principal may do as a member of its workspace; empty for everyone else.
type Role string

// The roles of members.
const (
	RoleOwner        Role = "owner"         // everything, owners themselves included
	RoleAdmin        Role = "admin"         // everything but owners, the end of the workspace and its signing keys
	RoleOperator     Role = "operator"      // gateways, revocations, suspensions
	RolePolicyAuthor Role = "policy_author" // authority policies, Rego policies, destinations
	RoleAuditor      Role = "auditor"       // reads everything, exports events
	RoleViewer       Role = "viewer"        // reads all but keys and members
)

// Roles lists every role, the one that may do most first.
func Roles() []Role {
	return []Role{RoleOwner, RoleAdmin, RoleOperator, RolePolicyAuthor, RoleAuditor, RoleViewer}
}

// ParseRole reads the name of a role. Anything else is an invalid_request.
func ParseRole(s string) (Role, error) {
	if r := Role(s); slices.Contains(Roles(), r) {
		return r, nil
	}
	return "", Invalid("role", "%q is not a role: owner, admin, operator, policy_author, auditor or viewer", clip(s))
}

// administers reports whether a member with this role acts for others.
func (r Role) administers() bool { return r == RoleOwner || r == RoleAdmin }

// Within is the role that is left of a member's under a cap: what both may do. An empty cap leaves the role as it is; an
// empty role stays empty. Of two roles neither of which holds the other, what is left is to look on.
func (r Role) Within(limit Role) Role {
	switch {
	case limit == "" || r == limit || r == "":
		return r
	case r == RoleOwner, r == RoleAdmin && limit != RoleOwner:
		return limit
	case limit.administers():
		return r
	}
	return RoleViewer
}

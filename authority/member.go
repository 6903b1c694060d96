package authority

import "time"

// Member is a user principal with a role: a person in one workspace.
type Member struct {
	ID          PrincipalID `json:"principal_id"`
	WorkspaceID WorkspaceID `json:"workspace_id"`
	// PersonID is the same wherever the same person is a member.
	PersonID  PersonID  `json:"person_id"`
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	Suspended bool      `json:"suspended"`
	CreatedAt time.Time `json:"created_at"`
}

// MayChange reports as an error why a member with one role may not make somebody with another: only owners make, change
// or remove owners, and only who administers the workspace changes anyone.
func (r Role) MayChange(other Role) error {
	if !r.administers() {
		return Forbidden("members are changed by owners and admins")
	}
	if other == RoleOwner && r != RoleOwner {
		return Forbidden("only an owner makes, changes or removes an owner")
	}
	return nil
}

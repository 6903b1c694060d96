package client

import (
	"context"
	"net/http"

	"github.com/caracal-gateway/caracal/authority"
)

// NewMember asks for a member. PersonID is of somebody who is a member elsewhere; empty for a new person.
type NewMember struct {
	Name     string             `json:"name"`
	Role     authority.Role     `json:"role"`
	PersonID authority.PersonID `json:"person_id,omitempty"`
}

// AddMember makes a person a member of the workspace.
func (c *Client) AddMember(ctx context.Context, n NewMember) (authority.Member, error) {
	return post[authority.Member](ctx, c, c.collection("members"), n)
}

// Members lists members, at most limit of them; 0 means all.
func (c *Client) Members(ctx context.Context, f Filter, limit int) ([]authority.Member, error) {
	return list[authority.Member](ctx, c, "members", f, limit)
}

// Member finds a member by its principal.
func (c *Client) Member(ctx context.Context, id authority.PrincipalID) (authority.Member, error) {
	return get[authority.Member](ctx, c, single("members", id, ""))
}

// MemberChange says what becomes different about a member; what is nil stays.
type MemberChange struct {
	Name *string         `json:"name,omitempty"`
	Role *authority.Role `json:"role,omitempty"`
}

// EditMember changes a member as it is now, from its next request on.
func (c *Client) EditMember(ctx context.Context, id authority.PrincipalID, change func(authority.Member) (MemberChange, error)) (authority.Member, error) {
	return edit(ctx, c, http.MethodPatch, single("members", id, ""), change)
}

// RemoveMember takes a member's role: its keys and sessions open nothing in the workspace any more.
func (c *Client) RemoveMember(ctx context.Context, id authority.PrincipalID) (authority.Member, error) {
	return call[authority.Member](ctx, c, http.MethodDelete, single("members", id, ""), nil)
}

// InviteMember makes a link with which whoever signs in first becomes this member.
func (c *Client) InviteMember(ctx context.Context, id authority.PrincipalID) (Link, error) {
	return post[Link](ctx, c, single("members", id, "invite"), nil)
}

// EndMemberSessions ends every session of a member, and says how many there were.
func (c *Client) EndMemberSessions(ctx context.Context, id authority.PrincipalID) (ended int, err error) {
	answer, err := post[struct {
		Ended int `json:"ended"`
	}](ctx, c, single("members", id, "end-sessions"), nil)
	return answer.Ended, err
}

// GroupRoles says which groups of the OpenID provider have which role in a workspace.
type GroupRoles struct {
	GroupRoles []authority.GroupRole `json:"group_roles"`
}

// GroupRoles tells the groups of a workspace.
func (c *Client) GroupRoles(ctx context.Context, slug string) (GroupRoles, error) {
	return get[GroupRoles](ctx, c, single("workspaces", slug, "group-roles"))
}

// EditGroupRoles changes the groups as they are now, from each person's next sign-in on.
func (c *Client) EditGroupRoles(ctx context.Context, slug string, change func(GroupRoles) (GroupRoles, error)) (GroupRoles, error) {
	return edit(ctx, c, http.MethodPut, single("workspaces", slug, "group-roles"), change)
}

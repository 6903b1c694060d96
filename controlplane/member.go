package controlplane

import (
	"context"
	"errors"
	"slices"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// NewMember asks for a member. PersonID is of somebody who is a member elsewhere; empty for a new person.
type NewMember struct {
	Name     string             `json:"name"`
	Role     authority.Role     `json:"role"`
	PersonID authority.PersonID `json:"person_id"`
}

// MemberChange replaces the fields that are not nil.
type MemberChange struct {
	Name *string         `json:"name"`
	Role *authority.Role `json:"role"`
}

// MemberFilter narrows a list of members; a zero field does not.
type MemberFilter = postgres.MemberFilter

// Members lists members.
func (s *Service) Members(ctx context.Context, c Caller, f MemberFilter, p Page) (List[authority.Member], error) {
	return listing[authority.Member]{
		op: allowed("list_members"), filter: f, keys: byNameToo(),
		look: func(ctx context.Context, tx *postgres.Tx, page postgres.Page) ([]authority.Member, error) {
			return tx.Members(ctx, f, page)
		},
		end: func(m authority.Member, key postgres.Key) place {
			return placed(key, m.CreatedAt, m.Name, string(m.ID))
		},
	}.read(ctx, s, c, p)
}

// Member finds a member by its principal.
func (s *Service) Member(ctx context.Context, c Caller, id authority.PrincipalID) (authority.Member, error) {
	return read(ctx, s, c, allowed("get_member"), func(ctx context.Context, tx *postgres.Tx) (authority.Member, error) {
		m, err := tx.Member(ctx, id)
		return m, orNotFound("member", err)
	})
}

// AddMember makes a person a member. Only an owner makes owners, and only an owner adds a person who is a member of
// another of its workspaces.
func (s *Service) AddMember(ctx context.Context, c Caller, n NewMember) (Written[authority.Member], error) {
	op := allowed("add_member")
	if err := s.permit(ctx, c, op); err != nil {
		return Written[authority.Member]{}, err
	}
	if err := s.introduce(ctx, c, n.PersonID); err != nil {
		return Written[authority.Member]{}, s.refused(ctx, c, op, err)
	}
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Member, error) {
		if n.Role == "" {
			return authority.Member{}, authority.Invalid("role", "is missing: what the member may do")
		}
		if err := s.roomForMember(ctx, tx, ch, n.PersonID); err != nil {
			return authority.Member{}, err
		}
		return ch.join(ctx, tx, n)
	})
}

// introduce checks that the caller knows a person from a workspace that both are in, so that nobody adds whom he has
// merely heard of.
func (s *Service) introduce(ctx context.Context, c Caller, person authority.PersonID) error {
	if person == "" {
		return nil
	}
	if c.principal.Role != authority.RoleOwner {
		return authority.Forbidden("only an owner adds somebody who is a member of another workspace")
	}
	known, err := s.enterable(ctx, c)
	if err != nil {
		return err
	}
	theirs, err := s.store.LookUpMemberships(ctx, person)
	if err != nil {
		return s.tell(ctx, err)
	}
	for _, m := range theirs {
		if slices.ContainsFunc(known, func(k postgres.Membership) bool { return k.WorkspaceID == m.WorkspaceID }) {
			return nil
		}
	}
	return authority.Invalid("person_id", "is nobody who is a member of a workspace of the caller's")
}

// join makes a principal for a member, or gives the one that the person had here its role.
func (ch *change) join(ctx context.Context, tx *postgres.Tx, n NewMember) (authority.Member, error) {
	if err := ch.caller.principal.Role.MayChange(n.Role); err != nil {
		return authority.Member{}, err
	}
	p := authority.Principal{
		ID: authority.NewID[authority.PrincipalID](), WorkspaceID: ch.caller.workspace, Name: n.Name, Type: authority.User,
		Role: n.Role, Metadata: map[string]string{}, CreatedAt: ch.at,
	}
	if err := p.Validate(); err != nil {
		return authority.Member{}, err
	}
	m := authority.Member{
		ID: p.ID, WorkspaceID: p.WorkspaceID, PersonID: n.PersonID, Name: p.Name, Role: p.Role, CreatedAt: p.CreatedAt,
	}
	before, err := returning(ctx, tx, n.PersonID)
	if err != nil {
		return m, err
	}
	if before != nil {
		m.ID, m.Suspended, m.CreatedAt = before.ID, before.Suspended, before.CreatedAt
	} else if err := tx.InsertPrincipal(ctx, p); err != nil {
		return m, err
	} else {
		ch.tell(registered(p))
	}
	return ch.admit(ctx, tx, m)
}

// returning is the principal that a person had in the workspace; nil for somebody who was never a member.
func returning(ctx context.Context, tx *postgres.Tx, person authority.PersonID) (*authority.Principal, error) {
	if person == "" {
		return nil, nil
	}
	id, err := tx.PrincipalOfPerson(ctx, person)
	if errors.Is(err, postgres.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p, err := tx.Principal(ctx, id)
	if err == nil && p.Role != "" {
		err = &authority.Error{Code: authority.CodeConflict, Field: "person_id", Message: "this person is a member already"}
	}
	return &p, err
}

// admit makes a user principal that is there the member of a person, of a new one where none is named.
func (ch *change) admit(ctx context.Context, tx *postgres.Tx, m authority.Member) (authority.Member, error) {
	if m.PersonID == "" {
		m.PersonID = authority.NewID[authority.PersonID]()
		if err := tx.InsertPerson(ctx, m.PersonID, m.Name, ch.at); err != nil {
			return m, err
		}
	}
	ch.tell(memberEvent(authority.EventMemberAdded, nil, &m))
	return m, tx.SetMember(ctx, m)
}

func memberEvent(t authority.EventType, before, after *authority.Member) authority.Event {
	var e authority.Event
	switch {
	case before == nil:
		e = changed(t, nil, *after)
		e.PrincipalID = after.ID
	case after == nil:
		e = changed(t, *before, nil)
		e.PrincipalID = before.ID
	default:
		e = changed(t, *before, *after)
		e.PrincipalID = before.ID
	}
	return e
}

// UpdateMember changes a member's name or role. It holds from the member's next request on.
func (s *Service) UpdateMember(ctx context.Context, c Caller, id authority.PrincipalID, n MemberChange) (Written[authority.Member], error) {
	return write(ctx, s, c, allowed("update_member"), func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Member, error) {
		before, err := tx.Member(ctx, id)
		if err != nil {
			return before, orNotFound("member", err)
		}
		if err := ch.expect(before); err != nil {
			return before, err
		}
		after := before
		if n.Name != nil {
			after.Name = *n.Name
		}
		if n.Role != nil {
			after.Role = *n.Role
		}
		if _, err := authority.ParseRole(string(after.Role)); err != nil {
			return before, err
		}
		if err := (authority.Principal{Name: after.Name, Type: authority.User}).Validate(); err != nil {
			return before, err
		}
		for _, role := range []authority.Role{before.Role, after.Role} {
			if err := ch.caller.principal.Role.MayChange(role); err != nil {
				return before, err
			}
		}
		if before == after {
			ch.unchanged = true
			return before, nil
		}
		ch.tell(memberEvent(authority.EventMemberUpdated, &before, &after))
		return after, s.keepingOwners(ctx, tx, ch.at, func() error { return tx.SetMember(ctx, after) })
	})
}

// RemoveMember takes a member's role and ends its keys. The principal stays, since events and mandates name it: mandates
// that it issued run out or are revoked, and it issues no others.
func (s *Service) RemoveMember(ctx context.Context, c Caller, id authority.PrincipalID) (Written[authority.Member], error) {
	return write(ctx, s, c, allowed("remove_member"), func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Member, error) {
		m, err := tx.Member(ctx, id)
		if err != nil {
			return m, orNotFound("member", err)
		}
		if err := ch.expect(m); err != nil {
			return m, err
		}
		if err := ch.caller.principal.Role.MayChange(m.Role); err != nil {
			return m, err
		}
		return m, s.keepingOwners(ctx, tx, ch.at, func() error { return ch.dismiss(ctx, tx, m) })
	})
}

func (ch *change) dismiss(ctx context.Context, tx *postgres.Tx, m authority.Member) error {
	keys, err := tx.RevokeKeysOf(ctx, m.ID, ch.at)
	if err != nil {
		return err
	}
	e := memberEvent(authority.EventMemberRemoved, &m, nil)
	e.Detail["revoked_keys"] = keys
	ch.tell(e)
	m.Role = ""
	return tx.SetMember(ctx, m)
}

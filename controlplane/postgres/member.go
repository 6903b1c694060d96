package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// Membership is one workspace that a person is an active member of.
type Membership struct {
	WorkspaceID authority.WorkspaceID
	Slug        string
	PrincipalID authority.PrincipalID
	Role        authority.Role
}

// LookUpMemberships finds the workspaces that a person is an active member of, the oldest membership first.
func (s *Store) LookUpMemberships(ctx context.Context, id authority.PersonID) ([]Membership, error) {
	var all []Membership
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, "SELECT workspace_id, slug, principal_id, role FROM look_up_memberships($1)", id)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Membership])
		return err
	})
	return all, translate("look up memberships", err)
}

// LookUpHolder finds which of the given workspaces holds the thing that an id names, or is ErrNotFound.
func (s *Store) LookUpHolder(ctx context.Context, id string, among []authority.WorkspaceID) (authority.WorkspaceID, error) {
	var holder *authority.WorkspaceID
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, "SELECT look_up_holder($1, $2)", id, texts(among)).Scan(&holder)
	})
	if err == nil && holder == nil {
		err = ErrNotFound
	}
	if err != nil {
		return "", translate("look up holder", err)
	}
	return *holder, nil
}

// InsertPerson adds a person.
func (t *Tx) InsertPerson(ctx context.Context, id authority.PersonID, name string, at time.Time) error {
	err := t.q.InsertPerson(ctx, query.InsertPersonParams{ID: id, Name: name, CreatedAt: at})
	return translate("insert person", err)
}

// SetMember makes a user principal a member, changes its role and name, or takes its role with an empty one.
func (t *Tx) SetMember(ctx context.Context, m authority.Member) error {
	err := t.q.SetMember(ctx, query.SetMemberParams{
		WorkspaceID: t.workspace, ID: m.ID, PersonID: m.PersonID, Role: m.Role, Name: m.Name,
	})
	return translate("set member", err)
}

// Member reads a member.
func (t *Tx) Member(ctx context.Context, id authority.PrincipalID) (authority.Member, error) {
	row, err := t.q.Member(ctx, query.MemberParams{WorkspaceID: t.workspace, ID: id})
	return authority.Member(row), translate("read member", err)
}

// MemberFilter narrows Members; a zero field does not.
type MemberFilter struct {
	NamePrefix string
	Role       authority.Role
	Suspended  *bool
	Created    Created
}

// Members lists members, by creation or by name.
func (t *Tx) Members(ctx context.Context, f MemberFilter, p Page) ([]authority.Member, error) {
	s := t.from("id, workspace_id, coalesce(person_id, ''), name, role, suspended, created_at", "principals").
		where(true, "role <> ?", "").
		where(f.Role != "", "role = ?", string(f.Role)).
		where(f.Suspended != nil, "suspended = ?", f.Suspended).
		named(f.NamePrefix).created(f.Created).page(p)
	list, err := collect[authority.Member](ctx, t, s)
	return list, translate("list members", err)
}

// PrincipalOfPerson finds the principal that a person is or was in the workspace, or is ErrNotFound.
func (t *Tx) PrincipalOfPerson(ctx context.Context, id authority.PersonID) (authority.PrincipalID, error) {
	principal, err := t.q.PrincipalOfPerson(ctx, query.PrincipalOfPersonParams{WorkspaceID: t.workspace, PersonID: id})
	return principal, translate("find principal of person", err)
}

package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// Login is an identity at an OpenID provider, and what the provider said of it last.
type Login struct {
	Issuer        string
	Subject       string
	Name          string
	Email         string
	EmailVerified bool
	LastAt        time.Time
}

// LookUpLogin finds whose identity it is; empty for nobody's.
func (s *Store) LookUpLogin(ctx context.Context, issuer, subject string) (authority.PersonID, error) {
	var person *authority.PersonID
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, "SELECT look_up_login($1, $2)", issuer, subject).Scan(&person)
	})
	if err != nil || person == nil {
		return "", translate("look up login", err)
	}
	return *person, nil
}

// LookUpLogins lists the identities of a person, the oldest first.
func (s *Store) LookUpLogins(ctx context.Context, person authority.PersonID) ([]Login, error) {
	var all []Login
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		var err error
		all, err = readLogins(ctx, conn, person)
		return err
	})
	return all, translate("look up logins", err)
}

// LookUpLogins lists the identities of a person, as of the transaction.
func (t *Tx) LookUpLogins(ctx context.Context, person authority.PersonID) ([]Login, error) {
	all, err := readLogins(ctx, t.tx, person)
	return all, translate("look up logins", err)
}

func readLogins(ctx context.Context, in interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}, person authority.PersonID) ([]Login, error) {
	rows, err := in.Query(ctx, "SELECT issuer, subject, name, email, email_verified, last_at FROM look_up_logins($1)", person)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Login])
}

// BindLogin answers whose identity it is: that of the person who has it, or of the candidate, who is made for it.
func (s *Store) BindLogin(ctx context.Context, l Login, candidate authority.PersonID) (authority.PersonID, error) {
	var person authority.PersonID
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, "SELECT bind_login($1, $2, $3, $4, $5, $6, $7)",
			l.Issuer, l.Subject, candidate, l.Name, l.Email, l.EmailVerified, l.LastAt).Scan(&person)
	})
	return person, translate("bind login", err)
}

// OpenSession keeps a session under the hash of its secret.
func (s *Store) OpenSession(ctx context.Context, n authority.Session, hash []byte) error {
	return s.do(ctx, "open session", "SELECT open_session($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
		n.ID, hash, n.Kind, n.PersonID, n.KeyID, n.Issuer, n.CreatedAt, n.ExpiresAt, n.UserAgent, n.Address)
}

const sessionColumns = `id, kind, person_id, key_id, issuer, created_at, seen_at, expires_at, user_agent, address, false`

// LookUpSession finds the session whose secret has this hash, over or not.
func (s *Store) LookUpSession(ctx context.Context, hash []byte) (authority.Session, error) {
	var found authority.Session
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, "SELECT "+sessionColumns+" FROM look_up_session($1)", hash)
		if err != nil {
			return err
		}
		found, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[authority.Session])
		return err
	})
	return found, translate("look up session", err)
}

// LookUpSessions lists the sessions of a person, over or not, the newest first.
func (s *Store) LookUpSessions(ctx context.Context, person authority.PersonID) ([]authority.Session, error) {
	var all []authority.Session
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, "SELECT "+sessionColumns+" FROM look_up_sessions($1)", person)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[authority.Session])
		return err
	})
	return all, translate("look up sessions", err)
}

// HasSession reports whether a person has a session that has not ended, as of the transaction.
func (t *Tx) HasSession(ctx context.Context, person authority.PersonID, id authority.SessionID, at time.Time) (bool, error) {
	var has bool
	err := t.tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM look_up_sessions($1) s WHERE s.id = $2 AND s.expires_at > $3)", person, id, at).Scan(&has)
	return has, translate("look up session", err)
}

// SeeSession notes that a session is in use.
func (s *Store) SeeSession(ctx context.Context, id authority.SessionID, at time.Time) error {
	return s.do(ctx, "note use of session", "SELECT see_session($1, $2)", id, at)
}

// EndSession ends a session of a person, or every one where none is named, and reports how many those were.
func (s *Store) EndSession(ctx context.Context, person authority.PersonID, id authority.SessionID) (int64, error) {
	var ended int64
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, "SELECT end_sessions($1, $2)", person, id).Scan(&ended)
	})
	return ended, translate("end session", err)
}

// EndSession ends sessions of a person like the store's, if the transaction is committed.
func (t *Tx) EndSession(ctx context.Context, person authority.PersonID, id authority.SessionID) (int64, error) {
	var ended int64
	err := t.tx.QueryRow(ctx, "SELECT end_sessions($1, $2)", person, id).Scan(&ended)
	return ended, translate("end session", err)
}

// Ticket is a secret that works once.
type Ticket struct {
	Hash    []byte
	Purpose string
	// About is what the ticket is for. It replaces every other ticket of the same purpose about the same; an empty one
	// replaces none.
	About     string
	Content   any // as JSON
	ExpiresAt time.Time
}

// KeepTicket keeps a ticket. One that is there already is ErrDuplicate.
func (s *Store) KeepTicket(ctx context.Context, t Ticket) error {
	content, err := json.Marshal(t.Content)
	if err != nil {
		return wrap("keep ticket", err)
	}
	return s.do(ctx, "keep ticket", keepTicket, t.Hash, t.Purpose, t.About, content, t.ExpiresAt)
}

const keepTicket = "SELECT keep_ticket($1, $2, $3, $4, $5)"

// KeepTicket keeps a ticket if the transaction is committed.
func (t *Tx) KeepTicket(ctx context.Context, n Ticket) error {
	content, err := json.Marshal(n.Content)
	if err != nil {
		return wrap("keep ticket", err)
	}
	_, err = t.tx.Exec(ctx, keepTicket, n.Hash, n.Purpose, n.About, content, n.ExpiresAt)
	return translate("keep ticket", err)
}

// LookUpTicket reads the content of a ticket that is still good, without using it up.
func (s *Store) LookUpTicket(ctx context.Context, hash []byte, purpose string, at time.Time, content any) error {
	return translate("look up ticket", s.look(ctx, func(conn *pgxpool.Conn) error {
		return readTicket(conn.QueryRow(ctx, "SELECT look_up_ticket($1, $2, $3)", hash, purpose, at), content)
	}))
}

// TakeTicket uses a ticket up. One that is not there, is over or was used is ErrNotFound.
func (s *Store) TakeTicket(ctx context.Context, hash []byte, purpose string, at time.Time, content any) error {
	return translate("use ticket", s.look(ctx, func(conn *pgxpool.Conn) error {
		return readTicket(conn.QueryRow(ctx, takeTicket, hash, purpose, at), content)
	}))
}

const takeTicket = "SELECT take_ticket($1, $2, $3)"

// TakeTicket uses a ticket up if the transaction is committed.
func (t *Tx) TakeTicket(ctx context.Context, hash []byte, purpose string, at time.Time, content any) error {
	return translate("use ticket", readTicket(t.tx.QueryRow(ctx, takeTicket, hash, purpose, at), content))
}

func readTicket(row pgx.Row, content any) error {
	var text []byte
	if err := row.Scan(&text); err != nil {
		return err
	}
	if text == nil {
		return ErrNotFound
	}
	return json.Unmarshal(text, content)
}

// ExpireSessions removes sessions and tickets that are over.
func (s *Store) ExpireSessions(ctx context.Context, at, idleSince time.Time) error {
	return s.do(ctx, "expire sessions", "SELECT expire_sessions($1, $2)", at, idleSince)
}

// do runs a function of the owner that answers nothing.
func (s *Store) do(ctx context.Context, what, call string, arguments ...any) error {
	return translate(what, s.look(ctx, func(conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, call, arguments...)
		return err
	}))
}

// LookUpGroupRoles finds the roles that groups have in any workspace; a workspace is there once for each group.
func (s *Store) LookUpGroupRoles(ctx context.Context, groups []string) (map[authority.WorkspaceID][]authority.Role, error) {
	found := map[authority.WorkspaceID][]authority.Role{}
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, "SELECT workspace_id, role FROM look_up_group_roles($1)", groups)
		if err != nil {
			return err
		}
		var workspace authority.WorkspaceID
		var role authority.Role
		_, err = pgx.ForEachRow(rows, []any{&workspace, &role}, func() error {
			found[workspace] = append(found[workspace], role)
			return nil
		})
		return err
	})
	return found, translate("look up roles of groups", err)
}

// LookUpGroupMemberships finds the workspaces in which groups decide on a person's role.
func (s *Store) LookUpGroupMemberships(ctx context.Context, person authority.PersonID) ([]authority.WorkspaceID, error) {
	var all []authority.WorkspaceID
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, "SELECT look_up_group_memberships($1)", person)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowTo[authority.WorkspaceID])
		return err
	})
	return all, translate("look up memberships by group", err)
}

// GroupRoles reads which groups have which role in the workspace, by name.
func (t *Tx) GroupRoles(ctx context.Context) ([]authority.GroupRole, error) {
	rows, err := t.q.GroupRoles(ctx, query.GroupRolesParams{WorkspaceID: t.workspace})
	list := make([]authority.GroupRole, len(rows))
	for i, row := range rows {
		list[i] = authority.GroupRole(row)
	}
	return list, translate("read roles of groups", err)
}

// SetGroupRoles replaces which groups have which role.
func (t *Tx) SetGroupRoles(ctx context.Context, list []authority.GroupRole) error {
	if err := t.q.DeleteGroupRoles(ctx, query.DeleteGroupRolesParams{WorkspaceID: t.workspace}); err != nil {
		return translate("set roles of groups", err)
	}
	for _, g := range list {
		row := query.InsertGroupRoleParams{WorkspaceID: t.workspace, GroupName: g.Group, Role: g.Role}
		if err := t.q.InsertGroupRole(ctx, row); err != nil {
			return translate("set roles of groups", err)
		}
	}
	return nil
}

// GroupMember reads the role that groups gave a member last, or is ErrNotFound where they gave none.
func (t *Tx) GroupMember(ctx context.Context, id authority.PrincipalID) (authority.Role, error) {
	role, err := t.q.GroupMember(ctx, query.GroupMemberParams{WorkspaceID: t.workspace, PrincipalID: id})
	return role, translate("read role by group", err)
}

// KeepGroupMember notes the role that groups give a member.
func (t *Tx) KeepGroupMember(ctx context.Context, id authority.PrincipalID, role authority.Role) error {
	err := t.q.KeepGroupMember(ctx, query.KeepGroupMemberParams{WorkspaceID: t.workspace, PrincipalID: id, Role: role})
	return translate("note role by group", err)
}

// ForgetGroupMember lets groups decide nothing more about a member.
func (t *Tx) ForgetGroupMember(ctx context.Context, id authority.PrincipalID) error {
	err := t.q.DeleteGroupMember(ctx, query.DeleteGroupMemberParams{WorkspaceID: t.workspace, PrincipalID: id})
	return translate("forget role by group", err)
}

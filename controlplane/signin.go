package controlplane

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

const (
	// maxGroups is how many groups of one person are looked at.
	maxGroups = 1000
	// maxPersonName is how much is kept of a name that the provider tells, in bytes.
	maxPersonName = 200
	// unnamed is the name of whom the provider gives none that can be one here.
	unnamed = "unnamed"
)

// Identity is who the OpenID provider says that somebody is. The issuer and the subject say who it is; the name and the
// address are for people to read and decide nothing.
type Identity struct {
	Issuer        string
	Subject       string
	Name          string
	Email         string
	EmailVerified bool
	Groups        []string
}

// ErrUninvited says that somebody has proven who it is and is a member of no workspace.
var ErrUninvited = &authority.Error{Code: authority.CodeForbidden, Message: "you are not a member of any workspace; ask an owner for an invitation"}

// SignIn opens a session in a browser for whoever the OpenID provider says it is. An invitation is accepted first, and the
// roles that the person's groups give are brought up to date. Who is a member of no workspace after that gets
// ErrUninvited, and nothing is kept of somebody who never was one.
func (s *Service) SignIn(ctx context.Context, who Identity, invitation string, v Visitor) (OpenedSession, error) {
	if who.Issuer == "" || who.Subject == "" || who.Issuer != s.signIn.Issuer {
		return OpenedSession{}, errUnauthenticated
	}
	who = who.tidy()
	roles, err := s.rolesOf(ctx, who.Groups)
	if err != nil {
		return OpenedSession{}, err
	}
	person, err := s.personOf(ctx, who, invitation, len(roles) > 0)
	if err != nil {
		return OpenedSession{}, err
	}
	if invitation != "" {
		if err := s.acceptInvitation(ctx, invitation, person, who); err != nil {
			return OpenedSession{}, err
		}
	}
	if err := s.applyGroups(ctx, person, who, roles); err != nil {
		return OpenedSession{}, err
	}
	memberships, err := s.store.LookUpMemberships(ctx, person)
	if err != nil {
		return OpenedSession{}, s.tell(ctx, err)
	}
	if len(memberships) == 0 {
		return OpenedSession{}, ErrUninvited
	}
	opened, err := s.openSession(ctx, authority.Session{Kind: authority.SessionBrowser, PersonID: person, Issuer: who.Issuer}, v)
	if err != nil {
		return OpenedSession{}, err
	}
	return opened, s.tellSignedIn(ctx, memberships, opened)
}

// tidy bounds what the provider tells.
func (who Identity) tidy() Identity {
	who.Name = cmp.Or(printable(who.Name, maxPersonName), unnamed)
	who.Email = printable(who.Email, maxPersonName)
	if len(who.Groups) > maxGroups {
		who.Groups = who.Groups[:maxGroups]
	}
	return who
}

// personOf finds whose identity it is. A person is made for a new one that is about to become a member.
func (s *Service) personOf(ctx context.Context, who Identity, invitation string, inGroup bool) (authority.PersonID, error) {
	known, err := s.store.LookUpLogin(ctx, who.Issuer, who.Subject)
	if err != nil {
		return "", s.tell(ctx, err)
	}
	if invitation != "" {
		if _, err := s.invited(ctx, invitation); err != nil {
			return "", err
		}
	} else if known == "" && !inGroup {
		return "", ErrUninvited
	}
	person, err := s.store.BindLogin(ctx, postgres.Login{
		Issuer: who.Issuer, Subject: who.Subject, Name: who.Name, Email: who.Email, EmailVerified: who.EmailVerified, LastAt: s.now(),
	}, authority.NewID[authority.PersonID]())
	return person, s.tell(ctx, err)
}

// tellSignedIn records a sign-in in each workspace that it opens. A session that cannot be recorded is ended.
func (s *Service) tellSignedIn(ctx context.Context, memberships []postgres.Membership, n OpenedSession) error {
	for _, m := range memberships {
		c := Caller{kind: authority.KeyMember, workspace: m.WorkspaceID, key: n.KeyID, principal: authority.Principal{ID: m.PrincipalID}}
		err := s.store.Write(ctx, m.WorkspaceID, func(ctx context.Context, tx *postgres.Tx) error {
			w, err := tx.Workspace(ctx)
			if err != nil {
				return err
			}
			return tx.AppendEvents(ctx, []authority.Event{c.event(authority.Event{
				Type: authority.EventSignedIn, PrincipalID: m.PrincipalID, Detail: map[string]any{"session": n.Session},
			}, s.now(), w.Revision)})
		})
		if err != nil {
			_, ending := s.store.EndSession(context.WithoutCancel(ctx), n.PersonID, n.ID)
			return errors.Join(s.tell(ctx, err), ending)
		}
	}
	return nil
}

// invitation is what an invitation's secret stands for.
type invitation struct {
	WorkspaceID authority.WorkspaceID `json:"workspace_id"`
	PrincipalID authority.PrincipalID `json:"principal_id"`
	By          authority.PrincipalID `json:"by"`
}

// Invitation is a link that makes whoever signs in with it the member that it is for, once.
type Invitation struct {
	PrincipalID authority.PrincipalID `json:"principal_id"`
	URL         string                `json:"url"`
	ExpiresAt   time.Time             `json:"expires_at"`
}

// InviteMember makes an invitation for a member who does not sign in yet. It works once, within a week, and a newer one
// for the same member ends it. Whoever opens it first becomes the member, so that only who may make such a member may
// invite it, and nobody who signs in already is invited again.
func (s *Service) InviteMember(ctx context.Context, c Caller, id authority.PrincipalID) (Written[Invitation], error) {
	op := allowed("invite_member").quietly()
	secret := newSecret()
	return write(ctx, s, c.Once("", nil), op, func(ctx context.Context, tx *postgres.Tx, ch *change) (Invitation, error) {
		member, err := tx.Member(ctx, id)
		if err != nil {
			return Invitation{}, orNotFound("member", err)
		}
		if err := ch.caller.principal.Role.MayChange(member.Role); err != nil {
			return Invitation{}, err
		}
		if s.signIn.PublicURL == "" || s.signIn.Issuer == "" {
			return Invitation{}, &authority.Error{
				Code:    authority.CodeConflict,
				Message: "nobody can be invited here: the control plane has no OpenID provider (settings public-url, oidc-issuer)",
			}
		}
		logins, err := tx.LookUpLogins(ctx, member.PersonID)
		if err != nil {
			return Invitation{}, err
		}
		if len(logins) > 0 {
			return Invitation{}, &authority.Error{Code: authority.CodeConflict, Message: "this member signs in already"}
		}
		made := Invitation{PrincipalID: id, URL: s.signIn.PublicURL + "/login/invitation#" + secret, ExpiresAt: ch.at.Add(invitationLifetime)}
		ch.tell(authority.Event{Type: authority.EventMemberInvited, PrincipalID: id, Detail: map[string]any{"expires_at": made.ExpiresAt}})
		return made, tx.KeepTicket(ctx, postgres.Ticket{
			Hash: hashOf(secret), Purpose: ticketInvitation, About: string(id), ExpiresAt: made.ExpiresAt,
			Content: invitation{c.workspace, id, c.principal.ID},
		})
	})
}

// invited reads an invitation without using it up.
func (s *Service) invited(ctx context.Context, secret string) (invitation, error) {
	var i invitation
	err := s.store.LookUpTicket(ctx, hashOf(secret), ticketInvitation, s.now(), &i)
	if errors.Is(err, postgres.ErrNotFound) {
		return i, errTicket
	}
	return i, s.tell(ctx, err)
}

// Invites reports whether an invitation is good, for the page that asks whether to accept it.
func (s *Service) Invites(ctx context.Context, secret string) error {
	_, err := s.invited(ctx, secret)
	return err
}

// acceptInvitation makes the person that signed in the one whom the member stands for. It is never the other way round:
// an identity keeps its person, so that whoever writes an invitation gains nothing in another workspace. The member's keys
// that open others end for the same reason. Who invited must still be able to.
func (s *Service) acceptInvitation(ctx context.Context, secret string, person authority.PersonID, who Identity) error {
	i, err := s.invited(ctx, secret)
	if err != nil {
		return err
	}
	err = s.changeMembers(ctx, i.WorkspaceID, func(ctx context.Context, tx *postgres.Tx, ch *change) error {
		if err := tx.TakeTicket(ctx, hashOf(secret), ticketInvitation, ch.at, &i); err != nil {
			return err
		}
		member, err := tx.Member(ctx, i.PrincipalID)
		if err != nil {
			return err
		}
		inviter, err := tx.Principal(ctx, i.By)
		if err != nil {
			return err
		}
		if member.Suspended || !inviter.IsMember() || inviter.Role.MayChange(member.Role) != nil {
			return postgres.ErrNotFound
		}
		before := member
		member.PersonID = person
		ch.caller.principal.ID = member.ID
		accepted := memberEvent(authority.EventInvitationAccepted, &before, &member)
		accepted.Detail["login"] = map[string]any{"issuer": who.Issuer, "subject": who.Subject}
		// Elsewhere they would open what this person may, to whoever has them from before.
		keys, err := tx.RevokeWideKeysOf(ctx, member.ID, ch.at)
		if err != nil {
			return err
		}
		accepted.Detail["revoked_keys"] = keys
		ch.tell(accepted)
		return tx.SetMember(ctx, member)
	})
	switch {
	case errors.Is(err, postgres.ErrNotFound):
		return errTicket
	case errors.Is(err, postgres.ErrDuplicate):
		return &authority.Error{Code: authority.CodeConflict, Message: "you are known in this workspace as another member already; ask an owner to change that member"}
	}
	return s.tell(ctx, err)
}

// changeMembers runs a change of members that follows from a sign-in and not from a caller's wish.
func (s *Service) changeMembers(ctx context.Context, w authority.WorkspaceID, apply func(context.Context, *postgres.Tx, *change) error) error {
	err := s.store.Write(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		ch := &change{caller: Caller{kind: authority.KeyMember, workspace: w}, at: s.now()}
		revision, err := tx.AdvanceRevision(ctx, ch.at, true)
		if err != nil {
			return err
		}
		ch.revision = revision
		if w, err := tx.Workspace(ctx); err != nil {
			return err
		} else if w.ArchivedAt != nil || w.DeletedAt != nil {
			return postgres.ErrNotFound
		}
		if err := apply(ctx, tx, ch); err != nil {
			return err
		}
		if ch.unchanged {
			return errGiveUp
		}
		return tx.AppendEvents(ctx, ch.events)
	})
	if errors.Is(err, errGiveUp) {
		return nil
	}
	if err == nil {
		s.changes.wake(w)
	}
	return err
}

// rolesOf finds the role that a person's groups give in each workspace: the one that may do most.
func (s *Service) rolesOf(ctx context.Context, groups []string) (map[authority.WorkspaceID]authority.Role, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	found, err := s.store.LookUpGroupRoles(ctx, groups)
	if err != nil {
		return nil, s.tell(ctx, err)
	}
	highest := map[authority.WorkspaceID]authority.Role{}
	for workspace, roles := range found {
		for _, role := range authority.Roles() {
			if slices.Contains(roles, role) {
				highest[workspace] = role
				break
			}
		}
	}
	return highest, nil
}

// applyGroups brings the roles that a person has by its groups up to date, in every workspace that has a role for one of
// them and in every one where groups gave one before.
func (s *Service) applyGroups(ctx context.Context, person authority.PersonID, who Identity, roles map[authority.WorkspaceID]authority.Role) error {
	before, err := s.store.LookUpGroupMemberships(ctx, person)
	if err != nil {
		return s.tell(ctx, err)
	}
	all := maps.Clone(roles)
	if all == nil {
		all = map[authority.WorkspaceID]authority.Role{}
	}
	for _, w := range before {
		all[w] = roles[w]
	}
	for _, w := range slices.Sorted(maps.Keys(all)) {
		err := s.changeMembers(ctx, w, func(ctx context.Context, tx *postgres.Tx, ch *change) error {
			return s.applyGroup(ctx, tx, ch, person, who, all[w])
		})
		var told *authority.Error
		if errors.Is(err, postgres.ErrNotFound) || errors.As(err, &told) && told.Code == authority.CodeConflict {
			s.log.Warn("role by group not given", "workspace", w, "person", person, "cause", err)
			continue
		}
		if err != nil {
			return s.tell(ctx, err)
		}
	}
	return nil
}

// applyGroup gives a person the role of its groups in one workspace; an empty one takes it. What was decided by hand
// stays: a role that is not the one that groups gave last, and a member whom groups never gave one.
func (s *Service) applyGroup(ctx context.Context, tx *postgres.Tx, ch *change, person authority.PersonID, who Identity, role authority.Role) error {
	id, err := tx.PrincipalOfPerson(ctx, person)
	if errors.Is(err, postgres.ErrNotFound) {
		return joinByGroup(ctx, tx, ch, person, who, role)
	}
	if err != nil {
		return err
	}
	given, err := tx.GroupMember(ctx, id)
	if errors.Is(err, postgres.ErrNotFound) {
		ch.unchanged = true
		return nil
	}
	if err != nil {
		return err
	}
	p, err := tx.Principal(ctx, id)
	if err != nil {
		return err
	}
	if p.Role != given {
		ch.tell(authority.Event{Type: authority.EventMemberUpdated, PrincipalID: id, Detail: map[string]any{"groups": "decide no more: the role was changed by hand"}})
		return tx.ForgetGroupMember(ctx, id)
	}
	if role == given {
		ch.unchanged = true
		return nil
	}
	before := authority.Member{
		ID: id, WorkspaceID: p.WorkspaceID, PersonID: person, Name: p.Name, Role: p.Role, Suspended: p.Suspended, CreatedAt: p.CreatedAt,
	}
	after := before
	after.Role = role
	event := memberEvent(authority.EventMemberUpdated, &before, &after)
	event.Detail["by"] = "groups"
	ch.tell(event)
	return s.keepingOwners(ctx, tx, ch.at, func() error {
		if err := tx.SetMember(ctx, after); err != nil {
			return err
		}
		return tx.KeepGroupMember(ctx, id, role)
	})
}

// joinByGroup makes a person a member of a workspace whose groups say so.
func joinByGroup(ctx context.Context, tx *postgres.Tx, ch *change, person authority.PersonID, who Identity, role authority.Role) error {
	if role == "" {
		ch.unchanged = true
		return nil
	}
	p := authority.Principal{
		ID: authority.NewID[authority.PrincipalID](), WorkspaceID: ch.caller.workspace, Name: who.Name, Type: authority.User,
		Metadata: map[string]string{}, CreatedAt: ch.at,
	}
	if p.Validate() != nil {
		p.Name = unnamed
	}
	ch.tell(registered(p))
	if err := tx.InsertPrincipal(ctx, p); err != nil {
		return err
	}
	member := authority.Member{ID: p.ID, WorkspaceID: p.WorkspaceID, PersonID: person, Name: p.Name, Role: role, CreatedAt: ch.at}
	event := memberEvent(authority.EventMemberAdded, nil, &member)
	event.Detail["by"] = "groups"
	ch.tell(event)
	if err := tx.SetMember(ctx, member); err != nil {
		return err
	}
	return tx.KeepGroupMember(ctx, p.ID, role)
}

// GroupRoles lists which groups of the OpenID provider have which role in the workspace.
func (s *Service) GroupRoles(ctx context.Context, c Caller) (GroupRoles, error) {
	return read(ctx, s, c, allowed("get_group_roles"), func(ctx context.Context, tx *postgres.Tx) (GroupRoles, error) {
		list, err := tx.GroupRoles(ctx)
		return GroupRoles{list}, err
	})
}

// GroupRoles are the groups of the OpenID provider that have a role in a workspace.
type GroupRoles struct {
	GroupRoles []authority.GroupRole `json:"group_roles"`
}

// SetGroupRoles replaces which groups have which role. It is in force at each person's next sign-in. Only an owner lets a
// group make owners, or ends that.
func (s *Service) SetGroupRoles(ctx context.Context, c Caller, set GroupRoles) (Written[GroupRoles], error) {
	op := allowed("set_group_roles")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (GroupRoles, error) {
		if set.GroupRoles == nil {
			return GroupRoles{}, authority.Invalid("group_roles", "is missing; an empty list ends every role by group")
		}
		if err := authority.ValidateGroupRoles(set.GroupRoles); err != nil {
			return GroupRoles{}, err
		}
		before, err := tx.GroupRoles(ctx)
		if err != nil {
			return GroupRoles{}, err
		}
		if err := ch.expect(GroupRoles{before}); err != nil {
			return GroupRoles{}, err
		}
		after := slices.SortedFunc(slices.Values(set.GroupRoles), func(a, b authority.GroupRole) int {
			return cmp.Compare(a.Group, b.Group)
		})
		for _, one := range [][2][]authority.GroupRole{{before, after}, {after, before}} {
			for _, g := range one[0] {
				if g.Role == authority.RoleOwner && !slices.Contains(one[1], g) && ch.caller.principal.Role != authority.RoleOwner {
					return GroupRoles{}, authority.Forbidden("only an owner lets a group make owners, or ends that")
				}
			}
		}
		if slices.Equal(before, after) {
			ch.unchanged = true
			return GroupRoles{before}, nil
		}
		if after == nil {
			after = []authority.GroupRole{}
		}
		ch.tell(changed(authority.EventGroupRolesSet, before, after))
		return GroupRoles{after}, tx.SetGroupRoles(ctx, after)
	})
}

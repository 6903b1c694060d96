package controlplane_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// member adds a member and answers it with a caller that uses its key.
func (w *world) member(by controlplane.Caller, name string, role authority.Role) (authority.Member, controlplane.Caller) {
	w.t.Helper()
	m := must(w.AddMember(w.t.Context(), by, controlplane.NewMember{Name: name, Role: role}))(w.t).Value
	return m, w.as(w.memberKey(by, m, controlplane.NewKey{}).APIKey)
}

// memberKey makes a key for a member with the given terms.
func (w *world) memberKey(by controlplane.Caller, m authority.Member, n controlplane.NewKey) controlplane.CreatedKey {
	w.t.Helper()
	n.Kind, n.Name, n.PrincipalID = authority.KeyMember, m.Name, m.ID
	return must(w.CreateKey(w.t.Context(), by, n))(w.t).Value
}

func TestOwnersAreMadeChangedAndRemovedByOwners(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	admin, asAdmin := w.member(w.owner, "admin", authority.RoleAdmin)
	second, _ := w.member(w.owner, "second", authority.RoleOwner)
	viewer, _ := w.member(asAdmin, "viewer", authority.RoleViewer)
	owner, plain := authority.RoleOwner, authority.RoleViewer
	ownersKey := w.memberKey(w.owner, second, controlplane.NewKey{})
	for sentence, err := range map[string]error{
		"an admin makes an owner":               drop(w.AddMember(ctx, asAdmin, controlplane.NewMember{Name: "x", Role: owner})),
		"an admin registers a user as owner":    drop(w.RegisterPrincipal(ctx, asAdmin, controlplane.NewPrincipal{Name: "x", Type: authority.User, Role: owner})),
		"an admin raises itself":                drop(w.UpdateMember(ctx, asAdmin, admin.ID, controlplane.MemberChange{Role: &owner})),
		"an admin raises another":               drop(w.UpdateMember(ctx, asAdmin, viewer.ID, controlplane.MemberChange{Role: &owner})),
		"an admin demotes an owner":             drop(w.UpdateMember(ctx, asAdmin, second.ID, controlplane.MemberChange{Role: &plain})),
		"an admin removes an owner":             drop(w.RemoveMember(ctx, asAdmin, second.ID)),
		"an admin suspends an owner":            drop(w.SuspendPrincipal(ctx, asAdmin, second.ID, 0)),
		"an admin makes a key for an owner":     drop(w.CreateKey(ctx, asAdmin, controlplane.NewKey{Kind: authority.KeyMember, Name: "x", PrincipalID: second.ID})),
		"an admin revokes an owner's key":       drop(w.RevokeKey(ctx, asAdmin, ownersKey.ID)),
		"an admin rotates an owner's key":       drop(w.RotateKey(ctx, asAdmin, ownersKey.ID, controlplane.Rotation{})),
		"an owner's viewer key changes members": drop(w.AddMember(ctx, w.as(w.memberKey(w.owner, second, controlplane.NewKey{Role: plain}).APIKey), controlplane.NewMember{Name: "x", Role: plain})),
	} {
		t.Log(sentence)
		wantError(t, err, authority.CodeForbidden, "")
	}
	// A key for an owner that may only do what an admin may is an admin's to make.
	w.memberKey(asAdmin, second, controlplane.NewKey{Role: authority.RoleAdmin})
	must(w.UpdateMember(ctx, w.owner, second.ID, controlplane.MemberChange{Role: &plain}))(t)
	must(w.RemoveMember(ctx, asAdmin, second.ID))(t)
}

func TestAKeyDoesWhatBothItsRoleAndItsMemberMay(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, _ := w.agent(w.owner, "agent", authority.Agent)
	author, _ := w.member(w.owner, "author", authority.RolePolicyAuthor)
	operator := w.as(w.memberKey(w.owner, author, controlplane.NewKey{Role: authority.RoleOperator}).APIKey)
	if got := operator.Principal().Role; got != authority.RoleViewer {
		t.Errorf("an author with an operator's key is a %s", got)
	}
	wantError(t, drop(w.SuspendPrincipal(ctx, operator, agent.ID, 0)), authority.CodeForbidden, "")
	wantError(t, drop(w.CreatePolicy(ctx, operator, controlplane.NewPolicy{PrincipalID: agent.ID})), authority.CodeForbidden, "")
	must(w.Principals(ctx, operator, controlplane.PrincipalFilter{}, controlplane.Page{}))(t)

	owners := must(w.Member(ctx, w.owner, w.owner.Principal().ID))(t)
	capped := w.as(w.memberKey(w.owner, owners, controlplane.NewKey{Role: authority.RoleAdmin}).APIKey)
	must(w.CreateKey(ctx, capped, controlplane.NewKey{Kind: authority.KeyMember, Name: "x", PrincipalID: owners.ID, Role: authority.RoleOperator}))(t)
	for sentence, n := range map[string]controlplane.NewKey{
		"without a cap":     {Kind: authority.KeyMember, Name: "x", PrincipalID: owners.ID},
		"with a higher cap": {Kind: authority.KeyMember, Name: "x", PrincipalID: owners.ID, Role: authority.RoleOwner},
	} {
		t.Log(sentence)
		wantError(t, drop(w.CreateKey(ctx, capped, n)), authority.CodeForbidden, "")
	}
}

func TestChangesOfAMemberHoldFromItsNextRequestOn(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	m, _ := w.member(w.owner, "m", authority.RoleAdmin)
	key := w.memberKey(w.owner, m, controlplane.NewKey{})
	early := w.as(key.APIKey) // authenticated before each change
	viewer, policyAuthor := authority.RoleViewer, authority.RolePolicyAuthor
	newAgent := controlplane.NewPrincipal{Name: "a", Type: authority.Agent}
	must(w.RegisterPrincipal(ctx, early, newAgent))(t)

	must(w.UpdateMember(ctx, w.owner, m.ID, controlplane.MemberChange{Role: &viewer}))(t)
	wantError(t, drop(w.RegisterPrincipal(ctx, early, newAgent)), authority.CodeForbidden, "")
	wantError(t, drop(w.RegisterPrincipal(ctx, w.as(key.APIKey), newAgent)), authority.CodeForbidden, "")
	must(w.UpdateMember(ctx, w.owner, m.ID, controlplane.MemberChange{Role: &policyAuthor}))(t)
	must(w.CreatePolicy(ctx, w.as(key.APIKey), controlplane.NewPolicy{
		PrincipalID: m.ID, AllowedResources: []string{"api:x"}, AllowedActions: []string{"read"}, MaxValiditySeconds: 60,
	}))(t)

	must(w.SuspendPrincipal(ctx, w.owner, m.ID, 0))(t)
	wantError(t, drop(w.Principals(ctx, w.as(key.APIKey), controlplane.PrincipalFilter{}, controlplane.Page{})), authority.CodeForbidden, authority.ReasonSuspended)
	must(w.ResumePrincipal(ctx, w.owner, m.ID))(t)

	before := w.as(key.APIKey)
	must(w.RemoveMember(ctx, w.owner, m.ID))(t)
	_, err := w.Authenticate(ctx, controlplane.Credential{Bearer: key.APIKey})
	wantError(t, err, authority.CodeUnauthenticated, "")
	wantError(t, drop(w.DeactivatePolicy(ctx, before, "pol_x")), authority.CodeUnauthenticated, "")
	// Its principal stays, and a role that comes back does not bring the keys of before.
	if p := must(w.Principal(ctx, w.owner, m.ID))(t); p.Role != "" {
		t.Errorf("the removed member has the role %s", p.Role)
	}
	again := must(w.AddMember(ctx, w.owner, controlplane.NewMember{Name: "m", Role: viewer, PersonID: ""}))(t).Value
	if again.ID == m.ID || again.PersonID == m.PersonID {
		t.Error("a new person is the one of before")
	}
	_, err = w.Authenticate(ctx, controlplane.Credential{Bearer: key.APIKey})
	wantError(t, err, authority.CodeUnauthenticated, "")
}

func TestTheLastOwnerStays(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	id := w.owner.Principal().ID
	admin := authority.RoleAdmin
	overlap := int64(0)
	for sentence, err := range map[string]error{
		"removed":              drop(w.RemoveMember(ctx, w.owner, id)),
		"demoted":              drop(w.UpdateMember(ctx, w.owner, id, controlplane.MemberChange{Role: &admin})),
		"suspended":            drop(w.SuspendPrincipal(ctx, w.owner, id, 0)),
		"without its last key": drop(w.RevokeKey(ctx, w.owner, w.owner.Key())),
	} {
		t.Log(sentence)
		wantError(t, err, authority.CodeConflict, "")
	}
	// An owner who cannot come in, or not for long, is no other owner.
	idle := must(w.AddMember(ctx, w.owner, controlplane.NewMember{Name: "idle", Role: authority.RoleOwner}))(t).Value
	soon := controlplane.NewKey{Role: authority.RoleOwner, ExpiresAt: in(3600)}
	w.memberKey(w.owner, idle, soon)
	w.memberKey(w.owner, idle, controlplane.NewKey{Role: authority.RoleAdmin})
	wantError(t, drop(w.RevokeKey(ctx, w.owner, w.owner.Key())), authority.CodeConflict, "")
	wantError(t, drop(w.RemoveMember(ctx, w.owner, id)), authority.CodeConflict, "")
	// A rotation leaves the successor.
	rotated := must(w.RotateKey(ctx, w.owner, w.owner.Key(), controlplane.Rotation{OverlapSeconds: &overlap}))(t).Value
	wantError(t, drop(w.RevokeKey(ctx, w.as(rotated.APIKey), rotated.ID)), authority.CodeConflict, "")
	w.memberKey(w.as(rotated.APIKey), idle, controlplane.NewKey{})
	must(w.RemoveMember(ctx, w.as(rotated.APIKey), id))(t)
}

// Every way to take an owner is tried on each of several at once. Whatever the order, one of them can come in at the end.
func TestTheLastOwnerStaysUnderAnyInterleaving(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	admin := authority.RoleAdmin
	var (
		owners  []controlplane.Caller
		bearers []string
	)
	for range 4 {
		m := must(w.AddMember(ctx, w.owner, controlplane.NewMember{Name: "owner", Role: authority.RoleOwner}))(t).Value
		bearers = append(bearers, w.memberKey(w.owner, m, controlplane.NewKey{}).APIKey)
		owners = append(owners, w.as(bearers[len(bearers)-1]))
	}
	must(w.RemoveMember(ctx, owners[0], w.owner.Principal().ID))(t)
	var group sync.WaitGroup
	for i, by := range owners {
		victim := owners[(i+1)%len(owners)].Principal().ID
		key := owners[(i+1)%len(owners)].Key()
		for _, take := range []func() error{
			func() error { return drop(w.RemoveMember(ctx, by, victim)) },
			func() error { return drop(w.UpdateMember(ctx, by, victim, controlplane.MemberChange{Role: &admin})) },
			func() error { return drop(w.SuspendPrincipal(ctx, by, victim, 0)) },
			func() error { return drop(w.RevokeKey(ctx, by, key)) },
			func() error { return drop(w.RevokeKey(ctx, by, by.Key())) },
		} {
			group.Go(func() {
				var told *authority.Error
				if err := take(); err != nil && (!errors.As(err, &told) || told.Code == authority.CodeUnavailable) {
					t.Errorf("taking an owner: %v", err)
				}
			})
		}
	}
	group.Wait()
	left := 0
	for _, bearer := range bearers {
		now, err := w.Authenticate(ctx, controlplane.Credential{Bearer: bearer})
		if err == nil && now.Principal().Role == authority.RoleOwner && !now.Principal().Suspended {
			left++
		}
	}
	if left == 0 {
		t.Error("no owner can come in")
	}
}

func TestAnAdministrativeChangeTellsWhoDidItAndWhatWasBefore(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	m, asMember := w.member(w.owner, "m", authority.RoleAdmin)
	agent, _ := w.agent(asMember, "agent", authority.Agent)
	operator := authority.RoleOperator
	must(w.UpdateMember(ctx, w.owner, m.ID, controlplane.MemberChange{Role: &operator}))(t)
	must(w.SuspendPrincipal(ctx, asMember, agent.ID, 0))(t)
	must(w.RemoveMember(ctx, w.owner, m.ID))(t)
	type told struct {
		Actor, Subject      authority.PrincipalID
		Key                 authority.KeyID
		Before, After, What any
	}
	read := func(typ authority.EventType, field string) told {
		t.Helper()
		list := must(w.Events(ctx, w.owner, controlplane.EventFilter{Type: typ, PrincipalID: ""}, controlplane.Page{Limit: 1}))(t)
		if len(list.Items) == 0 {
			t.Fatalf("there is no event %s", typ)
		}
		e := list.Items[0]
		of := func(name string) any {
			record, ok := e.Detail[name].(map[string]any)
			if !ok {
				return nil
			}
			return record[field]
		}
		return told{Actor: e.ActorID, Key: e.ActorKeyID, Subject: e.PrincipalID, Before: of("before"), After: of("after")}
	}
	owner := w.owner.Principal().ID
	for _, c := range []struct {
		typ   authority.EventType
		field string
		want  told
	}{
		{authority.EventMemberAdded, "role", told{Actor: owner, Key: w.owner.Key(), Subject: m.ID, After: "admin"}},
		{authority.EventMemberUpdated, "role", told{Actor: owner, Key: w.owner.Key(), Subject: m.ID, Before: "admin", After: "operator"}},
		{authority.EventMemberRemoved, "role", told{Actor: owner, Key: w.owner.Key(), Subject: m.ID, Before: "operator"}},
		{authority.EventPrincipalSuspended, "suspended", told{Actor: m.ID, Key: asMember.Key(), Subject: agent.ID, Before: false, After: true}},
		{authority.EventKeyCreated, "kind", told{Actor: m.ID, Key: asMember.Key(), Subject: agent.ID, After: "agent"}},
	} {
		if diff := cmp.Diff(c.want, read(c.typ, c.field)); diff != "" {
			t.Errorf("%s:\n%s", c.typ, diff)
		}
	}
}

func TestAListOfMembersHoldsWhoHasARole(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	must(w.RegisterPrincipal(ctx, w.owner, controlplane.NewPrincipal{Name: "no member", Type: authority.User}))(t)
	registered := must(w.RegisterPrincipal(ctx, w.owner, controlplane.NewPrincipal{Name: "auditor", Type: authority.User, Role: authority.RoleAuditor}))(t).Value
	_, asAuditor := w.member(w.owner, "second auditor", authority.RoleAuditor)
	names := func(f controlplane.MemberFilter) string {
		var all []string
		for _, m := range must(w.Members(ctx, asAuditor, f, controlplane.Page{}))(t).Items {
			if !strings.HasPrefix(string(m.PersonID), "psn_") {
				t.Errorf("the member %s is the person %q", m.Name, m.PersonID)
			}
			all = append(all, m.Name)
		}
		return strings.Join(all, ", ")
	}
	if got := names(controlplane.MemberFilter{}); got != "second auditor, auditor, owner" {
		t.Errorf("the members are %s", got)
	}
	if got := names(controlplane.MemberFilter{Role: authority.RoleOwner}); got != "owner" {
		t.Errorf("the owners are %s", got)
	}
	if m := must(w.Member(ctx, asAuditor, registered.ID))(t); m.Role != authority.RoleAuditor {
		t.Errorf("the registered member is %+v", m)
	}
	_, err := w.Member(ctx, asAuditor, "prn_none")
	wantError(t, err, authority.CodeNotFound, "")
	for sentence, n := range map[string]controlplane.NewMember{
		"no role": {Name: "x"}, "a role that is none": {Name: "x", Role: "root"}, "no name": {Role: authority.RoleViewer},
	} {
		t.Log(sentence)
		_, err := w.AddMember(ctx, w.owner, n)
		wantCode(t, err, authority.CodeInvalid)
	}
}

// in is an instant a number of seconds from the start of the call.
func in(seconds int) *time.Time {
	at := time.Now().Add(time.Duration(seconds) * time.Second)
	return &at
}

func wantCode(t *testing.T, err error, codes ...authority.Code) {
	t.Helper()
	var told *authority.Error
	if !errors.As(err, &told) || !slices.Contains(codes, told.Code) {
		t.Errorf("error %v, want %v", err, codes)
	}
}

// Who makes a policy consents to be named as issuer by it, unless it can be none.
func TestAPolicyAuthorConsentsToNothing(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, asAgent := w.agent(w.owner, "agent", authority.Agent)
	author, asAuthor := w.member(w.owner, "author", authority.RolePolicyAuthor)
	p := w.policy(asAuthor, agent, 0)
	if len(p.Grantors) != 0 {
		t.Errorf("the grantors are %v", p.Grantors)
	}
	if again := must(w.Policy(ctx, asAuthor, p.ID))(t); again.Grantors == nil || len(again.Grantors) != 0 {
		t.Errorf("the grantors are read as %v", again.Grantors)
	}
	wantError(t, drop(w.RequestMandate(ctx, asAgent, request(author.ID, agent.ID))), authority.CodeRefused, authority.ReasonIssuerNotConsenting)
	wantError(t, drop(w.RequestMandate(ctx, asAgent, request(w.owner.Principal().ID, agent.ID))), authority.CodeRefused, authority.ReasonIssuerNotConsenting)
	wantError(t, drop(w.JoinPolicy(ctx, asAuthor, p.ID)), authority.CodeForbidden, "")
	must(w.JoinPolicy(ctx, w.owner, p.ID))(t)
	must(w.RequestMandate(ctx, asAgent, request(w.owner.Principal().ID, agent.ID)))(t)
}

// A mandate outlives its issuer's role, as it does a change of the policy; the issuer gives no other. Suspension ends it.
func TestWhatBecomesOfTheMandatesOfAMemberWhoIsRemoved(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, asAgent := w.agent(w.owner, "agent", authority.Agent)
	admin, asAdmin := w.member(w.owner, "admin", authority.RoleAdmin)
	w.policy(asAdmin, agent, 0)
	m := must(w.RequestMandate(ctx, asAdmin, request(admin.ID, agent.ID)))(t).Value
	must(w.RemoveMember(ctx, w.owner, admin.ID))(t)
	ask := controlplane.Validation{MandateID: m.ID, RequestedAction: "read", RequestedResource: "api:external/openai"}
	if a := must(w.ValidateMandate(ctx, asAgent, ask))(t); !a.Allowed {
		t.Errorf("the mandate of a removed member is denied: %s", a.Message)
	}
	wantError(t, drop(w.RequestMandate(ctx, asAgent, request(admin.ID, agent.ID))), authority.CodeRefused, authority.ReasonIssuerNotEntitled)
	must(w.SuspendPrincipal(ctx, w.owner, admin.ID, 0))(t)
	if a := must(w.ValidateMandate(ctx, asAgent, ask))(t); a.Allowed || *a.DenialReason != authority.ReasonSuspended {
		t.Errorf("the mandate of a suspended principal: %+v", a)
	}
}

// An operator ends authority and suspends; it gives none.
func TestAnOperatorRevokesAndSuspends(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, _ := w.agent(w.owner, "agent", authority.Agent)
	w.policy(w.owner, agent, 0)
	m := w.mandate(w.owner, agent)
	_, operator := w.member(w.owner, "operator", authority.RoleOperator)
	wantError(t, drop(w.RequestMandate(ctx, operator, request(w.owner.Principal().ID, agent.ID))), authority.CodeForbidden, "")
	if a := must(w.ValidateMandate(ctx, operator, controlplane.Validation{MandateID: m.ID, RequestedAction: "read", RequestedResource: "api:external/x"}))(t); !a.Allowed || !a.Inquiry {
		t.Errorf("an operator's inquiry is answered %+v", a)
	}
	must(w.RevokeMandate(ctx, operator, m.ID, 0))(t)
	must(w.SuspendPrincipal(ctx, operator, agent.ID, 0))(t)
	must(w.ResumePrincipal(ctx, operator, agent.ID))(t)
	for _, role := range []authority.Role{authority.RoleAdmin, authority.RoleOwner} {
		above, _ := w.member(w.owner, "above", role)
		wantError(t, drop(w.SuspendPrincipal(ctx, operator, above.ID, 0)), authority.CodeForbidden, "")
	}
	beside, _ := w.member(w.owner, "beside", authority.RoleAuditor)
	must(w.SuspendPrincipal(ctx, operator, beside.ID, 0))(t)
	wantError(t, drop(w.SuspendPrincipal(ctx, operator, operator.Principal().ID, 0)), authority.CodeConflict, "")
}

// An identity of the deployment's OpenID provider is a way in as a key is; of another provider it is none.
func TestAnOwnerWhoSignsInNeedsNoKey(t *testing.T) {
	for provider, may := range map[string]bool{"https://login.example.com": true, "https://other.example.com": false} {
		w := newWorld(t)
		ctx := t.Context()
		store := must(postgres.Open(postgres.Config{URL: w.appURL, MaxConns: 2}))(t)
		t.Cleanup(store.Close)
		s := must(controlplane.New(controlplane.Config{
			Store: store, MasterKey: []byte(strings.Repeat("m", 32)), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now,
			SignIn: controlplane.SignIn{PublicURL: "https://caracal.example.com", Issuer: "https://login.example.com"},
		}))(t)
		super := must(pgx.Connect(ctx, cluster.Superuser(t, w.ownerURL)))(t)
		t.Cleanup(func() { _ = super.Close(context.Background()) })
		if _, err := super.Exec(ctx, `INSERT INTO logins (issuer, subject, person_id, name, email, email_verified, created_at, last_at)
			VALUES ($1, 'ada', $2, 'ada', '', false, now(), now())`, provider, w.owner.Person()); err != nil {
			t.Fatal(err)
		}
		err := drop(s.RevokeKey(ctx, w.owner, w.owner.Key()))
		if may && err != nil {
			t.Errorf("the last key of an owner who signs in: %v", err)
		} else if !may {
			wantError(t, err, authority.CodeConflict, "")
		}
	}
}

// Where every way in ends by itself, as in a workspace from before, the last of them is not taken all the same.
func TestTheLastWayInOfAnOwnerStaysEvenIfItExpires(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	super := must(pgx.Connect(ctx, cluster.Superuser(t, w.ownerURL)))(t)
	t.Cleanup(func() { _ = super.Close(context.Background()) })
	if _, err := super.Exec(ctx, "UPDATE api_keys SET expires_at = now() + interval '1 hour' WHERE kind = 'member'"); err != nil {
		t.Fatal(err)
	}
	wantError(t, drop(w.RevokeKey(ctx, w.owner, w.owner.Key())), authority.CodeConflict, "")
	owner := must(w.Member(ctx, w.owner, w.owner.Principal().ID))(t)
	w.memberKey(w.owner, owner, controlplane.NewKey{ExpiresAt: in(1800)})
	must(w.RevokeKey(ctx, w.owner, w.owner.Key()))(t)
}

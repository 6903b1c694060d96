package controlplane_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/token"
)

func ptr[T any](v T) *T { return &v }

// run keeps a service running until the returned function is called.
func (w *world) run(s *controlplane.Service) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}
}

// newest are the types of the latest events, the newest first.
func (w *world) newest(n int) []authority.EventType {
	w.t.Helper()
	var types []authority.EventType
	for _, e := range must(w.Events(w.t.Context(), w.owner, controlplane.EventFilter{}, controlplane.Page{Limit: n}))(w.t).Items {
		types = append(types, e.Type)
	}
	return types
}

func TestAWorkspaceIsRenamedButKeepsItsSlug(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	before := must(w.Workspace(ctx, w.owner, "first"))(t)
	change := controlplane.WorkspaceChange{
		Name: ptr("Payments"), Description: ptr("agents of the payments team"),
		Settings: &controlplane.SettingsChange{MaxStreamSeconds: ptr(int64(60))},
	}
	written := must(w.UpdateWorkspace(ctx, w.owner, "first", change))(t)
	want := before
	want.Name, want.Description, want.Settings.MaxStreamSeconds, want.Revision = "Payments", "agents of the payments team", 60, before.Revision+1
	if diff := cmp.Diff(want, written.Value); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	if got := must(w.Workspace(ctx, w.owner, "first"))(t); !cmp.Equal(want, got) {
		t.Errorf("stored %+v", got)
	}
	event := must(w.Events(ctx, w.owner, controlplane.EventFilter{Type: authority.EventWorkspaceUpdated}, controlplane.Page{}))(t).Items[0]
	told := func(key, field string) any {
		return event.Detail[key].(map[string]any)[field]
	}
	if event.ActorID != w.owner.Principal().ID || told("before", "name") != "first" || told("after", "name") != "Payments" {
		t.Errorf("event %+v", event)
	}
	again := must(w.UpdateWorkspace(ctx, w.owner, "first", change))(t)
	if again.Revision != written.Revision || again.Value.Revision != written.Revision {
		t.Errorf("the same change again is of revision %d and %d, want %d", again.Revision, again.Value.Revision, written.Revision)
	}
	for sentence, bad := range map[string]controlplane.WorkspaceChange{
		"no name":                    {Name: ptr("")},
		"a name with a line break":   {Name: ptr("a\nb")},
		"streams of no time":         {Settings: &controlplane.SettingsChange{MaxStreamSeconds: ptr(int64(0))}},
		"streams of more than a day": {Settings: &controlplane.SettingsChange{MaxStreamSeconds: ptr(int64(86401))}},
		"no retention":               {Settings: &controlplane.SettingsChange{EventRetentionDays: ptr(0)}},
		"retention beyond ten years": {Settings: &controlplane.SettingsChange{EventRetentionDays: ptr(3651)}},
	} {
		t.Log(sentence)
		wantError(t, drop(w.UpdateWorkspace(ctx, w.owner, "first", bad)), authority.CodeInvalid, "")
	}
	wantError(t, drop(w.UpdateWorkspace(ctx, w.owner, "second", change)), authority.CodeNotFound, "")
}

func TestAnArchivedWorkspaceGivesNoAuthorityAndTakesItAway(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	subject, agent := w.agent(w.owner, "agent", authority.Agent)
	policy := w.policy(w.owner, subject, 1)
	kept, ended := w.mandate(w.owner, subject), w.mandate(w.owner, subject)
	archived := must(w.ArchiveWorkspace(ctx, w.owner, "first"))(t).Value
	if archived.State() != authority.WorkspaceArchived {
		t.Fatalf("state %s", archived.State())
	}
	issuer := w.owner.Principal().ID
	for sentence, err := range map[string]error{
		"issuing":              drop(w.RequestMandate(ctx, w.owner, request(issuer, subject.ID))),
		"an agent's request":   drop(w.RequestMandate(ctx, agent, request(issuer, subject.ID))),
		"delegating":           drop(w.DelegateMandate(ctx, w.owner, controlplane.Delegation{ParentMandateID: kept.ID, ChildPrincipalID: subject.ID, ResourceScope: []string{"api:external/*"}, ActionScope: []string{"read"}, ValiditySeconds: 60})),
		"registering":          drop(w.RegisterPrincipal(ctx, w.owner, controlplane.NewPrincipal{Name: "x", Type: authority.Agent})),
		"a new policy":         drop(w.CreatePolicy(ctx, w.owner, controlplane.NewPolicy{PrincipalID: subject.ID, AllowedResources: []string{"api:x"}, AllowedActions: []string{"read"}, MaxValiditySeconds: 60})),
		"a change of a policy": drop(w.UpdatePolicy(ctx, w.owner, policy.ID, controlplane.PolicyChange{DelegationDepth: ptr(2)})),
		"a new key":            drop(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "g"})),
		"a new destination":    drop(w.CreateDestination(ctx, w.owner, authority.Destination{Name: "d", Host: "d.example.com"})),
		"a Rego policy":        drop(w.PushRego(ctx, w.owner, controlplane.RegoPush{Modules: map[string]string{}})),
		"resuming":             drop(w.ResumePrincipal(ctx, w.owner, subject.ID)),
		"renaming":             drop(w.UpdateWorkspace(ctx, w.owner, "first", controlplane.WorkspaceChange{Name: ptr("x")})),
	} {
		t.Log(sentence)
		wantError(t, err, authority.CodeConflict, authority.ReasonWorkspaceArchived)
	}
	question := controlplane.Validation{MandateID: kept.ID, RequestedAction: "read", RequestedResource: "api:external/openai"}
	if answer := must(w.ValidateMandate(ctx, agent, question))(t); !answer.Allowed {
		t.Errorf("a mandate of an archived workspace is denied: %+v", answer)
	}
	if receipt := must(w.RevokeMandate(ctx, w.owner, ended.ID, 0))(t); len(receipt.Value.Mandates) != 1 {
		t.Errorf("revocation %+v", receipt)
	}
	must(w.DeactivatePolicy(ctx, w.owner, policy.ID))(t)
	must(w.SuspendPrincipal(ctx, w.owner, subject.ID, 0))(t)
	must(w.UnarchiveWorkspace(ctx, w.owner, "first"))(t)
	must(w.ResumePrincipal(ctx, w.owner, subject.ID))(t)
	want := []authority.EventType{authority.EventPrincipalResumed, authority.EventWorkspaceUnarchived}
	if diff := cmp.Diff(want, w.newest(2)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestADeletedWorkspaceDeniesAtOnceAndCanBeRestored(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	subject, agent := w.agent(w.owner, "agent", authority.Agent)
	w.policy(w.owner, subject, 0)
	m := w.mandate(w.owner, subject)
	agentKey := must(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyAgent, Name: "k", PrincipalID: subject.ID}))(t).Value.APIKey
	gatewayKey := must(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "g"}))(t).Value.APIKey
	accessToken := must(w.IssueToken(ctx, agent))(t).AccessToken
	wantError(t, drop(w.DeleteWorkspace(ctx, agent, "first", 0)), authority.CodeForbidden, "")

	deletion := must(w.DeleteWorkspace(ctx, w.owner, "first", time.Second))(t)
	d := deletion.Value
	if d.State != authority.ReceiptEnforced || d.EffectiveAt == nil || d.Workspace.State() != authority.WorkspaceDeleted {
		t.Fatalf("deletion %+v", d)
	}
	if grace := d.Workspace.EraseAt.Sub(*d.Workspace.DeletedAt); grace != controlplane.DefaultGrace {
		t.Errorf("grace %s", grace)
	}
	for sentence, bearer := range map[string]string{"an agent's key": agentKey, "an access token": accessToken} {
		t.Log(sentence)
		wantError(t, drop(w.Authenticate(ctx, controlplane.Credential{Bearer: bearer})), authority.CodeUnauthenticated, "")
	}
	question := controlplane.Validation{MandateID: m.ID, RequestedAction: "read", RequestedResource: "api:external/openai"}
	// Who was identified a moment before the deletion is denied all the same.
	for sentence, c := range map[string]controlplane.Caller{"the subject": agent, "an owner": w.owner} {
		answer := must(w.ValidateMandate(ctx, c, question))(t)
		if answer.Allowed || *answer.DenialReason != authority.ReasonWorkspaceDeleted {
			t.Errorf("%s: %+v", sentence, answer)
		}
	}
	wantError(t, drop(w.RequestMandate(ctx, agent, request(w.owner.Principal().ID, subject.ID))), authority.CodeConflict, authority.ReasonWorkspaceDeleted)
	wantError(t, drop(w.ArchiveWorkspace(ctx, w.owner, "first")), authority.CodeConflict, authority.ReasonWorkspaceDeleted)
	must(w.Principals(ctx, w.owner, controlplane.PrincipalFilter{}, controlplane.Page{}))(t)
	if got := w.newest(4); got[3] != authority.EventWorkspaceDeleted || got[2] != authority.EventRevocationEnforced {
		t.Errorf("events %v", got)
	}
	again := must(w.DeleteWorkspace(ctx, w.owner, "first", 0))(t)
	if again.Revision != deletion.Revision || !again.Value.Workspace.EraseAt.Equal(*d.Workspace.EraseAt) {
		t.Errorf("deleted again: %+v", again)
	}
	wantError(t, drop(w.CreateWorkspace(ctx, w.as(setupKey), controlplane.NewWorkspace{Name: "x", Slug: "first"})), authority.CodeConflict, "")

	sealed := whole(t, w.Service, w.as(gatewayKey))
	if sealed.Revision != deletion.Revision {
		t.Errorf("a gateway gets revision %d, want %d", sealed.Revision, deletion.Revision)
	}
	root := must(token.ParseAPIKey(gatewayKey))(t).Root
	state, _, err := bundle.Open(sealed.Sealed, bundle.Trust{Root: root})
	if err != nil || state.Workspace.State() != authority.WorkspaceDeleted || len(state.Mandates) != 0 || len(state.AgentKeys) == 0 {
		t.Errorf("the bundle has %d mandates of a workspace that is %s: %v", len(state.Mandates), state.Workspace.State(), err)
	}
	must(w.RestoreWorkspace(ctx, w.owner, "first"))(t)
	if answer := must(w.ValidateMandate(ctx, w.as(agentKey), question))(t); !answer.Allowed {
		t.Errorf("after the restoration: %+v", answer)
	}
}

func TestWhoMayLookAtADeletedWorkspace(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	keys := map[authority.Role]string{}
	for _, role := range authority.Roles() {
		m := must(w.AddMember(ctx, w.owner, controlplane.NewMember{Name: string(role), Role: role}))(t).Value
		keys[role] = must(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyMember, Name: "k", PrincipalID: m.ID}))(t).Value.APIKey
	}
	must(w.DeleteWorkspace(ctx, w.owner, "first", 0))(t)
	for role, key := range keys {
		c, err := w.Authenticate(ctx, controlplane.Credential{Bearer: key})
		if role != authority.RoleOwner && role != authority.RoleAuditor {
			wantError(t, err, authority.CodeUnauthenticated, "")
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", role, err)
		}
		must(w.Events(ctx, c, controlplane.EventFilter{}, controlplane.Page{}))(t)
		if role == authority.RoleAuditor {
			wantError(t, drop(w.RestoreWorkspace(ctx, c, "first")), authority.CodeForbidden, "")
		}
	}
}

func TestAnErasedWorkspaceIsGoneAndItsSlugFree(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, other := w.workspace("other")
	key := must(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyMember, Name: "k", PrincipalID: w.owner.Principal().ID}))(t).Value.APIKey
	must(w.DeleteWorkspace(ctx, w.owner, "first", 0))(t)
	w.count("WITH due AS (UPDATE workspaces SET erase_at = now() - interval '1 second' WHERE slug = 'first' RETURNING 1) SELECT count(*) FROM due")
	late := serviceAt(t, w.appURL, func() time.Time { return time.Now().Add(controlplane.DefaultGrace) })
	wantError(t, drop(late.RestoreWorkspace(ctx, w.owner, "first")), authority.CodeNotFound, "")
	stop := w.run(late)
	eventually(t, "the workspace is erased", func() bool {
		return w.count("SELECT count(*) FROM workspaces WHERE erased_at IS NOT NULL") == 1
	})
	stop()
	if n := w.count("SELECT count(*) FROM events e JOIN workspaces w ON w.id = e.workspace_id WHERE w.erased_at IS NOT NULL AND e.type = 'workspace_deleted'"); n != 1 {
		t.Errorf("%d events of the deletion are left, want 1", n)
	}
	wantError(t, drop(w.Authenticate(ctx, controlplane.Credential{Bearer: key})), authority.CodeUnauthenticated, "")
	if all := must(w.Workspaces(ctx, w.as(setupKey)))(t); len(all) != 1 || all[0].Slug != "other" {
		t.Errorf("workspaces %+v", all)
	}
	must(w.Principals(ctx, other, controlplane.PrincipalFilter{}, controlplane.Page{}))(t)
	w.workspace("first")
}

// TestARepeatedChangeOfAWorkspaceAnswersWhatTheFirstDid repeats each change after the next has been made: what was
// answered once is answered again, whatever the workspace has come to since.
func TestARepeatedChangeOfAWorkspaceAnswersWhatTheFirstDid(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	subject, _ := w.agent(w.owner, "agent", authority.Agent)
	once := func(key string) controlplane.Caller { return w.owner.Once(key, []byte(key)) }
	changes := []func() (any, error){
		func() (any, error) {
			return w.UpdateWorkspace(ctx, once("update"), "first", controlplane.WorkspaceChange{Name: ptr("Payments")})
		},
		func() (any, error) {
			return w.UpdatePrincipal(ctx, once("principal"), subject.ID, controlplane.PrincipalChange{Name: ptr("renamed")})
		},
		func() (any, error) { return w.ArchiveWorkspace(ctx, once("archive"), "first") },
		func() (any, error) { return w.UnarchiveWorkspace(ctx, once("unarchive"), "first") },
		func() (any, error) { return w.ArchiveWorkspace(ctx, once("archive again"), "first") },
		func() (any, error) {
			d, err := w.DeleteWorkspace(ctx, once("delete"), "first", 0)
			d.Value.EffectiveAt = nil // is of the moment that it is asked
			return d, err
		},
	}
	var first []any
	for _, change := range changes {
		first = append(first, must(change())(t))
	}
	revision := must(w.Workspace(ctx, w.owner, "first"))(t).Revision
	for i, change := range changes {
		if diff := cmp.Diff(first[i], must(change())(t)); diff != "" {
			t.Errorf("change %d is answered otherwise (-first +again):\n%s", i, diff)
		}
	}
	if now := must(w.Workspace(ctx, w.owner, "first"))(t).Revision; now != revision {
		t.Errorf("the repetitions moved the revision from %d to %d", revision, now)
	}
	wantError(t, drop(w.DeleteWorkspace(ctx, w.owner.Once("delete", []byte("another body")), "first", 0)), authority.CodeConflict, "")
}

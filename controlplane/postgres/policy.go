package postgres

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// InsertPolicy adds a policy with its grantors.
func (t *Tx) InsertPolicy(ctx context.Context, p authority.Policy) error {
	err := t.q.InsertPolicy(ctx, query.InsertPolicyParams{
		ID: p.ID, WorkspaceID: p.WorkspaceID, PrincipalID: p.PrincipalID,
		AllowedResources: p.AllowedResources, AllowedActions: p.AllowedActions,
		MaxValiditySeconds: p.MaxValiditySeconds, DelegationDepth: p.DelegationDepth,
		Version: p.Version, Active: p.Active, CreatedAt: p.CreatedAt,
	})
	if err != nil {
		return translate("insert policy", err)
	}
	for _, grantor := range p.Grantors {
		if _, err := t.InsertGrantor(ctx, p.ID, grantor, p.CreatedAt); err != nil {
			return err
		}
	}
	return nil
}

// InsertGrantor adds a grantor, and reports whether it is new.
func (t *Tx) InsertGrantor(ctx context.Context, policy authority.PolicyID, grantor authority.PrincipalID, at time.Time) (bool, error) {
	n, err := t.q.InsertGrantor(ctx, query.InsertGrantorParams{
		WorkspaceID: t.workspace, PolicyID: policy, PrincipalID: grantor, JoinedAt: at,
	})
	return n > 0, translate("insert grantor", err)
}

// Policy reads a policy.
func (t *Tx) Policy(ctx context.Context, id authority.PolicyID) (authority.Policy, error) {
	row, err := t.q.Policy(ctx, query.PolicyParams{WorkspaceID: t.workspace, ID: id})
	if err != nil {
		return authority.Policy{}, translate("read policy", err)
	}
	list, err := t.withGrantors(ctx, []query.Policy{row})
	if err != nil {
		return authority.Policy{}, err
	}
	return list[0], nil
}

// ActivePoliciesOf reads the active policies of a principal, the oldest first.
func (t *Tx) ActivePoliciesOf(ctx context.Context, id authority.PrincipalID) ([]authority.Policy, error) {
	rows, err := t.q.ActivePoliciesOf(ctx, query.ActivePoliciesOfParams{WorkspaceID: t.workspace, PrincipalID: id})
	if err != nil {
		return nil, translate("read policies", err)
	}
	return t.withGrantors(ctx, rows)
}

// PolicyFilter narrows Policies; a zero field does not.
type PolicyFilter struct {
	PrincipalID authority.PrincipalID
	Active      *bool
	Created     Created
}

// Policies lists policies, by creation.
func (t *Tx) Policies(ctx context.Context, f PolicyFilter, p Page) ([]authority.Policy, error) {
	s := t.from("id, workspace_id, principal_id, allowed_resources, allowed_actions, max_validity_seconds, "+
		"delegation_depth, version, active, created_at", "policies").
		where(f.PrincipalID != "", "principal_id = ?", string(f.PrincipalID)).
		where(f.Active != nil, "active = ?", f.Active).
		created(f.Created).page(p)
	rows, err := collect[query.Policy](ctx, t, s)
	if err != nil {
		return nil, translate("list policies", err)
	}
	return t.withGrantors(ctx, rows)
}

// withGrantors completes policies, grantors in the order in which they joined.
func (t *Tx) withGrantors(ctx context.Context, rows []query.Policy) ([]authority.Policy, error) {
	list := make([]authority.Policy, len(rows))
	ids := make([]authority.PolicyID, len(rows))
	place := make(map[authority.PolicyID]int, len(rows))
	for i, p := range rows {
		list[i] = authority.Policy{
			ID: p.ID, WorkspaceID: p.WorkspaceID, PrincipalID: p.PrincipalID,
			AllowedResources: p.AllowedResources, AllowedActions: p.AllowedActions,
			MaxValiditySeconds: p.MaxValiditySeconds, DelegationDepth: p.DelegationDepth,
			Grantors: []authority.PrincipalID{}, Version: p.Version, Active: p.Active, CreatedAt: p.CreatedAt,
		}
		ids[i], place[p.ID] = p.ID, i
	}
	grantors, err := t.q.GrantorsAmong(ctx, query.GrantorsAmongParams{WorkspaceID: t.workspace, PolicyIds: texts(ids)})
	for _, g := range grantors {
		p := &list[place[g.PolicyID]]
		p.Grantors = append(p.Grantors, g.PrincipalID)
	}
	return list, translate("read grantors", err)
}

// UpdatePolicy replaces a policy's bounds, version and activity.
func (t *Tx) UpdatePolicy(ctx context.Context, p authority.Policy) error {
	err := t.q.UpdatePolicy(ctx, query.UpdatePolicyParams{
		WorkspaceID: t.workspace, ID: p.ID,
		AllowedResources: p.AllowedResources, AllowedActions: p.AllowedActions,
		MaxValiditySeconds: p.MaxValiditySeconds, DelegationDepth: p.DelegationDepth,
		Version: p.Version, Active: p.Active,
	})
	return translate("update policy", err)
}

// CountActivePolicies counts the active policies.
func (t *Tx) CountActivePolicies(ctx context.Context) (int, error) {
	n, err := t.q.CountActivePolicies(ctx, query.CountActivePoliciesParams{WorkspaceID: t.workspace})
	return int(n), translate("count policies", err)
}

package controlplane

import (
	"context"
	"errors"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// NewPolicy asks for an authority policy.
type NewPolicy struct {
	PrincipalID        authority.PrincipalID `json:"principal_id"`
	AllowedResources   []string              `json:"allowed_resources"`
	AllowedActions     []string              `json:"allowed_actions"`
	MaxValiditySeconds int64                 `json:"max_validity_seconds"`
	DelegationDepth    int                   `json:"delegation_depth"`
}

// CreatePolicy adds an authority policy. Its creator is its first grantor, if it may issue at all.
func (s *Service) CreatePolicy(ctx context.Context, c Caller, n NewPolicy) (Written[authority.Policy], error) {
	op := allowed("create_policy")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Policy, error) {
		p := authority.Policy{
			ID: authority.NewID[authority.PolicyID](), WorkspaceID: c.workspace, PrincipalID: n.PrincipalID,
			MaxValiditySeconds: n.MaxValiditySeconds, DelegationDepth: n.DelegationDepth,
			Grantors: firstGrantors(ch.caller.principal), Version: 1, Active: true, CreatedAt: ch.at,
		}
		if err := setScope(&p, &n.AllowedResources, &n.AllowedActions); err != nil {
			return p, err
		}
		if err := p.Validate(); err != nil {
			return p, err
		}
		if err := s.room(ctx, tx, ch, QuotaPolicies); err != nil {
			return p, err
		}
		if _, err := tx.Principal(ctx, n.PrincipalID); errors.Is(err, postgres.ErrNotFound) {
			return p, authority.Invalid("principal_id", "there is no such principal")
		} else if err != nil {
			return p, err
		}
		ch.tell(authority.Event{
			Type: authority.EventPolicyCreated, PolicyID: p.ID, PrincipalID: p.PrincipalID,
			Detail: map[string]any{"after": p},
		})
		return p, tx.InsertPolicy(ctx, p)
	})
}

// firstGrantors are who consents by making a policy: an author who administers nothing can be no issuer.
func firstGrantors(creator authority.Principal) []authority.PrincipalID {
	if !creator.Administers() {
		return []authority.PrincipalID{}
	}
	return []authority.PrincipalID{creator.ID}
}

// setScope reads what a policy allows; nil leaves it as it is.
func setScope(p *authority.Policy, resources, actions *[]string) error {
	var err error
	if resources != nil {
		if p.AllowedResources, err = authority.ParsePatterns(*resources); err != nil {
			return authority.Within("allowed_resources", err)
		}
	}
	if actions != nil {
		if p.AllowedActions, err = authority.ParseActions(*actions); err != nil {
			return authority.Within("allowed_actions", err)
		}
	}
	return nil
}

// PolicyFilter narrows a list of policies; a zero field does not.
type PolicyFilter = postgres.PolicyFilter

// Policies lists authority policies.
func (s *Service) Policies(ctx context.Context, c Caller, f PolicyFilter, p Page) (List[authority.Policy], error) {
	op := allowed("list_policies")
	return listing[authority.Policy]{
		op: op, filter: f, keys: byCreation(),
		look: func(ctx context.Context, tx *postgres.Tx, page postgres.Page) ([]authority.Policy, error) {
			return tx.Policies(ctx, f, page)
		},
		end: func(p authority.Policy, key postgres.Key) place { return placed(key, p.CreatedAt, "", string(p.ID)) },
	}.read(ctx, s, c, p)
}

// Policy finds an authority policy.
func (s *Service) Policy(ctx context.Context, c Caller, id authority.PolicyID) (authority.Policy, error) {
	op := allowed("get_policy")
	return read(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx) (authority.Policy, error) {
		p, err := tx.Policy(ctx, id)
		return p, orNotFound("policy", err)
	})
}

// PolicyChange replaces the fields that are not nil. Mandates that exist already keep what they were issued with.
type PolicyChange struct {
	AllowedResources   *[]string `json:"allowed_resources"`
	AllowedActions     *[]string `json:"allowed_actions"`
	MaxValiditySeconds *int64    `json:"max_validity_seconds"`
	DelegationDepth    *int      `json:"delegation_depth"`
}

// UpdatePolicy changes the bounds of a policy, for mandates to come.
func (s *Service) UpdatePolicy(ctx context.Context, c Caller, id authority.PolicyID, change PolicyChange) (Written[authority.Policy], error) {
	op := allowed("update_policy")
	return s.editPolicy(ctx, c, op, id, authority.EventPolicyUpdated, func(p *authority.Policy) error {
		if err := setScope(p, change.AllowedResources, change.AllowedActions); err != nil {
			return err
		}
		if change.MaxValiditySeconds != nil {
			p.MaxValiditySeconds = *change.MaxValiditySeconds
		}
		if change.DelegationDepth != nil {
			p.DelegationDepth = *change.DelegationDepth
		}
		return p.Validate()
	})
}

// DeactivatePolicy ends a policy, for mandates to come.
func (s *Service) DeactivatePolicy(ctx context.Context, c Caller, id authority.PolicyID) (Written[authority.Policy], error) {
	op := allowed("deactivate_policy")
	return s.editPolicy(ctx, c, op, id, authority.EventPolicyDeactivated, func(p *authority.Policy) error {
		p.Active = false
		return nil
	})
}

func (s *Service) editPolicy(ctx context.Context, c Caller, op operation, id authority.PolicyID, event authority.EventType, edit func(*authority.Policy) error) (Written[authority.Policy], error) {
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Policy, error) {
		before, err := tx.Policy(ctx, id)
		if err != nil {
			return before, orNotFound("policy", err)
		}
		if err := ch.expect(before); err != nil {
			return before, err
		}
		after := before
		if err := edit(&after); err != nil {
			return before, err
		}
		if equalJSON(before, after) {
			ch.unchanged = true
			return before, nil
		}
		after.Version++
		ch.tell(authority.Event{
			Type: event, PolicyID: id, PrincipalID: after.PrincipalID,
			Detail: map[string]any{"before": before, "after": after},
		})
		return after, tx.UpdatePolicy(ctx, after)
	})
}

// JoinPolicy makes the caller's principal a grantor of the policy: standing consent to be named as issuer.
func (s *Service) JoinPolicy(ctx context.Context, c Caller, id authority.PolicyID) (Written[authority.Policy], error) {
	op := allowed("join_policy")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Policy, error) {
		p, err := tx.Policy(ctx, id)
		if err != nil {
			return p, orNotFound("policy", err)
		}
		if err := ch.expect(p); err != nil {
			return p, err
		}
		if p.HasGrantor(c.principal.ID) {
			ch.unchanged = true
			return p, nil
		}
		if _, err := tx.InsertGrantor(ctx, id, c.principal.ID, ch.at); err != nil {
			return p, err
		}
		p.Grantors = append(p.Grantors, c.principal.ID)
		ch.tell(authority.Event{Type: authority.EventGrantorJoined, PolicyID: id, PrincipalID: c.principal.ID})
		return p, nil
	})
}

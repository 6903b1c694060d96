package controlplane

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

// What the signatures of the mandates in a bundle may weigh together, in bytes, and those among them that one agent or
// service asked for. A workspace with more has a bundle that is too large to seal: no revocation would reach a gateway.
const (
	maxMandates    = 32 << 20
	maxOwnMandates = 4 << 20
)

// MandateRequest asks for a mandate.
type MandateRequest struct {
	IssuerID        authority.PrincipalID `json:"issuer_id"`
	SubjectID       authority.PrincipalID `json:"subject_id"`
	ResourceScope   []string              `json:"resource_scope"`
	ActionScope     []string              `json:"action_scope"`
	ValiditySeconds int64                 `json:"validity_seconds"`
	// ValidFrom is when the mandate begins to hold; nil means now.
	ValidFrom *time.Time `json:"valid_from"`
	// Confirmation binds the mandate to a client certificate; nil binds it to none.
	Confirmation *authority.Confirmation `json:"confirmation"`
}

// RequestMandate issues a mandate by the rules of authority.Issue. An agent asks for itself.
func (s *Service) RequestMandate(ctx context.Context, c Caller, r MandateRequest) (Written[authority.Mandate], error) {
	op := allowed("issue_mandate")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Mandate, error) {
		scope, err := authority.ParseScope(r.ResourceScope, r.ActionScope)
		if err != nil {
			return authority.Mandate{}, err
		}
		if c.isAgent() && r.SubjectID != c.principal.ID {
			return authority.Mandate{}, authority.Forbidden("an agent asks for mandates for itself only")
		}
		known, err := tx.PrincipalsAmong(ctx, []authority.PrincipalID{r.IssuerID, r.SubjectID})
		if err != nil {
			return authority.Mandate{}, err
		}
		grounds := authority.IssueGrounds{
			Caller: ch.caller.principal, Issuer: known[r.IssuerID], Subject: known[r.SubjectID], Now: ch.at,
		}
		if grounds.IssuerPolicies, err = tx.ActivePoliciesOf(ctx, r.IssuerID); err != nil {
			return authority.Mandate{}, err
		}
		if grounds.SubjectPolicies, err = tx.ActivePoliciesOf(ctx, r.SubjectID); err != nil {
			return authority.Mandate{}, err
		}
		m, err := authority.Issue(grounds, authority.IssueRequest{
			IssuerID: r.IssuerID, SubjectID: r.SubjectID, Scope: scope,
			ValiditySeconds: r.ValiditySeconds, ValidFrom: r.ValidFrom, Confirmation: r.Confirmation,
		})
		if err != nil {
			return m, err
		}
		return s.seal(ctx, tx, ch, m, nil, authority.EventIssued)
	})
}

// Delegation asks for a child of a mandate.
type Delegation struct {
	ParentMandateID  authority.MandateID   `json:"parent_mandate_id"`
	ChildPrincipalID authority.PrincipalID `json:"child_principal_id"`
	ResourceScope    []string              `json:"resource_scope"`
	ActionScope      []string              `json:"action_scope"`
	ValiditySeconds  int64                 `json:"validity_seconds"`
	// Confirmation binds the child to a client certificate; nil leaves it bound as its parent is.
	Confirmation *authority.Confirmation `json:"confirmation"`
}

// DelegateMandate cuts a child from a mandate by the rules of authority.Delegate. The chain is held until the child is
// committed: a revocation of any of it comes before, and there is no child, or after, and covers it.
func (s *Service) DelegateMandate(ctx context.Context, c Caller, d Delegation) (Written[authority.Mandate], error) {
	op := allowed("delegate_mandate")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Mandate, error) {
		scope, err := authority.ParseScope(d.ResourceScope, d.ActionScope)
		if err != nil {
			return authority.Mandate{}, err
		}
		chain, err := tx.HoldChain(ctx, d.ParentMandateID)
		if err != nil {
			return authority.Mandate{}, err
		}
		if !c.knows(chain) {
			return authority.Mandate{}, authority.NotFound("mandate")
		}
		grounds := authority.DelegateGrounds{Caller: ch.caller.principal, Chain: chain, Now: ch.at}
		grounds.Principals, err = tx.PrincipalsAmong(ctx, append(parties(chain), d.ChildPrincipalID))
		if err != nil {
			return authority.Mandate{}, err
		}
		grounds.Child = grounds.Principals[d.ChildPrincipalID]
		if grounds.ChildPolicies, err = tx.ActivePoliciesOf(ctx, d.ChildPrincipalID); err != nil {
			return authority.Mandate{}, err
		}
		if grounds.Children, err = tx.CountChildren(ctx, d.ParentMandateID); err != nil {
			return authority.Mandate{}, err
		}
		if err := s.within(QuotaChildren, int64(grounds.Children)); err != nil {
			return authority.Mandate{}, err
		}
		m, err := authority.Delegate(grounds, authority.DelegateRequest{
			ParentID: d.ParentMandateID, ChildID: d.ChildPrincipalID, Scope: scope, ValiditySeconds: d.ValiditySeconds,
			Confirmation: d.Confirmation,
		})
		if err != nil {
			return m, err
		}
		return s.seal(ctx, tx, ch, m, chain, authority.EventDelegated)
	})
}

// seal signs a mandate and writes it. What the chain that it is cut from was signed with must still be trusted.
func (s *Service) seal(ctx context.Context, tx *postgres.Tx, ch *change, m authority.Mandate, chain []authority.Mandate, event authority.EventType) (authority.Mandate, error) {
	keys, err := s.openKeys(ctx, tx, m.WorkspaceID)
	if err != nil {
		return m, err
	}
	if keys.verifyChain(chain) != nil {
		return m, authority.Refused(authority.ReasonChainInvalid, "a mandate of the parent's chain was signed by a key that is not trusted any more; ask for a new one")
	}
	signer, err := keys.signer(token.PurposeMandate, ch.at)
	if err != nil {
		return m, err
	}
	if m.Signature, err = token.SignMandate(signer, keys.set.Deployment, m); err != nil {
		return m, err
	}
	if err := s.room(ctx, tx, ch, QuotaMandates); err != nil {
		return m, err
	}
	if err := weigh(ctx, tx, ch, m); err != nil {
		return m, err
	}
	if err := tx.InsertMandate(ctx, m); err != nil {
		return m, err
	}
	terms := m
	terms.Signature = ""
	ch.tell(authority.Event{
		Type: event, PrincipalID: m.SubjectID, MandateID: m.ID, PolicyID: m.PolicyID,
		Detail: map[string]any{"mandate": terms},
	})
	return m, nil
}

// weigh refuses a mandate that the workspace's bundle has no room for.
func weigh(ctx context.Context, tx *postgres.Tx, ch *change, m authority.Mandate) error {
	everybodys, own, err := tx.MandateWeight(ctx, m.RequestedBy, ch.at.Add(-endedKept))
	if err != nil {
		return err
	}
	weight := int64(len(m.Signature))
	if everybodys+weight > maxMandates {
		return &authority.Error{Code: authority.CodeLimited, Message: "the workspace has as many mandates as its gateways can take; those that ended count for a day"}
	}
	if ch.caller.isAgent() && own+weight > maxOwnMandates {
		return &authority.Error{Code: authority.CodeLimited, Message: "the caller has asked for as many mandates as one may have; those that ended count for a day"}
	}
	return nil
}

// parties are the principals that a chain rests on.
func parties(chain []authority.Mandate) []authority.PrincipalID {
	var ids []authority.PrincipalID
	for _, m := range chain {
		ids = append(ids, m.SubjectID, m.IssuerID)
	}
	return ids
}

// knows reports whether a mandate, with its chain, exists for the caller: for an agent its own and those below them, for the
// bearer of a token that is bound to one, that one.
func (c Caller) knows(chain []authority.Mandate) bool {
	if len(chain) == 0 || c.mandate != "" && c.mandate != chain[0].ID {
		return false
	}
	if !c.isAgent() || chain[0].IssuerID == c.principal.ID {
		return true
	}
	for _, m := range chain {
		if m.SubjectID == c.principal.ID {
			return true
		}
	}
	return false
}

// MandateFilter narrows a list of mandates; a zero field does not. An agent's list holds its own only, whatever Party says.
type MandateFilter = postgres.MandateFilter

// Mandates lists mandates.
func (s *Service) Mandates(ctx context.Context, c Caller, f MandateFilter, p Page) (List[authority.Mandate], error) {
	op := allowed("list_mandates")
	f.Party = ""
	if c.isAgent() {
		f.Party = c.principal.ID
	}
	return listing[authority.Mandate]{
		op: op, filter: f, keys: []postgres.Key{postgres.ByCreation, postgres.ByEnd},
		look: func(ctx context.Context, tx *postgres.Tx, page postgres.Page) ([]authority.Mandate, error) {
			return tx.Mandates(ctx, f, s.now(), page)
		},
		end: func(m authority.Mandate, key postgres.Key) place {
			if key == postgres.ByEnd {
				return at(m.ValidUntil, 0, string(m.ID))
			}
			return at(m.CreatedAt, 0, string(m.ID))
		},
	}.read(ctx, s, c, p)
}

// Mandate finds a mandate.
func (s *Service) Mandate(ctx context.Context, c Caller, id authority.MandateID) (authority.Mandate, error) {
	op := allowed("get_mandate")
	return read(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx) (authority.Mandate, error) {
		chain, err := tx.Chain(ctx, id)
		if err != nil {
			return authority.Mandate{}, err
		}
		if !c.knows(chain) {
			return authority.Mandate{}, authority.NotFound("mandate")
		}
		return chain[0], nil
	})
}

// mandateRegistry answers authority.Validate about one chain.
type mandateRegistry struct {
	mandates   map[authority.MandateID]authority.Mandate
	principals map[authority.PrincipalID]authority.Principal
}

// registry reads what judging a mandate needs to know.
func registry(ctx context.Context, tx *postgres.Tx, id authority.MandateID) (mandateRegistry, error) {
	chain, err := tx.Chain(ctx, id)
	if err != nil {
		return mandateRegistry{}, err
	}
	r := mandateRegistry{mandates: make(map[authority.MandateID]authority.Mandate, len(chain))}
	for _, m := range chain {
		r.mandates[m.ID] = m
	}
	r.principals, err = tx.PrincipalsAmong(ctx, parties(chain))
	return r, err
}

// Mandate finds a mandate of the chain.
func (r mandateRegistry) Mandate(id authority.MandateID) (authority.Mandate, bool) {
	m, ok := r.mandates[id]
	return m, ok
}

// Principal finds a party of the chain.
func (r mandateRegistry) Principal(id authority.PrincipalID) (authority.Principal, bool) {
	p, ok := r.principals[id]
	return p, ok
}

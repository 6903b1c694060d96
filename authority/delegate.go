package authority

import (
	"cmp"
	"slices"
	"time"
)

// MaxChildren is how many children one mandate may have.
const MaxChildren = 1000

// DelegateRequest asks for a child of a mandate.
type DelegateRequest struct {
	ParentID MandateID   `json:"parent_mandate_id"`
	ChildID  PrincipalID `json:"child_principal_id"`
	Scope
	ValiditySeconds int64 `json:"validity_seconds"` // from now on
	// Confirmation binds the child to a client certificate; nil leaves it bound as its parent is.
	Confirmation *Confirmation `json:"confirmation"`
}

// DelegateGrounds are what delegating is judged on, as of one transaction that holds the chain.
type DelegateGrounds struct {
	Caller Principal
	// Chain is the parent first and the root of its chain last.
	Chain []Mandate
	// Principals are the subjects of the chain and its root's issuer.
	Principals    map[PrincipalID]Principal
	Child         Principal
	ChildPolicies []Policy
	Children      int // that the parent has already, revoked ones included
	Now           time.Time
}

// Delegate makes the child mandate that is asked for, without a signature, or says why not.
//
// The caller is the parent's subject or administers the workspace; the parent is live, with all that it rests on; the
// child stays within it in resources, actions and time, and one active policy of the child's subject covers it, of
// several the first in the given order. The child may be delegated further one time less than its parent, or as often
// as that policy says if that is less. What goes beyond is refused, never cut down. The child of a mandate that is bound to
// a certificate is bound too: to one of its own subject where the request names it, else to its parent's.
func Delegate(g DelegateGrounds, r DelegateRequest) (Mandate, error) {
	scope, err := ParseScope(r.Resources, r.Actions)
	if err != nil {
		return Mandate{}, err
	}
	if err := checkValidity(r.ValiditySeconds); err != nil {
		return Mandate{}, err
	}
	if err := r.Confirmation.Validate(); err != nil {
		return Mandate{}, Within("confirmation", err)
	}
	if err := g.admit(r); err != nil {
		return Mandate{}, err
	}
	if err := g.requireLiveParent(); err != nil {
		return Mandate{}, err
	}
	if err := g.requireRoom(); err != nil {
		return Mandate{}, err
	}
	parent := g.Chain[0]
	from := wholeSeconds(g.Now)
	until := from.Add(time.Duration(r.ValiditySeconds) * time.Second)
	if err := requireWithin(parent, scope, from, until); err != nil {
		return Mandate{}, err
	}
	policy, ok := firstCovering(g.ChildPolicies, g.Child.ID, scope, r.ValiditySeconds)
	if !ok {
		return Mandate{}, noPolicyCovers(g.Child, scope, r.ValiditySeconds, g.ChildPolicies)
	}
	return Mandate{
		ID:              NewID[MandateID](),
		WorkspaceID:     parent.WorkspaceID,
		IssuerID:        parent.SubjectID,
		SubjectID:       g.Child.ID,
		ResourceScope:   scope.Resources,
		ActionScope:     scope.Actions,
		ValidFrom:       from,
		ValidUntil:      until,
		ParentID:        &parent.ID,
		DelegationDepth: min(parent.DelegationDepth-1, policy.DelegationDepth),
		Level:           parent.Level + 1,
		RequestedBy:     g.Caller.ID,
		Consent:         consent(g.Caller, parent.SubjectID),
		PolicyID:        policy.ID,
		PolicyVersion:   policy.Version,
		CreatedAt:       g.Now.UTC(),
		Confirmation:    cmp.Or(r.Confirmation, parent.Confirmation),
	}, nil
}

// admit checks who takes part.
func (g DelegateGrounds) admit(r DelegateRequest) error {
	if len(g.Chain) == 0 || r.ParentID == "" || g.Chain[0].ID != r.ParentID {
		return NotFound("mandate")
	}
	parent := g.Chain[0]
	if err := admitCaller(g.Caller, parent.WorkspaceID); err != nil {
		return err
	}
	if g.Caller.ID != parent.SubjectID && !g.Caller.Administers() {
		return Forbidden("a mandate is delegated by its subject or by an owner or admin of the workspace")
	}
	if r.ChildID == "" || g.Child.ID != r.ChildID || g.Child.WorkspaceID != parent.WorkspaceID {
		return Invalid("child_principal_id", "there is no such principal")
	}
	return refuseSuspended(g.Child)
}

// requireLiveParent refuses a parent that would not be found to hold now.
func (g DelegateGrounds) requireLiveParent() error {
	if reason, message := revocation(g.Chain); reason != "" {
		return Refused(reason, "%s", message)
	}
	known := func(id PrincipalID) (Principal, bool) { p, ok := g.Principals[id]; return p, ok }
	if id := inactive(known, g.Chain); id != "" {
		return Refused(ReasonSuspended, "the principal %s, which the parent rests on, is not active", id)
	}
	parent := g.Chain[0]
	if g.Now.Before(parent.ValidFrom) {
		return Refused(ReasonNotYetValid, "the parent is valid from %s on", parent.ValidFrom.UTC().Format(time.RFC3339))
	}
	if !parent.HoldsAt(g.Now) {
		return Refused(ReasonExpired, "the parent expired at %s", parent.ValidUntil.UTC().Format(time.RFC3339))
	}
	if problem := chainProblem(g.Chain); problem != "" {
		return Refused(ReasonChainInvalid, "the parent's chain does not hold: %s", problem)
	}
	return nil
}

// requireRoom checks what bounds the shape of the tree: depth, number of children, no principal twice in a chain.
func (g DelegateGrounds) requireRoom() error {
	parent := g.Chain[0]
	if parent.DelegationDepth < 1 || parent.Level >= maxDelegationDepth {
		return Refused(ReasonDepthExhausted, "the parent allows no further delegation")
	}
	inChain := slices.ContainsFunc(g.Chain, func(m Mandate) bool {
		return m.SubjectID == g.Child.ID || m.IssuerID == g.Child.ID
	})
	if inChain {
		return Refused(ReasonDelegationCycle, "%s is part of the parent's chain already", g.Child.describe())
	}
	if g.Children >= MaxChildren {
		return Refused(ReasonFanOutExceeded, "the parent has %d children, as many as a mandate may have", MaxChildren)
	}
	return nil
}

// requireWithin refuses a child that goes beyond its parent.
func requireWithin(parent Mandate, s Scope, from, until time.Time) error {
	if p := parent.Scope().uncovered(s.Resources); p != "" {
		return Refused(ReasonScopeExceedsParent, "the parent does not cover the resource %q", clip(string(p)))
	}
	for _, a := range s.Actions {
		if !parent.ActionScope.Contains(a) {
			return Refused(ReasonScopeExceedsParent, "the parent does not cover the action %s", a)
		}
	}
	if from.Before(parent.ValidFrom) || until.After(parent.ValidUntil) {
		left := int64(parent.ValidUntil.Sub(from) / time.Second)
		return Refused(ReasonTimeExceedsParent, "the parent holds for %d more seconds; ask for no more", left)
	}
	return nil
}

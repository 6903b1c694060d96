package authority

import (
	"fmt"
	"time"
)

// Registry knows the mandates and principals of one workspace, as of one revision.
type Registry interface {
	Mandate(MandateID) (Mandate, bool)
	Principal(PrincipalID) (Principal, bool)
}

// Inquiry asks whether a mandate covers an action on a resource, presented by a principal at an instant.
type Inquiry struct {
	Mandate   MandateID
	Presenter PrincipalID
	Resource  Resource
	Action    Action
	At        time.Time
	// Certificate is that which the presenter proved to hold; empty for none.
	Certificate Thumbprint
	// Unpresented judges the mandate as if its subject had presented it with the certificate that it is bound to.
	Unpresented bool
}

// Facts are the checks in their order. Each is true when it was made and held; the first that does not hold leaves all
// behind it false.
type Facts struct {
	Known            bool `json:"known"`             // the mandate exists in this workspace
	Presenter        bool `json:"presenter"`         // the presenter is its subject, with the certificate that it is bound to
	NotRevoked       bool `json:"not_revoked"`       // neither it nor an ancestor is revoked
	PrincipalsActive bool `json:"principals_active"` // every principal of the chain and the root's issuer
	WithinTime       bool `json:"within_time"`
	Action           bool `json:"action"`
	Resource         bool `json:"resource"`
	Chain            bool `json:"chain"` // each mandate of the chain stays within its parent
}

// Finding is what Validate found.
type Finding struct {
	Reason    Reason // empty when every fact holds
	Message   string // one sentence for the caller; empty when every fact holds
	Facts     Facts
	Chain     []Mandate // the mandate first, the root of its chain last; as far as it is known
	Presenter Principal // zero when the presenter is not the subject
}

// Holds reports whether every fact holds.
func (f Finding) Holds() bool { return f.Reason == "" && f.Facts == allHold }

var allHold = Facts{
	Known: true, Presenter: true, NotRevoked: true, PrincipalsActive: true,
	WithinTime: true, Action: true, Resource: true, Chain: true,
}

// Validate checks one use of a mandate. The first check that fails names the reason, in the order of the fields of
// Facts. A mandate that is unknown and one of another workspace are the same, since the registry knows neither.
func Validate(registry Registry, q Inquiry) Finding {
	f, m := stand(registry, q)
	if f.Reason != "" {
		return f
	}
	return f.judge(m, q)
}

// Live makes the checks of [Validate] that do not depend on what is asked for: all but those of the action and of the
// resource, which are left false. They hold when the finding has no reason. The inquiry's action and resource do not count.
func Live(registry Registry, q Inquiry) Finding {
	f, m := stand(registry, q)
	if f.Reason != "" {
		return f
	}
	if f = f.within(m, q.At); f.Reason != "" {
		return f
	}
	return f.linked()
}

// stand makes the checks of a mandate, its presenter and its chain that come before all others.
func stand(registry Registry, q Inquiry) (Finding, Mandate) {
	var f Finding
	m, known := registry.Mandate(q.Mandate)
	if !known || q.Mandate == "" || m.ID != q.Mandate {
		return f.fail(ReasonMandateNotFound, ReasonMandateNotFound.Message()), m
	}
	f.Facts.Known = true

	if q.Presenter == "" || q.Presenter != m.SubjectID {
		return f.fail(ReasonSubjectMismatch, ReasonSubjectMismatch.Message()), m
	}
	if !q.Unpresented && !m.Confirmation.MetBy(q.Certificate) {
		return f.fail(ReasonBindingMismatch, ReasonBindingMismatch.Message()), m
	}
	f.Presenter, _ = registry.Principal(q.Presenter)
	f.Facts.Presenter = true

	f.Chain = chainOf(registry, m)
	if reason, message := revocation(f.Chain); reason != "" {
		return f.fail(reason, message), m
	}
	f.Facts.NotRevoked = true

	if id := inactive(registry.Principal, f.Chain); id != "" {
		return f.fail(ReasonSuspended, fmt.Sprintf("The principal %s, which the mandate rests on, is not active.", id)), m
	}
	f.Facts.PrincipalsActive = true
	return f, m
}

// within checks that an instant lies in the mandate's window.
func (f Finding) within(m Mandate, at time.Time) Finding {
	if at.Before(m.ValidFrom) {
		return f.fail(ReasonNotYetValid, "The mandate is valid from "+m.ValidFrom.UTC().Format(time.RFC3339)+" on.")
	}
	if !at.Before(m.ValidUntil) {
		return f.fail(ReasonExpired, "The mandate expired at "+m.ValidUntil.UTC().Format(time.RFC3339)+".")
	}
	f.Facts.WithinTime = true
	return f
}

// linked checks that each mandate of the chain stays within its parent.
func (f Finding) linked() Finding {
	if problem := chainProblem(f.Chain); problem != "" {
		return f.fail(ReasonChainInvalid, "The chain of delegation does not hold: "+problem+".")
	}
	f.Facts.Chain = true
	return f
}

// judge makes the checks that need the mandates alone.
func (f Finding) judge(m Mandate, q Inquiry) Finding {
	if f = f.within(m, q.At); f.Reason != "" {
		return f
	}
	if _, err := ParseAction(string(q.Action)); err != nil || !m.ActionScope.Contains(q.Action) {
		return f.fail(ReasonActionNotInScope, fmt.Sprintf("The mandate does not cover the action %q.", clip(string(q.Action))))
	}
	f.Facts.Action = true

	if resourceProblem(string(q.Resource), false) != "" || !m.Scope().Matches(q.Resource) {
		return f.fail(ReasonNotInScope, fmt.Sprintf("The mandate does not cover the resource %q.", clip(string(q.Resource))))
	}
	f.Facts.Resource = true
	return f.linked()
}

func (f Finding) fail(reason Reason, message string) Finding {
	f.Reason, f.Message = reason, message
	return f
}

// chainOf follows a mandate up to its root. It stops short where a mandate is missing and where the chain is longer
// than any chain may be, as it is when it turns in a circle; what it returns then does not end in a root.
func chainOf(registry Registry, m Mandate) []Mandate {
	chain := make([]Mandate, 1, 1+min(max(m.Level, 0), maxDelegationDepth))
	chain[0] = m
	for m.ParentID != nil && len(chain) <= maxDelegationDepth {
		parent, known := registry.Mandate(*m.ParentID)
		if !known {
			break
		}
		chain = append(chain, parent)
		m = parent
	}
	return chain
}

// revocation says whether the mandate or an ancestor is revoked. A chain without its root cannot be shown to be live.
func revocation(chain []Mandate) (Reason, string) {
	for i := range chain {
		switch {
		case !chain[i].Revoked && chain[i].RevokedAt == nil:
		case i == 0:
			return ReasonMandateRevoked, "The mandate is revoked."
		default:
			return ReasonMandateRevoked, fmt.Sprintf("The mandate %s, which this one was cut from, is revoked.", chain[i].ID)
		}
	}
	if chain[len(chain)-1].ParentID != nil {
		return ReasonChainInvalid, "The chain of delegation does not hold: a mandate that it was cut from is missing."
	}
	return "", ""
}

// inactive finds a principal of the chain that is suspended, unknown or of another workspace: a subject, an issuer, or
// the root's issuer.
func inactive(principal func(PrincipalID) (Principal, bool), chain []Mandate) PrincipalID {
	active := func(m *Mandate, id PrincipalID) bool {
		p, known := principal(id)
		return known && p.ID == id && !p.Suspended && p.WorkspaceID == m.WorkspaceID
	}
	for i := range chain {
		m := &chain[i]
		if !active(m, m.SubjectID) {
			return orUnnamed(m.SubjectID)
		}
		root := i == len(chain)-1
		if (root || chain[i+1].SubjectID != m.IssuerID) && !active(m, m.IssuerID) {
			return orUnnamed(m.IssuerID)
		}
	}
	return ""
}

// orUnnamed keeps an empty id from passing for "none".
func orUnnamed(id PrincipalID) PrincipalID {
	if id == "" {
		return "(unnamed)"
	}
	return id
}

// chainProblem says why a chain, child first, does not hold; empty when it does.
func chainProblem(chain []Mandate) string {
	last := len(chain) - 1
	for i := range last {
		if problem := chain[i].linkProblem(chain[i+1]); problem != "" {
			return fmt.Sprintf("of %s: %s", chain[i].ID, problem)
		}
	}
	return chain[last].rootProblem()
}

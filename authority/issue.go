package authority

import (
	"fmt"
	"strings"
	"time"
)

// maxValidFromAhead bounds how far ahead a mandate may begin.
const maxValidFromAhead = 365 * 24 * time.Hour

// IssueRequest asks for a mandate.
type IssueRequest struct {
	IssuerID  PrincipalID `json:"issuer_id"`
	SubjectID PrincipalID `json:"subject_id"`
	Scope
	ValiditySeconds int64      `json:"validity_seconds"`
	ValidFrom       *time.Time `json:"valid_from"` // nil for now; whole seconds, never in the past
	// Confirmation binds the mandate to a client certificate; nil binds it to none.
	Confirmation *Confirmation `json:"confirmation"`
}

// IssueGrounds are what issuing is judged on, as of one transaction.
type IssueGrounds struct {
	Caller, Issuer, Subject Principal
	IssuerPolicies          []Policy
	SubjectPolicies         []Policy
	Now                     time.Time
}

// Issue makes the mandate that is asked for, without a signature, or says why not.
//
// Both principals are active; the caller is one of them or administers the workspace; one active policy of the subject
// covers the whole scope and validity; and the issuer consents, by being the caller or a grantor of that policy. A user
// may issue while it administers the workspace, an agent or service within an active policy of its own that covers the
// same. Of several policies that qualify, the first in the given order counts.
func Issue(g IssueGrounds, r IssueRequest) (Mandate, error) {
	scope, err := ParseScope(r.Resources, r.Actions)
	if err != nil {
		return Mandate{}, err
	}
	from, err := r.begin(g.Now)
	if err != nil {
		return Mandate{}, err
	}
	if err := r.Confirmation.Validate(); err != nil {
		return Mandate{}, Within("confirmation", err)
	}
	if err := g.admit(r); err != nil {
		return Mandate{}, err
	}
	policy, err := g.choosePolicy(scope, r.ValiditySeconds)
	if err != nil {
		return Mandate{}, err
	}
	if err := g.entitle(scope, r.ValiditySeconds); err != nil {
		return Mandate{}, err
	}
	return Mandate{
		ID:              NewID[MandateID](),
		WorkspaceID:     g.Subject.WorkspaceID,
		IssuerID:        g.Issuer.ID,
		SubjectID:       g.Subject.ID,
		ResourceScope:   scope.Resources,
		ActionScope:     scope.Actions,
		ValidFrom:       from,
		ValidUntil:      from.Add(time.Duration(r.ValiditySeconds) * time.Second),
		DelegationDepth: policy.DelegationDepth,
		RequestedBy:     g.Caller.ID,
		Consent:         consent(g.Caller, g.Issuer.ID),
		PolicyID:        policy.ID,
		PolicyVersion:   policy.Version,
		CreatedAt:       g.Now.UTC(),
		Confirmation:    r.Confirmation,
	}, nil
}

// begin is when the mandate starts to hold.
func (r IssueRequest) begin(now time.Time) (time.Time, error) {
	if err := checkValidity(r.ValiditySeconds); err != nil {
		return time.Time{}, err
	}
	start := wholeSeconds(now)
	if r.ValidFrom == nil {
		return start, nil
	}
	from := wholeSeconds(*r.ValidFrom)
	switch {
	case !from.Equal(*r.ValidFrom):
		return time.Time{}, Invalid("valid_from", "is not a whole second")
	case from.Before(start):
		return time.Time{}, Invalid("valid_from", "lies in the past; leave it out for now")
	case from.After(start.Add(maxValidFromAhead)):
		return time.Time{}, Invalid("valid_from", "lies more than 365 days ahead")
	}
	return from, nil
}

// admit checks who takes part.
func (g IssueGrounds) admit(r IssueRequest) error {
	if r.IssuerID == "" || g.Issuer.ID != r.IssuerID {
		return Invalid("issuer_id", "there is no such principal")
	}
	if r.SubjectID == "" || g.Subject.ID != r.SubjectID || g.Subject.WorkspaceID != g.Issuer.WorkspaceID {
		return Invalid("subject_id", "there is no such principal")
	}
	if err := admitCaller(g.Caller, g.Subject.WorkspaceID); err != nil {
		return err
	}
	if g.Caller.ID != g.Issuer.ID && g.Caller.ID != g.Subject.ID && !g.Caller.Administers() {
		return Forbidden("a mandate is asked for by its issuer, its subject or an owner or admin of the workspace")
	}
	return refuseSuspended(g.Issuer, g.Subject)
}

// choosePolicy finds the policy of the subject that the mandate is issued under.
func (g IssueGrounds) choosePolicy(s Scope, validitySeconds int64) (Policy, error) {
	covered := false
	for _, p := range g.SubjectPolicies {
		if p.PrincipalID != g.Subject.ID || !p.CoversIssue(s, validitySeconds) {
			continue
		}
		if g.Caller.ID == g.Issuer.ID || p.HasGrantor(g.Issuer.ID) {
			return p, nil
		}
		covered = true
	}
	if !covered {
		return Policy{}, noPolicyCovers(g.Subject, s, validitySeconds, g.SubjectPolicies)
	}
	return Policy{}, Refused(ReasonIssuerNotConsenting,
		"%s has not consented: let it ask for the mandate itself, or join the grantors of a policy of %s that covers this",
		g.Issuer.describe(), g.Subject.describe())
}

// entitle checks that the issuer may give what is asked for.
func (g IssueGrounds) entitle(s Scope, validitySeconds int64) error {
	if g.Issuer.Type == User {
		if g.Issuer.Administers() {
			return nil
		}
		return Refused(ReasonIssuerNotEntitled, "%s may not issue: among users only owners and admins of the workspace may", g.Issuer.describe())
	}
	if _, ok := firstCovering(g.IssuerPolicies, g.Issuer.ID, s, validitySeconds); ok {
		return nil
	}
	return Refused(ReasonIssuerNotEntitled, "%s may issue only what an active policy of its own covers; %s",
		g.Issuer.describe(), missingPolicy(g.Issuer, s, validitySeconds))
}

// firstCovering finds the first policy of the principal that covers the scope and the validity.
func firstCovering(policies []Policy, id PrincipalID, s Scope, validitySeconds int64) (Policy, bool) {
	for _, p := range policies {
		if p.PrincipalID == id && p.CoversIssue(s, validitySeconds) {
			return p, true
		}
	}
	return Policy{}, false
}

// noPolicyCovers names what is missing: a policy, or what the closest one lacks.
func noPolicyCovers(subject Principal, s Scope, validitySeconds int64, policies []Policy) *Error {
	var longest int64
	for _, p := range policies {
		if p.PrincipalID == subject.ID && p.Active && p.Scope().Covers(s) {
			longest = max(longest, p.MaxValiditySeconds)
		}
	}
	if longest > 0 {
		return Refused(ReasonNoPolicyCovers, "the policies of %s that cover this scope allow %d seconds, not %d; ask for less or raise max_validity_seconds",
			subject.describe(), longest, validitySeconds)
	}
	return Refused(ReasonNoPolicyCovers, "no active policy of %s covers this; %s", subject.describe(), missingPolicy(subject, s, validitySeconds))
}

// missingPolicy says which policy an owner would have to add.
func missingPolicy(p Principal, s Scope, validitySeconds int64) string {
	resources := make([]string, len(s.Resources))
	for i, r := range s.Resources {
		resources[i] = fmt.Sprintf("%q", string(r))
	}
	actions := make([]string, len(s.Actions))
	for i, a := range s.Actions {
		actions[i] = fmt.Sprintf("%q", string(a))
	}
	return fmt.Sprintf("an owner, an admin or a policy author can add a policy with principal_id %q, allowed_resources [%s], allowed_actions [%s] and max_validity_seconds of at least %d",
		string(p.ID), clip(strings.Join(resources, ", ")), strings.Join(actions, ", "), validitySeconds)
}

// admitCaller refuses whoever is not an active principal of the workspace.
func admitCaller(caller Principal, workspace WorkspaceID) error {
	if caller.ID == "" || caller.WorkspaceID != workspace || caller.Suspended {
		return Forbidden("the caller is not an active principal of the workspace")
	}
	return nil
}

func refuseSuspended(principals ...Principal) error {
	for _, p := range principals {
		if p.Suspended {
			return Refused(ReasonSuspended, "%s is suspended", p.describe())
		}
	}
	return nil
}

func checkValidity(seconds int64) error {
	if seconds < 1 || seconds > maxValiditySeconds {
		return Invalid("validity_seconds", "is 1 to %d", maxValiditySeconds)
	}
	return nil
}

func consent(caller Principal, issuer PrincipalID) Consent {
	if caller.ID == issuer {
		return ConsentExplicit
	}
	return ConsentStanding
}

func wholeSeconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

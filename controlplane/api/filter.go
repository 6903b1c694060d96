package api

import (
	"context"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

func principalFilter(q *query) controlplane.PrincipalFilter {
	return controlplane.PrincipalFilter{
		Type:      authority.PrincipalType(q.choice("principal_type", "agent", "user", "service")),
		Suspended: q.boolean("suspended"),
	}
}

func policyFilter(q *query) controlplane.PolicyFilter {
	return controlplane.PolicyFilter{
		PrincipalID: id(q, "principal_id", authority.ParseID[authority.PrincipalID]),
		Active:      q.boolean("active"),
	}
}

func mandateFilter(q *query) controlplane.MandateFilter {
	return controlplane.MandateFilter{
		IssuerID:  id(q, "issuer_id", authority.ParseID[authority.PrincipalID]),
		SubjectID: id(q, "subject_id", authority.ParseID[authority.PrincipalID]),
		ParentID:  id(q, "parent_mandate_id", authority.ParseID[authority.MandateID]),
		Revoked:   q.boolean("revoked"),
	}
}

func keyFilter(q *query) controlplane.KeyFilter {
	return controlplane.KeyFilter{
		Kind:        authority.KeyKind(q.choice("kind", "member", "agent", "service", "gateway")),
		PrincipalID: id(q, "principal_id", authority.ParseID[authority.PrincipalID]),
	}
}

func eventFilter(q *query) controlplane.EventFilter {
	f := controlplane.EventFilter{
		Type:        authority.EventType(q.choice("event_type", eventTypes()...)),
		PrincipalID: id(q, "principal_id", authority.ParseID[authority.PrincipalID]),
		MandateID:   id(q, "mandate_id", authority.ParseID[authority.MandateID]),
		DecisionID:  id(q, "decision_id", authority.ParseID[authority.DecisionID]),
		Resource:    id(q, "resource", authority.ParseResource),
	}
	if err := f.Days(q.text("start_date"), q.text("end_date")); err != nil {
		q.refuse(err)
	}
	return f
}

func eventTypes() []string {
	var all []string
	for _, t := range authority.EventTypes() {
		all = append(all, string(t))
	}
	return all
}

// nothing is the filter of a collection that has none.
func nothing(*query) struct{} { return struct{}{} }

func unfiltered[T any](method func(context.Context, controlplane.Caller, controlplane.Page) (controlplane.List[T], error)) func(context.Context, controlplane.Caller, struct{}, controlplane.Page) (controlplane.List[T], error) {
	return func(ctx context.Context, c controlplane.Caller, _ struct{}, p controlplane.Page) (controlplane.List[T], error) {
		return method(ctx, c, p)
	}
}

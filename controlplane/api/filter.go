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
		PrincipalID: id[authority.PrincipalID](q, "principal_id"),
		Active:      q.boolean("active"),
	}
}

func mandateFilter(q *query) controlplane.MandateFilter {
	return controlplane.MandateFilter{
		IssuerID:  id[authority.PrincipalID](q, "issuer_id"),
		SubjectID: id[authority.PrincipalID](q, "subject_id"),
		ParentID:  id[authority.MandateID](q, "parent_mandate_id"),
		Revoked:   q.boolean("revoked"),
	}
}

func keyFilter(q *query) controlplane.KeyFilter {
	return controlplane.KeyFilter{
		Kind:        authority.KeyKind(q.choice("kind", "owner", "agent", "gateway")),
		PrincipalID: id[authority.PrincipalID](q, "principal_id"),
	}
}

func eventFilter(q *query) controlplane.EventFilter {
	f := controlplane.EventFilter{
		Type:        authority.EventType(q.text("event_type")),
		PrincipalID: id[authority.PrincipalID](q, "principal_id"),
		MandateID:   id[authority.MandateID](q, "mandate_id"),
		DecisionID:  id[authority.DecisionID](q, "decision_id"),
		Resource:    authority.Resource(q.text("resource")),
	}
	if err := f.Days(q.text("start_date"), q.text("end_date")); err != nil {
		q.refuse(err)
	}
	return f
}

// nothing is the filter of a collection that has none.
func nothing(*query) struct{} { return struct{}{} }

func unfiltered[T any](method func(context.Context, controlplane.Caller, controlplane.Page) (controlplane.List[T], error)) func(context.Context, controlplane.Caller, struct{}, controlplane.Page) (controlplane.List[T], error) {
	return func(ctx context.Context, c controlplane.Caller, _ struct{}, p controlplane.Page) (controlplane.List[T], error) {
		return method(ctx, c, p)
	}
}

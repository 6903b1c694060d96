package api

import (
	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

func principalFilter(q *query) controlplane.PrincipalFilter {
	return controlplane.PrincipalFilter{
		NamePrefix: q.text("q"),
		Type:       authority.PrincipalType(q.choice("principal_type", "agent", "user", "service")),
		Suspended:  q.boolean("suspended"),
		Role:       authority.Role(q.choice("role", words(authority.Roles())...)),
		Created:    q.created(),
	}
}

func policyFilter(q *query) controlplane.PolicyFilter {
	return controlplane.PolicyFilter{
		PrincipalID: id(q, "principal_id", authority.ParseID[authority.PrincipalID]),
		Active:      q.boolean("active"),
		Created:     q.created(),
	}
}

func mandateFilter(q *query) controlplane.MandateFilter {
	return controlplane.MandateFilter{
		PrincipalID: id(q, "principal_id", authority.ParseID[authority.PrincipalID]),
		IssuerID:    id(q, "issuer_id", authority.ParseID[authority.PrincipalID]),
		SubjectID:   id(q, "subject_id", authority.ParseID[authority.PrincipalID]),
		ParentID:    id(q, "parent_mandate_id", authority.ParseID[authority.MandateID]),
		Revoked:     q.boolean("revoked"),
		State:       controlplane.MandateState(q.choice("state", words(controlplane.MandateStates())...)),
		Created:     q.created(),
	}
}

func keyFilter(q *query) controlplane.KeyFilter {
	return controlplane.KeyFilter{
		NamePrefix:  q.text("q"),
		Kind:        authority.KeyKind(q.choice("kind", words(authority.KeyKinds())...)),
		PrincipalID: id(q, "principal_id", authority.ParseID[authority.PrincipalID]),
		State:       controlplane.KeyState(q.choice("state", words(controlplane.KeyStates())...)),
		Created:     q.created(),
	}
}

func destinationFilter(q *query) controlplane.DestinationFilter {
	return controlplane.DestinationFilter{NamePrefix: q.text("q"), Host: q.text("host"), Created: q.created()}
}

func regoFilter(q *query) controlplane.RegoFilter {
	return controlplane.RegoFilter{Active: q.boolean("active"), Created: q.created()}
}

func memberFilter(q *query) controlplane.MemberFilter {
	return controlplane.MemberFilter{
		NamePrefix: q.text("q"),
		Role:       authority.Role(q.choice("role", words(authority.Roles())...)),
		Suspended:  q.boolean("suspended"),
		Created:    q.created(),
	}
}

func eventFilter(q *query) controlplane.EventFilter {
	f := followFilter(q)
	if err := f.Days(q.text("start_date"), q.text("end_date")); err != nil {
		q.refuse(err)
	}
	return f
}

// followFilter is that of events that are yet to come, for which no day is asked.
func followFilter(q *query) controlplane.EventFilter {
	return controlplane.EventFilter{
		Type:        authority.EventType(q.choice("event_type", words(authority.EventTypes())...)),
		PrincipalID: id(q, "principal_id", authority.ParseID[authority.PrincipalID]),
		ActorID:     id(q, "actor_id", authority.ParseID[authority.PrincipalID]),
		MandateID:   id(q, "mandate_id", authority.ParseID[authority.MandateID]),
		DecisionID:  id(q, "decision_id", authority.ParseID[authority.DecisionID]),
		Resource:    id(q, "resource", authority.ParseResource),
	}
}

// words are the spellings of a parameter's values.
func words[T ~string](list []T) []string {
	all := make([]string, len(list))
	for i, word := range list {
		all[i] = string(word)
	}
	return all
}

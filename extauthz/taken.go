package extauthz

import (
	"iter"
	"maps"

	"github.com/caracal-gateway/caracal/authority"
)

// Revoked are the mandates that the state knows to be revoked.
func (s *Snapshot) Revoked() iter.Seq[authority.MandateID] {
	return func(yield func(authority.MandateID) bool) {
		for _, part := range s.mandates.shards {
			for i := range part.records {
				if c := &part.records[i]; c.end != 0 && !yield(c.id.id()) {
					return
				}
			}
		}
		for id, odd := range s.mandates.odd.all() {
			if odd.value.Revoked && !yield(id) {
				return
			}
		}
	}
}

// Suspended are the principals that are.
func (s *Snapshot) Suspended() iter.Seq[authority.PrincipalID] {
	return func(yield func(authority.PrincipalID) bool) {
		for id, p := range s.principals.all() {
			if p.value.Suspended && !yield(id) {
				return
			}
		}
	}
}

// AgentKeys are the API keys of agents and services that are good.
func (s *Snapshot) AgentKeys() iter.Seq[authority.KeyID] {
	return maps.Keys(maps.Collect(s.agentKeys.all()))
}

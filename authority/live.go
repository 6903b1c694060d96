package authority

import "time"

// RequireLive is the refusal of a mandate that holds for no request of its subject's now, whatever is asked: it is revoked,
// rests on a principal that is not active, is not in its time, or its chain does not hold. The mandate is the registry's own.
func RequireLive(registry Registry, m Mandate, at time.Time) error {
	chain := chainOf(registry, m)
	if reason, message := revocation(chain); reason != "" {
		return Refused(reason, "%s", message)
	}
	if id := inactive(registry.Principal, chain); id != "" {
		return Refused(ReasonSuspended, "the principal %s, which the mandate rests on, is not active", id)
	}
	if at.Before(m.ValidFrom) {
		return Refused(ReasonNotYetValid, "the mandate is valid from %s on", m.ValidFrom.UTC().Format(time.RFC3339))
	}
	if !m.HoldsAt(at) {
		return Refused(ReasonExpired, "the mandate expired at %s", m.ValidUntil.UTC().Format(time.RFC3339))
	}
	if problem := chainProblem(chain); problem != "" {
		return Refused(ReasonChainInvalid, "the chain of delegation does not hold: %s", problem)
	}
	return nil
}

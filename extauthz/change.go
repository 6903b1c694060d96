package extauthz

import "github.com/caracal-gateway/caracal/authority"

// Change says what a state may decide differently than the one that it takes the place of.
type Change struct {
	// All says that anything may be decided differently: the Rego policy, the catalog, the keys or the workspace changed.
	All bool
	// Mandates and Principals are those that changed. What rests on one of them may be decided differently: the mandate
	// itself, all that was delegated from it, and every chain that the principal is part of.
	Mandates   []authority.MandateID
	Principals []authority.PrincipalID
}

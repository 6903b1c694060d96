// Package lease holds the rules by which a revocation is over when it says so: how long a gateway may decide without
// hearing from the control plane, what a replica of the control plane may conclude from its silence, and what a decision
// passes last.
//
// Everything here is a pure value or function of what clocks and the database said. The control plane, the gateways, the
// model that is explored exhaustively and the simulation all run these rules and no others.
package lease

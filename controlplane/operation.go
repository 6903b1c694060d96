package controlplane

import "github.com/caracal-gateway/caracal/authority"

// operation is one thing that a caller may ask for, and who may.
type operation struct {
	name  string
	right right
	// quiet operations write events but change nothing that a gateway enforces: they take no revision.
	quiet bool
}

// right is what a kind of caller has.
type right int

const (
	// setUp is for the deployment's setup key.
	setUp right = iota + 1
	// administer is for an owner.
	administer
	// takePart is for an owner, and for an agent or a service in its own affairs.
	takePart
	// exchange is for the API key of an agent or a service.
	exchange
	// observe is for an owner and for a gateway, which may list its workspace.
	observe
	// enforce is for a gateway.
	enforce
)

func (op operation) quietly() operation {
	op.quiet = true
	return op
}

// may reports as an error why the caller may not do this at all.
func (c Caller) may(op operation) error {
	var allowed bool
	switch op.right {
	case setUp:
		allowed = c.kind == KeySetup
	case administer:
		allowed = c.owns()
	case takePart:
		allowed = c.owns() || c.isAgent()
	case exchange:
		allowed = c.isAgent() && c.key != ""
	case observe:
		allowed = c.owns() || c.isGateway()
	case enforce:
		allowed = c.isGateway()
	}
	if c.kind == "" {
		return errUnauthenticated
	}
	if c.principal.ID != "" {
		if err := c.active(); err != nil {
			return err
		}
	}
	if !allowed {
		return authority.Forbidden("a key of the kind %s may not do this (%s)", c.kind, op.name)
	}
	return nil
}

// owns reports whether the caller may do everything in its workspace.
func (c Caller) owns() bool { return c.kind == authority.KeyOwner && c.principal.Administers() }

// isAgent reports whether the caller acts for itself and nobody else.
func (c Caller) isAgent() bool {
	return c.kind == authority.KeyAgent && (c.principal.Type == authority.Agent || c.principal.Type == authority.Service)
}

func (c Caller) isGateway() bool { return c.kind == authority.KeyGateway && c.key != "" }

// active refuses a suspended principal.
func (c Caller) active() error {
	if c.principal.Suspended {
		return &authority.Error{
			Code: authority.CodeForbidden, Reason: authority.ReasonSuspended, Message: "the principal is suspended",
		}
	}
	return nil
}

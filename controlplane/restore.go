package controlplane

import "github.com/caracal-gateway/caracal/authority"

// errRestored is the answer to everything while the database is known to be behind.
var errRestored = &authority.Error{
	Code: authority.CodeRestored,
	Message: "the database was restored from a backup and lacks what gateways enforce: an operator has to accept that with " +
		"`caracal controlplane accept-restore`",
}

package extauthz

import (
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/rego"
)

// mode is what differs between the kinds of requests that are to be carried somewhere. The rest of the way is the same for
// all of them.
type mode struct {
	// policy is how policies call it.
	policy rego.Mode
	// credential reads what the caller shows of itself.
	credential func(*Snapshot, *request, time.Time) (credential, error)
	// needed is what a caller is told that shows nothing.
	needed string
	// keys says that agents' API keys are taken, not tokens only.
	keys bool
	// target reads where the request is to go.
	target func(*Service, *judgement) (authority.Target, error)
	// selects says that a mandate is chosen where the caller names none: unmodified clients know of no mandates.
	selects bool
	// keepsAuthorization says that the caller's Authorization is for the upstream, unless it is what identifies the caller here.
	keepsAuthorization bool
}

// modeOf is how requests to an endpoint are judged. What is no endpoint has no way of being identified.
func modeOf(asked endpoint) mode {
	switch asked {
	case endpointProxy:
		return mode{policy: rego.ModeGateway, credential: bearerCredential, needed: neededToken, target: (*Service).namedTarget}
	case endpointReverse:
		return mode{
			policy: rego.ModeReverse, credential: reverseCredential, needed: neededReverse, keys: true,
			target: (*Service).reverseTarget, selects: true, keepsAuthorization: true,
		}
	case endpointForward:
		return mode{
			policy: rego.ModeForward, credential: proxyCredential, needed: neededProxy, keys: true,
			target: (*Service).forwardTarget, selects: true, keepsAuthorization: true,
		}
	case endpointConnect:
		return mode{policy: rego.ModeConnect, credential: proxyCredential, needed: neededProxy, keys: true, selects: true}
	case endpointInside:
		return mode{
			policy: rego.ModeInside, credential: proxyCredential, needed: neededProxy, keys: true,
			target: (*Service).insideTarget, selects: true, keepsAuthorization: true,
		}
	case endpointForeign:
		return mode{
			policy: rego.ModeForeign, credential: foreignCredential, needed: neededForeign,
			target: (*Service).foreignTarget, selects: true, keepsAuthorization: true,
		}
	default:
		return mode{credential: func(*Snapshot, *request, time.Time) (credential, error) { return credential{}, errNotIdentified() }}
	}
}

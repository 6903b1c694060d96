package extauthz

import (
	"context"
	"errors"
	"fmt"

	"github.com/caracal-gateway/caracal/authority"
)

// Denial is why a request goes no further. It is the only error that a caller of the gateway is told.
type Denial struct {
	Reason  authority.Reason
	Message string // one sentence for the caller
	Code    string // the code that the workspace's Rego policy gave, with policy_denied and approval_required
}

func (d *Denial) Error() string { return string(d.Reason) + ": " + d.Message }

func deny(reason authority.Reason, format string, args ...any) *Denial {
	return &Denial{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// because is a denial in the default words of its reason.
func because(reason authority.Reason) *Denial {
	return &Denial{Reason: reason, Message: reason.Message()}
}

// denialOf names the denial that an error is. Errors of the domain carry their reason; running out of time has one of
// its own; every other error is internal, and told without detail.
func denialOf(err error) *Denial {
	var denial *Denial
	if errors.As(err, &denial) {
		return denial
	}
	var refused *authority.Error
	if errors.As(err, &refused) && refused.Reason != "" {
		return &Denial{Reason: refused.Reason, Message: refused.Message}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return deny(authority.ReasonNoDecision, "The decision took too long.")
	}
	return because(authority.ReasonInternal)
}

package api

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/replica"
)

const (
	// badCredentials is how often an address, and who claims to be one key, may present what is no valid credential.
	badCredentials = 10 // at once, and a minute
	// DefaultRequestsPerSecond is how many requests a second a caller may send over time, unless told otherwise.
	DefaultRequestsPerSecond = 100
	// MaxRequestsPerSecond is the most that can be allowed.
	MaxRequestsPerSecond = 10_000
	// A caller may send ten seconds' worth at once, and a workspace four times as much as one caller.
	burstSeconds   = 10
	workspaceShare = 4
	// ipv6Subscriber is the part of an IPv6 address that stands for one subscriber.
	ipv6Subscriber = 64
)

// limits bound how often somebody may ask. A valid credential is never refused on account of bad ones: a gateway brings
// the requests of many agents from one address.
type limits struct {
	address, claimed  *replica.Limit // of bad credentials, by where they come from and whom they claim to be
	caller, workspace *replica.Limit // of requests
}

func newLimits(r *replica.Replica, perSecond int) (*limits, error) {
	if perSecond < 1 || perSecond > MaxRequestsPerSecond {
		return nil, fmt.Errorf("requests per second: from 1 to %d", MaxRequestsPerSecond)
	}
	var l limits
	for _, limit := range []struct {
		place **replica.Limit
		name  string
		rate  replica.Rate
	}{
		{&l.address, "bad-credentials-of-address", replica.Rate{Burst: badCredentials, PerMinute: badCredentials}},
		{&l.claimed, "bad-credentials-of-key", replica.Rate{Burst: badCredentials, PerMinute: badCredentials}},
		{&l.caller, "requests-of-caller", replica.Rate{Burst: burstSeconds * perSecond, PerMinute: 60 * perSecond}},
		{&l.workspace, "requests-of-workspace", replica.Rate{Burst: workspaceShare * burstSeconds * perSecond, PerMinute: workspaceShare * 60 * perSecond}},
	} {
		made, err := r.Limit(limit.name, limit.rate)
		if err != nil {
			return nil, err
		}
		*limit.place = made
	}
	return &l, nil
}

// limitedError is a refusal that waiting mends.
type limitedError struct {
	told  *authority.Error
	after time.Duration
}

func (e *limitedError) Error() string { return e.told.Error() }

func (e *limitedError) Unwrap() error { return e.told }

// seconds is the wait as Retry-After has it.
func (e *limitedError) seconds() int { return max(1, int(math.Ceil(e.after.Seconds()))) }

func limited(after time.Duration, message string) error {
	if after == 0 {
		return nil
	}
	return &limitedError{&authority.Error{Code: authority.CodeLimited, Message: message}, after}
}

// failed counts a bad credential, and reports as an error that there were too many.
func (l *limits) failed(ctx context.Context, from netip.Addr, credential string) error {
	wait := l.address.Take(ctx, subscriber(from))
	if key := controlplane.ClaimedKey(credential); key != "" {
		wait = max(wait, l.claimed.Take(ctx, string(key)))
	}
	return limited(wait, "too many bad credentials: wait as long as Retry-After says")
}

// admit counts a request, and reports as an error that there were too many.
func (l *limits) admit(ctx context.Context, c controlplane.Caller) error {
	if wait := l.caller.Take(ctx, callerName(c)); wait > 0 {
		return limited(wait, "too many requests of this caller: wait as long as Retry-After says")
	}
	if c.Workspace() == "" {
		return nil
	}
	return limited(l.workspace.Take(ctx, string(c.Workspace())), "too many requests in this workspace: wait as long as Retry-After says")
}

func subscriber(from netip.Addr) string {
	from = from.Unmap().WithZone("")
	if from.Is6() {
		if network, err := from.Prefix(ipv6Subscriber); err == nil {
			return network.String()
		}
	}
	return from.String()
}

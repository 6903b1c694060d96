package client

import (
	"context"
	"errors"
	"time"
)

const (
	settleTimeout = 10 * time.Second
	settlePause   = 50 * time.Millisecond
)

// Settle waits until every connected gateway of the workspace enforces what the workspace is now, for at most ten
// seconds. It answers how many gateways do, and how many are connected; a gateway that is not connected is not waited
// for.
func (c *Client) Settle(ctx context.Context) (enforcing, connected int, err error) {
	all, err := c.Workspaces(ctx)
	if err != nil {
		return 0, 0, err
	}
	var revision uint64
	for _, w := range all {
		if c.workspace == "" || w.Slug == c.workspace {
			revision = w.Revision
		}
	}
	deadline := time.Now().Add(settleTimeout)
	for {
		gateways, err := c.Gateways(ctx)
		if err != nil {
			return 0, 0, err
		}
		enforcing, connected = 0, 0
		for _, g := range gateways {
			if !g.Connected {
				continue
			}
			connected++
			if g.Revision >= revision {
				enforcing++
			}
		}
		if enforcing == connected || time.Now().After(deadline) {
			return enforcing, connected, nil
		}
		if err := pause(ctx, settlePause); err != nil {
			return enforcing, connected, err
		}
	}
}

// decisionTimeout is how long a gateway may take to ship the record of a decision, with some to spare.
const decisionTimeout = 5 * time.Second

// absent reports whether the control plane does not know what was asked for.
func absent(err error) bool {
	var refusal *Error
	return errors.As(err, &refusal) && refusal.Code == "not_found"
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

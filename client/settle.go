package client

import (
	"context"
	"errors"
	"time"
)

const settlePause = 50 * time.Millisecond

// wrote remembers the revision that holds a change of this client's.
func (c *Client) wrote(revision uint64) {
	for {
		before := c.written.Load()
		if revision <= before || c.written.CompareAndSwap(before, revision) {
			return
		}
	}
}

// Settle waits until every connected gateway of the workspace enforces all that this client has changed, for as long as it
// is told. It answers how many gateways do, and how many are connected; a gateway that is not connected is not waited for.
func (c *Client) Settle(ctx context.Context, wait time.Duration) (enforcing, connected int, err error) {
	revision := c.written.Load()
	if revision == 0 {
		return 0, 0, nil
	}
	deadline := time.Now().Add(wait)
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

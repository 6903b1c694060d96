package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// watchEvery is how often a list that is watched is read again.
const watchEvery = time.Second

// gatewayVerbs are what people ask about gateways; `caracal gateway` itself runs one.
func (p *program) gatewayVerbs() []*cobra.Command {
	return []*cobra.Command{
		connected(p.gatewayList()),
		connected(showing(p, "show GATEWAY", "Show one gateway", gatewayKind(), (*client.Client).Gateway)),
		connected(p.gatewayRevoke()), connected(p.gatewayForget()),
	}
}

func gatewayKind() kind {
	return kind{"gateway", "gtw_", candidates(unfiltered((*client.Client).Gateways), func(v client.Gateway) candidate {
		return candidate{string(v.ID), v.Instance, v.State}
	})}
}

func (p *program) gatewayList() *cobra.Command {
	var watch bool
	c := p.calling("list", "List the gateways that may decide or were heard of within a day, and what they enforce", cobra.NoArgs,
		func(ctx context.Context, c *call) error {
			if watch {
				if err := c.watchGateways(ctx); !errors.Is(err, context.Canceled) {
					return err
				}
				return nil // Ctrl-C is how one stops looking
			}
			all, err := c.Gateways(ctx)
			if err != nil {
				return err
			}
			return c.gateways(all)
		})
	c.Flags().BoolVar(&watch, "watch", false, "go on until Ctrl-C: the list again and again on a terminal, a line for each change otherwise")
	return c
}

// gatewayRow is a gateway for tables: with a word of its lease and of its Envoy, and its decisions to a tenth.
type gatewayRow struct {
	client.Gateway
	Ends      string `json:"lease_ends_at"` // a time, or "over"
	Envoy     string `json:"envoy"`
	Decisions string `json:"decisions"`
}

func row(g client.Gateway) gatewayRow {
	r := gatewayRow{Gateway: g, Envoy: "not yet", Decisions: strconv.FormatFloat(g.DecisionsPerSecond, 'f', 1, 64)}
	switch {
	case g.Lease == nil:
	case g.Lease.OverAt != nil:
		r.Ends = "over"
	default:
		r.Ends = g.Lease.EndsAt.Format(time.RFC3339Nano)
	}
	switch {
	case g.EnvoyRefusal != "":
		r.Envoy = "refuses: " + g.EnvoyRefusal
	case g.EnvoyCurrent:
		r.Envoy = "current"
	case g.EnvoyRevision > 0:
		r.Envoy = fmt.Sprintf("at revision %d", g.EnvoyRevision)
	}
	return r
}

// gateways prints a list of gateways.
func (o *output) gateways(all []client.Gateway) error {
	if o.format != formatTable {
		return o.encode(all)
	}
	rows := make([]gatewayRow, len(all))
	for i, g := range all {
		rows[i] = row(g)
	}
	return things(o, rows, "gateway_id", "instance", "version", "state", "REVISION=acknowledged_revision", "LAG=lag_seconds",
		"LEASE ENDS=lease_ends_at", "envoy", "DECISIONS/S=decisions", "WATCHES=live_watches", "seen_at")
}

// watchGateways prints the list again and again on a terminal, and otherwise each gateway when something about it changes
// that is more than a figure. It goes on while the control plane is away.
func (c *call) watchGateways(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	known := map[authority.GatewayID]string{}
	for away := false; ; {
		all, err := c.Gateways(ctx)
		switch {
		case err == nil:
			away = false
			if err := c.shown(all, known); err != nil {
				return err
			}
		case ctx.Err() != nil || !passes(err):
			return err
		case !away:
			away = true
			fmt.Fprintf(c.stderr, "the control plane does not answer; the list goes on when it does: %v\n", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// passes reports whether asking again later may help.
func passes(err error) bool {
	var network *url.Error
	var refusal *client.Error
	return errors.As(err, &network) || errors.As(err, &refusal) && (refusal.Status == http.StatusTooManyRequests || refusal.Status >= http.StatusInternalServerError)
}

const clearScreen = "\x1b[H\x1b[2J"

// shown prints what a look found. known is what is remembered of each gateway from one look to the next.
func (c *call) shown(all []client.Gateway, known map[authority.GatewayID]string) error {
	if c.format == formatTable && onTerminal(c.stdout) {
		if _, err := fmt.Fprint(c.w, clearScreen); err != nil {
			return err
		}
		return c.gateways(all)
	}
	for _, g := range all {
		r := row(g)
		now := fmt.Sprint(g.State, g.Connected, g.Revision, r.Envoy, g.Version)
		if known[g.ID] == now {
			continue
		}
		known[g.ID] = now
		if c.format != formatTable {
			if err := c.encode(g); err != nil {
				return err
			}
			continue
		}
		_, err := fmt.Fprintf(c.w, "%s  %s  %s  %s  revision %d  Envoy %s\n", c.now().UTC().Format(time.RFC3339),
			g.ID, printable(g.Instance), g.State, g.Revision, printable(r.Envoy))
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *program) gatewayRevoke() *cobra.Command {
	var wait time.Duration
	c := p.calling("revoke GATEWAY", "Revoke one gateway process: it gets no lease any more; its key enrols others as before", cobra.ExactArgs(1),
		func(ctx context.Context, c *call) error {
			id, err := referred[authority.GatewayID](ctx, c, c.args[0], gatewayKind())
			if err != nil {
				return err
			}
			if err := c.confirm(ctx, "Revoke the gateway "+string(id)); err != nil {
				return err
			}
			revoked, err := c.RevokeGateway(ctx, id, firstLook(wait))
			if err != nil {
				return err
			}
			return c.followed(ctx, revoked.Receipt, wait-firstLook(wait), "it is revoked")
		})
	waitFlag(c, &wait)
	c.Flags().Bool("yes", false, "do not ask")
	return p.completed(c, gatewayKind())
}

func (p *program) gatewayForget() *cobra.Command {
	var reason string
	c := p.calling("forget GATEWAY", "Declare a gateway process dead, so that no revocation waits for it; you answer for that", cobra.ExactArgs(1),
		func(ctx context.Context, c *call) error {
			id, err := referred[authority.GatewayID](ctx, c, c.args[0], gatewayKind())
			if err != nil {
				return err
			}
			if err := c.confirm(ctx, "Declare the gateway "+string(id)+" dead; if it lives, it may permit what is revoked until its lease is over"); err != nil {
				return err
			}
			forgotten, err := c.ForgetGateway(ctx, id, reason)
			if err != nil {
				return err
			}
			return c.thing(forgotten)
		})
	c.Flags().StringVar(&reason, "reason", "", "how you know that the process has ended; it is recorded")
	c.Flags().Bool("yes", false, "do not ask")
	return p.completed(must(c, "reason"), gatewayKind())
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/client"
)

// gatewayState is a gateway with a word for how it is.
type gatewayState struct {
	client.Gateway
	State string `json:"state"`
}

// gatewayList is what people ask about gateways; `caracal gateway` itself runs one.
func (p *program) gatewayList() *cobra.Command {
	return connected(p.calling("list", "List the gateways that were heard of within a day, and what they enforce", cobra.NoArgs,
		func(ctx context.Context, c *call) error {
			all, err := c.Gateways(ctx)
			if err != nil {
				return err
			}
			states := make([]gatewayState, len(all))
			for i, g := range all {
				states[i] = gatewayState{g, stateOfGateway(g)}
			}
			return things(c.output, states, gatewayColumns()...)
		}))
}

func stateOfGateway(g client.Gateway) string {
	switch {
	case g.LeftAt != nil:
		return "left"
	case !g.Connected:
		return "away"
	case g.EnvoyRefusal != "":
		return "degraded"
	}
	return "connected"
}

func gatewayColumns() []string {
	return []string{"gateway_id", "instance", "version", "state", "REVISION=acknowledged_revision", "seen_at", "ENVOY=envoy_refusal"}
}

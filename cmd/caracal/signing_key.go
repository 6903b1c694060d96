package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/client"
)

func (p *program) signingKey() *cobra.Command {
	list := p.calling("list", "List the keys that the workspace itself signs with, the newest first", cobra.NoArgs, func(ctx context.Context, c *call) error {
		all, err := c.SigningKeys(ctx)
		if err != nil {
			return err
		}
		return things(c.output, all, signingKeyColumns()...)
	})
	var lead time.Duration
	rotate := p.changing("rotate", "Publish new signing keys, which sign once every gateway knows them", cobra.NoArgs, func(ctx context.Context, c *call) error {
		all, err := c.RotateSigningKeys(ctx, lead)
		if err != nil {
			return err
		}
		return c.settled(ctx, things(c.output, all, signingKeyColumns()...))
	})
	spanFlag(rotate, &lead, "lead", 0, "for how long gateways know the keys before these sign, "+seconds+"; 10m unless told")
	export := p.calling("export", "Print the workspace's public keys, signed by its root, for verifying offline what it signs", cobra.NoArgs, func(ctx context.Context, c *call) error {
		set, err := c.KeySet(ctx)
		if err != nil {
			return err
		}
		return c.encode(set)
	})
	return noun("signing-key", "The keys that the workspace itself signs with", list,
		showing(p, "get KEY", "Show one signing key, without its private half", signingKeyKind(), (*client.Client).SigningKey), rotate, export,
		removing(p, "revoke KEY", "Take a signing key that may have leaked out of use, and with it all that it signed", signingKeyKind(), (*client.Client).RevokeSigningKey))
}

func signingKeyColumns() []string {
	return []string{"signing_key_id", "purpose", "state", "SIGNS FROM=not_before", "RETIRES=retire_at", "REVOKED=revoked_at"}
}

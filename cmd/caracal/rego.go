package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) rego() *cobra.Command {
	list := listing(p, "List the versions of the Rego policy, newest first", nil, (*client.Client).RegoVersions,
		"rego_version_id", "number", "active", "message", "created_at")
	activate := func(c *client.Client, ctx context.Context, id authority.RegoVersionID) (authority.RegoVersion, error) {
		v, err := c.ActivateRego(ctx, id)
		return brief(v), err
	}
	return noun("rego", "The workspace's Rego policy", list,
		showing(p, "get VERSION", "Show one version with its texts", regoKind(), (*client.Client).RegoVersion), p.regoPush(),
		doing(p, "activate VERSION", "Make a version the one that every decision evaluates", regoKind(), activate))
}

func (p *program) regoPush() *cobra.Command {
	push := client.RegoPush{Modules: map[string]string{}}
	var data string
	c := p.changing("push FILE…", "Compile, test and store a version of the Rego policy; *_test.rego are its tests", cobra.MinimumNArgs(1),
		func(ctx context.Context, c *call) error {
			for _, name := range c.args {
				text, err := p.readFile(name)
				if err != nil {
					return err
				}
				module := filepath.ToSlash(filepath.Base(name))
				if _, twice := push.Modules[module]; twice {
					return &usageError{fmt.Sprintf("two files are called %s", module)}
				}
				push.Modules[module] = string(text)
			}
			if err := p.readThing(data, &push.Data); err != nil {
				return err
			}
			v, err := c.PushRego(ctx, push)
			if err != nil {
				return err
			}
			return c.enforced(ctx, brief(v))
		})
	c.Aliases = []string{"create"}
	c.Flags().BoolVar(&push.Activate, "activate", false, "make it the active version at once")
	c.Flags().StringVarP(&push.Message, "message", "m", "", "what the version is about")
	c.Flags().StringVar(&data, "data", "", "YAML or JSON file of the policy's own documents")
	return c
}

// brief leaves out the texts, which whoever pushed them has.
func brief(v authority.RegoVersion) authority.RegoVersion {
	v.Modules, v.Data = nil, nil
	return v
}

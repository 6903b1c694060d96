package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) rego() *cobra.Command {
	var limit int
	list := p.calling("list", "List the versions of the Rego policy, newest first", cobra.NoArgs,
		func(ctx context.Context, c *client.Client, o *output, _ []string) error {
			all, err := c.RegoVersions(ctx, limit)
			if err != nil {
				return err
			}
			return things(o, all, "rego_version_id", "number", "active", "message", "created_at")
		})
	limited(list, &limit)
	activate := p.calling("activate VERSION", "Make a version the one that every decision evaluates", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			v, err := c.ActivateRego(ctx, authority.RegoVersionID(args[0]))
			if err != nil {
				return err
			}
			return p.enforced(ctx, c, o, brief(v))
		})
	return noun("rego", "The workspace's Rego policy", p.regoPush(), list, activate)
}

func (p *program) regoPush() *cobra.Command {
	push := client.RegoPush{Modules: map[string]string{}}
	var data string
	c := p.calling("push FILE…", "Compile, test and store a version of the Rego policy; *_test.rego are its tests", cobra.MinimumNArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			for _, name := range args {
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
			if err := p.readData(data, &push); err != nil {
				return err
			}
			v, err := c.PushRego(ctx, push)
			if err != nil {
				return err
			}
			if push.Activate {
				return p.enforced(ctx, c, o, brief(v))
			}
			return o.thing(brief(v))
		})
	c.Flags().BoolVar(&push.Activate, "activate", false, "make it the active version at once")
	c.Flags().StringVarP(&push.Message, "message", "m", "", "what the version is about")
	c.Flags().StringVar(&data, "data", "", "JSON file of the policy's own documents")
	return c
}

func (p *program) readData(file string, push *client.RegoPush) error {
	if file == "" {
		return nil
	}
	text, err := p.readFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &push.Data); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	return nil
}

// brief leaves out the texts, which whoever pushed them has.
func brief(v authority.RegoVersion) authority.RegoVersion {
	v.Modules, v.Data = nil, nil
	return v
}

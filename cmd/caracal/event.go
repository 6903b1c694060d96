package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/client"
)

func (p *program) event() *cobra.Command {
	show := p.calling("show ID", "Show an event, or the decision behind a denial", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			e, err := c.Event(ctx, args[0])
			if err != nil {
				return err
			}
			return o.thing(e)
		})
	return noun("event", "Events: what happened", show, p.eventList(), p.eventExport())
}

// eventFilter reads flags into a filter that is complete when the command runs.
func eventFilter(c *cobra.Command) func() client.Filter {
	flags := map[string]*string{}
	for _, f := range []struct{ flag, parameter, meaning string }{
		{"type", "event_type", "such as issued, delegated, revoked, validated, allowed or denied"},
		{"since", "start_date", "first day of UTC, as 2006-01-02"},
		{"until", "end_date", "last day of UTC, as 2006-01-02"},
		{"principal", "principal_id", "of this principal only"},
		{"mandate", "mandate_id", "of this mandate only"},
		{"resource", "resource", "on this resource only"},
	} {
		flags[f.parameter] = c.Flags().String(f.flag, "", f.meaning)
	}
	return func() client.Filter {
		filter := client.Filter{}
		for parameter, value := range flags {
			filter[parameter] = *value
		}
		return filter
	}
}

func (p *program) eventList() *cobra.Command {
	var filter func() client.Filter
	var limit int
	c := p.calling("list", "List events, newest first; with an agent's key its own", cobra.NoArgs,
		func(ctx context.Context, c *client.Client, o *output, _ []string) error {
			if limit < 1 {
				return &usageError{"--limit must be at least 1; `caracal event export` has them all"}
			}
			all, err := c.Events(ctx, filter(), limit)
			if err != nil {
				return err
			}
			return things(o, all, "time", "event_type", "reason", "action", "resource", "mandate_id", "principal_id", "decision_id", "event_id")
		})
	filter = eventFilter(c)
	c.Flags().IntVar(&limit, "limit", 50, "how many at most")
	return c
}

func (p *program) eventExport() *cobra.Command {
	var filter func() client.Filter
	var format string
	c := p.calling("export", "Write all events that match, as the control plane does", cobra.NoArgs,
		func(ctx context.Context, c *client.Client, _ *output, _ []string) error {
			if format != "jsonl" && format != "csv" {
				return &usageError{"--format must be jsonl or csv"}
			}
			return c.ExportEvents(ctx, filter(), format, p.stdout)
		})
	filter = eventFilter(c)
	c.Flags().StringVar(&format, "format", "jsonl", "jsonl or csv")
	return c
}

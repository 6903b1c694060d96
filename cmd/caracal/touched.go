package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// maxAcceptances bounds how often --yes accepts a report that differs from the one before, as mandates come and go.
const maxAcceptances = 5

// catalogChange gives a command that changes the catalog its --yes.
func catalogChange(c *cobra.Command) *cobra.Command {
	c.Flags().Bool("yes", false, "do not ask, whatever live mandates are touched")
	return c
}

// accepted makes a change of the catalog. One that touches live mandates is shown, and made once somebody accepts what is
// shown.
func accepted[T any](ctx context.Context, c *call, change func(*client.Client) (T, error)) (T, error) {
	by := c.Client
	for range maxAcceptances {
		made, err := change(by)
		var refusal *client.Error
		if !errors.As(err, &refusal) || refusal.Changes == nil {
			return made, err
		}
		report := *refusal.Changes
		c.tellTouched(ctx, report)
		yes := c.command.Flag("yes").Value.String() == "true"
		if !yes && !onTerminal(c.stdin) {
			return made, err
		}
		what := fmt.Sprintf("live mandates are touched: %d, by %d kinds of traffic", report.MandateCount, report.TrafficCount)
		if err := c.confirm(ctx, what); err != nil {
			return made, err
		}
		by = c.Accepting(report.Digest)
	}
	return change(by)
}

// tellTouched shows a report to whoever is to accept it.
func (c *call) tellTouched(ctx context.Context, report authority.TouchReport) {
	var names *output
	if c.format == formatTable {
		names = c.named(ctx)
	} else {
		names = c.output
	}
	fmt.Fprintln(c.stderr, "The change gives traffic another meaning that live mandates may cover:")
	for _, d := range report.Traffic {
		fmt.Fprintf(c.stderr, "  %s %s\n    %s -> %s\n", printable(strings.Join(d.Methods, ",")), printable(d.URL), meaning(d.Before), meaning(d.After))
		for _, m := range d.Mandates {
			fmt.Fprintf(c.stderr, "      %s of %s %s\n", m.MandateID, names.called(m.SubjectID), effect(m.Effect))
		}
		if more := d.MandateCount - len(d.Mandates); more > 0 {
			fmt.Fprintf(c.stderr, "      and %d more mandates\n", more)
		}
	}
	if more := report.TrafficCount - len(report.Traffic); more > 0 {
		fmt.Fprintf(c.stderr, "  and %d more kinds of traffic\n", more)
	}
}

func meaning(m *authority.Meaning) string {
	if m == nil {
		return "refused"
	}
	actions := make([]string, len(m.Actions))
	for i, a := range m.Actions {
		actions[i] = string(a)
	}
	return printable(strings.Join(actions, "+") + " " + m.Resource)
}

func effect(e authority.TouchEffect) string {
	at := slices.Index([]authority.TouchEffect{authority.TouchLoses, authority.TouchGains, authority.TouchKeeps}, e)
	if at < 0 {
		return printable(string(e))
	}
	return []string{"loses it", "gains it", "covers both"}[at]
}

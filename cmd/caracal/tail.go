package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) eventTail() *cobra.Command {
	var chosen func(context.Context, *call) (client.Filter, error)
	var count int
	command := p.calling("tail", "Follow events as they happen, until Ctrl-C", cobra.NoArgs, func(ctx context.Context, c *call) error {
		f, err := chosen(ctx, c)
		if err != nil {
			return err
		}
		c.named(ctx)
		seen := 0
		enough := errors.New("enough")
		err = c.FollowEvents(ctx, f, func(e authority.Event) error {
			if err := c.eventLine(e); err != nil {
				return err
			}
			if seen++; seen == count {
				return enough
			}
			return nil
		}, func(cause error) {
			fmt.Fprintf(c.stderr, "caracal: the stream broke off, taking it up again: %s\n", printable(cause.Error()))
		})
		if errors.Is(err, enough) || errors.Is(err, context.Canceled) {
			return nil // Ctrl-C is how one stops looking
		}
		return err
	})
	chosen = p.filters(command, sinceNow())
	command.Flags().IntVar(&count, "count", 0, "end after so many; 0 for never")
	return withEventTypes(command)
}

// eventLine prints an event on a line of its own: for people, or as JSON, or as a YAML document.
func (c *call) eventLine(e authority.Event) error {
	switch c.format {
	case formatYAML:
		fmt.Fprintln(c.w, "---")
		return c.encode(e)
	case formatJSON:
		text, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("printing: %w", err)
		}
		_, err = fmt.Fprintln(c.w, printableJSON(string(text)))
		return err
	}
	words := []string{e.Time.Local().Format("15:04:05"), c.coloured(string(e.Type))}
	actor := ""
	if e.ActorID != "" && e.ActorID != e.PrincipalID {
		actor = "by " + c.called(e.ActorID)
	}
	for _, word := range []string{
		string(e.Reason), e.PolicyCode, string(e.Action), about(e), string(e.MandateID), c.called(e.PrincipalID), actor, string(e.DecisionID), e.Message,
	} {
		if word != "" {
			words = append(words, printable(word))
		}
	}
	_, err := fmt.Fprintln(c.w, strings.Join(words, "  "))
	return err
}

func (o *output) coloured(word string) string {
	if colour := colourOf(word); o.colour && colour != "" {
		return colour + printable(word) + plain
	}
	return printable(word)
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/catalog"
	"github.com/caracal-gateway/caracal/client"
	"github.com/caracal-gateway/caracal/learn"
)

// maxLearned is how many denials are looked at, the newest first.
const maxLearned = 10_000

// learned is a proposed destination, as `create --file` takes it.
type learned struct {
	Name         string                 `json:"name"`
	Host         string                 `json:"host"`
	Ports        []uint16               `json:"ports"`
	TLS          authority.TLSMode      `json:"tls"`
	EncodedSlash authority.EncodedSlash `json:"encoded_slash"`
	Rules        []learnedRule          `json:"rules"`
}

type learnedRule struct {
	Path     string                      `json:"path"`
	Methods  map[string]authority.Action `json:"methods"`
	Resource string                      `json:"resource"`
}

func (p *program) destinationLearn() *cobra.Command {
	var since time.Duration
	var principal string
	var apply bool
	c := p.changing("learn", "Propose destinations for what was denied, as `create --file` takes them", cobra.NoArgs, func(ctx context.Context, c *call) error {
		denials, err := c.denials(ctx, principal, since)
		if err != nil {
			return err
		}
		present, err := c.Destinations(ctx, nil, 0)
		if err != nil {
			return err
		}
		proposals := learn.Propose(denials, present)
		if apply {
			return c.applyLearned(ctx, proposals, present)
		}
		return c.printLearned(proposals, len(denials))
	})
	spanFlag(c, &since, "since", day, "how far to look back, "+seconds)
	c.Flags().StringVar(&principal, "principal", "", "of what this principal was denied only")
	c.Flags().BoolVar(&apply, "apply", false, "make the proposals, each after asking")
	p.completedFlag(c, "principal", principalKind())
	c.Example = `  caracal destination learn --since 1h > proposed.yaml
  caracal destination create --file proposed.yaml`
	return catalogChange(c)
}

// denials are those since some time ago, as far as they are looked at.
func (c *call) denials(ctx context.Context, principal string, since time.Duration) ([]authority.Event, error) {
	id, err := referred[string](ctx, c, principal, principalKind())
	if err != nil {
		return nil, err
	}
	from := c.now().Add(-since)
	events, err := c.Events(ctx, client.Filter{
		"event_type": string(authority.EventDenied), "principal_id": id, "start_date": from.UTC().Format(time.DateOnly),
	}, maxLearned)
	if err != nil {
		return nil, err
	}
	if len(events) == maxLearned {
		fmt.Fprintf(c.stderr, "only the newest %d denials are looked at\n", maxLearned)
	}
	return slices.DeleteFunc(events, func(e authority.Event) bool { return e.Time.Before(from) }), nil
}

func learnedOf(d authority.Destination) learned {
	return learned{d.Name, d.Host, d.Ports, d.TLS, d.EncodedSlash, learnedRules(d.Rules)}
}

func learnedRules(rules []authority.Rule) []learnedRule {
	list := make([]learnedRule, len(rules))
	for i, r := range rules {
		list[i] = learnedRule{r.Path, r.Methods, r.Resource}
	}
	return list
}

// printLearned writes what is proposed to standard output, in a form that `create --file` takes, and what else could be done
// beside it: in YAML as comments, in JSON to standard error.
func (c *call) printLearned(proposals []learn.Proposal, denials int) error {
	made, notes := []learned{}, []string{}
	for _, p := range proposals {
		about := fmt.Sprintf("%d denied requests to %s", p.Requests, printable(strings.Join(p.Hosts, ", ")))
		switch {
		case p.Entry != "":
			notes = append(notes, about+": caracal destination add "+p.Entry)
		case p.Extends != nil:
			notes = append(notes, about+": the destination "+printable(p.Extends.Name)+" does not list them; --apply adds")
			for _, r := range p.Rules {
				notes = append(notes, "  "+printable(ruleText(r)))
			}
		default:
			made = append(made, learnedOf(p.Destination))
		}
	}
	if len(proposals) == 0 {
		notes = append(notes, fmt.Sprintf("nothing to propose: %d denials, none of which a destination mends", denials))
	}
	if c.format == formatJSON {
		for _, line := range notes {
			fmt.Fprintln(c.stderr, line)
		}
		return c.encode(made)
	}
	for _, line := range notes {
		fmt.Fprintln(c.w, "#", line)
	}
	for _, d := range made {
		text, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("printing: %w", err)
		}
		document, err := asYAML(text)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.w, "---\n%s", document)
	}
	return nil
}

// ruleText is a rule as --rule takes it.
func ruleText(r authority.Rule) string {
	var methods []string
	for m, a := range r.Methods {
		methods = append(methods, m+"="+string(a))
	}
	slices.Sort(methods)
	return r.Path + " " + strings.Join(methods, ",") + " " + r.Resource
}

// applyLearned makes the proposals that somebody says yes to.
func (c *call) applyLearned(ctx context.Context, proposals []learn.Proposal, present []authority.Destination) error {
	lines := []addedLine{}
	for _, p := range proposals {
		if err := c.confirm(ctx, proposed(p)); err != nil {
			if declined(err) {
				continue
			}
			return err
		}
		added, err := c.carryOut(ctx, p, present)
		if err != nil {
			return err
		}
		lines = append(lines, added...)
	}
	return c.settled(ctx, things(c.output, lines, addedColumns()...))
}

// proposed says what saying yes does.
func proposed(p learn.Proposal) string {
	requests := fmt.Sprintf(", for %d denied requests", p.Requests)
	switch {
	case p.Entry != "":
		return "add the ready entry " + p.Entry + requests
	case p.Extends != nil:
		return fmt.Sprintf("add %d rules to the destination %s%s", len(p.Rules), p.Extends.Name, requests)
	}
	texts := make([]string, len(p.Destination.Rules))
	for i, r := range p.Destination.Rules {
		texts[i] = ruleText(r)
	}
	return fmt.Sprintf("create the destination %s (%s)%s", p.Destination.Name, strings.Join(texts, "; "), requests)
}

func (c *call) carryOut(ctx context.Context, p learn.Proposal, present []authority.Destination) ([]addedLine, error) {
	var lines []addedLine
	switch {
	case p.Entry != "":
		entry, _ := catalog.Find(p.Entry)
		for _, d := range entry.Destinations {
			line, err := c.addReady(ctx, entry.Name, d, present)
			if err != nil {
				return lines, err
			}
			lines = append(lines, line)
		}
		return lines, nil
	case p.Extends != nil:
		extend := func(d authority.Destination) (authority.Destination, error) { //nolint:unparam // as EditDestination takes it
			d.Rules = append(slices.Clone(d.Rules), p.Rules...)
			return d, nil
		}
		d, err := accepted(ctx, c, func(by *client.Client) (authority.Destination, error) {
			return by.EditDestination(ctx, p.Extends.ID, extend)
		})
		return []addedLine{{"", d.Name, d.Host, stateExtended, d.ID}}, err
	}
	d, err := accepted(ctx, c, func(by *client.Client) (authority.Destination, error) {
		return by.CreateDestination(ctx, p.Destination)
	})
	return []addedLine{{"", d.Name, d.Host, stateAdded, d.ID}}, err
}

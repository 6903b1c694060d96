package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) destinationTest() *cobra.Command {
	var trial client.Trial
	var principal, mandate string
	c := p.calling("test URL", "Say how a request would be judged, and through what; nothing is sent", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		var err error
		if trial.PrincipalID, err = referred[authority.PrincipalID](ctx, c, principal, principalKind()); err != nil {
			return err
		}
		if trial.MandateID, err = referred[authority.MandateID](ctx, c, mandate, mandateKind()); err != nil {
			return err
		}
		trial.URL = c.args[0]
		answer, err := c.TestDestination(ctx, trial)
		if err != nil {
			return err
		}
		if c.format != formatTable {
			err = c.encode(answer)
		} else {
			err = trialTable(c.named(ctx), answer)
		}
		if err == nil && (!answer.Reached || answer.Permitted != nil && !*answer.Permitted) {
			err = errDenied
		}
		return err
	})
	c.Flags().StringVar(&trial.Method, "method", "GET", "of the request; with CONNECT the URL is host:port")
	c.Flags().StringVar(&principal, "principal", "", "who would send it: the mandate that would be selected is told, or what would be needed")
	c.Flags().StringVar(&mandate, "mandate", "", "the mandate that would be presented")
	p.completedFlag(c, "principal", principalKind())
	p.completedFlag(c, "mandate", mandateKind())
	c.Example = `  caracal destination test https://api.github.com/repos/acme/site --principal researcher
  caracal destination test api.github.com:443 --method CONNECT`
	return c
}

// trialTable prints what a request would be.
func trialTable(o *output, a client.TrialAnswer) error {
	var t table
	row := func(name, text string) {
		if text != "" {
			t.row(cell{text: name, colour: faint}, cell{text: printable(text), colour: colourOf(text)})
		}
	}
	row("request", a.Method+" "+a.URL)
	switch {
	case !a.Reached || a.Permitted != nil && !*a.Permitted:
		row("decision", "denied")
	case a.Permitted != nil:
		row("decision", "allowed")
	}
	if a.Reason != nil {
		row("reason", string(*a.Reason))
	}
	row("message", a.Message)
	if a.Destination != nil {
		row("destination", a.Destination.Name+" ("+a.Destination.Host+")")
	} else {
		row("destination", "none")
	}
	if a.Rule != nil {
		row("rule", a.Rule.Path+" -> "+a.Rule.Resource)
	}
	row("resource", string(a.Resource))
	words := make([]string, len(a.Actions))
	for i, action := range a.Actions {
		words[i] = string(action)
	}
	row("action", strings.Join(words, ", "))
	row("tunnel", string(a.Tunnel))
	if a.Route != nil {
		row("route", routeText(a))
	}
	if a.PrincipalID != "" {
		row("principal", o.called(a.PrincipalID))
	}
	if a.MandateID != "" {
		how := "named"
		if a.Selected {
			how = "selected"
		}
		row("mandate", string(a.MandateID)+" ("+how+")")
	}
	return errors.Join(t.print(o.w, o.colour))
}

func routeText(a client.TrialAnswer) string {
	r := a.Route
	words := []string{r.Kind + " addresses"}
	if len(r.Addresses) > 0 {
		words[0] = "private addresses " + strings.Join(r.Addresses, " ")
	}
	if r.TLS == authority.TLSNone {
		words = append(words, "plain text")
	} else {
		words = append(words, "TLS")
	}
	for _, each := range []struct{ name, value string }{
		{"dials", r.ConnectTo}, {"with the credential", r.Credential}, {"with the client certificate", r.ClientCertificate},
	} {
		if each.value != "" {
			words = append(words, each.name+" "+each.value)
		}
	}
	if r.OwnRoots {
		words = append(words, "roots of its own")
	}
	if r.MaxDurationSeconds > 0 {
		words = append(words, fmt.Sprintf("at most %d s", r.MaxDurationSeconds))
	}
	return strings.Join(words, ", ")
}

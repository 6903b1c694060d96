package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/client"
)

// finding is what one look of the doctor came to.
type finding struct {
	Check  string `json:"check"`
	State  string `json:"state"` // ok, warn, fail or skip
	Detail string `json:"detail"`
	Next   string `json:"next,omitempty"` // what to do about it
}

// The states of findings.
const (
	findingOK   = "ok"
	findingWarn = "warn"
	findingFail = "fail"
	findingSkip = "skip"
)

// examination is a walk from the settings to the gateways. What rests on something that failed is not looked at.
type examination struct {
	*output
	target   target
	client   *client.Client
	who      client.Identification
	revision uint64 // of the workspace; 0 while it is not known
	findings []finding
}

// errUnwell ends a doctor's run that has found something: it has been printed.
var errUnwell = errors.New("something is wrong")

func (p *program) doctor() *cobra.Command {
	var gateways []string
	c := &cobra.Command{Use: "doctor", Short: "Look at each step from here to the gateways, and say what to do", Args: meant(cobra.NoArgs)}
	connected(c).Flags().StringSliceVar(&gateways, "gateway", nil, "URL of a gateway to look at from here, such as http://127.0.0.1:8443; may be repeated")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		out, err := p.output(cmd)
		if err != nil {
			return err
		}
		x := &examination{output: out}
		x.examine(cmd.Context(), &values{p, cmd, clientSettings()})
		for _, address := range gateways {
			x.gatewayItself(cmd.Context(), address)
		}
		return x.report()
	}
	return c
}

// examine takes one step after the other, until one fails that the next rests on.
func (x *examination) examine(ctx context.Context, v *values) {
	var err error
	if x.target, err = v.target(); err == nil {
		x.client, err = x.target.connect()
	}
	if err != nil {
		x.failed("settings", err.Error(), "mend what the message names")
		return
	}
	x.found("settings", "the control plane is %s (%s), the workspace %s (%s)", x.target.url, x.target.origin("url"),
		word(x.target.workspace, "that of the key"), x.target.origin("workspace"))
	for _, step := range []func(context.Context) bool{x.network, x.server, x.key, x.workspace, x.gateways} {
		if !step(ctx) {
			return
		}
	}
}

func word(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (x *examination) add(f finding) { x.findings = append(x.findings, f) }

func (x *examination) found(check, format string, args ...any) {
	x.add(finding{Check: check, State: findingOK, Detail: fmt.Sprintf(format, args...)})
}

func (x *examination) warned(check, detail, next string) {
	x.add(finding{check, findingWarn, detail, next})
}

func (x *examination) failed(check, detail, next string) {
	x.add(finding{check, findingFail, detail, next})
}

func (x *examination) skipped(check, why string) {
	x.add(finding{Check: check, State: findingSkip, Detail: why})
}

// report prints the findings, and is an error if something is wrong.
func (x *examination) report() error {
	var unwell error
	for _, f := range x.findings {
		if f.State == findingFail {
			unwell = errUnwell
		}
	}
	if x.format != formatTable {
		return errors.Join(x.encode(x.findings), unwell)
	}
	var t table
	for _, f := range x.findings {
		t.row(cell{f.State, colourOf(f.State)}, cell{text: printable(f.Check)}, cell{text: printable(strings.ReplaceAll(f.Detail, "\n", "; "))})
		if f.Next != "" {
			t.row(cell{}, cell{}, cell{text: "→ " + printable(f.Next)})
		}
	}
	return errors.Join(t.print(x.w, x.colour), unwell)
}

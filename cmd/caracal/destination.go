package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) destination() *cobra.Command {
	var limit int
	list := p.calling("list", "List destinations", cobra.NoArgs,
		func(ctx context.Context, c *client.Client, o *output, _ []string) error {
			all, err := c.Destinations(ctx, limit)
			if err != nil {
				return err
			}
			return things(o, all, "destination_id", "name", "host", "ports", "tls", "addresses", "connect_to", "credential.name")
		})
	limited(list, &limit)
	remove := p.calling("delete DESTINATION", "Delete a destination", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			deleted, err := c.DeleteDestination(ctx, authority.DestinationID(args[0]))
			if err != nil {
				return err
			}
			return p.enforced(ctx, c, o, deleted)
		})
	return noun("destination", "Destinations: how traffic reaches what, and as which resource", list, p.destinationAdd(), remove)
}

const destinationExample = `  A host of your own, every path of it one resource:
    caracal destination add shop --host shop.example.com --rule '/** GET=read,*=write api:shop'

  A private one, dialled at an address that it may resolve to:
    caracal destination add wiki --host wiki.internal --port 8443 --address 10.1.2.0/24 --ca-pem wiki-ca.pem

  Everything that the API knows, from a file ("-" for standard input):
    caracal destination add --file shop.json`

func (p *program) destinationAdd() *cobra.Command {
	var d authority.Destination
	var file, ca string
	var ports []uint
	var addresses, rules []string
	var plain bool
	c := p.calling("add [NAME]", "Add a destination with its rules", cobra.MaximumNArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			err := p.readDestination(file, &d)
			if err == nil && len(args) == 1 {
				d.Name = args[0]
			}
			if err == nil {
				err = completeDestination(&d, ports, addresses, rules, ca, plain)
			}
			if err != nil {
				return err
			}
			created, err := c.CreateDestination(ctx, d)
			if err != nil {
				return err
			}
			return p.enforced(ctx, c, o, created)
		})
	c.Example = destinationExample
	c.Flags().StringVar(&file, "file", "", "JSON as the API takes it")
	c.Flags().StringVar(&d.Host, "host", "", "one exact name, or *.suffix")
	c.Flags().UintSliceVar(&ports, "port", nil, "may be repeated; the scheme's own unless told")
	c.Flags().BoolVar(&plain, "plain", false, "no TLS to the upstream, for one that has none")
	c.Flags().StringVar(&ca, "ca-pem", "", "file of the certificates that the upstream must chain to")
	c.Flags().StringVar(&d.ConnectTo, "connect-to", "", "host:port to dial instead")
	c.Flags().StringSliceVar(&addresses, "address", nil, "range that a private destination may resolve to; may be repeated")
	c.Flags().StringArrayVar(&rules, "rule", nil, "'PATH METHOD=ACTION[,METHOD=ACTION…] RESOURCE'; may be repeated")
	return c
}

func (p *program) readDestination(file string, d *authority.Destination) error {
	if file == "" {
		return nil
	}
	text, err := p.readFile(file)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(d); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	return nil
}

// readFile reads a file, or standard input for "-".
func (p *program) readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(p.stdin)
	}
	return os.ReadFile(name)
}

func completeDestination(d *authority.Destination, ports []uint, addresses, rules []string, ca string, plain bool) error {
	for _, port := range ports {
		if port < 1 || port > 65535 {
			return &usageError{fmt.Sprintf("--port %d is not a port", port)}
		}
		d.Ports = append(d.Ports, uint16(port))
	}
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a)
		if err != nil {
			return &usageError{fmt.Sprintf("--address %q is not a range such as 10.1.2.0/24", a)}
		}
		d.Addresses = append(d.Addresses, prefix)
	}
	for _, r := range rules {
		rule, err := parseRule(r)
		if err != nil {
			return err
		}
		d.Rules = append(d.Rules, rule)
	}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return fmt.Errorf("reading --ca-pem: %w", err)
		}
		d.CA = string(text)
	}
	defaults(d, plain)
	return nil
}

// defaults fills in what the API wants said and a person seldom means otherwise.
func defaults(d *authority.Destination, plain bool) {
	if d.TLS == "" {
		if d.TLS = authority.TLSRequired; plain {
			d.TLS = authority.TLSNone
		}
	}
	if len(d.Ports) == 0 {
		if d.Ports = []uint16{443}; d.TLS == authority.TLSNone {
			d.Ports = []uint16{80}
		}
	}
	if d.EncodedSlash == "" {
		d.EncodedSlash = authority.EncodedSlashRefuse
	}
	if d.Rules == nil {
		d.Rules = []authority.Rule{}
	}
}

// parseRule reads `PATH METHOD=ACTION[,METHOD=ACTION…] RESOURCE`.
func parseRule(text string) (authority.Rule, error) {
	parts := strings.Fields(text)
	if len(parts) != 3 {
		return authority.Rule{}, &usageError{fmt.Sprintf("--rule %q is not of the form 'PATH METHOD=ACTION,… RESOURCE'", text)}
	}
	rule := authority.Rule{Path: parts[0], Methods: map[string]authority.Action{}, Resource: parts[2]}
	for _, pair := range strings.Split(parts[1], ",") {
		method, action, ok := strings.Cut(pair, "=")
		if !ok {
			return authority.Rule{}, &usageError{fmt.Sprintf("--rule: %q is not of the form METHOD=ACTION", pair)}
		}
		rule.Methods[method] = authority.Action(action)
	}
	return rule, nil
}

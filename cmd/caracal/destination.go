package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) destination() *cobra.Command {
	return noun("destination", "Destinations: how traffic reaches what, and as which resource", p.destinationList(),
		showing(p, "get DESTINATION", "Show one destination with its rules", destinationKind(), (*client.Client).Destination),
		p.destinationCreate(), p.destinationAdd(), p.destinationUpdate(), p.destinationDelete(),
		p.destinationTest(), p.destinationLearn())
}

const destinationExample = `  A host of your own, every path of it one resource:
    caracal destination create shop --host shop.example.com --rule '/** GET=read,*=write api:shop'

  A private one, dialled at an address that it may resolve to:
    caracal destination create wiki --host wiki.internal --port 8443 --address 10.1.2.0/24 --ca-pem wiki-ca.pem

  One for clients that let only their base URL be changed, as https://GATEWAY/r/models/v1/…:
    caracal destination create models --host models.example.com --base-path models --rule '/v1/** POST=execute api:models'

  Everything that the API knows, from a file ("-" for standard input):
    caracal destination create --file shop.json`

// destinationFlags are what a command line says of a destination.
type destinationFlags struct {
	file, host, ca, connectTo string
	ports                     []uint
	addresses, rules          []string
	plain                     bool
	tunnel                    string
	// Empty texts that were given take away what the destination has.
	basePath, clientCertificate string
	changed                     func(flag string) bool
	// What the files say, each read once: standard input can be read no second time.
	told   authority.Destination
	caText string
}

func (f *destinationFlags) define(c *cobra.Command) {
	f.changed = c.Flags().Changed
	c.Flags().StringVarP(&f.file, "file", "f", "", "YAML or JSON as the API takes it; \"-\" for standard input")
	c.Flags().StringVar(&f.host, "host", "", "one exact name, or *.suffix")
	c.Flags().UintSliceVar(&f.ports, "port", nil, "may be repeated; the scheme's own unless told")
	c.Flags().BoolVar(&f.plain, "plain", false, "no TLS to the upstream, for one that has none")
	c.Flags().StringVar(&f.ca, "ca-pem", "", "file of the certificates that the upstream must chain to")
	c.Flags().StringVar(&f.connectTo, "connect-to", "", "host:port to dial instead")
	c.Flags().StringSliceVar(&f.addresses, "address", nil, "range that a private destination may resolve to; may be repeated")
	c.Flags().StringVar(&f.tunnel, "tunnel", "", "what becomes of a CONNECT: inspect, passthrough or refuse; inspect unless told")
	_ = c.RegisterFlagCompletionFunc("tunnel", cobra.FixedCompletions(
		[]string{string(authority.TunnelInspect), string(authority.TunnelPassthrough), string(authority.TunnelRefuse)}, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().StringVar(&f.basePath, "base-path", "", "label of the path /r/LABEL/… of the gateway that means this destination; \"\" for none")
	c.Flags().StringVar(&f.clientCertificate, "client-certificate", "", "name of a certificate at the gateway that the upstream is shown; \"\" for none")
	c.Flags().StringArrayVar(&f.rules, "rule", nil, "'PATH METHOD=ACTION[,METHOD=ACTION…] RESOURCE'; may be repeated")
}

func (p *program) destinationCreate() *cobra.Command {
	var f destinationFlags
	c := p.changing("create [NAME]", "Create a destination with its rules, or all that a file describes", cobra.MaximumNArgs(1), func(ctx context.Context, c *call) error {
		all, err := p.readDestinations(&f)
		if err != nil {
			return err
		}
		if len(all) > 1 && len(c.args) == 1 {
			return &usageError{fmt.Sprintf("%s describes %d destinations, which have names of their own", f.file, len(all))}
		}
		made := make([]authority.Destination, len(all))
		for i, d := range all {
			if err := f.describe(&d); err != nil {
				return err
			}
			if len(c.args) == 1 {
				d.Name = c.args[0]
			}
			defaults(&d)
			if made[i], err = accepted(ctx, c, func(by *client.Client) (authority.Destination, error) { return by.CreateDestination(ctx, d) }); err != nil {
				return err
			}
		}
		if len(made) == 1 {
			return c.enforced(ctx, made[0])
		}
		return c.settled(ctx, things(c.output, made, "destination_id", "name", "host", "ports"))
	})
	c.Example = destinationExample
	f.define(c)
	return catalogChange(c)
}

func (p *program) destinationDelete() *cobra.Command {
	return p.completed(catalogChange(p.changing("delete DESTINATION", "Delete a destination", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		id, err := referred[authority.DestinationID](ctx, c, c.args[0], destinationKind())
		if err != nil {
			return err
		}
		if err := c.confirm(ctx, c.command.CommandPath()+" "+c.args[0]); err != nil {
			return err
		}
		deleted, err := accepted(ctx, c, func(by *client.Client) (authority.Destination, error) { return by.DeleteDestination(ctx, id) })
		if err != nil {
			return err
		}
		return c.enforced(ctx, deleted)
	})), destinationKind())
}

func (p *program) destinationUpdate() *cobra.Command {
	var f destinationFlags
	var name string
	c := p.changing("update DESTINATION", "Change a destination: by flags, or by a file that `get -o yaml` printed and you have edited", cobra.ExactArgs(1),
		func(ctx context.Context, c *call) error {
			id, err := referred[authority.DestinationID](ctx, c, c.args[0], destinationKind())
			if err != nil {
				return err
			}
			if err := p.readFiles(&f); err != nil {
				return err
			}
			edit := func(d authority.Destination) (authority.Destination, error) {
				if f.file != "" {
					before := d.Name
					d = f.told
					d.Name = cmp.Or(d.Name, before)
				}
				if err := f.describe(&d); err != nil {
					return d, err
				}
				d.Name = cmp.Or(name, d.Name)
				defaults(&d)
				return d, nil
			}
			updated, err := accepted(ctx, c, func(by *client.Client) (authority.Destination, error) { return by.EditDestination(ctx, id, edit) })
			if err != nil {
				return err
			}
			return c.enforced(ctx, updated)
		})
	c.Flags().StringVar(&name, "name", "", "what it is called from here on")
	f.define(c)
	return p.completed(catalogChange(c), destinationKind())
}

func (p *program) readFiles(f *destinationFlags) error {
	if err := p.readThing(f.file, &f.told); err != nil {
		return err
	}
	return p.readText(f.ca, &f.caText)
}

// readDestinations reads a file that describes one destination, or several as a list or as documents of YAML. No file
// describes one of which flags say everything.
func (p *program) readDestinations(f *destinationFlags) ([]authority.Destination, error) {
	if err := p.readText(f.ca, &f.caText); err != nil || f.file == "" {
		return []authority.Destination{{}}, err
	}
	text, err := p.readFile(f.file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.file, err)
	}
	var all []authority.Destination
	for document := range strings.SplitSeq("\n"+string(text), "\n---\n") {
		var one authority.Destination
		var several []authority.Destination
		var told any
		if err := yaml.Unmarshal([]byte(document), &told); err != nil {
			return nil, &usageError{fmt.Sprintf("reading %s: %v", f.file, err)}
		}
		switch told.(type) {
		case nil: // comments alone
			continue
		case []any:
			err = yaml.UnmarshalStrict([]byte(document), &several)
		default:
			err = yaml.UnmarshalStrict([]byte(document), &one)
			several = []authority.Destination{one}
		}
		if err != nil {
			return nil, &usageError{fmt.Sprintf("reading %s: %v", f.file, err)}
		}
		all = append(all, several...)
	}
	if len(all) == 0 {
		return nil, &usageError{f.file + " describes no destination"}
	}
	return all, nil
}

// describe writes what flags say into a destination.
func (f *destinationFlags) describe(d *authority.Destination) error {
	d.Host, d.ConnectTo = cmp.Or(f.host, d.Host), cmp.Or(f.connectTo, d.ConnectTo)
	if f.ports != nil {
		d.Ports = nil
	}
	for _, port := range f.ports {
		if port < 1 || port > 65535 {
			return &usageError{fmt.Sprintf("--port %d is not a port", port)}
		}
		d.Ports = append(d.Ports, uint16(port))
	}
	if f.addresses != nil {
		d.Addresses = nil
	}
	for _, a := range f.addresses {
		prefix, err := netip.ParsePrefix(a)
		if err != nil {
			return &usageError{fmt.Sprintf("--address %q is not a range such as 10.1.2.0/24", a)}
		}
		d.Addresses = append(d.Addresses, prefix)
	}
	if f.rules != nil {
		d.Rules = nil
	}
	for _, r := range f.rules {
		rule, err := parseRule(r)
		if err != nil {
			return err
		}
		d.Rules = append(d.Rules, rule)
	}
	if f.plain {
		d.TLS = authority.TLSNone
	}
	d.Tunnel = cmp.Or(authority.Tunnel(f.tunnel), d.Tunnel)
	if f.changed("base-path") {
		d.BasePath = f.basePath
	}
	if f.changed("client-certificate") {
		d.ClientCertificate = f.clientCertificate
	}
	d.CA = cmp.Or(f.caText, d.CA)
	return nil
}

// defaults fills in what the API wants said and a person seldom means otherwise.
func defaults(d *authority.Destination) {
	d.TLS = cmp.Or(d.TLS, authority.TLSRequired)
	if len(d.Ports) == 0 {
		if d.Ports = []uint16{443}; d.TLS == authority.TLSNone {
			d.Ports = []uint16{80}
		}
	}
	d.EncodedSlash = cmp.Or(d.EncodedSlash, authority.EncodedSlashRefuse)
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

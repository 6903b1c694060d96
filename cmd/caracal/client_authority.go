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

func (p *program) clientAuthority() *cobra.Command {
	list := p.calling("list", "List the certificate authorities whose certificates identify callers", cobra.NoArgs, func(ctx context.Context, c *call) error {
		all, err := c.ClientAuthorities(ctx)
		if err != nil {
			return err
		}
		return things(c.output, all, "client_authority_id", "name", "bindings", "created_at")
	})
	return noun("client-authority", "Certificate authorities, whose certificates identify callers at the gateway port", list,
		showing(p, "get AUTHORITY", "Show one authority", clientAuthorityKind(), (*client.Client).ClientAuthority),
		p.clientAuthorityCreate(), p.clientAuthorityUpdate(),
		removing(p, "delete AUTHORITY", "Let an authority's certificates identify nobody from here on", clientAuthorityKind(), (*client.Client).DeleteClientAuthority))
}

// clientAuthorityFlags are what a command line says of a client authority.
type clientAuthorityFlags struct {
	file, roots, intermediates string
	bindings                   []string
}

func (f *clientAuthorityFlags) define(c *cobra.Command) {
	c.Flags().StringVarP(&f.file, "file", "f", "", "YAML or JSON as the API takes it; \"-\" for standard input")
	c.Flags().StringVar(&f.roots, "roots", "", "file of the PEM certificates that a caller's must chain to")
	c.Flags().StringVar(&f.intermediates, "intermediates", "", "file of PEM certificates that a chain may pass")
	c.Flags().StringArrayVar(&f.bindings, "bind", nil, "'KIND VALUE PRINCIPAL', where KIND is spiffe_id, dns_san, uri_san or email_san; may be repeated")
}

func (p *program) clientAuthorityCreate() *cobra.Command {
	var f clientAuthorityFlags
	c := p.changing("create [NAME]", "Let certificates of an authority identify callers", cobra.MaximumNArgs(1), func(ctx context.Context, c *call) error {
		var a authority.ClientAuthority
		if err := c.describeAuthority(ctx, &a, f); err != nil {
			return err
		}
		if len(c.args) == 1 {
			a.Name = c.args[0]
		}
		created, err := c.CreateClientAuthority(ctx, a)
		if err != nil {
			return err
		}
		return c.enforced(ctx, created)
	})
	c.Example = "  caracal client-authority create mesh --roots mesh-ca.pem --bind 'spiffe_id spiffe://example.org/ns/prod/sa/agent my-agent'"
	f.define(c)
	return c
}

func (p *program) clientAuthorityUpdate() *cobra.Command {
	var f clientAuthorityFlags
	c := p.changing("update AUTHORITY", "Change an authority: by flags, or by a file that `get -o yaml` printed and you have edited", cobra.ExactArgs(1),
		func(ctx context.Context, c *call) error {
			id, err := referred[authority.ClientAuthorityID](ctx, c, c.args[0], clientAuthorityKind())
			if err != nil {
				return err
			}
			updated, err := c.EditClientAuthority(ctx, id, func(a authority.ClientAuthority) (authority.ClientAuthority, error) {
				if f.file != "" {
					a = authority.ClientAuthority{Name: a.Name}
				}
				err := c.describeAuthority(ctx, &a, f)
				return a, err
			})
			if err != nil {
				return err
			}
			return c.enforced(ctx, updated)
		})
	f.define(c)
	return p.completed(c, clientAuthorityKind())
}

// describeAuthority writes what a file says into an authority, and over it what flags say.
func (c *call) describeAuthority(ctx context.Context, a *authority.ClientAuthority, f clientAuthorityFlags) error {
	if err := c.readThing(f.file, a); err != nil {
		return err
	}
	if err := errors.Join(c.readText(f.roots, &a.Roots), c.readText(f.intermediates, &a.Intermediates)); err != nil {
		return err
	}
	if f.bindings != nil {
		a.Bindings = nil
	}
	for _, b := range f.bindings {
		words := strings.Fields(b)
		if len(words) != 3 {
			return &usageError{fmt.Sprintf("--bind %q is not of the form 'KIND VALUE PRINCIPAL'", b)}
		}
		principal, err := referred[authority.PrincipalID](ctx, c, words[2], principalKind())
		if err != nil {
			return err
		}
		a.Bindings = append(a.Bindings, authority.CertificateBinding{Kind: authority.CertificateName(words[0]), Value: words[1], PrincipalID: principal})
	}
	if a.Bindings == nil {
		a.Bindings = []authority.CertificateBinding{}
	}
	return nil
}

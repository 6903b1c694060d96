package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) issuer() *cobra.Command {
	list := p.calling("list", "List the trusted issuers, and how their keys stand", cobra.NoArgs, func(ctx context.Context, c *call) error {
		all, err := c.Issuers(ctx)
		if err != nil {
			return err
		}
		return things(c.output, all, "trusted_issuer_id", "name", "kind", "issuer", "audiences", "KEYS=keys.key_ids", "FETCHED=keys.fetched_at", "FAILURE=keys.failure")
	})
	return noun("issuer", "Trusted issuers, whose tokens identify workloads", list,
		showing(p, "get ISSUER", "Show one issuer, and how its keys stand", issuerKind(), (*client.Client).Issuer),
		p.issuerCreate(), p.issuerUpdate(),
		doing(p, "refresh ISSUER", "Let the control plane fetch an issuer's keys now", issuerKind(), (*client.Client).RefreshIssuer),
		removing(p, "delete ISSUER", "Trust an issuer no more: its tokens identify nobody from here on", issuerKind(), (*client.Client).DeleteIssuer))
}

const issuerExample = `  Service accounts of a Kubernetes cluster:
    caracal issuer create cluster --kind kubernetes --issuer https://kubernetes.default.svc.cluster.local \
      --jwks-url https://api.cluster.example/openid/v1/jwks --audience caracal --bind 'system:serviceaccount:agents:reporter reporter'

  Everything that the API knows, from a file ("-" for standard input):
    caracal issuer create --file issuer.yaml`

// issuerFlags are what a command line says of an issuer.
type issuerFlags struct {
	file, kind, issuer, claim, jwksURL, jwks, ca string
	audiences, addresses, bindings               []string
}

func (f *issuerFlags) define(c *cobra.Command) {
	c.Flags().StringVarP(&f.file, "file", "f", "", "YAML or JSON as the API takes it; \"-\" for standard input")
	c.Flags().StringVar(&f.kind, "kind", "", "oidc, kubernetes or spiffe")
	c.Flags().StringVar(&f.issuer, "issuer", "", "the claim iss, exactly; for SPIFFE the trust domain, as spiffe://example.org")
	c.Flags().StringVar(&f.claim, "claim", "", "the claim whose values are bound; sub unless told")
	c.Flags().StringVar(&f.jwksURL, "jwks-url", "", "where the keys are; found by discovery unless told")
	c.Flags().StringVar(&f.jwks, "jwks", "", "file of the keys themselves, which are never fetched then")
	c.Flags().StringVar(&f.ca, "ca-pem", "", "file of the certificates that the key server must chain to")
	c.Flags().StringSliceVar(&f.audiences, "audience", nil, "what tokens have to be meant for; may be repeated")
	c.Flags().StringSliceVar(&f.addresses, "private-address", nil, "range that the key server may be in beside the public internet; may be repeated")
	c.Flags().StringArrayVar(&f.bindings, "bind", nil, "'VALUE PRINCIPAL': whom a value of the claim stands for; may be repeated")
}

func (p *program) issuerCreate() *cobra.Command {
	var f issuerFlags
	c := p.changing("create [NAME]", "Trust an issuer", cobra.MaximumNArgs(1), func(ctx context.Context, c *call) error {
		i := client.Issuer{}
		if err := c.describeIssuer(ctx, &i, f); err != nil {
			return err
		}
		if len(c.args) == 1 {
			i.Name = c.args[0]
		}
		created, err := c.CreateIssuer(ctx, i)
		if err != nil {
			return err
		}
		return c.enforced(ctx, created)
	})
	c.Example = issuerExample
	f.define(c)
	return c
}

func (p *program) issuerUpdate() *cobra.Command {
	var f issuerFlags
	c := p.changing("update ISSUER", "Change an issuer: by flags, or by a file that `get -o yaml` printed and you have edited", cobra.ExactArgs(1),
		func(ctx context.Context, c *call) error {
			id, err := referred[authority.TrustedIssuerID](ctx, c, c.args[0], issuerKind())
			if err != nil {
				return err
			}
			updated, err := c.EditIssuer(ctx, id, func(i client.Issuer) (client.Issuer, error) {
				if f.file != "" {
					i = client.Issuer{TrustedIssuer: authority.TrustedIssuer{Name: i.Name}}
				}
				err := c.describeIssuer(ctx, &i, f)
				return i, err
			})
			if err != nil {
				return err
			}
			return c.enforced(ctx, updated)
		})
	f.define(c)
	return p.completed(c, issuerKind())
}

// describeIssuer writes what a file says into an issuer, and over it what flags say.
func (c *call) describeIssuer(ctx context.Context, i *client.Issuer, f issuerFlags) error {
	if err := c.readThing(f.file, i); err != nil {
		return err
	}
	i.Keys = nil // which the control plane knows
	i.Kind, i.Issuer = cmp.Or(authority.IssuerKind(f.kind), i.Kind), cmp.Or(f.issuer, i.Issuer)
	i.Claim = cmp.Or(f.claim, i.Claim)
	i.JWKSURL = cmp.Or(f.jwksURL, i.JWKSURL)
	if f.audiences != nil {
		i.Audiences = f.audiences
	}
	if f.addresses != nil {
		i.PrivateAddresses = nil
	}
	for _, a := range f.addresses {
		prefix, err := netip.ParsePrefix(a)
		if err != nil {
			return &usageError{fmt.Sprintf("--private-address %q is not a range such as 10.1.2.0/24", a)}
		}
		i.PrivateAddresses = append(i.PrivateAddresses, prefix)
	}
	keys := string(i.JWKS)
	if err := errors.Join(c.readText(f.ca, &i.CA), c.readText(f.jwks, &keys)); err != nil {
		return err
	}
	i.JWKS = json.RawMessage(keys)
	return c.bindIssuer(ctx, i, f.bindings)
}

// bindIssuer replaces the bindings, if there are any to put in their place.
func (c *call) bindIssuer(ctx context.Context, i *client.Issuer, bindings []string) error {
	if bindings != nil {
		i.Bindings = nil
	}
	for _, b := range bindings {
		words := strings.Fields(b)
		if len(words) != 2 {
			return &usageError{fmt.Sprintf("--bind %q is not of the form 'VALUE PRINCIPAL'", b)}
		}
		principal, err := referred[authority.PrincipalID](ctx, c, words[1], principalKind())
		if err != nil {
			return err
		}
		i.Bindings = append(i.Bindings, authority.IssuerBinding{Value: words[0], PrincipalID: principal})
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// kind is a kind of thing that a command line refers to: by its id, or where it has one by its name.
type kind struct {
	noun, prefix string
	list         func(context.Context, *client.Client) ([]candidate, error)
}

// candidate is a thing that may be meant.
type candidate struct{ id, name, about string }

// candidates makes a list of things into what may be meant.
func candidates[T any](list func(*client.Client, context.Context, client.Filter, int) ([]T, error), of func(T) candidate) func(context.Context, *client.Client) ([]candidate, error) {
	return func(ctx context.Context, c *client.Client) ([]candidate, error) {
		all, err := list(c, ctx, nil, 0)
		found := make([]candidate, len(all))
		for i, v := range all {
			found[i] = of(v)
		}
		return found, err
	}
}

func principalKind() kind {
	return kind{"principal", "prn_", candidates((*client.Client).Principals, func(v authority.Principal) candidate {
		return candidate{string(v.ID), v.Name, string(v.Type)}
	})}
}

func policyKind() kind {
	return kind{"policy", "pol_", candidates((*client.Client).Policies, func(v authority.Policy) candidate {
		return candidate{string(v.ID), "", fmt.Sprint(v.AllowedResources, " for ", v.PrincipalID)}
	})}
}

func mandateKind() kind {
	return kind{"mandate", "mdt_", candidates((*client.Client).Mandates, func(v authority.Mandate) candidate {
		return candidate{string(v.ID), "", fmt.Sprint(v.ActionScope, " on ", v.ResourceScope)}
	})}
}

func destinationKind() kind {
	return kind{"destination", "dst_", candidates((*client.Client).Destinations, func(v authority.Destination) candidate {
		return candidate{string(v.ID), v.Name, v.Host}
	})}
}

func regoKind() kind {
	return kind{"rego", "rgo_", candidates((*client.Client).RegoVersions, func(v authority.RegoVersion) candidate {
		return candidate{string(v.ID), fmt.Sprint(v.Number), v.Message}
	})}
}

func keyKind() kind {
	return kind{"key", "key_", candidates((*client.Client).Keys, func(v authority.Key) candidate {
		return candidate{string(v.ID), v.Name, string(v.Kind)}
	})}
}

func memberKind() kind {
	return kind{"member", "prn_", candidates((*client.Client).Members, func(v authority.Member) candidate {
		return candidate{string(v.ID), v.Name, string(v.Role)}
	})}
}

func issuerKind() kind {
	return kind{"issuer", "iss_", candidates(unfiltered((*client.Client).Issuers), func(v client.Issuer) candidate {
		return candidate{string(v.ID), v.Name, v.Issuer}
	})}
}

func clientAuthorityKind() kind {
	return kind{"client-authority", "cau_", candidates(unfiltered((*client.Client).ClientAuthorities), func(v authority.ClientAuthority) candidate {
		return candidate{string(v.ID), v.Name, ""}
	})}
}

func signingKeyKind() kind {
	return kind{"signing-key", "sgk_", candidates(unfiltered((*client.Client).SigningKeys), func(v client.SigningKey) candidate {
		return candidate{v.ID, "", v.Purpose + " " + v.State}
	})}
}

// workspaceKind is of what a slug names: every slug is taken as it is, and offered to the shell.
func workspaceKind() kind {
	return kind{noun: "workspace", list: candidates(unfiltered((*client.Client).Workspaces), func(v authority.Workspace) candidate {
		return candidate{v.Slug, "", v.Name}
	})}
}

// unfiltered makes a list without filters and pages look like others.
func unfiltered[T any](list func(*client.Client, context.Context) ([]T, error)) func(*client.Client, context.Context, client.Filter, int) ([]T, error) {
	return func(c *client.Client, ctx context.Context, _ client.Filter, _ int) ([]T, error) { return list(c, ctx) }
}

func eventKind() kind { return kind{noun: "event"} }

// referred is the id of what the command line says: the id itself, or that of the one thing of that name.
func referred[ID ~string](ctx context.Context, c *call, given string, k kind) (ID, error) {
	prefix, _, isID := strings.Cut(given, "_")
	switch known := kinds(); {
	case strings.HasPrefix(given, k.prefix), given == "":
		return ID(given), nil
	case isID && known[prefix+"_"] != "" && len(given) > 26:
		return "", &usageError{fmt.Sprintf("%s is not the id of a %s: see `caracal %s`", given, k.noun, known[prefix+"_"])}
	}
	all, err := k.list(ctx, c.Client)
	if err != nil {
		return "", err
	}
	var found []candidate
	for _, v := range all {
		if v.name == given {
			found = append(found, v)
		}
	}
	switch len(found) {
	case 1:
		return ID(found[0].id), nil
	case 0:
		return "", &absentError{fmt.Sprintf("there is no %s called %q, and it is no id of the form %s…: `caracal %s list` shows what there is", k.noun, given, k.prefix, k.noun)}
	}
	ids := make([]string, len(found))
	for i, v := range found {
		ids[i] = v.id
	}
	return "", &usageError{fmt.Sprintf("more than one %s is called %q: say which by its id, %s", k.noun, given, strings.Join(ids, " or "))}
}

// absentError is a name that nothing has.
type absentError struct{ message string }

func (e *absentError) Error() string { return e.message }

// named lets a list show principals by their names, where the caller may know them and no two have the same.
func (c *call) named(ctx context.Context) *output {
	if c.format != formatTable {
		return c.output
	}
	all, err := c.Principals(ctx, nil, maxNamed)
	if err != nil {
		return c.output // the ids say it too
	}
	holders := map[string]int{}
	for _, v := range all {
		holders[v.Name]++
	}
	c.names = map[string]string{}
	for _, v := range all {
		if holders[v.Name] == 1 && !strings.HasPrefix(v.Name, principalKind().prefix) {
			c.names[string(v.ID)] = printable(v.Name)
		}
	}
	return c.output
}

// called is a principal's name where it is known to be the only one of that name; its id otherwise.
func (o *output) called(id authority.PrincipalID) string {
	if name := o.names[string(id)]; name != "" {
		return name
	}
	return string(id)
}

// maxNamed is how many principals are looked through for their names.
const maxNamed = 1000

// kinds tells what the prefix of an id stands for: the command that is about it.
func kinds() map[string]string {
	return map[string]string{
		"prn_": "principal", "pol_": "policy", "mdt_": "mandate", "dst_": "destination", "key_": "key", "evt_": "event", "dec_": "event",
		"rgo_": "rego", "sgk_": "signing-key", "ses_": "session", "gtw_": "gateway", "iss_": "issuer", "rcp_": "receipt", "cau_": "client-authority", "ws_": "workspace", "psn_": "member",
	}
}

// completed gives a command the ids of a kind to complete its arguments with.
func (p *program) completed(c *cobra.Command, k kind) *cobra.Command {
	c.ValidArgsFunction = func(cmd *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(given) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return p.complete(cmd, k, begun)
	}
	return c
}

// completedFlag does the same for a flag.
func (p *program) completedFlag(c *cobra.Command, flag string, k kind) {
	_ = c.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return p.complete(cmd, k, begun)
	})
}

// complete asks the control plane what there is, for no longer than somebody who has pressed a key waits. Whatever goes
// wrong offers nothing.
func (p *program) complete(cmd *cobra.Command, k kind, begun string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	t, err := (&values{p, cmd, clientSettings()}).target()
	if err != nil || t.key == "" || k.list == nil {
		return nil, none
	}
	c, err := t.connect()
	if err != nil {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	all, err := k.list(ctx, c)
	if err != nil {
		return nil, none
	}
	var offered []string
	for _, v := range all {
		for _, word := range []string{v.id, v.name} {
			if word != "" && strings.HasPrefix(word, begun) && printable(word) == word && !strings.ContainsAny(word, " \t'\"") {
				offered = append(offered, cobra.CompletionWithDesc(word, printable(strings.TrimSpace(v.name+" "+v.about))))
			}
		}
	}
	slices.Sort(offered)
	return offered, none
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
	"github.com/caracal-gateway/caracal/client/contexts"
)

const loginExample = `  With an API key, which is asked for and not shown:
    caracal login --url https://control.example:8080

  With a key from elsewhere:
    pass show caracal/key | caracal login --url https://control.example:8080 --context prod

  In the browser, where the control plane knows an OpenID provider, or with a one-time link:
    caracal login --url https://control.example:8080 --browser`

func (p *program) login() *cobra.Command {
	var byBrowser bool
	c := &cobra.Command{
		Use: "login", Short: "Keep a key, or sign in with the browser, and use that from here on", Args: meant(cobra.NoArgs), Example: loginExample,
	}
	connected(c).Flags().BoolVar(&byBrowser, "browser", false, "sign in with the browser instead of a key")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := p.loginTarget(&values{p, cmd, clientSettings()})
		if err != nil {
			return err
		}
		if byBrowser {
			t.key, err = p.signIn(cmd.Context(), t)
		} else if t.from["api-key-file"] != "--api-key-file" {
			t.key, err = p.askSecret(cmd.Context(), "API key for "+t.url)
		}
		if err == nil && t.key == "" {
			err = &unauthenticatedError{"there is no key on standard input"}
		}
		if err != nil {
			return err
		}
		return p.keep(cmd.Context(), t)
	}
	return c
}

// loginTarget is where to sign in: what flags and variables say, and for the rest the context that is to be kept anew.
// --context may name one that is not there yet.
func (p *program) loginTarget(v *values) (target, error) {
	name, named := v.flagged("context")
	if named && !contexts.ValidName(name) {
		return target{}, badContextName(name)
	}
	set, err := p.contexts().Read()
	if err != nil {
		return target{}, err
	}
	if _, found := set.Find(name); named && !found {
		if err := v.command.Flags().Set("context", ""); err != nil {
			return target{}, err
		}
	}
	t, err := v.target()
	if named {
		t.context = name
	} else {
		t.context = ""
	}
	return t, err
}

// keep sees that the key is good, and writes it into a context, which is used from here on.
func (p *program) keep(ctx context.Context, t target) error {
	c, err := t.connect()
	if err != nil {
		return err
	}
	who, err := c.Session(ctx)
	if err != nil {
		return &callError{err, t}
	}
	if t.workspace, err = chooseWorkspace(who, t.workspace); err != nil {
		return err
	}
	kept := contexts.Context{Name: t.context, URL: t.url, Workspace: t.workspace, Key: t.key, CAFile: t.caFile, AllowPlain: t.allowPlain}
	if kept.CAFile, err = absolute(kept.CAFile); err != nil {
		return err
	}
	err = p.contexts().Change(ctx, func(set *contexts.Set) error {
		if kept.Name == "" {
			kept.Name = newContextName(*set, kept)
		}
		set.Put(kept)
		set.Current = kept.Name
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "signed in to %s as %s; this is the context %s, and it is in use\n", printable(t.url), printable(describe(who, t.workspace)), kept.Name)
	return nil
}

// chooseWorkspace is the workspace that is asked for, or else the only one or the first that the caller may enter.
func chooseWorkspace(who client.Identification, asked string) (string, error) {
	if len(who.Memberships) == 0 {
		return asked, nil // an agent's key knows its workspace itself
	}
	var slugs []string
	for _, m := range who.Memberships {
		if m.WorkspaceSlug == asked {
			return asked, nil
		}
		slugs = append(slugs, m.WorkspaceSlug)
	}
	if asked != "" {
		return "", &absentError{fmt.Sprintf("you are in no workspace %q, but in %s", asked, strings.Join(slugs, ", "))}
	}
	return slugs[0], nil
}

// describe says who somebody is in a workspace.
func describe(who client.Identification, slug string) string {
	name := who.Name
	if name == "" {
		name = string(who.Kind)
	}
	for _, m := range who.Memberships {
		if m.WorkspaceSlug == slug {
			return fmt.Sprintf("%s (%s of %s)", name, m.Role, slug)
		}
	}
	return fmt.Sprintf("%s (%s)", name, who.Kind)
}

// newContextName is what a context is called whose maker does not say: after its workspace, or its host. A context of the
// same control plane and workspace is the same context.
func newContextName(set contexts.Set, kept contexts.Context) string {
	host := "caracal"
	if u, err := url.Parse(kept.URL); err == nil && u.Host != "" {
		host = strings.NewReplacer("[", "", "]", "").Replace(u.Host)
	}
	short := kept.Workspace
	if short == "" {
		short = host
	}
	existing, taken := set.Find(short)
	if !taken || sameServer(existing.URL, kept.URL) && existing.Workspace == kept.Workspace {
		return short
	}
	return short + "@" + host
}

func (p *program) logout() *cobra.Command {
	c := &cobra.Command{Use: "logout", Short: "End the session, or forget the key, of a context", Args: meant(cobra.NoArgs)}
	connected(c).RunE = func(cmd *cobra.Command, _ []string) error {
		v := &values{p, cmd, clientSettings()}
		chosen, _, err := v.chosenContext()
		if err != nil {
			return err
		}
		if chosen.Key == "" {
			return &usageError{"no context with a key is in use: variables such as CARACAL_API_KEY are your shell's"}
		}
		ended := p.endSession(cmd.Context(), chosen)
		err = p.contexts().Change(cmd.Context(), func(set *contexts.Set) error {
			now, _ := set.Find(chosen.Name)
			now.Key = ""
			set.Put(now)
			return nil
		})
		if err != nil {
			return errors.Join(err, ended)
		}
		if strings.HasPrefix(chosen.Key, sessionPrefix) && ended == nil {
			fmt.Fprintf(p.stderr, "ended the session of the context %s\n", chosen.Name)
		} else {
			fmt.Fprintf(p.stderr, "forgot the key of the context %s\n", chosen.Name)
		}
		return ended
	}
	return c
}

// endSession ends the session whose token a context keeps. An API key goes on existing.
func (p *program) endSession(ctx context.Context, kept contexts.Context) error {
	if !strings.HasPrefix(kept.Key, sessionPrefix) {
		return nil
	}
	t := target{url: kept.URL, key: kept.Key, allowPlain: kept.AllowPlain, caFile: kept.CAFile}
	if t.caFile != "" {
		var err error
		if t.ca, err = p.readFile(t.caFile); err != nil {
			return fmt.Errorf("ending the session: %w", err)
		}
	}
	c, err := t.connect()
	if err != nil {
		return err
	}
	err = c.EndSession(ctx)
	var refusal *client.Error
	if errors.As(err, &refusal) && refusal.Code == string(authority.CodeUnauthenticated) {
		return nil // it has ended by itself
	}
	if err != nil {
		return &callError{fmt.Errorf("the session may go on until it expires: %w", err), t}
	}
	return nil
}

// sessionPrefix begins the token of a session.
const sessionPrefix = "cs_"

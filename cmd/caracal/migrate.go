package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

func (p *program) migrate() *cobra.Command {
	c := &cobra.Command{Use: "migrate", Short: "Bring the database's schema up to date", Args: cobra.NoArgs}
	settings := p.bind(c, migrateSettings())
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		url, err := settings.required("database-url-file")
		if err != nil {
			return err
		}
		if err := postgres.Migrate(cmd.Context(), url); err != nil {
			return err
		}
		fmt.Fprintln(p.stdout, "the schema is up to date")
		return nil
	}
	return c
}

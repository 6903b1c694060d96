package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/dev"
)

func (p *program) dev() *cobra.Command {
	c := &cobra.Command{Use: "dev", Short: "Run all of Caracal on this machine and play the main job (make run)", Args: cobra.NoArgs}
	settings := p.bind(c, devSettings())
	clean := c.Flags().Bool("clean-data", false, "remove what runs keep (the database, keys and logs) and end")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		config, err := p.devConfig(settings)
		if err != nil {
			return err
		}
		if *clean {
			return dev.Clean(cmd.Context(), config)
		}
		return dev.Run(cmd.Context(), config)
	}
	return c
}

func (p *program) devConfig(settings *values) (dev.Config, error) {
	c := dev.Config{StateDir: settings.text("state-dir"), Getenv: p.getenv, Environment: os.Environ(), Out: p.stdout}
	var err error
	if c.DatabaseURL, err = settings.secret("database-url-file"); err != nil {
		return c, err
	}
	if c.Executable, err = os.Executable(); err != nil {
		return c, fmt.Errorf("find this program: %w", err)
	}
	if c.Project, err = os.Getwd(); err != nil {
		return c, fmt.Errorf("find the project's directory: %w", err)
	}
	for flag, port := range map[string]*int{"control-port": &c.ControlPort, "gateway-port": &c.GatewayPort, "upstream-port": &c.UpstreamPort} {
		if *port, err = portOf(settings, flag); err != nil {
			return c, err
		}
	}
	return c, nil
}

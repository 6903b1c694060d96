package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/dev"
)

func (p *program) dev() *cobra.Command {
	c := &cobra.Command{Use: "dev", Short: "Run all of Caracal on this machine and play the main job (make run)", Args: unknownVerb}
	settings := p.bind(c, devSettings())
	clean := c.Flags().Bool("clean-data", false, "remove what runs keep (the database, keys and logs) and end")
	c.AddCommand(p.devCut("cut", "Cut a gateway of the running dev off from the control plane", true),
		p.devCut("mend", "Mend the line of a gateway that was cut off", false))
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
	if c.Gateways, err = strconv.Atoi(settings.text("gateways")); err != nil || c.Gateways < 1 || c.Gateways > dev.MaxGateways {
		return c, &usageError{fmt.Sprintf("CARACAL_DEV_GATEWAYS is 1 to %d", dev.MaxGateways)}
	}
	for flag, port := range map[string]*int{"control-port": &c.ControlPort, "gateway-port": &c.GatewayPort, "proxy-port": &c.ProxyPort, "upstream-port": &c.UpstreamPort} {
		if *port, err = portOf(settings, flag); err != nil {
			return c, err
		}
	}
	return c, nil
}

// devCut cuts a gateway off, or undoes it.
func (p *program) devCut(verb, short string, off bool) *cobra.Command {
	return &cobra.Command{Use: verb + " GATEWAY", Short: short, Args: meant(cobra.ExactArgs(1)), RunE: func(c *cobra.Command, args []string) error {
		gateway, err := strconv.Atoi(args[0])
		if err != nil || gateway < 1 || gateway > dev.MaxGateways {
			return &usageError{"a gateway of `caracal dev --gateways` is named by its number, from 1"}
		}
		project, err := os.Getwd()
		if err != nil {
			return fmt.Errorf("find the project's directory: %w", err)
		}
		if err := dev.Cut(c.Context(), dev.Config{Project: project}, gateway, off); err != nil {
			return err
		}
		state := "can reach the control plane"
		if off {
			state = "is cut off from the control plane"
		}
		_, err = fmt.Fprintf(p.stdout, "gateway %d %s\n", gateway, state)
		return err
	}}
}

package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// maxListedResources is how many resources of a destination fit a line.
const maxListedResources = 3

// destinationLine is what a line says of a destination.
type destinationLine struct {
	ID        authority.DestinationID `json:"destination_id"`
	Name      string                  `json:"name"`
	Host      string                  `json:"host"`
	Ports     []uint16                `json:"ports"`
	Resources []string                `json:"resources"`
	Tunnel    authority.Tunnel        `json:"tunnel"`
	BasePath  string                  `json:"base_path"`
}

func lineOf(d authority.Destination) destinationLine {
	var resources []string
	for _, r := range d.Rules {
		if !slices.Contains(resources, r.Resource) {
			resources = append(resources, r.Resource)
		}
	}
	if n := len(resources); n > maxListedResources {
		resources = append(resources[:maxListedResources], fmt.Sprintf("and %d more", n-maxListedResources))
	}
	if resources == nil {
		resources = []string{"host:…"}
	}
	return destinationLine{d.ID, d.Name, d.Host, d.Ports, resources, d.Tunnel, d.BasePath}
}

func (p *program) destinationList() *cobra.Command {
	var limit int
	var chosen func(context.Context, *call) (client.Filter, error)
	command := p.calling("list", "List destinations", cobra.NoArgs, func(ctx context.Context, c *call) error {
		f, err := chosen(ctx, c)
		if err != nil {
			return err
		}
		all, err := c.Destinations(ctx, f, limit)
		if err != nil {
			return err
		}
		if c.format != formatTable {
			return c.encode(all)
		}
		lines := make([]destinationLine, len(all))
		for i, d := range all {
			lines[i] = lineOf(d)
		}
		return things(c.output, lines, "destination_id", "name", "host", "ports", "resources", "tunnel", "base_path")
	})
	chosen = p.filters(command, []filter{{flag: "host", parameter: "host", meaning: "of this host only"}, named(), sorted("created_at", "name")})
	return limited(command, &limit)
}

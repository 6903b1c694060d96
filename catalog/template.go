package catalog

import (
	"slices"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
)

// template is a destination, or one for each region where a service has a host of its own there.
type template struct {
	authority.Destination
	// Regions stand for {region} in name, host and resources; a template without them is a destination as it is.
	Regions []string `json:"regions"`
}

func (t template) destinations() []authority.Destination {
	if len(t.Regions) == 0 {
		return []authority.Destination{t.WithDefaults()}
	}
	made := make([]authority.Destination, len(t.Regions))
	for i, region := range t.Regions {
		made[i] = t.in(region)
	}
	return made
}

func (t template) in(region string) authority.Destination {
	fill := func(text string) string { return strings.ReplaceAll(text, "{region}", region) }
	d := t.WithDefaults()
	d.Name, d.Host = fill(d.Name), fill(d.Host)
	d.Ports, d.Rules = slices.Clone(d.Ports), slices.Clone(d.Rules)
	for i, r := range d.Rules {
		d.Rules[i].Resource = fill(r.Resource)
	}
	return d
}

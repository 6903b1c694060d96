package world

import (
	"net/netip"

	"github.com/caracal-gateway/caracal/authority"
)

func (w *World) addDestinations() {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	every := map[string]authority.Action{
		"GET": authority.Read, "HEAD": authority.Read, "POST": authority.Execute, "PUT": authority.Write, "DELETE": authority.Write,
	}
	w.Destination(authority.Destination{
		Name: "echo", Host: EchoHost, Ports: []uint16{EchoPort}, TLS: authority.TLSRequired,
		ConnectTo: "127.0.0.1:9443", Addresses: loopback,
		Rules: []authority.Rule{
			{Path: "/**", Methods: every, Resource: "api:echo/all"},
			{Path: "/admin/**", Methods: every, Resource: "api:echo-admin"},
		},
	})
	w.Destination(authority.Destination{
		Name: "model", Host: ModelHost, Ports: []uint16{443}, TLS: authority.TLSRequired,
		Credential:         &authority.Credential{Name: ModelSecret, Header: "x-api-key", Prefix: "key "},
		MaxDurationSeconds: 120,
		Rules:              []authority.Rule{{Path: "/**", Methods: every, Resource: "api:model"}},
	})
	w.Destination(authority.Destination{
		Name: "plain", Host: PlainHost, Ports: []uint16{80}, TLS: authority.TLSNone, Addresses: loopback,
		Rules: []authority.Rule{{Path: "/**", Methods: every, Resource: "api:echo/plain"}},
	})
}

// Destination adds a destination to the catalog.
func (w *World) Destination(d authority.Destination) authority.Destination {
	d.ID, d.WorkspaceID, d.CreatedAt = authority.NewID[authority.DestinationID](), w.State.Workspace.ID, w.Now
	if d.EncodedSlash == "" {
		d.EncodedSlash = authority.EncodedSlashRefuse
	}
	for i := range d.Rules {
		d.Rules[i].ID = authority.NewID[authority.RuleID]()
	}
	w.State.Destinations = append(w.State.Destinations, d)
	return d
}

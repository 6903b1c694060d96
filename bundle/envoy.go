package bundle

import (
	"fmt"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
)

// Upstream describes one port of a destination to Envoy's configuration. The control plane builds the configuration
// from it and the decision service names routes by it, so that both always mean the same upstream.
func Upstream(d authority.Destination, port uint16) envoy.Upstream {
	return envoy.Upstream{
		Host: d.Host, Port: port, TLS: d.TLS == authority.TLSRequired, CA: d.CA,
		ConnectTo: d.ConnectTo, Addresses: d.Addresses, ClientCertificate: d.ClientCertificate, Short: shortSeconds(d),
	}
}

// Opaque describes one port of a destination as what the payload of a CONNECT goes to unseen. TLS, if there is any, is
// between the client and the upstream.
func Opaque(d authority.Destination, port uint16) envoy.Upstream {
	return envoy.Upstream{Host: d.Host, Port: port, ConnectTo: d.ConnectTo, Addresses: d.Addresses, Tunnel: true}
}

// shortSeconds is the destination's duration where requests may end by it alone, in seconds; 0 where they are watched always.
func shortSeconds(d authority.Destination) int64 {
	if d.MaxDurationSeconds > envoy.MaxShort {
		return 0
	}
	return d.MaxDurationSeconds
}

// EnvoyConfiguration builds what Snapshot.Envoy holds: the part of Envoy's configuration that follows from the catalog.
func EnvoyConfiguration(destinations []authority.Destination) ([]byte, error) {
	var upstreams []envoy.Upstream
	for _, d := range destinations {
		for _, port := range d.Ports {
			upstreams = append(upstreams, Upstream(d, port))
			if d.Tunnel == authority.TunnelPassthrough {
				upstreams = append(upstreams, Opaque(d, port))
			}
		}
	}
	resources, err := envoy.Catalog(upstreams)
	if err != nil {
		return nil, fmt.Errorf("build Envoy configuration: %w", err)
	}
	return resources.Marshal()
}

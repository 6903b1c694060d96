package envoy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
)

// Validate says why a whole configuration must not be given to Envoy. It first looks for the settings by which a request
// could pass without a decision or go elsewhere than decided, wherever they are; then it refuses everything that this
// package would not have built from the same inputs, so that what it does not know cannot pass. The error names the
// resource and the field.
//
// A nil bootstrap stands for an Envoy that was started by somebody else.
func Validate(b *bootstrapv3.Bootstrap, r Resources) error {
	if err := checkNames(r); err != nil {
		return err
	}
	if err := r.checkDangers(); err != nil {
		return err
	}
	if b != nil {
		if err := checkBootstrap(b); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
	}
	fixed, rest := r.split()
	if err := checkFixed(fixed); err != nil {
		return err
	}
	return checkCatalog(rest)
}

// ValidateCatalog says why the catalog's part of a configuration must not be joined to the gateway's own: it holds
// something other than the clusters of upstreams and the gateway's routes, a name that does not follow from its
// settings, or anything else that neither [Catalog] nor [BuiltIn] builds.
func ValidateCatalog(r Resources) error {
	if err := checkNames(r); err != nil {
		return err
	}
	if err := r.checkDangers(); err != nil {
		return err
	}
	return checkCatalog(r)
}

func checkNames(r Resources) error {
	return errors.Join(uniqueNames("listener", r.Listeners), uniqueNames("cluster", r.Clusters), uniqueNames("routes", r.Routes), uniqueNames("secret", r.Secrets))
}

func uniqueNames[T named](kind string, resources []T) error {
	seen := make(map[string]bool, len(resources))
	for _, m := range resources {
		if seen[m.GetName()] {
			return fmt.Errorf("%s %q is there twice", kind, m.GetName())
		}
		seen[m.GetName()] = true
	}
	return nil
}

// split parts what the gateway builds from what the control plane does.
func (r Resources) split() (fixed, rest Resources) {
	fixed.Listeners, fixed.Secrets = r.Listeners, r.Secrets
	own := ownClusters()
	for _, c := range r.Clusters {
		if slices.ContainsFunc(own, func(p *clusterv3.Cluster) bool { return p.GetName() == c.GetName() }) {
			fixed.Clusters = append(fixed.Clusters, c)
		} else {
			rest.Clusters = append(rest.Clusters, c)
		}
	}
	for _, t := range r.Routes {
		if t.GetName() == PlainRoutes {
			fixed.Routes = append(fixed.Routes, t)
		} else {
			rest.Routes = append(rest.Routes, t)
		}
	}
	return fixed, rest
}

// checkBootstrap rebuilds a bootstrap from the inputs it shows and wants it equal.
func checkBootstrap(b *bootstrapv3.Bootstrap) error {
	l := Local{NodeID: b.GetNode().GetId(), AdminSocket: b.GetAdmin().GetAddress().GetPipe().GetPath()}
	for _, c := range b.GetStaticResources().GetClusters() {
		socket := firstEndpoint(c).GetPipe().GetPath()
		switch c.GetName() {
		case ClusterAuthz:
			l.AuthzSocket = socket
		case ClusterXDS:
			l.XDSSocket = socket
		case ClusterSelf:
			l.SelfSocket = socket
		}
	}
	if l.NodeID == "" || l.AdminSocket == "" || l.AuthzSocket == "" || l.XDSSocket == "" || l.SelfSocket == "" {
		return errors.New("a node id, an admin socket or a socket of the gateway process is missing")
	}
	var cares caresv3.CaresDnsResolverConfig
	if err := b.GetTypedDnsResolverConfig().GetTypedConfig().UnmarshalTo(&cares); err != nil {
		return fmt.Errorf("resolver: %w", err)
	}
	for _, server := range cares.GetResolvers() {
		address, err := netip.ParseAddr(server.GetSocketAddress().GetAddress())
		if err != nil {
			return fmt.Errorf("resolver: %w", err)
		}
		l.Resolvers = append(l.Resolvers, netip.AddrPortFrom(address, uint16(server.GetSocketAddress().GetPortValue())))
	}
	return same(b, Bootstrap(l))
}

// checkFixed rebuilds the gateway's own part from the inputs it shows and wants it equal.
func checkFixed(r Resources) error {
	var l Local
	for _, s := range r.Secrets {
		switch s.GetName() {
		case SecretPublicRoots:
			l.Roots = s.GetValidationContext().GetTrustedCa().GetInlineBytes()
		case SecretListener:
			l.Certificate = s.GetTlsCertificate().GetCertificateChain().GetInlineBytes()
			l.PrivateKey = s.GetTlsCertificate().GetPrivateKey().GetInlineBytes()
		}
	}
	if len(l.Roots) == 0 {
		return fmt.Errorf("secret %q is missing: no public certificate could be checked", SecretPublicRoots)
	}
	if want := secrets(l); !slices.EqualFunc(r.Secrets, want, func(a, b *tlsv3.Secret) bool { return proto.Equal(a, b) }) {
		return errors.New("the secrets are not those of the gateway") // what differs may be a key: it is not shown
	}
	ports := map[string]*netip.AddrPort{ListenerGateway: &l.Listen, ListenerForward: &l.Forward}
	for _, built := range r.Listeners {
		port, known := ports[built.GetName()]
		if !known {
			continue // it is built without an input, or not at all
		}
		socket := built.GetAddress().GetSocketAddress()
		address, err := netip.ParseAddr(socket.GetAddress())
		if err != nil {
			return fmt.Errorf("listener %q: address: %w", built.GetName(), err)
		}
		*port = netip.AddrPortFrom(address, uint16(socket.GetPortValue()))
		if built.GetName() == ListenerForward {
			l.ForwardPlain = len(built.GetFilterChains()) == 2
		}
	}
	return r.same(Fixed(l))
}

// checkCatalog rebuilds the catalog's part from the upstreams it shows and wants it equal.
func checkCatalog(r Resources) error {
	if len(r.Clusters) == 0 && len(r.Routes) == 1 && proto.Equal(r.Routes[0], BuiltIn().Routes[0]) {
		return r.same(BuiltIn())
	}
	keyed := map[string]Upstream{}
	for _, c := range r.Clusters {
		u, err := upstreamOf(c)
		if err == nil {
			err = u.Check()
		}
		if err != nil {
			return fmt.Errorf("cluster %q: %w", c.GetName(), err)
		}
		keyed[u.Key()] = u
	}
	return r.same(built(keyed, shortsOf(r.Routes)))
}

// shortsOf reads from routes which durations of short requests they were built for.
func shortsOf(tables []*routev3.RouteConfiguration) shorts {
	short := shorts{}
	for _, table := range tables {
		for _, host := range table.GetVirtualHosts() {
			for _, route := range host.GetRoutes() {
				values := map[string]string{}
				for _, h := range route.GetMatch().GetHeaders() {
					values[h.GetName()] = h.GetStringMatch().GetExact()
				}
				for seconds := int64(1); seconds <= MaxShort; seconds++ {
					if values[BoundHeader] == Short(seconds) {
						short.add(values[RouteHeader], seconds)
					}
				}
			}
		}
	}
	return short
}

func (r Resources) same(want Resources) error {
	return errors.Join(
		sameResources("listener", r.Listeners, want.Listeners),
		sameResources("cluster", r.Clusters, want.Clusters),
		sameResources("routes", r.Routes, want.Routes),
		sameResources("secret", r.Secrets, want.Secrets),
	)
}

// sameResources compares two lists by name and names the first difference.
func sameResources[T named](kind string, got, want []T) error {
	byName := make(map[string]T, len(want))
	for _, m := range want {
		byName[m.GetName()] = m
	}
	for _, m := range got {
		expected, known := byName[m.GetName()]
		if !known {
			return fmt.Errorf("%s %q is not one that belongs here", kind, m.GetName())
		}
		if err := same(m, expected); err != nil {
			return fmt.Errorf("%s %q: %w", kind, m.GetName(), err)
		}
		delete(byName, m.GetName())
	}
	for name := range byName {
		return fmt.Errorf("%s %q is missing", kind, name)
	}
	return nil
}

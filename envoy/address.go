package envoy

import (
	"errors"
	"fmt"
	"net/netip"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	upstreamipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/matchers/upstream_ip_port/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	upstreamRBAC = "envoy.filters.http.upstream_rbac"
	listedPolicy = "listed"
)

// NotPublic lists the ranges that are no part of the public internet, and those that lead to them by translation, such as
// 6to4. Of IPv6 only 2000::/3 is public: outside of it are also all other ways to write an IPv4 address. 168.63.129.16 is
// a cloud platform's own service behind a public address.
func NotPublic() []netip.Prefix {
	return prefixes(
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
		"168.63.129.16/32", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/3", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "4000::/2", "8000::/1",
	)
}

// NeverPrivate lists the ranges that not even a private destination can be given: link-local addresses with the cloud's
// metadata services among them, unspecified, multicast and reserved ones, and the translated forms that would hide any
// of these.
func NeverPrivate() []netip.Prefix {
	return prefixes(
		"0.0.0.0/8", "100.100.100.200/32", "169.254.0.0/16", "168.63.129.16/32", "192.0.0.192/32", "224.0.0.0/4", "240.0.0.0/4",
		"::/128", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "fd00:ec2::/32", "fe80::/10", "ff00::/8",
	)
}

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// resolvedAddressFilter drops every address that is not public from what a name resolves to.
func resolvedAddressFilter() *matcherv3.AddressMatcher {
	filter := &matcherv3.AddressMatcher{}
	for _, prefix := range NotPublic() {
		filter.Ranges = append(filter.Ranges, &xdscorev3.CidrRange{
			AddressPrefix: prefix.Addr().String(),
			PrefixLen:     wrapperspb.UInt32(uint32(prefix.Bits())),
		})
	}
	return filter
}

// publicOnly refuses to connect to an address that is not public, whatever led to it.
func publicOnly() *hcmv3.HttpFilter {
	return addressRule("not-public", rbacconfigv3.RBAC_DENY, NotPublic(), 0)
}

// listedOnly refuses to connect to anything but the listed addresses on the one port.
func listedOnly(addresses []netip.Prefix, port uint16) *hcmv3.HttpFilter {
	return addressRule(listedPolicy, rbacconfigv3.RBAC_ALLOW, addresses, port)
}

// addressRule judges the address that Envoy is about to connect to. Port 0 stands for any.
func addressRule(policy string, action rbacconfigv3.RBAC_Action, addresses []netip.Prefix, port uint16) *hcmv3.HttpFilter {
	var permissions []*rbacconfigv3.Permission
	for _, prefix := range addresses {
		match := &upstreamipv3.UpstreamIpPortMatcher{UpstreamIp: &corev3.CidrRange{
			AddressPrefix: prefix.Addr().String(),
			PrefixLen:     wrapperspb.UInt32(uint32(prefix.Bits())),
		}}
		if port != 0 {
			match.UpstreamPortRange = &typev3.Int64Range{Start: int64(port), End: int64(port) + 1}
		}
		permissions = append(permissions, &rbacconfigv3.Permission{Rule: &rbacconfigv3.Permission_Matcher{
			Matcher: &corev3.TypedExtensionConfig{Name: "envoy.rbac.matchers.upstream_ip_port", TypedConfig: pack(match)},
		}})
	}
	rule := &rbacconfigv3.RBAC{Action: action, Policies: map[string]*rbacconfigv3.Policy{policy: {
		Permissions: permissions,
		Principals:  []*rbacconfigv3.Principal{{Identifier: &rbacconfigv3.Principal_Any{Any: true}}},
	}}}
	return httpFilter(upstreamRBAC, &rbacv3.RBAC{Rules: rule})
}

// listedAddresses reads back what listedOnly was given. A cluster with any other rule lists none.
func listedAddresses(c *clusterv3.Cluster) ([]netip.Prefix, error) {
	var options upstreamhttpv3.HttpProtocolOptions
	if err := c.GetTypedExtensionProtocolOptions()[protocolOptionsName].UnmarshalTo(&options); err != nil {
		return nil, fmt.Errorf("protocol options: %w", err)
	}
	if len(options.GetHttpFilters()) == 0 {
		return nil, errors.New("no rule says which addresses may be connected to")
	}
	var rule rbacv3.RBAC
	if err := options.GetHttpFilters()[0].GetTypedConfig().UnmarshalTo(&rule); err != nil {
		return nil, fmt.Errorf("address rule: %w", err)
	}
	var list []netip.Prefix
	for _, permission := range rule.GetRules().GetPolicies()[listedPolicy].GetPermissions() {
		var match upstreamipv3.UpstreamIpPortMatcher
		if err := permission.GetMatcher().GetTypedConfig().UnmarshalTo(&match); err != nil {
			return nil, fmt.Errorf("address rule: %w", err)
		}
		address, err := netip.ParseAddr(match.GetUpstreamIp().GetAddressPrefix())
		if err != nil {
			return nil, fmt.Errorf("address rule: %w", err)
		}
		list = append(list, netip.PrefixFrom(address, int(match.GetUpstreamIp().GetPrefixLen().GetValue())))
	}
	return list, nil
}

func firstEndpoint(c *clusterv3.Cluster) *corev3.Address {
	for _, locality := range c.GetLoadAssignment().GetEndpoints() {
		for _, endpoint := range locality.GetLbEndpoints() {
			return endpoint.GetEndpoint().GetAddress()
		}
	}
	return nil
}

package authority

import "net/netip"

// neverListed are ranges that no destination may reach: metadata services, which hand out a machine's credentials, and
// addresses that are not one host, or another one in disguise.
var neverListed = [...]struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local and metadata addresses"},
	{netip.MustParsePrefix("fe80::/10"), "link-local addresses"},
	{netip.MustParsePrefix("fd00:ec2::/32"), "metadata addresses"},
	{netip.MustParsePrefix("100.100.100.200/32"), "a metadata address"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a metadata address"},
	{netip.MustParsePrefix("192.0.0.0/24"), "metadata and protocol addresses"},
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified addresses"},
	{netip.MustParsePrefix("::/128"), "the unspecified address"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4 addresses written as IPv6"},
	{netip.MustParsePrefix("64:ff9b::/96"), "translated IPv4 addresses"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "translated IPv4 addresses"},
	{netip.MustParsePrefix("2002::/16"), "translated IPv4 addresses"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast addresses"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved and broadcast addresses"},
	{netip.MustParsePrefix("ff00::/8"), "multicast addresses"},
}

// prefixProblem says why a destination may not list the range; empty when it may.
func prefixProblem(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "is not an address range"
	case p.Addr().Zone() != "":
		return "has a zone"
	case p != p.Masked():
		return "has bits set behind its length; write " + p.Masked().String()
	}
	for _, never := range neverListed {
		if never.prefix.Overlaps(p) {
			return "reaches " + never.what + ", which can never be listed"
		}
	}
	return ""
}

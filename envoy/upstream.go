package envoy

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Upstream is how one destination is reached on one port.
type Upstream struct {
	// Host is a lower-case name, a `*.suffix`, or an IP address.
	Host string
	Port uint16
	// TLS says whether to speak TLS; plain text otherwise.
	TLS bool
	// CA holds the PEM certificates that the upstream must chain to; empty means the public roots.
	CA string
	// ConnectTo is the host:port that is dialled in place of Host and Port. The name asked for in TLS stays Host.
	ConnectTo string
	// Addresses are the only ranges that may be connected to; empty means public addresses only.
	Addresses []netip.Prefix
	// ClientCertificate names the certificate that the gateway shows the upstream; empty for none.
	ClientCertificate string
	// Tunnel says that what goes there is the payload of a CONNECT, which nobody looks into.
	Tunnel bool
	// Short is the time, in seconds, after which requests may end by themselves instead of being watched; 0 for none. It
	// makes no other upstream.
	Short int64
}

// Route is the key to set in [RouteHeader] for this upstream: its own when it has settings of its own, else the public
// route of its kind.
func (u Upstream) Route() string {
	switch {
	case u.hasSettings():
		return u.Key()
	case u.Tunnel:
		return RoutePublicTunnel
	case u.TLS:
		return RoutePublicTLS
	default:
		return RoutePublicPlain
	}
}

func (u Upstream) hasSettings() bool {
	return u.CA != "" || u.ConnectTo != "" || len(u.Addresses) > 0 || u.ClientCertificate != ""
}

// Key names the route and the cluster of this upstream: a readable part and a digest of every setting. A change of any
// setting gives another key, so that a decision never reaches an upstream other than the one it was made for. The order
// of Addresses does not matter.
func (u Upstream) Key() string {
	scheme := "plain"
	switch {
	case u.Tunnel:
		scheme = "tunnel"
	case u.TLS:
		scheme = "tls"
	}
	addresses := make([]string, len(u.Addresses))
	for i, prefix := range u.Addresses {
		addresses[i] = prefix.Masked().String()
	}
	slices.Sort(addresses)
	fields := append([]string{u.Host, strconv.Itoa(int(u.Port)), scheme, u.CA, u.ConnectTo}, addresses...)
	if u.ClientCertificate != "" {
		fields = append(fields, "client-certificate", u.ClientCertificate) // no address is spelled like that
	}
	digest := sha256.New()
	for _, field := range fields {
		fmt.Fprintf(digest, "%d:%s,", len(field), field)
	}
	sum := digest.Sum(nil)[:16]
	return fmt.Sprintf("%s-%d-%s-%s", strings.Map(keyRune, u.Host), u.Port, scheme, hex.EncodeToString(sum))
}

func keyRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
		return r
	}
	return '_'
}

// Check says what is wrong with an upstream, in words meant for its author. What passes can be built.
func (u Upstream) Check() error {
	if err := checkHost(strings.TrimPrefix(u.Host, "*.")); err != nil {
		return fmt.Errorf("host %q: %w", u.Host, err)
	}
	if u.Port == 0 {
		return errors.New("port is missing")
	}
	if u.Short < 0 || u.Short > MaxShort {
		return fmt.Errorf("short requests of %d seconds: want 0 to %d", u.Short, MaxShort)
	}
	if u.isWildcard() && len(u.Addresses) > 0 {
		return fmt.Errorf("host %q: an upstream with addresses of its own needs an exact host", u.Host)
	}
	if err := u.checkTrust(); err != nil {
		return err
	}
	if u.ConnectTo != "" {
		host, _, err := splitHostPort(u.ConnectTo)
		if err != nil {
			return fmt.Errorf("connect_to %q: %w", u.ConnectTo, err)
		}
		if err := checkHost(host); err != nil {
			return fmt.Errorf("connect_to %q: %w", u.ConnectTo, err)
		}
	}
	return u.checkAddresses()
}

func (u Upstream) checkTrust() error {
	if u.Tunnel && u.TLS {
		return errors.New("tunnel: TLS in it is between the client and the upstream")
	}
	if err := u.checkClientCertificate(); err != nil || u.CA == "" {
		return err
	}
	if !u.TLS {
		return errors.New("ca: plain text has no certificate to check")
	}
	if !utf8.ValidString(u.CA) {
		return errors.New("ca: not text")
	}
	return checkCertificates(u.CA)
}

func (u Upstream) checkClientCertificate() error {
	switch {
	case u.ClientCertificate == "":
		return nil
	case !u.TLS:
		return errors.New("client certificate: plain text has no use for one")
	case !clientCertificateName.MatchString(u.ClientCertificate):
		return errors.New("client certificate: want a name of letters, digits and -_. that begins with a letter or digit")
	}
	return nil
}

// checkCertificates wants one or more certificates and nothing else.
func checkCertificates(text string) error {
	rest := []byte(text)
	for count := 0; ; count++ {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			if count == 0 || strings.TrimSpace(string(rest)) != "" {
				return errors.New("ca: want PEM certificates and nothing else")
			}
			return nil
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("ca: want certificates, got %q", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("ca: %w", err)
		}
	}
}

func (u Upstream) checkAddresses() error {
	for _, prefix := range u.Addresses {
		if !prefix.IsValid() || prefix != prefix.Masked() {
			return fmt.Errorf("address range %s: want a network such as 10.1.0.0/16", prefix)
		}
		if i := slices.IndexFunc(NeverPrivate(), prefix.Overlaps); i >= 0 {
			return fmt.Errorf("address range %s overlaps %s, which no destination may reach", prefix, NeverPrivate()[i])
		}
	}
	host, _ := u.endpoint()
	// What a name resolves to is judged when it is connected to.
	if address, err := netip.ParseAddr(host); err == nil {
		return u.checkEndpoint(address)
	}
	return nil
}

// checkEndpoint refuses an address that could not be connected to anyway.
func (u Upstream) checkEndpoint(address netip.Addr) error {
	within := func(p netip.Prefix) bool { return p.Contains(address) }
	if len(u.Addresses) > 0 && !slices.ContainsFunc(u.Addresses, within) {
		return fmt.Errorf("%s is not among the address ranges of this upstream", address)
	}
	if len(u.Addresses) == 0 && slices.ContainsFunc(NotPublic(), within) {
		return fmt.Errorf("%s is not a public address: an upstream that may reach it lists its address range", address)
	}
	return nil
}

// checkHost accepts IP addresses in their one canonical spelling and lower-case names of letters, digits and hyphens
// whose last label is not a number.
func checkHost(host string) error {
	if address, err := netip.ParseAddr(host); err == nil {
		if address.Zone() != "" || address.Is4In6() || address.String() != host {
			return errors.New("want an IP address in its plain form")
		}
		return nil
	}
	if len(host) > 253 {
		return errors.New("longer than 253 characters")
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return errors.New("want lower-case letters, digits, hyphens and dots")
		}
	}
	if last := labels[len(labels)-1]; last[0] >= '0' && last[0] <= '9' {
		return errors.New("the last part of a name does not start with a digit")
	}
	return nil
}

func isLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(label, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

func splitHostPort(text string) (string, uint16, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, errors.New("want host:port")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 || strconv.FormatUint(number, 10) != port {
		return "", 0, errors.New("want a port from 1 to 65535")
	}
	return host, uint16(number), nil
}

func (u Upstream) isWildcard() bool { return strings.HasPrefix(u.Host, "*.") }

// isDynamic says that the upstream is found by the name in the request.
func (u Upstream) isDynamic() bool { return u.ConnectTo == "" && len(u.Addresses) == 0 }

// authority is what :authority must be for a request to take the route of a dynamic upstream: its host and port, and
// nothing else that the same certificate might cover.
func (u Upstream) authority() string {
	if !u.isDynamic() {
		return ""
	}
	host := regexp.QuoteMeta(u.Host)
	if u.isWildcard() {
		host = `[a-z0-9-]+(\.[a-z0-9-]+)*` + regexp.QuoteMeta(strings.TrimPrefix(u.Host, "*"))
	} else if strings.Contains(u.Host, ":") {
		host = `\[` + host + `\]`
	}
	port := fmt.Sprintf(":%d", u.Port)
	if u.Port == 443 {
		port = "(" + port + ")?"
	}
	return "^" + host + port + "$"
}

// endpoint is what is dialled.
func (u Upstream) endpoint() (string, uint16) {
	if u.ConnectTo == "" {
		return u.Host, u.Port
	}
	host, port, err := splitHostPort(u.ConnectTo)
	if err != nil {
		return "", 0 // Check refuses it; nothing can be dialled
	}
	return host, port
}

// Catalog builds the clusters of the upstreams that have settings of their own, and the route configuration with a
// route for each of them and for the public ones. Equal upstreams are built once. The error names the first upstream
// that Check refuses.
func Catalog(upstreams []Upstream) (Resources, error) {
	keyed := make(map[string]Upstream, len(upstreams))
	short := shorts{}
	for _, u := range upstreams {
		if err := u.Check(); err != nil {
			return Resources{}, fmt.Errorf("upstream %s:%d: %w", u.Host, u.Port, err)
		}
		short.add(u.Route(), u.Short)
		if u.hasSettings() {
			u.Addresses = slices.SortedFunc(slices.Values(u.Addresses), netip.Prefix.Compare)
			keyed[u.Key()] = u
		}
	}
	return built(keyed, short), nil
}

// shorts are the durations of short requests, in seconds, by the key of their route; each once, in order.
type shorts map[string][]int64

func (s shorts) add(route string, seconds int64) {
	if seconds > 0 && !slices.Contains(s[route], seconds) {
		s[route] = append(s[route], seconds)
		slices.Sort(s[route])
	}
}

// built is the catalog's part for upstreams by their key.
func built(keyed map[string]Upstream, short shorts) Resources {
	own := make([]forward, 0, len(keyed))
	var r Resources
	for key, u := range keyed {
		r.Clusters = append(r.Clusters, u.clusters(key)...)
		own = append(own, forward{key: key, tunnel: u.Tunnel, twin: u.TLS, authority: u.authority(), short: short[key]})
	}
	slices.SortFunc(own, func(a, b forward) int { return cmp.Compare(a.key, b.key) })
	r.Routes = append(r.Routes, gatewayRoutes(append(publicForwards(short), own...)))
	r.sort()
	return r
}

// clusters builds the cluster of an upstream and, for TLS, its HTTP/1.1 twin.
func (u Upstream) clusters(key string) []*clusterv3.Cluster {
	if u.isDynamic() {
		return dynamic(key, u.credentials())
	}
	rule := publicOnly()
	host, port := u.endpoint()
	if len(u.Addresses) > 0 {
		rule = listedOnly(u.Addresses, port)
	}
	filters := upstreamFilters(rule)
	var names *corev3.UpstreamHttpProtocolOptions
	if u.isWildcard() && u.TLS {
		names = nameFromAuthority()
	}
	if !u.TLS {
		return []*clusterv3.Cluster{u.fixedEndpoint(key, host, port, http1Options(names, filters))}
	}
	return []*clusterv3.Cluster{
		u.fixedEndpoint(key, host, port, negotiatedOptions(names, filters)),
		u.fixedEndpoint(key+http1Suffix, host, port, http1Options(names, filters)),
	}
}

func (u Upstream) fixedEndpoint(name, host string, port uint16, options *anypb.Any) *clusterv3.Cluster {
	c := upstreamCluster(name, options)
	c.LoadAssignment = assignment(name, socketAddress(host, port))
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	if _, err := netip.ParseAddr(host); err != nil {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
		c.DnsLookupFamily = clusterv3.Cluster_V4_PREFERRED
		// A name that does not resolve must not hold up the other clusters.
		c.WaitForWarmOnInit = wrapperspb.Bool(false)
	}
	if u.TLS {
		tls := &tlsv3.UpstreamTlsContext{CommonTlsContext: u.credentials()}
		if _, err := netip.ParseAddr(u.Host); err != nil && !u.isWildcard() {
			tls.Sni = u.Host
		}
		c.TransportSocket = transportSocket(tls)
	}
	return c
}

// credentials say which certificates are accepted and which one is shown; nil for plain text.
func (u Upstream) credentials() *tlsv3.CommonTlsContext {
	if !u.TLS {
		return nil
	}
	both := u.trust()
	if u.ClientCertificate != "" {
		both.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{awaited(clientCertificatePrefix + u.ClientCertificate)}
	}
	return both
}

// trust says which certificates are accepted: those of the CA or of the public roots and, for an exact host, only with
// its name. For any other host the name comes from the request.
func (u Upstream) trust() *tlsv3.CommonTlsContext {
	pinned := &tlsv3.CertificateValidationContext{}
	if !u.isWildcard() {
		kind := tlsv3.SubjectAltNameMatcher_DNS
		if _, err := netip.ParseAddr(u.Host); err == nil {
			kind = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
		}
		pinned.MatchTypedSubjectAltNames = []*tlsv3.SubjectAltNameMatcher{{SanType: kind, Matcher: exactly(u.Host)}}
	}
	if u.CA != "" {
		pinned.TrustedCa = inlineText(u.CA)
		return &tlsv3.CommonTlsContext{ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: pinned}}
	}
	if u.isWildcard() {
		return publicValidation()
	}
	return &tlsv3.CommonTlsContext{ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         pinned,
			ValidationContextSdsSecretConfig: secret(SecretPublicRoots),
		},
	}}
}

// keyForm is the form of what Key returns.
var keyForm = regexp.MustCompile(`^(.+)-(\d+)-(tls|plain|tunnel)-[0-9a-f]{32}$`)

// upstreamOf reads from a cluster the upstream that it was built for. Its key is the cluster's name, or the name is not
// the one that the settings give.
func upstreamOf(c *clusterv3.Cluster) (Upstream, error) {
	name := strings.TrimSuffix(c.GetName(), http1Suffix)
	parts := keyForm.FindStringSubmatch(name)
	if parts == nil {
		return Upstream{}, errors.New("not the cluster of an upstream")
	}
	port, err := strconv.ParseUint(parts[2], 10, 16)
	if err != nil {
		return Upstream{}, fmt.Errorf("port: %w", err)
	}
	u := Upstream{Host: hostOfKey(parts[1]), Port: uint16(port), TLS: parts[3] == "tls", Tunnel: parts[3] == "tunnel"}
	if socket := c.GetTransportSocket().GetTypedConfig(); socket != nil {
		var tls tlsv3.UpstreamTlsContext
		if err := socket.UnmarshalTo(&tls); err != nil {
			return Upstream{}, fmt.Errorf("transport socket: %w", err)
		}
		u.CA = tls.GetCommonTlsContext().GetValidationContext().GetTrustedCa().GetInlineString()
		for _, shown := range tls.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs() {
			u.ClientCertificate = strings.TrimPrefix(shown.GetName(), clientCertificatePrefix)
		}
	}
	if u.Addresses, err = listedAddresses(c); err != nil {
		return Upstream{}, err
	}
	if endpoint := firstEndpoint(c).GetSocketAddress(); endpoint != nil {
		u.ConnectTo = net.JoinHostPort(endpoint.GetAddress(), strconv.FormatUint(uint64(endpoint.GetPortValue()), 10))
	}
	if u.Key() == name {
		return u, nil
	}
	// Without connect_to the endpoint is the host itself.
	if u.ConnectTo = ""; u.Key() == name {
		return u, nil
	}
	return Upstream{}, errors.New("the name does not follow from the settings")
}

// hostOfKey undoes keyRune, which replaces the star of a wildcard and the colons of an IPv6 address.
func hostOfKey(text string) string {
	if suffix, wildcard := strings.CutPrefix(text, "_."); wildcard {
		return "*." + suffix
	}
	return strings.ReplaceAll(text, "_", ":")
}

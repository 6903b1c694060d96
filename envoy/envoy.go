// Package envoy builds the configuration of a gateway's Envoy and checks it before Envoy sees it. Everything here is a
// pure function: the same input gives the same bytes.
//
// The configuration has two parts. What only the gateway host knows (sockets, listener, certificates, roots) is built by
// the gateway with [Bootstrap] and [Fixed]. What follows from the workspace's catalog is built by the control plane with
// [Catalog], sealed into the bundle, checked with [ValidateCatalog] and joined to the rest with [Merge]. Before there is
// a bundle the gateway serves [BuiltIn] in place of the catalog's part.
//
// Envoy takes no decision. Every request is sent to the decision service first; its answer sets [RouteHeader], and the
// route table forwards only what carries that header with a key it knows, and [BoundHeader] with what ends the request.
// Whatever else happens ends in a refusal.
package envoy

import (
	"net/netip"
	"strconv"
	"time"
)

// RouteHeader carries the key of the route that the decision service chose: one of the Route constants or the result of
// [Upstream.Route]. Copies sent by clients are removed before anything reads them, and it never reaches an upstream.
const RouteHeader = internalPrefix + "route"

// BoundHeader carries what ends a request that was permitted: [BoundWatched] or a [Short]. A request that has neither is
// not forwarded. Copies sent by clients are removed before anything reads them, and it never reaches an upstream.
const BoundHeader = internalPrefix + "bound"

// BoundWatched says that the gateway process ends a request: Envoy keeps a stream to it open for as long as the request
// lasts, registers the request there before anything of it goes upstream, and ends it as soon as that stream says so or
// breaks.
const BoundWatched = "watched"

// MaxShort is the longest time, in seconds, after which a request may end by itself instead of being watched.
const MaxShort = 60

// Short says that a request ends by itself, so many seconds after its headers came. A limit that the decision sets beside
// that counts from when the upstream is connected to, which may come late.
func Short(seconds int64) string { return "short-" + strconv.FormatInt(seconds, 10) }

// Way names the route that a decision chooses by a route's key and what ends the request.
func Way(key, bound string) string { return key + " " + bound }

// WatchDetails starts the details with which the decision service ends a watched request. Access log entries carry them,
// and a reply that has them goes to the client as the decision service wrote it.
const WatchDetails = "caracal_watch_"

// Headers by which the decision service tells the gateway process of the connection of a request that goes there: the
// address that it comes from, its client certificate's thumbprint, and the principal that this identifies. Copies sent by
// clients are removed before anything reads them, and none ever reaches an upstream.
const (
	AddressHeader     = internalPrefix + "address"
	CertificateHeader = internalPrefix + "certificate"
	HolderHeader      = internalPrefix + "holder"
)

// MetadataNamespace is where Envoy keeps the dynamic metadata that the decision service answers with.
const MetadataNamespace = "envoy.filters.http.ext_authz"

// MetadataDecisionID is the key in [MetadataNamespace] under which the decision service names its decision. Envoy's own
// replies and access log entries carry it on.
const MetadataDecisionID = "decision_id"

// Keys of the routes that need no destination of their own.
const (
	// RouteSelf leads to the gateway process itself: health, readiness, sync and the agent API.
	RouteSelf = "self"
	// RoutePublicTLS leads to the public host and port named by :authority (443 without a port), over TLS under the
	// public roots.
	RoutePublicTLS = "public-tls"
	// RoutePublicPlain leads to the public host and port named by :authority (80 without a port), in plain text.
	RoutePublicPlain = "public-plain"
	// RoutePublicTunnel leads a CONNECT to the public host and port that it names; nobody sees what goes through.
	RoutePublicTunnel = "public-tunnel"
	// RouteInside leads a CONNECT back into this Envoy, where each request inside of it is decided on.
	RouteInside = "inside"
)

// Names of the route configurations that the listener asks for.
const (
	GatewayRoutes = "gateway"
	PlainRoutes   = "gateway-plain"
)

// Keys of the gRPC metadata of a check. What they say is a property of the listener, or of the connection, that the
// request came by, and nothing that a client sends or a route table holds changes it.
const (
	// ModeKey names the way in: one of the Mode constants.
	ModeKey = "x-caracal-mode"
	// OuterKey names the decision on the CONNECT that a request came inside of. Other requests have none.
	OuterKey = "x-caracal-outer"
)

// Ways in.
const (
	// ModeGateway is the gateway port.
	ModeGateway = "gateway"
	// ModePlain is plain HTTP on a gateway port that serves TLS.
	ModePlain = "plain"
	// ModeForward is the proxy port: requests in absolute form, and CONNECT.
	ModeForward = "forward"
	// ModeInside is what comes inside of a CONNECT, in plain text or in TLS that the gateway ends.
	ModeInside = "inside"
)

// Names of the clusters and secrets that every configuration has, and of the access log.
const (
	ClusterAuthz      = "authz"
	ClusterXDS        = "xds"
	ClusterSelf       = "self"
	SecretPublicRoots = "public-roots"
	SecretListener    = "listener"
	ListenerGateway   = "gateway"
	ListenerForward   = "forward"
	ListenerInside    = "inside"
	ClusterInside     = "inside"
	AccessLogName     = "gateway"
)

// CheckTimeout is how long Envoy waits for a decision before it refuses the request.
const CheckTimeout = 500 * time.Millisecond

// KeepaliveInterval is how often Envoy pings the gateway process, and how long it waits for the answer. A gRPC server
// behind these sockets must permit pings at this rate, also without active streams, or it closes the connection under live
// requests.
const KeepaliveInterval = time.Second

// FreezeTimeout is how long after the gateway process has stopped running, without having ended, Envoy has ended every
// watched request.
const FreezeTimeout = 2 * KeepaliveInterval

// internalPrefix starts the names of the headers that only the gateway's own parts may set.
const internalPrefix = "x-caracal-int-"

// Local is what the host of one gateway knows and nobody else does.
type Local struct {
	// NodeID identifies the Envoy to the gateway process; it is not empty.
	NodeID string
	// AuthzSocket and XDSSocket are the Unix sockets of the gateway's gRPC servers (decisions and access log;
	// configuration), SelfSocket that of its HTTP server. All are absolute paths.
	AuthzSocket, XDSSocket, SelfSocket string
	// AdminSocket is where Envoy puts its admin interface, readable by its own user only.
	AdminSocket string
	// Listen is the gateway port.
	Listen netip.AddrPort
	// Forward is the proxy port; the zero value for none.
	Forward netip.AddrPort
	// Certificate and PrivateKey are the PEM chain and key of both ports. Without them they speak plain HTTP. With them
	// plain HTTP reaches only health, readiness and sync, but for clients of the proxy port that are on this host: they
	// speak either.
	Certificate, PrivateKey []byte
	// ForwardPlain says that clients on other hosts may speak plain HTTP to the proxy port beside a certificate.
	ForwardPlain bool
	// Roots holds the PEM certificates that public upstreams must chain to.
	Roots []byte
	// Resolvers are the DNS servers to ask; empty means the host's.
	Resolvers []netip.AddrPort
}

func (l Local) servesTLS() bool { return len(l.Certificate) > 0 }

func (l Local) forwards() bool { return l.Forward.IsValid() }

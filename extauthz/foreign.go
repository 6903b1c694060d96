package extauthz

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	grpcpeer "google.golang.org/grpc/peer"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
)

// wayForeign is the way in of requests that somebody else's Envoy asks about. Only the server for those says it.
const wayForeign = "foreign"

// Keys of what the server for somebody else's Envoy says beside a check.
const (
	// foreignEnvoy names the Envoy that asks, by its certificate.
	foreignEnvoy = "foreign-envoy"
	// foreignScheme is how that Envoy reaches its upstream, as its own configuration says. No client has a say in it.
	foreignScheme = "caracal-scheme"
)

// Bounds of the server for somebody else's Envoy.
const (
	foreignHandshake = 5 * time.Second
	foreignStreams   = 10_000
	foreignPings     = 5 * time.Second
	foreignMessage   = 1 << 20
)

// neededForeign is what a caller behind somebody else's Envoy is told that shows nothing of itself.
const neededForeign = "The request needs an access token: X-Caracal-Authorization: Bearer <JWT>, or Authorization"

// headerForeignAuth is where a caller says who it is whose Authorization is for the upstream.
const headerForeignAuth = "x-caracal-authorization"

// ServeForeign answers the checks of somebody else's Envoy until ctx ends, and closes the listener. It takes no connection
// without a client certificate that the configuration's authorities vouch for, and serves no method but the check.
//
// Such an Envoy routes as its own configuration says. What it is told is whether a request may go on, and which headers may
// not; neither its routes nor its upstreams' addresses are known here, and nothing ends a request that was permitted but
// its time.
func (s *Service) ServeForeign(ctx context.Context, listener net.Listener, certificate tls.Certificate, clients *x509.CertPool) error {
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12,
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
		})),
		grpc.MaxRecvMsgSize(foreignMessage),
		grpc.MaxConcurrentStreams(foreignStreams),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: foreignPings / 2, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: foreignPings, Timeout: foreignPings}),
		grpc.ConnectionTimeout(foreignHandshake),
		grpc.UnaryInterceptor(s.onlyCheck),
	)
	authv3.RegisterAuthorizationServer(server, foreignChecks{service: s})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve checks of another's Envoy: %w", err)
	case <-ctx.Done():
	}
	defer time.AfterFunc(stopTime, server.Stop).Stop()
	server.GracefulStop()
	if err := <-served; err != nil {
		return fmt.Errorf("serve checks of another's Envoy: %w", err)
	}
	return nil
}

// foreignChecks takes the checks of somebody else's Envoy. Of what its configuration says beside a check only the scheme
// counts.
type foreignChecks struct {
	authv3.UnimplementedAuthorizationServer
	service *Service
}

// Check answers Envoy, always without an error.
func (c foreignChecks) Check(ctx context.Context, check *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if attributes := check.GetAttributes(); attributes != nil {
		attributes.ContextExtensions = map[string]string{
			envoy.ModeKey: wayForeign, foreignEnvoy: envoyOf(ctx), foreignScheme: attributes.GetContextExtensions()[foreignScheme],
		}
	}
	return c.service.Check(ctx, check)
}

// envoyOf names the holder of a connection's client certificate, which has been verified.
func envoyOf(ctx context.Context) string {
	from, _ := grpcpeer.FromContext(ctx)
	if from == nil {
		return ""
	}
	shown, _ := from.AuthInfo.(credentials.TLSInfo)
	if len(shown.State.PeerCertificates) == 0 {
		return ""
	}
	leaf := shown.State.PeerCertificates[0]
	if len(leaf.URIs) > 0 {
		return leaf.URIs[0].String()
	}
	return cmp.Or(strings.Join(leaf.DNSNames, ","), leaf.Subject.CommonName, leaf.SerialNumber.String())
}

// readForeign takes over what only checks of somebody else's Envoy have. Many of those Envoys describe headers as a map, in
// which the values of a header that came more than once stand behind each other with commas between.
func (r *request) readForeign(attributes *authv3.AttributeContext) ([]*corev3.HeaderValue, error) {
	r.envoy = clip(attributes.GetContextExtensions()[foreignEnvoy], maxRecordedName)
	http := attributes.GetRequest().GetHttp()
	list, named := http.GetHeaderMap().GetHeaders(), http.GetHeaders()
	if (len(list) == 0) == (len(named) == 0) {
		return nil, deny(authority.ReasonMalformedRequest, "The check has no headers, or has them twice.")
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		list = append(list, &corev3.HeaderValue{Key: name, RawValue: []byte(named[name])})
	}
	return list, nil
}

// upstreamScheme is how somebody else's Envoy reaches its upstream: in TLS, unless its configuration says otherwise. What the
// request says is how it came.
func upstreamScheme(attributes *authv3.AttributeContext) (string, error) {
	switch scheme := attributes.GetContextExtensions()[foreignScheme]; scheme {
	case "":
		return "https", nil
	case "http", "https":
		return scheme, nil
	default:
		return "", deny(authority.ReasonMalformedRequest, "The Envoy's configuration says in %s neither http nor https.", foreignScheme)
	}
}

// foreignCredential reads a token from the header that is for nothing else, or from the Authorization header.
func foreignCredential(s *Snapshot, r *request, now time.Time) (credential, error) {
	value := r.value(headerForeignAuth)
	if value == "" {
		return bearerCredential(s, r, now)
	}
	bearer, ok := bearerOf(value)
	if !ok {
		return credential{}, deny(authority.ReasonAuthFailed, "The X-Caracal-Authorization header is not of the form Bearer <JWT>")
	}
	return credential{secret: bearer, written: []string{bearer}, headers: []string{headerForeignAuth}}, nil
}

// foreignTarget reads the target of a request that somebody else's Envoy forwards as it is. Nothing is written back, so that
// only what reads as it is written is judged.
func (s *Service) foreignTarget(j *judgement) (authority.Target, error) {
	target, err := absoluteTarget(j)
	if err != nil {
		return target, err
	}
	host := strings.ToLower(j.request.host)
	if target.RequestPath() != j.request.path || host != target.Authority() && host != net.JoinHostPort(target.Host, strconv.Itoa(int(target.Port))) {
		return target, deny(authority.ReasonTargetMismatch, "The host or the path is not written as it is judged, and another's Envoy forwards it as it is written.")
	}
	return target, nil
}

// mayGoForeign refuses what somebody else's Envoy cannot do, or could do elsewhere than was judged: which upstream it
// connects to is its own affair, and no secret of the gateway's goes there.
func mayGoForeign(d *authority.Destination) error {
	if d != nil && (d.Credential != nil || d.ClientCertificate != "") {
		return deny(authority.ReasonTargetNotAllowed, "The destination has a credential of the gateway's, which goes through no Envoy but the gateway's own.")
	}
	return nil
}

// permitForeign lets a request go on through somebody else's Envoy, without what identified its caller.
func permitForeign(j *judgement, o obligations) Permit {
	p := Permit{granted: true, selected: j.chosen(), decision: j.id}
	p.put(headerDuration, strconv.FormatInt(o.bound.Milliseconds(), 10))
	for _, h := range j.request.headers {
		if !isFromEdge(h.name) && !j.mayReachUpstream(h) || j.tells(h.value) {
			p.takeAway(h.name)
		}
	}
	return p
}

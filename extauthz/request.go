package extauthz

import (
	"cmp"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
)

// Bounds on what one check reads. Envoy's own bounds are tighter; these hold when they are not.
const (
	maxHeaders     = 256
	maxHeaderBytes = 96 << 10
)

// Headers by which callers speak to the gateway.
const (
	headerAuthorization = "authorization"
	headerMandate       = "x-caracal-mandate"
	headerTarget        = "x-caracal-target-url"
	headerUpstreamAuth  = "x-caracal-upstream-authorization"
	headerState         = "x-caracal-state"
	headerUpgrade       = "upgrade"
)

// headerTransport is where Envoy says whether a connection has TLS: `https` where it does. What a client says under this name
// is gone before. A check's TLS session says nothing of it: it is there for connections without TLS too.
const headerTransport = "x-forwarded-proto"

// ours is the prefix of the headers that are between callers and the gateway; none of them reaches an upstream.
const ours = "x-caracal-"

// request is one HTTP request as Envoy described it. Its form has been checked: every header that matters occurs at
// most once, and everything that Envoy says twice it says alike.
type request struct {
	way    string // in; one of envoy's Mode constants, or anything that a check says
	asked  endpoint
	method string
	scheme string
	host   string // :authority, as the caller wrote it
	path   string // with query; empty for CONNECT
	source string // address of the peer
	peer   peer   // its client certificate
	secure bool   // it came over TLS
	sni    string // the name that the client asked for in TLS
	// outer is the decision on the CONNECT that the request came inside of, and within what that opened; none for others.
	outer  authority.DecisionID
	within *tunnel
	// envoy names the Envoy that asks where that is somebody else's.
	envoy string
	// headers are in the order in which they came, names in lower case, pseudo-headers left out.
	headers []header
}

type header struct{ name, value string }

// mode names what was asked, or the way in where that has not been found.
func (r *request) mode() string { return cmp.Or(string(r.asked), r.way) }

// value is the value of a header that occurs at most once, or empty.
func (r *request) value(name string) string {
	for _, h := range r.headers {
		if h.name == name {
			return h.value
		}
	}
	return ""
}

// readRequest reads Envoy's description of a request. Whatever can be read is returned beside the denial, so that the
// record of the decision can say what was asked.
func readRequest(check *authv3.CheckRequest) (*request, error) {
	attributes := check.GetAttributes()
	r := &request{
		way:    attributes.GetContextExtensions()[envoy.ModeKey],
		outer:  authority.DecisionID(attributes.GetContextExtensions()[envoy.OuterKey]),
		source: attributes.GetSource().GetAddress().GetSocketAddress().GetAddress(),
		sni:    attributes.GetTlsSession().GetSni(),
	}
	http := attributes.GetRequest().GetHttp()
	if http == nil {
		return r, deny(authority.ReasonMalformedRequest, "The check describes no HTTP request.")
	}
	list, err := r.listed(attributes)
	if err != nil {
		return r, err
	}
	pseudo, err := r.readHeaders(list)
	if err != nil {
		return r, err
	}
	r.secure = r.value(headerTransport) == "https"
	r.method, r.scheme, r.host, r.path = pseudo[":method"], pseudo[":scheme"], pseudo[":authority"], pseudo[":path"]
	if r.peer, err = readPeer(attributes.GetSource().GetCertificate(), r.value(headerPeer)); err != nil {
		return r, err
	}
	if err := r.compare(http); err != nil || r.way != wayForeign {
		return r, err
	}
	r.scheme, err = upstreamScheme(attributes)
	return r, err
}

// listed gives the headers in the order in which they came.
func (r *request) listed(attributes *authv3.AttributeContext) ([]*corev3.HeaderValue, error) {
	if r.way == wayForeign {
		return r.readForeign(attributes)
	}
	http := attributes.GetRequest().GetHttp()
	list := http.GetHeaderMap().GetHeaders()
	if len(list) == 0 || len(http.GetHeaders()) != 0 {
		return nil, deny(authority.ReasonMalformedRequest, "The check has no list of raw headers.")
	}
	return list, nil
}

// readHeaders splits Envoy's list into pseudo-headers, which it returns, and headers.
func (r *request) readHeaders(list []*corev3.HeaderValue) (map[string]string, error) {
	if len(list) > maxHeaders {
		return nil, deny(authority.ReasonMalformedHeader, "More than %d headers.", maxHeaders)
	}
	pseudo := make(map[string]string, 4)
	seen := make(map[string]bool, 8)
	r.headers = make([]header, 0, len(list))
	size := 0
	for _, h := range list {
		if h.GetValue() != "" {
			return nil, deny(authority.ReasonMalformedRequest, "The check has a header that is not raw.")
		}
		name, value := h.GetKey(), string(h.GetRawValue())
		if size += len(name) + len(value); size > maxHeaderBytes {
			return nil, deny(authority.ReasonMalformedHeader, "More than %d bytes of headers.", maxHeaderBytes)
		}
		if err := checkHeader(name, value); err != nil {
			return nil, err
		}
		if single(name) {
			if seen[name] {
				return nil, twice(name)
			}
			seen[name] = true
		}
		if strings.HasPrefix(name, ":") {
			pseudo[name] = value
			continue
		}
		r.headers = append(r.headers, header{name, value})
	}
	return pseudo, nil
}

// single reports whether a header decides something, so that a second one would leave open which of them counts.
func single(name string) bool {
	switch name {
	case headerAuthorization, headerProxyAuth, headerUpgrade, headerTransport, "host":
		return true
	}
	return strings.HasPrefix(name, ":") || strings.HasPrefix(name, ours)
}

func twice(name string) error {
	if name == headerMandate {
		return deny(authority.ReasonAmbiguousMandate, "The request names more than one mandate.")
	}
	return deny(authority.ReasonAmbiguousHeader, "The request has more than one %s header.", name)
}

// checkHeader refuses what no two programs read alike: names that are not lower-case tokens, names with an underscore
// (which many servers take for a hyphen), control characters, and in headers that matter anything but visible ASCII.
func checkHeader(name, value string) error {
	switch name {
	case ":method", ":scheme", ":authority", ":path":
	default:
		if name == "" || strings.ContainsFunc(name, notInName) {
			return deny(authority.ReasonMalformedHeader, "A header has a malformed name.")
		}
	}
	strict := single(name)
	for i := range len(value) {
		c := value[i]
		if c < ' ' && c != '\t' || c == 0x7f || strict && (c == '\t' || c >= 0x80) {
			return deny(authority.ReasonMalformedHeader, "The header %s has a character that does not belong there.", name)
		}
	}
	if strict && (strings.HasPrefix(value, " ") || strings.HasSuffix(value, " ")) {
		return deny(authority.ReasonMalformedHeader, "The header %s begins or ends with a space.", name)
	}
	return checkMeaning(name, value)
}

// checkMeaning refuses a value that holds two, and headers by which an upstream would do something else than what was
// judged.
func checkMeaning(name, value string) error {
	switch name {
	case headerMandate:
		if strings.ContainsAny(value, ", ;") {
			return deny(authority.ReasonAmbiguousMandate, "The request names more than one mandate.")
		}
	case ":authority", "host":
		if strings.Contains(value, ",") {
			return deny(authority.ReasonAmbiguousHeader, "The request has more than one host header.")
		}
	case "x-http-method-override", "x-http-method", "x-method-override":
		return deny(authority.ReasonTargetMismatch, "The header %s would change the method after it was judged.", name)
	}
	return nil
}

func notInName(c rune) bool {
	return (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^`|~", c)
}

// compare checks that what Envoy says twice is the same.
func (r *request) compare(http *authv3.AttributeContext_HttpRequest) error {
	if r.method == "" || r.host == "" {
		return deny(authority.ReasonMalformedRequest, "The check has no method or no host.")
	}
	if r.path == "" && r.method != methodConnect {
		return deny(authority.ReasonMalformedRequest, "The check has no path.")
	}
	otherHost := func(h header) bool { return h.name == "host" && h.value != r.host }
	if http.GetMethod() != r.method || http.GetScheme() != r.scheme || http.GetPath() != r.path || http.GetHost() != r.host || slices.ContainsFunc(r.headers, otherHost) {
		return deny(authority.ReasonTargetMismatch, "The request says in two places what it asks for, and not the same.")
	}
	return nil
}

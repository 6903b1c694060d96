package extauthz

import (
	"strings"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
)

// Paths of the gateway port.
const (
	pathProxy = "/api/proxy"
	pathAdmin = "/admin"
)

const methodConnect = "CONNECT"

// endpoint says what a request asks of the gateway.
type endpoint string

const (
	endpointNone  endpoint = ""
	endpointSelf  endpoint = "self"  // answer it yourself: health, readiness, sync, or the agent API
	endpointProxy endpoint = "proxy" // carry this request to the target that a header names

	endpointReverse endpoint = "reverse" // carry it to the destination that its path begins with
	endpointForward endpoint = "forward" // carry it to the URL that a proxy was asked for
	endpointConnect endpoint = "connect" // open a tunnel
	endpointInside  endpoint = "inside"  // carry on a request that came through one

	endpointForeign endpoint = wayForeign // say whether somebody else's Envoy may carry it
)

// classify finds the endpoint of a request. A way in that is not known is refused.
func classify(r *request) (endpoint, error) {
	switch r.way {
	case envoy.ModeGateway:
		if r.path == pathProxy && r.method != methodConnect {
			return endpointProxy, nil
		}
		if strings.HasPrefix(r.path, pathReverse) && r.method != methodConnect {
			return endpointReverse, nil
		}
		if isProbe(r) || isAgentAPI(r) {
			return endpointSelf, nil
		}
		if path, _, _ := strings.Cut(r.path, "?"); path == pathAdmin || strings.HasPrefix(path, pathAdmin+"/") {
			return endpointNone, guardAdmin(r)
		}
	case envoy.ModeForward:
		if r.method == methodConnect {
			return endpointConnect, nil
		}
		return endpointForward, nil
	case envoy.ModeInside:
		if r.method == methodConnect {
			return endpointNone, deny(authority.ReasonTargetNotAllowed, "There is no tunnel inside of a tunnel.")
		}
		return endpointInside, nil
	case wayForeign:
		if r.method == methodConnect {
			return endpointNone, deny(authority.ReasonTargetNotAllowed, "Tunnels go through the gateway's own Envoy only.")
		}
		return endpointForeign, nil
	case envoy.ModePlain:
		if isProbe(r) {
			return endpointSelf, nil
		}
		return endpointNone, deny(authority.ReasonTLSRequired, "Plain HTTP serves health, readiness and sync only; use https.")
	}
	return endpointNone, deny(authority.ReasonUnknownEndpoint, "This gateway has no such endpoint.")
}

func guardAdmin(r *request) error {
	if r.value(headerAuthorization) == "" {
		return deny(authority.ReasonAuthRequired, "This endpoint needs an API key.")
	}
	return deny(authority.ReasonUnknownEndpoint, "This gateway has no such endpoint.")
}

// isProbe recognises the three endpoints that need no key, in exactly one spelling each.
func isProbe(r *request) bool {
	switch r.path {
	case "/health", "/ready":
		return r.method == "GET"
	case pathAdmin + "/sync":
		return r.method == "POST"
	}
	return false
}

// isAgentAPI recognises the endpoints by which agents ask for, look at, validate, delegate and revoke mandates, and learn
// which CA to trust.
func isAgentAPI(r *request) bool {
	path, query, _ := strings.Cut(r.path, "?")
	rest, ok := strings.CutPrefix(path, "/api/v1/")
	if !ok || query != "" && r.method != "GET" {
		return false
	}
	if rest == "token" {
		return r.method == "POST"
	}
	if inWorkspace, ok := strings.CutPrefix(rest, "workspaces/"); ok {
		slug, collection, _ := strings.Cut(inWorkspace, "/")
		if _, err := authority.ParseSlug(slug); err != nil {
			return false
		}
		rest = collection
	}
	if rest == "inspection-ca" {
		return r.method == "GET"
	}
	return isMandates(r.method, rest)
}

func isMandates(method, path string) bool {
	switch path {
	case "mandates":
		return method == "GET" || method == "POST"
	case "mandates/validate":
		return method == "POST"
	}
	rest, ok := strings.CutPrefix(path, "mandates/")
	if !ok {
		return false
	}
	id, operation, _ := strings.Cut(rest, "/")
	if _, err := authority.ParseID[authority.MandateID](id); err != nil {
		return false
	}
	switch operation {
	case "":
		return method == "GET" && !strings.HasSuffix(rest, "/")
	case "delegate", "revoke":
		return method == "POST"
	}
	return false
}

package extauthz

import (
	"net/http"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/caracal-gateway/caracal/authority"
)

// headerSelected tells a caller that named no mandate which one was chosen.
const headerSelected = "x-caracal-selected-mandate"

// headerDecision tells a caller behind somebody else's Envoy which decision let its request pass.
const headerDecision = "x-caracal-decision-id"

// tellSelected names the mandate that a request was denied under.
func (j *judgement) tellSelected(denied *authv3.DeniedHttpResponse) {
	if chosen := j.chosen(); chosen != "" {
		denied.Headers = append(denied.Headers, overwrite(headerSelected, string(chosen)))
	}
}

// statusOf is the HTTP status of a denial. A proxy asks for credentials in words of its own. Inside of a tunnel none can be
// shown, and a request for another host is one that the client has to send elsewhere.
func statusOf(reason authority.Reason, r *request) int {
	if r == nil {
		return reason.Status()
	}
	unidentified := reason == authority.ReasonAuthRequired || reason == authority.ReasonAuthFailed
	switch {
	case unidentified && (r.asked == endpointForward || r.asked == endpointConnect):
		return http.StatusProxyAuthRequired
	case unidentified && r.asked == endpointInside:
		return http.StatusForbidden
	case reason == authority.ReasonTargetMismatch && r.asked == endpointInside:
		return http.StatusMisdirectedRequest
	}
	return reason.Status()
}

// showsPlainText reports whether a client shows its user the body of a denial in plain text only.
func showsPlainText(r *request) bool {
	return r != nil && strings.HasPrefix(r.value("user-agent"), "git/")
}

package extauthz

import (
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// guardAgentAPI keeps a token that is bound to a mandate from whatever gives authority, or takes it: by the agents' API its
// bearer asks about that mandate and nothing else. What the gateway cannot read yet is the control plane's to refuse.
func (s *Service) guardAgentAPI(r *request, now time.Time) error {
	snapshot := s.Snapshot()
	bearer, ok := bearerOf(r.value(headerAuthorization))
	if snapshot == nil || !ok {
		return nil
	}
	path, _, _ := strings.Cut(r.path, "?")
	if isProbe(r) || strings.HasSuffix(path, "/mandates/validate") {
		return nil
	}
	claimed, err := snapshot.claimOf(bearer, now)
	if err == nil && claimed.mandate != "" && (r.method != "GET" || !asksAbout(path, claimed.mandate)) {
		return because(authority.ReasonTokenBound)
	}
	return nil
}

// asksAbout reports whether a path that is read says nothing but what one mandate is, or what gateways' certificates chain to.
func asksAbout(path string, mandate authority.MandateID) bool {
	return strings.HasSuffix(path, "/mandates/"+string(mandate)) || strings.HasSuffix(path, "/inspection-ca")
}

package authority

// Reason names why something was denied or refused. The list is closed: a reason that is not in it is a bug, and is
// answered as internal_error.
type Reason string

// Reasons that a decision on a request can end in, in the order in which the checks run.
const (
	ReasonMalformedRequest  Reason = "malformed_request"
	ReasonMalformedHeader   Reason = "malformed_header"
	ReasonAmbiguousHeader   Reason = "ambiguous_header"
	ReasonTargetMismatch    Reason = "target_mismatch"
	ReasonUnknownEndpoint   Reason = "unknown_endpoint"
	ReasonTLSRequired       Reason = "tls_required"
	ReasonTunnelUnknown     Reason = "tunnel_unknown"
	ReasonAuthRequired      Reason = "authentication_required"
	ReasonAuthFailed        Reason = "authentication_failed"
	ReasonStateBehind       Reason = "state_behind"
	ReasonStateUnknown      Reason = "state_unknown"
	ReasonWorkspaceDeleted  Reason = "workspace_deleted"
	ReasonMissingTarget     Reason = "missing_target_url"
	ReasonInvalidTarget     Reason = "invalid_target_url"
	ReasonTargetNotAllowed  Reason = "target_not_allowed"
	ReasonMissingMandate    Reason = "missing_mandate"
	ReasonAmbiguousMandate  Reason = "ambiguous_mandate"
	ReasonMandateNotFound   Reason = "mandate_not_found"
	ReasonNoMandateApplies  Reason = "no_mandate_applies"
	ReasonTokenBound        Reason = "token_bound"
	ReasonSubjectMismatch   Reason = "subject_mismatch"
	ReasonBindingMismatch   Reason = "binding_mismatch"
	ReasonMandateRevoked    Reason = "mandate_revoked"
	ReasonSuspended         Reason = "principal_suspended"
	ReasonNotYetValid       Reason = "mandate_not_yet_valid"
	ReasonExpired           Reason = "mandate_expired"
	ReasonActionNotInScope  Reason = "action_not_in_scope"
	ReasonNotInScope        Reason = "resource_not_in_scope"
	ReasonChainInvalid      Reason = "delegation_chain_invalid"
	ReasonPolicyDenied      Reason = "policy_denied"
	ReasonApprovalRequired  Reason = "approval_required"
	ReasonPolicyError       Reason = "policy_error"
	ReasonPolicyTimeout     Reason = "policy_timeout"
	ReasonMissingCredential Reason = "credential_unavailable"
	ReasonRouteNotReady     Reason = "route_not_ready"

	ReasonInspectionUnavailable Reason = "inspection_unavailable"
	ReasonLiveLimit             Reason = "live_limit_reached"

	ReasonLeaseExpired Reason = "lease_expired"
	ReasonNoDecision   Reason = "decision_unavailable"
	ReasonInternal     Reason = "internal_error"
)

// Reasons that Envoy itself ends a request with; the gateway's configuration writes them.
const (
	ReasonUpstreamUnreachable Reason = "upstream_unreachable"
	ReasonUpstreamTimeout     Reason = "upstream_timeout"
)

// Reasons that issuing, delegating and validating can be refused for, beside those above.
const (
	ReasonIssuerNotConsenting Reason = "issuer_not_consenting"
	ReasonIssuerNotEntitled   Reason = "issuer_not_entitled"
	ReasonNoPolicyCovers      Reason = "no_policy_covers"
	ReasonScopeExceedsParent  Reason = "scope_exceeds_parent"
	ReasonTimeExceedsParent   Reason = "validity_exceeds_parent"
	ReasonDepthExhausted      Reason = "delegation_depth_exhausted"
	ReasonDelegationCycle     Reason = "delegation_cycle"
	ReasonFanOutExceeded      Reason = "delegation_limit_reached"
	ReasonPresenterRequired   Reason = "presenter_required"
	ReasonWorkspaceArchived   Reason = "workspace_archived"
)

// reasons is the closed list with the HTTP status of a gateway's denial and a default sentence for people.
var reasons = [...]struct {
	reason  Reason
	status  int
	message string
}{
	{ReasonMalformedRequest, 400, "The request is malformed."},
	{ReasonMalformedHeader, 400, "A header that matters for the decision is malformed."},
	{ReasonAmbiguousHeader, 400, "A header that matters for the decision is there more than once."},
	{ReasonTargetMismatch, 400, "The parts of the request that say where it goes disagree."},
	{ReasonUnknownEndpoint, 404, "The gateway has no such endpoint."},
	{ReasonTLSRequired, 403, "This endpoint is served over TLS only."},
	{ReasonTunnelUnknown, 503, "The tunnel that the request came through is not open, or no longer."},
	{ReasonAuthRequired, 401, "The request says nothing about who sends it."},
	{ReasonAuthFailed, 401, "The caller's credential does not hold."},
	{ReasonStateBehind, 503, "What the request has seen already, as X-Caracal-State says, is not known here yet; try again."},
	{ReasonStateUnknown, 503, "X-Caracal-State is of before the database was restored from a backup: what it names may be lost."},
	{ReasonWorkspaceDeleted, 403, "The workspace is deleted."},
	{ReasonMissingTarget, 400, "The header X-Caracal-Target-URL is missing."},
	{ReasonInvalidTarget, 400, "The target URL is not in the one accepted spelling."},
	{ReasonTargetNotAllowed, 403, "The target is not one that this workspace allows."},
	{ReasonMissingMandate, 403, "The request names no mandate."},
	{ReasonAmbiguousMandate, 400, "The request names more than one mandate."},
	{ReasonMandateNotFound, 403, "There is no such mandate in this workspace."},
	{ReasonNoMandateApplies, 403, "No live mandate of the caller covers the request."},
	{ReasonTokenBound, 403, "The token is bound to one mandate, and good for presenting that one only."},
	{ReasonSubjectMismatch, 403, "The mandate was issued to somebody else."},
	{ReasonBindingMismatch, 403, "The mandate is bound to a client certificate that the caller does not show."},
	{ReasonMandateRevoked, 403, "The mandate, or one that it was cut from, is revoked."},
	{ReasonSuspended, 403, "A principal that the mandate rests on is not active."},
	{ReasonNotYetValid, 403, "The mandate is not valid yet."},
	{ReasonExpired, 403, "The mandate has expired."},
	{ReasonActionNotInScope, 403, "The mandate does not cover the action."},
	{ReasonNotInScope, 403, "The mandate does not cover the resource."},
	{ReasonChainInvalid, 403, "The chain of delegation behind the mandate does not hold."},
	{ReasonPolicyDenied, 403, "A policy of the workspace denies the request."},
	{ReasonApprovalRequired, 428, "A policy of the workspace asks for a person's approval."},
	{ReasonPolicyError, 403, "A policy of the workspace could not be evaluated."},
	{ReasonPolicyTimeout, 503, "A policy of the workspace took too long."},
	{ReasonMissingCredential, 503, "The gateway does not have the credential that the destination needs."},
	{ReasonRouteNotReady, 503, "The gateway's Envoy does not have the route to the destination yet."},
	{ReasonInspectionUnavailable, 503, "The gateway cannot see inside of TLS at the moment: it has no inspection certificate that is good."},
	{ReasonLiveLimit, 429, "The caller has as many live requests as one caller may have at a gateway; end some, or let them end."},
	{ReasonLeaseExpired, 503, "The gateway has not heard from the control plane for too long."},
	{ReasonNoDecision, 503, "No decision could be made."},
	{ReasonInternal, 500, "The decision failed inside the gateway."},
	{ReasonUpstreamUnreachable, 502, "The upstream could not be reached."},
	{ReasonUpstreamTimeout, 504, "The upstream did not answer within the time allowed."},
	{ReasonIssuerNotConsenting, 422, "The issuer has not consented to this mandate."},
	{ReasonIssuerNotEntitled, 422, "The issuer may not issue this mandate."},
	{ReasonNoPolicyCovers, 422, "No active authority policy of the subject covers this mandate."},
	{ReasonScopeExceedsParent, 422, "The scope goes beyond the parent mandate's."},
	{ReasonTimeExceedsParent, 422, "The validity goes beyond the parent mandate's."},
	{ReasonDepthExhausted, 422, "The mandate allows no further delegation."},
	{ReasonDelegationCycle, 422, "The child principal is part of the chain already."},
	{ReasonFanOutExceeded, 422, "The mandate has as many children as a mandate may have."},
	{ReasonPresenterRequired, 400, "A service must say who presented the mandate."},
	{ReasonWorkspaceArchived, 409, "The workspace is archived: it takes no change that gives authority."},
}

// Reasons lists every reason: those of a gateway's decision in the order of its checks, Envoy's, and those of issuing
// and delegating.
func Reasons() []Reason {
	list := make([]Reason, len(reasons))
	for i, entry := range reasons {
		list[i] = entry.reason
	}
	return list
}

// Status is the HTTP status of a denial for this reason; that of internal_error for a reason that is not in the list.
func (r Reason) Status() int {
	for _, entry := range reasons {
		if entry.reason == r {
			return entry.status
		}
	}
	return ReasonInternal.Status()
}

// Message is one sentence for people; that of internal_error for a reason that is not in the list.
func (r Reason) Message() string {
	for _, entry := range reasons {
		if entry.reason == r {
			return entry.message
		}
	}
	return ReasonInternal.Message()
}

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
	ReasonAuthRequired      Reason = "authentication_required"
	ReasonAuthFailed        Reason = "authentication_failed"
	ReasonMissingTarget     Reason = "missing_target_url"
	ReasonInvalidTarget     Reason = "invalid_target_url"
	ReasonTargetNotAllowed  Reason = "target_not_allowed"
	ReasonMissingMandate    Reason = "missing_mandate"
	ReasonAmbiguousMandate  Reason = "ambiguous_mandate"
	ReasonMandateNotFound   Reason = "mandate_not_found"
	ReasonSubjectMismatch   Reason = "subject_mismatch"
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
	ReasonLeaseExpired      Reason = "lease_expired"
	ReasonNoDecision        Reason = "decision_unavailable"
	ReasonInternal          Reason = "internal_error"
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
)

package authority

import "time"

// EventType names what an event records.
type EventType string

// What happens to mandates and requests.
const (
	EventIssued    EventType = "issued"
	EventDelegated EventType = "delegated"
	EventRevoked   EventType = "revoked"
	EventValidated EventType = "validated"
	EventAllowed   EventType = "allowed"
	EventDenied    EventType = "denied"
	EventRefused   EventType = "refused" // a change that the rules refused
)

// Administrative changes.
const (
	EventWorkspaceCreated    EventType = "workspace_created"
	EventWorkspaceUpdated    EventType = "workspace_updated"
	EventWorkspaceArchived   EventType = "workspace_archived"
	EventWorkspaceUnarchived EventType = "workspace_unarchived"
	EventWorkspaceDeleted    EventType = "workspace_deleted"
	EventWorkspaceRestored   EventType = "workspace_restored"
	EventPrincipalRegistered EventType = "principal_registered"
	EventPrincipalUpdated    EventType = "principal_updated"
	EventPrincipalSuspended  EventType = "principal_suspended"
	EventPrincipalResumed    EventType = "principal_resumed"
	EventPolicyCreated       EventType = "policy_created"
	EventPolicyUpdated       EventType = "policy_updated"
	EventPolicyDeactivated   EventType = "policy_deactivated"
	EventGrantorJoined       EventType = "grantor_joined"
	EventDestinationCreated  EventType = "destination_created"
	EventDestinationUpdated  EventType = "destination_updated"
	EventDestinationDeleted  EventType = "destination_deleted"
	EventRegoPushed          EventType = "rego_pushed"
	EventRegoActivated       EventType = "rego_activated"
	EventKeyCreated          EventType = "key_created"
	EventKeyRevoked          EventType = "key_revoked"
	EventKeyRotated          EventType = "key_rotated"
	EventMemberAdded         EventType = "member_added"
	EventMemberUpdated       EventType = "member_updated"
	EventMemberRemoved       EventType = "member_removed"
	EventMemberInvited       EventType = "member_invited"
	EventInvitationAccepted  EventType = "invitation_accepted"
	EventGroupRolesSet       EventType = "group_roles_set"
	EventSignInLinkCreated   EventType = "sign_in_link_created"
	EventSignedIn            EventType = "signed_in"
	EventSessionsEnded       EventType = "sessions_ended"
	EventGatewayEnrolled     EventType = "gateway_enrolled"
	EventGatewayRevoked      EventType = "gateway_revoked"
	EventGatewayForgotten    EventType = "gateway_forgotten"
	EventIssuerCreated       EventType = "trusted_issuer_created"
	EventIssuerUpdated       EventType = "trusted_issuer_updated"
	EventIssuerDeleted       EventType = "trusted_issuer_deleted"
	EventIssuerKeysChanged   EventType = "trusted_issuer_keys_changed"

	EventClientAuthorityCreated EventType = "client_authority_created"
	EventClientAuthorityUpdated EventType = "client_authority_updated"
	EventClientAuthorityDeleted EventType = "client_authority_deleted"
	EventRevocationEnforced     EventType = "revocation_enforced"
	EventSigningKeysRotated     EventType = "signing_keys_rotated"
	EventSigningKeyRevoked      EventType = "signing_key_revoked"
	EventSigningKeysRetired     EventType = "signing_keys_retired"
	EventRestoreAccepted        EventType = "restore_accepted"

	EventInspectionCertificateIssued EventType = "inspection_certificate_issued"
)

// EventTypes lists every type.
func EventTypes() []EventType {
	return []EventType{
		EventIssued, EventDelegated, EventRevoked, EventValidated, EventAllowed, EventDenied, EventRefused,
		EventWorkspaceCreated, EventWorkspaceUpdated, EventWorkspaceArchived, EventWorkspaceUnarchived,
		EventWorkspaceDeleted, EventWorkspaceRestored,
		EventPrincipalRegistered, EventPrincipalUpdated, EventPrincipalSuspended, EventPrincipalResumed,
		EventPolicyCreated, EventPolicyUpdated, EventPolicyDeactivated, EventGrantorJoined,
		EventDestinationCreated, EventDestinationUpdated, EventDestinationDeleted, EventRegoPushed, EventRegoActivated,
		EventKeyCreated, EventKeyRevoked, EventKeyRotated,
		EventMemberAdded, EventMemberUpdated, EventMemberRemoved,
		EventMemberInvited, EventInvitationAccepted, EventGroupRolesSet, EventSignInLinkCreated, EventSignedIn, EventSessionsEnded,
		EventGatewayEnrolled, EventGatewayRevoked, EventGatewayForgotten, EventIssuerCreated, EventIssuerUpdated, EventIssuerDeleted, EventIssuerKeysChanged,
		EventClientAuthorityCreated, EventClientAuthorityUpdated, EventClientAuthorityDeleted,
		EventRevocationEnforced,
		EventSigningKeysRotated, EventSigningKeyRevoked, EventSigningKeysRetired, EventRestoreAccepted,
		EventInspectionCertificateIssued,
	}
}

// Event is one record in the ledger of a workspace.
type Event struct {
	ID          EventID     `json:"event_id"`
	WorkspaceID WorkspaceID `json:"workspace_id"`
	Type        EventType   `json:"event_type"`
	// Time is when it happened, on the control plane's clock.
	Time time.Time `json:"time"`
	// Sequence orders the administrative events of a workspace without gaps; 0 for a gateway's decisions, which
	// are ordered by (gateway, epoch, gateway_sequence).
	Sequence int64 `json:"sequence,omitempty"`

	// ActorID is the principal that acted; ActorKeyID the key it used.
	ActorID     PrincipalID   `json:"actor_id,omitempty"`
	ActorKeyID  KeyID         `json:"actor_key_id,omitempty"`
	PrincipalID PrincipalID   `json:"principal_id,omitempty"`
	MandateID   MandateID     `json:"mandate_id,omitempty"`
	PolicyID    PolicyID      `json:"policy_id,omitempty"`
	Resource    Resource      `json:"resource,omitempty"`
	Action      Action        `json:"action,omitempty"`
	DecisionID  DecisionID    `json:"decision_id,omitempty"`
	Reason      Reason        `json:"reason,omitempty"`
	PolicyCode  string        `json:"policy_code,omitempty"` // the Rego policy's own code
	Message     string        `json:"message,omitempty"`
	Revision    uint64        `json:"revision,omitempty"` // of the workspace: the change's own, or the one judged against
	RegoVersion RegoVersionID `json:"rego_version_id,omitempty"`

	Request *RequestRecord `json:"request,omitempty"`
	Outcome *Outcome       `json:"outcome,omitempty"`
	Gateway *GatewayRecord `json:"gateway,omitempty"`
	// Detail holds what only this type of event has, such as the values before and after a change.
	Detail map[string]any `json:"detail,omitempty"`
}

// RequestRecord is what was asked of a gateway. Values of query parameters are not kept, only their names.
type RequestRecord struct {
	Mode   string   `json:"mode"`
	Method string   `json:"method"`
	Scheme string   `json:"scheme,omitempty"`
	Host   string   `json:"host,omitempty"`
	Port   uint16   `json:"port,omitempty"`
	Path   string   `json:"path,omitempty"`
	Query  []string `json:"query,omitempty"`
	Source string   `json:"source,omitempty"` // address of the caller
}

// Outcome is what Envoy did with the request after the decision.
type Outcome struct {
	Status        int    `json:"status"`
	BytesSent     uint64 `json:"bytes_sent"`
	BytesReceived uint64 `json:"bytes_received"`
	DurationMS    int64  `json:"duration_ms"`
	Details       string `json:"details,omitempty"` // Envoy's response code details
	Upstream      string `json:"upstream,omitempty"`
	// EndedBy is why the gateway ended the request after it had been permitted; empty when it did not.
	EndedBy Reason `json:"ended_by,omitempty"`
}

// GatewayRecord says which gateway process recorded an event, and as which of its records.
type GatewayRecord struct {
	ID       GatewayID `json:"gateway_id"`
	Epoch    uint64    `json:"epoch"`
	Sequence uint64    `json:"sequence"`
}

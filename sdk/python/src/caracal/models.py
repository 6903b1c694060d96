"""What the server answers, generated from its OpenAPI document by `generate/models.py`."""

from __future__ import annotations

from typing import Any, ClassVar

from caracal.records import Record

__all__ = [
    "AccessToken",
    "CertificateBinding",
    "ClientAuthority",
    "Confirmation",
    "CreatedKey",
    "CreatedWorkspace",
    "Credential",
    "Deletion",
    "DeletionGateway",
    "Destination",
    "EndedSessions",
    "Event",
    "EventGateway",
    "EventOutcome",
    "EventRequest",
    "Gateway",
    "GroupRoles",
    "GroupRolesGroupRole",
    "Health",
    "Identification",
    "IdentificationMembership",
    "Invitation",
    "Issuer",
    "IssuerBinding",
    "Key",
    "Mandate",
    "Member",
    "OpenedSession",
    "Policy",
    "Principal",
    "Quota",
    "Receipt",
    "ReceiptGateway",
    "RegisteredPrincipal",
    "RegoVersion",
    "RotatedKey",
    "Rule",
    "Session",
    "SignInLink",
    "SigningKey",
    "ValidationAnswer",
    "Workspace",
    "WorkspaceSettings",
]


class CertificateBinding(Record):
    """Certificate binding, as the server answers it."""

    kind: str
    value: str
    """The one name that is bound, exactly."""
    principal_id: str
    """An agent or a service."""


class ClientAuthority(Record):
    """Client authority, as the server answers it."""

    client_authority_id: str
    workspace_id: str
    name: str
    roots: str
    """PEM certificates that a client's certificate must chain to."""
    intermediates: str | None
    """PEM certificates that a chain may pass, beside those that the client sends."""
    bindings: list[CertificateBinding]
    created_at: str


class Credential(Record):
    """A named secret that lives at the gateway."""

    name: str
    header: str
    prefix: str | None


class Rule(Record):
    """Rule, as the server answers it."""

    rule_id: str | None
    path: str
    methods: dict[str, str]
    resource: str
    """May use the names of the path."""


class Destination(Record):
    """Destination, as the server answers it."""

    destination_id: str
    workspace_id: str
    name: str
    host: str
    """One exact name or `*.suffix`."""
    ports: list[int]
    tls: str
    ca: str | None
    """PEM certificates that the upstream must chain to; the public roots unless told."""
    connect_to: str | None
    """Host:port that is dialled instead of the requested one."""
    addresses: list[str] | None
    """Makes the destination private: it may resolve to these ranges only."""
    credential: Credential | None
    """A named secret that lives at the gateway."""
    max_duration_seconds: int | None
    encoded_slash: str
    rules: list[Rule]
    created_at: str


class EventRequest(Record):
    """Event request, as the server answers it."""

    mode: str
    method: str
    scheme: str | None
    host: str | None
    port: int | None
    path: str | None
    query: list[str] | None
    """Names of the parameters; values are not kept."""
    source: str | None


class EventOutcome(Record):
    """Event outcome, as the server answers it."""

    status: int
    bytes_sent: int
    bytes_received: int
    duration_ms: int
    details: str | None
    upstream: str | None


class EventGateway(Record):
    """Event gateway, as the server answers it."""

    gateway_id: str
    epoch: int
    sequence: int


class Event(Record):
    """Event, as the server answers it."""

    event_id: str
    workspace_id: str
    event_type: str
    time: str
    sequence: int | None
    """Orders administrative events without gaps."""
    actor_id: str | None
    actor_key_id: str | None
    principal_id: str | None
    mandate_id: str | None
    policy_id: str | None
    resource: str | None
    action: str | None
    decision_id: str | None
    reason: str | None
    policy_code: str | None
    message: str | None
    revision: int | None
    rego_version_id: str | None
    request: EventRequest | None
    outcome: EventOutcome | None
    gateway: EventGateway | None
    detail: dict[str, Any] | None


class Gateway(Record):
    """Gateway, as the server answers it."""

    gateway_id: str
    workspace_id: str
    key_id: str
    instance: str
    version: str
    acknowledged_revision: int
    """The highest that its decisions are known to enforce."""
    acknowledged_at: str | None
    connected: bool
    enrolled_at: str
    seen_at: str
    left_at: str | None
    envoy_refusal: str | None


class IssuerBinding(Record):
    """Issuer binding, as the server answers it."""

    value: str
    """The one value of the claim that is bound, exactly."""
    principal_id: str
    """An agent or a service."""


class Issuer(Record):
    """Issuer, as the server answers it."""

    trusted_issuer_id: str
    workspace_id: str
    name: str
    kind: str
    issuer: str
    """The claim iss, exactly; for SPIFFE the trust domain."""
    jwks_url: str | None
    """Where the keys are."""
    jwks: dict[str, Any] | None
    """The public keys themselves, as a JWK set."""
    ca: str | None
    """PEM certificates that the key server must chain to; the public roots unless told."""
    private_addresses: list[str]
    """Ranges that the key server may be in beside the public internet."""
    audiences: list[str]
    """The claim aud holds at least one of them."""
    claim: str
    """The member of the token that bindings are about; sub unless told."""
    algorithms: list[str]
    max_lifetime_seconds: int
    """The longest time from iat to exp, at least 60; a day unless told."""
    bindings: list[IssuerBinding]
    created_at: str


class Key(Record):
    """Key, as the server answers it."""

    key_id: str
    workspace_id: str
    kind: str
    name: str
    principal_id: str | None
    role: str | None
    """Caps what a member's key may do; absent where it may do all that the member may."""
    workspaces: list[str]
    """Those beyond its own that a member's key opens, told to that member only."""
    allowed_networks: list[str]
    """Where the key may be used from; empty means anywhere."""
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    replaces: str | None
    """The key that this one was rotated from."""


class CreatedKey(Record):
    """Created key, as the server answers it."""

    key_id: str
    workspace_id: str
    kind: str
    name: str
    principal_id: str | None
    role: str | None
    """Caps what a member's key may do; absent where it may do all that the member may."""
    workspaces: list[str]
    """Those beyond its own that a member's key opens, told to that member only."""
    allowed_networks: list[str]
    """Where the key may be used from; empty means anywhere."""
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    replaces: str | None
    """The key that this one was rotated from."""
    api_key: str
    """Told this once."""


class RotatedKey(Record):
    """Rotated key, as the server answers it."""

    key_id: str
    workspace_id: str
    kind: str
    name: str
    principal_id: str | None
    role: str | None
    """Caps what a member's key may do; absent where it may do all that the member may."""
    workspaces: list[str]
    """Those beyond its own that a member's key opens, told to that member only."""
    allowed_networks: list[str]
    """Where the key may be used from; empty means anywhere."""
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    replaces: str | None
    """The key that this one was rotated from."""
    api_key: str
    """Told this once."""
    replaced: Key


class Confirmation(Record):
    """A client certificate, by its thumbprint (RFC 8705)."""


class Mandate(Record):
    """Mandate, as the server answers it."""

    mandate_id: str
    workspace_id: str
    issuer_id: str
    subject_id: str
    resource_scope: list[str]
    action_scope: list[str]
    validity_seconds: int
    valid_from: str
    """Inclusive."""
    valid_until: str
    """Exclusive."""
    parent_mandate_id: str | None
    delegation_depth: int
    """How many further delegations are allowed."""
    level: int
    """Distance from the root of the chain."""
    requested_by: str
    consent: str
    policy_id: str
    policy_version: int
    revoked: bool
    revoked_at: str | None
    revoked_by: str | None
    created_at: str
    confirmation: Confirmation | None
    """The client certificate that its subject has to show; absent where it may do without."""
    signature: str
    """Compact JWS over the terms; verifies offline."""


class ValidationAnswer(Record):
    """Validation answer, as the server answers it."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("allowed", "decision")

    allowed: bool
    decision: str
    denial_reason: str | None
    message: str | None
    policy_code: str | None
    """The Rego policy's own code."""
    mandate_id: str
    subject_id: str | None
    decision_id: str
    inquiry: bool
    """Nobody presented the mandate: an issuer or an owner asked."""


class ReceiptGateway(Record):
    """Receipt gateway, as the server answers it."""

    gateway_id: str
    enforced_at: str | None


class Receipt(Record):
    """Receipt, as the server answers it."""

    mandate_id: str
    state: str
    revision: int
    mandates: list[str]
    """The mandate and its descendants."""
    revoked_at: str
    effective_at: str | None
    gateways: list[ReceiptGateway]


class Member(Record):
    """Member, as the server answers it."""

    principal_id: str
    workspace_id: str
    person_id: str
    """The same wherever the same person is a member."""
    name: str
    role: str
    suspended: bool
    created_at: str


class Policy(Record):
    """Policy, as the server answers it."""

    policy_id: str
    workspace_id: str
    principal_id: str
    allowed_resources: list[str]
    allowed_actions: list[str]
    max_validity_seconds: int
    delegation_depth: int
    grantors: list[str]
    """Principals with standing consent to mandates under the policy."""
    version: int
    active: bool
    created_at: str


class Principal(Record):
    """Principal, as the server answers it."""

    principal_id: str
    workspace_id: str
    name: str
    principal_type: str
    role: str | None
    metadata: dict[str, str]
    suspended: bool
    created_at: str


class RegisteredPrincipal(Record):
    """Registered principal, as the server answers it."""

    principal_id: str
    workspace_id: str
    name: str
    principal_type: str
    role: str | None
    metadata: dict[str, str]
    suspended: bool
    created_at: str
    api_key: str | None
    """Of an agent or a service, told this once."""


class RegoVersion(Record):
    """Rego version, as the server answers it."""

    rego_version_id: str
    workspace_id: str
    number: int
    modules: dict[str, str]
    data: dict[str, Any]
    message: str
    active: bool
    created_by: str
    created_at: str


class Health(Record):
    """Health, as the server answers it."""

    status: str
    database: str
    limits: str
    """Whether replicas count requests together: without Redis, and while it is unavailable, each counts for
    itself.
    """
    sign_in: str
    """How people sign in: at an OpenID provider, by one-time links only, or not at all."""
    version: str
    """Of the control plane."""


class IdentificationMembership(Record):
    """Identification membership, as the server answers it."""

    workspace_id: str
    workspace_slug: str
    principal_id: str
    role: str
    """What the key leaves of it, where there is one."""


class Session(Record):
    """Session, as the server answers it."""

    session_id: str
    kind: str
    person_id: str
    key_id: str | None
    """The key whose link opened the session."""
    issuer: str | None
    """The OpenID provider where the person signed in."""
    created_at: str
    last_seen_at: str
    """To the minute."""
    expires_at: str
    """At the latest; earlier when it is not used."""
    user_agent: str
    address: str
    current: bool
    """Whether it is the one that asks."""


class Identification(Record):
    """Identification, as the server answers it."""

    kind: str
    person_id: str | None
    key_id: str | None
    principal_id: str | None
    name: str
    email: str | None
    """As the OpenID provider told it, proven or not; it decides nothing."""
    memberships: list[IdentificationMembership]
    session: Session | None
    csrf_token: str | None
    """What a browser sends as X-CSRF-Token with every change."""


class OpenedSession(Record):
    """Opened session, as the server answers it."""

    session_token: str
    session: Session


class SignInLink(Record):
    """Sign in link, as the server answers it."""

    CONFIDENTIAL: ClassVar[tuple[str, ...]] = ("url",)

    url: str
    expires_at: str


class Invitation(Record):
    """Invitation, as the server answers it."""

    CONFIDENTIAL: ClassVar[tuple[str, ...]] = ("url",)

    principal_id: str
    url: str
    expires_at: str


class EndedSessions(Record):
    """Ended sessions, as the server answers it."""

    ended: int


class GroupRolesGroupRole(Record):
    """Group roles group role, as the server answers it."""

    group: str
    role: str


class GroupRoles(Record):
    """Group roles, as the server answers it."""

    group_roles: list[GroupRolesGroupRole]


class SigningKey(Record):
    """Signing key, as the server answers it."""

    signing_key_id: str
    """Sgk_ and the kid of what the key signs."""
    purpose: str
    state: str
    created_at: str
    not_before: str
    """Signs from then on."""
    retire_at: str
    """Signs no more from then on."""
    withdrawn_at: str | None
    """When it left the key set."""
    revoked_at: str | None


class AccessToken(Record):
    """Access token, as the server answers it."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("access_token", "expires_in")

    access_token: str
    issued_token_type: str
    token_type: str
    expires_in: int
    """Seconds."""


class WorkspaceSettings(Record):
    """Workspace settings, as the server answers it."""

    max_stream_seconds: int
    event_retention_days: int


class Workspace(Record):
    """Workspace, as the server answers it."""

    workspace_id: str
    slug: str
    name: str
    description: str
    settings: WorkspaceSettings
    revision: int
    created_at: str
    archived_at: str | None
    """Since when it is read-only; absent while it is not."""
    deleted_at: str | None
    """Since when everything in it is denied; absent while it is not deleted."""
    erase_at: str | None
    """Until when it can be restored; absent while it is not deleted."""


class CreatedWorkspace(Record):
    """Created workspace, as the server answers it."""

    workspace_id: str
    slug: str
    name: str
    description: str
    settings: WorkspaceSettings
    revision: int
    created_at: str
    archived_at: str | None
    """Since when it is read-only; absent while it is not."""
    deleted_at: str | None
    """Since when everything in it is denied; absent while it is not deleted."""
    erase_at: str | None
    """Until when it can be restored; absent while it is not deleted."""
    owner: Principal
    api_key: str
    """The owner's, told this once."""


class DeletionGateway(Record):
    """Deletion gateway, as the server answers it."""

    gateway_id: str
    enforced_at: str | None


class Deletion(Record):
    """Deletion, as the server answers it."""

    workspace: Workspace
    state: str
    revision: int
    effective_at: str | None
    gateways: list[DeletionGateway]


class Quota(Record):
    """Quota, as the server answers it."""

    quota: str
    count: int
    limit: int

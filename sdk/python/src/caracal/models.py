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
    "Destination",
    "DestinationTrialAnswer",
    "DestinationTrialAnswerDestination",
    "DestinationTrialAnswerRoute",
    "EndedMandate",
    "EndedSessions",
    "Event",
    "EventGateway",
    "EventOutcome",
    "EventRequest",
    "Gateway",
    "GatewayLease",
    "GatewayReceipt",
    "GroupRoles",
    "GroupRolesGroupRole",
    "Health",
    "HealthRestored",
    "HealthRestoredGateway",
    "Identification",
    "IdentificationMembership",
    "InspectionCA",
    "Invitation",
    "Issuer",
    "IssuerBinding",
    "Key",
    "KeySet",
    "Mandate",
    "Member",
    "OpenedSession",
    "Policy",
    "Principal",
    "Quota",
    "Receipt",
    "ReceiptSummary",
    "ReceiptTarget",
    "RegisteredPrincipal",
    "RegoVersion",
    "RevokedGateway",
    "RotatedKey",
    "Rule",
    "Session",
    "SignInLink",
    "SigningKey",
    "Suspension",
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
    client_certificate: str | None
    """Names a certificate and its key that live at the gateway, by which it identifies itself to the upstream."""
    tunnel: str | None
    """What becomes of a CONNECT: the gateway looks inside, carries the bytes unseen, or has no tunnel; inspect
    unless told.
    """
    base_path: str | None
    """The label under which the first port is a path of the gateway itself: `/r/<base_path>/…`."""
    rules: list[Rule]
    created_at: str


class DestinationTrialAnswerDestination(Record):
    """Null: none serves the host."""

    destination_id: str
    name: str
    host: str


class DestinationTrialAnswerRoute(Record):
    """How the upstream is reached; null: it is not."""

    kind: str
    """At any public address, or at those that the destination lists."""
    tls: str
    connect_to: str | None
    addresses: list[str] | None
    own_roots: bool
    """The destination lists the certificates to chain to."""
    credential: str | None
    """Name of what the gateway sends along."""
    client_certificate: str | None
    """Name of what the gateway shows."""
    max_duration_seconds: int | None


class DestinationTrialAnswer(Record):
    """Destination trial answer, as the server answers it."""

    method: str
    url: str
    """In its one spelling."""
    reached: bool
    """False where the catalog refuses the request."""
    reason: str | None
    """Why it is refused, or why no mandate permits it."""
    message: str | None
    resource: str | None
    actions: list[str]
    """All of them are needed."""
    destination: DestinationTrialAnswerDestination
    """Null: none serves the host."""
    rule: Rule | None
    """Null: none maps the request."""
    tunnel: str
    """What becomes of a CONNECT to the host."""
    route: DestinationTrialAnswerRoute
    """How the upstream is reached; null: it is not."""
    principal_id: str | None
    mandate_id: str | None
    """The mandate that permits the request, or the one that was named."""
    selected: bool
    """It was not named."""
    permitted: bool | None
    """Null: nobody was said to send it, or each request in the tunnel is judged by itself."""


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
    ended_by: str | None
    """Why the gateway ended the request after it had been permitted, such as `mandate_revoked`."""


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


class GatewayLease(Record):
    """Gateway lease, as the server answers it."""

    number: int
    term_seconds: int
    granted_at: str
    ends_at: str
    """When it ends unless it is renewed, as far as clocks agree; nothing is concluded from it."""
    over_at: str | None
    """When it was known to be over; null while it runs."""


class Gateway(Record):
    """Gateway, as the server answers it."""

    gateway_id: str
    workspace_id: str
    key_id: str
    instance: str
    version: str
    address: str
    """Of its gateway port, as it says."""
    state: str
    """`in_sync` enforces the newest revision; `behind` decides and does not; `fenced` has no lease and denies
    everything; `gone` has ended, was declared dead, was replaced, or has been silent for a day after its lease;
    `revoked` gets no lease any more.
    """
    acknowledged_revision: int
    """The highest that its decisions are known to enforce."""
    acknowledged_at: str | None
    lag_seconds: int
    """The age of the newest revision where the gateway does not enforce it yet, else 0."""
    lease: GatewayLease | None
    """The lease that was granted last; null before the first."""
    connected: bool
    enrolled_at: str
    seen_at: str
    left_at: str | None
    """When it ended on purpose."""
    superseded_at: str | None
    """When another process started in its place."""
    revoked_at: str | None
    forgotten_at: str | None
    """When it was declared dead."""
    envoy_revision: int
    """The revision whose configuration its Envoy accepted last."""
    envoy_current: bool
    """Its Envoy has accepted the configuration of the enforced revision."""
    envoy_refusal: str | None
    """What its Envoy said against the configuration; absent when it accepted it."""
    decisions_per_second: float
    """As it last reported."""
    live_watches: int
    """Live streams that end with their authority, as it last reported."""
    queued_events: int
    """Decision events that it has not shipped yet, as it last reported."""
    reported_at: str | None


class ReceiptTarget(Record):
    """What the revocation was asked for."""

    mandate_id: str | None
    principal_id: str | None
    workspace_id: str | None
    gateway_id: str | None
    subject_id: str | None
    issuer_id: str | None
    under_mandate_id: str | None


class GatewayReceipt(Record):
    """Gateway receipt, as the server answers it."""

    gateway_id: str
    instance: str
    lease: int
    """The number of its lease when the revocation was made."""
    fenced_until: str | None
    """By when its lease is over at the latest, as far as clocks can tell; null where only its acknowledgement or
    an operator ends the wait.
    """
    enforced_at: str | None
    """When it acknowledged."""
    fenced_at: str | None
    """When its lease was known to be over."""
    streams_cut: int


class Receipt(Record):
    """Receipt, as the server answers it."""

    receipt_id: str
    workspace_id: str
    kind: str
    target: ReceiptTarget
    """What the revocation was asked for."""
    state: str
    """`pending`: committed, and not known to be in force everywhere; `withdrawn`: undone before it was in force
    everywhere.
    """
    revision: int
    """Of the workspace; gateways acknowledge it."""
    timeline: str
    """The history that the revision counts in."""
    requested_by: str
    revoked_at: str
    created_at: str
    mandate_count: int
    """How many mandates were ended; a suspension and a deletion end none."""
    mandates_digest: str
    """The SHA-256, in base64, of their ids in the order of their bytes, each with a line feed behind it."""
    settling_ms: int
    """For how long what was let through just before may last once every gateway enforces the revocation."""
    effective_at: str | None
    """Since when it is in force everywhere."""
    withdrawn_at: str | None
    signature: str
    """JWS by the workspace's receipt key; empty until the receipt is enforced."""
    mandate_id: str | None
    mandates: list[str]
    """The first of those that were ended, from the top."""
    gateways: list[GatewayReceipt]
    """All that might have decided without knowing of the revocation when it was made."""
    streams_cut: int
    """Live streams that were ended."""


class RevokedGateway(Record):
    """Revoked gateway, as the server answers it."""

    gateway_id: str
    workspace_id: str
    key_id: str
    instance: str
    version: str
    address: str
    """Of its gateway port, as it says."""
    state: str
    """`in_sync` enforces the newest revision; `behind` decides and does not; `fenced` has no lease and denies
    everything; `gone` has ended, was declared dead, was replaced, or has been silent for a day after its lease;
    `revoked` gets no lease any more.
    """
    acknowledged_revision: int
    """The highest that its decisions are known to enforce."""
    acknowledged_at: str | None
    lag_seconds: int
    """The age of the newest revision where the gateway does not enforce it yet, else 0."""
    lease: GatewayLease | None
    """The lease that was granted last; null before the first."""
    connected: bool
    enrolled_at: str
    seen_at: str
    left_at: str | None
    """When it ended on purpose."""
    superseded_at: str | None
    """When another process started in its place."""
    revoked_at: str | None
    forgotten_at: str | None
    """When it was declared dead."""
    envoy_revision: int
    """The revision whose configuration its Envoy accepted last."""
    envoy_current: bool
    """Its Envoy has accepted the configuration of the enforced revision."""
    envoy_refusal: str | None
    """What its Envoy said against the configuration; absent when it accepted it."""
    decisions_per_second: float
    """As it last reported."""
    live_watches: int
    """Live streams that end with their authority, as it last reported."""
    queued_events: int
    """Decision events that it has not shipped yet, as it last reported."""
    reported_at: str | None
    receipt: Receipt


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
    single_use: bool | None
    """Of a gateway's key that enrols one process only; absent where it enrols any number."""


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
    single_use: bool | None
    """Of a gateway's key that enrols one process only; absent where it enrols any number."""
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
    single_use: bool | None
    """Of a gateway's key that enrols one process only; absent where it enrols any number."""
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


class Suspension(Record):
    """Suspension, as the server answers it."""

    principal_id: str
    workspace_id: str
    name: str
    principal_type: str
    role: str | None
    metadata: dict[str, str]
    suspended: bool
    created_at: str
    receipt: Receipt


class ReceiptSummary(Record):
    """Receipt summary, as the server answers it."""

    receipt_id: str
    workspace_id: str
    kind: str
    target: ReceiptTarget
    """What the revocation was asked for."""
    state: str
    """`pending`: committed, and not known to be in force everywhere; `withdrawn`: undone before it was in force
    everywhere.
    """
    revision: int
    """Of the workspace; gateways acknowledge it."""
    timeline: str
    """The history that the revision counts in."""
    requested_by: str
    revoked_at: str
    created_at: str
    mandate_count: int
    """How many mandates were ended; a suspension and a deletion end none."""
    mandates_digest: str
    """The SHA-256, in base64, of their ids in the order of their bytes, each with a line feed behind it."""
    settling_ms: int
    """For how long what was let through just before may last once every gateway enforces the revocation."""
    effective_at: str | None
    """Since when it is in force everywhere."""
    withdrawn_at: str | None
    signature: str
    """JWS by the workspace's receipt key; empty until the receipt is enforced."""


class EndedMandate(Record):
    """Ended mandate, as the server answers it."""

    mandate_id: str


class KeySet(Record):
    """Key set, as the server answers it."""

    key_set: str
    """A JWS by the root."""
    root: str
    """The SHA-256 of the root's public key in base32; every gateway key carries it."""


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


class HealthRestoredGateway(Record):
    """Health restored gateway, as the server answers it."""

    gateway_id: str
    revision: int
    """That the gateway enforces."""
    database_revision: int
    """That the database was at."""
    proven: bool
    """The workspace's own keys have signed what the gateway enforces."""


class HealthRestored(Record):
    """What gateways enforce that the database does not have, where they do."""

    since: str | None
    """When that was found; null where the database is relied on and a gateway has reported since."""
    gateways: list[HealthRestoredGateway]


class Health(Record):
    """Health, as the server answers it."""

    status: str
    database: str
    """Restored: from a backup, and nobody is served before an operator accepts that."""
    restored: HealthRestored | None
    """What gateways enforce that the database does not have, where they do."""
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


class InspectionCA(Record):
    """Inspection ca, as the server answers it."""

    certificate: str
    """PEM."""
    not_after: str
    """When it ends."""


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
    lease_seconds: int
    """For how long a gateway decides without hearing from the control plane, and a revocation may have to wait for
    one that cannot be reached; 0 means 60.
    """
    short_request_seconds: int
    """Requests to destinations whose maximum duration is no longer end by themselves and are not watched; 0 has
    every request watched.
    """


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


class Deletion(Record):
    """Deletion, as the server answers it."""

    workspace: Workspace
    state: str
    """Of the receipt; so are the revision and the rest."""
    revision: int
    effective_at: str | None
    gateways: list[GatewayReceipt]
    receipt: Receipt


class Quota(Record):
    """Quota, as the server answers it."""

    quota: str
    count: int
    limit: int

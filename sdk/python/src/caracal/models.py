"""What the server answers, generated from its OpenAPI document by `generate/models.py`."""

from __future__ import annotations

from typing import Any, ClassVar

from caracal.records import Record

__all__ = [
    "AccessToken",
    "CreatedKey",
    "CreatedWorkspace",
    "Credential",
    "Destination",
    "Event",
    "EventGateway",
    "EventOutcome",
    "EventRequest",
    "Gateway",
    "Health",
    "Key",
    "Mandate",
    "Policy",
    "Principal",
    "Receipt",
    "ReceiptGateway",
    "RegisteredPrincipal",
    "RegoVersion",
    "Rule",
    "ValidationAnswer",
    "Workspace",
    "WorkspaceSettings",
]


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
    """May use the names of the path, as in `api:github/{owner}/{repo}`."""


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


class Key(Record):
    """Key, as the server answers it."""

    key_id: str
    workspace_id: str
    kind: str
    name: str
    principal_id: str | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None


class CreatedKey(Record):
    """Created key, as the server answers it."""

    key_id: str
    workspace_id: str
    kind: str
    name: str
    principal_id: str | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    api_key: str
    """Told this once."""


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


class CreatedWorkspace(Record):
    """Created workspace, as the server answers it."""

    workspace_id: str
    slug: str
    name: str
    description: str
    settings: WorkspaceSettings
    revision: int
    created_at: str
    owner: Principal
    api_key: str
    """The owner's, told this once."""

"""The server's operations, generated from its OpenAPI document by `generate/models.py`."""

from typing import Final, NamedTuple


class Operation(NamedTuple):
    """Where an operation is."""

    name: str
    method: str
    path: str


ACTIVATE_REGO: Final = Operation("activateRego", "POST", "/api/v1/rego-versions/{id}/activate")
CREATE_DESTINATION: Final = Operation("createDestination", "POST", "/api/v1/destinations")
CREATE_KEY: Final = Operation("createKey", "POST", "/api/v1/keys")
CREATE_POLICY: Final = Operation("createPolicy", "POST", "/api/v1/policies")
CREATE_WORKSPACE: Final = Operation("createWorkspace", "POST", "/api/v1/workspaces")
DEACTIVATE_POLICY: Final = Operation("deactivatePolicy", "POST", "/api/v1/policies/{id}/deactivate")
DELEGATE_MANDATE: Final = Operation("delegateMandate", "POST", "/api/v1/mandates/{id}/delegate")
DELETE_DESTINATION: Final = Operation("deleteDestination", "DELETE", "/api/v1/destinations/{id}")
EXCHANGE_TOKEN: Final = Operation("exchangeToken", "POST", "/api/v1/token")
GET_DESTINATION: Final = Operation("getDestination", "GET", "/api/v1/destinations/{id}")
GET_EVENT: Final = Operation("getEvent", "GET", "/api/v1/events/{id}")
GET_MANDATE: Final = Operation("getMandate", "GET", "/api/v1/mandates/{id}")
GET_POLICY: Final = Operation("getPolicy", "GET", "/api/v1/policies/{id}")
GET_PRINCIPAL: Final = Operation("getPrincipal", "GET", "/api/v1/principals/{id}")
GET_REGO_VERSION: Final = Operation("getRegoVersion", "GET", "/api/v1/rego-versions/{id}")
GET_WORKSPACE: Final = Operation("getWorkspace", "GET", "/api/v1/workspaces/{id}")
HEALTH: Final = Operation("health", "GET", "/health")
ISSUE_MANDATE: Final = Operation("issueMandate", "POST", "/api/v1/mandates")
JOIN_POLICY: Final = Operation("joinPolicy", "POST", "/api/v1/policies/{id}/join")
LIST_DESTINATIONS: Final = Operation("listDestinations", "GET", "/api/v1/destinations")
LIST_EVENTS: Final = Operation("listEvents", "GET", "/api/v1/events")
LIST_GATEWAYS: Final = Operation("listGateways", "GET", "/api/v1/gateways")
LIST_KEYS: Final = Operation("listKeys", "GET", "/api/v1/keys")
LIST_MANDATES: Final = Operation("listMandates", "GET", "/api/v1/mandates")
LIST_POLICIES: Final = Operation("listPolicies", "GET", "/api/v1/policies")
LIST_PRINCIPALS: Final = Operation("listPrincipals", "GET", "/api/v1/principals")
LIST_REGO_VERSIONS: Final = Operation("listRegoVersions", "GET", "/api/v1/rego-versions")
LIST_WORKSPACES: Final = Operation("listWorkspaces", "GET", "/api/v1/workspaces")
OPENAPI: Final = Operation("openapi", "GET", "/api/v1/openapi.json")
PUSH_REGO: Final = Operation("pushRego", "POST", "/api/v1/rego-versions")
READY: Final = Operation("ready", "GET", "/ready")
REGISTER_PRINCIPAL: Final = Operation("registerPrincipal", "POST", "/api/v1/principals")
REPLACE_DESTINATION: Final = Operation("replaceDestination", "PUT", "/api/v1/destinations/{id}")
RESUME_PRINCIPAL: Final = Operation("resumePrincipal", "POST", "/api/v1/principals/{id}/resume")
REVOKE_KEY: Final = Operation("revokeKey", "POST", "/api/v1/keys/{id}/revoke")
REVOKE_MANDATE: Final = Operation("revokeMandate", "POST", "/api/v1/mandates/{id}/revoke")
SUSPEND_PRINCIPAL: Final = Operation("suspendPrincipal", "POST", "/api/v1/principals/{id}/suspend")
UPDATE_POLICY: Final = Operation("updatePolicy", "PATCH", "/api/v1/policies/{id}")
VALIDATE_MANDATE: Final = Operation("validateMandate", "POST", "/api/v1/mandates/validate")

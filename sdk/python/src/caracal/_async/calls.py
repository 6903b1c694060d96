"""All regular operations, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from caracal._async.calls_client_authorities import AsyncClientAuthoritiesCalls
from caracal._async.calls_destinations import AsyncDestinationsCalls
from caracal._async.calls_events import AsyncEventsCalls
from caracal._async.calls_gateways import AsyncGatewaysCalls
from caracal._async.calls_issuers import AsyncIssuersCalls
from caracal._async.calls_keys import AsyncKeysCalls
from caracal._async.calls_mandates import AsyncMandatesCalls
from caracal._async.calls_members import AsyncMembersCalls
from caracal._async.calls_policies import AsyncPoliciesCalls
from caracal._async.calls_principals import AsyncPrincipalsCalls
from caracal._async.calls_receipts import AsyncReceiptsCalls
from caracal._async.calls_rego import AsyncRegoCalls
from caracal._async.calls_sessions import AsyncSessionsCalls
from caracal._async.calls_signing_keys import AsyncSigningKeysCalls
from caracal._async.calls_workspaces import AsyncWorkspacesCalls


class AsyncCalls(
    AsyncClientAuthoritiesCalls,
    AsyncDestinationsCalls,
    AsyncEventsCalls,
    AsyncGatewaysCalls,
    AsyncIssuersCalls,
    AsyncKeysCalls,
    AsyncMandatesCalls,
    AsyncMembersCalls,
    AsyncPoliciesCalls,
    AsyncPrincipalsCalls,
    AsyncReceiptsCalls,
    AsyncRegoCalls,
    AsyncSessionsCalls,
    AsyncSigningKeysCalls,
    AsyncWorkspacesCalls,
):
    """Operations that do what they say and no more."""

# Generated from caracal._sync by generate/sync.py; change that.

"""All regular operations, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from caracal._sync.calls_client_authorities import ClientAuthoritiesCalls
from caracal._sync.calls_destinations import DestinationsCalls
from caracal._sync.calls_events import EventsCalls
from caracal._sync.calls_gateways import GatewaysCalls
from caracal._sync.calls_issuers import IssuersCalls
from caracal._sync.calls_keys import KeysCalls
from caracal._sync.calls_mandates import MandatesCalls
from caracal._sync.calls_members import MembersCalls
from caracal._sync.calls_policies import PoliciesCalls
from caracal._sync.calls_principals import PrincipalsCalls
from caracal._sync.calls_receipts import ReceiptsCalls
from caracal._sync.calls_rego import RegoCalls
from caracal._sync.calls_sessions import SessionsCalls
from caracal._sync.calls_signing_keys import SigningKeysCalls
from caracal._sync.calls_workspaces import WorkspacesCalls


class Calls(
    ClientAuthoritiesCalls,
    DestinationsCalls,
    EventsCalls,
    GatewaysCalls,
    IssuersCalls,
    KeysCalls,
    MandatesCalls,
    MembersCalls,
    PoliciesCalls,
    PrincipalsCalls,
    ReceiptsCalls,
    RegoCalls,
    SessionsCalls,
    SigningKeysCalls,
    WorkspacesCalls,
):
    """Operations that do what they say and no more."""

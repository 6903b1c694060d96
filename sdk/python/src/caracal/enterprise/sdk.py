"""The enterprise SDK: several workspaces, central policy management, events, members, keys and gateways.

from caracal.enterprise.sdk import EnterpriseClient

client = EnterpriseClient(base_url="https://control.example:8080", api_key="member-api-key")
"""

from __future__ import annotations

from caracal._async.enterprise import AsyncEnterprise
from caracal._sync.enterprise import Enterprise
from caracal.errors import CaracalError

__all__ = ["AsyncEnterpriseClient", "CaracalError", "EnterpriseClient"]


class EnterpriseClient(Enterprise):
    """What a member's key may do: at most all of this, and with an agent's key the agent's own part.

    `base_url` is the control plane's. The client may be used by several threads at once.
    """


class AsyncEnterpriseClient(AsyncEnterprise):
    """What a member's key may do, for asyncio and trio.

    `base_url` is the control plane's. The client belongs to the event loop that it is used in first.
    """

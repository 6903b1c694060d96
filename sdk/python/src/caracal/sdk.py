"""The core SDK: authority validation and mandate management, for programs that act under a mandate.

from caracal.sdk import AuthorityClient

client = AuthorityClient(base_url="https://gateway.example:8443", api_key="agent-api-key")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from caracal import _governed
from caracal._async.authority import AsyncAuthority, AsyncProviderArguments
from caracal._governed import GatewayHealth, denial_of, raise_for_denial
from caracal._sync.authority import Authority, ProviderArguments
from caracal._wire import confirmation_of
from caracal.errors import CaracalError, Denied, EnterpriseClientRequired
from caracal.models import Mandate

if TYPE_CHECKING:
    import requests

__all__ = [
    "AsyncAuthorityClient",
    "AsyncProviderArguments",
    "AuthorityClient",
    "CaracalError",
    "Denied",
    "EnterpriseClientRequired",
    "GatewayHealth",
    "McpArguments",
    "ProviderArguments",
    "confirmation_of",
    "denial_of",
    "raise_for_denial",
]


class McpArguments(TypedDict):
    """Keyword arguments of `mcp`'s client."""

    http_client: Any


class AuthorityClient(Authority):
    """What an agent or a service does with its own key.

    `base_url` is the gateway's. The client may be used by several threads at once.
    """

    def requests_session(self, mandate: Mandate | str) -> requests.Session:
        """A session of `requests` whose every request goes through the gateway, under the mandate.

        Requests name their target as ever; a header `Authorization` is the target's. What the gateway denies comes back
        as a response: `denial_of(response)` tells it from the target's own refusals. Nothing is tried twice.

        Args:
            mandate: the mandate, or its id.

        Raises:
            ModuleNotFoundError: the package `requests` is not installed.
        """
        from caracal import _requests

        url = self._base_url + "/api/proxy"
        return _requests.session(url, _governed.mandate_id(mandate), self.token, self._context)


class AsyncAuthorityClient(AsyncAuthority):
    """What an agent or a service does with its own key, for asyncio and trio.

    `base_url` is the gateway's. The client belongs to the event loop that it is used in first.
    """

    def mcp(self, mandate: Mandate | str) -> McpArguments:
        """Keyword arguments that let `mcp.client.streamable_http.streamable_http_client` go through the gateway.

        Args:
            mandate: the mandate, or its id.

        Raises:
            ModuleNotFoundError: the package is not installed.
        """
        library = _governed.library_of("mcp")
        # As in the package's own client: a server may hold an answer open for minutes.
        return {"http_client": self._http_client(library, mandate, timeout=library.Timeout(30.0, read=300.0))}

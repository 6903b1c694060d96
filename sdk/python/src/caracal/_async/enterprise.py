"""The client of programs that administer workspaces."""

from __future__ import annotations

from caracal import _operations as op
from caracal._async.calls import AsyncCalls
from caracal._async.events import AsyncEvents
from caracal._async.mandates import AsyncMandates
from caracal._async.policies import AsyncPolicies
from caracal._wire import Call
from caracal.models import Health, InspectionCA


class AsyncEnterprise(AsyncMandates, AsyncPolicies, AsyncEvents, AsyncCalls):
    """Operations of the control plane."""

    async def health(self) -> Health:
        """Ask the control plane how it is, without a key."""
        return (await self._send(Call(op.HEALTH), authenticated=False)).record(Health)

    async def inspection_ca(self, *, workspace_slug: str | None = None) -> InspectionCA:
        """The CA to trust where gateways see inside of TLS: its certificate is PEM, for a file or an `ssl.SSLContext`.

        Args:
            workspace_slug: the workspace; that of the key unless told.
        """
        return await self.get_inspection_ca(workspace_slug=workspace_slug)

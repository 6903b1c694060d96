"""The client of programs that administer workspaces."""

from __future__ import annotations

from caracal import _operations as op
from caracal._async.calls import AsyncCalls
from caracal._async.events import AsyncEvents
from caracal._async.mandates import AsyncMandates
from caracal._async.policies import AsyncPolicies
from caracal._wire import Call
from caracal.models import Health


class AsyncEnterprise(AsyncMandates, AsyncPolicies, AsyncEvents, AsyncCalls):
    """Operations of the control plane."""

    async def health(self) -> Health:
        """Ask the control plane how it is, without a key."""
        return (await self._send(Call(op.HEALTH), authenticated=False)).record(Health)

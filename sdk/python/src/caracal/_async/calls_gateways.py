"""Regular operations on gateways, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from caracal import _operations as op
from caracal._async.connection import AsyncConnection
from caracal._wire import Call
from caracal.models import Gateway
from caracal.records import Page


class AsyncGatewaysCalls(AsyncConnection):
    """Operations on gateways."""

    async def list_gateways(self, *, workspace_slug: str | None = None) -> Page[Gateway]:
        """Enrolled gateway processes, those that left last.

        Args:
            workspace_slug: the workspace; that of the key unless told.
        """
        return await self._page(Gateway, Call(op.LIST_GATEWAYS, query={"workspace_slug": workspace_slug}))

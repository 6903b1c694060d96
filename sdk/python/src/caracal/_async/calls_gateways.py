"""Regular operations on gateways, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from caracal import _operations as op
from caracal._async.connection import AsyncConnection
from caracal._wire import Call, patience, writing
from caracal.models import Gateway, RevokedGateway
from caracal.records import Page


class AsyncGatewaysCalls(AsyncConnection):
    """Operations on gateways."""

    async def list_gateways(self, *, workspace_slug: str | None = None) -> Page[Gateway]:
        """Gateway processes that may decide or were heard of within a day, those that may decide first.

        Args:
            workspace_slug: the workspace; that of the key unless told.
        """
        return await self._page(Gateway, Call(op.LIST_GATEWAYS, query={"workspace_slug": workspace_slug}))

    async def get_gateway(self, gateway_id: str) -> Gateway:
        """One gateway process, however long ago it was heard of."""
        return await self._record(Gateway, Call(op.GET_GATEWAY, path={"id": gateway_id}))

    async def revoke_gateway(
        self,
        gateway_id: str,
        *,
        wait: float | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> RevokedGateway:
        """Revoke one gateway process: it gets no lease any more and its stream ends.

        Args:
            gateway_id: which gateway.
            wait: seconds to wait until it is in force at every gateway, up to 120; 10 unless told.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The gateway decides nothing any more.
        """
        return await self._record(
            RevokedGateway,
            Call(
                op.REVOKE_GATEWAY,
                path={"id": gateway_id},
                body={"wait": wait},
                headers=writing(idempotency_key, if_match),
                patience=patience(wait),
            ),
        )

    async def forget_gateway(
        self, gateway_id: str, *, reason: str, if_match: str | None = None, idempotency_key: str | None = None
    ) -> Gateway:
        """Declare a gateway process dead: no revocation waits for it any more.

        Args:
            gateway_id: which gateway.
            reason: how you know that the process has ended.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return await self._record(
            Gateway,
            Call(
                op.FORGET_GATEWAY,
                path={"id": gateway_id},
                body={"reason": reason},
                headers=writing(idempotency_key, if_match),
            ),
        )

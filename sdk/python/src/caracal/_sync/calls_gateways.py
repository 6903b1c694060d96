# Generated from caracal._sync by generate/sync.py; change that.

"""Regular operations on gateways, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from caracal import _operations as op
from caracal._sync.connection import Connection
from caracal._wire import Call, patience, writing
from caracal.models import Gateway, RevokedGateway
from caracal.records import Page


class GatewaysCalls(Connection):
    """Operations on gateways."""

    def list_gateways(self, *, workspace_slug: str | None = None) -> Page[Gateway]:
        """Gateway processes that may decide or were heard of within a day, those that may decide first.

        Args:
            workspace_slug: the workspace; that of the key unless told.
        """
        return self._page(Gateway, Call(op.LIST_GATEWAYS, query={"workspace_slug": workspace_slug}))

    def get_gateway(self, gateway_id: str) -> Gateway:
        """One gateway process, however long ago it was heard of."""
        return self._record(Gateway, Call(op.GET_GATEWAY, path={"id": gateway_id}))

    def revoke_gateway(
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
        return self._record(
            RevokedGateway,
            Call(
                op.REVOKE_GATEWAY,
                path={"id": gateway_id},
                body={"wait": wait},
                headers=writing(idempotency_key, if_match),
                patience=patience(wait),
            ),
        )

    def forget_gateway(
        self, gateway_id: str, *, reason: str, if_match: str | None = None, idempotency_key: str | None = None
    ) -> Gateway:
        """Declare a gateway process dead: no revocation waits for it any more.

        Args:
            gateway_id: which gateway.
            reason: how you know that the process has ended.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return self._record(
            Gateway,
            Call(
                op.FORGET_GATEWAY,
                path={"id": gateway_id},
                body={"reason": reason},
                headers=writing(idempotency_key, if_match),
            ),
        )

"""Regular operations on client authorities, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caracal import _operations as op
from caracal._async.connection import AsyncConnection
from caracal._wire import Call, writing
from caracal.models import ClientAuthority
from caracal.records import Page


class AsyncClientAuthoritiesCalls(AsyncConnection):
    """Operations on client authorities."""

    async def list_client_authorities(self, *, workspace_slug: str | None = None) -> Page[ClientAuthority]:
        """Certificate authorities whose client certificates identify callers at the gateway port.

        Args:
            workspace_slug: the workspace; that of the key unless told.
        """
        return await self._page(
            ClientAuthority, Call(op.LIST_CLIENT_AUTHORITIES, query={"workspace_slug": workspace_slug})
        )

    async def create_client_authority(
        self,
        client_authority: Mapping[str, Any],
        *,
        workspace_slug: str | None = None,
        idempotency_key: str | None = None,
    ) -> ClientAuthority:
        """Create a client authority.

        Args:
            client_authority: its `name` and `roots`, and as needed `intermediates`, `bindings`; one that was read
                may be changed and given back.
            workspace_slug: the workspace; that of the key unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return await self._record(
            ClientAuthority,
            Call(
                op.CREATE_CLIENT_AUTHORITY,
                body={**client_authority, "workspace_slug": workspace_slug},
                headers=writing(idempotency_key),
            ),
        )

    async def get_client_authority(self, client_authority_id: str) -> ClientAuthority:
        """One client authority."""
        return await self._record(ClientAuthority, Call(op.GET_CLIENT_AUTHORITY, path={"id": client_authority_id}))

    async def replace_client_authority(
        self,
        client_authority_id: str,
        client_authority: Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> ClientAuthority:
        """Replace a client authority and its bindings.

        Args:
            client_authority_id: which client authority.
            client_authority: its `name` and `roots`, and as needed `intermediates`, `bindings`; one that was read
                may be changed and given back.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return await self._record(
            ClientAuthority,
            Call(
                op.REPLACE_CLIENT_AUTHORITY,
                path={"id": client_authority_id},
                body={**client_authority},
                headers=writing(idempotency_key, if_match),
            ),
        )

    async def delete_client_authority(
        self, client_authority_id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> ClientAuthority:
        """Delete a client authority: its certificates identify nobody from then on.

        Args:
            client_authority_id: which client authority.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The client authority as it was.
        """
        return await self._record(
            ClientAuthority,
            Call(
                op.DELETE_CLIENT_AUTHORITY, path={"id": client_authority_id}, headers=writing(idempotency_key, if_match)
            ),
        )

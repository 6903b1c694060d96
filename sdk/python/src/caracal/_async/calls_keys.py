"""Regular operations on keys, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from caracal import _operations as op
from caracal._async.connection import AsyncConnection
from caracal._wire import Call, writing
from caracal.models import CreatedKey, Key, RotatedKey
from caracal.records import Page


class AsyncKeysCalls(AsyncConnection):
    """Operations on keys."""

    async def list_keys(
        self,
        *,
        kind: str | None = None,
        principal_id: str | None = None,
        q: str | None = None,
        state: str | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Key]:
        """API keys, without their secrets; one page.

        Args:
            kind: `member`, `agent`, `service` or `gateway`.
            principal_id: only those of this principal.
            q: what the name begins with, letter for letter.
            state: `active`, `expired` or `revoked`.
            created_after: only those made after this time, as RFC 3339 text.
            created_before: only those made before this time, as RFC 3339 text.
            sort: the newest first unless told; `created_at`, `-created_at`, `name` or `-name`.
            workspace_slug: the workspace; that of the key unless told.
            limit: how many at most, up to 200; 50 unless told.
            cursor: the `next_cursor` of the page before.
        """
        return await self._page(
            Key,
            Call(
                op.LIST_KEYS,
                query={
                    "kind": kind,
                    "principal_id": principal_id,
                    "q": q,
                    "state": state,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
        )

    async def iter_keys(
        self,
        *,
        kind: str | None = None,
        principal_id: str | None = None,
        q: str | None = None,
        state: str | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
    ) -> AsyncIterator[Key]:
        """Everything that `list_keys` with the same arguments would list, a page at a time."""
        async for each in self._pages(
            Key,
            Call(
                op.LIST_KEYS,
                query={
                    "kind": kind,
                    "principal_id": principal_id,
                    "q": q,
                    "state": state,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                },
            ),
        ):
            yield each

    async def create_key(
        self,
        *,
        kind: str,
        name: str,
        principal_id: str | None = None,
        role: str | None = None,
        workspaces: Sequence[str] | None = None,
        allowed_networks: Sequence[str] | None = None,
        expires_at: str | None = None,
        single_use: bool | None = None,
        workspace_slug: str | None = None,
        idempotency_key: str | None = None,
    ) -> CreatedKey:
        """Create an API key.

        Args:
            kind: `member`, `agent`, `service` or `gateway`.
            name: for people.
            principal_id: who the key acts for; nobody for a gateway's.
            role: caps what a member's key may do; `owner`, `admin`, `operator`, `policy_author`, `auditor` or
                `viewer`.
            workspaces: further workspaces that a member's key opens; for a member's own key only.
            allowed_networks: networks such as 192.0.2.0/24, or addresses, that the key may be used from; anywhere
                unless told.
            expires_at: as RFC 3339 text; never unless told.
            single_use: a gateway's key that enrols one process only and is good for that one alone.
            workspace_slug: the workspace; that of the key unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The key; `api_key` is told this once.
        """
        return await self._record(
            CreatedKey,
            Call(
                op.CREATE_KEY,
                body={
                    "kind": kind,
                    "name": name,
                    "principal_id": principal_id,
                    "role": role,
                    "workspaces": None if workspaces is None else list(workspaces),
                    "allowed_networks": None if allowed_networks is None else list(allowed_networks),
                    "expires_at": expires_at,
                    "single_use": single_use,
                    "workspace_slug": workspace_slug,
                },
                headers=writing(idempotency_key),
            ),
        )

    async def get_key(self, key_id: str) -> Key:
        """One API key, without its secret."""
        return await self._record(Key, Call(op.GET_KEY, path={"id": key_id}))

    async def rotate_key(
        self,
        key_id: str,
        *,
        overlap_seconds: int | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> RotatedKey:
        """Make a successor of a key with the same terms; the key goes on for the overlap.

        Args:
            key_id: which key.
            overlap_seconds: for how long the old key goes on.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The successor, whose `api_key` is told this once, and the key that it replaces.
        """
        return await self._record(
            RotatedKey,
            Call(
                op.ROTATE_KEY,
                path={"id": key_id},
                body={"overlap_seconds": overlap_seconds},
                headers=writing(idempotency_key, if_match),
            ),
        )

    async def revoke_key(self, key_id: str, *, if_match: str | None = None, idempotency_key: str | None = None) -> Key:
        """Revoke an API key.

        Args:
            key_id: which key.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return await self._record(
            Key, Call(op.REVOKE_KEY, path={"id": key_id}, headers=writing(idempotency_key, if_match))
        )

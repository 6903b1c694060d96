"""Regular operations on principals, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from caracal import _operations as op
from caracal._async.connection import AsyncConnection
from caracal._wire import Call, patience, writing
from caracal.models import Principal, RegisteredPrincipal, Suspension
from caracal.records import Page


class AsyncPrincipalsCalls(AsyncConnection):
    """Operations on principals."""

    async def list_principals(
        self,
        *,
        principal_type: str | None = None,
        suspended: bool | None = None,
        q: str | None = None,
        role: str | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Principal]:
        """Principals; one page.

        Args:
            principal_type: `agent`, `user` or `service`.
            suspended: only those that are suspended, or that are not.
            q: what the name begins with, letter for letter.
            role: `owner`, `admin`, `operator`, `policy_author`, `auditor` or `viewer`.
            created_after: only those made after this time, as RFC 3339 text.
            created_before: only those made before this time, as RFC 3339 text.
            sort: the newest first unless told; `created_at`, `-created_at`, `name` or `-name`.
            workspace_slug: the workspace; that of the key unless told.
            limit: how many at most, up to 200; 50 unless told.
            cursor: the `next_cursor` of the page before.
        """
        return await self._page(
            Principal,
            Call(
                op.LIST_PRINCIPALS,
                query={
                    "principal_type": principal_type,
                    "suspended": suspended,
                    "q": q,
                    "role": role,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
        )

    async def iter_principals(
        self,
        *,
        principal_type: str | None = None,
        suspended: bool | None = None,
        q: str | None = None,
        role: str | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
    ) -> AsyncIterator[Principal]:
        """Everything that `list_principals` with the same arguments would list, a page at a time."""
        async for each in self._pages(
            Principal,
            Call(
                op.LIST_PRINCIPALS,
                query={
                    "principal_type": principal_type,
                    "suspended": suspended,
                    "q": q,
                    "role": role,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                },
            ),
        ):
            yield each

    async def register_principal(
        self,
        *,
        name: str,
        principal_type: str,
        role: str | None = None,
        metadata: Mapping[str, str] | None = None,
        workspace_slug: str | None = None,
        idempotency_key: str | None = None,
    ) -> RegisteredPrincipal:
        """Register a principal.

        Args:
            name: for people.
            principal_type: `agent`, `user` or `service`.
            role: for users only: makes the user a member; `owner`, `admin`, `operator`, `policy_author`, `auditor`
                or `viewer`.
            metadata: up to 32 texts by name, which Rego policies see.
            workspace_slug: the workspace; that of the key unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The principal; an agent or a service gets its first `api_key`, told this once.
        """
        return await self._record(
            RegisteredPrincipal,
            Call(
                op.REGISTER_PRINCIPAL,
                body={
                    "name": name,
                    "principal_type": principal_type,
                    "role": role,
                    "metadata": None if metadata is None else dict(metadata),
                    "workspace_slug": workspace_slug,
                },
                headers=writing(idempotency_key),
            ),
        )

    async def get_principal(self, principal_id: str) -> Principal:
        """One principal."""
        return await self._record(Principal, Call(op.GET_PRINCIPAL, path={"id": principal_id}))

    async def update_principal(
        self,
        principal_id: str,
        *,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Principal:
        """Change the name or the metadata of a principal; what is not given stays.

        Args:
            principal_id: which principal.
            name: for people.
            metadata: up to 32 texts by name, which Rego policies see.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return await self._record(
            Principal,
            Call(
                op.UPDATE_PRINCIPAL,
                path={"id": principal_id},
                body={"name": name, "metadata": None if metadata is None else dict(metadata)},
                headers=writing(idempotency_key, if_match),
            ),
        )

    async def suspend_principal(
        self,
        principal_id: str,
        *,
        wait: float | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Suspension:
        """Suspend a principal: nothing that it issued, or that passes through it, holds until it is resumed.

        Args:
            principal_id: which principal.
            wait: seconds to wait until it is in force at every gateway, up to 120; 10 unless told.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The principal; the suspension is in force at every gateway.
        """
        return await self._record(
            Suspension,
            Call(
                op.SUSPEND_PRINCIPAL,
                path={"id": principal_id},
                body={"wait": wait},
                headers=writing(idempotency_key, if_match),
                patience=patience(wait),
            ),
        )

    async def resume_principal(
        self, principal_id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> Principal:
        """Undo a suspension.

        Args:
            principal_id: which principal.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return await self._record(
            Principal, Call(op.RESUME_PRINCIPAL, path={"id": principal_id}, headers=writing(idempotency_key, if_match))
        )

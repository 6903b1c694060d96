"""The catalog of destinations, and the workspace's own Rego policy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from caracal import _operations as op
from caracal._async.connection import AsyncConnection
from caracal._wire import Call, writing
from caracal.models import Destination, RegoVersion
from caracal.records import Page


class AsyncCatalog(AsyncConnection):
    """Operations on destinations and Rego versions."""

    async def create_destination(
        self,
        destination: Mapping[str, Any],
        *,
        workspace_slug: str | None = None,
        idempotency_key: str | None = None,
    ) -> Destination:
        """Create a destination with its rules.

        Args:
            destination: `name` and `host`, and as needed `ports`, `tls`, `ca`, `connect_to`, `addresses`, `credential`,
                `max_duration_seconds`, `encoded_slash` and `rules`, each with `path`, `methods` and `resource`.
            workspace_slug: the workspace; that of the key unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Raises:
            Conflict: another destination has this host, or a rule is as specific as another.
        """
        body = {**destination, "workspace_slug": workspace_slug}
        return await self._record(Destination, Call(op.CREATE_DESTINATION, body=body, headers=writing(idempotency_key)))

    async def get_destination(self, destination_id: str) -> Destination:
        """One destination.

        Raises:
            NotFound: there is none, or it is not the caller's to see.
        """
        return await self._record(Destination, Call(op.GET_DESTINATION, path={"id": destination_id}))

    async def list_destinations(
        self, *, workspace_slug: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Destination]:
        """One page of destinations with their rules.

        Args:
            workspace_slug: the workspace; that of the key unless told.
            limit: how many at most, up to 200; 50 unless told.
            cursor: the `next_cursor` of the page before.
        """
        query = {"workspace_slug": workspace_slug, "limit": limit, "cursor": cursor}
        return await self._page(Destination, Call(op.LIST_DESTINATIONS, query=query))

    async def iter_destinations(self, *, workspace_slug: str | None = None) -> AsyncIterator[Destination]:
        """Every destination of the workspace, a page at a time."""
        call = Call(op.LIST_DESTINATIONS, query={"workspace_slug": workspace_slug})
        async for destination in self._pages(Destination, call):
            yield destination

    async def replace_destination(
        self,
        destination_id: str,
        destination: Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Destination:
        """Replace a destination and its rules.

        Args:
            destination_id: the destination.
            destination: all of it, as in `create_destination`; one that was read may be changed and given back.
            if_match: the `etag` of the destination as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Raises:
            PreconditionFailed: it has changed since `if_match`.
        """
        call = Call(
            op.REPLACE_DESTINATION,
            path={"id": destination_id},
            body=dict(destination),
            headers=writing(idempotency_key, if_match),
        )
        return await self._record(Destination, call)

    async def delete_destination(
        self, destination_id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> Destination:
        """Delete a destination.

        Args:
            destination_id: the destination.
            if_match: the `etag` of the destination as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The destination as it was.
        """
        headers = writing(idempotency_key, if_match)
        return await self._record(
            Destination, Call(op.DELETE_DESTINATION, path={"id": destination_id}, headers=headers)
        )

    async def push_rego(
        self,
        *,
        modules: Mapping[str, str],
        data: Mapping[str, Any] | None = None,
        message: str | None = None,
        activate: bool | None = None,
        workspace_slug: str | None = None,
        idempotency_key: str | None = None,
    ) -> RegoVersion:
        """Push a version of the Rego policy. It is compiled, and its tests are run, before it is stored.

        Args:
            modules: texts by path; those of `*_test.rego` are tests.
            data: documents of the policy's own, under `data.<name>`.
            message: what is different, for people.
            activate: make it the version that every decision evaluates.
            workspace_slug: the workspace; that of the key unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Raises:
            InvalidRequest: it does not compile, or a test fails; `problems` says where and why.
        """
        body = {
            "modules": dict(modules),
            "data": dict(data) if data is not None else None,
            "message": message,
            "activate": activate,
            "workspace_slug": workspace_slug,
        }
        return await self._record(RegoVersion, Call(op.PUSH_REGO, body=body, headers=writing(idempotency_key)))

    async def get_rego_version(self, rego_version_id: str) -> RegoVersion:
        """One version of the Rego policy.

        Raises:
            NotFound: there is none, or it is not the caller's to see.
        """
        return await self._record(RegoVersion, Call(op.GET_REGO_VERSION, path={"id": rego_version_id}))

    async def list_rego_versions(
        self, *, workspace_slug: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[RegoVersion]:
        """One page of versions of the Rego policy, newest first.

        Args:
            workspace_slug: the workspace; that of the key unless told.
            limit: how many at most, up to 10.
            cursor: the `next_cursor` of the page before.
        """
        query = {"workspace_slug": workspace_slug, "limit": limit, "cursor": cursor}
        return await self._page(RegoVersion, Call(op.LIST_REGO_VERSIONS, query=query))

    async def iter_rego_versions(self, *, workspace_slug: str | None = None) -> AsyncIterator[RegoVersion]:
        """Every version of the Rego policy, newest first, a page at a time."""
        call = Call(op.LIST_REGO_VERSIONS, query={"workspace_slug": workspace_slug})
        async for version in self._pages(RegoVersion, call):
            yield version

    async def activate_rego(self, rego_version_id: str, *, idempotency_key: str | None = None) -> RegoVersion:
        """Make a version the one that every decision evaluates."""
        call = Call(op.ACTIVATE_REGO, path={"id": rego_version_id}, headers=writing(idempotency_key))
        return await self._record(RegoVersion, call)

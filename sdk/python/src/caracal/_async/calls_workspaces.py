"""Regular operations on workspaces, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caracal import _operations as op
from caracal._async.connection import AsyncConnection
from caracal._wire import Call, patience, writing
from caracal.models import CreatedWorkspace, Deletion, Quota, Workspace
from caracal.records import Page


class AsyncWorkspacesCalls(AsyncConnection):
    """Operations on workspaces."""

    async def list_workspaces(self) -> Page[Workspace]:
        """The workspaces that the caller may see."""
        return await self._page(Workspace, Call(op.LIST_WORKSPACES))

    async def create_workspace(
        self, *, name: str, slug: str, description: str | None = None, idempotency_key: str | None = None
    ) -> CreatedWorkspace:
        """Create a workspace, its owner and the owner's key.

        Args:
            name: for people.
            slug: the slug of the workspace.
            description: what it is for.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The workspace; `api_key` is told this once.
        """
        return await self._record(
            CreatedWorkspace,
            Call(
                op.CREATE_WORKSPACE,
                body={"name": name, "slug": slug, "description": description},
                headers=writing(idempotency_key),
            ),
        )

    async def get_workspace(self, slug: str) -> Workspace:
        """One workspace."""
        return await self._record(Workspace, Call(op.GET_WORKSPACE, path={"id": slug}))

    async def update_workspace(
        self,
        slug: str,
        *,
        name: str | None = None,
        description: str | None = None,
        settings: Mapping[str, Any] | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Workspace:
        """Change the name, the description or the settings of a workspace.

        What is not given stays, and so does the slug.

        Args:
            slug: the slug of the workspace.
            name: for people.
            description: what it is for.
            settings: with `max_stream_seconds`, `event_retention_days`, `lease_seconds`, `short_request_seconds`.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return await self._record(
            Workspace,
            Call(
                op.UPDATE_WORKSPACE,
                path={"id": slug},
                body={
                    "name": name,
                    "description": description,
                    "settings": None if settings is None else dict(settings),
                },
                headers=writing(idempotency_key, if_match),
            ),
        )

    async def delete_workspace(
        self, slug: str, *, wait: float | None = None, if_match: str | None = None, idempotency_key: str | None = None
    ) -> Deletion:
        """Delete a workspace: every gateway denies at once; it can be restored until `erase_at`.

        Args:
            slug: the slug of the workspace.
            wait: seconds to wait until it is in force at every gateway, up to 120; 10 unless told.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            Every gateway of the workspace enforces the deletion.
        """
        return await self._record(
            Deletion,
            Call(
                op.DELETE_WORKSPACE,
                path={"id": slug},
                query={"wait": wait},
                headers=writing(idempotency_key, if_match),
                patience=patience(wait),
            ),
        )

    async def archive_workspace(
        self, slug: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> Workspace:
        """Make a workspace read-only: nothing gives authority any more, and what takes it away stays open.

        Args:
            slug: the slug of the workspace.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return await self._record(
            Workspace, Call(op.ARCHIVE_WORKSPACE, path={"id": slug}, headers=writing(idempotency_key, if_match))
        )

    async def unarchive_workspace(
        self, slug: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> Workspace:
        """Open an archived workspace again.

        Args:
            slug: the slug of the workspace.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return await self._record(
            Workspace, Call(op.UNARCHIVE_WORKSPACE, path={"id": slug}, headers=writing(idempotency_key, if_match))
        )

    async def restore_workspace(
        self, slug: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> Workspace:
        """Undo the deletion of a workspace.

        Args:
            slug: the slug of the workspace.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return await self._record(
            Workspace, Call(op.RESTORE_WORKSPACE, path={"id": slug}, headers=writing(idempotency_key, if_match))
        )

    async def get_workspace_usage(self, slug: str) -> Page[Quota]:
        """How much of each quota the workspace has used."""
        return await self._page(Quota, Call(op.GET_WORKSPACE_USAGE, path={"id": slug}))

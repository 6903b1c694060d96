# Generated from caracal._sync by generate/sync.py; change that.

"""Regular operations on rego, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from caracal import _operations as op
from caracal._sync.connection import Connection
from caracal._wire import Call, writing
from caracal.models import RegoVersion
from caracal.records import Page


class RegoCalls(Connection):
    """Operations on rego."""

    def list_rego_versions(
        self,
        *,
        active: bool | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[RegoVersion]:
        """Versions of the Rego policy, newest first, ten a page at most; one page.

        Args:
            active: only those that are active, or that are not.
            created_after: only those made after this time, as RFC 3339 text.
            created_before: only those made before this time, as RFC 3339 text.
            sort: the newest first unless told; `created_at` or `-created_at`.
            workspace_slug: the workspace; that of the key unless told.
            limit: how many at most, up to 200; 50 unless told.
            cursor: the `next_cursor` of the page before.
        """
        return self._page(
            RegoVersion,
            Call(
                op.LIST_REGO_VERSIONS,
                query={
                    "active": active,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
        )

    def iter_rego_versions(
        self,
        *,
        active: bool | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
    ) -> Iterator[RegoVersion]:
        """Everything that `list_rego_versions` with the same arguments would list, a page at a time."""
        for each in self._pages(
            RegoVersion,
            Call(
                op.LIST_REGO_VERSIONS,
                query={
                    "active": active,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                },
            ),
        ):
            yield each

    def push_rego(
        self,
        *,
        modules: Mapping[str, str],
        data: Mapping[str, Any] | None = None,
        message: str | None = None,
        activate: bool | None = None,
        workspace_slug: str | None = None,
        idempotency_key: str | None = None,
    ) -> RegoVersion:
        """Push a version: it is compiled and its tests are run before it is stored.

        Args:
            modules: texts by path; `*_test.rego` are tests.
            data: documents of the policy's own, under data.<name>.
            message: what is different, for people.
            activate: make it the version that every decision evaluates.
            workspace_slug: the workspace; that of the key unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return self._record(
            RegoVersion,
            Call(
                op.PUSH_REGO,
                body={
                    "modules": dict(modules),
                    "data": None if data is None else dict(data),
                    "message": message,
                    "activate": activate,
                    "workspace_slug": workspace_slug,
                },
                headers=writing(idempotency_key),
            ),
        )

    def get_rego_version(self, rego_version_id: str) -> RegoVersion:
        """One version."""
        return self._record(RegoVersion, Call(op.GET_REGO_VERSION, path={"id": rego_version_id}))

    def activate_rego(
        self, rego_version_id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> RegoVersion:
        """Make a version the one that every decision evaluates.

        Args:
            rego_version_id: which rego version.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return self._record(
            RegoVersion,
            Call(op.ACTIVATE_REGO, path={"id": rego_version_id}, headers=writing(idempotency_key, if_match)),
        )

# Generated from caracal._sync by generate/sync.py; change that.

"""Regular operations on policies, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from collections.abc import Iterator

from caracal import _operations as op
from caracal._sync.connection import Connection
from caracal._wire import Call, writing
from caracal.models import Policy
from caracal.records import Page


class PoliciesCalls(Connection):
    """Operations on policies."""

    def list_policies(
        self,
        *,
        principal_id: str | None = None,
        active: bool | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Policy]:
        """Authority policies; one page.

        Args:
            principal_id: only those of this principal.
            active: only those that are active, or that are not.
            created_after: only those made after this time, as RFC 3339 text.
            created_before: only those made before this time, as RFC 3339 text.
            sort: the newest first unless told; `created_at` or `-created_at`.
            workspace_slug: the workspace; that of the key unless told.
            limit: how many at most, up to 200; 50 unless told.
            cursor: the `next_cursor` of the page before.
        """
        return self._page(
            Policy,
            Call(
                op.LIST_POLICIES,
                query={
                    "principal_id": principal_id,
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

    def iter_policies(
        self,
        *,
        principal_id: str | None = None,
        active: bool | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
    ) -> Iterator[Policy]:
        """Everything that `list_policies` with the same arguments would list, a page at a time."""
        for each in self._pages(
            Policy,
            Call(
                op.LIST_POLICIES,
                query={
                    "principal_id": principal_id,
                    "active": active,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                },
            ),
        ):
            yield each

    def get_policy(self, policy_id: str) -> Policy:
        """One policy."""
        return self._record(Policy, Call(op.GET_POLICY, path={"id": policy_id}))

    def deactivate_policy(
        self, policy_id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> Policy:
        """End a policy; mandates that exist already stay.

        Args:
            policy_id: which policy.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return self._record(
            Policy, Call(op.DEACTIVATE_POLICY, path={"id": policy_id}, headers=writing(idempotency_key, if_match))
        )

    def join_policy(self, policy_id: str, *, if_match: str | None = None, idempotency_key: str | None = None) -> Policy:
        """Become a grantor of a policy: standing consent to mandates under it.

        Args:
            policy_id: which policy.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return self._record(
            Policy, Call(op.JOIN_POLICY, path={"id": policy_id}, headers=writing(idempotency_key, if_match))
        )

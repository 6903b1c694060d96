# Generated from caracal._sync by generate/sync.py; change that.

"""Regular operations on mandates, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from collections.abc import Iterator

from caracal import _operations as op
from caracal._sync.connection import Connection
from caracal._wire import Call
from caracal.models import Mandate
from caracal.records import Page


class MandatesCalls(Connection):
    """Operations on mandates."""

    def list_mandates(
        self,
        *,
        issuer_id: str | None = None,
        subject_id: str | None = None,
        parent_mandate_id: str | None = None,
        revoked: bool | None = None,
        principal_id: str | None = None,
        state: str | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Mandate]:
        """Mandates; with an agent's key its own; one page.

        Args:
            issuer_id: only those that this principal granted.
            subject_id: only those that were granted to this principal.
            parent_mandate_id: only those that were cut from this mandate.
            revoked: only those that are revoked, or that are not.
            principal_id: only those of this principal.
            state: what has become of the mandate itself; `active`, `scheduled`, `expired` or `revoked`.
            created_after: only those made after this time, as RFC 3339 text.
            created_before: only those made before this time, as RFC 3339 text.
            sort: the newest first unless told; `created_at`, `-created_at`, `valid_until` or `-valid_until`.
            workspace_slug: the workspace; that of the key unless told.
            limit: how many at most, up to 200; 50 unless told.
            cursor: the `next_cursor` of the page before.
        """
        return self._page(
            Mandate,
            Call(
                op.LIST_MANDATES,
                query={
                    "issuer_id": issuer_id,
                    "subject_id": subject_id,
                    "parent_mandate_id": parent_mandate_id,
                    "revoked": revoked,
                    "principal_id": principal_id,
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

    def iter_mandates(
        self,
        *,
        issuer_id: str | None = None,
        subject_id: str | None = None,
        parent_mandate_id: str | None = None,
        revoked: bool | None = None,
        principal_id: str | None = None,
        state: str | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
    ) -> Iterator[Mandate]:
        """Everything that `list_mandates` with the same arguments would list, a page at a time."""
        for each in self._pages(
            Mandate,
            Call(
                op.LIST_MANDATES,
                query={
                    "issuer_id": issuer_id,
                    "subject_id": subject_id,
                    "parent_mandate_id": parent_mandate_id,
                    "revoked": revoked,
                    "principal_id": principal_id,
                    "state": state,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                },
            ),
        ):
            yield each

    def get_mandate(self, mandate_id: str) -> Mandate:
        """One mandate."""
        return self._record(Mandate, Call(op.GET_MANDATE, path={"id": mandate_id}))

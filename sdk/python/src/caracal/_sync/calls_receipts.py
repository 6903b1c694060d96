# Generated from caracal._sync by generate/sync.py; change that.

"""Regular operations on receipts, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from collections.abc import Iterator

from caracal import _operations as op
from caracal._sync.connection import Connection
from caracal._wire import Call, patience, writing
from caracal.models import EndedMandate, Receipt, ReceiptSummary
from caracal.records import Page


class ReceiptsCalls(Connection):
    """Operations on receipts."""

    def revoke_mandates(
        self,
        *,
        subject_id: str | None = None,
        issuer_id: str | None = None,
        under_mandate_id: str | None = None,
        workspace_slug: str | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Revoke all mandates that a filter names, and all that was delegated from them, at once.

        Args:
            subject_id: what was given to this principal.
            issuer_id: what this principal gave.
            under_mandate_id: what was delegated from this mandate, directly and further down.
            workspace_slug: the workspace; that of the key unless told.
            wait: seconds to wait until it is in force at every gateway, up to 120; 10 unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The receipt; the revocation is in force at every gateway.
        """
        return self._record(
            Receipt,
            Call(
                op.REVOKE_MANDATES,
                body={
                    "subject_id": subject_id,
                    "issuer_id": issuer_id,
                    "under_mandate_id": under_mandate_id,
                    "workspace_slug": workspace_slug,
                    "wait": wait,
                },
                headers=writing(idempotency_key),
                patience=patience(wait),
            ),
        )

    def list_receipts(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        requested_by: str | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[ReceiptSummary]:
        """Receipts, without their gateways; an agent's own, and those that ended a mandate of its own; one page.

        Args:
            state: `pending`, `enforced` or `withdrawn`.
            kind: `mandate`, `mandates`, `principal`, `workspace` or `gateway`.
            requested_by: who asked for the revocation.
            created_after: only those made after this time, as RFC 3339 text.
            created_before: only those made before this time, as RFC 3339 text.
            sort: the newest first unless told; `created_at` or `-created_at`.
            workspace_slug: the workspace; that of the key unless told.
            limit: how many at most, up to 200; 50 unless told.
            cursor: the `next_cursor` of the page before.
        """
        return self._page(
            ReceiptSummary,
            Call(
                op.LIST_RECEIPTS,
                query={
                    "state": state,
                    "kind": kind,
                    "requested_by": requested_by,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
        )

    def iter_receipts(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        requested_by: str | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
    ) -> Iterator[ReceiptSummary]:
        """Everything that `list_receipts` with the same arguments would list, a page at a time."""
        for each in self._pages(
            ReceiptSummary,
            Call(
                op.LIST_RECEIPTS,
                query={
                    "state": state,
                    "kind": kind,
                    "requested_by": requested_by,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                },
            ),
        ):
            yield each

    def list_receipt_mandates(
        self, receipt_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[EndedMandate]:
        """The mandates that a revocation ended, from the top; one page.

        Args:
            receipt_id: which receipt.
            limit: how many at most, up to 200; 50 unless told.
            cursor: the `next_cursor` of the page before.
        """
        return self._page(
            EndedMandate,
            Call(op.LIST_RECEIPT_MANDATES, path={"id": receipt_id}, query={"limit": limit, "cursor": cursor}),
        )

    def iter_receipt_mandates(self, receipt_id: str) -> Iterator[EndedMandate]:
        """Everything that `list_receipt_mandates` with the same arguments would list, a page at a time."""
        for each in self._pages(EndedMandate, Call(op.LIST_RECEIPT_MANDATES, path={"id": receipt_id})):
            yield each

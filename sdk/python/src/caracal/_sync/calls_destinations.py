# Generated from caracal._sync by generate/sync.py; change that.

"""Regular operations on destinations, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from caracal import _operations as op
from caracal._sync.connection import Connection
from caracal._wire import Call, writing
from caracal.models import Destination, DestinationTrialAnswer
from caracal.records import Page


class DestinationsCalls(Connection):
    """Operations on destinations."""

    def list_destinations(
        self,
        *,
        q: str | None = None,
        host: str | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Destination]:
        """Destinations with their rules; one page.

        Args:
            q: what the name begins with, letter for letter.
            host: only those of this host.
            created_after: only those made after this time, as RFC 3339 text.
            created_before: only those made before this time, as RFC 3339 text.
            sort: the newest first unless told; `created_at`, `-created_at`, `name` or `-name`.
            workspace_slug: the workspace; that of the key unless told.
            limit: how many at most, up to 200; 50 unless told.
            cursor: the `next_cursor` of the page before.
        """
        return self._page(
            Destination,
            Call(
                op.LIST_DESTINATIONS,
                query={
                    "q": q,
                    "host": host,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
        )

    def iter_destinations(
        self,
        *,
        q: str | None = None,
        host: str | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
    ) -> Iterator[Destination]:
        """Everything that `list_destinations` with the same arguments would list, a page at a time."""
        for each in self._pages(
            Destination,
            Call(
                op.LIST_DESTINATIONS,
                query={
                    "q": q,
                    "host": host,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                },
            ),
        ):
            yield each

    def create_destination(
        self,
        destination: Mapping[str, Any],
        *,
        accept_changes: str | None = None,
        workspace_slug: str | None = None,
        idempotency_key: str | None = None,
    ) -> Destination:
        """Create a destination.

        Args:
            destination: its `name` and `host`, and as needed `ports`, `tls`, `ca`, `connect_to`, `addresses`,
                `credential`, `max_duration_seconds`, `encoded_slash`, `client_certificate`, `tunnel`, `base_path`,
                `rules`; one that was read may be changed and given back.
            accept_changes: the digest of the report in a `changes_authority` problem: the change may touch live
                mandates as the report says.
            workspace_slug: the workspace; that of the key unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return self._record(
            Destination,
            Call(
                op.CREATE_DESTINATION,
                query={"accept_changes": accept_changes},
                body={**destination, "workspace_slug": workspace_slug},
                headers=writing(idempotency_key),
            ),
        )

    def test_destination(
        self,
        *,
        url: str,
        method: str | None = None,
        principal_id: str | None = None,
        mandate_id: str | None = None,
        workspace_slug: str | None = None,
    ) -> DestinationTrialAnswer:
        """How a request would be judged, and through what.

        Args:
            url: of the request; for the method CONNECT host:port.
            method: GET unless told.
            principal_id: who would send it; without one only the catalog is asked.
            mandate_id: the mandate that would be presented; unless told the one that would be selected.
            workspace_slug: the workspace; that of the key unless told.

        Returns:
            What the request is.
        """
        return self._record(
            DestinationTrialAnswer,
            Call(
                op.TEST_DESTINATION,
                body={
                    "url": url,
                    "method": method,
                    "principal_id": principal_id,
                    "mandate_id": mandate_id,
                    "workspace_slug": workspace_slug,
                },
            ),
        )

    def get_destination(self, destination_id: str) -> Destination:
        """One destination."""
        return self._record(Destination, Call(op.GET_DESTINATION, path={"id": destination_id}))

    def replace_destination(
        self,
        destination_id: str,
        destination: Mapping[str, Any],
        *,
        accept_changes: str | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Destination:
        """Replace a destination and its rules.

        Args:
            destination_id: which destination.
            destination: its `name` and `host`, and as needed `ports`, `tls`, `ca`, `connect_to`, `addresses`,
                `credential`, `max_duration_seconds`, `encoded_slash`, `client_certificate`, `tunnel`, `base_path`,
                `rules`; one that was read may be changed and given back.
            accept_changes: the digest of the report in a `changes_authority` problem: the change may touch live
                mandates as the report says.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return self._record(
            Destination,
            Call(
                op.REPLACE_DESTINATION,
                path={"id": destination_id},
                query={"accept_changes": accept_changes},
                body={**destination},
                headers=writing(idempotency_key, if_match),
            ),
        )

    def delete_destination(
        self,
        destination_id: str,
        *,
        accept_changes: str | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Destination:
        """Delete a destination.

        Args:
            destination_id: which destination.
            accept_changes: the digest of the report in a `changes_authority` problem: the change may touch live
                mandates as the report says.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The destination as it was.
        """
        return self._record(
            Destination,
            Call(
                op.DELETE_DESTINATION,
                path={"id": destination_id},
                query={"accept_changes": accept_changes},
                headers=writing(idempotency_key, if_match),
            ),
        )

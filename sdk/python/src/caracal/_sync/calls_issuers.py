# Generated from caracal._sync by generate/sync.py; change that.

"""Regular operations on issuers, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caracal import _operations as op
from caracal._sync.connection import Connection
from caracal._wire import Call, writing
from caracal.models import Issuer
from caracal.records import Page


class IssuersCalls(Connection):
    """Operations on issuers."""

    def list_issuers(self, *, workspace_slug: str | None = None) -> Page[Issuer]:
        """Issuers whose tokens identify workloads, the oldest first.

        Args:
            workspace_slug: the workspace; that of the key unless told.
        """
        return self._page(Issuer, Call(op.LIST_ISSUERS, query={"workspace_slug": workspace_slug}))

    def create_issuer(
        self, issuer: Mapping[str, Any], *, workspace_slug: str | None = None, idempotency_key: str | None = None
    ) -> Issuer:
        """Trust an issuer.

        Args:
            issuer: its `name` and `kind` and `issuer` and `audiences`, and as needed `trusted_issuer_id`,
                `jwks_url`, `jwks`, `ca`, `private_addresses`, `claim`, `algorithms`, `max_lifetime_seconds`,
                `bindings`, `keys`; one that was read may be changed and given back.
            workspace_slug: the workspace; that of the key unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return self._record(
            Issuer,
            Call(op.CREATE_ISSUER, body={**issuer, "workspace_slug": workspace_slug}, headers=writing(idempotency_key)),
        )

    def get_issuer(self, issuer_id: str) -> Issuer:
        """One issuer, and how its keys stand."""
        return self._record(Issuer, Call(op.GET_ISSUER, path={"id": issuer_id}))

    def replace_issuer(
        self,
        issuer_id: str,
        issuer: Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Issuer:
        """Replace an issuer and its bindings.

        Args:
            issuer_id: which issuer.
            issuer: its `name` and `kind` and `issuer` and `audiences`, and as needed `trusted_issuer_id`,
                `jwks_url`, `jwks`, `ca`, `private_addresses`, `claim`, `algorithms`, `max_lifetime_seconds`,
                `bindings`, `keys`; one that was read may be changed and given back.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return self._record(
            Issuer,
            Call(
                op.REPLACE_ISSUER, path={"id": issuer_id}, body={**issuer}, headers=writing(idempotency_key, if_match)
            ),
        )

    def delete_issuer(
        self, issuer_id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> Issuer:
        """Trust an issuer no more: its tokens identify nobody from then on.

        Args:
            issuer_id: which issuer.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The issuer as it was.
        """
        return self._record(
            Issuer, Call(op.DELETE_ISSUER, path={"id": issuer_id}, headers=writing(idempotency_key, if_match))
        )

    def refresh_issuer(self, issuer_id: str) -> Issuer:
        """Fetch the keys of an issuer now.

        Returns:
            The issuer, and how its keys stand now.
        """
        return self._record(Issuer, Call(op.REFRESH_ISSUER, path={"id": issuer_id}))

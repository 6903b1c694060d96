# Generated from caracal._sync by generate/sync.py; change that.

"""Regular operations on signing keys, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from caracal import _operations as op
from caracal._sync.connection import Connection
from caracal._wire import Call, writing
from caracal.models import InspectionCA, KeySet, SigningKey
from caracal.records import Page


class SigningKeysCalls(Connection):
    """Operations on signing keys."""

    def get_key_set(self, *, workspace_slug: str | None = None) -> KeySet:
        """The public keys that what the workspace signs is verified with, signed by its root.

        Args:
            workspace_slug: the workspace; that of the key unless told.
        """
        return self._record(KeySet, Call(op.GET_KEY_SET, query={"workspace_slug": workspace_slug}))

    def list_signing_keys(self, *, workspace_slug: str | None = None) -> Page[SigningKey]:
        """The keys that the workspace itself signs with, the newest first.

        Args:
            workspace_slug: the workspace; that of the key unless told.
        """
        return self._page(SigningKey, Call(op.LIST_SIGNING_KEYS, query={"workspace_slug": workspace_slug}))

    def get_inspection_ca(self, *, workspace_slug: str | None = None) -> InspectionCA:
        """The CA that clients of the gateways trust, so that requests inside of TLS can be decided on.

        Args:
            workspace_slug: the workspace; that of the key unless told.
        """
        return self._record(InspectionCA, Call(op.GET_INSPECTION_CA, query={"workspace_slug": workspace_slug}))

    def rotate_signing_keys(
        self, *, lead_seconds: int | None = None, workspace_slug: str | None = None, idempotency_key: str | None = None
    ) -> Page[SigningKey]:
        """Publish new signing keys, which sign after a while; while such keys wait nothing changes.

        Args:
            lead_seconds: for how long gateways know the new keys before these sign; 600 unless told.
            workspace_slug: the workspace; that of the key unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return self._page(
            SigningKey,
            Call(
                op.ROTATE_SIGNING_KEYS,
                body={"lead_seconds": lead_seconds, "workspace_slug": workspace_slug},
                headers=writing(idempotency_key),
            ),
        )

    def get_signing_key(self, signing_key_id: str) -> SigningKey:
        """One signing key."""
        return self._record(SigningKey, Call(op.GET_SIGNING_KEY, path={"id": signing_key_id}))

    def revoke_signing_key(self, signing_key_id: str, *, idempotency_key: str | None = None) -> SigningKey:
        """Take a signing key that may have leaked out of use at once, and with it all that it signed.

        Args:
            signing_key_id: which signing key.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return self._record(
            SigningKey, Call(op.REVOKE_SIGNING_KEY, path={"id": signing_key_id}, headers=writing(idempotency_key))
        )

# Generated from caracal._sync by generate/sync.py; change that.

"""Principals and their keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from caracal import _operations as op
from caracal._sync.connection import Connection
from caracal._wire import Call, writing
from caracal.models import CreatedKey, Key, Principal, RegisteredPrincipal
from caracal.records import Page


class Principals(Connection):
    """Operations on agents, users and services."""

    def register_principal(
        self,
        *,
        name: str,
        principal_type: str,
        workspace_slug: str | None = None,
        metadata: Mapping[str, str] | None = None,
        role: str | None = None,
        idempotency_key: str | None = None,
    ) -> RegisteredPrincipal:
        """Register a principal.

        Args:
            name: for people.
            principal_type: `agent`, `user` or `service`.
            workspace_slug: the workspace; that of the key unless told.
            metadata: up to 32 texts by name, which Rego policies see.
            role: of a user only: what it may do in the workspace.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The principal. An agent or a service has its first `api_key` in it, which is told this once.
        """
        body = {
            "name": name,
            "principal_type": principal_type,
            "workspace_slug": workspace_slug,
            "metadata": dict(metadata) if metadata is not None else None,
            "role": role,
        }
        call = Call(op.REGISTER_PRINCIPAL, body=body, headers=writing(idempotency_key))
        return self._record(RegisteredPrincipal, call)

    def get_principal(self, principal_id: str) -> Principal:
        """One principal.

        Raises:
            NotFound: there is none, or it is not the caller's to see.
        """
        return self._record(Principal, Call(op.GET_PRINCIPAL, path={"id": principal_id}))

    def list_principals(
        self,
        *,
        principal_type: str | None = None,
        suspended: bool | None = None,
        workspace_slug: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Principal]:
        """One page of principals.

        Args:
            principal_type: only `agent`, `user` or `service`.
            suspended: only those that are suspended, or that are not.
            workspace_slug: the workspace; that of the key unless told.
            limit: how many at most, up to 200; 50 unless told.
            cursor: the `next_cursor` of the page before.
        """
        query = {
            "principal_type": principal_type,
            "suspended": suspended,
            "workspace_slug": workspace_slug,
            "limit": limit,
            "cursor": cursor,
        }
        return self._page(Principal, Call(op.LIST_PRINCIPALS, query=query))

    def iter_principals(
        self, *, principal_type: str | None = None, suspended: bool | None = None, workspace_slug: str | None = None
    ) -> Iterator[Principal]:
        """Every principal that `list_principals` with the same arguments would list, a page at a time."""
        query = {"principal_type": principal_type, "suspended": suspended, "workspace_slug": workspace_slug}
        for principal in self._pages(Principal, Call(op.LIST_PRINCIPALS, query=query)):
            yield principal

    def suspend_principal(self, principal_id: str, *, idempotency_key: str | None = None) -> Principal:
        """Suspend a principal: nothing that it issued, or that passes through it, holds until it is resumed."""
        call = Call(op.SUSPEND_PRINCIPAL, path={"id": principal_id}, headers=writing(idempotency_key))
        return self._record(Principal, call)

    def resume_principal(self, principal_id: str, *, idempotency_key: str | None = None) -> Principal:
        """Undo a suspension."""
        call = Call(op.RESUME_PRINCIPAL, path={"id": principal_id}, headers=writing(idempotency_key))
        return self._record(Principal, call)

    def create_key(
        self,
        *,
        kind: str,
        name: str,
        principal_id: str | None = None,
        expires_at: str | None = None,
        workspace_slug: str | None = None,
        idempotency_key: str | None = None,
    ) -> CreatedKey:
        """Create an API key.

        Args:
            kind: whose it is: `agent`, `service`, `member` or `gateway`.
            name: for people.
            principal_id: whom it identifies; nobody for a gateway's.
            expires_at: when it ends, as RFC 3339 text; never unless told.
            workspace_slug: the workspace; that of the key unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The key. `api_key` is told this once.
        """
        body = {
            "kind": kind,
            "name": name,
            "principal_id": principal_id,
            "expires_at": expires_at,
            "workspace_slug": workspace_slug,
        }
        return self._record(CreatedKey, Call(op.CREATE_KEY, body=body, headers=writing(idempotency_key)))

    def list_keys(
        self,
        *,
        kind: str | None = None,
        principal_id: str | None = None,
        workspace_slug: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Key]:
        """One page of API keys, without their secrets.

        Args:
            kind: only those of this kind.
            principal_id: only those of this principal.
            workspace_slug: the workspace; that of the key unless told.
            limit: how many at most, up to 200; 50 unless told.
            cursor: the `next_cursor` of the page before.
        """
        query = {
            "kind": kind,
            "principal_id": principal_id,
            "workspace_slug": workspace_slug,
            "limit": limit,
            "cursor": cursor,
        }
        return self._page(Key, Call(op.LIST_KEYS, query=query))

    def iter_keys(
        self, *, kind: str | None = None, principal_id: str | None = None, workspace_slug: str | None = None
    ) -> Iterator[Key]:
        """Every key that `list_keys` with the same arguments would list, a page at a time."""
        query = {"kind": kind, "principal_id": principal_id, "workspace_slug": workspace_slug}
        for key in self._pages(Key, Call(op.LIST_KEYS, query=query)):
            yield key

    def revoke_key(self, key_id: str, *, idempotency_key: str | None = None) -> Key:
        """Revoke an API key. Whoever presents it is a stranger from the next request on."""
        return self._record(Key, Call(op.REVOKE_KEY, path={"id": key_id}, headers=writing(idempotency_key)))

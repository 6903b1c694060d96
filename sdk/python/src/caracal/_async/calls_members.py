"""Regular operations on members, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from caracal import _operations as op
from caracal._async.connection import AsyncConnection
from caracal._wire import Call, writing
from caracal.models import EndedSessions, GroupRoles, Invitation, Member
from caracal.records import Page


class AsyncMembersCalls(AsyncConnection):
    """Operations on members."""

    async def list_members(
        self,
        *,
        role: str | None = None,
        q: str | None = None,
        suspended: bool | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Member]:
        """Members and their roles; one page.

        Args:
            role: `owner`, `admin`, `operator`, `policy_author`, `auditor` or `viewer`.
            q: what the name begins with, letter for letter.
            suspended: only those that are suspended, or that are not.
            created_after: only those made after this time, as RFC 3339 text.
            created_before: only those made before this time, as RFC 3339 text.
            sort: the newest first unless told; `created_at`, `-created_at`, `name` or `-name`.
            workspace_slug: the workspace; that of the key unless told.
            limit: how many at most, up to 200; 50 unless told.
            cursor: the `next_cursor` of the page before.
        """
        return await self._page(
            Member,
            Call(
                op.LIST_MEMBERS,
                query={
                    "role": role,
                    "q": q,
                    "suspended": suspended,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
        )

    async def iter_members(
        self,
        *,
        role: str | None = None,
        q: str | None = None,
        suspended: bool | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sort: str | None = None,
        workspace_slug: str | None = None,
    ) -> AsyncIterator[Member]:
        """Everything that `list_members` with the same arguments would list, a page at a time."""
        async for each in self._pages(
            Member,
            Call(
                op.LIST_MEMBERS,
                query={
                    "role": role,
                    "q": q,
                    "suspended": suspended,
                    "created_after": created_after,
                    "created_before": created_before,
                    "sort": sort,
                    "workspace_slug": workspace_slug,
                },
            ),
        ):
            yield each

    async def add_member(
        self,
        *,
        name: str,
        role: str,
        person_id: str | None = None,
        workspace_slug: str | None = None,
        idempotency_key: str | None = None,
    ) -> Member:
        """Make a person a member. Only owners make owners.

        And only an owner adds somebody from another of its workspaces.

        Args:
            name: for people.
            role: `owner`, `admin`, `operator`, `policy_author`, `auditor` or `viewer`.
            person_id: of somebody who is a member of another workspace of the caller's; a new person unless told.
            workspace_slug: the workspace; that of the key unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return await self._record(
            Member,
            Call(
                op.ADD_MEMBER,
                body={"name": name, "role": role, "person_id": person_id, "workspace_slug": workspace_slug},
                headers=writing(idempotency_key),
            ),
        )

    async def get_member(self, member_id: str) -> Member:
        """One member."""
        return await self._record(Member, Call(op.GET_MEMBER, path={"id": member_id}))

    async def update_member(
        self,
        member_id: str,
        *,
        name: str | None = None,
        role: str | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Member:
        """Change a member's name or role, from its next request on. The last owner stays one.

        Args:
            member_id: which member.
            name: for people.
            role: `owner`, `admin`, `operator`, `policy_author`, `auditor` or `viewer`.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return await self._record(
            Member,
            Call(
                op.UPDATE_MEMBER,
                path={"id": member_id},
                body={"name": name, "role": role},
                headers=writing(idempotency_key, if_match),
            ),
        )

    async def remove_member(
        self, member_id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> Member:
        """Take a member's role and end its keys. Its principal stays, since events and mandates name it.

        Args:
            member_id: which member.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The member as it was.
        """
        return await self._record(
            Member, Call(op.REMOVE_MEMBER, path={"id": member_id}, headers=writing(idempotency_key, if_match))
        )

    async def invite_member(self, member_id: str) -> Invitation:
        """Make a link with which whoever signs in first becomes this member, once and within seven days.

        Returns:
            The invitation; a newer one for the same member ends it.
        """
        return await self._record(Invitation, Call(op.INVITE_MEMBER, path={"id": member_id}))

    async def end_member_sessions(self, member_id: str, *, idempotency_key: str | None = None) -> EndedSessions:
        """End every session of a member, in whatever workspace it acts.

        Args:
            member_id: which member.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            How many there were.
        """
        return await self._record(
            EndedSessions, Call(op.END_MEMBER_SESSIONS, path={"id": member_id}, headers=writing(idempotency_key))
        )

    async def get_group_roles(self, slug: str) -> GroupRoles:
        """Which groups of the OpenID provider have which role."""
        return await self._record(GroupRoles, Call(op.GET_GROUP_ROLES, path={"id": slug}))

    async def set_group_roles(
        self,
        slug: str,
        *,
        group_roles: Sequence[Mapping[str, Any]],
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> GroupRoles:
        """Say which groups have which role.

        From each person's next sign-in on. Only an owner lets a group make owners.

        Args:
            slug: the slug of the workspace.
            group_roles: with `group`, `role`.
            if_match: the `etag` of the thing as it was read; one that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
        """
        return await self._record(
            GroupRoles,
            Call(
                op.SET_GROUP_ROLES,
                path={"id": slug},
                body={"group_roles": list(group_roles)},
                headers=writing(idempotency_key, if_match),
            ),
        )

# Generated from caracal._sync by generate/sync.py; change that.

"""Workspaces, and the gateways of one."""

from __future__ import annotations

from caracal import _operations as op
from caracal._sync.connection import Connection
from caracal._wire import Call, writing
from caracal.models import CreatedWorkspace, Gateway, Workspace
from caracal.records import Page


class Workspaces(Connection):
    """Operations on workspaces."""

    def list_workspaces(self) -> Page[Workspace]:
        """The workspaces that the caller may see."""
        return self._page(Workspace, Call(op.LIST_WORKSPACES))

    def get_workspace(self, slug: str) -> Workspace:
        """One workspace.

        Raises:
            NotFound: there is none, or it is not the caller's to see.
        """
        return self._record(Workspace, Call(op.GET_WORKSPACE, path={"id": slug}))

    def create_workspace(
        self, *, name: str, slug: str, description: str | None = None, idempotency_key: str | None = None
    ) -> CreatedWorkspace:
        """Create a workspace, its owner and the owner's key. It needs the deployment's setup key.

        Args:
            name: for people.
            slug: for addresses: 3 to 40 of `a-z`, `0-9` and `-`, beginning with a letter.
            description: what it is for.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The workspace. `api_key` is its owner's, and is told this once.

        Raises:
            Conflict: the slug is taken.
            PermissionDenied: the key creates no workspaces.
        """
        body = {"name": name, "slug": slug, "description": description}
        return self._record(CreatedWorkspace, Call(op.CREATE_WORKSPACE, body=body, headers=writing(idempotency_key)))

    def list_gateways(self, *, workspace_slug: str | None = None) -> Page[Gateway]:
        """Every gateway process that enrolled, those that left last.

        Args:
            workspace_slug: the workspace; that of the key unless told.
        """
        return self._page(Gateway, Call(op.LIST_GATEWAYS, query={"workspace_slug": workspace_slug}))

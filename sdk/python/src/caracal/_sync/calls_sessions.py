# Generated from caracal._sync by generate/sync.py; change that.

"""Regular operations on sessions, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from caracal import _operations as op
from caracal._sync.connection import Connection
from caracal._wire import Call
from caracal.models import Identification, OpenedSession, Session, SignInLink
from caracal.records import Page


class SessionsCalls(Connection):
    """Operations on sessions."""

    def get_session(self) -> Identification:
        """Who the caller is, and which workspaces it may enter."""
        return self._record(Identification, Call(op.GET_SESSION))

    def end_session(self) -> None:
        """Sign out: end the session that asks."""
        self._send(Call(op.END_SESSION))

    def exchange_sign_in_code(self, *, code: str, verifier: str) -> OpenedSession:
        """Give the command line the session that somebody granted it in a browser.

        Args:
            code: the code.
            verifier: what the challenge is the SHA-256 of.

        Returns:
            The session; its token is told this once.
        """
        return self._record(OpenedSession, Call(op.EXCHANGE_SIGN_IN_CODE, body={"code": code, "verifier": verifier}))

    def list_sessions(self, *, workspace_slug: str | None = None) -> Page[Session]:
        """The caller's own sessions, the newest first.

        Args:
            workspace_slug: the workspace; that of the key unless told.
        """
        return self._page(Session, Call(op.LIST_SESSIONS, query={"workspace_slug": workspace_slug}))

    def end_sessions(self) -> None:
        """Sign out everywhere."""
        self._send(Call(op.END_SESSIONS))

    def end_one_session(self, session_id: str) -> None:
        """End one of the caller's own sessions."""
        self._send(Call(op.END_ONE_SESSION, path={"id": session_id}))

    def create_sign_in_link(self, *, workspace_slug: str | None = None) -> SignInLink:
        """Make a link that signs the holder of this key in with a browser, once and within ten minutes.

        Args:
            workspace_slug: the workspace; that of the key unless told.

        Returns:
            The link; a newer one of the same key ends it.
        """
        return self._record(SignInLink, Call(op.CREATE_SIGN_IN_LINK, query={"workspace_slug": workspace_slug}))

"""What a client has seen of workspaces, so that no later answer is from before that."""

from __future__ import annotations

import threading

HEADER = "X-Caracal-State"

# How many workspaces are remembered; the server takes no more.
MOST = 16


class States:
    """The newest state of each workspace. It may be shared by threads."""

    def __init__(self, wanted: bool) -> None:
        """Remember states if they are wanted, and nothing otherwise."""
        self._wanted = wanted
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[str, int]] = {}

    def take(self, header: str | None) -> None:
        """Take note of the states that a header names. What is malformed says nothing."""
        if not self._wanted or not header:
            return
        with self._lock:
            for text in header.split(","):
                history, _, number = text.strip().rpartition(":")
                timeline, _, workspace = history.partition("/")
                if not timeline or not workspace or not number.isdecimal():
                    continue
                known = self._seen.pop(workspace, None)
                revision = int(number)
                if known is not None and known[0] == timeline:
                    revision = max(revision, known[1])
                self._seen[workspace] = (timeline, revision)
            for workspace in list(self._seen)[:-MOST]:
                del self._seen[workspace]

    def header(self) -> str:
        """The states as a header has them; empty for none."""
        with self._lock:
            return ", ".join(f"{timeline}/{workspace}:{n}" for workspace, (timeline, n) in self._seen.items())

    def forget(self) -> None:
        """Forget everything, because what was seen may be lost."""
        with self._lock:
            self._seen.clear()

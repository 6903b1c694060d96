"""What waiting is here. The synchronous twin of this file is written by hand."""

from contextlib import AbstractContextManager

import anyio
from anyio import Lock, sleep

__all__ = ["Lock", "shielded", "sleep"]


def shielded(seconds: float) -> AbstractContextManager[object]:
    """Let a block go on for a while although its task has been cancelled."""
    return anyio.move_on_after(seconds, shield=True)

"""What waiting is here. The asynchronous twin of this file is written by hand, too."""

from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from time import sleep

__all__ = ["Lock", "shielded", "sleep"]


def shielded(seconds: float) -> AbstractContextManager[object]:
    """Nothing cancels a thread from outside."""
    return nullcontext(seconds)

"""What the tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "generate"))

from stack import Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """All of Caracal, started once."""
    running = Stack()
    yield running
    running.stop()

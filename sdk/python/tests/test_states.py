"""What a client remembers of what it has seen."""

from __future__ import annotations

import pytest

from caracal._states import MOST, States


@pytest.mark.parametrize(
    ("seen", "header"),
    [
        pytest.param([], "", id="nothing"),
        pytest.param(["t/ws_a:3"], "t/ws_a:3", id="one"),
        pytest.param(["t/ws_a:3", "t/ws_a:2"], "t/ws_a:3", id="never an earlier one"),
        pytest.param(["t/ws_a:3", "u/ws_a:2"], "u/ws_a:2", id="another timeline takes the place of the one before"),
        pytest.param(["t/ws_a:3", "t/ws_b:9"], "t/ws_a:3, t/ws_b:9", id="each workspace by itself"),
        pytest.param(["t/ws_a:3, t/ws_b:9"], "t/ws_a:3, t/ws_b:9", id="what another client hands on"),
        pytest.param(["", None, "7", "t:7", "t/ws_a:x", "t/ws_a:-1"], "", id="nothing that is malformed"),
    ],
)
def test_states(seen: list[str | None], header: str) -> None:
    states = States(True)
    for text in seen:
        states.take(text)
    assert states.header() == header


def test_no_more_than_the_server_takes() -> None:
    states = States(True)
    for n in range(MOST + 5):
        states.take(f"t/ws_{n}:1")
    assert states.header().count(",") == MOST - 1
    assert f"ws_{MOST + 4}:" in states.header()
    assert "ws_0:" not in states.header()


def test_what_is_not_wanted_or_may_be_lost_is_not_sent() -> None:
    unwanted, lost = States(False), States(True)
    for states in (unwanted, lost):
        states.take("t/ws_a:3")
    lost.forget()
    assert unwanted.header() == lost.header() == ""

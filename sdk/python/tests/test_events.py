from __future__ import annotations

import json
import threading
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caracal import _wire, errors
from caracal.enterprise.sdk import EnterpriseClient
from server import Seen, Told, problem, serving
from stack import Stack


def stream(*events: tuple[str, str]) -> Told:
    text = "retry: 0\n\n" + "".join(
        f"id: {place}\nevent: denied\ndata: {json.dumps({'event_id': event})}\n\n" for place, event in events
    )
    return Told(200, text.encode(), {"Content-Type": "text/event-stream"})


def test_a_stream_goes_on_where_it_was() -> None:
    answers = [stream(("a", "evt_1"), ("b", "evt_2")), problem(503, "unavailable"), stream(("c", "evt_3"))]
    with serving(answers) as server, EnterpriseClient(server.url, "ck_member_x") as client:
        events = list(islice(client.stream_events(event_type="denied"), 3))
    assert [(e.event_id, e.place) for e in events] == [("evt_1", "a"), ("evt_2", "b"), ("evt_3", "c")]
    assert [s.headers.get("last-event-id") for s in server.seen] == [None, "b", "b"]
    assert {s.query["event_type"] for s in server.seen} == {"denied"}


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (problem(401, "unauthenticated"), errors.AuthenticationFailed),
        (Told(200, b"<html>", {"Content-Type": "text/html"}), errors.UnexpectedAnswer),
        (Told(200, b"data: [1]\n\n", {"Content-Type": "text/event-stream"}), errors.UnexpectedAnswer),
        (Told(200, b"data: {\n\n", {"Content-Type": "text/event-stream"}), errors.UnexpectedAnswer),
        (problem(503, "unavailable"), errors.Unavailable),
    ],
)
def test_a_stream_that_cannot_go_on_ends_with_an_error(told: Told, kind: type[errors.CaracalError]) -> None:
    with (
        serving([told]) as server,
        EnterpriseClient(server.url, "ck_member_x", retries=1) as client,
        pytest.raises(kind),
    ):
        next(client.stream_events())


def test_a_message_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wire, "MAX_MESSAGE", 1000)
    with pytest.raises(errors.UnexpectedAnswer, match="larger than"):
        _wire.Messages().feed(b"data: " + b"x" * 2000)


@given(cuts=st.lists(st.integers(0, 200), max_size=6).map(sorted), end=st.sampled_from(["\n", "\r\n"]))
def test_messages_do_not_depend_on_how_they_are_cut(cuts: list[int], end: str) -> None:
    text = end.join(["retry: 10", "", ": beat", "", "id: a", "event: x", "data: {", "data: }", "", "data:1", "", ""])
    whole = text.encode()
    messages = _wire.Messages()
    found = []
    for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += messages.feed(whole[start:stop])
    assert [(m.place, m.data) for m in found] == [("a", "{\n}"), ("a", "1")]
    assert messages.retry == 0.01


def test_an_export_is_read_as_it_comes() -> None:
    body = b"a,b\n" * 100_000
    told = Told(200, body, {"Content-Type": "text/csv; charset=utf-8"})
    with serving([told]) as server, EnterpriseClient(server.url, "ck_member_x") as client:
        pieces = list(client.export_events(format="csv"))
        assert client.query_events(format="csv") == body.decode()
    assert len(pieces) > 1
    assert b"".join(pieces) == body


def test_all_events_that_match_are_on_one_list() -> None:
    def answer(seen: Seen) -> Told:
        n = int(seen.query.get("cursor", "0"))
        headers = {"Content-Type": "application/json", **({"X-Caracal-Next-Cursor": str(n + 1)} if n < 2 else {})}
        return Told(200, json.dumps([{"event_id": f"evt_{n}"}]).encode(), headers)

    with serving(answer) as server, EnterpriseClient(server.url, "ck_member_x") as client:
        assert [e.event_id for e in client.query_events(start_date="2024-01-01")] == ["evt_0", "evt_1", "evt_2"]
        page = client.query_events(limit=1)
        assert (len(page), page.next_cursor) == (1, "1")


def test_events_arrive_while_they_happen(stack: Stack, owner: EnterpriseClient) -> None:
    registered: list[str] = []
    arrived = threading.Event()

    def register() -> None:
        while not arrived.wait(0.2):
            registered.append(owner.register_principal(name="meanwhile", principal_type="agent").principal_id)

    thread = threading.Thread(target=register)
    thread.start()
    first = next(owner.stream_events(event_type="principal_registered"))
    arrived.set()
    thread.join()
    assert first.principal_id in registered
    last = owner.register_principal(name="last", principal_type="agent").principal_id
    behind = [*registered[registered.index(first.principal_id) + 1 :], last]
    again = owner.stream_events(event_type="principal_registered", after=first.place)
    assert [event.principal_id for event in islice(again, len(behind))] == behind

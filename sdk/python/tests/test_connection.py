from __future__ import annotations

import gzip
import json
import logging
import pickle
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caracal import _wire, errors
from caracal.enterprise.sdk import EnterpriseClient
from caracal.models import Mandate
from caracal.sdk import AuthorityClient
from server import Seen, Told, json_answer, problem, serving

KEY = "ck_agent_canary-of-a-key"
Owner = Callable[..., EnterpriseClient]
PRINCIPAL = {"principal_id": "prn_x", "name": "n"}


@pytest.fixture
def owner() -> Iterator[Owner]:
    """Makes clients that are closed when the test is over."""
    made: list[EnterpriseClient] = []

    def make(
        url: str, *, api_key: str | Callable[[], str] = KEY, retries: int = 3, timeout: float = 5.0
    ) -> EnterpriseClient:
        made.append(EnterpriseClient(base_url=url, api_key=api_key, retries=retries, timeout=timeout))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.mark.parametrize(
    ("base_url", "says"),
    [
        ("http://control.example", "unencrypted"),
        ("http://127.0.0.1.example.com", "unencrypted"),
        ("http://10.0.0.1", "unencrypted"),
        ("ftp://control.example", "not of the form"),
        ("control.example:8080", "not of the form"),
        ("https://", "not of the form"),
        ("https://host:0", "not of the form"),
        ("https://host:99999", "not a URL"),
        ("https://user:canary@host", "api_key"),
        ("https://host/?q=1", "query"),
        ("https://host/#f", "fragment"),
        ("", "not of the form"),
    ],
)
def test_where_a_key_does_not_go(base_url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as raised:
        EnterpriseClient(base_url=base_url, api_key=KEY)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    "base_url", ["https://control.example", "http://localhost:8080", "http://127.0.0.1:8080/", "http://[::1]:8080"]
)
def test_where_a_key_may_go(base_url: str) -> None:
    EnterpriseClient(base_url=base_url, api_key=KEY)
    EnterpriseClient(base_url="http://control.internal", api_key=KEY, allow_plain=True)


@pytest.mark.parametrize("key", ["", " ", "canary key", "canary\n", "canary\r\nX-Evil: 1", "canaryä", "k" * 20_000])
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(ValueError, match="API key") as raised:
        EnterpriseClient(base_url="https://control.example", api_key=key)
    assert "canary" not in str(raised.value)


def test_a_call_is_what_the_interface_says(owner: Owner) -> None:
    with serving([json_answer(PRINCIPAL, 201)]) as server:
        answer = owner(server.url).register_principal(name="n", principal_type="agent", metadata={"a": "b"})
    (seen,) = server.seen
    assert answer.principal_id == "prn_x"
    assert (seen.method, seen.path) == ("POST", "/api/v1/principals")
    assert seen.json == {"name": "n", "principal_type": "agent", "metadata": {"a": "b"}}
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["content-type"] == "application/json"
    assert re.fullmatch(r"[0-9a-f-]{36}", seen.headers["idempotency-key"])


@pytest.mark.parametrize(
    "first",
    [
        problem(503, "unavailable"),
        problem(429, "rate_limited"),
        Told(502, b"<html>"),
        Told(504, b""),
        Told(hang_up=True),
    ],
    ids=["503", "429", "502 of a proxy", "504 of a proxy", "no answer"],
)
def test_a_write_is_tried_again_as_the_same_write(owner: Owner, first: Told) -> None:
    with serving([first, json_answer(PRINCIPAL, 201)]) as server:
        owner(server.url).register_principal(name="n", principal_type="agent")
    one, other = server.seen
    assert one.headers["idempotency-key"] == other.headers["idempotency-key"]
    assert one.body == other.body


def test_the_caller_may_choose_the_idempotency_key(owner: Owner) -> None:
    with serving([json_answer(PRINCIPAL)]) as server:
        owner(server.url).suspend_principal("prn_x", idempotency_key="mine")
    assert server.seen[0].headers["idempotency-key"] == "mine"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_request", errors.InvalidRequest),
        (401, "unauthenticated", errors.AuthenticationFailed),
        (403, "forbidden", errors.PermissionDenied),
        (404, "not_found", errors.NotFound),
        (409, "conflict", errors.Conflict),
        (412, "precondition_failed", errors.PreconditionFailed),
        (422, "refused", errors.AuthorityRefused),
        (500, "internal_error", errors.ServerError),
        (413, "body_too_large", errors.CaracalError),
    ],
)
def test_a_refusal_is_its_exception_and_is_not_tried_again(
    owner: Owner, status: int, code: str, kind: type[errors.CaracalError]
) -> None:
    refusal = problem(status, code, detail="because", field="name", reason="a_rule", request_id="req_1")
    with serving([refusal]) as server, pytest.raises(kind) as raised:
        owner(server.url).register_principal(name="n", principal_type="agent")
    error = raised.value
    assert type(error) is kind
    assert (error.code, error.message, error.field, error.reason) == (code, "because", "name", "a_rule")
    assert (error.status, error.request_id) == (status, "req_1")
    assert len(server.seen) == 1


def test_a_change_of_the_catalog_that_touches_mandates_tells_what_and_is_accepted(owner: Owner) -> None:
    changes = {"digest": "abc", "traffic_count": 1, "mandate_count": 1, "traffic": []}
    made = json_answer({"destination_id": "dst_x", "name": "shop", "host": "shop.example.com"}, 201)
    with serving([problem(409, "changes_authority", detail="because", changes=changes), made]) as server:
        with pytest.raises(errors.Conflict) as raised:
            owner(server.url).create_destination({"name": "shop", "host": "shop.example.com"})
        assert raised.value.changes == changes
        owner(server.url).create_destination({"name": "shop", "host": "shop.example.com"}, accept_changes="abc")
    assert server.seen[1].query == {"accept_changes": "abc"}


def test_attempts_end(owner: Owner) -> None:
    with serving([problem(503, "unavailable", detail="no database")]) as server:
        with pytest.raises(errors.Unavailable, match="no database"):
            owner(server.url, retries=2).list_principals()
        assert len(server.seen) == 3
        with pytest.raises(errors.Unavailable):
            owner(server.url, retries=0).list_principals()
        assert len(server.seen) == 4


def test_a_server_that_asks_for_a_long_pause_is_left_alone(owner: Owner) -> None:
    with (
        serving([problem(429, "rate_limited", retry_after=3600)]) as server,
        pytest.raises(errors.RateLimited) as raised,
    ):
        owner(server.url).list_principals()
    assert raised.value.retry_after == 3600
    assert len(server.seen) == 1


@given(attempt=st.integers(0, 50), retry_after=st.none() | st.integers(0, 100))
def test_pauses_are_random_bounded_and_at_least_what_the_server_asks(attempt: int, retry_after: int | None) -> None:
    pause = _wire.pause_before(attempt, errors.RateLimited("m", retry_after=retry_after))
    if retry_after is not None and retry_after > _wire.MAX_RETRY_AFTER:
        assert pause is None
        return
    assert pause is not None
    least = retry_after or 0
    assert least <= pause <= least + min(_wire.MAX_PAUSE, 0.25 * 2**attempt)


def test_nobody_there_is_an_error_of_ours(owner: Owner) -> None:
    with pytest.raises(errors.Unreachable, match="no connection to the server"):
        owner("http://127.0.0.1:1", retries=0).list_principals()


def test_a_server_that_says_nothing_is_given_up(owner: Owner) -> None:
    begun = Told(headers={"Content-Type": "application/json", "Content-Length": "100"}, body=b"{")
    with serving([begun]) as server, pytest.raises(errors.Unreachable, match="in time"):
        owner(server.url, retries=0, timeout=0.1).list_principals()


def test_a_revocation_may_take_as_long_as_it_was_told_to_wait(owner: Owner) -> None:
    timeouts: list[float] = []

    class Watched(EnterpriseClient):
        def _stream(self, call: _wire.Call, authenticated: bool = True) -> object:  # type: ignore[override]
            timeouts.append(self._timeout + call.patience)
            return super()._stream(call, authenticated)

    receipt = json_answer({"mandate_id": "m", "state": "enforced"})
    with serving([receipt]) as server, Watched(server.url, KEY, timeout=5) as client:
        client.revoke_mandate("mdt_x", wait=120)
        client.revoke_mandate("mdt_x")
        client.get_receipt("rcp_x", wait=45)
    assert timeouts == [125, 15, 50]
    assert [seen.json for seen in server.seen[:2]] == [{"wait": 120}, {}]
    assert server.seen[2].query == {"wait": "45"}


def test_a_receipt_is_waited_for_until_it_is_not_pending(owner: Owner) -> None:
    states = iter(["pending", "pending", "enforced"])

    def answer(_seen: Seen) -> Told:
        return json_answer({"receipt_id": "rcp_x", "state": next(states)})

    with serving(answer) as server:
        assert owner(server.url).wait_for_receipt("rcp_x").state == "enforced"
        assert [seen.query for seen in server.seen] == [{"wait": "30.0"}] * 3


def test_a_receipt_that_stays_pending_is_told_when_the_time_is_over(owner: Owner) -> None:
    with serving([json_answer({"receipt_id": "rcp_x", "state": "pending"})]) as server:
        assert owner(server.url).wait_for_receipt("rcp_x", timeout=0).state == "pending"
        assert [seen.query for seen in server.seen] == [{"wait": "0.0"}]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_stays(owner: Owner, status: int) -> None:
    with serving([json_answer(PRINCIPAL)]) as elsewhere:
        told = Told(status, b"", {"Location": f"{elsewhere.url}/api/v1/principals", "Content-Type": "text/html"})
        with serving([told]) as server:
            with pytest.raises(errors.UnexpectedAnswer, match="redirect"):
                owner(server.url).register_principal(name="n", principal_type="agent")
            with pytest.raises(errors.UnexpectedAnswer, match="redirect"):
                list(owner(server.url).export_events(format="csv"))
        assert elsewhere.seen == []


HOSTILE = {
    "a page of somebody's portal": Told(200, b"<html>log in</html>", {"Content-Type": "text/html"}),
    "no type": Told(200, b"{}", {}),
    "no body": Told(200, b""),
    "half of an object": Told(200, b'{"principal_id": '),
    "a list": json_answer([1, 2]),
    "a name twice": Told(200, b'{"principal_id": "a", "principal_id": "b"}'),
    "NaN": Told(200, b'{"principal_id": NaN}'),
    "very deep": Told(200, b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    "a very long number": Told(200, b'{"x": ' + b"9" * 10_000 + b"}"),
    "not UTF-8": Told(200, b'{"name": "\xff\xfe"}'),
    "another type": json_answer({"principal_id": {"$ne": None}}),
    "badly compressed": Told(200, b"hello", {"Content-Type": "application/json", "Content-Encoding": "gzip"}),
    "success without sense": Told(204, b"", {}),
    "an error without sense": Told(400, b"nginx", {"Content-Type": "text/plain"}),
    "an error of wrong types": json_answer({"code": 5, "detail": {"a": 1}, "problems": "x", "field": []}, 400),
}


@pytest.mark.parametrize("told", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_answer_that_is_not_caracals_is_an_error_of_ours(owner: Owner, told: Told) -> None:
    with serving([told]) as server, pytest.raises(errors.UnexpectedAnswer):
        owner(server.url, retries=0).get_principal("prn_x")


def test_an_answer_without_end_is_not_read_to_its_end(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wire, "MAX_ANSWER", 1 << 20)
    bomb = gzip.compress(b" " * (64 << 20))
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    with serving([Told(200, bomb, headers)]) as server, pytest.raises(errors.UnexpectedAnswer, match="larger than"):
        owner(server.url).get_principal("prn_x")
    with serving([Told(500, b"x" * (2 << 20))]) as server, pytest.raises(errors.UnexpectedAnswer, match="larger than"):
        owner(server.url).get_principal("prn_x")


@settings(max_examples=60, deadline=None)
@given(
    status=st.integers(200, 599),
    media_type=st.sampled_from(["application/json", "application/problem+json", "text/html", "application/json; a=b"]),
    body=st.binary(max_size=60)
    | st.dictionaries(
        st.sampled_from(["code", "detail", "field", "error", "message", "decision_id", "problems", "items"]),
        st.none() | st.text(max_size=5) | st.integers() | st.lists(st.none() | st.text(max_size=3), max_size=2),
    ).map(lambda d: json.dumps(d).encode()),
)
def test_any_answer_is_a_result_or_an_error_of_ours(status: int, media_type: str, body: bytes) -> None:
    answer = _wire.Answer(status, httpx.Headers({"content-type": media_type}), body)
    try:
        if answer.succeeded:
            answer.record(Mandate)
            answer.page(Mandate)
        else:
            raise _wire.refusal(answer)
    except errors.CaracalError as error:
        told = (error.message, error.code, str(error))
        assert all(isinstance(text, str) for text in told)


def test_pages_follow_each_other_until_the_last(owner: Owner) -> None:
    def answer(seen: Seen) -> Told:
        n = int(seen.query.get("cursor", "0"))
        return json_answer({"items": [{"principal_id": f"prn_{n}"}], "next_cursor": str(n + 1) if n < 2 else None})

    with serving(answer) as server:
        client = owner(server.url)
        assert [p.principal_id for p in client.iter_principals(suspended=False)] == ["prn_0", "prn_1", "prn_2"]
        page = client.list_principals(limit=1)
    assert (len(page), page[0].principal_id, page.next_cursor) == (1, "prn_0", "1")
    assert {(s.query.get("suspended"), s.query["limit"]) for s in server.seen[:3]} == {("false", "200")}


def test_pages_that_never_end_are_given_up(owner: Owner) -> None:
    with serving([json_answer({"items": [], "next_cursor": "same"})]) as server, pytest.raises(errors.UnexpectedAnswer):
        list(owner(server.url).iter_principals())


@pytest.mark.parametrize("value", ["", ".", "..", "../keys", "a/b", "a?b=1", "ä", "%2e%2e", "a b"])
def test_an_id_stays_one_segment_of_the_path(owner: Owner, value: str) -> None:
    with serving([problem(404, "not_found")]) as server, pytest.raises((errors.NotFound, errors.InvalidRequest)):
        owner(server.url).get_principal(value)
    for seen in server.seen:
        assert re.fullmatch(r"/api/v1/principals/[^/]+", seen.path)
        assert seen.query == {}


def test_a_header_cannot_be_smuggled_in(owner: Owner) -> None:
    with serving([json_answer(PRINCIPAL)]) as server:
        for value in ("a\r\nX-Evil: 1", "", "ä", "a" * 256):
            with pytest.raises(errors.InvalidRequest, match="idempotency_key"):
                owner(server.url).suspend_principal("prn_x", idempotency_key=value)
    assert server.seen == []


def test_a_key_that_changes_is_asked_for_before_each_call(owner: Owner, tmp_path: Path) -> None:
    projected = tmp_path / "token"
    with serving([json_answer(PRINCIPAL)]) as server:
        client = owner(server.url, api_key=projected.read_text)
        for token in ("first", "second"):
            projected.write_text(token)
            client.get_principal("prn_x")
    assert [s.headers["authorization"] for s in server.seen] == ["Bearer first", "Bearer second"]


def test_the_key_is_in_nothing_that_is_printed(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    raised: list[errors.CaracalError] = []
    answers = [problem(503, "unavailable"), json_answer(PRINCIPAL), Told(hang_up=True)]
    with serving(answers) as server:
        client = owner(server.url, retries=1)
        client.get_principal("prn_x")
        for asked in (client, owner("http://127.0.0.1:1", retries=0)):
            with pytest.raises(errors.Unreachable) as caught:
                asked.list_principals()
            raised.append(caught.value)
        for error in raised:
            texts += [repr(error), str(error), repr(vars(error)), "".join(traceback.format_exception(error))]
            # The library's own error holds the request, and is not shown behind ours.
            assert error.__cause__ is None
            assert error.__context__ is None or error.__suppress_context__
        texts += [repr(client), str(client), repr(vars(client)), repr(client._credential)]
    texts.append(caplog.text)
    assert "again in" in caplog.text
    for text in texts:
        assert "canary" not in text


def test_a_proxy_of_the_environment_does_not_see_what_goes_unencrypted(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving([json_answer(PRINCIPAL)]) as server, serving([Told(500)]) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        owner(server.url).get_principal("prn_x")
    assert proxy.seen == []


def test_the_connection_closes_with_the_block(owner: Owner) -> None:
    with serving([json_answer(PRINCIPAL)]) as server:
        with owner(server.url) as client:
            client.get_principal("prn_x")
        with pytest.raises(RuntimeError, match="closed"):
            client.get_principal("prn_x")


def test_a_client_cannot_be_pickled_with_its_key() -> None:
    with pytest.raises(TypeError, match=r"credential|pickle"):
        pickle.dumps(AuthorityClient(base_url="http://localhost:1", api_key=KEY))

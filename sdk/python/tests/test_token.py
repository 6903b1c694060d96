from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from caracal import errors
from caracal._async import connection
from caracal.sdk import AuthorityClient
from server import Seen, Server, Told, json_answer, problem, serving

KEY = "ck_agent_canary"


def token(n: int = 1, expires_in: int = 900) -> Told:
    return json_answer(
        {
            "access_token": f"token-{n}",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": expires_in,
        }
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock forward."""
    moved = [0.0]
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + moved[0])

    def forward(seconds: float) -> None:
        moved[0] += seconds

    return forward


def client_of(server: Server, retries: int = 0) -> AuthorityClient:
    return AuthorityClient(base_url=server.url, api_key=KEY, retries=retries)


def test_a_token_is_exchanged_once_and_renewed_before_it_ends(clock: Callable[[float], None]) -> None:
    with serving([token(1), token(2)]) as server, client_of(server) as client:
        assert [client.token() for _ in range(3)] == ["token-1"] * 3
        clock(900 * connection.RENEWAL - 10)
        assert client.token() == "token-1"
        clock(20)
        assert client.token() == "token-2"
    assert [(s.method, s.path, s.headers["authorization"]) for s in server.seen] == [
        ("POST", "/api/v1/token", f"Bearer {KEY}")
    ] * 2


def test_many_threads_exchange_one_token() -> None:
    begun = threading.Barrier(8)
    found: list[str] = []
    with serving([token(1), token(2)]) as server, client_of(server) as client:

        def ask() -> None:
            begun.wait()
            found.append(client.token())

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == ["token-1"] * 8
    assert len(server.seen) == 1


def test_a_token_that_is_still_good_outlives_an_outage(clock: Callable[[float], None]) -> None:
    with serving([token(1), problem(503, "unavailable"), token(3)]) as server, client_of(server) as client:
        assert client.token() == "token-1"
        clock(800)
        assert client.token() == "token-1"
        assert client.token() == "token-1"
        assert len(server.seen) == 2
        clock(connection.RENEWAL_PAUSE + 1)
        assert client.token() == "token-3"


def test_a_token_that_has_ended_does_not_outlive_an_outage(clock: Callable[[float], None]) -> None:
    with serving([token(1), problem(503, "unavailable")]) as server, client_of(server) as client:
        client.token()
        clock(901)
        with pytest.raises(errors.Unavailable):
            client.token()


def test_a_key_that_was_revoked_ends_the_token(clock: Callable[[float], None]) -> None:
    with serving([token(1), problem(401, "unauthenticated")]) as server, client_of(server) as client:
        client.token()
        clock(800)
        for _ in range(2):
            with pytest.raises(errors.AuthenticationFailed):
                client.token()


def test_a_token_that_the_gateway_refuses_is_exchanged_anew(clock: Callable[[float], None]) -> None:
    count = 0

    def answer(seen: Seen) -> Told:
        nonlocal count
        if seen.path == "/api/v1/token":
            count += 1
            return token(count)
        return json_answer({"error": "authentication_failed", "message": "m", "decision_id": None}, 401)

    mandate = "mdt_" + "a" * 26
    with serving(answer) as server, client_of(server) as client, client.http_client(mandate) as http:
        # One that has just been exchanged is not to blame.
        assert [http.get("https://target.example/").status_code for _ in range(2)] == [401, 401]
        assert count == 1
        clock(connection.RENEWAL_PAUSE + 1)
        http.get("https://target.example/")
        http.get("https://target.example/")
        assert count == 2
        assert [s.headers["authorization"] for s in server.seen if s.path == "/api/proxy"] == [
            "Bearer token-1", "Bearer token-1", "Bearer token-1", "Bearer token-2"
        ]  # fmt: skip


def test_a_jwt_of_an_issuer_goes_as_it_is() -> None:
    with serving([token(1)]) as server:
        with AuthorityClient(base_url=server.url, api_key=lambda: "eyJ.e30.sig") as client:
            assert client.token() == "eyJ.e30.sig"
        assert server.seen == []


@pytest.mark.parametrize("value", ["", "a b", "a\r\nX-Evil: 1", 5, None])
def test_a_malformed_token_is_refused(value: object) -> None:
    told = json_answer({"access_token": value, "expires_in": 900})
    with serving([told]) as server, client_of(server) as client, pytest.raises(errors.UnexpectedAnswer):
        client.token()


def test_requests_to_a_target_are_sent_once() -> None:
    def answer(seen: Seen) -> Told:
        return token(1) if seen.path == "/api/v1/token" else problem(503, "unavailable")

    mandate = "mdt_" + "a" * 26
    with (
        serving(answer) as server,
        client_of(server, retries=5) as client,
        client.http_client(mandate) as http,
        client.requests_session(mandate) as session,
    ):
        assert http.get("https://target.example/").status_code == 503
        assert session.get("https://target.example/").status_code == 503
    assert len([s for s in server.seen if s.path == "/api/proxy"]) == 2


def test_the_token_is_in_nothing_that_is_printed() -> None:
    with serving([token(1)]) as server, client_of(server) as client:
        client.token()
        with client.http_client("mdt_" + "a" * 26) as http:
            assert "token-1" not in f"{client!r} {vars(client)} {http!r} {vars(http)}"

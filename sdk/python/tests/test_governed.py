from __future__ import annotations

import hashlib
import json
import ssl
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from caracal import _governed, errors
from caracal.sdk import AuthorityClient, confirmation_of, denial_of, raise_for_denial
from server import Told, json_answer, serving

MANDATE = "mdt_" + "a" * 26
DECISION = "dec_" + "b" * 26
TARGET = "https://target.example/"


def rewritten(*pairs: tuple[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in _governed.headers(pairs, TARGET, MANDATE, "token"):
        found.setdefault(name.lower(), []).append(value)
    return found


OURS = {"authorization": ["Bearer token"], "x-caracal-mandate": [MANDATE], "x-caracal-target-url": [TARGET]}


@pytest.mark.parametrize(
    ("sentence", "pairs", "also"),
    [
        ("nothing", [], {}),
        ("the target's credential", [("authorization", "mine")], {"x-caracal-upstream-authorization": ["mine"]}),
        (
            "both names for the target's credential",
            [("X-Caracal-Upstream-Authorization", "old"), ("Authorization", "mine")],
            {"x-caracal-upstream-authorization": ["mine"]},
        ),
        (
            "both the other way round",
            [("Authorization", "mine"), ("X-Caracal-Upstream-Authorization", "old")],
            {"x-caracal-upstream-authorization": ["mine"]},
        ),
        ("no credential at all", [("Authorization", "Bearer set-by-the-gateway")], {}),
        ("no key at all", [("X-Api-Key", "set-by-the-gateway")], {}),
        ("another mandate and target", [("X-CARACAL-MANDATE", "x"), ("x-caracal-target-url", "y"), ("Host", "z")], {}),
        ("several of one name", [("Cookie", "a"), ("Cookie", "b")], {"cookie": ["a", "b"]}),
    ],
)
def test_what_a_request_becomes(sentence: str, pairs: list[tuple[str, str]], also: dict[str, list[str]]) -> None:
    assert rewritten(*pairs) == {**OURS, **also}


@given(st.lists(st.tuples(st.sampled_from(["Authorization", "X-Caracal-Mandate", "Host", "A", "b"]), st.text("xy"))))
def test_a_request_has_one_token_one_mandate_and_one_target(pairs: list[tuple[str, str]]) -> None:
    found = rewritten(*pairs)
    assert {name: found[name] for name in OURS} == OURS
    assert "host" not in found


def response(status: int, body: object, media_type: str = "application/json") -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.Response(status, content=content, headers={"Content-Type": media_type})


DENIAL = {"error": "policy_denied", "message": "no", "code": "no_cats", "decision_id": DECISION}


def test_a_denial_is_known_by_its_form() -> None:
    denial = denial_of(response(403, DENIAL))
    assert denial is not None
    told = (denial.reason, denial.code, denial.message, denial.policy_code, denial.decision_id, denial.status)
    assert told == ("policy_denied", "policy_denied", "no", "no_cats", DECISION, 403)
    assert str(denial) == f"policy_denied: no [decision {DECISION}]"
    with pytest.raises(errors.Denied):
        raise_for_denial(response(403, DENIAL))
    by_envoy = denial_of(response(400, {"decision_id": None, "error": "malformed_request", "message": "m"}))
    assert by_envoy is not None
    assert by_envoy.decision_id is None


@pytest.mark.parametrize(
    ("sentence", "answer"),
    [
        ("a success of the form", response(200, DENIAL)),
        ("another type", response(403, DENIAL, "text/plain")),
        ("a field more", response(403, {**DENIAL, "x": 1})),
        ("a field less", response(403, {"error": "policy_denied", "message": "no"})),
        ("a provider's error", response(403, {"error": {"message": "no"}, "message": "m", "decision_id": None})),
        ("a reason that is none", response(403, {**DENIAL, "error": "No Such\nThing"})),
        ("a decision that is none", response(403, {**DENIAL, "decision_id": "dec_1"})),
        ("a list", response(403, [DENIAL])),
        ("no JSON", response(403, b"{")),
        ("very much", response(403, {**DENIAL, "message": "x" * 100_000})),
        ("an exception without an answer", ValueError()),
        ("nothing", None),
    ],
)
def test_what_is_not_a_denial(sentence: str, answer: object) -> None:
    assert denial_of(answer) is None


@given(status=st.integers(100, 599), body=st.binary(max_size=40))
def test_any_answer_is_a_denial_or_none(status: int, body: bytes) -> None:
    assert denial_of(response(status, body)) is None


def test_a_validation_that_contradicts_itself_is_not_believed() -> None:
    base = {"denial_reason": None, "mandate_id": MANDATE, "decision_id": DECISION, "inquiry": False}
    for allowed, decision in ((True, "denied"), (False, "allowed"), (True, "")):
        told: Told = json_answer({**base, "allowed": allowed, "decision": decision})
        with serving([told]) as server, AuthorityClient(server.url, "ck_agent_x") as client:
            asked: Any = {"mandate_id": MANDATE, "requested_action": "read", "requested_resource": "api:a"}
            with pytest.raises(errors.UnexpectedAnswer, match="contradicts"):
                client.validate_mandate(**asked)


def test_a_confirmation_is_the_certificates_digest() -> None:
    pem = trustme.CA().issue_cert("agent.example").cert_chain_pems[0].bytes().decode()
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()
    assert confirmation_of(pem) == {"x5t#S256": urlsafe_b64encode(digest).decode().rstrip("=")}
    for wrong in ("", "-----BEGIN CERTIFICATE-----", pem.replace("M", "!", 1).replace("-----END", "", 1)):
        with pytest.raises(ValueError, match=r".+"):
            confirmation_of(wrong)


def test_a_gateway_that_nobody_vouches_for_is_not_talked_to(tmp_path: Path) -> None:
    """The HTTP clients trust what the client trusts, and show the certificate that it shows."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    authority, seen = trustme.CA(), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.connection.getpeercert()["subject"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    certificate = authority.issue_cert("agent.example", common_name="agent.example")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"https://localhost:{server.server_port}"
    try:
        files = (str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
        with (
            AuthorityClient(
                url, lambda: "eyJ.e30.sig", ca_file=str(tmp_path / "ca.pem"), client_certificate=files
            ) as known,
            known.http_client(MANDATE) as http,
            known.requests_session(MANDATE) as session,
        ):
            assert (http.get(TARGET).status_code, session.get(TARGET).status_code) == (200, 200)
        with AuthorityClient(url, lambda: "eyJ.e30.sig", retries=0) as unknown, unknown.http_client(MANDATE) as http:
            with pytest.raises(httpx.ConnectError):
                http.get(TARGET)
            with pytest.raises(errors.Unreachable):
                unknown.health()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert len(seen) == 2
    assert all("agent.example" in str(subject) for subject in seen)

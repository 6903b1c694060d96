"""The clients of others, as they are, through the real gateway to an upstream that answers in their formats."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import anthropic
import httpx
import openai
import pytest
import requests
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client

from caracal.errors import Denied
from caracal.sdk import AsyncAuthorityClient, AuthorityClient, denial_of, raise_for_denial
from conftest import PROVIDER_KEY, Agent
from stack import Stack
from upstream import WORDS, Upstream

SAID = "".join(WORDS)
QUESTION: Any = {"role": "user", "content": "What is a caracal?"}


def nothing_of_ours(upstream: Upstream, agent: Agent) -> None:
    """Nothing of Caracal's has reached the upstream."""
    for _, headers in upstream.seen:
        assert not [name for name in headers if name.startswith("x-caracal-")]
        assert agent.mandate.mandate_id not in str(headers)
        assert agent.api_key not in str(headers)
        assert agent.client.token() not in str(headers)


def test_openai_without_a_key_of_the_provider(agent: Agent, arrived: Upstream) -> None:
    with openai.OpenAI(**agent.client.openai(agent.mandate)) as client:
        answer = client.chat.completions.create(model="gpt-4o-mini", messages=[QUESTION])
    assert answer.choices[0].message.content == SAID
    ((path, headers),) = arrived.seen
    assert (path, headers["host"], headers["authorization"]) == (
        "/v1/chat/completions", "api.openai.com", f"Bearer {PROVIDER_KEY}"
    )  # fmt: skip
    nothing_of_ours(arrived, agent)


def test_openai_streams_as_the_upstream_speaks(agent: Agent, arrived: Upstream) -> None:
    words = []
    with openai.OpenAI(**agent.client.openai(agent.mandate)) as client:
        stream = client.chat.completions.create(model="gpt-4o-mini", messages=[QUESTION], stream=True)
        for chunk in stream:
            words.append(chunk.choices[0].delta.content)
            arrived.go_on.set()
    assert words == WORDS


def test_openai_is_told_why_it_is_denied(agent: Agent, arrived: Upstream) -> None:
    with (
        openai.OpenAI(**agent.client.openai(agent.mandate)) as client,
        pytest.raises(openai.PermissionDeniedError) as raised,
    ):
        client.embeddings.create(model="text-embedding-3-small", input="x")
    denial = denial_of(raised.value)
    assert denial is not None
    assert (denial.reason, denial.policy_code) == ("policy_denied", "no_embeddings")
    assert denial.decision_id
    assert arrived.seen == []


def test_a_refusal_of_the_target_is_not_a_denial(agent: Agent, arrived: Upstream) -> None:
    with agent.client.http_client(agent.mandate) as client:
        answer = client.get("https://api.openai.com/v1/forbidden")
    assert answer.status_code == 403
    assert denial_of(answer) is None
    assert raise_for_denial(answer) is answer


def test_anthropic_with_its_own_key(agent: Agent, arrived: Upstream) -> None:
    with anthropic.Anthropic(**agent.client.anthropic(agent.mandate, api_key="sk-ant-mine")) as client:
        answer = client.messages.create(model="claude-sonnet", max_tokens=9, messages=[QUESTION])
    block = answer.content[0]
    assert block.type == "text"
    assert block.text == SAID
    ((path, headers),) = arrived.seen
    assert (path, headers["host"]) == ("/v1/messages", "api.anthropic.com")
    assert "sk-ant-mine" in headers.get("x-api-key", headers.get("authorization", ""))
    nothing_of_ours(arrived, agent)


def test_anthropic_streams_as_the_upstream_speaks(agent: Agent, arrived: Upstream) -> None:
    words = []
    with (
        anthropic.Anthropic(**agent.client.anthropic(agent.mandate)) as client,
        client.messages.stream(model="claude-sonnet", max_tokens=9, messages=[QUESTION]) as stream,
    ):
        for word in stream.text_stream:
            words.append(word)
            arrived.go_on.set()
    assert words == WORDS
    assert "set-by-the-gateway" not in str(arrived.seen)


@pytest.mark.anyio
async def test_the_asynchronous_clients(stack: Stack, agent: Agent, arrived: Upstream) -> None:
    arrived.go_on.set()
    async with AsyncAuthorityClient(base_url=stack["CARACAL_GATEWAY_URL"], api_key=agent.api_key) as caracal:
        async with openai.AsyncOpenAI(**caracal.openai(agent.mandate)) as client:
            stream = await client.chat.completions.create(model="m", messages=[QUESTION], stream=True)
            assert [chunk.choices[0].delta.content async for chunk in stream] == WORDS
        async with anthropic.AsyncAnthropic(**caracal.anthropic(agent.mandate)) as other:
            answer = await other.messages.create(model="m", max_tokens=9, messages=[QUESTION])
            assert answer.content[0].type == "text"
        async with caracal.http_client(agent.mandate) as plain:
            assert (await plain.get("https://api.openai.com/v1/models")).json()["object"] == "list"
    nothing_of_ours(arrived, agent)


@pytest.mark.anyio
async def test_mcp_lists_and_calls_tools(stack: Stack, agent: Agent, arrived: Upstream) -> None:
    async with AsyncAuthorityClient(base_url=stack["CARACAL_GATEWAY_URL"], api_key=agent.api_key) as caracal:
        arguments = caracal.mcp(agent.mandate)
        async with arguments["http_client"]:
            url = "https://tools.caracal.test/mcp"
            async with (
                streamable_http_client(url, **arguments) as (reading, writing, *_),
                ClientSession(reading, writing) as session,
            ):
                await session.initialize()
                assert [tool.name for tool in (await session.list_tools()).tools] == ["add"]
                result = await session.call_tool("add", {"a": 2, "b": 3})
                assert "5" in str(result.content)


def test_requests_goes_through_the_gateway(agent: Agent, arrived: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with agent.client.requests_session(agent.mandate) as session:
        answer = session.post(
            "https://api.anthropic.com/v1/messages", json={"model": "m"}, headers={"Authorization": "mine"}
        )
        assert answer.json()["content"][0]["text"] == SAID
        assert answer.url == "https://api.anthropic.com/v1/messages"
        denied = session.get("https://api.anthropic.com.evil.example/")
        with pytest.raises(Denied) as raised:
            raise_for_denial(denied)
    assert raised.value.reason == "resource_not_in_scope"
    assert arrived.seen[0][1]["authorization"] == "mine"
    nothing_of_ours(arrived, agent)


@pytest.mark.parametrize("library", ["httpx", "requests"])
def test_redirects_and_cookies_are_the_targets(agent: Agent, arrived: Upstream, library: str) -> None:
    with (
        agent.client.requests_session(agent.mandate)
        if library == "requests"
        else agent.client.http_client(agent.mandate) as session
    ):
        if isinstance(session, requests.Session):
            answer: requests.Response | httpx.Response = session.get("https://api.openai.com/v1/moved")
            jar = session.cookies
        else:
            answer = session.get("https://api.openai.com/v1/moved", follow_redirects=True)
            jar = session.cookies.jar  # type: ignore[assignment]
        assert str(answer.url) == "https://api.openai.com/v1/models"
        assert [cookie.domain for cookie in jar] == ["api.openai.com"]
    assert [path for path, _ in arrived.seen] == ["/v1/moved", "/v1/models"]


def test_the_target_is_what_was_asked_for(agent: Agent, stack: Stack) -> None:
    url = f"{stack['CARACAL_UPSTREAM_URL']}/v1/a%20b?x=1&y=%C3%A4#fragment"
    with agent.client.http_client(agent.mandate) as client:
        answer = client.request("PATCH", url, content=b"body")
        assert (answer.json()["method"], answer.json()["path"]) == ("PATCH", "/v1/a%20b?x=1&y=%C3%A4")
        # A user in the URL is Basic authentication at the target, as ever.
        secret = client.get(url.replace("://", "://user:pass@"))
        assert secret.json()["headers"]["Authorization"] == ["Basic dXNlcjpwYXNz"]
    with agent.client.requests_session(agent.mandate) as session:
        sent = session.get(url.replace("://", "://user:pass@"))
        assert sent.json()["headers"]["Authorization"] == ["Basic dXNlcjpwYXNz"]


def test_what_the_caller_says_about_caracal_does_not_count(agent: Agent, stack: Stack) -> None:
    headers = {"X-Caracal-Mandate": "mdt_other", "x-caracal-target-url": "https://elsewhere.example", "Host": "other"}
    with agent.client.http_client(agent.mandate) as client:
        answer = client.get(f"{stack['CARACAL_UPSTREAM_URL']}/v1/x", headers=headers)
    assert answer.status_code == 200
    assert answer.json()["path"] == "/v1/x"


def test_only_a_mandate_is_taken_for_one(agent: Agent) -> None:
    for wrong in ("", "mdt_x", "x\r\nX-Evil: 1", agent.mandate.mandate_id + ","):
        with pytest.raises(Exception, match="neither a mandate"):
            agent.client.http_client(wrong)


def test_a_client_that_is_not_installed_is_named(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    with pytest.raises(ModuleNotFoundError, match="openai is not installed"):
        agent.client.openai(agent.mandate)


def test_the_block_takes_the_mandate_back(agent: Agent, stack: Stack) -> None:
    terms = {
        "issuer_id": stack["CARACAL_ISSUER_ID"],
        "subject_id": agent.principal_id,
        "resource_scope": ["api:echo/public"],
        "action_scope": ["read"],
        "validity_seconds": 60,
    }
    client: AuthorityClient = agent.client
    with client.mandate(**terms) as held, client.http_client(held) as http:  # type: ignore[arg-type]
        assert http.get(f"{stack['CARACAL_UPSTREAM_URL']}/v1/x").status_code == 200
    with client.http_client(held) as http:
        denial = denial_of(http.get(f"{stack['CARACAL_UPSTREAM_URL']}/v1/x"))
    assert denial is not None
    assert denial.reason == "mandate_revoked"
    with pytest.raises(ZeroDivisionError), client.mandate(**terms) as held:  # type: ignore[arg-type]
        raise ZeroDivisionError
    assert client.get_mandate(held.mandate_id).revoked

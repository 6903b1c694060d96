"""What the tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "generate"))

from caracal.enterprise.sdk import EnterpriseClient
from caracal.models import Mandate
from caracal.sdk import AuthorityClient
from stack import Stack, free_port
from upstream import HOSTS, Upstream

PROVIDER_KEY = "sk-canary-of-the-provider"
EVERY = {"GET": "read", "POST": "execute", "*": "write"}


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """All of Caracal, started once."""
    running = Stack()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def owner(stack: Stack) -> Iterator[EnterpriseClient]:
    with EnterpriseClient(base_url=stack["CARACAL_URL"], api_key=stack["CARACAL_API_KEY"]) as client:
        yield client


@pytest.fixture(scope="session")
def started(stack: Stack) -> Iterator[Upstream]:
    """The upstream, which no gateway knows of yet."""
    running = Upstream(stack.directory, free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def upstream(stack: Stack, owner: EnterpriseClient, started: Upstream) -> Upstream:
    """The providers, as the gateway reaches them: by their own names, on this machine."""
    here = {"connect_to": f"127.0.0.1:{started.port}", "addresses": ["127.0.0.1/32"], "ca": started.ca}
    for destination in owner.iter_destinations():
        if destination.host in HOSTS:
            credential = None
            if destination.host == "api.openai.com":
                credential = {"name": "openai", "header": "authorization", "prefix": "Bearer "}
            owner.replace_destination(
                destination.destination_id, {**destination, **here, "credential": credential}, if_match=None
            )
    owner.create_destination(
        {
            "name": "tools",
            "host": "tools.caracal.test",
            "ports": [443],
            **here,
            "rules": [{"path": "/mcp", "methods": EVERY, "resource": "api:tools/mcp"}],
        }
    )
    (stack.credentials / "openai").write_text(PROVIDER_KEY)
    with AuthorityClient(base_url=stack["CARACAL_GATEWAY_URL"], api_key=stack["CARACAL_API_KEY"]) as gateway:
        gateway.sync_gateway()
    return started


@dataclass
class Agent:
    """An agent with a key of its own, and a mandate for everything that the tests' upstream has."""

    principal_id: str
    api_key: str = field(repr=False)
    client: AuthorityClient
    mandate: Mandate


@pytest.fixture(scope="session")
def agent(stack: Stack, owner: EnterpriseClient, upstream: Upstream) -> Iterator[Agent]:
    """The agent comes after the upstream: what its mandate covers would not change unasked."""
    registered = owner.register_principal(name="tested-agent", principal_type="agent")
    assert registered.api_key
    owner.create_policy(
        principal_id=registered.principal_id,
        allowed_resources=["api:external/*", "api:tools/*", "api:echo/*"],
        allowed_actions=["*"],
        max_validity_seconds=3600,
        delegation_depth=1,
    )
    with AuthorityClient(base_url=stack["CARACAL_GATEWAY_URL"], api_key=registered.api_key) as client:
        mandate = client.request_mandate(
            issuer_id=stack["CARACAL_ISSUER_ID"],
            subject_id=registered.principal_id,
            resource_scope=["api:external/openai", "api:external/anthropic", "api:tools/*", "api:echo/public"],
            action_scope=["*"],
            validity_seconds=1800,
        )
        yield Agent(registered.principal_id, registered.api_key, client, mandate)


@pytest.fixture
def arrived(upstream: Upstream) -> Upstream:
    """The upstream, as nobody has called it yet."""
    upstream.seen.clear()
    upstream.go_on.clear()
    return upstream

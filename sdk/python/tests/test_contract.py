"""What users of the published guide rely on, as they wrote it, against the whole of Caracal."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import logging
import re
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from caracal import errors
from caracal.enterprise.sdk import AsyncEnterpriseClient, EnterpriseClient
from caracal.sdk import AsyncAuthorityClient, AuthorityClient, denial_of
from conftest import Agent
from stack import Stack

ADMINISTRATION = """
from caracal.enterprise.sdk import EnterpriseClient
client = EnterpriseClient(base_url=BASE_URL, api_key=API_KEY)
principal = client.register_principal(name="my-agent", principal_type="agent",
                                      workspace_slug="my-team", metadata={"environment": "production"})
policy = client.create_policy(principal_id=principal["principal_id"],
                              allowed_resources=["api:external/*", "db:analytics/*"],
                              allowed_actions=["read", "execute"],
                              max_validity_seconds=86400, delegation_depth=2)
"""

AGENT = """
from caracal.sdk import AuthorityClient
client = AuthorityClient(base_url=BASE_URL, api_key=API_KEY)
mandate = client.request_mandate(issuer_id=ISSUER_ID, subject_id=SUBJECT_ID, resource_scope=["api:external/openai"],
                                 action_scope=["execute"], validity_seconds=3600)
validation = client.validate_mandate(mandate_id=mandate["mandate_id"], requested_action="execute",
                                     requested_resource="api:external/openai")
if validation["allowed"]: covered = True
"""

AFTERWARDS = """
events = client.query_events(workspace_slug="my-team", event_type="denied", start_date="2024-01-01", format="json")
client.revoke_mandate(mandate_id=MANDATE_ID)
delegation = client.delegate_authority(parent_mandate_id=SECOND_ID, child_principal_id=CHILD_ID,
                                       resource_scope=["api:external/subset"],
                                       action_scope=["read"], validity_seconds=1800)
"""


def test_the_published_snippets_run(stack: Stack) -> None:
    names: dict[str, object] = {"BASE_URL": stack["CARACAL_URL"], "API_KEY": stack["CARACAL_API_KEY"]}
    exec(ADMINISTRATION, names)  # noqa: S102 - it is above
    principal = names["principal"]
    assert isinstance(principal, dict)
    administrator = names["client"]
    assert isinstance(administrator, EnterpriseClient)
    child = administrator.register_principal(name="child", principal_type="agent", workspace_slug="my-team")
    administrator.create_policy(
        principal_id=child.principal_id,
        allowed_resource_patterns=["api:external/*"],
        allowed_actions=["read"],
        max_validity_seconds=3600,
        max_delegation_depth=0,
    )
    names |= {
        "BASE_URL": stack["CARACAL_GATEWAY_URL"],
        "API_KEY": principal["api_key"],
        "ISSUER_ID": stack["CARACAL_ISSUER_ID"],
        "SUBJECT_ID": principal["principal_id"],
    }
    exec(AGENT, names)  # noqa: S102
    assert names["covered"] is True
    agent = names["client"]
    assert isinstance(agent, AuthorityClient)
    second = agent.request_mandate(
        issuer_id=stack["CARACAL_ISSUER_ID"],
        subject_id=principal["principal_id"],
        resource_scope=["api:external/*"],
        action_scope=["read"],
        validity_seconds=3600,
    )
    mandate = names["mandate"]
    assert isinstance(mandate, dict)
    names |= {
        "client": administrator,
        "MANDATE_ID": mandate["mandate_id"],
        "SECOND_ID": second.mandate_id,
        "CHILD_ID": child.principal_id,
    }
    exec(AFTERWARDS, names)  # noqa: S102
    delegation = names["delegation"]
    assert isinstance(delegation, dict)
    assert delegation["parent_mandate_id"] == second.mandate_id
    assert isinstance(names["events"], list)
    assert agent.get_mandate(mandate["mandate_id"]).revoked
    agent.close()
    administrator.close()


def test_an_agents_key_is_for_the_agents_own_part(stack: Stack, agent: Agent) -> None:
    with EnterpriseClient(base_url=stack["CARACAL_URL"], api_key=agent.api_key) as client:
        assert {m.subject_id for m in client.iter_mandates()} == {agent.principal_id}
        assert client.query_events(limit=5)
        for refused in (
            lambda: client.register_principal(name="x", principal_type="agent"),
            lambda: client.create_policy(
                principal_id=agent.principal_id,
                allowed_resources=["api:*"],
                allowed_actions=["*"],
                max_validity_seconds=60,
            ),
            client.list_keys,
        ):
            with pytest.raises(errors.PermissionDenied) as raised:
                refused()
            assert raised.value.request_id


def test_a_wrong_key_is_refused_without_a_hint(stack: Stack, agent: Agent) -> None:
    wrong = agent.api_key[:-4] + ("aaaa" if not agent.api_key.endswith("aaaa") else "bbbb")
    messages = set()
    for key in (wrong, "ck_agent_nothing", "nothing"):
        with EnterpriseClient(base_url=stack["CARACAL_URL"], api_key=key) as client:
            with pytest.raises(errors.AuthenticationFailed) as raised:
                client.list_principals()
            messages.add((raised.value.code, raised.value.message))
    assert len(messages) == 1


def test_the_rule_that_refuses_is_named(stack: Stack, agent: Agent) -> None:
    with pytest.raises(errors.AuthorityRefused) as raised:
        agent.client.request_mandate(
            issuer_id=stack["CARACAL_ISSUER_ID"],
            subject_id=agent.principal_id,
            resource_scope=["db:secret"],
            action_scope=["read"],
            validity_seconds=60,
        )
    assert raised.value.reason == "no_policy_covers"
    with pytest.raises(errors.InvalidRequest) as invalid:
        agent.client.validate_mandate(
            mandate_id=agent.mandate.mandate_id, requested_action="read", requested_resource="api:*"
        )
    assert invalid.value.status == 400
    with pytest.raises(errors.NotFound):
        agent.client.get_mandate("mdt_" + "a" * 26)


def test_the_same_write_happens_once(owner: EnterpriseClient) -> None:
    terms = {"name": "once", "principal_type": "user", "idempotency_key": "sdk-once"}
    first = owner.register_principal(**terms)  # type: ignore[arg-type]
    assert owner.register_principal(**terms) == first  # type: ignore[arg-type]
    with pytest.raises(errors.Conflict):
        owner.register_principal(**{**terms, "name": "twice"})  # type: ignore[arg-type]


def test_a_thing_that_has_changed_is_left_alone(owner: EnterpriseClient, agent: Agent) -> None:
    policy = owner.create_policy(
        principal_id=agent.principal_id, allowed_resources=["db:a"], allowed_actions=["read"], max_validity_seconds=60
    )
    read = owner.get_policy(policy.policy_id)
    assert read.etag
    changed = owner.update_policy(policy.policy_id, max_validity_seconds=90, if_match=read.etag)
    assert changed.max_validity_seconds == 90
    with pytest.raises(errors.PreconditionFailed):
        owner.update_policy(policy.policy_id, max_validity_seconds=120, if_match=read.etag)
    assert not owner.deactivate_policy(policy.policy_id).active


def test_a_rego_policy_that_is_wrong_says_where(owner: EnterpriseClient) -> None:
    with pytest.raises(errors.InvalidRequest) as raised:
        owner.push_rego(modules={"p.rego": "package caracal.policy\n\ndeny contains x if {\n"})
    assert raised.value.problems
    assert raised.value.problems[0]["file"] == "p.rego"


def test_keys_rotate_and_end(stack: Stack, owner: EnterpriseClient) -> None:
    principal = owner.register_principal(name="rotating", principal_type="agent")
    (key,) = owner.list_keys(principal_id=principal.principal_id)
    successor = owner.rotate_key(key.key_id, overlap_seconds=60)
    for secret in (principal.api_key, successor.api_key):
        assert secret
        with AuthorityClient(base_url=stack["CARACAL_GATEWAY_URL"], api_key=secret) as client:
            assert client.token()
    owner.revoke_key(successor.key_id)
    client = AuthorityClient(base_url=stack["CARACAL_GATEWAY_URL"], api_key=successor.api_key)
    with client, pytest.raises(errors.AuthenticationFailed):
        client.token()


def test_lists_are_followed_to_their_end(owner: EnterpriseClient) -> None:
    for n in range(3):
        owner.register_principal(name=f"listed-{n}", principal_type="service")
    every = [p.principal_id for p in owner.iter_principals(principal_type="service")]
    first = owner.list_principals(principal_type="service", limit=1)
    second = owner.list_principals(principal_type="service", limit=1, cursor=first.next_cursor)
    assert [first[0].principal_id, second[0].principal_id] == every[:2]
    assert owner.list_gateways()[0].connected
    assert [w.slug for w in owner.list_workspaces()] == ["my-team"]


def test_threads_share_a_client(agent: Agent, stack: Stack) -> None:
    url = f"{stack['CARACAL_UPSTREAM_URL']}/v1/x"
    with agent.client.http_client(agent.mandate) as http, ThreadPoolExecutor(8) as threads:
        assert {r.status_code for r in threads.map(lambda _: http.get(url), range(40))} == {200}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_asynchronous_half_does_the_same(backend: str, stack: Stack, agent: Agent) -> None:
    async def story() -> None:
        async with AsyncEnterpriseClient(base_url=stack["CARACAL_URL"], api_key=stack["CARACAL_API_KEY"]) as owner:
            assert [d.host async for d in owner.iter_destinations()]
            assert "event_id" in await owner.query_events(format="csv", limit=1)
        async with AsyncAuthorityClient(base_url=stack["CARACAL_GATEWAY_URL"], api_key=agent.api_key) as client:
            assert (await client.health()).enterprise_sync.connected
            assert (await client.sync_gateway()).status == "ok"
            terms = {
                "issuer_id": stack["CARACAL_ISSUER_ID"],
                "subject_id": agent.principal_id,
                "resource_scope": ["api:echo/public"],
                "action_scope": ["read"],
                "validity_seconds": 60,
            }
            async with client.mandate(**terms) as held, client.http_client(held) as http:  # type: ignore[arg-type]
                assert (await http.get(f"{stack['CARACAL_UPSTREAM_URL']}/v1/x")).status_code == 200
            assert (await client.get_mandate(held.mandate_id)).revoked

    anyio.run(story, backend=backend)


def test_a_mandate_of_a_cancelled_task_is_given_back(stack: Stack, agent: Agent) -> None:
    held = []

    async def story() -> None:
        async with AsyncAuthorityClient(base_url=stack["CARACAL_GATEWAY_URL"], api_key=agent.api_key) as client:
            with anyio.CancelScope() as scope:
                async with client.mandate(
                    issuer_id=stack["CARACAL_ISSUER_ID"],
                    subject_id=agent.principal_id,
                    resource_scope=["api:echo/public"],
                    action_scope=["read"],
                    validity_seconds=60,
                ) as mandate:
                    held.append(mandate.mandate_id)
                    scope.cancel()
                    await anyio.sleep_forever()

    anyio.run(story)
    assert agent.client.get_mandate(held[0]).revoked


def test_a_revoked_mandate_is_denied_everywhere_at_once(stack: Stack, owner: EnterpriseClient, agent: Agent) -> None:
    mandate = agent.client.request_mandate(
        issuer_id=stack["CARACAL_ISSUER_ID"],
        subject_id=agent.principal_id,
        resource_scope=["api:echo/public"],
        action_scope=["read"],
        validity_seconds=60,
    )
    with agent.client.http_client(mandate) as http:
        assert http.get(f"{stack['CARACAL_UPSTREAM_URL']}/v1/x").status_code == 200
        receipt = owner.revoke_mandate(mandate.mandate_id, wait=30)
        assert (receipt.state, receipt.mandates) == ("enforced", [mandate.mandate_id])
        denial = denial_of(http.get(f"{stack['CARACAL_UPSTREAM_URL']}/v1/x"))
    assert denial is not None
    assert denial.reason == "mandate_revoked"
    answer = agent.client.validate_mandate(
        mandate_id=mandate.mandate_id, requested_action="read", requested_resource="api:echo/public"
    )
    assert (answer.allowed, answer.denial_reason) == (False, "mandate_revoked")


def test_the_wheel_has_types_and_needs_little() -> None:
    assert importlib.resources.files("caracal").joinpath("py.typed").is_file()
    requires = importlib.metadata.requires("caracal") or []
    needed = {re.split(r"[<>=!~ ;\[]", line)[0] for line in requires if "extra ==" not in line}
    assert needed == {"anyio", "httpx"}


def test_no_log_holds_a_credential(stack: Stack, agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with agent.client.http_client(agent.mandate) as http:
        http.get(f"{stack['CARACAL_UPSTREAM_URL']}/v1/x", headers={"Authorization": "Bearer canary-of-a-provider"})
        http.get(f"{stack['CARACAL_UPSTREAM_URL']}/admin/x")
    agent.client.list_mandates(limit=1)
    secrets = [agent.api_key, agent.client.token(), stack["CARACAL_API_KEY"], "canary-of-a-provider"]
    texts = caplog.text + stack.logs()
    assert caplog.text
    assert [secret for secret in secrets if secret.rpartition("_")[2][:40] in texts] == []

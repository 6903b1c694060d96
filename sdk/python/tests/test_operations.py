"""The SDK against the control plane's OpenAPI document: nothing is missing, nothing is misspelt."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest

import document as openapi
from calls import NOT_FOR_PROGRAMS, snake
from caracal.enterprise.sdk import AsyncEnterpriseClient, EnterpriseClient
from caracal.sdk import AsyncAuthorityClient, AuthorityClient
from models import singular
from server import Seen, Told, json_answer, serving

DOCUMENT = openapi.load()
OPERATIONS = openapi.operations(DOCUMENT)

# Parameters that an operation takes and a method does not, and why not.
ELSEWHERE = {
    "delegateMandate": {"parent_mandate_id"},  # the path has it
    "revokeMandate": {"mandate_id"},  # the path has it
    # their paths say which workspace it is
    "replaceDestination": {"workspace_slug"},
    "replaceIssuer": {"workspace_slug"},
    "replaceClientAuthority": {"workspace_slug"},
    "exchangeToken": {"grant_type", "subject_token", "subject_token_type", "workspace_slug"},  # the bearer is exchanged
}

OLDER_NAMES = {"allowed_resource_patterns", "max_delegation_depth"}


def sample(schema: openapi.Node, name: str = "") -> Any:
    """A value that a schema accepts."""
    schema = openapi.resolve(DOCUMENT, schema)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for options in ("anyOf", "oneOf"):
        if options in schema:
            return sample(schema[options][0], name)
    properties = openapi.properties_of(DOCUMENT, schema)
    if properties:
        return {field: sample(node, field) for field, node in properties.items()}
    kinds = schema.get("type", "object")
    kind = kinds if isinstance(kinds, str) else next(k for k in kinds if k != "null")
    return scalar(kind, schema, name)


def scalar(kind: str, schema: openapi.Node, name: str) -> Any:
    if kind == "array":
        return [sample(schema.get("items", {}))]
    if kind == "object":
        of = schema.get("additionalProperties")
        key = "GET" if name == "methods" else "key"
        return {key: sample(of)} if isinstance(of, dict) and of else {}
    if kind in ("integer", "number"):
        return max(schema.get("minimum", 1), 1)
    if kind == "boolean":
        return True
    return worded(schema)


def worded(schema: openapi.Node) -> Any:
    examples = schema.get("examples")
    if examples:
        return str(examples[0])
    by_format = {"date": "2024-01-01", "date-time": "2024-01-01T00:00:00Z", "uri": "https://issuer.example"}
    if schema.get("format") in by_format:
        return by_format[schema["format"]]
    pattern = schema.get("pattern", "")
    found = re.match(r"\^\(?([a-z]+)", pattern)
    if "{26}" in pattern and found:
        return f"{found[1]}_{'a' * 26}"
    return "value" + "s" * max(0, schema.get("minLength", 0) - 5)


def matching(seen: Seen) -> openapi.Operation:
    """The operation that a request is."""
    for operation in sorted(OPERATIONS, key=lambda o: "{" in o.path):
        pattern = re.sub(r"\{[a-z]+\}", "[^/]+", operation.path)
        if operation.method == seen.method and re.fullmatch(pattern, seen.path):
            return operation
    raise AssertionError(f"the document has no {seen.method} {seen.path}")


def answer(seen: Seen) -> Told:
    """The answer of a control plane that has one of each thing."""
    operation = matching(seen)
    if operation.answer is None:
        return Told(204, b"", {})
    if seen.query.get("format") in ("jsonl", "csv"):
        return Told(200, b"a,b\n", {"Content-Type": "text/csv"})
    value = sample(operation.answer)
    if isinstance(value, dict) and "next_cursor" in value:
        value["next_cursor"] = None
    if operation.id == "validateMandate":
        value.update(allowed=True, decision="allowed")
    if operation.id == "exchangeToken":
        value["access_token"] = "token"
    return json_answer(value)


# A value for each name that a parameter of a method may have.
VALUES: dict[str, Any] = {}
for _operation in OPERATIONS:
    for _parameter in _operation.parameters:
        VALUES.setdefault(_parameter["name"], sample(_parameter["schema"], _parameter["name"]))
    if _operation.body:
        for _name, _node in openapi.properties_of(DOCUMENT, _operation.body).items():
            VALUES.setdefault(_name, sample(_node, _name))
VALUES |= {"format": "csv", "if_match": '"tag"', "idempotency_key": "key", "slug": "my-team", "interval": 0}
VALUES["timeout"] = 1
# What is given as a whole, because it may be read, changed and given back.
WHOLE: dict[str, Any] = {}
for _operation in OPERATIONS:
    if _operation.body and "created_at" in openapi.properties_of(DOCUMENT, _operation.body):
        _thing = singular(_operation.path.split("/")[3].replace("-", "_"))
        WHOLE[_thing] = {k: v for k, v in sample(_operation.body).items() if k != "workspace_slug"}


def value_of(name: str) -> Any:
    if name not in VALUES and name.endswith("_id"):
        return VALUES["id"]
    return VALUES[name]


def methods(kind: type[object]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The methods of a client that call an operation."""
    local = {
        "close",
        "aclose",
        "http_client",
        "requests_session",
        "openai",
        "anthropic",
        "mcp",
        "mandate",
        "sync_gateway",
    }
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_") and name not in local:
            yield name, method


OTHERWISE_NAMED = {
    "request_mandate": "issueMandate",
    "request_token": "exchangeToken",
    "delegate_authority": "delegateMandate",
    "query_events": "listEvents",
    "export_events": "listEvents",
    "wait_for_receipt": "getReceipt",
}


def arguments(method: Callable[..., Any]) -> dict[str, Any]:
    """A value for everything that a method takes; of several meanings of a name that which its operation has."""
    given: dict[str, Any] = {}
    called = method.__name__.replace("iter_", "list_", 1)
    for operation in OPERATIONS:
        if operation.id == OTHERWISE_NAMED.get(called) or snake(operation.id) == called:
            own = {p["name"]: sample(p["schema"], p["name"]) for p in operation.parameters if p["in"] == "query"}
            body = openapi.properties_of(DOCUMENT, operation.body) if operation.body else {}
            own |= {name: sample(node, name) for name, node in body.items()}
    for name, parameter in inspect.signature(method).parameters.items():
        if parameter.annotation == "Mapping[str, Any]" and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            given[name] = WHOLE[name]
        elif name != "self" and name not in OLDER_NAMES:
            given[name] = own[name] if name in own and name != "format" else value_of(name)
    return given


METHODS = dict(methods(EnterpriseClient))
# It never ends; test_events has it.
del METHODS["stream_events"]


@pytest.fixture(scope="module")
def recorded() -> Iterator[dict[str, list[Seen]]]:
    """The requests that each method makes when it is given everything that it takes."""
    found: dict[str, list[Seen]] = {}
    with serving(answer) as server, EnterpriseClient(server.url, "ck_member_key") as client:
        for name, method in METHODS.items():
            before = len(server.seen)
            given = arguments(method)
            result = getattr(client, name)(**given)
            if inspect.isgenerator(result):
                list(result)
            found[name] = server.seen[before:]
        yield found


@pytest.mark.parametrize("name", METHODS)
def test_a_method_sends_what_the_document_describes(recorded: dict[str, list[Seen]], name: str) -> None:
    for seen in recorded[name]:
        operation = matching(seen)
        assert seen.query.keys() <= operation.named("query")
        for parameter in operation.parameters:
            if parameter["in"] == "query" and parameter["name"] in seen.query and "enum" in parameter["schema"]:
                assert seen.query[parameter["name"]] in parameter["schema"]["enum"]
        assert ("idempotency-key" in seen.headers) == ("Idempotency-Key" in operation.named("header"))
        assert "if-match" not in seen.headers or "If-Match" in operation.named("header")
        if operation.body is None:
            assert seen.body == b""
        elif seen.body or operation.needs_body:
            jsonschema.validate(seen.json, {**operation.body, "components": DOCUMENT["components"]})


def test_every_operation_has_a_method(recorded: dict[str, list[Seen]]) -> None:
    reached = {matching(seen).id for requests in recorded.values() for seen in requests}
    assert {o.id for o in OPERATIONS} - NOT_FOR_PROGRAMS - reached - {"streamEvents"} == set()
    assert {o.id for o in OPERATIONS} >= NOT_FOR_PROGRAMS


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.id)
def test_every_parameter_of_an_operation_can_be_given(
    recorded: dict[str, list[Seen]], operation: openapi.Operation
) -> None:
    requests = [s for seen in recorded.values() for s in seen if matching(s).id == operation.id]
    if operation.id in NOT_FOR_PROGRAMS or operation.id == "streamEvents":
        return
    described = operation.named("query") | {n.lower() for n in operation.named("header") - {"If-None-Match"}}
    if operation.body:
        described |= openapi.properties_of(DOCUMENT, operation.body).keys()
    sent: set[str] = set()
    for seen in requests:
        sent |= seen.query.keys() | (seen.headers.keys() & described)
        sent |= seen.json.keys() if isinstance(seen.json, dict) else set()
    assert described - sent - ELSEWHERE.get(operation.id, set()) == set()


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_is_documented(name: str) -> None:
    text = inspect.getdoc(METHODS[name]) or ""
    assert text
    if "arguments are those of" in text or "with the same arguments" in text:
        return
    for parameter in inspect.signature(METHODS[name]).parameters:
        alone = parameter.endswith("_id") or parameter in ("self", "slug", "idempotency_key")
        assert alone or f"{parameter}:" in text


def test_the_clients_of_both_kinds_have_the_same_methods() -> None:
    def public(kind: type[object]) -> dict[str, str]:
        return {
            name: re.sub(r"(?:Async|Awaitable|_async|a(?=close))", "", str(inspect.signature(method)))
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    enterprise, asynchronous = public(EnterpriseClient), public(AsyncEnterpriseClient)
    asynchronous["close"] = asynchronous.pop("aclose")
    assert enterprise == asynchronous
    core, asynchronous = public(AuthorityClient), public(AsyncAuthorityClient)
    asynchronous["close"] = asynchronous.pop("aclose")
    assert core.pop("requests_session")
    assert asynchronous.pop("mcp")
    assert core.keys() == asynchronous.keys()


def test_both_clients_have_what_is_done_with_a_mandate() -> None:
    shared = {
        "request_mandate",
        "get_mandate",
        "list_mandates",
        "validate_mandate",
        "delegate_authority",
        "revoke_mandate",
        "get_receipt",
        "wait_for_receipt",
    }
    assert shared <= dict(methods(EnterpriseClient)).keys()
    assert shared <= dict(methods(AuthorityClient)).keys()


def test_older_names_of_a_policys_fields_are_taken() -> None:
    with serving(answer) as server, EnterpriseClient(server.url, "ck_member_key") as client:
        bounds: dict[str, Any] = {"allowed_actions": ["read"], "max_validity_seconds": 60}
        older: dict[str, Any] = {"allowed_resource_patterns": ["api:a"], "max_delegation_depth": 1}
        client.create_policy(principal_id=VALUES["principal_id"], **bounds, **older)
        client.update_policy(value_of("policy_id"), **older)
        for seen in server.seen:
            assert (seen.json["allowed_resources"], seen.json["delegation_depth"]) == (["api:a"], 1)
        with pytest.raises(TypeError, match="are the same"):
            client.create_policy(principal_id="p", allowed_resources=["api:a"], **bounds, **older)
        with pytest.raises(TypeError, match="needs allowed_resources"):
            client.create_policy(principal_id="p", **bounds)

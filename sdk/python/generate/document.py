"""Reads the control plane's OpenAPI document as the server puts it together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Node = dict[str, Any]

DIRECTORY = Path(__file__).resolve().parents[3] / "controlplane" / "api" / "openapi"
METHODS = ("get", "put", "post", "patch", "delete")
WORKSPACE_SLUG = {"$ref": "#/components/parameters/WorkspaceSlug"}


def load(directory: Path = DIRECTORY) -> Node:
    """The document: the root, with the paths and components of every other file."""
    files = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(directory.glob("*.yaml"))}
    document: Node = files.pop("root")
    components = document.setdefault("components", {})
    for part in files.values():
        document.setdefault("paths", {}).update(part.get("paths") or {})
        for kind, named in (part.get("components") or {}).items():
            components.setdefault(kind, {}).update(named)
    return document


def resolve(document: Node, node: Node) -> Node:
    """What a reference leads to; any other node is itself."""
    while "$ref" in node:
        found: Any = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def name_of(node: Node) -> str | None:
    """The name of the schema that a reference leads to."""
    reference = node.get("$ref", "")
    return str(reference.rsplit("/", 1)[1]) if "/schemas/" in reference else None


class Operation:
    """One operation of the document."""

    def __init__(self, document: Node, path: str, method: str, item: Node) -> None:
        node = item[method]
        self.id: str = node["operationId"]
        self.method = method.upper()
        self.path = path
        self.tag: str = node["tags"][0]
        self.summary: str = node.get("summary", "")
        # The server serves a collection below its workspace, too, and there the path says which.
        shared = [WORKSPACE_SLUG] if item.get("x-collection") and method == "get" else []
        parameters = [*item.get("parameters", []), *shared, *node.get("parameters", [])]
        self.parameters: list[Node] = [resolve(document, p) for p in parameters]
        body = resolve(document, node.get("requestBody", {}))
        self.needs_body: bool = body.get("required", False)
        self.body: Node | None = body.get("content", {}).get("application/json", {}).get("schema")
        self.answer: Node | None = None
        self.told: str = ""
        for status in ("200", "201", "202"):
            response = resolve(document, node["responses"].get(status, {}))
            content = response.get("content", {})
            if self.answer is None and "application/json" in content:
                self.answer = content["application/json"]["schema"]
                self.told = response.get("description", "")

    def named(self, place: str) -> set[str]:
        """The names of the parameters in one place: path, query or header."""
        return {p["name"] for p in self.parameters if p["in"] == place}


def operations(document: Node) -> list[Operation]:
    """Every operation, in the order of the document."""
    return [
        Operation(document, path, method, item)
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def properties_of(document: Node, schema: Node) -> dict[str, Node]:
    """The properties of an object, with those that it is composed of."""
    schema = resolve(document, schema)
    found: dict[str, Node] = {}
    for part in schema.get("allOf", []):
        found.update(properties_of(document, part))
    found.update(schema.get("properties", {}))
    return found


def required_of(document: Node, schema: Node) -> set[str]:
    """The properties that an object must have."""
    schema = resolve(document, schema)
    found = set(schema.get("required", []))
    for part in schema.get("allOf", []):
        found |= required_of(document, part)
    return found


def answer_of(document: Node, operation: Operation) -> tuple[str, Node, bool] | None:
    """The name and schema of what an operation answers, and whether it answers a list of them; None for no JSON."""
    if operation.answer is None:
        return None
    items = properties_of(document, operation.answer).get("items")
    target = items["items"] if items else operation.answer
    many = items is not None
    if resolve(document, target).get("type") == "array":
        target, many = resolve(document, target)["items"], True
    return name_of(target) or operation.id[0].upper() + operation.id[1:] + "Answer", target, many

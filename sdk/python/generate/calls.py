"""Writes the methods of regular operations from the OpenAPI document.

Run as `python generate/calls.py`; with `--check` it writes nothing and fails where a file differs. What a method has to
do beside sending what it is given and reading what is answered is written by hand, in the modules without `calls` in
their names.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

from document import Node, Operation, answer_of, load, operations, properties_of, required_of, resolve
from models import PACKAGE, constant, formatted, pascal, singular, words

BY_HAND = frozenset({
    # what agents do, and what the gateway answers differently
    "issueMandate", "validateMandate", "delegateMandate", "revokeMandate", "getReceipt", "exchangeToken",
    # older names of fields
    "createPolicy", "updatePolicy",
    # several formats, and clients that answer differently
    "listEvents", "streamEvents", "health",
})  # fmt: skip
# Pages to look at, the document itself, and what only browsers do.
NOT_FOR_PROGRAMS = frozenset({"openapi", "docs", "docsFile", "ready"})

SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}

# What parameters mean that are the same everywhere, or that the document leaves to their names.
MEANINGS = {
    "workspace_slug": "the workspace; that of the key unless told.",
    "limit": "how many at most, up to 200; 50 unless told.",
    "cursor": "the `next_cursor` of the page before.",
    "slug": "the slug of the workspace.",
    "wait": "seconds to wait until it is in force at every gateway, up to 120; 10 unless told.",
    "if_match": "the `etag` of the thing as it was read; one that has changed since is left alone.",
    "idempotency_key": "makes it happen once, however often it is called with the same key and arguments.",
    "name": "for people.",
    "description": "what it is for.",
    "metadata": "up to 32 texts by name, which Rego policies see.",
    "created_after": "only those made after this time, as RFC 3339 text.",
    "created_before": "only those made before this time, as RFC 3339 text.",
    "principal_id": "only those of this principal.",
    "suspended": "only those that are suspended, or that are not.",
    "active": "only those that are active, or that are not.",
    "mandate_id": "only those about this mandate.",
    "decision_id": "only those of this decision.",
    "resource": "only those about this resource.",
    "revoked": "only those that are revoked, or that are not.",
    "issuer_id": "only those that this principal granted.",
    "subject_id": "only those that were granted to this principal.",
    "parent_mandate_id": "only those that were cut from this mandate.",
    "host": "only those of this host.",
    "modules": "texts by path; those of `*_test.rego` are tests.",
    "message": "what is different, for people.",
    "activate": "make it the version that every decision evaluates.",
}


# The document's own words for these are for readers of the document.
ALIKE = frozenset({"workspace_slug", "limit", "cursor", "wait", "metadata", "created_after", "created_before"})


class Argument:
    """One argument of a method."""

    def __init__(self, name: str, place: str, node: Node, document: Node, required: bool) -> None:
        self.name = name
        self.place = place
        self.required = required
        schema = resolve(document, node)
        self.hint = hint(document, schema)
        self.meaning = meaning(document, name, node, schema, place)

    def declared(self) -> str:
        return f"{self.name}: {self.hint}" if self.required else f"{self.name}: {self.hint} | None = None"

    def sent(self) -> str:
        """The argument as JSON takes it: sequences and mappings of any kind become lists and dictionaries."""
        for abstract, concrete in (("Sequence[", "list"), ("Mapping[", "dict")):
            if self.hint.startswith(abstract):
                made = f"{concrete}({self.name})"
                return made if self.required else f"None if {self.name} is None else {made}"
        return self.name


def hint(document: Node, schema: Node) -> str:
    for options in ("anyOf", "oneOf"):
        if options in schema:
            found = [hint(document, resolve(document, n)) for n in schema[options] if n.get("type") != "null"]
            return " | ".join(dict.fromkeys(found))
    kinds = schema.get("type", "string" if "enum" in schema else "object")
    kind = kinds if isinstance(kinds, str) else next(k for k in kinds if k != "null")
    if kind == "array":
        return f"Sequence[{hint(document, resolve(document, schema.get('items', {})))}]"
    if kind == "object":
        of = schema.get("additionalProperties")
        scalar = isinstance(of, dict) and resolve(document, of).get("type") == "string"
        return "Mapping[str, str]" if scalar else "Mapping[str, Any]"
    return SCALARS[kind]


def meaning(document: Node, name: str, node: Node, schema: Node, place: str) -> str:
    told = node.get("description")
    if name in ALIKE or not told:
        told = MEANINGS.get(name) if place != "body" or not name.endswith("_id") else None
    values = [str(v) for v in schema.get("enum", schema.get("items", {}).get("enum", [])) if v is not None]
    if values:
        told = f"{told.rstrip('.')}; {one_of(values)}" if told else one_of(values)
    elif not told and (fields := properties_of(document, schema) or properties_of(document, schema.get("items", {}))):
        told = f"with {', '.join(f'`{field}`' for field in fields)}"
    elif not told:
        told = f"the {name.replace('_', ' ')}"
    if schema.get("format") == "date-time" and "RFC" not in told:
        told = f"as RFC 3339 text; {told}"
    first = told[0] if told[1:2].isupper() else told[0].lower()
    return first + told[1:].rstrip(".") + "."


def one_of(values: list[str]) -> str:
    quoted = [f"`{value}`" for value in values]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def path_argument(operation: Operation, name: str) -> str:
    """The name of an argument for a part of the path."""
    collection = operation.path.split("/")[3]
    if name == "workspace" or (name == "id" and collection == "workspaces"):
        return "slug"
    return f"{singular(collection.replace('-', '_'))}_id" if name == "id" else name


def arguments(document: Node, operation: Operation) -> list[Argument]:
    found = []
    for parameter in operation.parameters:
        if parameter["in"] == "path":
            name = path_argument(operation, parameter["name"])
            described = {"type": "string", "description": f"which {words(name.removesuffix('_id')).lower()}"}
            found.append(Argument(name, "path", described if name != "slug" else {"type": "string"}, document, True))
    if operation.body:
        found += body_arguments(document, operation, operation.body)
    for parameter in operation.parameters:
        if parameter["in"] == "query":
            described = {**resolve(document, parameter["schema"]), **parameter}
            argument = Argument(parameter["name"], "query", described, document, parameter.get("required", False))
            argument.hint = hint(document, resolve(document, parameter["schema"]))
            found.append(argument)
    headers = operation.named("header")
    for name, header in (("if_match", "If-Match"), ("idempotency_key", "Idempotency-Key")):
        if header in headers:
            found.append(Argument(name, "header", {"type": "string"}, document, False))
    # What is common to many methods goes last.
    last = ("workspace_slug", "limit", "cursor", "wait", "if_match", "idempotency_key")
    found.sort(
        key=lambda a: (
            a.place != "path",
            a.place != "whole",
            not a.required,
            last.index(a.name) + 1 if a.name in last else 0,
        )
    )
    return found


def body_arguments(document: Node, operation: Operation, body: Node) -> list[Argument]:
    """One argument for each field; but what may be read and given back is given as a whole."""
    required, properties = required_of(document, body), properties_of(document, body)
    if "created_at" not in properties:
        return [Argument(name, "body", node, document, name in required) for name, node in properties.items()]
    thing = singular(operation.path.split("/")[3].replace("-", "_"))
    own = {"created_at", "workspace_id", "workspace_slug", f"{thing}_id"}
    needed = " and ".join(f"`{name}`" for name in properties if name in required)
    more = ", ".join(f"`{name}`" for name in properties if name not in required | own)
    told = f"its {needed}, and as needed {more}; one that was read may be changed and given back"
    whole = Argument(thing, "whole", {"type": "object", "description": told}, document, True)
    if "workspace_slug" not in properties or operation.method == "PUT":
        return [whole]
    return [whole, Argument("workspace_slug", "body", properties["workspace_slug"], document, False)]


def signature(found: list[Argument]) -> str:
    positional = [a.declared() for a in found if a.place in ("path", "whole")]
    named = [a.declared() for a in found if a.place not in ("path", "whole")]
    return ", ".join(["self", *positional, *(["*", *named] if named else [])])


def documentation(summary: str, found: list[Argument], returns: str) -> str:
    """The docstring: one line, the rest of the summary, the arguments where one needs words, the answer."""
    first, more = first_sentence(summary)
    parts = [first, *textwrap.wrap(more, 110)] if not more else [first, "\n".join(textwrap.wrap(more, 110))]
    if any(a.place != "path" for a in found):
        parts.append("Args:\n" + "\n".join(wrapped(f"    {a.name}: {a.meaning}") for a in found))
    if returns:
        parts.append("Returns:\n" + wrapped("    " + returns[0].upper() + returns[1:].rstrip(".") + "."))
    if len(parts) == 1:
        return f'"""{parts[0]}"""'
    return '"""' + "\n\n".join(parts) + '\n"""'


def first_sentence(text: str) -> tuple[str, str]:
    """What fits into the one line that begins a docstring, and what follows it."""
    text = text[0].upper() + text[1:].rstrip(".") + "."
    if len(text) <= 108:
        return text, ""
    found = max((m for m in re.finditer(r"[:;,] ", text) if m.start() <= 107), key=lambda m: (m[0] != ", ", m.start()))
    rest = text[found.end() :]
    return text[: found.start()] + ".", rest[0].upper() + rest[1:]


def wrapped(line: str) -> str:
    return "\n".join(textwrap.wrap(line, 108, subsequent_indent="        "))


def pairs(found: list[Argument]) -> str:
    return "{" + ", ".join(f'"{a.name}": {a.sent()}' for a in found) + "}"


def method(document: Node, operation: Operation) -> str:
    """The text of the method, and of the one that follows the pages of a list."""
    found = arguments(document, operation)
    by_place = {place: [a for a in found if a.place == place] for place in ("path", "whole", "body", "query")}
    parts = [f"op.{constant(operation.id)}"]
    if by_place["path"]:
        in_path = [p["name"] for p in operation.parameters if p["in"] == "path"]
        named = ", ".join(f'"{n}": {a.name}' for n, a in zip(in_path, by_place["path"], strict=True))
        parts.append(f"path={{{named}}}")
    if by_place["query"]:
        parts.append(f"query={pairs(by_place['query'])}")
    if by_place["whole"]:
        slug = ', "workspace_slug": workspace_slug' if by_place["body"] else ""
        parts.append(f"body={{**{by_place['whole'][0].name}{slug}}}")
    elif by_place["body"]:
        parts.append(f"body={pairs(by_place['body'])}")
    if any(a.name == "idempotency_key" for a in found):
        conditional = ", if_match" if any(a.name == "if_match" for a in found) else ""
        parts.append(f"headers=writing(idempotency_key{conditional})")
    if any(a.name == "wait" for a in found):
        parts.append("patience=patience(wait)")
    answer = answer_of(document, operation)
    name = snake(operation.id)
    call = f"Call({', '.join(parts)})"
    if answer is None:
        doc = documentation(operation.summary, found, "")
        return text_of(name, signature(found), "None", doc, f"await self._send({call})")
    kind, _, many = answer
    # "the key" says no more than the type does.
    plain = operation.method == "GET" or re.fullmatch(r"the [a-z]+( [a-z]+)?", operation.told)
    returns = "" if plain else operation.told
    if not many:
        body = f"return await self._record({kind}, {call})"
        return text_of(name, signature(found), kind, documentation(operation.summary, found, returns), body)
    body = f"return await self._page({kind}, {call})"
    written = text_of(
        name, signature(found), f"Page[{kind}]", documentation(listing(operation, found), found, ""), body
    )
    if not any(a.name == "cursor" for a in found):
        return written
    filters = [a for a in found if a.name not in ("limit", "cursor")]
    parts = [part for part in parts[:2] if not part.startswith("query=")]
    if narrowing := [a for a in filters if a.place == "query"]:
        parts.append(f"query={pairs(narrowing)}")
    call = f"Call({', '.join(parts)})"
    doc = f'"""Everything that `{name}` with the same arguments would list, a page at a time."""'
    body = f"async for each in self._pages({kind}, {call}):\n    yield each"
    iterating = name.replace("list_", "iter_", 1)
    return written + "\n" + text_of(iterating, signature(filters), f"AsyncIterator[{kind}]", doc, body)


def listing(operation: Operation, found: list[Argument]) -> str:
    if any(a.name == "cursor" for a in found):
        return f"{operation.summary.rstrip('.')}; one page"
    return operation.summary


def text_of(name: str, arguments: str, returns: str, doc: str, body: str) -> str:
    inside = textwrap.indent(f"{doc}\n{body}\n", "    ")
    return textwrap.indent(f"async def {name}({arguments}) -> {returns}:\n{inside}", "    ")


def module(document: Node, tag: str, found: list[Operation]) -> str:
    """The text of the module of one tag."""
    methods = "\n".join(method(document, operation) for operation in found)
    kinds = sorted({a[0] for a in (answer_of(document, o) for o in found) if a})
    things = tag.replace("-", " ")
    header = [
        f'"""Regular operations on {things}, generated from the OpenAPI document by `generate/calls.py`."""\n',
        "from __future__ import annotations\n",
    ]
    abstract = [n for n in ("AsyncIterator", "Mapping", "Sequence") if f"{n}[" in methods]
    if abstract:
        header.append(f"from collections.abc import {', '.join(abstract)}")
    if "Any]" in methods:
        header.append("from typing import Any")
    wire = [n for n in ("Call", "patience", "writing") if f"{n}(" in methods]
    header += [
        "\nfrom caracal import _operations as op",
        "from caracal._async.connection import AsyncConnection",
        f"from caracal._wire import {', '.join(wire)}",
        f"from caracal.models import {', '.join(kinds)}" if kinds else "",
        "from caracal.records import Page" if "Page[" in methods else "",
    ]
    text = "\n".join(line for line in header if line)
    return f'{text}\n\n\nclass {class_of(tag)}(AsyncConnection):\n    """Operations on {things}."""\n\n{methods}'


def class_of(tag: str) -> str:
    return f"Async{pascal(tag.replace('-', '_'))}Calls"


def file_of(tag: str) -> str:
    return f"calls_{tag.replace('-', '_')}"


def everything(tags: list[str]) -> str:
    """The text of the module that holds all of them together."""
    imports = "\n".join(f"from caracal._async.{file_of(tag)} import {class_of(tag)}" for tag in tags)
    bases = ", ".join(class_of(tag) for tag in tags)
    return (
        '"""All regular operations, generated from the OpenAPI document by `generate/calls.py`."""\n\n'
        f"from __future__ import annotations\n\n{imports}\n\n\n"
        f'class AsyncCalls({bases}):\n    """Operations that do what they say and no more."""\n'
    )


def main() -> int:
    """Write the files, or compare them."""
    document = load()
    by_tag: dict[str, list[Operation]] = {}
    for operation in operations(document):
        if operation.id not in BY_HAND | NOT_FOR_PROGRAMS:
            by_tag.setdefault(operation.tag, []).append(operation)
    texts = {f"{file_of(tag)}.py": module(document, tag, found) for tag, found in by_tag.items()}
    texts["calls.py"] = everything(sorted(by_tag))
    directory = Path(PACKAGE / "_async")
    stale = [p.name for p in directory.glob("calls*.py") if p.name not in texts]
    for name, text in texts.items():
        text = formatted(text)
        path = directory / name
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
    if "--check" not in sys.argv:
        for path in directory.glob("calls*.py"):
            if path.name not in texts:
                path.unlink()
    elif stale:
        print(f"_async/{', '.join(stale)} differ from the OpenAPI document: run make generate", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Writes the operations and the types of their answers from the OpenAPI document.

Run as `python generate/models.py`; with `--check` it writes nothing and fails where a file differs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

from document import Node, answer_of, load, name_of, operations, properties_of, required_of, resolve

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "caracal"
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
# Without these an answer would be misread: a validation that does not say whether it allows.
ESSENTIAL = {"ValidationAnswer": ("allowed", "decision"), "AccessToken": ("access_token", "expires_in")}
# Whoever has one of these signs in with it.
CONFIDENTIAL = {"SignInLink": ("url",), "Invitation": ("url",)}
# Their answers are not things: lists, texts and the document itself.
SKIPPED = {"Document"}


class Models:
    """The classes that were written so far, in the order in which they can be defined."""

    def __init__(self, document: Node) -> None:
        self.document = document
        self.classes: dict[str, str] = {}
        self.unnamed: dict[int, str] = {}  # classes of objects without a name, by the node that describes them

    def add(self, name: str, schema: Node) -> str:
        """Write the class of an object, and those that it holds, and return its name."""
        if name in self.classes:
            return name
        self.classes[name] = ""  # keeps its place while what it holds is written
        document = self.document
        required = required_of(document, schema)
        lines = []
        for field, node in properties_of(document, schema).items():
            if not field.isidentifier() or hasattr(dict, field):
                continue  # it is an item, and cannot be an attribute
            hint = self.hint(name + pascal(field), node)
            if field not in required and "None" not in hint.split(" | "):
                hint += " | None"
            text = described(document, node)
            lines.append(f"{field}: {hint}" + (f"\n{docstring(text)}" if text else ""))
        for constants, held in (("REQUIRED", ESSENTIAL), ("CONFIDENTIAL", CONFIDENTIAL)):
            if name in held:
                lines.insert(0, f"{constants}: ClassVar[tuple[str, ...]] = {held[name]!r}\n")
        body = textwrap.indent("\n".join(lines), "    ")
        summary = resolve(document, schema).get("description") or f"{words(name)}, as the server answers it."
        del self.classes[name]
        self.classes[name] = f"class {name}(Record):\n{textwrap.indent(docstring(summary), '    ')}\n\n{body}\n"
        return name

    def hint(self, name: str, node: Node) -> str:
        """The Python type of a schema; `name` is that of a class for an object without one."""
        known = name_of(node)
        node = resolve(self.document, node)
        if "anyOf" in node or "oneOf" in node:
            parts: list[Node] = node.get("anyOf") or node["oneOf"]
            options = [self.hint(name, part) for part in parts]
            return " | ".join(dict.fromkeys(options))
        if properties_of(self.document, node):
            return self.add(known or self.unnamed.setdefault(id(node), name), node)
        if "enum" in node or "const" in node:
            values: list[object] = node.get("enum", [node.get("const")])
            return " | ".join(dict.fromkeys("None" if v is None else type(v).__name__ for v in values))
        kinds = node.get("type", "object")
        return " | ".join(self.plain(name, kind, node) for kind in ([kinds] if isinstance(kinds, str) else kinds))

    def plain(self, name: str, kind: str, node: Node) -> str:
        if kind == "array":
            return f"list[{self.hint(singular(name), node.get('items', {}))}]"
        if kind == "object":
            of = node.get("additionalProperties")
            return f"dict[str, {self.hint(name, of) if isinstance(of, dict) and of else 'Any'}]"
        return SCALARS[kind]


def described(document: Node, node: Node) -> str:
    """What the document says about a field; what it says about its type helps as well."""
    return str(node.get("description") or resolve(document, node).get("description") or "")


def docstring(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    text = text[0].upper() + text[1:] + "."
    wrapped = textwrap.wrap(text, 108)
    if len(wrapped) == 1:
        return f'"""{wrapped[0]}"""'
    # The first line of a docstring stands alone; what goes on below it is one paragraph.
    return '"""' + "\n".join(wrapped) + '\n"""'


def pascal(field: str) -> str:
    return "".join(part.capitalize() for part in field.split("_"))


def singular(name: str) -> str:
    return name[:-3] + "y" if name.endswith("ies") else name.removesuffix("s")


def words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name).capitalize()


def constant(operation: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()


def models(document: Node) -> str:
    found = Models(document)
    for operation in operations(document):
        answer = answer_of(document, operation)
        if answer is None or answer[0] in SKIPPED:
            continue
        name, target, _ = answer
        found.add(name, target)
    body = "\n\n".join(found.classes[name] for name in found.classes)
    names = "".join(f'    "{name}",\n' for name in sorted(found.classes))
    uses = [name for name in ("Any", "ClassVar") if re.search(rf"\b{name}\b", body)]
    typing = f"from typing import {', '.join(uses)}\n\n" if uses else ""
    return (
        '"""What the server answers, generated from its OpenAPI document by `generate/models.py`."""\n\n'
        "from __future__ import annotations\n\n"
        f"{typing}from caracal.records import Record\n\n__all__ = [\n{names}]\n\n\n{body}"
    )


def table(document: Node) -> str:
    lines = [
        '"""The server\'s operations, generated from its OpenAPI document by `generate/models.py`."""\n',
        "from typing import Final, NamedTuple\n\n",
        "class Operation(NamedTuple):",
        '    """Where an operation is."""\n',
        "    name: str",
        "    method: str",
        "    path: str\n\n",
    ]
    for o in sorted(operations(document), key=lambda o: o.id):
        lines.append(f'{constant(o.id)}: Final = Operation("{o.id}", "{o.method}", "{o.path}")')
    return "\n".join(lines) + "\n"


def formatted(text: str) -> str:
    """The text as ruff orders and writes it, which is found beside this interpreter."""
    ruff, config = Path(sys.executable).with_name("ruff"), PACKAGE.parents[1] / "pyproject.toml"
    for command in (["check", "--fix", "--quiet", "--select", "I"], ["format"]):
        done = subprocess.run(
            [str(ruff), *command, "--config", str(config), "--stdin-filename", "src/generated.py", "-"],
            input=text,
            cwd=config.parent,  # what is first-party depends on it
            capture_output=True,
            text=True,
            check=True,
        )
        text = done.stdout
    return text


def main() -> int:
    """Write the files, or compare them."""
    document = load()
    stale = []
    for path, text in ((PACKAGE / "models.py", models(document)), (PACKAGE / "_operations.py", table(document))):
        text = formatted(text)
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale.append(path.name)
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
    if stale and "--check" in sys.argv:
        print(f"{', '.join(stale)} differ from the OpenAPI document: run make generate", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

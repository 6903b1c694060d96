"""Writes the synchronous clients from the asynchronous ones.

Run as `python generate/sync.py`; with `--check` it writes nothing and fails where a file differs.
"""

from __future__ import annotations

import re
import sys

from models import PACKAGE, formatted

# Waiting is different on both sides, and written by hand.
BY_HAND = "runtime.py"
HEADER = "# Generated from caracal._async by generate/sync.py; change that.\n\n"

REPLACEMENTS = (
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\baclose\b", "close"),
    (r"\baread\b", "read"),
    (r"\baiter_bytes\b", "iter_bytes"),
    (r"\bhandle_async_request\b", "handle_request"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\b_async\b", "_sync"),
    (r"\basynchronous\b", "synchronous"),
)


def synchronous(source: str) -> str:
    """The synchronous twin of a module's text."""
    for pattern, replacement in REPLACEMENTS:
        source = re.sub(pattern, replacement, source)
    return formatted(source)


def main() -> int:
    """Write the files, or compare them."""
    stale = []
    sources = {p.name: p for p in (PACKAGE / "_async").glob("*.py") if p.name not in (BY_HAND, "__init__.py")}
    for name, path in sorted(sources.items()):
        text = synchronous(HEADER + path.read_text("utf-8"))
        target = PACKAGE / "_sync" / name
        if target.exists() and target.read_text("utf-8") == text:
            continue
        stale.append(f"_sync/{name}")
        if "--check" not in sys.argv:
            target.write_text(text, "utf-8")
    for target in sorted((PACKAGE / "_sync").glob("*.py")):
        if target.name not in sources and target.name not in (BY_HAND, "__init__.py"):
            stale.append(f"_sync/{target.name}")
            if "--check" not in sys.argv:
                target.unlink()
    if stale and "--check" in sys.argv:
        print(f"{', '.join(stale)} differ from their asynchronous twins: run make generate", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
